"""
Bodies of requests, from the subscriber's side.
"""

import pytest
from twisted.internet.defer import CancelledError
from zope.interface.verify import verifyObject

from suuupra_gateway.errors import BadRequest, BodyTooLarge, ClientGone, RequestTimeout
from suuupra_gateway.interfaces import IBody
from tests.http.edge import CHUNKED, GET, OK, POST, Collecting, Edge


def waiting(request, **kwargs):
    edge = Edge(None, **kwargs)
    edge.send(request)
    return edge, edge.exchange.body


def result_of(deferred):
    results = []
    deferred.addBoth(lambda result: results.append(result) or result)
    deferred.addErrback(lambda failure: None)
    return results[0] if results else None


def test_it_is_what_filters_and_targets_expect():
    _, body = waiting(POST)
    assert verifyObject(IBody, body)
    assert (body.limit, body.received, body.complete) == (10 * 1024 * 1024, 0, False)


def test_no_body_ends_at_once():
    _, body = waiting(GET)
    assert body.complete
    sink = Collecting()
    body.subscribe(sink)
    assert (sink.data, sink.trailers) == (b"", [])


def test_a_body_comes_in_pieces_as_they_arrive():
    edge, body = waiting(POST + b"he")
    sink = Collecting()
    assert not body.taken
    body.subscribe(sink)
    assert body.taken
    assert sink.pieces == [b"he"]
    edge.send(b"l")
    edge.send(b"lo")
    assert sink.pieces == [b"he", b"l", b"lo"]
    assert sink.trailers == []
    assert body.complete
    assert body.received == 5


def test_trailers_come_with_the_end():
    edge, body = waiting(CHUNKED)
    sink = Collecting()
    body.subscribe(sink)
    edge.send(b"5\r\nhello\r\n0\r\nX-Sum: 1\r\n\r\n")
    assert sink.data == b"hello"
    assert sink.trailers == [(b"x-sum", b"1")]
    assert edge.exchange.head.get(b"x-sum") is None


def test_there_is_one_subscriber():
    _, body = waiting(POST)
    body.subscribe(Collecting())
    with pytest.raises(RuntimeError):
        body.subscribe(Collecting())


def test_nothing_is_read_ahead_of_a_subscriber_but_one_read():
    edge, body = waiting(POST)
    assert edge.reading
    edge.send(b"hel")
    assert not edge.reading
    assert body.received == 0
    sink = Collecting()
    body.subscribe(sink)
    assert edge.reading
    assert sink.data == b"hel"


# -- limits -------------------------------------------------------------------------------------------------------------


def test_a_declared_length_over_the_limit_is_refused_at_once():
    _, body = waiting(POST, limits={"body": 4})
    with pytest.raises(BodyTooLarge):
        body.subscribe(Collecting())


def test_a_filter_may_move_the_limit():
    _, body = waiting(POST + b"hello", limits={"body": 4})
    body.limit = 5
    sink = Collecting()
    body.subscribe(sink)
    assert sink.data == b"hello"


def test_a_chunked_body_over_the_limit_is_cut():
    edge, body = waiting(CHUNKED, limits={"body": 8})
    sink = Collecting(edge.exchange, OK)
    body.subscribe(sink)
    edge.send(b"5\r\nhello\r\n")
    edge.send(b"5\r\nhello\r\n")
    assert sink.data == b"hello"
    assert isinstance(sink.error, BodyTooLarge)
    answer = edge.answer(b"POST")
    assert answer.status == 413
    assert answer.headers[b"connection"] == b"close"
    assert not edge.closing
    assert not edge.reading
    edge.after(1.2)
    assert edge.closing


# -- pace ---------------------------------------------------------------------------------------------------------------


def test_a_paused_body_stops_the_client():
    edge, body = waiting(POST)
    sink = Collecting()
    body.subscribe(sink)
    body.pause()
    body.pause()
    assert not edge.reading
    edge.send(b"hello")
    assert sink.data == b""
    body.resume()
    body.resume()
    assert edge.reading
    assert sink.data == b"hello"
    assert sink.trailers == []


def test_a_subscriber_that_pauses_inside_feed_gets_nothing_more():
    edge, body = waiting(CHUNKED)

    class Choking(Collecting):
        def feed(self, data):
            super().feed(data)
            body.pause()

    sink = Choking()
    body.subscribe(sink)
    edge.send(b"2\r\nhe\r\n")
    edge.send(b"3\r\nllo\r\n0\r\n\r\n")
    assert sink.data == b"he"
    body.resume()
    assert sink.data == b"hello"
    assert sink.trailers is None
    body.resume()
    assert sink.trailers == []


def test_a_subscriber_may_resume_inside_feed():
    edge, body = waiting(CHUNKED)

    class Hiccup(Collecting):
        def feed(self, data):
            body.pause()
            super().feed(data)
            body.resume()

    sink = Hiccup()
    body.subscribe(sink)
    edge.send(b"2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n")
    assert sink.data == b"hello"
    assert sink.trailers == []


def test_pausing_before_there_is_anything_to_pause():
    edge, body = waiting(POST + b"hello")
    body.pause()
    sink = Collecting()
    body.subscribe(sink)
    assert sink.data == b""
    body.resume()
    assert sink.data == b"hello"
    body.pause()
    body.resume()
    assert edge.reading


# -- broken bodies ------------------------------------------------------------------------------------------------------


def test_nonsense_cuts_the_body():
    edge, body = waiting(CHUNKED)
    sink = Collecting(edge.exchange, OK)
    body.subscribe(sink)
    edge.send(b"nonsense\r\n")
    assert isinstance(sink.error, BadRequest)
    assert edge.answer(b"POST").status == 400
    assert edge.closing


def test_a_subscriber_that_comes_late_learns_that_the_body_is_cut():
    edge, body = waiting(CHUNKED)
    edge.lose()
    sink = Collecting()
    body.subscribe(sink)
    assert isinstance(sink.error, ClientGone)
    assert not body.complete


# -- collect ------------------------------------------------------------------------------------------------------------


def test_a_body_is_collected_whole():
    edge, body = waiting(POST + b"he")
    collected = body.collect(5)
    assert result_of(collected) is None
    edge.send(b"llo")
    assert result_of(collected) == b"hello"


def test_no_body_is_collected_as_nothing():
    _, body = waiting(GET)
    assert result_of(body.collect(0)) == b""


def test_too_long_a_body_is_not_collected():
    _, body = waiting(POST)
    assert isinstance(result_of(body.collect(4)).value, BodyTooLarge)
    edge, body = waiting(CHUNKED)
    collected = body.collect(4)
    edge.send(b"5\r\nhello\r\n")
    assert isinstance(result_of(collected).value, BodyTooLarge)


def test_a_body_that_is_cut_is_not_collected():
    edge, body = waiting(POST)
    collected = body.collect(5)
    edge.lose()
    assert isinstance(result_of(collected).value, ClientGone)
    edge, body = waiting(POST)
    collected = body.collect(5)
    edge.after(31)
    assert isinstance(result_of(collected).value, RequestTimeout)


@pytest.mark.parametrize("end", ["end", "cut"])
def test_collecting_can_be_cancelled(end):
    edge, body = waiting(POST)
    collected = body.collect(5)
    collected.cancel()
    assert isinstance(result_of(collected).value, CancelledError)
    assert not edge.reading
    edge.send(b"hello")
    body.resume() if end == "end" else edge.lose()
    assert body.complete is (end == "end")


def test_a_body_is_cut_once():
    _, body = waiting(POST)
    sink = Collecting()
    body.subscribe(sink)
    first = ClientGone()
    body.cut(first)
    body.cut(BadRequest())
    assert sink.error is body.error is first
