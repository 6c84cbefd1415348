"""
Cached time, and one timer for every timeout of a worker.

Timeouts move with each request and nearly never fire, so a timer of its own per connection would be dear. Here a thing that
may time out has a ``deadline``, moves it by assignment, and one periodic scan finds what is due.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from email.utils import formatdate
from typing import Protocol

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger


class Expiring(Protocol):
    """What a `Sweep` watches. Compared and hashed by identity."""

    deadline: float
    """`Sweep.monotonic` time at which `expired` is to be called; ``inf`` for never."""

    def expired(self, now: float) -> None:
        """
        The deadline has passed.

        Called at every scan until the deadline moves or the thing is unwatched, both of which are fine to do in here.
        """


class Sweep:
    """
    Calls `Expiring.expired` of watched things, to within ``interval`` seconds. Lives as long as its process.

    ``now`` is as old as the last scan: good for deadlines, which may so come ``interval`` seconds early or late, not for
    measuring.
    """

    __slots__ = ("monotonic", "now", "date", "_wall", "_interval", "_reactor", "_watched", "_call", "_second")

    log = Logger()

    monotonic: Callable[[], float]
    """The clock itself, for those who measure; seconds."""

    now: float
    """`monotonic` at the last scan."""

    date: bytes
    """The wall clock as an IMF-fixdate (RFC 9110 section 5.6.7), renewed each second."""

    def __init__(
        self,
        reactor: IReactorTime,
        *,
        monotonic: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
        interval: float = 0.1,
    ) -> None:
        self._reactor = reactor
        self.monotonic = monotonic
        self._wall = wall
        self._interval = interval
        self._watched: set[Expiring] = set()
        self._call: IDelayedCall | None = None
        self._second = -1
        self._read_clocks()

    def start(self) -> None:
        """Begin to scan. Does nothing if it has begun."""
        if self._call is None:
            self._read_clocks()
            self._call = self._reactor.callLater(self._interval, self._tick)

    def stop(self) -> None:
        """Stop scanning; watched things stay watched. Idempotent."""
        if self._call is not None:
            self._call.cancel()
            self._call = None

    def watch(self, thing: Expiring) -> None:
        """Look at ``thing.deadline`` in every scan from now on."""
        self._watched.add(thing)

    def unwatch(self, thing: Expiring) -> None:
        """Forget ``thing``; it need not be watched."""
        self._watched.discard(thing)

    def _read_clocks(self) -> None:
        self.now = self.monotonic()
        second = int(self._wall())
        if second != self._second:
            self._second = second
            self.date = formatdate(second, usegmt=True).encode("ascii")

    def _tick(self) -> None:
        # First of all, so that `stop` works from inside of `expired`.
        self._call = self._reactor.callLater(self._interval, self._tick)
        self._read_clocks()
        now = self.now
        for thing in [thing for thing in self._watched if thing.deadline <= now]:
            if thing not in self._watched or thing.deadline > now:
                continue  # one that came before it in this scan has ended or saved it
            try:
                thing.expired(now)
            except Exception:
                self.log.failure("A timeout failed in {thing!r}", thing=thing)
