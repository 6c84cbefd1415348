"""One upstream connection: what it writes, whom it tells what, and when it may be used again."""

from __future__ import annotations

from math import inf

import pytest
from twisted.internet.error import ConnectionLost
from twisted.internet.interfaces import IProtocol, IPushProducer
from twisted.internet.task import Clock
from zope.interface.verify import verifyObject

from suuupra_gateway.errors import BadResponse, ResponseCut, ReusedClosed, UpstreamClosed
from suuupra_gateway.http.connection import UpstreamConnection
from suuupra_gateway.http.hygiene import AnswerNames
from suuupra_gateway.net.sweep import Sweep
from tests.upstreams.rig import OK, Wire


class Shelf:
    """The pool's side."""

    def __init__(self):
        self.released = []
        self.discarded = []
        self.gone = []

    def release(self, connection):
        connection.reused = True
        self.released.append(connection)

    def discard(self, connection):
        self.discarded.append(connection)

    def lost(self, connection):
        self.gone.append(connection)


class Sink:
    """Whoever asked: writes down what is heard."""

    def __init__(self):
        self.heard = []
        self.at_head = lambda: None

    def answer_begun(self, head):
        self.heard.append(("begun", head.status))
        self.at_head()

    def answer_data(self, data):
        self.heard.append(("data", data))

    def answer_ended(self, trailers):
        self.heard.append(("ended", trailers))

    def answer_failed(self, error):
        self.heard.append(("failed", type(error)))

    def answer_overdue(self, now):
        self.heard.append(("overdue", now))

    def pause_request(self):
        self.heard.append("pause")

    def resume_request(self):
        self.heard.append("resume")


class Case:
    def __init__(self):
        self.clock = Clock()
        self.sweep = Sweep(self.clock, monotonic=self.clock.seconds)
        self.sweep.start()
        self.shelf = Shelf()
        self.sink = Sink()
        self.connection = UpstreamConnection(self.shelf, self.sweep, AnswerNames(), 4096)
        self.wire = Wire()
        self.wire.protocol = self.connection
        self.connection.makeConnection(self.wire)
        self.connection.connectionMade()

    def send(self, data=b"GET", head_only=False, whole=True, deadline=10.0, limit=15.0, patience=3.0):
        self.connection.send(self.sink, data, head_only, whole, deadline, limit, patience)


@pytest.fixture
def case():
    return Case()


def test_it_is_a_protocol_and_a_producer(case):
    verifyObject(IProtocol, case.connection)
    verifyObject(IPushProducer, case.connection)


def test_a_whole_request_is_one_write_and_a_whole_answer_gives_the_connection_back_first(case):
    case.send(b"GET / HTTP/1.1\r\n\r\n")
    assert case.wire.take() == b"GET / HTTP/1.1\r\n\r\n"
    assert case.wire.producer is None
    case.sink.at_head = lambda: case.shelf.released.append("not yet")
    case.wire.answer()
    assert case.sink.heard == [("begun", 200), ("data", b"hi"), ("ended", [])]
    assert case.shelf.released == ["not yet", case.connection]
    assert case.connection.receiver is None


def test_an_answer_in_pieces_is_told_in_pieces(case):
    case.send()
    case.wire.answer(b"HTTP/1.1 200 OK\r\nContent-")
    assert case.sink.heard == []
    case.wire.answer(b"Length: 4\r\n\r\n")
    case.wire.answer(b"ab")
    case.wire.answer(b"cd")
    assert case.sink.heard == [("begun", 200), ("data", b""), ("data", b"ab"), ("data", b"cd"), ("ended", [])]


def test_the_next_request_may_be_sent_from_inside_of_the_end_of_the_last(case):
    case.send()
    again = Sink()
    case.sink.answer_ended = lambda trailers: case.connection.send(again, b"2", False, True, 1.0, 1.0, 1.0)
    case.wire.answer()
    case.wire.answer()
    assert again.heard == [("begun", 200), ("data", b"hi"), ("ended", [])]
    assert case.connection.requests == 2


def test_an_answer_to_head_has_no_body(case):
    case.send(head_only=True)
    case.wire.answer(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n")
    assert case.sink.heard == [("begun", 200), ("ended", [])]
    assert case.shelf.released


@pytest.mark.parametrize(
    "raw",
    [
        b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nhi",
        b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nhi",
        OK + b"surplus",
    ],
)
def test_a_connection_in_doubt_is_closed_after_its_answer(case, raw):
    case.send()
    case.wire.answer(raw)
    assert case.sink.heard[-1] == ("ended", [])
    assert case.shelf.released == []
    assert case.wire.disconnecting


def test_a_malformed_answer_fails_and_cuts_the_connection(case):
    case.send()
    case.wire.answer(b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n")
    assert case.sink.heard == [("failed", BadResponse)]
    assert case.wire.aborted
    case.wire.settle()
    assert case.sink.heard == [("failed", BadResponse)]


def test_a_connection_that_closes_without_an_answer_says_whether_it_was_a_fresh_one(case):
    case.send()
    case.wire.lose()
    assert case.sink.heard == [("failed", UpstreamClosed)]
    assert case.shelf.gone == [case.connection]


def test_a_reused_connection_that_closes_without_an_answer_was_stale(case):
    case.send()
    case.wire.answer()
    case.sink.heard.clear()
    case.send()
    case.wire.reset()
    assert case.sink.heard == [("failed", ReusedClosed)]


@pytest.mark.parametrize("start", [b"H", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhi"])
def test_a_connection_that_closes_in_the_middle_cuts_the_answer(case, start):
    case.send()
    case.wire.answer(OK)
    case.send()
    case.wire.answer(start)
    case.wire.lose()
    assert case.sink.heard[-1] == ("failed", ResponseCut)


def test_only_an_orderly_end_completes_an_answer_without_length(case):
    case.send()
    case.wire.answer(b"HTTP/1.1 200 OK\r\n\r\nhi")
    case.wire.lose()
    assert case.sink.heard == [("begun", 200), ("data", b"hi"), ("ended", [])]


def test_a_reset_does_not(case):
    case.send()
    case.wire.answer(b"HTTP/1.1 200 OK\r\n\r\nhi")
    case.wire.lose(ConnectionLost("no close_notify"))
    assert case.sink.heard[-1] == ("failed", ResponseCut)


def test_trailers_come_at_the_end(case):
    case.send()
    case.wire.answer(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX-T: 1\r\n\r\n")
    assert case.sink.heard == [("begun", 200), ("ended", [(b"x-t", b"1")])]


# -- idle -------------------------------------------------------------------------------------------------------------


def test_bytes_that_nobody_asked_for_end_an_idle_connection(case):
    case.send()
    case.wire.answer()
    case.wire.answer(b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n")
    assert case.shelf.discarded == [case.connection]
    assert case.wire.aborted
    assert len(case.sink.heard) == 3


def test_an_idle_connection_that_closes_tells_nobody_but_its_pool(case):
    case.wire.lose()
    assert case.sink.heard == []
    assert case.shelf.gone == [case.connection]


def test_an_idle_connection_expires(case):
    case.connection.deadline = 5.0
    case.clock.pump([0.1] * 49)
    assert not case.wire.disconnecting
    case.clock.pump([0.1] * 3)
    assert case.wire.disconnecting
    assert case.shelf.discarded == [case.connection]
    assert case.connection.deadline == inf


def test_nothing_watches_a_connection_that_is_gone(case):
    case.connection.deadline = 5.0
    case.wire.lose()
    case.clock.pump([0.1] * 60)
    assert case.shelf.discarded == []


def test_a_connection_that_was_not_used_after_all_goes_back(case):
    case.connection.give_back()
    assert case.shelf.released == [case.connection]


# -- deadlines --------------------------------------------------------------------------------------------------------


def test_the_first_byte_has_its_own_deadline_and_later_ones_follow_the_last(case):
    case.send(deadline=10.0, limit=15.0, patience=3.0)
    assert case.connection.deadline == 10.0
    case.clock.pump([0.1] * 50)
    case.wire.answer(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 2")
    assert case.connection.deadline == 10.0
    case.wire.answer(b"00 OK\r\nContent-Length: 9\r\n\r\n")
    assert case.connection.deadline == pytest.approx(8.0)
    case.clock.pump([0.1] * 80)
    assert case.sink.heard[-1][0] == "overdue"


def test_no_deadline_is_later_than_the_limit(case):
    case.send(deadline=10.0, limit=11.0, patience=30.0)
    case.wire.answer(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n")
    assert case.connection.deadline == 11.0


def test_a_receiver_that_pauses_has_all_the_time_that_the_exchange_has(case):
    case.send()
    case.wire.answer(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n")
    case.connection.pause()
    assert case.wire.producerState == "paused"
    assert case.connection.deadline == 15.0
    case.wire.answer(b"abc")
    assert case.connection.deadline == 15.0
    case.connection.resume()
    assert case.wire.producerState == "producing"
    assert case.connection.deadline == 3.0


def test_a_paused_connection_reads_on_when_it_goes_back(case):
    case.send()
    case.sink.at_head = case.connection.pause
    case.wire.answer()
    assert case.wire.producerState == "producing"
    assert case.shelf.released == [case.connection]


# -- giving up --------------------------------------------------------------------------------------------------------


def test_abandoning_an_unfinished_answer_cuts_the_connection(case):
    case.send()
    case.wire.answer(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nab")
    case.connection.abandon()
    assert case.wire.aborted
    case.wire.answer(b"cdefghi")
    case.wire.settle()
    assert case.sink.heard == [("begun", 200), ("data", b"ab")]


def test_abandoning_at_the_head_of_an_answer_that_is_all_there_keeps_the_connection(case):
    case.send()
    case.sink.at_head = case.connection.abandon
    case.wire.answer()
    assert case.sink.heard == [("begun", 200)]
    assert case.shelf.released == [case.connection]
    assert not case.wire.disconnecting
    case.connection.abandon()
    assert case.shelf.released == [case.connection]


# -- requests with a body ---------------------------------------------------------------------------------------------


def test_the_peers_pace_is_passed_on_while_a_body_goes_out(case):
    case.send(whole=False, deadline=15.0)
    assert case.wire.producer is case.connection
    case.connection.pauseProducing()
    assert case.connection.deadline == 3.0
    case.connection.resumeProducing()
    assert case.connection.deadline == 15.0
    case.connection.more((b"a", b"b"))
    case.connection.uploaded()
    assert case.wire.producer is None
    assert case.wire.take() == b"GETab"
    assert case.sink.heard == ["pause", "resume"]


def test_nobody_is_paused_when_nobody_sends(case):
    case.connection.pauseProducing()
    case.connection.resumeProducing()
    case.connection.stopProducing()
    assert case.sink.heard == []


def test_an_answer_before_the_request_is_complete_is_told_and_ends_the_connection(case):
    case.send(whole=False)
    case.wire.answer()
    assert case.sink.heard[-1] == ("ended", [])
    assert case.shelf.released == []
    assert case.wire.producer is None
    assert case.wire.disconnecting
