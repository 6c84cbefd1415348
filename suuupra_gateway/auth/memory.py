"""
What one process remembers of the decisions of one provider, in front of what its host knows (`auth.shared`).

Decisions that let in and those that refuse are kept apart, so that made-up credentials can push out refusals only. A refusal
stays known for a while after its clock ended: what it replaced must not come back.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Mapping
from itertools import islice
from math import inf
from typing import Final, Generic, TypeVar

import attrs

from suuupra_gateway.auth.outage import Survivors
from suuupra_gateway.auth.shared import Shared
from suuupra_gateway.auth.tables import EVERYTHING, Record
from suuupra_gateway.policy.clocks import NO_WISHES, Clocks, Lifetime, Phase, Wishes

K = TypeVar("K")
T = TypeVar("T")

OWN: Final = 20_000
"""Decisions that one process remembers by itself if there are shared ones behind them."""

MARKS: Final = 50_000
"""Revoked tags that are remembered; the oldest go first."""

_UNKEPT: Final = 10_000
"""Callers that are counted though nothing may be kept of them."""

_PEEK: Final = 0.5
"""Seconds between two looks at what other processes know of a caller of whom something is known here."""


@attrs.frozen
class Decision:
    """What somebody has decided about something that was shown."""

    allow: bool
    value: bytes = b""
    """The rest, for whoever asked; opaque here. It is shared between processes, so no secrets."""

    expires: float = inf
    """UNIX time after which it is void, whatever the clocks say."""

    tags: tuple[str, ...] = ()
    """By what it can be revoked."""

    wishes: Wishes = NO_WISHES
    """What whoever decided said about keeping it."""


class Entry(Generic[T]):
    """A remembered decision. Lives until it is evicted, revoked or followed by another one."""

    __slots__ = ("decision", "made", "lifetime", "used", "peeked")

    def __init__(self, decision: Decision, made: T, lifetime: Lifetime, used: float) -> None:
        self.decision = decision
        self.made = made
        self.lifetime = lifetime
        self.used = used
        self.peeked = used

    @property
    def ends(self) -> float:
        """Until when it will do if nobody can be asked."""
        return self.lifetime.stale


class Memory(Generic[T]):
    """See above. Times are seconds of ``monotonic`` unless they are said to be UNIX times. Lives as long as its `Decisions`."""

    __slots__ = (
        "entries",
        "_denied",
        "_by_tag",
        "_unkept",
        "_marks",
        "_doubted",
        "_clocks",
        "_decode",
        "_shared",
        "_namespace",
        "_secret",
        "_limit",
        "_most",
        "_wall",
    )

    entries: dict[bytes, Entry[T]]
    """Those that let in, by key; the oldest first. To look at only."""

    def __init__(
        self,
        clocks: Clocks,
        decode: Callable[[Decision], T],
        *,
        shared: Shared | None,
        meaning: str,
        limit: int,
        wall: Callable[[], float],
    ) -> None:
        """:param meaning: what tells decisions of this kind from all others in ``shared``."""
        self.entries = {}
        self._denied: dict[bytes, Entry[T]] = {}
        self._by_tag: dict[str, set[bytes]] = {}
        self._unkept: dict[bytes, float] = {}
        self._marks: dict[str, float] = {}
        self._doubted = -inf
        self._clocks = clocks
        self._decode = decode
        self._shared = shared
        self._namespace = hashlib.blake2b(meaning.encode(), digest_size=8).digest()
        self._secret = shared.secret if shared is not None else os.urandom(32)
        self._limit = limit
        self._most = limit if shared is None else min(limit, OWN)
        self._wall = wall

    def key(self, *parts: bytes) -> bytes:
        """See `Decisions.key`."""
        made = hashlib.blake2b(key=self._secret, digest_size=16)
        for part in parts:
            made.update(b"%d:" % len(part))
            made.update(part)
        return made.digest()

    def known(self, key: bytes, now: float) -> tuple[Entry[T] | None, Phase]:
        """What is known for ``key``, here or by others; None if it is over."""
        entry = self.entries.get(key) or self._denied.get(key)
        phase = self._phase(entry, now)
        if phase is not Phase.FRESH and self._learn(key, entry, phase, now):
            entry = self.entries.get(key) or self._denied.get(key)
            phase = self._phase(entry, now)
        if entry is None or phase is Phase.OVER:
            return None, Phase.OVER
        entry.used = now
        return entry, phase

    def _phase(self, entry: Entry[T] | None, now: float) -> Phase:
        if entry is None or entry.decision.expires <= self._wall():
            return Phase.OVER
        return entry.lifetime.phase(now)

    def _learn(self, key: bytes, entry: Entry[T] | None, phase: Phase, now: float) -> bool:
        """Take over what another process knows, if that is newer; whether it was."""
        if self._shared is None:
            return False
        if entry is not None and phase is not Phase.OVER and now < entry.peeked + _PEEK:
            return False
        known_since = -inf
        if entry is not None:
            entry.peeked = now
            known_since = entry.lifetime.decided
        record = self._shared.get(self._namespace, key)
        if record is None or not known_since < record.decided <= now:
            return False
        decision = Decision(record.allow, record.value, record.expires, record.tags, record.wishes)
        if self.overtaken(decision, record.decided, doubt=False):
            return False
        try:
            made = self._decode(decision)
        except ValueError:
            return False
        self._put(key, decision, made, record.decided, now, record.doubted)
        return True

    def make(self, decision: Decision) -> T:
        """What callers need of ``decision``."""
        return self._decode(decision)

    def keep(self, key: bytes, decision: Decision, decided: float, now: float) -> T:
        """
        Remember a decision, as far as that is wished.

        :param decided: when it was asked for: the answer may be as old as that.
        :return: what was made of it.
        """
        made = self.make(decision)
        shared = self._shared
        if decision.allow and not decision.wishes.keep:
            self.drop(key)
            if len(self._unkept) >= _UNKEPT:
                for oldest in _oldest(self._unkept):
                    del self._unkept[oldest]
            self._unkept[key] = now
            if shared is not None:
                shared.forget(self._namespace, key)
            return made
        self._put(key, decision, made, decided, now)
        if shared is not None:
            record = Record(decision.allow, decision.value, decided, decision.expires, decision.tags, decision.wishes)
            shared.put(self._namespace, key, record, self._limit)
        return made

    def _put(self, key: bytes, decision: Decision, made: T, decided: float, now: float, doubted: float = -inf) -> None:
        self.drop(key)
        left = decision.expires - self._wall() + now - decided
        lifetime = self._clocks.lifetime(decision.allow, decided, decision.wishes, left)
        doubted = max(doubted, self._doubted)
        if doubted >= decided and decision.allow:
            lifetime = lifetime.doubted(doubted)
        kept, most = (self.entries, self._most) if decision.allow else (self._denied, self._most // 8 + 1)
        if len(kept) >= most:
            for oldest in _oldest(kept):
                self.drop(oldest)
        kept[key] = Entry(decision, made, lifetime, now)
        for tag in decision.tags:
            self._by_tag.setdefault(tag, set()).add(key)

    def drop(self, key: bytes) -> None:
        """Forget what this process knows for ``key``."""
        self._unkept.pop(key, None)
        entry = self.entries.pop(key, None) or self._denied.pop(key, None)
        if entry is None:
            return
        for tag in dict.fromkeys(entry.decision.tags):
            keys = self._by_tag[tag]
            keys.discard(key)
            if not keys:
                del self._by_tag[tag]

    def revoke(self, tags: Iterable[str], now: float) -> None:
        """Forget what was decided under one of ``tags`` before ``now``, and doubt all if `EVERYTHING` is among them."""
        tags = tuple(tags)
        for tag in tags:
            if tag == EVERYTHING:
                self._doubted = now
                # Not of refusals, which let nobody in.
                for entry in self.entries.values():
                    entry.lifetime = entry.lifetime.doubted(now)
                continue
            for key in tuple(self._by_tag.get(tag, ())):
                self.drop(key)
            self._marks.pop(tag, None)
            self._marks[tag] = now
        if len(self._marks) > MARKS:
            for oldest in _oldest(self._marks):
                del self._marks[oldest]
        if self._shared is not None:
            self._shared.revoke(tags, now)

    def overtaken(self, decision: Decision, since: float, *, doubt: bool = True) -> bool:
        """Whether something that was asked for at ``since`` was revoked, or ``doubt`` cast on everything, at or after that."""
        if doubt and self._doubted >= since:
            return True
        marks = self._marks
        return bool(marks) and any(marks.get(tag, -inf) >= since for tag in decision.tags)

    def survivors(self, now: float) -> Survivors:
        """Who would get by without the provider."""
        return Survivors.of(self.entries.values(), now, self._unkept.values())

    def __len__(self) -> int:
        return len(self.entries) + len(self._denied)


def _oldest(kept: Mapping[K, object]) -> list[K]:
    """A sixteenth of all, so that not each addition walks over what was deleted before it."""
    return list(islice(kept, len(kept) // 16 + 1))
