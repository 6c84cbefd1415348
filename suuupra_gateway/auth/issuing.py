"""
The life of API keys: made, replaced, revoked, looked at. What the command line and the admin API do, in one place.

Every change is noted in the audit log together with itself, and told to all gateways.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable
from typing import Any, Final

import attrs
import msgspec

from suuupra_gateway.auth.apikey import ApiKey, Peppers, find, make, masked
from suuupra_gateway.auth.keyorder import BadOrder, KeyOrder, plain
from suuupra_gateway.auth.keystore import AuditEntry, IKeyStore, KeyRecord, Usage
from suuupra_gateway.config.model import ApiKeysSpec, AuthSpec, GatewayConfig

OVERLAP: Final = 86400.0
"""Seconds for which a replaced key goes on to work, unless somebody says otherwise."""

LONGEST_OVERLAP: Final = 7 * 86400.0

SOON: Final = 14 * 86400.0
"""Seconds before its end from which an audit speaks of a key."""

UNUSED: Final = 90 * 86400.0
"""Seconds without use after which an audit speaks of a key."""


_WORDS: Final = {"not-yet": "not good yet"}

_TIMES: Final = ("not_before", "expires_at")


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
    owner: str
    flaw: str
    """A stable word."""

    why: str


@attrs.frozen
class Leak:
    """A key that was found where keys do not belong."""

    key: ApiKey
    record: KeyRecord | None
    """What is known of its id; None if nothing is."""

    real: bool
    """Whether it is really a key of this gateway: its secret is the right one."""

    def shown(self, now: float) -> dict[str, object]:
        """For programs. Of an id that somebody has put before another secret, nothing is told."""
        known = self.record if self.real else None
        return {
            "masked": self.key.masked,
            "id": self.key.id,
            "real": self.real,
            "state": known.state(now) if known is not None else None,
            "owner": known.owner if known is not None else None,
        }


class Issuing:
    """Does things with the keys of one store. Holds nothing but what it is given."""

    def __init__(
        self,
        spec: ApiKeysSpec,
        store: IKeyStore,
        *,
        routes: Collection[str] | None = None,
        scopes: Collection[str] | None = None,
        wall: Callable[[], float] = time.time,
    ) -> None:
        """
        :param routes: names of all routes; None if they are not known.
        :param scopes: all that any route asks for; None if that is not known.
        """
        self.spec = spec
        self.store = store
        self._peppers = Peppers(spec.peppers)
        self._routes = routes
        self._scopes = scopes
        self.now = wall
        """UNIX time, as it is for everything that this does."""

    @classmethod
    def of(cls, config: GatewayConfig, store: IKeyStore) -> Issuing | None:
        """For the keys of ``config``; None if it has none."""
        if config.identity.api_keys is None:
            return None
        routes = {route.name for route in config.routes}
        return cls(config.identity.api_keys, store, routes=routes, scopes=asked(config))

    async def create(self, actor: str, order: KeyOrder) -> Issued:
        """
        Make a key.

        :param actor: who does it, for the audit log.
        :raises BadOrder: it makes no sense.
        :raises StoreUnavailable: it was not kept.
        """
        order.check(self.now(), self._routes)
        key = make(self.spec.environment)
        record = self._record(key, actor, **msgspec.structs.asdict(order))
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
        now = self.now()
        if not 0 <= overlap <= LONGEST_OVERLAP:
            raise NotPossible(f"an overlap is at most {LONGEST_OVERLAP / 86400:.0f} days")
        if old.state(now) != "active":
            raise NotPossible(f"the key is {_WORDS.get(old.state(now), old.state(now))}")
        if old.rotated_to:
            raise NotPossible(f"the key has been replaced by {old.rotated_to} already")
        key = make(self.spec.environment)
        same = {name: getattr(old, name) for name in KeyOrder.__struct_fields__ if name not in _TIMES}
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
        :raises BadOrder: ``why`` cannot be kept.
        :raises StoreUnavailable: it may still be good.
        """
        if not plain(why):
            raise BadOrder("a reason has at most 200 visible characters")
        while True:
            old = await self.record(id)
            if old.status == "revoked":
                await self.store.revoke([f"key:{id}"], self.now())
                return old
            record = msgspec.structs.replace(
                old, status="revoked", revoked_at=self.now(), revoked_by=actor, revoked_why=why
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
        """Who uses a key, as far as it is noted: since it was replaced. The latest first."""
        return [usage for usage in await self.store.usage(id) if usage.client]

    async def check(self, text: bytes) -> list[Leak]:
        """The keys somewhere in ``text``, each once."""
        found = []
        for key in {key.text: key for key in find(text)}.values():
            record = await self.store.get(key.id) if key.environment == self.spec.environment else None
            real = record is not None and self._peppers.matches(key.text, record.pepper, record.hash)
            found.append(Leak(key, record, real))
        return found

    async def audit(self) -> list[Finding]:
        """What somebody should look at."""
        now = self.now()
        records = [record for record in await self.store.all() if record.state(now) in ("active", "not-yet")]
        used = await self.store.used(record.id for record in records)
        return [
            Finding(record.id, record.owner, flaw, why)
            for record in records
            for flaw, why in self._flaws(record, now, used.get(record.id, 0.0))
        ]

    def _flaws(self, record: KeyRecord, now: float, last: float) -> Iterable[tuple[str, str]]:
        end = record.ends()
        if not last and now - record.created_at > SOON:
            yield ("never-used", f"made {_days(now - record.created_at)} ago, and never used")
        elif last and now - last > UNUSED:
            yield ("unused", f"not used for {_days(now - last)}")
        if record.rotated_to and last > now - 3600:
            yield ("replaced-in-use", f"replaced by {record.rotated_to}, ends in {_days(end - now)}, and in use")
        elif end and end - now < SOON:
            yield ("ends-soon", f"ends in {_days(end - now)}")
        elif not end:
            yield ("never-ends", "has no end")
        if not self._peppers.known(record.pepper):
            yield ("pepper-gone", "was hashed with a pepper that is no longer configured: nobody can use it")
        elif not self._peppers.newest(record.pepper):
            yield ("old-pepper", "was hashed with an older pepper: rotate it before that one goes")
        if self._scopes is not None and (unasked := sorted(set(record.scopes).difference(self._scopes))):
            yield ("unused-scopes", f"no route asks for {', '.join(unasked)}")

    # -----------------------------------------------------------------------------------------------------------------

    def _record(self, key: ApiKey, actor: str, **fields: Any) -> KeyRecord:
        pepper, kept = self._peppers.hash(key.text)
        return KeyRecord(
            id=key.id,
            hash=kept,
            pepper=pepper,
            environment=key.environment,
            created_at=self.now(),
            created_by=actor,
            **fields,
        )

    async def _put(self, record: KeyRecord, expected: KeyRecord | None, actor: str, action: str, detail: str) -> None:
        entry = AuditEntry(self.now(), actor, action, record.id, detail)
        if not await self.store.put(record, expected, entry):
            raise NotPossible("somebody else has just changed this key")
        # New keys too: gateways may remember that there is none of this id.
        await self.store.revoke([f"key:{record.id}"], self.now())


def asked(config: GatewayConfig) -> frozenset[str]:
    """All scopes that any route asks for."""
    specs = [route.auth for route in config.routes if isinstance(route.auth, AuthSpec)]
    return frozenset(scope for spec in specs for scope in (*spec.scopes.any, *spec.scopes.all))


def shown(record: KeyRecord, now: float, used: float | None = None) -> dict[str, object]:
    """
    A record for programs: everything but its hash.

    :param used: when it was last in use; 0 for never, None if that is not to be told.
    """
    tree: dict[str, Any] = msgspec.structs.asdict(record)
    del tree["hash"], tree["pepper"]
    tree["masked"] = masked(record.environment, record.id)
    tree["state"] = record.state(now)
    if used is not None:
        tree["last_used"] = used
    return tree


def _days(seconds: float) -> str:
    if seconds < 2 * 3600:
        return f"{max(0, seconds) / 60:.0f} minutes"
    return f"{seconds / 86400:.0f} days" if seconds >= 2 * 86400 else f"{seconds / 3600:.0f} hours"
