"""
What becomes of callers while whoever decides about them does not answer: how many would get by, and how many did.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from itertools import islice
from typing import Final, Protocol

import attrs
from twisted.logger import Logger

ACTIVE: Final = 300.0
"""Seconds since the last request of a caller who counts as active."""

MINUTES: Final = (1, 5, 15, 60)
"""Lengths of an outage for which survivors are counted."""

_SAMPLE: Final = 5_000
"""Entries that are looked at: all of many would hold a worker up."""

_IDENTITIES: Final = 100_000
"""Callers that are told apart in one outage."""


class Remembered(Protocol):
    """What is asked of an entry."""

    used: float
    """When it was last looked up; seconds of a clock that is never set."""

    @property
    def ends(self) -> float:
        """Until when it will do if nobody can be asked; same clock."""


@attrs.frozen
class Survivors:
    """Callers of the last `ACTIVE` seconds."""

    active: int
    surviving: tuple[int, ...]
    """How many of them would get by without their provider for so long, by `MINUTES`."""

    @classmethod
    def of(cls, entries: Collection[Remembered], now: float, others: Iterable[float] = ()) -> Survivors:
        """
        Counted among ``entries``; of many only every so-manyth is looked at.

        :param others: when callers of whom nothing may be remembered were last seen.
        """
        step = len(entries) // _SAMPLE + 1
        active, surviving = sum(1 for used in others if used >= now - ACTIVE), [0] * len(MINUTES)
        for entry in islice(entries, 0, None, step):
            if entry.used < now - ACTIVE:
                continue
            active += step
            ends = entry.ends
            for place, minutes in enumerate(MINUTES):
                if ends < now + minutes * 60:
                    break
                surviving[place] += step
        return cls(active, tuple(surviving))


class Outage:
    """
    The account of one provider's outages. Lives as long as decisions of it are remembered.

    States: *none*; *suspected* after a question without an answer; *declared* when questions pause. Any answer leads back to
    *none*, with a report if anybody was affected.
    """

    log = Logger()

    __slots__ = ("_provider", "_began", "_declared", "_stale", "_refused", "_identities")

    def __init__(self, provider: str) -> None:
        """:param provider: its name, for the log."""
        self._provider = provider
        self._began = -1.0
        self._declared = False
        self._stale = 0
        self._refused = 0
        self._identities: set[bytes] = set()

    def failed(self, why: str, now: float, *, lost: bool) -> None:
        """A question got no answer; ``lost`` if there will be a pause now."""
        if self._began < 0:
            self._began = now
            self._stale = self._refused = 0
            self._identities.clear()
        if lost and not self._declared:
            self._declared = True
            self.log.warn(
                "{provider} does not answer ({why}): earlier decisions are used as long as they may be",
                provider=self._provider,
                why=why,
            )

    def answered(self, now: float) -> None:
        """A question got an answer."""
        if self._began < 0:
            return
        if self._declared or self._stale or self._refused:
            self.log.warn(
                "{provider} answers again after {seconds:.1f} s: {stale} requests of {identities} callers got by on earlier "
                "decisions, {refused} could not be decided",
                provider=self._provider,
                seconds=now - self._began,
                stale=self._stale,
                identities=len(self._identities),
                refused=self._refused,
            )
        self._began = -1.0
        self._declared = False

    def served(self, key: bytes) -> None:
        """A request got by on an earlier decision."""
        self._stale += 1
        if len(self._identities) < _IDENTITIES:
            self._identities.add(key)

    def refused(self) -> None:
        """A request could not be decided."""
        self._refused += 1

    def seconds(self, now: float) -> float:
        """For how long there was no answer; 0 if the last question got one."""
        return 0.0 if self._began < 0 else now - self._began
