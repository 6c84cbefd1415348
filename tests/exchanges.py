"""
Settled exchanges, as those who count and log them see one.
"""

from __future__ import annotations

from suuupra_gateway.auth.principal import Principal
from suuupra_gateway.errors import GatewayError
from suuupra_gateway.http.message import Pairs, RequestHead
from suuupra_gateway.http.outcome import Outcome

ARRIVED = 1000.0


class _Route:
    def __init__(self, name: str) -> None:
        self.name = name


class Settled:
    """Only what `Tally.record` and `AccessLog.record` read of an IExchange."""

    def __init__(
        self,
        *,
        method: bytes = b"GET",
        target: bytes = b"/v1/users/7",
        path: bytes | None = None,
        headers: Pairs | None = None,
        host: bytes = b"api.example.org",
        version: bytes = b"1.1",
        route: str | None = "users",
        upstream: str = "users",
        status: int = 200,
        source: str = "upstream",
        error: GatewayError | None = None,
        upstream_error: GatewayError | None = None,
        attempts: int = 1,
        received: int = 0,
        sent: int = 0,
        total: float = 0.012,
        waited: float = 0.010,
        filters: float = 0.001,
        id: bytes = b"0190a2b4-7c7d-7a11-9f00-000000000000",
        client: str = "192.0.2.1",
        principal: Principal | None = None,
        auth: str = "",
    ) -> None:
        self.head = RequestHead(
            method,
            target.partition(b"?")[0] if path is None else path,
            headers if headers is not None else [],
            target=target,
            host=host,
            version=version,
        )
        self.route = None if route is None else _Route(route)
        self.arrived = ARRIVED
        self.id = id
        self.client = client
        self.peer = client
        self.principal = principal
        self.outcome = outcome = Outcome()
        outcome.auth = auth
        outcome.received = received
        outcome.status, outcome.source, outcome.error = status, source, error
        outcome.upstream_error, outcome.attempts, outcome.sent = upstream_error, attempts, sent
        outcome.filtered = ARRIVED + filters
        if attempts:
            outcome.upstream, outcome.peer = upstream, "127.0.0.1:9001"
            outcome.chosen = ARRIVED + filters
            outcome.connected = outcome.chosen + 0.0005
            outcome.first_byte = outcome.connected + 0.002
            outcome.answered = outcome.chosen + waited
        outcome.ended = ARRIVED + total
