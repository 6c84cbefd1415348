"""
What a whole relayed request costs in Python, in memory: ``python -m tests.bench.micro_relay [--profile]``.

Bytes of a request with ten header fields go into an `EdgeChannel`; they pass the compiled plan, the filters (none), the
forwarding and the pool; the answer's bytes come back; tally and access log record it. Only the kernel and uvloop are missing.
"""

from __future__ import annotations

import sys
import tempfile
import time
from math import inf
from pathlib import Path
from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock

from suuupra_gateway.config.decode import decode
from suuupra_gateway.config.model import AccessLogSpec, UpstreamSpec
from suuupra_gateway.config.source import Document
from suuupra_gateway.filters.catalog import kinds
from suuupra_gateway.http.site import GatewaySite
from suuupra_gateway.logs import AccessLog
from suuupra_gateway.net.sweep import Sweep
from suuupra_gateway.plan import compile_plan
from suuupra_gateway.residents import Residents
from suuupra_gateway.routing.resource import GatewayResource
from suuupra_gateway.tally import Tally
from suuupra_gateway.upstreams.upstream import Upstream
from tests.bench.measure import HEADERS

BODY = b'{"id":7,"name":"Ada Lovelace","mail":"ada@example.org","roles":["admin","author"],"ok":true}'
ANSWER = (
    b"HTTP/1.1 200 OK\r\nServer: nginx/1.22.1\r\nDate: Mon, 23 Nov 2026 07:00:00 GMT\r\n"
    b"Content-Type: application/json\r\nContent-Length: %d\r\nConnection: keep-alive\r\n\r\n" % len(BODY)
) + BODY
REQUEST = (
    "GET /v1/users/7 HTTP/1.1\r\nHost: 127.0.0.1:8080\r\n" + "".join(f"{line}\r\n" for line in HEADERS) + "\r\n"
).encode()
TREE = {
    "listeners": [{"name": "public", "address": "127.0.0.1:8080", "limits": {"requests": 10**9}}],
    "upstreams": {"u": {"endpoints": ["http://127.0.0.1:9001"], "pool": {"requests": 10**9}}},
    "routes": [
        {"name": "all", "auth": "none", "match": {"prefix": "/"}, "target": {"proxy": {"upstream": "u"}}},
    ],
}


class SilentTransport:
    """Swallows what is written."""

    disconnecting = False

    def __init__(self) -> None:
        self.written = 0

    def write(self, data: bytes) -> None:
        self.written += len(data)

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        pass

    def getPeer(self) -> IPv4Address:
        return IPv4Address("TCP", "127.0.0.1", 40000)


def main() -> None:
    """Measure, or profile."""
    clock = Clock()
    sweep = Sweep(clock)
    sweep.start()
    made: list[Any] = []

    def connect(reactor: Any, address: Any, factory: Any, **_: Any) -> Deferred[Any]:
        connection = factory.buildProtocol(None)
        connection.makeConnection(SilentTransport())
        made.append(connection)
        return succeed(connection)

    residents = Residents()
    residents.register(UpstreamSpec, lambda spec: Upstream(spec, clock, sweep, connect=connect))
    known = kinds()
    config = decode(Document.from_tree(TREE), known)
    plan = compile_plan(config, residents, kinds=known, reactor=clock, sweep=sweep)
    resource = GatewayResource()
    resource.plan = plan
    residents.settle(plan.claims)
    tally = Tally()
    with tempfile.TemporaryDirectory() as folder:
        log = AccessLog(AccessLogSpec(path=str(Path(folder, "access.log"))), clock)

        def settled(exchange: Any) -> None:
            tally.record(exchange)
            log.record(exchange, "public")

        site = GatewaySite(resource, listener=config.listeners[0], process=config.gateway, sweep=sweep, settled=settled)
        channel: Any = site.buildProtocol(IPv4Address("TCP", "127.0.0.1", 40000))
        transport = SilentTransport()
        channel.makeConnection(transport)

        def once() -> None:
            channel.dataReceived(REQUEST)
            made[0].dataReceived(ANSWER)

        once()
        assert transport.written > len(BODY), "no answer came"
        if "--profile" in sys.argv:
            import cProfile

            profile = cProfile.Profile()
            profile.enable()
            for _ in range(30_000):
                once()
            profile.disable()
            profile.print_stats("tottime")
            return
        best = inf
        for _ in range(15):
            start = time.process_time()
            for _ in range(4000):
                once()
            clock.advance(0.1)
            best = min(best, (time.process_time() - start) / 4000)
        print(f"relay of one request, without kernel and loop: {best * 1e6:.1f} us")


if __name__ == "__main__":
    main()
