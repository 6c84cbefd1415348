"""Requests of Twisted Web as exchanges: what the contract suite cannot see, because a stock `Site` over HTTP/1 has none of it."""

import io

import pytest
from twisted.internet.address import IPv4Address, UNIXAddress
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.web.http_headers import Headers
from twisted.web.iweb import IRequest
from twisted.web.server import Request, Site
from zope.interface import implementer
from zope.interface.verify import verifyObject

import suuupra_gateway.http.stock
from suuupra_gateway.config.model import ListenerLimits, ListenerSpec, ProcessSpec
from suuupra_gateway.errors import BadRequest, BodyTooLarge, Bug, NoPeer, UpgradeRefused
from suuupra_gateway.http.cycle import ImpossibleStep
from suuupra_gateway.http.message import Reply, ResponseHead
from suuupra_gateway.http.site import GatewaySite
from suuupra_gateway.http.stock import RequestExchange
from suuupra_gateway.interfaces import IExchange
from suuupra_gateway.net.sweep import Sweep
from tests.http.edge import OK, Collecting, Leaf, Pacer

BALANCER = IPv4Address("TCP", "10.0.0.1", 999)


class Stream:
    """A stream of HTTP/2, as `twisted.web._http2.H2Stream` looks to a request."""

    transport = None
    factory = None

    def __init__(self, site, peer=BALANCER, secure=True):
        self.site = site
        self.peer = peer
        self.secure = secure
        self.head = None
        self.sent = b""
        self.done = self.aborted = False
        self.producer = None

    def getPeer(self):
        return self.peer

    def getHost(self):
        return IPv4Address("TCP", "10.0.0.2", 443)

    def isSecure(self):
        return self.secure

    def writeHeaders(self, version, code, reason, headers):
        self.head = (int(code), {name.lower(): values for name, values in headers.getAllRawHeaders()})

    def write(self, data):
        self.sent += data

    def requestDone(self, request):
        self.done = True

    def abortConnection(self):
        self.aborted = True

    def registerProducer(self, producer, streaming):
        self.producer = producer

    def unregisterProducer(self):
        self.producer = None


@pytest.fixture
def settled():
    return []


@pytest.fixture
def site(settled):
    clock = Clock()
    return GatewaySite(
        Leaf(),
        listener=ListenerSpec(name="h2", address="127.0.0.1:0", limits=ListenerLimits(body=4), underscores="keep"),
        process=ProcessSpec(name="gw", trusted_proxies=("10.0.0.0/8",)),
        sweep=Sweep(clock, monotonic=clock.seconds),
        settled=settled.append,
    )


def received(stream, *fields, method=b"GET", uri=b"/", version=b"HTTP/2", body=b""):
    """The exchange of a request that came on ``stream``; ``fields`` in addition to a host."""
    request = Request(stream, parsePOSTFormSubmission=False)
    for name, value in ((b"host", b"a.example"), *fields):
        request.requestHeaders.addRawHeader(name, value)
    request.gotLength(len(body))
    if body:
        request.handleContentChunk(body)
    request.site = stream.site
    request.process = lambda: None
    request.requestReceived(method, uri, version)
    return IExchange(request)


def test_importing_the_module_registers_the_adapter(site):
    exchange = received(Stream(site))
    assert type(exchange) is RequestExchange
    assert verifyObject(IExchange, exchange)
    assert suuupra_gateway.http.stock.RequestExchange is RequestExchange


def test_the_listeners_terms_hold_for_http_2_as_well(site, settled):
    stream = Stream(site)
    exchange = received(stream, (b"x_one", b"1"))
    assert exchange.head.version == b"2"
    assert exchange.head.get(b"x_one") == b"1"
    assert exchange.secure
    assert exchange.body.limit == 4
    exchange.abort(NoPeer())
    status, headers = stream.head
    assert status == 503
    assert headers[b"proxy-status"] == [b"gw; error=destination_unavailable"]
    assert stream.done
    assert settled == [exchange]


def test_trusted_proxies_are_believed(site):
    exchange = received(
        Stream(site, secure=False),
        (b"x-forwarded-for", b"203.0.113.9"),
        (b"x-forwarded-proto", b"http, https"),
        (b"x-request-id", b"theirs-1"),
    )
    assert (exchange.client, exchange.peer, exchange.secure) == ("203.0.113.9", "10.0.0.1", True)
    assert exchange.id == b"theirs-1"


@pytest.mark.parametrize("fields", [(), ((b"x-request-id", b"no good"),), ((b"x-request-id", b"x" * 65),)])
def test_ids_that_are_none_are_replaced(site, fields):
    exchange = received(Stream(site), *fields)
    assert len(exchange.id) == 36


def test_nobody_else_is_believed(site):
    exchange = received(
        Stream(site, peer=IPv4Address("TCP", "192.0.2.7", 1), secure=False),
        (b"x-forwarded-for", b"203.0.113.9"),
        (b"x-forwarded-proto", b"https"),
        (b"x-request-id", b"theirs-1"),
    )
    assert (exchange.client, exchange.secure) == ("192.0.2.7", False)
    assert exchange.id != b"theirs-1"


def test_unix_clients_have_no_address(site):
    exchange = received(Stream(site, peer=UNIXAddress(None)))
    assert (exchange.client, exchange.peer) == ("", "")


def test_a_site_that_is_not_ours_gets_defaults():
    clock = Clock()
    exchange = received(Stream(Site(Leaf(), reactor=clock)))
    assert exchange.body.limit == ListenerLimits().body
    assert len(exchange.id) == 36
    assert exchange.id[14:15] == b"7"
    exchange.respond(OK)
    assert exchange.outcome.ended >= exchange.arrived > 0


def test_bodies_without_a_declared_length_count_as_chunked(site):
    exchange = received(Stream(site), method=b"POST", body=b"1234")
    assert (exchange.head.chunked, exchange.head.content_length) == (True, None)
    sink = Collecting()
    exchange.body.subscribe(sink)
    assert sink.data == b"1234"


def test_an_end_of_the_stream_may_come_with_its_head(site):
    stream = Stream(site)
    exchange = received(stream)
    exchange.start(ResponseHead(200, []))
    exchange.finish()
    assert stream.head[0] == 200
    assert stream.done


def test_a_stream_is_cut_alone(site):
    stream = Stream(site)
    exchange = received(stream)
    exchange.start(ResponseHead(200, []))
    exchange.write(b"x")
    exchange.abort(NoPeer())
    assert stream.aborted
    assert not stream.done


def test_a_request_whose_channel_is_gone_is_cut_without_one(site):
    stream = Stream(site)
    exchange = received(stream)
    exchange.start(ResponseHead(200, []))
    exchange.write(b"x")
    exchange._request.channel = None
    exchange.abort(NoPeer())
    assert isinstance(exchange.outcome.error, NoPeer)


def test_a_refused_request_is_answered_when_it_is_adapted(site, settled):
    stream = Stream(site)
    exchange = received(stream, uri=b"/%zz")
    assert stream.head[0] == exchange.outcome.status == 400
    assert isinstance(exchange.outcome.error, BadRequest)
    exchange.respond(OK)
    exchange.abort(NoPeer())
    assert settled == [exchange]


def test_interim_answers_are_left_out(site):
    stream = Stream(site)
    exchange = received(stream)
    exchange.inform(ResponseHead(103, [(b"link", b"</x>")]))
    exchange.respond(OK)
    assert stream.head[0] == 200


def test_a_client_that_leaves_while_the_body_waits_cuts_it(site):
    exchange = received(Stream(site), method=b"POST", body=b"1234")
    sink = Collecting()
    exchange.body.pause()
    exchange.body.subscribe(sink)
    exchange._request.connectionLost(Failure(ConnectionDone()))
    assert sink.error is not None
    assert exchange.outcome.status == 499


def test_an_answer_before_the_body_was_taken_cuts_the_body(site):
    exchange = received(Stream(site), method=b"POST", body=b"1234")
    sink = Collecting()
    exchange.body.pause()
    exchange.body.subscribe(sink)
    exchange.respond(OK)
    assert sink.error is not None


def test_a_subscriber_that_answers_with_an_error_of_ours_is_no_bug(site):
    stream = Stream(site)
    exchange = received(stream, method=b"POST", body=b"1234")

    class Refusing(Collecting):
        def feed(self, data):
            raise NoPeer

    exchange.body.subscribe(Refusing())
    assert stream.head[0] == 503


def test_a_subscriber_may_resume_from_inside_of_a_piece(site):
    exchange = received(Stream(site), method=b"POST", body=b"1234")

    class Eager(Collecting):
        def feed(self, data):
            super().feed(data)
            exchange.body.pause()
            exchange.body.resume()

    sink = Eager()
    exchange.body.subscribe(sink)
    assert (sink.data, sink.trailers) == (b"1234", [])


def test_producers_are_not_told_of_the_end(site):
    stream = Stream(site)
    exchange = received(stream)
    pacer = Pacer()
    exchange.register(pacer)
    stream.producer.pauseProducing()
    stream.producer.stopProducing()
    assert pacer.told == ["pause"]
    exchange.register(None)
    exchange.register(None)
    assert stream.producer is None


@implementer(IRequest)
class Foreign:
    """The least that an `IRequest` of somebody else's must have."""

    method, uri, clientproto = b"GET", b"http://b.example/x?y", b"HTTP/1.0"
    content = io.BytesIO()
    transport = None

    def __init__(self, **attributes):
        self.lost = Deferred()
        self.written = []
        self.finished = False
        self.requestHeaders = Headers({})
        self.responseHeaders = Headers({})
        self.__dict__.update(attributes)

    def getClientAddress(self):
        return BALANCER

    def isSecure(self):
        return False

    def notifyFinish(self):
        return self.lost

    def setResponseCode(self, code, message=None):
        self.code = code

    def write(self, data):
        self.written.append(data)

    def finish(self):
        self.finished = True


def test_any_request_can_be_adapted():
    request = Foreign()
    exchange = IExchange(request)
    assert (exchange.head.host, exchange.head.path, exchange.head.query) == (b"b.example", b"/x", b"y")
    exchange.respond(Reply(200, body=b"x"))
    assert (request.code, request.written, request.finished) == (200, [b"x"], True)


def test_cutting_a_request_without_a_connection_is_quiet():
    exchange = IExchange(Foreign())
    exchange.start(ResponseHead(200, []))
    exchange.write(b"x")
    exchange.abort(NoPeer())
    assert exchange.outcome.status == 200


def test_a_204_announces_no_length():
    request = Foreign()
    exchange = IExchange(request)
    exchange.start(ResponseHead(204, [], length=0))
    exchange.finish()
    assert not request.responseHeaders.hasHeader(b"content-length")


# -- as the contract suite, so that this module stands by itself --------------------------------------------------------


def test_more_bytes_than_the_limit_cut_the_body(site):
    exchange = received(Stream(site), method=b"POST", body=b"12345")
    sink = Collecting()
    exchange.body.subscribe(sink)
    assert isinstance(sink.error, BodyTooLarge)


def test_a_subscriber_that_fails_is_a_bug(site):
    stream = Stream(site)
    exchange = received(stream, method=b"POST", body=b"1234")

    class Failing(Collecting):
        def feed(self, data):
            raise ZeroDivisionError

    exchange.body.subscribe(Failing())
    assert stream.head[0] == 500


def begun(site, length=None, *, status=200, method=b"GET", headers=()):
    stream = Stream(site)
    exchange = received(stream, method=method)
    exchange.start(ResponseHead(status, list(headers), length=length))
    return exchange, stream


def test_a_stream_of_known_length(site):
    exchange, stream = begun(site, 5)
    exchange.write(b"he")
    exchange.write(b"")
    exchange.write(b"llo")
    exchange.finish()
    assert (stream.sent, stream.head[1][b"content-length"], stream.done) == (b"hello", [b"5"], True)
    assert exchange.outcome.sent == 5


@pytest.mark.parametrize("pieces", [(b"hell",), (b"hello", b"!")])
def test_what_is_not_as_long_as_announced_is_cut(site, pieces):
    exchange, stream = begun(site, 5)
    for piece in pieces:
        exchange.write(piece)
    exchange.finish()
    assert stream.aborted
    assert not stream.done
    assert isinstance(exchange.outcome.error, Bug)


@pytest.mark.parametrize(("method", "status"), [(b"HEAD", 200), (b"GET", 304), (b"GET", 204)])
def test_answers_without_a_body_drop_it(site, method, status):
    exchange, stream = begun(site, 5, method=method, status=status)
    exchange.write(b"hello, all")
    exchange.finish()
    assert stream.sent == b""
    assert stream.done
    assert exchange.outcome.sent == 0


@pytest.mark.parametrize("finish", [True, False])
def test_a_head_with_line_breaks_is_a_bug(site, finish):
    exchange, stream = begun(site, headers=[(b"x", b"a\r\nb: c"), (b"x", b"d")])
    if finish:
        exchange.finish()
    else:
        exchange.write(b"x")
    assert stream.head[0] == 500
    assert stream.done


def test_fields_replace_twisteds_own(site):
    exchange, stream = begun(site, headers=[(b"date", b"now"), (b"x", b"1"), (b"x", b"2")], length=0)
    exchange.finish()
    assert stream.head[1] == {b"date": [b"now"], b"x": [b"1", b"2"], b"content-length": [b"0"]}


def test_a_stream_without_a_byte_has_length_zero(site):
    stream = Stream(site)
    exchange = received(stream, version=b"HTTP/1.1")
    exchange.start(ResponseHead(200, []))
    exchange.finish()
    assert stream.head[1][b"content-length"] == [b"0"]


def test_steps_in_an_impossible_order_raise(site):
    exchange = received(Stream(site))
    for step in (lambda: exchange.write(b"x"), exchange.finish):
        with pytest.raises(ImpossibleStep):
            step()


def test_after_the_client_left_nothing_matters(site):
    stream = Stream(site)
    exchange = received(stream)
    exchange._request.connectionLost(Failure(ConnectionDone()))
    exchange.respond(OK)
    exchange.write(b"x")
    exchange.finish()
    exchange.register(Pacer())
    assert (stream.head, stream.producer) == (None, None)
    assert exchange.outcome.status == 499


def test_a_client_that_leaves_after_the_answer_is_nobodys_business(site):
    exchange = received(Stream(site))
    exchange.respond(OK)
    exchange._lost(Failure(ConnectionDone()))
    assert exchange.outcome.status == 200


def test_there_is_nothing_to_detach(site):
    with pytest.raises(UpgradeRefused):
        received(Stream(site)).detach()


def test_names_with_underscores_are_dropped_by_default():
    exchange = received(Stream(Site(Leaf(), reactor=Clock())), (b"x_one", b"1"), (b"x-two", b"2"))
    assert [name for name, _ in exchange.head.headers] == [b"host", b"x-two"]


def test_a_declared_length_is_taken(site):
    exchange = received(Stream(site), (b"content-length", b"4"), method=b"POST", body=b"1234")
    assert (exchange.head.content_length, exchange.head.chunked) == (4, False)


@pytest.mark.parametrize(
    ("fields", "uri", "method", "status"),
    [
        ((), b"/", b"BREW", 501),
        (((b"host", b"b.example"),), b"/", b"GET", 400),
        (((b"host", None),), b"/", b"GET", 400),
        (((b"host", None), (b"host", b"a b")), b"/", b"GET", 400),
        ((), b"http://b.example/", b"GET", 400),
    ],
)
def test_what_the_edge_would_refuse_is_refused(site, fields, uri, method, status):
    stream = Stream(site)
    request = Request(stream, parsePOSTFormSubmission=False)
    request.requestHeaders.addRawHeader(b"host", b"a.example")
    for name, value in fields:
        if value is None:
            request.requestHeaders.removeHeader(name)
        else:
            request.requestHeaders.addRawHeader(name, value)
    request.gotLength(0)
    request.site = site
    request.process = lambda: None
    request.requestReceived(method, uri, b"HTTP/1.1")
    assert IExchange(request).outcome.status == stream.head[0] == status


def test_old_clients_need_no_host():
    exchange = IExchange(Foreign(uri=b"/"))
    assert (exchange.head.version, exchange.head.host) == (b"1.0", b"")
