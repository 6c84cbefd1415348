"""
Time as a test has it: one clock for everything, which only tests move.
"""

from __future__ import annotations


class Time:
    """``monotonic`` and ``wall`` of one world."""

    def __init__(self, now: float = 1000.0, wall: float = 1.7e9) -> None:
        self.now = now
        self._ahead = wall - now

    def monotonic(self) -> float:
        return self.now

    def wall(self) -> float:
        return self.now + self._ahead

    def advance(self, seconds: float) -> None:
        self.now += seconds

    def set(self, seconds: float) -> None:
        """Move the wall clock alone, as an operator does."""
        self._ahead += seconds
