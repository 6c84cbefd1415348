"""
What the edge costs per request, in memory: ``python -m tests.bench.micro_edge``.

A request of ten header fields goes into `EdgeChannel.dataReceived`; a leaf resource answers at once, by ``start``, ``write`` and
``finish``, or by a `Reply`; what comes out is counted and thrown away. Prints microseconds per request, the best of several
turns: noise of other processes only ever adds.
"""

from __future__ import annotations

import gc
import sys
from time import perf_counter

from twisted.internet.address import IPv4Address
from twisted.internet.task import Clock

from suuupra_gateway.config.model import ListenerLimits, ListenerSpec, ProcessSpec
from suuupra_gateway.http.message import Reply, ResponseHead
from suuupra_gateway.http.site import GatewaySite
from suuupra_gateway.net.sweep import Sweep

GET = (
    b"GET /v1/users/7?full=1 HTTP/1.1\r\n"
    b"Host: api.example.org\r\n"
    b"User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:130.0) Gecko/20100101 Firefox/130.0\r\n"
    b"Accept: application/json\r\n"
    b"Accept-Language: en-US,en;q=0.5\r\n"
    b"Accept-Encoding: gzip, deflate, br\r\n"
    b"Authorization: Bearer abcdefghijklmnopqrstuvwxyz0123456789\r\n"
    b"Cookie: session=0123456789abcdef; theme=dark\r\n"
    b"X-Trace: 0123456789abcdef\r\n"
    b"Cache-Control: no-cache\r\n"
    b"Connection: keep-alive\r\n"
    b"\r\n"
)
POST = GET.replace(b"GET", b"POST").replace(b"X-Trace: 0123456789abcdef", b"Content-Length: 16") + b"0123456789abcdef"
CHUNKED = (
    GET.replace(b"GET", b"POST").replace(b"X-Trace: 0123456789abcdef", b"Transfer-Encoding: chunked")
    + b"10\r\n0123456789abcdef\r\n0\r\n\r\n"
)
BODY = b'{"id":7,"name":"Ada Lovelace","mail":"ada@example.org","roles":["reader","writer"],"x":1}'
PLAIN = Reply(200, ((b"content-type", b"application/json"),), BODY)


class Answers:
    """As a proxied answer: head, one piece, end."""

    isLeaf = True

    def render(self, exchange):
        exchange.start(
            ResponseHead(
                200,
                [
                    (b"server", b"nginx"),
                    (b"date", b"Thu, 01 Jan 1970 00:00:00 GMT"),
                    (b"content-type", b"application/json"),
                    (b"etag", b'"0123456789"'),
                    (b"cache-control", b"private"),
                ],
                length=len(BODY),
            )
        )
        exchange.write(BODY)
        exchange.finish()


class Replies:
    """As a fixed answer."""

    isLeaf = True

    def render(self, exchange):
        exchange.respond(PLAIN)


class Takes:
    """As an upload: the body first, then the answer."""

    isLeaf = True

    def render(self, exchange):
        exchange.body.subscribe(Sink(exchange))


class Sink:
    __slots__ = ("exchange",)

    def __init__(self, exchange):
        self.exchange = exchange

    def feed(self, data):
        pass

    def end(self, trailers):
        self.exchange.respond(PLAIN)

    def cut(self, error):
        raise AssertionError(error)


class Nowhere:
    """A transport without a wire."""

    disconnecting = False

    def __init__(self):
        self.writes = 0

    def write(self, data):
        self.writes += 1

    def getPeer(self):
        return IPv4Address("TCP", "192.0.2.1", 40000)

    def registerProducer(self, producer, streaming):
        pass

    def unregisterProducer(self):
        raise AssertionError("the connection was closed")

    loseConnection = abortConnection = pauseProducing = resumeProducing = unregisterProducer


def cost(resource, request, rounds=1_000, turns=200):
    """Microseconds per request."""
    sweep = Sweep(Clock())
    limits = ListenerLimits(requests=rounds * turns + 1)
    listener = ListenerSpec(name="bench", address="127.0.0.1:0", limits=limits)
    site = GatewaySite(resource, listener=listener, process=ProcessSpec(), sweep=sweep)
    channel = site.buildProtocol(None)
    transport = Nowhere()
    channel.makeConnection(transport)
    receive = channel.dataReceived
    best = float("inf")
    gc.disable()
    for _ in range(turns):
        begun = perf_counter()
        for _ in range(rounds):
            receive(request)
        best = min(best, perf_counter() - begun)
    gc.enable()
    assert transport.writes == rounds * turns, transport.writes
    return best / rounds * 1e6


def main():
    print(f"{sys.implementation.name} {sys.version.split()[0]}, {GET.count(b': ')} header fields, us per request")
    for name, resource, request in (
        ("start, write, finish", Answers(), GET),
        ("reply", Replies(), GET),
        ("body of 16 bytes", Takes(), POST),
        ("chunked body", Takes(), CHUNKED),
    ):
        print(f"{name:24} {cost(resource, request):6.2f}")


if __name__ == "__main__":
    main()
