"""
A board that is not connected to anything: for plans that nobody will serve by, and for tests.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import Deferred, fail

from suuupra_gateway.interfaces import NoAnswer


def _nothing() -> None:
    """There is nothing to end."""


class QuietBoard:
    """Has no values, hears no events and answers no questions. See `suuupra_gateway.interfaces.Board`."""

    def watch(self, topic: str, callback: Callable[[bytes], None]) -> Callable[[], None]:
        """No value will come."""
        return _nothing

    def listen(self, topic: str, callback: Callable[[bytes], None]) -> Callable[[], None]:
        """No event will come."""
        return _nothing

    def ask(self, topic: str, question: bytes) -> Deferred[bytes]:
        """There is nobody to answer."""
        return fail(NoAnswer(f"nobody here knows of {topic}"))

    def tell(self, topic: str, event: bytes) -> None:
        """Nobody hears it."""
