"""
The far end of upstream connections, in memory: `Network` plays the kernel and all peers, time stands until it is told.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure

from suuupra_gateway.config.model import ProcessSpec, ProxySpec, UpstreamSpec
from suuupra_gateway.http.hygiene import Hygiene
from suuupra_gateway.http.message import RequestHead
from suuupra_gateway.memory import MemoryBody, MemoryExchange
from suuupra_gateway.net.sweep import Sweep
from suuupra_gateway.targets.proxy import ProxyResource
from suuupra_gateway.upstreams.upstream import Upstream

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-Answer: yes\r\n\r\nhi"


class Wire(StringTransport):
    """The peer's side of one connection."""

    aborted = False

    def __init__(self, address: Any = None, tls: Any = None) -> None:
        super().__init__()
        self.address = address
        self.tls = tls
        self.protocol: Any = None
        self.lost = False
        self.writes: list[bytes] = []
        """What was written, piece by piece."""

    def write(self, data: bytes) -> None:
        self.writes.append(data)
        super().write(data)

    def abortConnection(self) -> None:
        self.aborted = True
        self.disconnecting = True

    def take(self) -> bytes:
        """What was written since the last look."""
        data = self.value()
        self.clear()
        return data

    def answer(self, data: bytes = OK) -> None:
        """Let the peer say something."""
        self.protocol.dataReceived(data)

    def lose(self, reason: Exception | None = None) -> None:
        """The connection ends: in an orderly way unless there is another ``reason``."""
        self.lost = True
        self.protocol.connectionLost(Failure(reason or ConnectionDone()))

    def reset(self) -> None:
        self.lose(ConnectionLost())

    def settle(self) -> None:
        """Tell the protocol about the end that it asked for."""
        if (self.aborted or self.disconnecting) and not self.lost:
            self.lose(ConnectionLost() if self.aborted else None)


class Network:
    """Connects at once, later, or not at all."""

    def __init__(self) -> None:
        self.wires: list[Wire] = []
        self.asked: list[Any] = []
        self.pending: list[tuple[Deferred[Any], Any, Any, Any]] = []
        self.cancelled = 0
        self.slow = False
        self.late = False
        """Whether whoever cancels comes too late."""
        self.failures: list[Exception] = []
        """What the next attempts to connect end with."""

    def connect(self, reactor: Any, address: Any, factory: Any, **options: Any) -> Deferred[Any]:
        self.asked.append((str(address), options))

        def cancel(_: Deferred[Any]) -> None:
            self.cancelled += 1
            if self.late:
                self.open()

        deferred: Deferred[Any] = Deferred(cancel)
        self.pending.append((deferred, address, factory, options))
        if not self.slow:
            self.open()
        return deferred

    def open(self) -> None:
        """Make all connections that are asked for, or let them fail."""
        pending, self.pending = self.pending, []
        for deferred, address, factory, options in pending:
            if deferred.called:
                continue
            if self.failures:
                deferred.errback(Failure(self.failures.pop(0)))
                continue
            wire = Wire(address, options.get("tls"))
            protocol = factory.buildProtocol(None)
            wire.protocol = protocol
            self.wires.append(wire)
            protocol.makeConnection(wire)
            protocol.connectionMade()
            deferred.callback(protocol)

    def settle(self) -> None:
        for wire in self.wires:
            wire.settle()

    @property
    def wire(self) -> Wire:
        """The newest connection."""
        return self.wires[-1]


class Rig:
    """An upstream with its proxy target, on a network and a clock of its own."""

    def __init__(
        self,
        *,
        peers: int = 1,
        chance: float = 0.0,
        process: dict[str, Any] | None = None,
        proxy: dict[str, Any] | None = None,
        **upstream: Any,
    ) -> None:
        self.clock = Clock()
        self.clock.advance(1000.0)
        self.sweep = Sweep(self.clock, monotonic=self.clock.seconds)
        self.sweep.start()
        self.network = Network()
        self.chance = chance
        upstream.setdefault("endpoints", [f"http://10.0.0.{number + 1}:8080" for number in range(peers)])
        self.spec = UpstreamSpec.model_validate({"name": "users", **upstream})
        self.upstream = self.make(self.spec)
        self.hygiene = Hygiene(ProcessSpec.model_validate({"trusted_proxies": ("10.9.0.0/16",), **(process or {})}))
        self.proxy = ProxyResource(
            ProxySpec.model_validate({"upstream": "users", **(proxy or {})}),
            {"users": self.upstream},
            self.hygiene,
            self.clock,
        )

    def make(self, spec: UpstreamSpec) -> Upstream:
        return Upstream(spec, self.clock, self.sweep, connect=self.network.connect, random=lambda: self.chance)

    def pass_time(self, seconds: float) -> None:
        """Let the clock and with it the sweep go on."""
        steps = round(seconds / 0.1)
        self.clock.pump([0.1] * steps)
        self.clock.advance(seconds - steps * 0.1 if seconds > steps * 0.1 else 0.0)

    def exchange(
        self,
        method: bytes = b"GET",
        path: bytes = b"/a",
        *headers: tuple[bytes, bytes],
        body: MemoryBody | None = None,
        **head: Any,
    ) -> MemoryExchange:
        head.setdefault("authority", b"api.example.org")
        made = MemoryExchange(RequestHead(method, path, list(headers), **head), body=body, id=b"id-1")
        made.arrived = self.clock.seconds()
        return made

    def send(self, *args: Any, **kwargs: Any) -> MemoryExchange:
        """Render an exchange."""
        made = self.exchange(*args, **kwargs)
        self.proxy.render(made)
        return made

    @property
    def wire(self) -> Wire:
        return self.network.wire

    def peer(self, number: int = 0) -> Any:
        return self.upstream.peers[number]
