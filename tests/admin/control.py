"""
A supervisor that says what it is told to say, and a browser that speaks to the admin site in memory.
"""

from __future__ import annotations

from collections.abc import Sequence

import attrs
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IAddress
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.web.server import Site
from zope.interface import implementer

from suuupra_gateway.admin.report import Inline, Threads
from suuupra_gateway.admin.site import admin_site
from suuupra_gateway.auth.issuing import Issuing
from suuupra_gateway.config.model import AdminSpec
from suuupra_gateway.interfaces import IControl


@implementer(IControl)
class FakeControl:
    """Verified by `test_site`."""

    def __init__(self) -> None:
        self.tree: dict[str, object] = {
            "generation": 3,
            "digest": "abc",
            "since": 1_700_000_000.0,
            "age": 60.0,
            "last_reload": {"at": 1_700_000_060.0, "successful": True, "why": ""},
            "config": {
                "gateway": {"name": "front"},
                "routes": [{"name": "users", "match": {"path": "/users"}}, {"name": "quiet"}],
                "upstreams": {"users": {"endpoints": ["http://127.0.0.1:9001"]}},
            },
        }
        self.processes: list[dict[str, object]] = [
            {"slot": 0, "pid": 41, "state": "ready", "generation": 3, "restarts": 2},
            {"slot": 1, "pid": 42, "state": "ready", "generation": 3, "restarts": 0},
        ]
        self.encoded: list[bytes] = []
        self.asked = 0
        self.answer: Deferred[list[bytes]] | None = None
        self.well = True
        self.serving: tuple[bool, str] = (True, "")
        self.keys: Issuing | None = None
        self.revoked: list[str] = []
        self.told: Deferred[bool] | None = None

    def plan(self) -> dict[str, object]:
        return self.tree

    def workers(self) -> list[dict[str, object]]:
        return self.processes

    def snapshots(self) -> Deferred[list[bytes]]:
        self.asked += 1
        return self.answer if self.answer is not None else succeed(self.encoded)

    def healthy(self) -> bool:
        return self.well

    def ready(self) -> tuple[bool, str]:
        return self.serving

    def reload(self, reason: str) -> Deferred[None]:
        return succeed(None)

    def issuing(self) -> Issuing | None:
        return self.keys

    def revoke(self, tags: Sequence[str]) -> Deferred[bool]:
        self.revoked += tags
        return self.told if self.told is not None else succeed(True)


@attrs.frozen
class Answer:
    """A response, taken apart."""

    status: int
    headers: dict[str, str]
    body: bytes


class Browser:
    """Speaks HTTP/1.1 to the site, one connection per request."""

    def __init__(
        self,
        control: FakeControl,
        spec: AdminSpec | None = None,
        *,
        local: IAddress | None = None,
        threads: Threads | None = None,
    ) -> None:
        self.site: Site = admin_site(control, spec or AdminSpec(), reactor=Clock(), threads=threads or Inline())
        self.local = local or IPv4Address("TCP", "127.0.0.1", 9900)

    def open(self, raw: bytes) -> tuple[StringTransport, object]:
        """Send ``raw`` on a new connection."""
        transport = StringTransport(hostAddress=self.local)
        protocol = self.site.buildProtocol(transport.getPeer())
        protocol.makeConnection(transport)
        protocol.dataReceived(raw)
        return transport, protocol

    def ask(
        self,
        path: str,
        *,
        method: str = "GET",
        host: str | None = "127.0.0.1:9900",
        headers: dict[str, str] | None = None,
        body: bytes = b"",
    ) -> Answer:
        """Ask and wait for nothing: the answer must be there."""
        lines = [f"{method} {path} HTTP/1.1"]
        if host is not None:
            lines.append(f"Host: {host}")
        lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
        if body:
            lines.append(f"Content-Length: {len(body)}")
        lines += ["Connection: close", "", ""]
        transport, _ = self.open("\r\n".join(lines).encode("latin-1") + body)
        return parse(transport.value())


def parse(raw: bytes) -> Answer:
    """Take a whole response apart."""
    head, _, body = raw.partition(b"\r\n\r\n")
    status, *fields = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (field.partition(":") for field in fields)}
    return Answer(int(status.split()[1]), headers, body)
