"""
The life of API keys: made, replaced, revoked, looked at. What the command line and the admin API do, in one place.

Every change is noted in the audit log together with itself, and told to all gateways.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

import attrs
import msgspec

from suuupra_gateway.auth.apikey import ApiKey, Peppers, find, make, masked
from suuupra_gateway.auth.keystore import AuditEntry, IKeyStore, KeyRecord, Usage
from suuupra_gateway.config.model import ApiKeysSpec

OVERLAP: Final = 86400.0
"""Seconds for which a replaced key goes on to work, unless somebody says otherwise."""

LONGEST_OVERLAP: Final = 7 * 86400.0

SOON: Final = 14 * 86400.0
"""Seconds before its end from which an audit speaks of a key."""

UNUSED: Final = 90 * 86400.0
"""Seconds without use after which an audit speaks of a key."""


class NoSuchKey(Exception):
    """There is no key of this id."""


class NotPossible(Exception):
    """What is asked cannot be done with this key. The message says why."""


@attrs.frozen
class Issued:
    """A new key: the only moment at which all of it is known."""

    key: ApiKey
    record: KeyRecord


@attrs.frozen
class Finding:
    """Something that somebody should look at."""

    id: str
    flaw: str
    """A stable word."""

    why: str


class Issuing:
    """Does things with the keys of one store. Holds nothing but what it is given."""

    def __init__(self, spec: ApiKeysSpec, store: IKeyStore, *, wall: Callable[[], float] = time.time) -> None:
        self.spec = spec
        self.store = store
        self._peppers = Peppers(spec.peppers)
        self._wall = wall

    async def create(self, actor: str, **fields: Any) -> Issued:
        """
        Make a key.

        :param actor: who does it, for the audit log.
        :param fields: of `KeyRecord`, ``owner`` among them.
        :raises StoreUnavailable: it was not kept.
        """
        key = make(self.spec.environment)
        record = self._record(key, actor, **fields)
        await self._put(record, None, actor, "create", f"for {record.owner}")
        return Issued(key, record)

    async def rotate(self, id: str, actor: str, overlap: float = OVERLAP) -> Issued:
        """
        Replace a key: make one that may do the same, and let the old one end after ``overlap`` seconds.

        :raises NoSuchKey: there is none.
        :raises NotPossible: it is not active, or has been replaced already, or the overlap is too long.
        :raises StoreUnavailable: nothing, or only the new key, was kept.
        """
        old = await self.record(id)
        now = self._wall()
        if not 0 <= overlap <= LONGEST_OVERLAP:
            raise NotPossible(f"an overlap is at most {LONGEST_OVERLAP / 86400:.0f} days")
        if old.state(now) != "active":
            raise NotPossible(f"the key is {old.state(now)}")
        if old.rotated_to:
            raise NotPossible(f"the key has been replaced by {old.rotated_to} already")
        key = make(self.spec.environment)
        same = {
            name: getattr(old, name)
            for name in ("owner", "name", "scopes", "roles", "tenant", "routes", "cidrs", "tier", "limits", "notes")
        }
        lasting = old.expires_at - old.created_at if old.expires_at and old.created_at else 0.0
        record = self._record(
            key, actor, **same, rotated_from=old.id, expires_at=now + lasting if lasting else old.expires_at
        )
        await self._put(record, None, actor, "create", f"to replace {old.id}")
        ended = msgspec.structs.replace(old, rotated_to=record.id, overlap_until=now + overlap)
        try:
            await self._put(ended, old, actor, "rotate", f"replaced by {record.id}, ends in {overlap:.0f} s")
        except NotPossible:
            # Somebody was faster: the key that was just made must not be left behind.
            gone = msgspec.structs.replace(record, status="revoked", revoked_at=now, revoked_why="lost a race")
            await self._put(gone, record, actor, "revoke", "lost a race")
            raise
        return Issued(key, record)

    async def revoke(self, id: str, actor: str, why: str = "") -> KeyRecord:
        """
        End a key at once, on all gateways. Doing it twice does no harm.

        :raises NoSuchKey: there is none.
        :raises StoreUnavailable: it may still be good.
        """
        while True:
            old = await self.record(id)
            if old.status == "revoked":
                await self.store.revoke([f"key:{id}"], self._wall())
                return old
            record = msgspec.structs.replace(
                old, status="revoked", revoked_at=self._wall(), revoked_by=actor, revoked_why=why
            )
            try:
                await self._put(record, old, actor, "revoke", why)
            except NotPossible:
                continue  # somebody changed it in between: end what it is now
            return record

    async def record(self, id: str) -> KeyRecord:
        """
        What is known of a key.

        :raises NoSuchKey: there is none.
        """
        found = await self.store.get(id)
        if found is None:
            raise NoSuchKey(id)
        return found

    async def usage(self, id: str) -> list[Usage]:
        """Who uses a key, the latest first."""
        return await self.store.usage(id)

    async def check(self, text: bytes) -> list[tuple[ApiKey, KeyRecord | None, bool]]:
        """
        The keys somewhere in ``text``: each with its record, and whether the secret is right, so that it is really ours.
        """
        found = []
        for key in {key.text: key for key in find(text)}.values():
            record = await self.store.get(key.id) if key.environment == self.spec.environment else None
            real = record is not None and self._peppers.matches(key.text, record.pepper, record.hash)
            found.append((key, record, real))
        return found

    async def audit(self, scopes: Iterable[str] | None = None) -> list[Finding]:
        """
        What somebody should look at.

        :param scopes: all scopes that any route asks for; None if that is not known.
        """
        now = self._wall()
        records = [record for record in await self.store.all() if record.state(now) in ("active", "not-yet")]
        used = await self.store.used(record.id for record in records)
        asked = frozenset(scopes) if scopes is not None else None
        return [finding for record in records for finding in self._flaws(record, now, used, asked)]

    def _flaws(
        self, record: KeyRecord, now: float, used: Mapping[str, float], asked: frozenset[str] | None
    ) -> Iterable[Finding]:
        last = used.get(record.id, 0.0)
        end = record.ends()
        if not last and now - record.created_at > SOON:
            yield Finding(record.id, "never-used", f"made {_days(now - record.created_at)} ago, and never used")
        elif last and now - last > UNUSED:
            yield Finding(record.id, "unused", f"not used for {_days(now - last)}")
        if record.rotated_to and last > now - 3600:
            yield Finding(
                record.id, "replaced-in-use", f"replaced by {record.rotated_to}, ends in {_days(end - now)}, and in use"
            )
        elif end and end - now < SOON:
            yield Finding(record.id, "ends-soon", f"ends in {_days(end - now)}")
        elif not end:
            yield Finding(record.id, "never-ends", "has no end")
        if not self._peppers.known(record.pepper):
            yield Finding(
                record.id, "pepper-gone", "was hashed with a pepper that is no longer configured: nobody can use it"
            )
        elif not self._peppers.newest(record.pepper):
            yield Finding(record.id, "old-pepper", "was hashed with an older pepper: rotate it before that one goes")
        if asked is not None and (unasked := sorted(set(record.scopes) - asked)):
            yield Finding(record.id, "unused-scopes", f"no route asks for {', '.join(unasked)}")

    # -----------------------------------------------------------------------------------------------------------------

    def _record(self, key: ApiKey, actor: str, **fields: Any) -> KeyRecord:
        pepper, kept = self._peppers.hash(key.text)
        return KeyRecord(
            id=key.id,
            hash=kept,
            pepper=pepper,
            environment=key.environment,
            created_at=self._wall(),
            created_by=actor,
            **fields,
        )

    async def _put(self, record: KeyRecord, expected: KeyRecord | None, actor: str, action: str, detail: str) -> None:
        entry = AuditEntry(self._wall(), actor, action, record.id, detail)
        if not await self.store.put(record, expected, entry):
            raise NotPossible("somebody else has just changed this key")
        # New keys too: gateways may remember that there is none of this id.
        await self.store.revoke([f"key:{record.id}"], self._wall())


def shown(record: KeyRecord, now: float, used: float | None = None) -> dict[str, object]:
    """A record for people and programs: everything but its hash."""
    tree: dict[str, Any] = msgspec.to_builtins(record)
    for name in ("hash", "pepper"):
        tree.pop(name, None)
    tree["key"] = masked(record.environment, record.id)
    tree["state"] = record.state(now)
    if used is not None:
        tree["last_used"] = used
    return tree


def _days(seconds: float) -> str:
    if seconds < 2 * 3600:
        return f"{max(0, seconds) / 60:.0f} minutes"
    return f"{seconds / 86400:.0f} days" if seconds >= 2 * 86400 else f"{seconds / 3600:.0f} hours"
