"""Any resource tree below a route: byte for byte what a stock `Site` answers, but for the ``Date`` and the order of fields."""

import contextlib
import functools
import os
import socket
import struct
import subprocess
import sys
from types import SimpleNamespace

import pytest
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.task import Clock
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET

from suuupra_gateway.config.model import MatchSpec
from suuupra_gateway.errors import NoPeer
from suuupra_gateway.targets.mount import MountResource, depth_of
from tests.http.edge import Edge, read_answers
from tests.targets.mounts import PIECE, Page

# -- against a stock Site ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def servers(tmp_path_factory):
    """``ask(raw) -> [answer of the stock Site, of the mount]`` and the process."""
    directory = tmp_path_factory.mktemp("files")
    (directory / "a.txt").write_bytes(b"0123456789" * 1000)
    (directory / "large.bin").write_bytes(os.urandom(3_000_000))
    (directory / "empty.html").write_bytes(b"")
    for file in directory.iterdir():
        os.utime(file, (784111777, 784111777))
    command = [sys.executable, "-m", "tests.targets.mounts", str(directory)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield SimpleNamespace(ports=[int(word) for word in process.stdout.readline().split()], out=process.stdout)
        finally:
            process.terminate()


def ask(port, raw):
    with socket.create_connection(("127.0.0.1", port), timeout=20) as sock:
        sock.sendall(raw)
        pieces = []
        while piece := sock.recv(65536):
            pieces.append(piece)
        return b"".join(pieces)


def compared(port, raw, method):
    answer = read_answers(ask(port, raw), method, closed=True)[0]
    body = answer.body.replace(b":%d" % port, b":PORT")
    fields = sorted((name, value) for name, value in answer.headers.items() if name != b"date")
    return answer.status, answer.reason, fields, body


def request(line, *fields, body=b""):
    head = b"%b HTTP/1.1\r\nHost: 127.0.0.1:%%d\r\n" % line
    return head + b"".join(field + b"\r\n" for field in (*fields, b"Connection: close")) + b"\r\n" + body


MULTIPART = (
    b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\n1\r\n'
    b'--x\r\nContent-Disposition: form-data; name="f"; filename="f.txt"\r\nContent-Type: text/plain\r\n\r\n'
    b"file\r\n--x--\r\n"
)
FORM = b"Content-Type: application/x-www-form-urlencoded"

REQUESTS = {
    "get": request(b"GET /tree/page"),
    "root": request(b"GET /tree/"),
    "root without its slash": request(b"GET /tree"),
    "below a leaf": request(b"GET /tree/page/a%20b/c/?x=1&x=2&y=%26"),
    "an empty query": request(b"GET /tree/page?"),
    "fields": request(b"GET /tree/page", b"X-One: 1", b"x-one: 2", b"Cookie: a=1; b=2", b"Authorization: Basic YTpi"),
    "head": request(b"HEAD /tree/page"),
    "head of a stream": request(b"HEAD /tree/fields"),
    "form": request(b"POST /tree/page?q=1", FORM, b"Content-Length: 11", body=b"a=1&b=%41&q"),
    "form in chunks": request(
        b"POST /tree/page", FORM, b"Transfer-Encoding: chunked", body=b"4\r\na=1&\r\n3\r\nb=2\r\n0\r\n\r\n"
    ),
    "multipart": request(
        b"POST /tree/page",
        b"Content-Type: multipart/form-data; boundary=x",
        b"Content-Length: %d" % len(MULTIPART),
        body=MULTIPART,
    ),
    "put": request(b"PUT /tree/page", b"Content-Length: 3", body=b"abc"),
    "large post": request(b"POST /tree/page", b"Content-Length: 300000", body=b"x" * 300_000),
    "empty post": request(b"POST /tree/page", b"Content-Length: 0"),
    "not found": request(b"GET /tree/nothing"),
    "not allowed": request(b"PUT /tree/boom", b"Content-Length: 0"),
    "options": request(b"OPTIONS /tree/page"),
    "failure": request(b"GET /tree/boom"),
    "redirect": request(b"GET /tree/redirect"),
    "status and fields": request(b"GET /tree/fields"),
    "304": request(b"GET /tree/fields?code=304"),
    "not modified": request(b"GET /tree/fields", b'If-None-Match: "tag"'),
    "session": request(b"GET /tree/session"),
    "push": request(b"GET /tree/push"),
    "pull": request(b"GET /tree/pull"),
    "file": request(b"GET /tree/files/a.txt"),
    "file's head": request(b"HEAD /tree/files/a.txt"),
    "empty file": request(b"GET /tree/files/empty.html"),
    "large file": request(b"GET /tree/files/large.bin"),
    "range": request(b"GET /tree/files/a.txt", b"Range: bytes=5-14"),
    "end of a large file": request(b"GET /tree/files/large.bin", b"Range: bytes=-100000"),
    "range beyond the end": request(b"GET /tree/files/a.txt", b"Range: bytes=10000-"),
    "file not modified": request(b"GET /tree/files/a.txt", b"If-Modified-Since: Sun, 06 Nov 1994 08:49:37 GMT"),
    "directory": request(b"GET /tree/files"),
}


@pytest.mark.parametrize("raw", REQUESTS.values(), ids=REQUESTS)
def test_answers_are_those_of_a_stock_site(servers, raw):
    method = raw.split(b" ", 1)[0]
    stock, mounted = (compared(port, raw.replace(b"%d", b"%d" % port, 1), method) for port in servers.ports)
    assert mounted == stock


def test_an_answer_without_content_announces_no_length(servers):
    """The one place where the mount is not byte for byte: RFC 9110 section 8.6 forbids what Twisted sends with a 204."""
    raw = request(b"GET /tree/fields?code=204")
    stock, mounted = (compared(port, raw.replace(b"%d", b"%d" % port, 1), b"GET") for port in servers.ports)
    stock[2].remove((b"content-length", b"0"))
    assert mounted == stock


def test_several_ranges_differ_in_nothing_but_their_boundary(servers):
    raw = request(b"GET /tree/files/a.txt", b"Range: bytes=0-9, 100-109")
    answers = []
    for port in servers.ports:
        status, _, fields, body = compared(port, raw.replace(b"%d", b"%d" % port, 1), b"GET")
        boundary = dict(fields)[b"content-type"].partition(b"boundary=")[2].strip(b'"')
        assert boundary
        answers.append((status, len(fields), body.replace(boundary, b"BOUNDARY")))
    assert answers[0] == answers[1]
    assert answers[0][0] == 206


def test_old_clients_get_the_same_body(servers):
    raw = b"GET /tree/push HTTP/1.0\r\n\r\n"
    bodies = [ask(port, raw).partition(b"\r\n\r\n")[2] for port in servers.ports]
    assert bodies[0] == bodies[1] == PIECE * 200


def test_a_malformed_form_is_refused(servers):
    raw = request(
        b"POST /tree/page", b"Content-Type: multipart/form-data; boundary=x", b"Content-Length: 7", body=b"rubbish"
    )
    statuses = [ask(port, raw.replace(b"%d", b"%d" % port, 1)).split(b" ", 2)[1] for port in servers.ports]
    assert statuses == [b"400", b"400"]


def test_requests_of_one_connection_come_in_order(servers):
    raw = b"".join(b"GET /tree/page/%d HTTP/1.1\r\nHost: a\r\n\r\n" % number for number in range(5))
    raw += b"GET /tree/page/5 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
    answers = read_answers(ask(servers.ports[1], raw), *[b"GET"] * 6, closed=True)
    assert [b"postpath: [b'%d']" % number in answer.body for number, answer in enumerate(answers)] == [True] * 6


def reset(sock):
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


@pytest.mark.parametrize("end", [reset, socket.socket.close], ids=["reset", "close"])
def test_notifyFinish_tells_that_the_client_has_left(servers, end):
    for port in servers.ports:
        with contextlib.closing(socket.create_connection(("127.0.0.1", port), timeout=20)) as sock:
            sock.sendall(b"GET /tree/gone HTTP/1.1\r\nHost: a\r\n\r\n")
            assert sock.recv(65536)
            end(sock)
        word, _, kind = servers.out.readline().strip().partition(" ")
        assert word == "gone"
        assert kind in ("ConnectionLost", "ConnectionDone")


# -- by itself ---------------------------------------------------------------------------------------------------------


class Mounted(Edge):
    """A tree in the gateway, in memory; pull producers take their turns by `clock`."""

    def __init__(self, tree, match=None, **options):
        super().__init__(self.render, **options)
        self.mount = MountResource(tree, reactor=self.clock)
        self.match = match or MatchSpec(prefix="/tree")

    def render(self, exchange):
        spec = SimpleNamespace(match=self.match)
        exchange.route = SimpleNamespace(name="tree", spec=spec, done_hooks=(), reply_hooks=())
        assert self.mount.render(exchange) is NOT_DONE_YET


class Leaf(Resource):
    """Keeps its requests, and lets a function answer them."""

    isLeaf = True

    def __init__(self, answer=lambda request: NOT_DONE_YET):
        super().__init__()
        self.answer = answer
        self.requests = []

    def render(self, request):
        self.requests.append(request)
        self.ends = []
        request.notifyFinish().addBoth(self.ends.append)
        return self.answer(request)


GET = b"GET /tree/x/y HTTP/1.1\r\nHost: a.example:8443\r\n\r\n"


@pytest.mark.parametrize(
    ("match", "depth"),
    [
        (MatchSpec(), 0),
        (MatchSpec(prefix="/"), 0),
        (MatchSpec(prefix="/a"), 1),
        (MatchSpec(prefix="/a/b/"), 2),
        (MatchSpec(path="/"), 0),
        (MatchSpec(path="/a/b"), 2),
        (MatchSpec(path="/a/{id}"), 2),
        (MatchSpec(path="/a/{id}/{rest*}"), 2),
        (MatchSpec(path="/{rest*}"), 0),
        (MatchSpec(regex="/a/.*"), 0),
    ],
)
def test_what_belongs_to_the_route(match, depth):
    assert depth_of(match) == depth


@pytest.mark.parametrize(
    ("match", "prepath", "postpath"),
    [
        (MatchSpec(prefix="/tree"), [b"tree"], [b"x", b"y"]),
        (MatchSpec(prefix="/tree/x/"), [b"tree", b"x"], [b"y"]),
        (MatchSpec(path="/tree/x/y"), [b"tree", b"x", b"y"], []),
        (MatchSpec(path="/{a}/{rest*}"), [b"tree"], [b"x", b"y"]),
        (MatchSpec(), [], [b"tree", b"x", b"y"]),
    ],
)
def test_the_tree_begins_below_the_routes_prefix(match, prepath, postpath):
    leaf = Leaf()
    Mounted(leaf, match).send(GET)
    assert (leaf.requests[0].prepath, leaf.requests[0].postpath) == (prepath, postpath)
    assert leaf.requests[0].sitepath == prepath


def test_a_path_that_a_filter_rewrote_is_taken_as_it_is():
    leaf = Leaf()
    one = Mounted(leaf)
    one.leaf.answer = lambda exchange: (
        setattr(exchange.head, "prefix", b"/tree"),
        setattr(exchange.head, "path", b"/x"),
        setattr(exchange.head, "query", b"q=1"),
        one.render(exchange),
    )
    one.send(GET)
    made = leaf.requests[0]
    assert (made.uri, made.path, made.args, made.prepath, made.postpath) == (
        b"/x?q=1",
        b"/x",
        {b"q": [b"1"]},
        [],
        [b"x"],
    )


def test_a_tree_without_a_route_begins_at_the_root():
    leaf = Leaf()
    one = Mounted(leaf)
    one.leaf.answer = one.mount.render
    one.send(GET)
    assert leaf.requests[0].prepath == []


def test_fields_are_those_that_filters_left():
    leaf = Leaf()
    one = Mounted(leaf)
    one.leaf.answer = lambda exchange: (exchange.head.headers.append((b"x-user-id", b"7")), one.render(exchange))
    one.send(GET)
    assert leaf.requests[0].getHeader("X-User-Id") == "7"


@pytest.mark.parametrize(
    ("host", "secure", "address"),
    [
        (b"a.example:8443", False, IPv4Address("TCP", "a.example", 8443)),
        (b"a.example", False, IPv4Address("TCP", "a.example", 80)),
        (b"a.example", True, IPv4Address("TCP", "a.example", 443)),
        (b"8080", False, IPv4Address("TCP", "8080", 80)),
        (b"[::1]", False, IPv4Address("TCP", "[::1]", 80)),
        (b"[::1]:81", False, IPv4Address("TCP", "[::1]", 81)),
    ],
)
def test_the_host_is_the_one_that_was_asked_for(host, secure, address):
    leaf = Leaf()
    one = Mounted(leaf)
    one.leaf.answer = lambda exchange: (setattr(exchange, "secure", secure), one.render(exchange))
    one.send(b"GET / HTTP/1.1\r\nHost: %b\r\n\r\n" % host)
    assert leaf.requests[0].getHost() == address
    assert leaf.requests[0].isSecure() == secure


@pytest.mark.parametrize(
    ("client", "address"),
    [
        ("203.0.113.9", IPv4Address("TCP", "203.0.113.9", 0)),
        ("2001:db8::9", IPv6Address("TCP", "2001:db8::9", 0)),
        ("", UNIXAddress(None)),
    ],
)
def test_the_client_is_the_one_behind_trusted_proxies(client, address):
    leaf = Leaf()
    one = Mounted(leaf)
    one.leaf.answer = lambda exchange: (setattr(exchange, "client", client), one.render(exchange))
    one.send(GET)
    assert leaf.requests[0].getClientAddress() == address


def test_rendering_waits_for_the_whole_body():
    leaf = Leaf()
    one = Mounted(leaf)
    one.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n123")
    assert leaf.requests == []
    one.send(b"45")
    assert leaf.requests[0].content.read() == b"12345"


def test_a_body_beyond_the_limit_is_refused():
    for body in (b"Content-Length: 5\r\n\r\n12345", b"Transfer-Encoding: chunked\r\n\r\n5\r\n12345\r\n0\r\n\r\n"):
        leaf = Leaf()
        one = Mounted(leaf, limits={"body": 4})
        one.send(b"POST / HTTP/1.1\r\nHost: a\r\n" + body)
        assert one.answer(b"POST", closed=True).status == 413
        assert leaf.requests == []


def test_a_client_that_leaves_in_the_middle_of_the_body_is_never_rendered():
    leaf = Leaf()
    one = Mounted(leaf)
    one.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n123")
    one.lose()
    assert leaf.requests == []
    assert one.exchange.outcome.status == 499


def test_a_client_that_leaves_fails_notifyFinish_and_stops_the_producer():
    events = []

    class Producer:
        def pauseProducing(self):
            events.append("pause")

        def resumeProducing(self):
            events.append("resume")

        def stopProducing(self):
            events.append("stop")

    def answer(request):
        request.write(b"x")
        request.registerProducer(Producer(), True)
        return NOT_DONE_YET

    leaf = Leaf(answer)
    one = Mounted(leaf)
    one.send(GET)
    one.transport.producer.pauseProducing()
    one.transport.producer.resumeProducing()
    one.lose()
    assert events == ["pause", "resume", "stop"]
    assert len(leaf.ends) == 1
    leaf.requests[0].write(b"into the void")


def test_notifyFinish_succeeds_with_the_answer():
    leaf = Leaf(lambda request: b"done")
    one = Mounted(leaf)
    one.send(GET)
    assert one.answer().body == b"done"
    assert leaf.ends == [None]


def test_a_stream_may_begin_without_a_byte():
    leaf = Leaf(lambda request: request.write(b"") or NOT_DONE_YET)
    one = Mounted(leaf)
    one.send(GET)
    assert one.out.startswith(b"HTTP/1.1 200 OK\r\n")
    leaf.requests[0].finish()
    assert one.answer().body == b""


def test_an_exchange_that_others_end_ignores_the_rest():
    leaf = Leaf()
    one = Mounted(leaf)
    one.send(GET)
    one.exchange.abort(NoPeer())
    leaf.requests[0].write(b"late")
    leaf.requests[0].finish()
    assert one.answer().status == 503


@pytest.mark.parametrize("begun", [False, True])
def test_a_resource_that_drops_its_client_is_a_bug_of_its_own(begun):
    def answer(request):
        if begun:
            request.write(b"x")
        request.loseConnection()
        return NOT_DONE_YET

    leaf = Leaf(answer)
    one = Mounted(leaf)
    one.send(GET)
    assert one.aborted == begun
    assert begun or one.answer().status == 500
    assert len(leaf.ends) == 1


def test_an_answer_of_the_wrong_length_is_cut():
    def answer(request):
        request.setHeader(b"content-length", b"5")
        request.write(b"1234")
        request.finish()
        return NOT_DONE_YET

    one = Mounted(Leaf(answer))
    one.send(GET)
    assert one.aborted


def test_a_status_that_is_not_final_is_a_failure_of_the_resource():
    def answer(request):
        request.setResponseCode(101)
        return b""

    one = Mounted(Leaf(answer))
    one.send(GET)
    assert one.answer().status == 500


def test_framing_and_connection_are_not_the_resources_business():
    def answer(request):
        for name in (b"connection", b"keep-alive", b"upgrade", b"transfer-encoding"):
            request.setHeader(name, b"close")
        return b"x"

    one = Mounted(Leaf(answer))
    one.send(GET)
    headers = one.answer().headers
    assert not {b"connection", b"keep-alive", b"upgrade", b"transfer-encoding"} & set(headers)
    assert headers[b"content-length"] == b"1"


class Puller:
    def __init__(self, request, left=4, fail=False):
        self.request = request
        self.left = left
        self.fail = fail
        self.stopped = False
        request.registerProducer(self, False)

    def resumeProducing(self):
        if self.fail:
            raise ZeroDivisionError
        self.left -= 1
        self.request.write(b"%d" % self.left)
        if not self.left:
            self.request.unregisterProducer()
            self.request.finish()

    def stopProducing(self):
        self.stopped = True


def turn(clock):
    """One turn of the reactor: what is due now, and not what that asks for in its place."""
    for call in [call for call in clock.getDelayedCalls() if call.getTime() <= clock.seconds()]:
        run = functools.partial(call.func, *call.args, **call.kw)
        call.cancel()
        run()


@pytest.fixture
def pulled():
    """A mount that is answered by a pull producer."""
    producers = []

    def answer(request):
        producers.append(Puller(request))
        return NOT_DONE_YET

    one = Mounted(Leaf(answer))
    one.send(GET)
    one.producer = producers[0]
    return one


def test_a_pull_producer_gets_a_turn_at_a_time(pulled):
    assert pulled.producer.left == 4
    for left in (3, 2, 1, 0):
        turn(pulled.clock)
        assert pulled.producer.left == left
    assert pulled.answer().body == b"3210"
    turn(pulled.clock)


def test_a_pull_producer_waits_for_the_client(pulled):
    turn(pulled.clock)
    pulled.transport.producer.pauseProducing()
    for _ in range(3):
        turn(pulled.clock)
    assert pulled.producer.left == 3
    pulled.transport.producer.resumeProducing()
    pulled.transport.producer.resumeProducing()
    for _ in range(3):
        turn(pulled.clock)
    assert pulled.answer().body == b"3210"


def test_a_pull_producer_stops_when_the_client_leaves(pulled):
    turn(pulled.clock)
    pulled.lose()
    for _ in range(3):
        turn(pulled.clock)
    assert pulled.producer.stopped
    assert pulled.producer.left == 3


def test_a_pull_producer_that_fails_cuts_the_answer(pulled):
    turn(pulled.clock)
    pulled.producer.fail = True
    turn(pulled.clock)
    assert pulled.aborted
    assert pulled.producer.stopped


def test_a_second_producer_is_refused():
    def answer(request):
        Puller(request)
        with pytest.raises(ValueError):
            Puller(request)
        return NOT_DONE_YET

    Mounted(Leaf(answer)).send(GET)


def test_sessions_are_kept_by_the_mount_and_have_a_cookie_of_its_own():
    ids = []

    def answer(request):
        ids.append(request.getSession().uid)
        return b""

    one = Mounted(Leaf(answer))
    one.send(GET)
    cookie = one.answer().headers[b"set-cookie"].partition(b";")[0]
    assert cookie.startswith(b"TWISTED_SESSION_tree="), "two mounts on one host must not overwrite each other's"
    one.send(GET[:-2] + b"Cookie: " + cookie + b"\r\n\r\n")
    assert ids[0] == ids[1]


def test_making_a_mount_needs_no_reactor():
    code = (
        "import sys; from twisted.web.resource import Resource; from suuupra_gateway.targets.mount import MountResource;"
        "MountResource(Resource()); assert 'twisted.internet.reactor' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_mounts_are_leaves():
    assert MountResource(Page(), reactor=Clock()).isLeaf
