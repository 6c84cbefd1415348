"""
What users of `IAgent` may rely on: the same suite against Twisted's own `Agent` and against `UpstreamAgent`.
"""

from __future__ import annotations

from typing import Any

import pytest
import treq.client
from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import ConnectionLost
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.internet.protocol import Protocol
from twisted.internet.task import Clock
from twisted.web.client import (
    Agent,
    HTTPConnectionPool,
    RequestGenerationFailed,
    ResponseDone,
    ResponseFailed,
    ResponseNeverReceived,
    readBody,
)
from twisted.web.error import SchemeNotSupported
from twisted.web.http import PotentialDataLoss
from twisted.web.http_headers import Headers
from twisted.web.iweb import UNKNOWN_LENGTH, IAgent, IAgentEndpointFactory, IBodyProducer, IResponse
from zope.interface import implementer
from zope.interface.verify import verifyObject

from suuupra_gateway.upstreams.agent import UpstreamAgent
from tests.upstreams.rig import Network, Rig

URL = b"http://api.example.org/a?q=1"


@implementer(IAgentEndpointFactory, IStreamClientEndpoint)
class Endpoints:
    """Leads Twisted's agent to a `Network`."""

    def __init__(self, network: Network) -> None:
        self.network = network

    def endpointForURI(self, uri: Any) -> Any:
        if uri.scheme != b"http":
            raise SchemeNotSupported(uri.scheme)
        return self

    def connect(self, factory: Any) -> Deferred[Any]:
        return self.network.connect(None, "api.example.org", factory)


class Twisted:
    def __init__(self) -> None:
        self.network = Network()
        self.clock = Clock()
        self.agent = Agent.usingEndpointFactory(self.clock, Endpoints(self.network), HTTPConnectionPool(self.clock))


class Ours:
    def __init__(self) -> None:
        self.rig = Rig()
        self.network = self.rig.network
        self.clock = self.rig.clock
        self.agent = UpstreamAgent(self.rig.upstream)


@pytest.fixture(params=[Twisted, Ours])
def case(request):
    return request.param()


class Result:
    """What became of a Deferred."""

    def __init__(self, deferred):
        self.value = self.error = None
        deferred.addCallbacks(self._got, self._failed)

    def _got(self, value):
        self.value = value

    def _failed(self, failure):
        self.error = failure.value


class Reader(Protocol):
    """Takes a body."""

    def __init__(self):
        self.body = b""
        self.reason = None
        self.at_data = lambda: None

    def dataReceived(self, data):
        self.body += data
        self.at_data()

    def connectionLost(self, reason):
        self.reason = reason.value


def ask(case, method=b"GET", url=URL, headers=None, body=None):
    return Result(case.agent.request(method, url, headers, body))


def read(response):
    reader = Reader()
    response.deliverBody(reader)
    return reader


@implementer(IBodyProducer)
class Pieces:
    """A request's body, piece by piece."""

    def __init__(self, length=UNKNOWN_LENGTH):
        self.length = length
        self.done = Deferred()
        self.calls = []

    def startProducing(self, consumer):
        self.consumer = consumer
        return self.done

    def pauseProducing(self):
        self.calls.append("pause")

    def resumeProducing(self):
        self.calls.append("resume")

    def stopProducing(self):
        self.calls.append("stop")


class Eager(Pieces):
    """All of it at once."""

    def startProducing(self, consumer):
        consumer.write(b"abcd")
        return succeed(None)


def test_it_is_an_agent(case):
    verifyObject(IAgent, case.agent)


def test_a_request_says_what_was_asked(case):
    ask(case, headers=Headers({b"X-A": [b"1", b"2"]}))
    raw = case.network.wire.take()
    assert raw.startswith(b"GET /a?q=1 HTTP/1.1\r\n")
    fields = raw.lower().split(b"\r\n")
    assert b"host: api.example.org" in fields
    assert [line for line in fields if line.startswith(b"x-a")] == [b"x-a: 1", b"x-a: 2"]
    assert raw.endswith(b"\r\n\r\n")


def test_a_host_that_is_given_wins(case):
    ask(case, headers=Headers({b"Host": [b"other.example"]}))
    raw = case.network.wire.take().lower()
    assert b"host: other.example\r\n" in raw
    assert raw.count(b"host:") == 1


def test_a_port_is_part_of_the_host_unless_it_is_the_schemes_own(case):
    ask(case, url=b"http://api.example.org:8080/")
    assert b"host: api.example.org:8080\r\n" in case.network.wire.take().lower()


def test_the_response_comes_with_its_head(case):
    result = ask(case)
    case.network.wire.answer(b"HTTP/1.1 404 Gone Fishing\r\nContent-Length: 2\r\nX-A: 1\r\nX-A: 2\r\n\r\n")
    response = result.value
    verifyObject(IResponse, response)
    assert (response.version, response.code, response.phrase) == ((b"HTTP", 1, 1), 404, b"Gone Fishing")
    assert response.headers.getRawHeaders(b"x-a") == [b"1", b"2"]
    assert response.length == 2
    assert response.request.method == b"GET"
    assert response.request.absoluteURI == URL
    assert response.previousResponse is None
    response.setPreviousResponse(response)
    assert response.previousResponse is response


def test_a_body_is_delivered_to_whoever_comes_for_it(case):
    result = ask(case)
    case.network.wire.answer(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nab")
    reader = read(result.value)
    assert reader.body == b"ab"
    assert reader.reason is None
    case.network.wire.answer(b"cd")
    assert reader.body == b"abcd"
    assert type(reader.reason) is ResponseDone


def test_a_body_that_is_complete_waits(case):
    result = ask(case)
    case.network.wire.answer(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi")
    reader = read(result.value)
    assert reader.body == b"hi"
    assert type(reader.reason) is ResponseDone


def test_a_body_is_delivered_once(case):
    result = ask(case)
    case.network.wire.answer()
    read(result.value)
    with pytest.raises(RuntimeError):
        result.value.deliverBody(Reader())


def test_a_body_is_delivered_to_one(case):
    result = ask(case)
    case.network.wire.answer(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nab")
    read(result.value)
    with pytest.raises(RuntimeError):
        result.value.deliverBody(Reader())


def test_a_chunked_body_has_no_known_length(case):
    result = ask(case)
    case.network.wire.answer(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n")
    assert result.value.length is UNKNOWN_LENGTH
    reader = read(result.value)
    assert reader.body == b"hi"
    assert type(reader.reason) is ResponseDone


def test_a_body_that_only_the_connection_ends_may_have_lost_something(case):
    result = ask(case)
    case.network.wire.answer(b"HTTP/1.1 200 OK\r\n\r\nhi")
    reader = read(result.value)
    case.network.wire.lose()
    assert reader.body == b"hi"
    assert type(reader.reason) is PotentialDataLoss


def test_a_body_that_breaks_off_is_told_apart_from_a_whole_one(case):
    result = ask(case)
    case.network.wire.answer(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhi")
    reader = read(result.value)
    case.network.wire.lose()
    assert isinstance(reader.reason, ResponseFailed)


def test_head_has_no_body(case):
    result = ask(case, b"HEAD")
    case.network.wire.answer(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n")
    reader = read(result.value)
    assert reader.body == b""
    assert type(reader.reason) is ResponseDone


def test_interim_answers_are_not_responses(case):
    result = ask(case)
    case.network.wire.answer(b"HTTP/1.1 100 Continue\r\n\r\n")
    assert result.value is None
    case.network.wire.answer()
    assert result.value.code == 200


def test_nothing_is_read_before_somebody_comes_for_the_body(case):
    result = ask(case)
    case.network.wire.answer(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nab")
    assert case.network.wire.producerState == "paused"
    read(result.value)
    assert case.network.wire.producerState == "producing"


def test_a_reader_may_stop_and_go_on(case):
    result = ask(case)
    case.network.wire.answer(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nab")
    reader = read(result.value)
    reader.transport.pauseProducing()
    assert case.network.wire.producerState == "paused"
    reader.transport.resumeProducing()
    assert case.network.wire.producerState == "producing"


def test_a_reader_may_have_enough(case):
    result = ask(case)
    case.network.wire.answer(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nab")
    reader = read(result.value)
    reader.transport.loseConnection()
    case.network.wire.settle()
    assert case.network.wire.disconnecting
    assert isinstance(reader.reason, ResponseFailed)


def test_a_connection_that_closes_without_an_answer_is_no_response(case):
    result = ask(case)
    case.network.wire.reset()
    assert type(result.error) is ResponseNeverReceived


def test_a_malformed_answer_is_no_response(case):
    result = ask(case)
    case.network.wire.answer(b"rubbish\r\n\r\n")
    case.network.settle()
    assert isinstance(result.error, ResponseFailed)


def test_a_connection_that_cannot_be_made_is_an_error(case):
    case.network.failures = [ConnectionLost("no")]
    assert ask(case).error is not None


def test_cancelling_closes_the_connection(case):
    deferred = case.agent.request(b"GET", URL)
    result = Result(deferred)
    deferred.cancel()
    assert type(result.error) is ResponseNeverReceived
    assert case.network.wire.disconnecting
    case.network.settle()


def test_cancelling_while_connecting_cancels_that(case):
    case.network.slow = True
    deferred = case.agent.request(b"GET", URL)
    result = Result(deferred)
    deferred.cancel()
    assert result.error is not None
    assert case.network.cancelled == 1


def test_a_body_of_known_length_is_announced(case):
    body = Pieces(4)
    result = ask(case, b"POST", body=body)
    head = case.network.wire.take()
    assert b"content-length: 4\r\n" in head.lower()
    body.consumer.write(b"ab")
    body.consumer.write(b"cd")
    body.done.callback(None)
    assert case.network.wire.take() == b"abcd"
    case.network.wire.answer()
    assert result.value.code == 200


def test_a_body_of_unknown_length_is_chunked(case):
    body = Pieces()
    ask(case, b"POST", body=body)
    assert b"transfer-encoding: chunked\r\n" in case.network.wire.take().lower()
    body.consumer.write(b"abc")
    body.done.callback(None)
    assert case.network.wire.take().lower() == b"3\r\nabc\r\n0\r\n\r\n"


def test_a_slow_peer_pauses_the_body(case):
    body = Pieces(4)
    ask(case, b"POST", body=body)
    case.network.wire.producer.pauseProducing()
    case.network.wire.producer.resumeProducing()
    assert body.calls == ["pause", "resume"]


@pytest.mark.parametrize("pieces", [[b"abcde"], [b"ab"]])
def test_a_body_that_is_not_as_long_as_announced_is_an_error(case, pieces):
    body = Pieces(4)
    result = ask(case, b"POST", body=body)
    for piece in pieces:
        body.consumer.write(piece)
    if not body.calls:
        body.done.callback(None)
    case.network.settle()
    assert type(result.error) is RequestGenerationFailed


def test_a_body_that_fails_is_an_error(case):
    body = Pieces(4)
    result = ask(case, b"POST", body=body)
    body.done.errback(ZeroDivisionError())
    case.network.settle()
    assert type(result.error) is RequestGenerationFailed
    assert case.network.wire.disconnecting


def test_a_body_is_stopped_when_the_connection_goes(case):
    body = Pieces(4)
    result = ask(case, b"POST", body=body)
    case.network.wire.reset()
    assert body.calls == ["stop"]
    assert result.error is not None


@pytest.mark.parametrize("url", [b"ftp://api.example.org/", b"gopher://x/"])
def test_other_schemes_are_not_supported(case, url):
    assert type(ask(case, url=url).error) is SchemeNotSupported


@pytest.mark.parametrize(
    ("method", "url"), [(b"GE T", URL), (b"G\r\n", URL), (b"GET", b"http://h/\r\nx: y"), (b"GET", b"http://h/ b")]
)
def test_no_line_break_gets_into_a_request_line(case, method, url):
    with pytest.raises(ValueError):
        case.agent.request(method, url)


def test_a_line_break_in_a_header_is_defused(case):
    ask(case, headers=Headers({b"X-A": [b"a\r\nX-Evil: 1"]}))
    assert b"\r\nX-Evil" not in case.network.wire.take()


def test_treq_speaks_through_it(case):
    client = treq.client.HTTPClient(case.agent)
    got = Result(client.get(URL.decode()).addCallback(lambda response: response.json()))
    case.network.wire.answer(b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n{"a": 17}')
    assert got.value == {"a": 17}


def test_treq_posts_through_it(case):
    client = treq.client.HTTPClient(case.agent)
    got = Result(client.post(URL.decode(), data=Eager(4)).addCallback(treq.content))
    raw = case.network.wire.take()
    assert raw.startswith(b"POST /a?q=1 ")
    assert raw.endswith(b"\r\n\r\nabcd")
    case.network.wire.answer()
    assert got.value == b"hi"


@pytest.mark.filterwarnings("ignore:Using readBody with a transport")
def test_read_body_reads_it(case):
    result = ask(case)
    case.network.wire.answer()
    assert Result(readBody(result.value)).value == b"hi"


def test_a_producer_may_write_at_once(case):
    result = ask(case, b"PUT", body=Eager(4))
    assert case.network.wire.take().endswith(b"\r\n\r\nabcd")
    case.network.wire.answer()
    assert result.value.code == 200
