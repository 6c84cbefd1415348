"""
What a connection rests on. How it behaves as a whole is in ``test_channel.py``.
"""

from math import inf

import pytest

from suuupra_gateway.errors import BadRequest
from suuupra_gateway.http.client import BUSY, DRAIN_BYTES, DRAINING, GRACE, HEADS, LINGER, LINGERING, OVER
from tests.http.edge import CHUNKED, GET, OK, POST, Edge


def waiting(request=b"", **kwargs):
    edge = Edge(None, **kwargs)
    if request:
        edge.send(request)
    return edge, edge.channel


def test_listening_and_not_listening_are_told_to_the_transport_once():
    edge, client = waiting()
    told = []
    edge.transport.pauseProducing = lambda: told.append("pause")
    edge.transport.resumeProducing = lambda: told.append("resume")
    client.listen()
    client.mute()
    client.mute()
    client.listen()
    client.listen()
    assert told == ["pause", "resume"]


def test_what_is_due_is_not_later_than_the_end_of_a_stall():
    _, client = waiting()
    client.due(10)
    assert client.deadline == 1010
    client.stall_due = 1005.0
    client.due(10)
    assert client.deadline == 1005


def test_a_short_rest_is_worth_draining():
    _, client = waiting(POST)
    assert client.drain()
    assert client.phase == DRAINING
    client.intake.rest = b"he"
    assert not client.discard(2)
    client.intake.rest = b"llo"
    assert client.discard(3)
    assert client.discard(0)


@pytest.mark.parametrize(
    "request_bytes",
    [
        POST.replace(b": 5", b": %d" % (DRAIN_BYTES + 1)),
        POST.replace(b"\r\n\r\n", b"\r\nExpect: 100-continue\r\n\r\n"),
    ],
)
def test_a_long_or_doubtful_rest_is_not(request_bytes):
    _, client = waiting(request_bytes)
    assert not client.drain()
    assert client.phase == LINGERING
    assert client.deadline == 1000 + LINGER


def test_an_endless_rest_ends_in_lingering():
    _, client = waiting(CHUNKED)
    assert client.drain()
    assert not client.discard(DRAIN_BYTES)
    assert client.phase == DRAINING
    assert not client.discard(1)
    assert client.phase == LINGERING


def test_nonsense_in_the_rest_is_for_the_caller():
    _, client = waiting(CHUNKED)
    client.drain()
    client.intake.rest = b"nonsense\r\n"
    with pytest.raises(BadRequest):
        client.discard(10)


def test_parting_in_good_order_has_a_deadline():
    edge, client = waiting(timeouts={"write": 60})
    client.lose()
    assert (client.phase, client.deadline) == (OVER, 1060)
    assert edge.closing
    assert edge.transport.producer is None


def test_dropping_has_none():
    edge, client = waiting()
    client.drop()
    assert (client.phase, client.deadline) == (OVER, inf)
    assert edge.aborted


def test_who_is_busy_need_not_leave():
    _, client = waiting(GET)
    client.leave()
    assert client.phase == BUSY
    assert client.deadline == inf


def test_who_is_idle_leaves():
    edge, client = waiting(GET)
    edge.exchange.respond(OK)
    edge.after(GRACE + 0.2)
    client.leave()
    assert client.phase == OVER


def test_who_was_busy_a_moment_ago_leaves_in_a_moment():
    edge, client = waiting(GET)
    edge.exchange.respond(OK)
    client.leave()
    assert (client.phase, client.deadline) == (HEADS, 1000 + GRACE)
