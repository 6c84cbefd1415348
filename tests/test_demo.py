"""
The demo service, in memory.
"""

from __future__ import annotations

import hashlib
import json

import pytest
from twisted.internet.error import ConnectionLost
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.web.server import Site

from suuupra_gateway import demo


class Client:
    """One connection at a time."""

    def __init__(self, site: Site | None = None) -> None:
        self.clock = Clock()
        self.site = site or demo.service("one", self.clock)

    def send(self, path: str, method: str = "GET", body: bytes = b"", transport: StringTransport | None = None):
        transport = transport or StringTransport()
        protocol = self.site.buildProtocol(None)
        protocol.makeConnection(transport)
        head = f"{method} {path} HTTP/1.1\r\nHost: demo\r\nContent-Length: {len(body)}\r\n\r\n"
        protocol.dataReceived(head.encode() + body)
        return transport, protocol

    def ask(self, path: str, method: str = "GET", body: bytes = b""):
        return answer(self.send(path, method, body)[0])


def answer(transport):
    """Status and body."""
    head, _, body = transport.value().partition(b"\r\n\r\n")
    return int(head.split()[1]), body


def test_pages_say_who_answered():
    client = Client()

    for path in ("/", "/users", "/users/7", "/echo", "/status/200"):
        status, body = client.ask(path)
        assert status == 200
        assert json.loads(body)["service"] == "one"
    assert json.loads(client.ask("/users/7")[1])["name"] == "Barbara"
    assert client.ask("/users/99")[0] == 404
    assert client.ask("/nothing")[0] == 404


def test_echo_shows_method_target_headers_and_body():
    status, body = Client().ask("/echo/a%20b?c=d", "POST", b"hello")

    shown = json.loads(body)
    assert (status, shown["method"], shown["uri"], shown["body"]) == (200, "POST", "/echo/a%20b?c=d", "hello")
    assert ["Host", "demo"] in shown["headers"]


def test_slow_answers_when_its_time_has_come():
    client = Client()
    transport, _ = client.send("/slow?seconds=2")

    client.clock.advance(1.9)
    assert transport.value() == b""
    client.clock.advance(0.2)

    assert answer(transport)[0] == 200


def test_a_client_that_leaves_a_slow_page_leaves_nothing_behind():
    client = Client()
    _, protocol = client.send("/slow?seconds=50")
    before = len(client.clock.getDelayedCalls())

    protocol.connectionLost(Failure(ConnectionLost()))

    assert len(client.clock.getDelayedCalls()) < before
    client.clock.advance(100)


def test_events_come_one_by_one_until_the_last():
    client = Client()
    transport, _ = client.send("/stream?events=3&pause=1")
    assert transport.value().count(b"data:") == 1

    client.clock.advance(1)
    assert transport.value().count(b"data:") == 2

    client.clock.pump([1, 1, 1])
    assert transport.value().count(b"data:") == 3
    assert transport.value().endswith(b"0\r\n\r\n")


def test_a_client_that_leaves_a_stream_ends_it():
    client = Client()
    transport, protocol = client.send("/stream?events=1000&pause=1")

    protocol.connectionLost(Failure(ConnectionLost()))
    client.clock.pump([1] * 5)

    assert transport.value().count(b"data:") == 1


@pytest.mark.parametrize("method", ["POST", "PUT"])
def test_an_upload_is_told_back_as_length_and_digest(method):
    body = b"x" * 300_000

    shown = json.loads(Client().ask("/upload", method, body)[1])

    assert shown["bytes"] == len(body)
    assert shown["sha256"] == hashlib.sha256(body).hexdigest()


@pytest.mark.parametrize("size", [0, 1, 65536, 200_001])
def test_bytes_are_as_many_as_asked_for(size):
    status, body = Client().ask(f"/bytes?size={size}")

    assert (status, len(body)) == (200, size)


def test_a_head_of_bytes_has_their_length_and_none_of_them():
    transport, _ = Client().send("/bytes?size=7", "HEAD")

    assert b"Content-Length: 7" in transport.value()
    assert answer(transport)[1] == b""


class Narrow(StringTransport):
    """Has no room after any write."""

    def write(self, data):
        super().write(data)
        if self.producer is not None:
            self.producer.pauseProducing()


def test_bytes_wait_for_room_and_end_with_their_client():
    transport, protocol = Client().send("/bytes?size=10000000", transport=Narrow())
    written = len(transport.value())
    assert written < 100_000

    transport.producer.resumeProducing()
    assert written < len(transport.value()) < 200_000

    protocol.connectionLost(Failure(ConnectionLost()))
    assert len(transport.value()) < 200_000


@pytest.mark.parametrize(("path", "status"), [("418", 418), ("204", 204), ("99", 404), ("x", 404), ("600", 404)])
def test_a_status_is_what_was_asked_for(path, status):
    assert Client().ask(f"/status/{path}")[0] == status


def test_flaky_fails_every_other_time():
    client = Client()

    assert [client.ask("/flaky")[0] for _ in range(4)] == [503, 200, 503, 200]


@pytest.mark.parametrize("query", ["seconds=nonsense", "seconds=-1", "seconds=nan", ""])
def test_numbers_that_are_none_are_harmless(query):
    client = Client()
    transport, _ = client.send(f"/slow?{query}")

    client.clock.pump([0, 1, 1])

    assert answer(transport)[0] == 200


def test_the_board_is_a_tree_of_its_own():
    client = Client(Site(demo.board(), reactor=Clock()))

    assert json.loads(client.ask("/")[1])["mounted"] is True
    assert b"<form" in client.ask("/form")[1]
    assert client.ask("/else")[0] == 404
