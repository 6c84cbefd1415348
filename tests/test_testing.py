"""
The public helpers for tests: what they promise, and that the exchange in memory behaves as the real one does.
"""

from pathlib import Path

import pytest
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.web.resource import Resource
from zope.interface.verify import verifyObject

from suuupra_gateway.config.findings import ConfigErrors
from suuupra_gateway.config.model import ListenerSpec, ProcessSpec
from suuupra_gateway.errors import BadRequest, BodyTooLarge, ClientGone, Overloaded, ReadTimeout
from suuupra_gateway.filters.base import Filter, FilterKind, FilterSpec
from suuupra_gateway.filters.catalog import kinds
from suuupra_gateway.http.message import Reply, ResponseHead
from suuupra_gateway.http.site import GatewaySite
from suuupra_gateway.interfaces import IBody, IExchange
from suuupra_gateway.memory import MemoryBody
from suuupra_gateway.net.sweep import Sweep
from suuupra_gateway.testing import (
    Answer,
    Gateway,
    answer_of,
    make_filter,
    request,
    run_filter,
    run_response_filter,
)

ROOT = Path(__file__).parents[1]

# -- one contract for both exchanges ----------------------------------------------------------------------------------


class InMemory:
    """The exchange of `suuupra_gateway.memory`."""

    def __init__(self, does, line="GET /", fields=(), body=None):
        self.exchange = request(line, headers=fields, body=body)
        does(self.exchange)

    def leave(self):
        self.exchange.leave()

    @property
    def answer(self):
        if self.exchange.answer is None or not (self.exchange.sent or self.exchange.finished):
            return None
        headers = {name: value for name, value in self.exchange.answer.headers if name != b"content-length"}
        return self.exchange.answer.status, headers, self.exchange.sent, self.exchange.finished


class OnAConnection:
    """The real one, behind an `EdgeChannel` whose transport keeps what it is given."""

    def __init__(self, does, line="GET /", fields=(), body=None):
        class Root(Resource):
            isLeaf = True

            def render(root, exchange):
                self.exchange = exchange
                does(exchange)

        clock = Clock()
        sweep = Sweep(clock, monotonic=clock.seconds)
        listener = ListenerSpec(name="test", address="127.0.0.1:0")
        site = GatewaySite(Root(), listener=listener, process=ProcessSpec(), sweep=sweep)
        self.channel = site.buildProtocol(None)
        self.transport = StringTransport(peerAddress=IPv4Address("TCP", "192.0.2.1", 40000))
        self.channel.makeConnection(self.transport)
        method, _, target = line.partition(" ")
        lines = [f"{method} {target} HTTP/1.1", "Host: localhost", *(f"{name}: {value}" for name, value in fields)]
        if body is not None:
            lines.append(f"Content-Length: {len(body)}")
        self.channel.dataReceived("\r\n".join([*lines, "", ""]).encode() + (body or b""))

    def leave(self):
        from twisted.internet.error import ConnectionDone
        from twisted.python.failure import Failure

        self.channel.connectionLost(Failure(ConnectionDone()))

    @property
    def answer(self):
        head, empty, rest = self.transport.value().partition(b"\r\n\r\n")
        if not empty:
            return None
        first, *lines = head.split(b"\r\n")
        headers = dict(line.split(b": ", 1) for line in lines)
        headers = {name.lower(): value for name, value in headers.items()}
        chunked = headers.pop(b"transfer-encoding", b"") == b"chunked"
        length = headers.pop(b"content-length", None)
        for name in (b"date", b"connection", b"server"):
            headers.pop(name, None)
        if chunked:
            whole, body = rest.endswith(b"0\r\n\r\n"), b""
            while rest and not rest.startswith(b"0\r\n"):
                size, _, rest = rest.partition(b"\r\n")
                body, rest = body + rest[: int(size, 16)], rest[int(size, 16) + 2 :]
        else:
            body, whole = rest, length is None or len(rest) == int(length) or not rest
        return int(first.split(b" ")[1]), headers, body, whole


@pytest.fixture(params=[InMemory, OnAConnection])
def stack(request):
    return request.param


def without_id(answer):
    """Problem bodies name the request, and ids differ."""
    status, headers, body, whole = answer
    return status, headers, b"...", whole if body else body


def test_both_are_what_filters_are_told_they_get(stack):
    seen = []
    stack(lambda exchange: seen.append((verifyObject(IExchange, exchange), verifyObject(IBody, exchange.body))))
    assert seen == [(True, True)]


def test_a_reply_is_sent_whole(stack):
    made = stack(lambda exchange: exchange.respond(Reply(201, ((b"x-a", b"1"),), b"made")))
    assert made.answer == (201, {b"x-a": b"1"}, b"made", True)


def test_an_error_becomes_a_problem(stack):
    status, headers, body, whole = stack(lambda exchange: exchange.respond(Reply.of(Overloaded()))).answer
    assert (status, headers[b"x-gateway-error"], whole) == (503, b"overloaded", True)
    assert headers[b"content-type"] == b"application/problem+json"
    assert headers[b"proxy-status"] == b"suuupra; error=proxy_internal_response"
    assert b'"code":"overloaded"' in body


def test_an_answer_may_come_in_pieces(stack):
    def does(exchange):
        exchange.start(ResponseHead(200, [(b"x-a", b"1")]))
        exchange.write(b"one ")
        exchange.write(b"two")
        exchange.finish()

    assert stack(does).answer == (200, {b"x-a": b"1"}, b"one two", True)


def test_an_unfinished_answer_is_not_whole(stack):
    def does(exchange):
        exchange.start(ResponseHead(200, [], length=10))
        exchange.write(b"one")

    assert stack(does).answer == (200, {}, b"one", False)


@pytest.mark.parametrize(("line", "status"), [("HEAD /", 200), ("GET /", 204), ("GET /", 304)])
def test_answers_without_a_body_lose_what_is_written(stack, line, status):
    def does(exchange):
        exchange.start(ResponseHead(status, []))
        exchange.write(b"body")
        exchange.finish()

    assert stack(does, line).answer == (status, {}, b"", True)


def test_an_abort_before_the_first_byte_is_a_reply(stack):
    def does(exchange):
        exchange.start(ResponseHead(200, [(b"x-a", b"1")]))
        exchange.abort(ReadTimeout())

    status, headers, _, whole = stack(does).answer
    assert (status, headers[b"x-gateway-error"], whole) == (504, b"upstream_stalled", True)
    assert b"x-a" not in headers


@pytest.mark.parametrize("length", [None, 10])
def test_an_abort_after_the_first_byte_breaks_the_answer_off(stack, length):
    def does(exchange):
        exchange.start(ResponseHead(200, [], length=length))
        exchange.write(b"one")
        exchange.abort(ReadTimeout())
        exchange.write(b"nobody hears this")
        exchange.finish()

    made = stack(does)
    assert made.answer == (200, {}, b"one", False)
    assert isinstance(made.exchange.outcome.error, ReadTimeout)


def test_fewer_bytes_than_announced_break_the_answer_off(stack):
    def does(exchange):
        exchange.start(ResponseHead(200, [], length=10))
        exchange.write(b"one")
        exchange.finish()

    made = stack(does)
    assert made.answer == (200, {}, b"one", False)
    assert made.exchange.outcome.error.code == "internal_error"


def test_more_bytes_than_announced_break_the_answer_off(stack):
    def does(exchange):
        exchange.start(ResponseHead(200, [], length=3))
        exchange.write(b"on")
        exchange.write(b"ewoo")

    assert stack(does).exchange.outcome.error.code == "internal_error"


@pytest.mark.parametrize("twice", ["respond", "start", "finish", "write"])
def test_an_answer_is_given_once(stack, twice):
    def does(exchange):
        exchange.respond(Reply(204))
        again = {
            "respond": lambda: exchange.respond(Reply(204)),
            "start": lambda: exchange.start(ResponseHead(204, [])),
            "finish": exchange.finish,
            "write": lambda: exchange.write(b"more"),
        }
        with pytest.raises(Exception) as caught:
            again[twice]()
        raised.append(isinstance(caught.value, RuntimeError | AssertionError) or "Step" in type(caught.value).__name__)

    raised = []
    stack(does)
    assert raised == [True]


def test_a_body_is_delivered_to_who_subscribes(stack):
    pieces = []

    class Sink:
        def feed(self, data):
            pieces.append(data)

        def end(self, trailers):
            pieces.append(trailers)

    stack(lambda exchange: exchange.body.subscribe(Sink()), "POST /", body=b"hello")
    assert (b"".join(pieces[:-1]), pieces[-1]) == (b"hello", [])


def test_a_body_can_be_collected(stack):
    got = []
    stack(lambda exchange: exchange.body.collect(10).addCallback(got.append), "POST /", body=b"hello")
    assert got == [b"hello"]


def test_a_body_over_the_limit_is_refused_by_its_length(stack):
    caught = []

    def does(exchange):
        exchange.body.limit = 4
        with pytest.raises(BodyTooLarge):
            exchange.body.subscribe(None)
        exchange.body.collect(3).addErrback(lambda failure: caught.append(failure.type))

    stack(does, "POST /", body=b"hello")
    assert caught == [BodyTooLarge]


def test_who_asked_for_it_is_told_when_the_client_leaves(stack):
    gone = []
    made = stack(lambda exchange: exchange.on_gone(gone.append))
    made.leave()
    assert [type(error) for error in gone] == [ClientGone]
    assert made.exchange.outcome.status == 499
    made.exchange.respond(Reply(200))  # goes nowhere, without a word


def test_who_takes_it_back_is_not_told(stack):
    gone = []

    def does(exchange):
        exchange.on_gone(gone.append)
        exchange.on_gone(None)

    stack(does).leave()
    assert gone == []


def test_who_asks_too_late_is_told_at_once(stack):
    gone = []
    made = stack(lambda exchange: None)
    made.leave()
    made.exchange.on_gone(gone.append)
    assert [type(error) for error in gone] == [ClientGone]


class Noted(Filter[FilterSpec]):
    """Notes which of its hooks were called."""

    def __init__(self, spec=None, residents=None):
        super().__init__(spec, residents)
        self.calls = []

    def reply(self, exchange, head):
        self.calls.append(("reply", head.status))
        head.headers.append((b"x-noted", b"1"))

    def done(self, exchange):
        self.calls.append(("done", exchange.outcome.status))


class Route:
    """What an exchange needs of its route."""

    name = "r"

    def __init__(self, filter):
        self.reply_hooks = (filter.reply,)
        self.done_hooks = (filter.done,)


def test_the_hooks_of_its_route_see_the_reply_and_the_end_once(stack):
    noted = Noted()

    def does(exchange):
        exchange.route = Route(noted)
        exchange.respond(Reply(204))
        exchange.settle()

    assert stack(does).answer[1] == {b"x-noted": b"1"}
    assert noted.calls == [("reply", 204), ("done", 204)]


# -- what only the one in memory has ----------------------------------------------------------------------------------


def test_a_body_may_come_later():
    exchange, got = request("POST /"), []
    exchange.body = MemoryBody()
    exchange.body.collect(10).addCallback(got.append)
    exchange.body.feed(b"a")
    exchange.body.pause()
    exchange.body.feed(b"b")
    exchange.body.end()
    assert (got, exchange.body.received) == ([], 1)
    exchange.body.resume()
    assert (got, exchange.body.received, exchange.body.complete) == ([b"ab"], 2, True)


def test_a_body_may_be_cut():
    caught = []
    body = MemoryBody(b"a")
    body.collect(10).addErrback(lambda failure: caught.append(failure.type))
    body.cut(ClientGone())
    assert caught == [ClientGone]


def test_a_body_of_unknown_length_is_cut_at_the_limit():
    caught = []
    body = MemoryBody(b"abc")
    body.collect(5).addErrback(lambda failure: caught.append(failure.type))
    body.feed(b"def")
    assert caught == [BodyTooLarge]


def test_leaving_after_the_end_means_nothing():
    exchange = request()
    exchange.respond(Reply(204))
    exchange.leave()
    exchange.abort(ReadTimeout())
    assert (exchange.outcome.status, exchange.broken) == (204, False)


def test_who_follows_the_clients_pace_is_kept():
    exchange, producer = request(), object()
    exchange.register(producer)
    assert exchange.producer is producer


def test_a_detached_exchange_is_over_when_its_owner_says_so():
    exchange = request()
    transport, unread = exchange.detach()
    transport.write(b"frames")
    assert (transport.value(), unread, exchange.settled) == (b"frames", b"", False)
    exchange.settle()
    assert exchange.settled
    with pytest.raises(RuntimeError):
        exchange.detach()


def test_a_request_is_parsed_as_by_the_edge():
    exchange = request("GET https://Example.org/a/../b?x", headers={"X-A": "1"})
    assert (exchange.head.host, exchange.head.path, exchange.head.query) == (b"example.org", b"/b", b"x")
    assert (exchange.secure, exchange.head.get(b"x-a")) == (True, b"1")
    assert request("GET http://localhost?x=1").head.target == b"/?x=1"
    assert request("GET http://localhost").head.path == b"/"
    with pytest.raises(BadRequest):
        request("GET /a b")


# -- filters and gateways ---------------------------------------------------------------------------------------------


class Remembering(Filter[FilterSpec]):
    """Keeps something of its own for each exchange."""

    wants_slot = True

    def request(self, exchange):
        exchange.slots[self.slot] = "mine"


def test_one_filter_can_be_run():
    access = kinds()["access"]
    assert run_filter(access, request(client="10.0.0.1"), {"allow": ["10.0.0.0/8"]}) is None
    assert run_filter(access, request(client="11.0.0.1"), {"allow": ["10.0.0.0/8"]}).status == 403


def test_a_filter_that_fails_answers_500_as_in_the_gateway():
    class Broken(Filter[FilterSpec]):
        """Fails."""

        def request(self, exchange):
            raise RuntimeError("broken")

    assert run_filter(FilterKind("broken", FilterSpec, Broken), request()).status == 500


def test_a_filter_gets_the_slot_that_it_wants():
    exchange = request()
    run_filter(FilterKind("remembering", FilterSpec, Remembering), exchange)
    assert exchange.slots == ["mine"]
    assert make_filter(FilterKind("remembering", FilterSpec, Remembering)).name == "remembering"


def test_the_answers_side_of_a_filter_can_be_run():
    head = ResponseHead(200, [(b"server", b"x")])
    assert run_response_filter(kinds()["headers"], request(), head, {"response": {"remove": ["Server"]}}) is None
    assert head.headers == []


CONFIG = """
upstreams:
  users: {endpoints: ["http://127.0.0.1:9001"]}
  next: {endpoints: ["http://127.0.0.1:9002"]}
routes:
  - name: users
    match: {prefix: /v1}
    auth: none
    filters:
      - rewrite: {strip-prefix: /v1}
      - headers: {request: {set: {X-Team: a}}, response: {set: {X-Seen: "1"}}}
      - body-limit: 8B
    target: {proxy: {upstream: users}}
  - name: fixed
    auth: none
    target: {fixed: {body: ok}}
"""


def test_a_whole_configuration_answers():
    gateway = Gateway(CONFIG, upstreams={"users": lambda seen: Answer(201, ((b"x-a", b"1"),), seen.body + b"!")})
    answer = gateway.ask("POST /v1/users?x=1", body=b"hello")
    assert (answer.status, answer.body, answer.get(b"x-seen"), answer.get(b"nothing")) == (201, b"hello!", b"1", None)
    (seen,) = gateway.seen
    assert (seen.upstream, seen.method, seen.path, seen.query) == ("users", b"POST", b"/users", b"x=1")
    assert (seen.get(b"x-team"), seen.get(b"x-forwarded-prefix"), seen.get(b"nothing")) == (b"a", b"/v1", None)


def test_what_no_upstream_is_asked_for_is_answered_by_the_gateway():
    gateway = Gateway(CONFIG)
    assert gateway.ask("GET /").body == b"ok"
    assert gateway.ask("POST /v1/x", body=b"123456789").status == 413
    assert gateway.seen == []
    assert gateway.ask("GET /v1/x") == Answer(200, ((b"x-seen", b"1"),))


def test_a_streamed_body_over_the_limit_is_cut():
    gateway = Gateway(CONFIG)
    exchange = request("POST /v1/x", headers=(("Transfer-Encoding", "chunked"),), body=None)
    exchange.body = MemoryBody(b"123456789")
    gateway._resource.render(exchange)
    assert answer_of(exchange).status == 413


def test_a_tree_and_a_file_will_do_too():
    assert (
        Gateway({"routes": [{"name": "a", "auth": "none", "target": {"fixed": {"status": 204}}}]}).ask().status == 204
    )
    assert Gateway(ROOT / "etc/gateway.yaml").plan.routes


def test_what_is_wrong_with_a_configuration_is_told():
    with pytest.raises(ConfigErrors, match="private"):
        Gateway({"routes": [{"name": "a", "target": {"fixed": {}}}]})


WAITING = '''
from twisted.internet.defer import Deferred
from suuupra_gateway.filters.base import Filter, FilterKind, FilterSpec
from suuupra_gateway.http.message import Reply

class Waiting(Filter[FilterSpec]):
    """Waits on both sides."""
    pending = []

    def request(self, exchange):
        self.pending.append(Deferred())
        return self.pending[-1]

    def response(self, exchange, head):
        self.pending.append(Deferred())
        return self.pending[-1]

class Doubling:
    def feed(self, data):
        return data * 2
    def finish(self):
        return b"."

class Doubled(Filter[FilterSpec]):
    """Doubles the body."""
    def transform(self, exchange, head):
        head.length = None
        return Doubling()

kind = FilterKind("waiting", FilterSpec, Waiting)
'''


def waiting(tmp_path, name="waiting", class_name="Waiting"):
    plugin = tmp_path / f"{name}.py"
    plugin.write_text(WAITING.replace('"waiting", FilterSpec, Waiting', f'"{name}", FilterSpec, {class_name}'))
    tree = {
        "plugins": [str(plugin)],
        "upstreams": {"users": {"endpoints": ["http://127.0.0.1:9001"]}},
        "routes": [{"name": "a", "auth": "none", "filters": [{name: {}}], "target": {"proxy": {"upstream": "users"}}}],
    }
    gateway = Gateway(tree, upstreams={"users": lambda seen: Answer(200, body=b"ab")})
    return gateway, type(gateway.plan.routes["a"].filters[0])


def test_a_filter_that_waits_is_waited_for_on_both_sides(tmp_path):
    gateway, kind = waiting(tmp_path)
    exchange = gateway.begin()
    assert not exchange.settled
    kind.pending[0].callback(None)
    assert len(gateway.seen) == 1
    kind.pending[1].callback(Reply(418))
    assert answer_of(exchange).status == 418


def test_an_answer_that_does_not_come_is_told(tmp_path):
    gateway, _ = waiting(tmp_path)
    with pytest.raises(AssertionError, match="a filter waits"):
        gateway.ask()
    exchange = gateway.begin()
    exchange.leave()
    with pytest.raises(AssertionError, match="left first"):
        answer_of(exchange)


def test_bodies_go_through_the_transforms_of_the_route(tmp_path):
    gateway, _ = waiting(tmp_path, "doubled", "Doubled")
    assert gateway.ask().body == b"abab."


def test_nothing_of_it_is_a_deferred_for_no_reason():
    assert not isinstance(run_filter(kinds()["headers"], request()), Deferred)
