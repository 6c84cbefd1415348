"""The body of a request on its way to a peer: framing, pace, replay."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from suuupra_gateway import errors
from suuupra_gateway.memory import MemoryBody
from tests.upstreams.rig import Rig


class TrailedBody(MemoryBody):
    """A body that ends with trailers."""

    __slots__ = ("trailers",)

    def subscribe(self, sink):
        end = sink.end

        class Sink:
            feed = staticmethod(sink.feed)
            cut = staticmethod(sink.cut)

            @staticmethod
            def end(trailers):
                end(self.trailers)

        super().subscribe(Sink)


@pytest.fixture
def rig():
    return Rig()


def upload(rig, body, method=b"PUT", length=None, **kwargs):
    """An exchange with a body of known length, or chunked."""
    head = {"chunked": True} if length is None else {"content_length": length}
    return rig.send(method, b"/up", body=body, **head, **kwargs)


def sent(wire):
    """Head and body of what was written."""
    head, _, body = wire.take().partition(b"\r\n\r\n")
    return head, body


def test_a_short_body_goes_out_with_its_head_in_one_write(rig):
    body = MemoryBody(b"hello", declared=5)
    body.end()
    upload(rig, body, length=5)
    assert len(rig.wire.writes) == 1
    head, data = sent(rig.wire)
    assert b"\r\ncontent-length: 5" in head
    assert data == b"hello"
    assert rig.wire.producer is None


def test_nothing_is_asked_of_the_client_before_there_is_a_connection(rig):
    rig.network.slow = True
    body = MemoryBody(b"hello", declared=5)
    upload(rig, body, length=5)
    assert body.received == 0
    rig.network.open()
    assert body.received == 5


def test_a_body_in_pieces_streams(rig):
    body = MemoryBody(b"abc", declared=9)
    exchange = upload(rig, body, length=9)
    assert sent(rig.wire)[1] == b"abc"
    body.feed(b"def")
    assert rig.wire.take() == b"def"
    body.feed(b"ghi")
    body.end()
    assert rig.wire.take() == b"ghi"
    assert rig.wire.producer is None
    rig.wire.answer()
    assert exchange.finished
    assert len(rig.peer().pool.idle) == 1


def test_a_head_goes_out_though_the_body_has_not_begun(rig):
    body = MemoryBody(declared=3)
    upload(rig, body, length=3)
    assert sent(rig.wire)[0].endswith(b"content-length: 3")
    body.feed(b"abc")
    body.end()
    assert rig.wire.take() == b"abc"


def test_a_chunked_body_is_chunked_anew(rig):
    body = MemoryBody(b"abc")
    upload(rig, body)
    head, data = sent(rig.wire)
    assert head.endswith(b"\r\ntransfer-encoding: chunked")
    assert data == b"3\r\nabc\r\n"
    body.feed(b"x" * 16)
    assert rig.wire.take() == b"10\r\n" + b"x" * 16 + b"\r\n"
    body.end()
    assert rig.wire.take() == b"0\r\n\r\n"


def test_an_empty_chunked_body_is_one_write(rig):
    body = MemoryBody()
    body.end()
    upload(rig, body)
    assert sent(rig.wire)[1] == b"0\r\n\r\n"
    assert rig.wire.producer is None


def test_trailers_follow_a_chunked_body_only_and_only_those_that_may(rig):
    body = TrailedBody(b"abc")
    body.trailers = [(b"x-sum", b"1"), (b"x-user-id", b"admin"), (b"content-length", b"0")]
    body.end()
    upload(rig, body)
    assert sent(rig.wire)[1] == b"3\r\nabc\r\n0\r\nx-sum: 1\r\n\r\n"
    with_length = TrailedBody(b"abc", declared=3)
    with_length.trailers = [(b"x-sum", b"1")]
    with_length.end()
    upload(rig, with_length, length=3)
    assert sent(rig.wire)[1] == b"abc"


def test_the_peers_pace_reaches_the_client(rig):
    body = MemoryBody(b"abc", declared=9)
    upload(rig, body, length=9)
    rig.wire.take()
    rig.wire.producer.pauseProducing()
    body.feed(b"def")
    assert rig.wire.take() == b""
    rig.wire.producer.resumeProducing()
    assert rig.wire.take() == b"def"


def test_a_peer_that_takes_nothing_for_too_long_is_given_up():
    rig = Rig(timeouts={"idle": "2s", "first_byte": "1s"}, retry={"attempts": 1})
    body = MemoryBody(b"abc", declared=9)
    exchange = upload(rig, body, length=9)
    rig.pass_time(5.0)
    assert not exchange.settled
    rig.wire.producer.pauseProducing()
    rig.pass_time(2.3)
    assert exchange.answer.status == 504
    assert rig.wire.aborted


def test_the_first_byte_is_awaited_from_the_end_of_the_body_on():
    rig = Rig(timeouts={"first_byte": "1s"}, retry={"attempts": 1})
    body = MemoryBody(b"abc", declared=9)
    exchange = upload(rig, body, length=9)
    rig.pass_time(5.0)
    body.feed(b"defghi")
    body.end()
    rig.pass_time(0.5)
    assert not exchange.settled
    rig.pass_time(0.7)
    assert exchange.answer.status == 504


def test_an_answer_under_way_is_not_hurried_by_the_end_of_the_body():
    rig = Rig(timeouts={"first_byte": "1s", "idle": "5s"})
    body = MemoryBody(b"abc", declared=9)
    exchange = upload(rig, body, length=9)
    rig.wire.answer(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nh")
    body.feed(b"defghi")
    body.end()
    rig.pass_time(2.0)
    rig.wire.answer(b"i")
    assert exchange.finished
    assert len(rig.peer().pool.idle) == 1


# -- the client's fault -----------------------------------------------------------------------------------------------


def test_a_body_that_is_too_long_as_announced_costs_the_upstream_nothing(rig):
    body = MemoryBody(declared=100, limit=10)
    exchange = upload(rig, body, length=100)
    assert exchange.answer.status == 413
    assert rig.wire.take() == b""
    assert len(rig.peer().pool.idle) == 1
    assert rig.upstream.active == rig.peer().active == 0


def test_a_body_that_turns_out_too_long_breaks_the_request_off(rig):
    body = MemoryBody(b"abc", limit=5)
    exchange = upload(rig, body)
    body.feed(b"defg")
    assert exchange.answer.status == 413
    assert rig.wire.aborted
    assert rig.peer().failures == 0
    assert b"0\r\n\r\n" not in rig.wire.take()


def test_a_body_that_is_cut_at_once_sends_nothing(rig):
    body = MemoryBody(declared=9)
    body.cut(errors.RequestTimeout())
    exchange = upload(rig, body, length=9)
    assert exchange.answer.status == 408
    assert rig.wire.take() == b""
    assert len(rig.peer().pool.idle) == 1
    assert rig.upstream.active == 0


def test_a_client_that_leaves_in_the_middle_never_looks_like_one_that_ended(rig):
    body = MemoryBody(b"abc", declared=9)
    exchange = upload(rig, body, length=9)
    exchange.leave()
    body.cut(errors.ClientGone())
    assert rig.wire.aborted
    assert rig.peer().failures == 0
    assert rig.upstream.active == 0


# -- again ------------------------------------------------------------------------------------------------------------


def test_a_body_that_was_not_begun_is_sent_to_the_next_peer_whatever_the_method():
    rig = Rig(peers=2)
    rig.network.failures = [errors.ConnectRefused("no")]
    body = MemoryBody(b"hello", declared=5)
    body.end()
    exchange = upload(rig, body, method=b"POST", length=5)
    rig.pass_time(0.3)
    assert sent(rig.wire)[1] == b"hello"
    rig.wire.answer()
    assert exchange.finished


@pytest.mark.parametrize("length", [9, None])
def test_a_body_that_was_sent_as_a_whole_is_sent_again(length):
    rig = Rig(peers=2)
    body = MemoryBody(b"abcdefghi", declared=length)
    body.end()
    exchange = upload(rig, body, length=length)
    first = sent(rig.wire)[1]
    rig.wire.reset()
    rig.pass_time(0.3)
    assert sent(rig.wire)[1] == first == (b"abcdefghi" if length else b"9\r\nabcdefghi\r\n0\r\n\r\n")
    rig.wire.answer()
    assert exchange.finished
    assert exchange.outcome.attempts == 2


@pytest.mark.parametrize("length", [9, None])
def test_a_body_under_way_is_begun_again_and_goes_on(length):
    rig = Rig(peers=2)
    body = MemoryBody(b"abc", declared=length)
    exchange = upload(rig, body, length=length)
    rig.wire.reset()
    body.feed(b"def")  # waits: nobody could take it
    assert body.received == 3
    rig.pass_time(0.3)
    data = sent(rig.wire)[1]
    assert data == (b"abcdef" if length else b"3\r\nabc\r\n3\r\ndef\r\n")
    body.feed(b"ghi")
    body.end()
    assert rig.wire.take() == (b"ghi" if length else b"3\r\nghi\r\n0\r\n\r\n")
    rig.wire.answer()
    assert exchange.finished


def test_a_chunked_body_of_which_nothing_came_is_begun_again():
    rig = Rig(peers=2)
    body = MemoryBody()
    upload(rig, body)
    rig.wire.reset()
    rig.pass_time(0.3)
    assert sent(rig.wire)[1] == b""
    body.feed(b"abc")
    assert rig.wire.take() == b"3\r\nabc\r\n"


def test_a_body_that_was_longer_than_what_is_kept_is_sent_once():
    rig = Rig(peers=2, retry={"buffer": 8})
    body = MemoryBody(b"abcdef")
    exchange = upload(rig, body)
    body.feed(b"ghi")
    rig.wire.reset()
    assert exchange.answer.status == 502
    assert exchange.outcome.attempts == 1


def test_a_body_that_is_announced_as_longer_is_not_kept_at_all():
    rig = Rig(peers=2, retry={"buffer": 8})
    exchange = upload(rig, MemoryBody(b"abc", declared=9), length=9)
    rig.wire.reset()
    assert exchange.answer.status == 502


def test_a_body_that_could_not_be_repeated_anyway_is_not_kept():
    rig = Rig(peers=2)
    exchange = upload(rig, MemoryBody(b"abc", declared=9), method=b"POST", length=9)
    rig.wire.reset()
    assert exchange.answer.status == 502


@settings(max_examples=80, deadline=None)
@given(
    pieces=st.lists(st.binary(min_size=1, max_size=20), min_size=1, max_size=6),
    breaks=st.integers(0, 6),
    chunked=st.booleans(),
)
def test_wherever_the_first_connection_breaks_the_second_peer_gets_all_of_the_body(pieces, breaks, chunked):
    rig = Rig(peers=2)
    whole = b"".join(pieces)
    body = MemoryBody(declared=None if chunked else len(whole))
    exchange = upload(rig, body, length=None if chunked else len(whole))
    for number, piece in enumerate(pieces):
        if number == breaks:
            rig.wire.reset()
            rig.pass_time(0.3)
        body.feed(piece)
    if breaks >= len(pieces):
        rig.wire.reset()
        rig.pass_time(0.3)
    body.end()
    data = sent(rig.wire)[1]
    if chunked:
        assert dechunked(data) == whole
    else:
        assert data == whole
    rig.wire.answer()
    assert exchange.finished
    assert len(rig.wire.protocol._pool.idle) == 1


def dechunked(data):
    body = b""
    while True:
        size, _, data = data.partition(b"\r\n")
        if size == b"0":
            assert data == b"\r\n"
            return body
        body += data[: int(size, 16)]
        assert data[int(size, 16) :][:2] == b"\r\n"
        data = data[int(size, 16) + 2 :]
