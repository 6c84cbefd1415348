"""
What became of an exchange: written by those who take part, read once by done-hooks, metrics and the access line.
"""

from __future__ import annotations

from suuupra_gateway.errors import GatewayError


class Outcome:
    """Mutable, one per exchange. Times are `time.monotonic()` values, 0.0 for "did not happen"."""

    __slots__ = (
        "status",
        "error",
        "source",
        "upstream",
        "peer",
        "attempts",
        "sent",
        "received",
        "filtered",
        "chosen",
        "connected",
        "first_byte",
        "answered",
        "ended",
        "upstream_error",
        "auth",
    )

    status: int
    """Status that the client saw, 499 if it left first, 0 if none yet."""

    error: GatewayError | None
    """Why the gateway answered by itself or broke off; None after a proxied answer, whatever its status."""

    source: str
    """``upstream`` if the answer came from there, else ``gateway``."""

    upstream: str
    """Name of the upstream that was asked; empty if none."""

    peer: str
    """``host:port`` or ``unix:path`` of the last peer tried."""

    attempts: int
    """How many peers were asked."""

    sent: int
    """Bytes of the answer's body given to the transport."""

    received: int
    """Bytes of the request's body that were delivered."""

    filtered: float
    """When the request filters were done."""

    chosen: float
    """When the (last) peer was chosen."""

    connected: float
    """When the (last) connection was ready: at once for a pooled one."""

    first_byte: float
    """When the head of the answer came from the upstream."""

    answered: float
    """When the last byte of the answer came from the upstream."""

    ended: float
    """When the exchange was settled."""

    upstream_error: GatewayError | None
    """Error of the last failed attempt, even if a later one succeeded."""

    auth: str
    """
    Why a credential was refused, or where the decision came from when it was not made for this request: a stable word, see
    `auth.principal`; empty for all else.
    """

    def __init__(self) -> None:
        self.status = 0
        self.error = None
        self.source = "gateway"
        self.upstream = ""
        self.peer = ""
        self.attempts = 0
        self.sent = 0
        self.received = 0
        self.filtered = self.chosen = self.connected = self.first_byte = self.answered = self.ended = 0.0
        self.upstream_error = None
        self.auth = ""
