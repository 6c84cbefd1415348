"""
What forwarding one exchange costs, in memory: from `ProxyResource.render` to the connection's return to its pool.

No sockets, no edge: an exchange that swallows what it is told, and a transport that swallows what is written. Run it as
``python -m tests.bench.micro_forward``; it prints microseconds of CPU per request, the least of several rounds.
"""

from __future__ import annotations

import gc
import sys
import time
from collections.abc import Callable
from math import inf
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock
from zope.interface import implementer

from suuupra_gateway.config.model import ProcessSpec, ProxySpec, UpstreamSpec
from suuupra_gateway.http.hygiene import Hygiene
from suuupra_gateway.http.message import RequestHead, ResponseHead
from suuupra_gateway.http.outcome import Outcome
from suuupra_gateway.interfaces import IExchange
from suuupra_gateway.net.sweep import Sweep
from suuupra_gateway.targets.proxy import ProxyResource
from suuupra_gateway.upstreams.upstream import Upstream

ROUNDS = 15
PER_ROUND = 4000

REQUEST = [
    (b"host", b"api.example.org"),
    (b"user-agent", b"Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0"),
    (b"accept", b"application/json, text/plain, */*"),
    (b"accept-language", b"en-GB,en;q=0.7,de;q=0.3"),
    (b"accept-encoding", b"gzip, deflate, br"),
    (b"authorization", b"Bearer eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJ1c2VyIn0.c2lnbmF0dXJl"),
    (b"cookie", b"theme=dark; session=0123456789abcdef0123456789abcdef"),
    (b"referer", b"https://www.example.org/page"),
    (b"cache-control", b"no-cache"),
    (b"x-client-version", b"1.2.3"),
]

BODY = b'{"user": 7, "name": "somebody", "roles": ["reader", "writer"], "active": true, "n": 12}   '
ANSWER = (
    b"HTTP/1.1 200 OK\r\nServer: nginx/1.22.1\r\nDate: Mon, 23 Nov 2026 07:00:00 GMT\r\n"
    b'Content-Type: application/json\r\nContent-Length: %d\r\nConnection: keep-alive\r\nETag: "5f3759df"\r\n\r\n'
    % len(BODY)
) + BODY


@implementer(IExchange)
class SilentExchange:
    """As little of an exchange as forwarding touches."""

    __slots__ = ("head", "client", "peer", "secure", "id", "arrived", "deadline", "route", "outcome", "sent", "_gone")

    def __init__(self, head: RequestHead, now: float) -> None:
        self.head = head
        self.client = self.peer = "192.0.2.1"
        self.secure = False
        self.id = b"01890a5d-ac96-774b-bcce-b302099a8057"
        self.arrived = now
        self.deadline = inf
        self.route = None
        self.outcome = Outcome()

    def on_gone(self, callback: Any) -> None:
        self._gone = callback

    def start(self, head: ResponseHead) -> None:
        pass

    def write(self, data: bytes) -> None:
        pass

    def finish(self, trailers: Any = None) -> None:
        self._gone = None


class SilentTransport:
    """Swallows what is written."""

    __slots__ = ()
    disconnecting = False

    def write(self, data: bytes) -> None:
        pass


def measure(name: str, once: Callable[[], object]) -> float:
    """Print and return microseconds of CPU per call."""
    best = inf
    gc.collect()
    for _ in range(ROUNDS):
        start = time.process_time()
        for _ in range(PER_ROUND):
            once()
        best = min(best, (time.process_time() - start) / PER_ROUND)
    print(f"{name:<44}{best * 1e6:8.2f} us")
    return best * 1e6


def main() -> None:
    """Measure one whole forwarding, and what it is made of."""
    clock = Clock()
    sweep = Sweep(clock)
    made: list[Any] = []

    def connect(reactor: Any, address: Any, factory: Any, **_: Any) -> Deferred[Any]:
        connection = factory.buildProtocol(None)
        connection.makeConnection(SilentTransport())
        made.append(connection)
        return succeed(connection)

    peers = int(sys.argv[1]) if len(sys.argv) > 1 else 1
    endpoints = [{"url": f"http://10.0.0.{number + 1}:8080"} for number in range(peers)]
    spec = UpstreamSpec.model_validate({"name": "users", "endpoints": endpoints})
    upstream = Upstream(spec, clock, sweep, connect=connect)
    hygiene = Hygiene(ProcessSpec())
    proxy = ProxyResource(ProxySpec(upstream="users"), {"users": upstream}, hygiene, clock)
    head = RequestHead(
        b"GET", b"/v1/users/7", list(REQUEST), query=b"full=1", authority=b"api.example.org", host=b"api.example.org"
    )

    def forward() -> None:
        exchange = SilentExchange(head, monotonic())
        proxy.render(exchange)
        for connection in made:
            if connection.receiver is not None:
                connection.dataReceived(ANSWER)

    def exchange_alone() -> None:
        SilentExchange(head, monotonic())

    monotonic = time.monotonic
    forward()
    whole = measure(f"forwarding, {peers} peer(s)", forward)
    alone = measure("  of it: the silent exchange", exchange_alone)
    exchange = SilentExchange(head, monotonic())
    measure("  of it: the request's head", lambda: hygiene.request_head(exchange, b"", 1, 14.9))
    parser = made[0].parser

    def parse() -> None:
        parser.expect(False)
        parser.feed(ANSWER)
        parser.body()

    measure("  of it: parsing the answer", parse)
    print(f"{'without the silent exchange':<44}{whole - alone:8.2f} us, {len(made)} connection(s)")


if __name__ == "__main__":
    main()
