"""The root resource and the routes below it: who gets a request, in which order hooks run, and what waiting means."""

import pytest
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.logger import globalLogPublisher
from twisted.web.resource import IResource, Resource
from twisted.web.server import NOT_DONE_YET, Site
from zope.interface.verify import verifyObject

from suuupra_gateway.config.model import ListenerSpec, ProcessSpec, RouteSpec
from suuupra_gateway.errors import ClientGone, NoPeer
from suuupra_gateway.filters.base import Filter, FilterSpec, Phase
from suuupra_gateway.http.exchange import Exchange
from suuupra_gateway.http.message import Reply, RequestHead, ResponseHead
from suuupra_gateway.http.site import GatewaySite
from suuupra_gateway.net.sweep import Sweep
from suuupra_gateway.routing.resource import GatewayResource, RouteResource
from suuupra_gateway.routing.table import Entry, RouteTable
from suuupra_gateway.testing import request


class Target(Resource):
    """Answers 200, or does what it is told, and keeps what it was asked."""

    isLeaf = True

    def __init__(self, does=None):
        super().__init__()
        self.asked = []
        self._does = does or (lambda exchange: exchange.respond(Reply(200, body=b"target")))

    def render(self, exchange):
        self.asked.append(exchange)
        self._does(exchange)


class Plan:
    def __init__(self, *routes):
        self.table = RouteTable.build(
            Entry(route.name, route.spec.match, 0, order, route, route.spec.redirect_trailing_slash)
            for order, route in enumerate(routes)
        )


class Settings(FilterSpec):
    pass


def filter_of(phase=Phase.REQUEST, *, wants_slot=False, answers_preflight=False, **hooks):
    """A filter with the given hooks, which are functions of what hooks get."""
    members = {name: staticmethod(hook) for name, hook in hooks.items()}
    members |= {"phase": phase, "wants_slot": wants_slot, "answers_preflight": answers_preflight}
    return type("Some", (Filter,), members)(Settings(), None)


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def sweep(clock):
    sweep = Sweep(clock, monotonic=clock.seconds, wall=clock.seconds, interval=0.1)
    sweep.start()
    return sweep


@pytest.fixture
def route(sweep):
    def make(*filters, target=None, total=0.0, name="r", **spec):
        fields = {"name": name, "auth": "none", "target": {"fixed": {}}, **spec}
        return RouteResource(RouteSpec.model_validate(fields), filters, target or Target(), total=total, sweep=sweep)

    return make


@pytest.fixture
def logged():
    events = []
    globalLogPublisher.addObserver(events.append)
    yield events
    globalLogPublisher.removeObserver(events.append)


def asked(route, line="GET /", **request_fields):
    exchange = request(line, **request_fields)
    assert GatewayResource(Plan(*route) if isinstance(route, tuple) else Plan(route)).render(exchange) == NOT_DONE_YET
    return exchange


# -- which route ------------------------------------------------------------------------------------------------------


def test_the_route_that_matches_gets_the_request_and_is_pinned(route):
    one, other = route(name="one", match={"path": "/one"}), route(name="other", match={"path": "/{x}"})
    exchange = asked((one, other), "GET /7")
    assert exchange.route is other
    assert other.target.asked == [exchange]
    assert exchange.head.params == {"x": b"7"}


def test_no_route_is_404(route):
    exchange = asked(route(match={"path": "/x"}), "GET /y")
    assert (exchange.answer.status, exchange.reply.code, exchange.route) == (404, "not_routed", None)


def test_no_route_for_the_method_is_405_with_allow(route):
    exchange = asked(route(match={"path": "/x", "methods": ["GET", "PUT"]}), "POST /x")
    assert (exchange.answer.status, exchange.answer.get(b"allow")) == (405, b"GET, HEAD, PUT")


@pytest.mark.parametrize(("asked_for", "sent_to"), [("/x/", b"/x"), ("/x/?a=1", b"/x?a=1")])
def test_a_trailing_slash_is_redirected_where_the_route_says_so(route, asked_for, sent_to):
    exchange = asked(route(match={"path": "/x"}, **{"redirect-trailing-slash": True}), f"GET {asked_for}")
    assert (exchange.answer.status, exchange.answer.get(b"location")) == (308, sent_to)


def test_a_swapped_plan_does_not_move_exchanges_in_flight(route):
    pending = Deferred()
    old, new = route(filter_of(request=lambda exchange: pending), name="old"), route(name="new")
    resource = GatewayResource(Plan(old))
    exchange = request()
    resource.render(exchange)
    resource.plan = Plan(new)
    pending.callback(None)
    assert old.target.asked == [exchange]
    resource.render(request())
    assert len(new.target.asked) == 1


def test_without_a_plan_nothing_is_served():
    exchange = request()
    GatewayResource().render(exchange)
    assert (exchange.answer.status, exchange.reply.code) == (503, "overloaded")


def test_both_are_leaf_resources_of_twisted_web(route):
    for resource in (GatewayResource(), route()):
        assert verifyObject(IResource, resource)
        assert resource.isLeaf


# -- escapes ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("escape", ["%2F", "%5c", "%00"])
def test_escaped_separators_are_refused_unless_configured(route, escape):
    made = route()
    exchange = asked(made, f"GET /a{escape}b")
    assert (exchange.answer.status, made.target.asked) == (400, [])


def test_escaped_separators_are_kept_where_the_route_says_so(route):
    made = route(escapes="keep")
    assert asked(made, "GET /a%2fb").sent == b"target"
    assert made.target.asked[0].head.path == b"/a%2Fb"


@pytest.mark.parametrize(
    "path",
    ["/a/..%2fb", "/a%2f..%2fb", "/a%2f..", "/a%5c../b", "/a/%2e%2e%5cb", "/a%2f.%2fb", "/a%2f..;x/b", "/a%2f..%3bx"],
)
def test_dot_segments_that_hide_behind_escapes_are_refused_even_there(route, path):
    exchange = asked(route(escapes="keep"), f"GET {path}")
    assert (exchange.answer.status, exchange.route.target.asked) == (400, [])


@pytest.mark.parametrize("path", ["/a%2f..b", "/a%2f.well-known", "/a%2f...", "/..a%2fb", "/a..%2fb"])
def test_dots_in_names_are_no_dot_segments(route, path):
    assert asked(route(escapes="keep"), f"GET {path}").sent == b"target"


@pytest.mark.parametrize(
    ("asked_for", "sent_to"),
    [
        ("/a%2Fb?x=%2F", b"/a/b?x=%2F"),
        ("/a%5Cb", b"/a/b"),
        ("/%2F%2Fevil.example", b"/evil.example"),
        ("/%5Cevil.example", b"/evil.example"),
        ("/a%2F..%2Fb", b"/b"),
    ],
)
def test_escaped_separators_are_decoded_by_a_redirect_to_this_very_host(route, asked_for, sent_to):
    exchange = asked(route(escapes="redirect"), f"GET {asked_for}")
    assert (exchange.answer.status, exchange.answer.get(b"location")) == (308, sent_to)


@pytest.mark.parametrize("path", ["/a%00", "/%2F..%2F.."])
def test_what_cannot_be_decoded_safely_is_refused(route, path):
    assert asked(route(escapes="redirect"), f"GET {path}").answer.status == 400


# -- hooks ------------------------------------------------------------------------------------------------------------


def test_request_hooks_run_by_phase_then_in_file_order(route):
    calls = []
    filters = [
        filter_of(phase, request=lambda exchange, name=name: calls.append(name))
        for name, phase in [("a", Phase.REQUEST), ("b", Phase.ACCESS), ("c", Phase.REQUEST), ("d", Phase.PREFLIGHT)]
    ]
    asked(route(*filters))
    assert calls == ["d", "b", "a", "c"]


def test_response_hooks_and_transforms_are_kept_in_reverse_order(route):
    calls = []
    filters = [
        filter_of(
            response=lambda exchange, head, name=name: calls.append(name),
            transform=lambda exchange, head, name=name: calls.append(name.upper()),
        )
        for name in "abc"
    ]
    made = route(*filters)
    for hook in (*made.response_hooks, *made.transform_hooks):
        hook(None, None)
    assert calls == ["c", "b", "a", "C", "B", "A"]


def test_hooks_that_a_filter_does_not_override_cost_nothing(route):
    made = route(filter_of(), filter_of(done=lambda exchange: None))
    hooks = (made.request_hooks, made.response_hooks, made.transform_hooks, made.reply_hooks)
    assert [len(each) for each in hooks] == [0, 0, 0, 0]
    assert len(made.done_hooks) == 1


def test_a_filter_that_answers_keeps_the_target_out(route):
    made = route(filter_of(request=lambda exchange: Reply(418)), filter_of(request=lambda exchange: 1 / 0))
    exchange = asked(made)
    assert (exchange.answer.status, made.target.asked) == (418, [])


def test_a_filter_that_fails_answers_500_and_is_logged(route, logged):
    class Broken(Filter[Settings]):
        name = "broken"

        def request(self, exchange):
            raise RuntimeError("broken")

    made = route(Broken(Settings(), None))
    exchange = asked(made)
    assert (exchange.answer.status, made.target.asked) == (500, [])
    assert [(event["filter"], event["route"]) for event in logged] == [("broken", "r")]


def test_every_filter_that_wants_a_slot_gets_one_of_its_own(route):
    seen = []

    def keep(each):
        return lambda exchange: exchange.slots.__setitem__(each.slot, each)

    filters = [filter_of(wants_slot=wants) for wants in (True, False, True)]
    made = route(*filters, target=Target(lambda exchange: seen.append(list(exchange.slots))))
    assert [each.slot for each in filters] == [0, -1, 1]
    asked(made)
    assert seen == [[None, None]]


def test_reply_and_done_hooks_see_the_gateways_own_answer(route):
    calls = []
    noting = filter_of(
        reply=lambda exchange, head: calls.append(head.status), done=lambda exchange: calls.append("done")
    )
    asked(route(noting, filter_of(request=lambda exchange: Reply(418))))
    assert calls == [418, "done"]


# -- bodies and deadlines ---------------------------------------------------------------------------------------------


def test_a_body_over_the_limit_is_refused_after_the_filters(route):
    made = route()
    assert asked(made, "POST /", headers=(("Content-Length", str(11 * 1024 * 1024)),)).answer.status == 413
    assert made.target.asked == []


def test_a_filter_may_raise_the_limit(route):
    made = route(filter_of(request=lambda exchange: setattr(exchange.body, "limit", 20 * 1024 * 1024)))
    assert asked(made, "POST /", headers=(("Content-Length", str(11 * 1024 * 1024)),)).answer.status == 200


def test_the_deadline_counts_from_the_arrival(route):
    seen = []
    made = route(target=Target(lambda exchange: seen.append(exchange.deadline)), total=15.0)
    exchange = request()
    exchange.arrived = 100.0
    made.render(exchange)
    assert seen == [115.0]


def test_without_a_total_there_is_no_deadline(route):
    seen = []
    asked(route(target=Target(lambda exchange: seen.append(exchange.deadline))))
    assert seen == [float("inf")]


def test_when_the_filters_were_done_is_noted(route, clock):
    clock.advance(3)
    assert asked(route()).outcome.filtered == clock.seconds()


# -- waiting ----------------------------------------------------------------------------------------------------------


def test_a_filter_that_waits_is_waited_for(route):
    pending = Deferred()
    made = route(filter_of(request=lambda exchange: pending))
    exchange = asked(made)
    assert (exchange.answer, made.target.asked) == (None, [])
    pending.callback(None)
    assert made.target.asked == [exchange]


def test_a_verdict_that_came_late_is_the_answer(route):
    pending = Deferred()
    made = route(filter_of(request=lambda exchange: pending))
    exchange = asked(made)
    pending.callback(Reply(418))
    assert (exchange.answer.status, made.target.asked) == (418, [])


def test_waiting_ends_when_the_client_leaves(route):
    cancelled = []
    made = route(filter_of(request=lambda exchange: Deferred(cancelled.append)))
    exchange = asked(made)
    exchange.leave()
    assert (len(cancelled), made.target.asked, exchange.answer) == (1, [], None)
    assert isinstance(exchange.outcome.error, ClientGone)


def test_a_client_that_left_already_is_noticed_at_once(route, sweep):
    cancelled = []
    made = route(filter_of(request=lambda exchange: Deferred(cancelled.append)), total=1.0)
    exchange = request()
    exchange.leave()
    made.render(exchange)
    assert (len(cancelled), made.target.asked, sweep._watched) == (1, [], set())


def test_a_filter_that_shrugs_the_cancellation_off_changes_nothing(route):
    async def stubborn(pending):
        try:
            await pending
        except Exception:
            return Reply(418)

    made = route(filter_of(request=lambda exchange: stubborn(Deferred())))
    exchange = asked(made)
    exchange.leave()
    assert (exchange.answer, made.target.asked) == (None, [])


def test_waiting_ends_at_the_deadline(route, clock):
    cancelled = []
    made = route(filter_of(request=lambda exchange: Deferred(cancelled.append)), total=5.0)
    exchange = asked(made)
    clock.pump([0.1] * 48)
    assert exchange.answer is None
    clock.pump([0.1] * 4)
    assert (exchange.answer.status, exchange.reply.code, len(cancelled)) == (504, "deadline_exceeded", 1)
    assert made.target.asked == []


def test_nothing_is_watched_once_the_filters_decided(route, sweep):
    pending = Deferred()
    asked(route(filter_of(request=lambda exchange: pending), total=5.0))
    assert len(sweep._watched) == 1
    pending.callback(None)
    assert sweep._watched == set()


def test_the_client_belongs_to_the_target_once_the_filters_decided(route):
    """A target that asks to be told when the client leaves must not be undone by the end of the wait."""
    pending, gone = Deferred(), []
    made = route(
        filter_of(request=lambda exchange: pending), target=Target(lambda exchange: exchange.on_gone(gone.append))
    )
    exchange = asked(made)
    pending.callback(None)
    exchange.leave()
    assert len(gone) == 1


def test_a_filter_that_cancels_itself_is_a_bug_and_not_a_silence(route, logged):
    pending = Deferred()
    exchange = asked(route(filter_of(request=lambda exchange: pending)))
    pending.cancel()
    assert exchange.answer.status == 500
    assert len(logged) == 1


# -- failures of targets ----------------------------------------------------------------------------------------------


def broken(exchange):
    raise RuntimeError("broken target")


def no_peer(exchange):
    raise NoPeer("none")


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize(("does", "status", "lines"), [(broken, 500, 1), (no_peer, 503, 0)])
def test_a_target_that_raises_is_answered_for_and_bugs_are_logged(route, logged, late, does, status, lines):
    pending = Deferred()
    made = route(filter_of(request=lambda exchange: pending if late else None), target=Target(does))
    exchange = asked(made)
    if late:
        pending.callback(None)
    assert exchange.answer.status == status
    assert len(logged) == lines


def test_a_target_that_raises_in_the_middle_breaks_the_answer_off(route, logged):
    def does(exchange):
        exchange.start(ResponseHead(200, []))
        exchange.write(b"half")
        raise RuntimeError("broken")

    exchange = asked(route(target=Target(does)))
    assert (exchange.sent, exchange.broken) == (b"half", True)


# -- preflights -------------------------------------------------------------------------------------------------------

PREFLIGHT = (("Origin", "https://app.example"), ("Access-Control-Request-Method", "PUT"))


def answering():
    return filter_of(
        Phase.PREFLIGHT,
        answers_preflight=True,
        request=lambda exchange: Reply(204) if exchange.head.preflight else None,
    )


def test_a_preflight_goes_to_the_route_of_the_method_it_asks_about(route):
    put = route(answering(), name="put", match={"path": "/x", "methods": ["PUT"]})
    rest = route(name="rest")
    exchange = asked((put, rest), "OPTIONS /x", headers=PREFLIGHT)
    assert (exchange.route, exchange.answer.status, exchange.head.method) == (put, 204, b"OPTIONS")


def test_a_preflight_is_an_ordinary_request_where_nothing_answers_it(route):
    put = route(name="put", match={"path": "/x", "methods": ["PUT"]})
    rest = route(name="rest")
    assert asked((put, rest), "OPTIONS /x", headers=PREFLIGHT).route is rest
    assert asked(put, "OPTIONS /x", headers=PREFLIGHT).answer.status == 405


@pytest.mark.parametrize("headers", [(), PREFLIGHT[:1], PREFLIGHT[1:]])
def test_other_options_requests_are_matched_as_they_are(route, headers):
    put = route(answering(), name="put", match={"path": "/x", "methods": ["PUT"]})
    assert asked(put, "OPTIONS /x", headers=headers).answer.status == 405


# -- strangers --------------------------------------------------------------------------------------------------------


def test_the_gateways_own_exchanges_are_taken_as_they_are(route, sweep):
    made = route()
    listener = ListenerSpec(name="a", address="127.0.0.1:0")
    site = GatewaySite(GatewayResource(Plan(made)), listener=listener, process=ProcessSpec(), sweep=sweep)
    channel, transport = site.buildProtocol(None), StringTransport(peerAddress=IPv4Address("TCP", "192.0.2.1", 1))
    channel.makeConnection(transport)
    channel.dataReceived(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert type(made.target.asked[0]) is Exchange
    assert transport.value().endswith(b"\r\n\r\ntarget")


def test_it_works_below_any_site_of_twisted_web(route):
    class Stock(Site):
        def buildProtocol(self, address):
            channel = super().buildProtocol(address)
            channel._channel.callLater = clock.callLater
            return channel

    clock = Clock()
    site = Stock(GatewayResource(Plan(route(filter_of(request=lambda exchange: None)))), reactor=clock)
    for line, status in [(b"GET /x HTTP/1.1", b"200"), (b"GET /x#y HTTP/1.1", b"400")]:
        transport = StringTransport()
        channel = site.buildProtocol(None)
        channel.makeConnection(transport)
        channel.dataReceived(line + b"\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        assert transport.value().split(b" ")[1] == status


def test_what_is_no_request_is_refused_loudly(route):
    with pytest.raises(TypeError):
        GatewayResource(Plan(route())).render(object())


def test_a_head_is_what_tables_match(route):
    assert Plan(route()).table.match(RequestHead(b"GET", b"/", [])).name == "r"
