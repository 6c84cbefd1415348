"""
Decisions that somebody else has made, remembered so that they hold while that somebody cannot be asked.

`Decisions` stands between a credential and whoever is asked about it: an introspection endpoint, an auth service, a store of keys
or sessions. In this order: `Decisions.key` makes a key of all that a decision depends on; `look` answers from memory, or asks, or
both; `revoke` takes back. Each process remembers for itself what it uses, and all of a host share the rest (`auth.shared`).
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterable, Iterator
from math import inf
from typing import Final, Generic, TypeVar

import attrs
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from suuupra_gateway import metrics
from suuupra_gateway.auth.memory import Decision, Entry, Memory
from suuupra_gateway.auth.outage import MINUTES, Outage
from suuupra_gateway.auth.principal import Source, Undecided
from suuupra_gateway.auth.shared import Shared
from suuupra_gateway.auth.tables import EVERYTHING
from suuupra_gateway.config.model import CacheSpec
from suuupra_gateway.policy.clocks import NO_WISHES, Clocks, Patience, Phase, Wishes
from suuupra_gateway.tally import Sample

__all__ = ["EVERYTHING", "NO_WISHES", "AskFailed", "Decision", "Decisions", "Found", "Wishes"]

T = TypeVar("T")

MOST_ASKED: Final = 256
"""Questions at a time: whoever is asked must not drown in what strangers make up."""

_AGAIN: Final = 3
"""Questions in a row that may be overtaken by a revocation."""


def is_alone(status: int) -> bool:
    """Whether an answer of HTTP finds fault with the question, so that others may fare better (RFC 9110 section 15.5)."""
    return 400 <= status < 500 and status not in (408, 429)


class AskFailed(Exception):
    """Whoever should decide did not. The message says why."""

    def __init__(self, why: str, *, stale: bool = True, alone: bool = False) -> None:
        super().__init__(why)
        self.stale = stale
        """Whether an earlier decision may be used instead: not if we were told off."""

        self.alone = alone
        """Whether it is about this question alone: callers make up questions, and must not make an outage with them."""


@attrs.frozen(eq=False, slots=True)
class Found(Generic[T]):
    """A decision, as it stands now."""

    decision: Decision
    made: T
    """What was made of it; the same object as long as the decision is remembered."""

    source: Source
    age: float
    """Seconds since it was asked for."""


Waiter = Deferred["Found[T] | Undecided"]


class _Flight(Generic[T]):
    """A question on its way, and who waits for the answer. Lives until that came."""

    __slots__ = ("key", "started", "probe", "keep", "waiters")

    def __init__(self, key: bytes, started: float, probe: bool, keep: bool) -> None:
        self.key = key
        self.started = started
        self.probe = probe
        """Whether it is the one attempt that is made at a time during an outage."""
        self.keep = keep
        """Whether the answer is remembered."""
        self.waiters: list[tuple[Waiter[T], bool]] = []
        """Each with whether a stale decision would do."""


class Decisions(Generic[T]):
    """Decisions of one provider, as one process knows them. Lives as long as whoever asks the provider."""

    log = Logger()

    def __init__(
        self,
        name: str,
        spec: CacheSpec,
        shared: Shared | None,
        *,
        decode: Callable[[Decision], T],
        meaning: str = "",
        wall: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """
        :param name: of the provider, for log and metrics.
        :param shared: what all processes of this host know; None for nothing.
        :param decode: makes of a decision what callers need; once per decision and process. `ValueError` for what it cannot
            read: a decision shared by another release is then not there.
        :param meaning: what decisions depend on beside their keys, such as kind, name and URL of who is asked: shared decisions
            are found only under an equal one. Not what does not matter to them, such as timeouts.
        :param monotonic: seconds of the clock that all processes of the host have in common.
        """
        self.name = name
        self._memory: Memory[T] = Memory(
            Clocks.of(spec), decode, shared=shared, meaning=meaning or name, limit=spec.entries, wall=wall
        )
        self._entries = self._memory.entries
        self._wall = wall
        self._monotonic = monotonic
        self._flights: dict[bytes, _Flight[T]] = {}
        self._patience = Patience()
        self._probing = False
        self._outage = Outage(name)
        self._answered = 0
        self._failed = 0
        self._failed_at = inf
        """When the last question failed; never, if it did not."""
        self._told_off = False
        """Whether the last question was answered by telling us off: then earlier decisions are not ours to use."""
        self._once = 0

    def key(self, *parts: bytes) -> bytes:
        """
        By what a decision is found: a keyed hash of everything that it depends on, from which nothing can be read back.

        Never of a user alone, but of the whole credential, and of what else is shown to whoever decides.
        """
        return self._memory.key(*parts)

    def look(
        self, key: bytes, ask: Callable[[], Awaitable[Decision]], *, stale_allowed: bool = True
    ) -> Found[T] | Undecided | Awaitable[Found[T] | Undecided]:
        """
        The decision for ``key``; at once unless somebody has to be asked and waited for.

        :param ask: asks; raises `AskFailed`. Must come to an end by itself. Called at most once at a time per key.
        :param stale_allowed: whether a decision past its second clock will do if asking fails.

        What is awaited raises only what ``ask`` raises beside `AskFailed`, which is a bug. Cancelling it ends the wait, not the
        question.
        """
        now = self._monotonic()
        entry = self._entries.get(key)
        if entry is not None:
            life = entry.lifetime
            if life.decided <= now < life.fresh and entry.decision.expires > self._wall():
                entry.used = now
                return Found(entry.decision, entry.made, "fresh", now - life.decided)
        return self._further(key, ask, stale_allowed, now)

    def _further(
        self, key: bytes, ask: Callable[[], Awaitable[Decision]], stale_allowed: bool, now: float
    ) -> Found[T] | Undecided | Waiter[T]:
        entry, phase = self._memory.known(key, now)
        if entry is not None and self._failed_at < entry.lifetime.decided:
            self._answers(now)  # to another process, since it did not to this one
        if entry is not None and phase is not Phase.STALE:
            if phase is Phase.REVALIDATE and key not in self._flights and self._may_ask(now):
                self._ask(key, ask, now)
            return self._remembered(key, entry, phase, now)
        stale_allowed = stale_allowed and not self._told_off
        flight = self._flights.get(key)
        may_ask = flight is not None or self._may_ask(now)
        if entry is not None and stale_allowed and (self._patience.lost or not may_ask):
            # Nobody waits for an attempt that will most likely fail; one that is over at once is heeded.
            if flight is None and may_ask:
                self._ask(key, ask, now)
                if self._told_off:
                    return self._undecided(self._silence, now)
                latest, later = self._memory.known(key, now)
                return self._remembered(key, latest or entry, later if latest is not None else phase, now)
            return self._remembered(key, entry, phase, now)
        if not may_ask:
            return self._undecided(self._silence, now)
        waiter: Waiter[T] = Deferred()
        if flight is not None:
            flight.waiters.append((waiter, stale_allowed))
        else:
            self._ask(key, ask, now, (waiter, stale_allowed))
        return waiter

    def once(self, ask: Callable[[], Awaitable[Decision]]) -> Undecided | Awaitable[Found[T] | Undecided]:
        """As `look` for something of which nothing may be remembered, and whose answer nobody else may get."""
        now = self._monotonic()
        if not self._may_ask(now):
            return self._undecided(self._silence, now)
        waiter: Waiter[T] = Deferred()
        self._once += 1
        self._ask(b"%d" % self._once, ask, now, (waiter, False), keep=False)
        return waiter

    def revoke(self, tags: Iterable[str]) -> None:
        """
        Take back what was decided under one of ``tags``, also what is just being decided; `EVERYTHING` lets all be asked anew.
        """
        self._memory.revoke(tags, self._monotonic())

    def samples(self) -> Iterator[Sample]:
        """What is known, how asking went, and who would get by without the provider."""
        now = self._monotonic()
        label = ("provider", self.name)
        yield Sample(metrics.AUTH_ASKED.name, (label, ("outcome", "answered")), self._answered)
        yield Sample(metrics.AUTH_ASKED.name, (label, ("outcome", "failed")), self._failed)
        yield Sample(metrics.AUTH_REMEMBERED.name, (label,), len(self._memory))
        yield Sample(metrics.AUTH_OUTAGE.name, (label,), self._outage.seconds(now))
        survivors = self._memory.survivors(now)
        yield Sample(metrics.AUTH_ACTIVE.name, (label,), survivors.active)
        for minutes, surviving in zip(MINUTES, survivors.surviving, strict=True):
            yield Sample(metrics.AUTH_SURVIVING.name, (label, ("minutes", str(minutes))), surviving)

    # -- answers --------------------------------------------------------------------------------------------------------------

    def _remembered(self, key: bytes, entry: Entry[T], phase: Phase, now: float) -> Found[T]:
        source = _SOURCES[phase]
        if phase is Phase.STALE:
            self._outage.served(key)
        return Found(entry.decision, entry.made, source, now - entry.lifetime.decided)

    def _undecided(self, why: str, now: float) -> Undecided:
        self._outage.refused()
        return Undecided("provider_unavailable", f"{self.name}: {why}", max(1.0, self._patience.until - now))

    def _instead(self, key: bytes, error: AskFailed, stale_allowed: bool, now: float) -> Found[T] | Undecided:
        """What is left for somebody whose question got no answer."""
        entry, phase = self._memory.known(key, now)
        # Not stale: another process was luckier.
        if entry is not None and (phase is not Phase.STALE or (stale_allowed and error.stale)):
            return self._remembered(key, entry, phase, now)
        return self._undecided(str(error), now)

    # -- asking ---------------------------------------------------------------------------------------------------------------

    @property
    def _silence(self) -> str:
        return "no answer lately" if self._patience.lost else "too many questions at once"

    def _may_ask(self, now: float) -> bool:
        if len(self._flights) >= MOST_ASKED:
            return False
        return not self._patience.lost or (self._patience.asks(now) and not self._probing)

    def _ask(
        self,
        key: bytes,
        ask: Callable[[], Awaitable[Decision]],
        now: float,
        waiter: tuple[Waiter[T], bool] | None = None,
        *,
        keep: bool = True,
    ) -> None:
        flight: _Flight[T] = _Flight(key, now, self._patience.lost, keep)
        if waiter is not None:
            flight.waiters.append(waiter)
        self._flights[key] = flight
        self._probing = self._probing or flight.probe
        asked: Deferred[None] = Deferred.fromCoroutine(self._fly(flight, ask))
        asked.addErrback(self._broken, flight)

    async def _fly(self, flight: _Flight[T], ask: Callable[[], Awaitable[Decision]]) -> None:
        try:
            for _ in range(_AGAIN):
                decision = await ask()
                now = self._monotonic()
                if not self._memory.overtaken(decision, flight.started):
                    break
                flight.started = now
            else:
                self._outpaced(flight, now)
                return
        except AskFailed as error:
            self._unanswered(flight, error)
            return
        memory = self._memory
        made = memory.keep(flight.key, decision, flight.started, now) if flight.keep else memory.make(decision)
        self._landed(flight)
        self._answered += 1
        self._answers(now)
        for waiter, _ in flight.waiters:
            waiter.callback(Found(decision, made, "live", 0.0))

    def _outpaced(self, flight: _Flight[T], now: float) -> None:
        self._landed(flight)
        self._answered += 1
        self._answers(now)
        for waiter, _ in flight.waiters:
            waiter.callback(self._undecided("it is revoked faster than it is decided", now))

    def _answers(self, now: float) -> None:
        """Whoever is asked answers."""
        self._failed_at = inf
        self._told_off = False
        self._patience = Patience()
        self._outage.answered(now)

    def _unanswered(self, flight: _Flight[T], error: AskFailed) -> None:
        now = self._monotonic()
        self._landed(flight)
        self._failed += 1
        if not error.alone:
            self._failed_at = now
            self._told_off = not error.stale
            self._patience = self._patience.failed(now)
        self._outage.failed(str(error), now, lost=self._patience.lost)
        for waiter, stale_allowed in flight.waiters:
            waiter.callback(self._instead(flight.key, error, stale_allowed, now))

    def _broken(self, failure: Failure, flight: _Flight[T]) -> None:
        """A bug of whoever asks: everybody who waits gets it."""
        self._landed(flight)
        self._failed += 1
        self.log.failure("{provider} could not be asked", failure, provider=self.name)
        for waiter, _ in flight.waiters:
            if not waiter.called:
                waiter.errback(failure)

    def _landed(self, flight: _Flight[T]) -> None:
        self._flights.pop(flight.key, None)
        if flight.probe:
            self._probing = False


_SOURCES: Final[dict[Phase, Source]] = {
    Phase.FRESH: "fresh",
    Phase.REVALIDATE: "revalidate",
    Phase.STALE: "stale",
}
