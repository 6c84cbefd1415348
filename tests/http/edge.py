"""
A site without a network: requests in as bytes, answers out as bytes, time by hand.
"""

from __future__ import annotations

from collections.abc import Callable

import attrs
import h11
from twisted.internet.address import IPv4Address
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure

from suuupra_gateway.config.model import ListenerLimits, ListenerSpec, ListenerTimeouts, ProcessSpec
from suuupra_gateway.http.message import Reply
from suuupra_gateway.http.site import GatewaySite
from suuupra_gateway.net.sweep import Sweep

OK = Reply(200, ((b"content-type", b"text/plain"),), b"hello")
GET = b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n"
HEAD = b"HEAD / HTTP/1.1\r\nHost: a.example\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 5\r\n\r\n"
CHUNKED = b"POST / HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: chunked\r\n\r\n"
OLD_GET = b"GET / HTTP/1.0\r\n\r\n"


class Leaf:
    """A root resource that keeps what it is asked to render, and may answer it at once."""

    isLeaf = True

    def __init__(self, answer: Callable | None = None):
        self.answer = answer
        self.exchanges = []

    def render(self, exchange):
        self.exchanges.append(exchange)
        if self.answer is not None:
            self.answer(exchange)


class Collecting:
    """A body's subscriber that remembers; with ``reply`` it answers when the body ends, or by aborting when it is cut."""

    def __init__(self, exchange=None, reply=None):
        self.pieces = []
        self.trailers = None
        self.error = None
        self.exchange = exchange
        self.reply = reply

    @property
    def data(self):
        return b"".join(self.pieces)

    def feed(self, data):
        assert data
        assert self.trailers is None
        assert self.error is None
        self.pieces.append(data)

    def end(self, trailers):
        assert self.trailers is None
        assert self.error is None
        self.trailers = trailers
        if self.reply is not None:
            self.exchange.respond(self.reply)

    def cut(self, error):
        assert self.trailers is None
        assert self.error is None
        self.error = error
        if self.reply is not None:
            self.exchange.abort(error)


def take(exchange):
    """Read the body, then answer."""
    exchange.body.subscribe(Collecting(exchange, OK))


def respond(exchange):
    """Answer at once."""
    exchange.respond(OK)


class Pacer:
    """A producer that remembers what it was told."""

    def __init__(self):
        self.told = []

    def pauseProducing(self):
        self.told.append("pause")

    def resumeProducing(self):
        self.told.append("resume")


@attrs.frozen
class Answer:
    """An answer as h11 understands it."""

    status: int
    headers: dict[bytes, bytes]
    body: bytes
    version: bytes
    reason: bytes
    trailers: tuple = ()
    interim: tuple[int, ...] = ()


def read_answers(raw: bytes, *methods: bytes, closed: bool = False) -> list[Answer]:
    """The answers in ``raw`` to requests with these methods; fails if it holds less, more, or something else."""
    answers = []
    for method in methods:
        client = h11.Connection(h11.CLIENT)
        client.send(h11.Request(method=method, target=b"/", headers=[(b"host", b"a")]))
        client.send(h11.EndOfMessage())
        client.receive_data(raw)
        if closed and method == methods[-1]:
            client.receive_data(b"")
        interim, head, body, trailers = [], None, b"", ()
        while True:
            event = client.next_event()
            if type(event) is h11.InformationalResponse:
                interim.append(event.status_code)
            elif type(event) is h11.Response:
                head = event
            elif type(event) is h11.Data:
                body += event.data
            elif type(event) is h11.EndOfMessage:
                trailers = tuple(event.headers)
                break
            else:
                raise AssertionError(f"incomplete: {event} after {head} in {raw!r}")
        answers.append(
            Answer(
                head.status_code,
                dict(head.headers),
                bytes(body),
                head.http_version,
                head.reason,
                trailers,
                tuple(interim),
            )
        )
        raw = client.trailing_data[0]
    assert raw == b"", f"surplus: {raw!r}"
    return answers


def seconds(timeouts):
    """Numbers as durations, but for the rate."""
    return {name: value if name == "min_body_rate" else f"{value}s" for name, value in timeouts.items()}


class Edge:
    """One site and, by `connect`, one client at a time."""

    def __init__(
        self,
        answer=respond,
        *,
        limits=None,
        timeouts=None,
        peer="192.0.2.7",
        connect=True,
        name="gw",
        trusted=(),
        **listener,
    ):
        self.clock = Clock()
        self.clock.rightNow = 1000.0
        self.sweep = Sweep(self.clock, monotonic=self.clock.seconds, wall=lambda: 784111777.0)
        self.sweep.start()
        self.leaf = Leaf(answer)
        self.settled = []
        self.site = GatewaySite(
            self.leaf,
            listener=ListenerSpec(
                name="test",
                address="127.0.0.1:0",
                limits=ListenerLimits(**(limits or {})),
                timeouts=ListenerTimeouts(**seconds(timeouts or {})),
                **listener,
            ),
            process=ProcessSpec(name=name, trusted_proxies=trusted),
            sweep=self.sweep,
            settled=self.settled.append,
        )
        if connect:
            self.connect(peer)

    def connect(self, peer="192.0.2.7", transport=None):
        """A new client."""
        address = IPv4Address("TCP", peer, 40000) if isinstance(peer, str) else peer
        self.transport = transport or StringTransport(peerAddress=address)
        self.channel = self.site.buildProtocol(address)
        if self.channel is not None:
            self.channel.makeConnection(self.transport)
        return self.channel

    def send(self, data):
        """Bytes from the client."""
        self.channel.dataReceived(data)

    def lose(self):
        """The client goes away."""
        self.channel.connectionLost(Failure(ConnectionDone()))

    def after(self, seconds):
        """Let time pass, a tick at a time."""
        end = self.clock.seconds() + seconds
        while self.clock.seconds() < end - 1e-9:
            self.clock.advance(min(0.1, end - self.clock.seconds()))

    @property
    def exchange(self):
        """The last one."""
        return self.leaf.exchanges[-1]

    @property
    def out(self):
        """What was sent to the client."""
        return self.transport.value()

    @property
    def closing(self):
        """Whether we have closed in good order."""
        return self.transport.disconnecting and not self.transport.disconnected

    @property
    def aborted(self):
        """Whether we have reset the connection."""
        return self.transport.disconnected

    @property
    def reading(self):
        """Whether we listen to the client."""
        return self.transport.producerState == "producing"

    def answers(self, *methods, closed=False):
        """What was sent, understood by h11."""
        return read_answers(self.out, *methods, closed=closed)

    def answer(self, method=b"GET", closed=False):
        """The only answer that was sent."""
        return self.answers(method, closed=closed)[0]
