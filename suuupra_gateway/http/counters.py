"""
What a listener counts.
"""

from __future__ import annotations


class EdgeCounters:
    """What a listener counts: plain ints, never reset."""

    __slots__ = ("accepted", "refused", "requests", "dropped_headers", "bad_requests")

    accepted: int
    """Connections that got a channel."""

    refused: int
    """Connections beyond the limit, closed at once."""

    requests: int
    """Heads that were understood."""

    dropped_headers: int
    """Fields that were dropped because their name holds ``_`` or ``.``, or is one that only the gateway may set."""

    bad_requests: int
    """Requests that were refused before they could be routed: malformed, too large, too slow."""

    def __init__(self) -> None:
        self.accepted = self.refused = self.requests = self.dropped_headers = self.bad_requests = 0
