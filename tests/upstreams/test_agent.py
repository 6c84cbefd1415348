"""What `UpstreamAgent` does beyond other agents: pools, peers, deadlines, stale connections."""

from __future__ import annotations

import pytest
from twisted.internet.interfaces import IConsumer
from twisted.internet.protocol import Protocol
from twisted.web.client import ResponseDone, ResponseFailed, ResponseNeverReceived
from twisted.web.http_headers import Headers
from twisted.web.iweb import IClientRequest
from zope.interface.verify import verifyObject

from suuupra_gateway import errors
from suuupra_gateway.upstreams.agent import UpstreamAgent
from tests.contract.test_agent import Pieces, Reader, Result, read
from tests.upstreams.rig import OK, Rig

URL = b"http://users/a"


@pytest.fixture
def rig():
    return Rig()


def ask(rig, method=b"GET", headers=None, body=None):
    return Result(UpstreamAgent(rig.upstream).request(method, URL, headers, body))


def idle_again(rig):
    return rig.upstream.active == sum(peer.active for peer in rig.upstream.peers) == 0


def reason(result):
    return result.error.reasons[0].value


def test_connections_are_shared_with_everybody_else(rig):
    exchange = rig.send()
    rig.wire.answer()
    assert exchange.finished
    result = ask(rig)
    rig.wire.answer()
    assert result.value.code == 200
    assert len(rig.network.wires) == 1
    assert idle_again(rig)
    verifyObject(IClientRequest, result.value.request)


def test_framing_and_connection_fields_are_its_own(rig):
    ask(
        rig, headers=Headers({b"Transfer-Encoding": [b"chunked"], b"Content-Length": [b"5"], b"Connection": [b"close"]})
    )
    assert rig.wire.take() == b"GET /a HTTP/1.1\r\nhost: users\r\n\r\n"


def test_a_post_without_a_body_says_so(rig):
    ask(rig, b"POST")
    assert b"\r\ncontent-length: 0\r\n" in rig.wire.take()


def test_an_upstream_without_endpoints_is_an_error(rig):
    rig.upstream.update(frozenset())
    assert type(ask(rig).error) is errors.NoPeer
    assert idle_again(rig)


def test_a_refused_connection_is_told_as_such(rig):
    rig.network.failures = [errors.ConnectRefused("no")]
    assert type(ask(rig).error) is errors.ConnectRefused
    assert rig.peer().failures == 1
    assert idle_again(rig)


def test_a_stale_connection_is_replaced_once(rig):
    ask(rig)
    rig.wire.answer()
    result = ask(rig)
    rig.wire.reset()
    assert len(rig.network.wires) == 2
    rig.wire.answer()
    assert result.value.code == 200
    assert idle_again(rig)


def test_two_stale_connections_are_too_many():
    rig = Rig(pool={"connections": 2})
    ask(rig)
    ask(rig)
    for wire in rig.network.wires:
        wire.answer()
    result = ask(rig)
    rig.network.wires[1].reset()
    rig.network.wires[0].reset() if rig.network.wires[0].protocol.receiver else rig.wire.reset()
    assert type(result.error) is ResponseNeverReceived
    assert idle_again(rig)


@pytest.mark.parametrize(("method", "body"), [(b"POST", None), (b"PUT", Pieces(4))])
def test_what_might_be_done_twice_is_not_sent_twice(rig, method, body):
    ask(rig)
    rig.wire.answer()
    result = ask(rig, method, body=body)
    rig.wire.reset()
    assert isinstance(reason(result), errors.ReusedClosed)
    assert len(rig.network.wires) == 1
    assert idle_again(rig)


def test_the_first_byte_has_a_deadline():
    rig = Rig(timeouts={"first_byte": "1s"})
    result = ask(rig)
    rig.pass_time(1.2)
    assert type(reason(result)) is errors.AnswerTimeout
    assert rig.wire.aborted
    assert idle_again(rig)


def test_the_first_byte_is_awaited_from_the_end_of_the_body_on():
    rig = Rig(timeouts={"first_byte": "1s"})
    body = Pieces(4)
    result = ask(rig, b"PUT", body=body)
    rig.pass_time(3.0)
    body.consumer.write(b"abcd")
    body.consumer.write(b"")
    body.done.callback(None)
    assert result.error is None
    rig.pass_time(1.2)
    assert type(reason(result)) is errors.AnswerTimeout


def test_the_total_covers_everything():
    rig = Rig(timeouts={"first_byte": "5s", "total": "2s"})
    result = ask(rig)
    rig.pass_time(2.2)
    assert type(reason(result)) is errors.DeadlineExceeded
    rig.network.slow = True
    waiting = ask(rig)
    rig.pass_time(2.2)
    assert type(waiting.error) is errors.DeadlineExceeded
    assert rig.network.cancelled == 1
    assert idle_again(rig)


def test_a_body_that_stalls_is_broken():
    rig = Rig(timeouts={"idle": "1s"})
    result = ask(rig)
    rig.wire.answer(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nab")
    reader = read(result.value)
    rig.pass_time(1.3)
    assert isinstance(reader.reason, ResponseFailed)
    assert type(reader.reason.reasons[0].value) is errors.ReadTimeout
    assert idle_again(rig)


def test_a_body_that_breaks_before_anybody_takes_it_is_told_later(rig):
    result = ask(rig)
    rig.wire.answer(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nab")
    rig.wire.reset()
    reader = read(result.value)
    assert reader.body == b"ab"
    assert isinstance(reader.reason, ResponseFailed)


def test_a_receiver_that_pauses_at_once_stays_paused(rig):
    class Slow(Reader):
        def connectionMade(self):
            self.transport.pauseProducing()

    result = ask(rig)
    rig.wire.answer(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nab")
    reader = Slow()
    result.value.deliverBody(reader)
    assert rig.wire.producerState == "paused"
    reader.transport.resumeProducing()
    rig.wire.answer(b"cdefghi")
    assert reader.body == b"abcdefghi"
    assert type(reader.reason) is ResponseDone
    reader.transport.pauseProducing()
    reader.transport.resumeProducing()
    reader.transport.loseConnection()
    reader.transport.abortConnection()
    assert len(rig.peer().pool.idle) == 1


def test_a_receiver_may_close_from_inside(rig):
    result = ask(rig)
    rig.wire.answer(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nab")
    reader = Reader()
    reader.at_data = lambda: reader.transport.loseConnection()  # noqa: PLW0108  # there is none before it is connected
    result.value.deliverBody(reader)
    assert rig.wire.aborted
    assert isinstance(reader.reason, ResponseFailed)
    assert idle_again(rig)


def test_an_early_answer_stops_the_body(rig):
    body = Pieces(9)
    result = ask(rig, b"PUT", body=body)
    body.consumer.registerProducer(body, True)
    body.consumer.write(b"abc")
    rig.wire.answer(b"HTTP/1.1 413 No\r\nContent-Length: 0\r\n\r\n")
    assert result.value.code == 413
    assert body.calls == ["stop"]
    body.consumer.write(b"def")
    body.consumer.unregisterProducer()
    body.done.callback(None)
    assert rig.wire.disconnecting
    assert idle_again(rig)
    verifyObject(IConsumer, body.consumer)


def test_an_answer_while_the_body_goes_on_is_not_hurried(rig):
    body = Pieces(3)
    result = ask(rig, b"PUT", body=body)
    rig.wire.answer(OK[:-1])
    body.consumer.write(b"abc")
    body.done.callback(None)
    rig.wire.answer(OK[-1:])
    assert read(result.value).body == b"hi"
    assert len(rig.peer().pool.idle) == 1


def test_a_pace_that_changes_when_nothing_is_produced_concerns_nobody(rig):
    body = Pieces(3)
    ask(rig, b"PUT", body=body)
    call = rig.wire.protocol.receiver
    body.consumer.write(b"abc")
    body.done.callback(None)
    call.pause_request()
    call.resume_request()
    assert body.calls == []


def test_a_body_that_fails_late_concerns_nobody(rig):
    body = Pieces(9)
    result = ask(rig, b"PUT", body=body)
    rig.wire.answer()
    body.done.errback(ZeroDivisionError())
    assert result.value.code == 200


def test_who_cancels_in_the_queue_leaves_it():
    rig = Rig(pool={"connections": 1})
    ask(rig)
    deferred = UpstreamAgent(rig.upstream).request(b"GET", URL)
    Result(deferred)
    deferred.cancel()
    rig.wire.answer()
    assert len(rig.peer().pool.idle) == 1
    assert idle_again(rig)


def test_the_version_of_the_answer_is_told(rig):
    result = ask(rig)
    rig.wire.answer(b"HTTP/1.0 204 No Content\r\n\r\n")
    assert result.value.version == (b"HTTP", 1, 0)
    assert result.value.length == 0
    assert isinstance(read(result.value), Protocol)


def test_a_connection_that_comes_when_its_request_was_cancelled_is_kept_for_the_next(rig):
    rig.network.slow = rig.network.late = True
    deferred = UpstreamAgent(rig.upstream).request(b"GET", URL)
    Result(deferred)
    deferred.cancel()
    assert len(rig.peer().pool.idle) == 1
    assert idle_again(rig)
