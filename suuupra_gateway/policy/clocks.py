"""
How long somebody else's decision is good for, and when to ask again somebody who did not answer.

Pure: what is known comes in, verdicts go out; time is an argument, in seconds of a clock that is never set. The three clocks are
those of RFC 5861: *fresh* is used, *revalidate* is used while it is being asked anew, *stale* is used only if asking fails.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable
from math import inf
from typing import TYPE_CHECKING, Final

import attrs

if TYPE_CHECKING:
    from suuupra_gateway.config.model import CacheSpec

LONGEST: Final = 3600.0
"""Seconds of each clock at most, whatever a provider asks for: it cannot take back what is fresh."""

ATTEMPTS: Final = 3
"""Failures in a row after which asking pauses."""

PAUSES: Final = (1.0, 10.0)
"""First and longest pause in seconds; doubled by each failure. Long ones would keep new callers out after an outage."""


class Phase(enum.Enum):
    """In which of its clocks a decision is. The values are what logs and metrics say."""

    FRESH = "fresh"
    REVALIDATE = "revalidate"
    STALE = "stale"
    OVER = "over"


@attrs.frozen
class Wishes:
    """What whoever decided has said about keeping it (``Cache-Control``, RFC 9111 section 5.2.2); None for nothing. Seconds."""

    keep: bool = True
    """Whether it may be kept at all."""

    fresh: float | None = None
    revalidate: float | None = None
    stale: float | None = None

    @classmethod
    def of(cls, values: Iterable[bytes], age: bytes | None = None) -> Wishes:
        """
        Those in fields called ``Cache-Control``, and in ``Age`` (RFC 9111 section 5.1).

        What cannot be read counts as zero: then it is asked more often than wanted, not less. ``private`` means nothing here,
        as a decision is kept for one caller only.
        """
        directives: dict[bytes, bytes] = {}
        for value in values:
            for directive in value.split(b","):
                name, _, argument = directive.partition(b"=")
                directives.setdefault(name.strip(b" \t").lower(), argument.strip(b' \t"'))
        if b"no-store" in directives:
            return cls(keep=False)

        def seconds(name: bytes) -> float | None:
            argument = directives.get(name)
            if argument is None:
                return None
            return min(float(argument), LONGEST) if argument.isdigit() else 0.0

        fresh = seconds(b"s-maxage")
        if fresh is None:
            fresh = seconds(b"max-age")
        if fresh is not None and age is not None:
            fresh = max(0.0, fresh - float(age)) if age.isdigit() else 0.0
        revalidate, stale = seconds(b"stale-while-revalidate"), seconds(b"stale-if-error")
        if b"no-cache" in directives:
            fresh = revalidate = stale = 0.0
        elif b"must-revalidate" in directives or b"proxy-revalidate" in directives:
            revalidate = stale = 0.0
        return cls(True, fresh, revalidate, stale)


NO_WISHES: Final = Wishes()


@attrs.frozen
class Lifetime:
    """When the clocks of one decision end; each time is at or after the one before it."""

    decided: float
    fresh: float
    revalidate: float
    stale: float

    def phase(self, now: float) -> Phase:
        """Which clock runs at ``now``. Before it was decided there was no such decision."""
        if now < self.revalidate:
            if now < self.fresh:
                return Phase.FRESH if now >= self.decided else Phase.OVER
            return Phase.REVALIDATE
        return Phase.STALE if now < self.stale else Phase.OVER

    def doubted(self, now: float) -> Lifetime:
        """The same, to be asked anew before it is used, unless asking fails: news of a revocation may have been missed."""
        return Lifetime(self.decided, min(self.fresh, now), min(self.revalidate, now), self.stale)


@attrs.frozen
class Clocks:
    """How long decisions are good for; compiled from a `CacheSpec`. Seconds."""

    fresh: float
    revalidate: float
    stale: float
    deny: float

    @classmethod
    def of(cls, spec: CacheSpec) -> Clocks:
        """The clocks that ``spec`` configures."""
        return cls(float(spec.fresh), float(spec.revalidate), float(spec.stale_if_error), float(spec.deny))

    def lifetime(self, allow: bool, decided: float, wishes: Wishes = NO_WISHES, left: float = inf) -> Lifetime:
        """
        Of a decision that was made at ``decided``.

        Wishes go before the configuration, and ``left`` before both. A ``max-age`` without more shortens the second clock to
        its own length: who wants to be asked every second does not want to be overheard for thirty. Refusals have one clock,
        which wishes can only shorten.

        :param left: seconds until whatever was shown expires by itself.
        """
        left = max(0.0, left)
        if not wishes.keep:
            return Lifetime(decided, decided, decided, decided)
        if not allow:
            end = decided + min(self.deny, left, inf if wishes.fresh is None else wishes.fresh)
            return Lifetime(decided, end, end, end)
        fresh, revalidate = self.fresh, self.revalidate
        if wishes.fresh is not None:
            fresh = wishes.fresh
            revalidate = min(revalidate, fresh)
        if wishes.revalidate is not None:
            revalidate = wishes.revalidate
        stale = self.stale if wishes.stale is None else wishes.stale
        last = decided + left
        fresh = decided + min(fresh, LONGEST)
        revalidate = fresh + min(revalidate, LONGEST)
        return Lifetime(decided, min(fresh, last), min(revalidate, last), min(revalidate + min(stale, LONGEST), last))


@attrs.frozen
class Patience:
    """Whether to ask somebody who has failed to answer: not for a while, and then one question at a time."""

    failures: int = 0
    """In a row."""

    until: float = 0.0
    """No questions before this."""

    @property
    def lost(self) -> bool:
        """Whether so many questions failed that the next one is a mere attempt."""
        return self.failures >= ATTEMPTS

    def asks(self, now: float) -> bool:
        """Whether a question may be asked."""
        return now >= self.until

    def failed(self, now: float) -> Patience:
        """After a question without an answer. Those that were asked together with one that began a pause do not prolong it."""
        if now < self.until:
            return self
        failures = self.failures + 1
        if failures < ATTEMPTS:
            return Patience(failures)
        first, longest = PAUSES
        return Patience(failures, now + min(longest, first * 2.0 ** min(failures - ATTEMPTS, 30)))
