"""
API keys as one worker knows them: looked up by id, remembered as `auth.decisions` remembers, checked for every request.

What a record says about time (not yet, expired, replaced) holds at once, however long the record has been remembered; what
somebody changed in it holds as soon as the revocation is heard, which every change is.
"""

from __future__ import annotations

import hashlib
import hmac
import time
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from math import inf
from typing import Any, Final

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from suuupra_gateway.auth.apikey import ApiKey, Peppers, parse
from suuupra_gateway.auth.decisions import AskFailed, Decision, Decisions, Found
from suuupra_gateway.auth.keystore import TOUCHED, USAGES, IKeyStore, KeyRecord, agent_of
from suuupra_gateway.auth.principal import Cached, Principal, Refused, Undecided
from suuupra_gateway.auth.revocations import Revocations
from suuupra_gateway.auth.shared import Shared
from suuupra_gateway.config.model import ApiKeysSpec
from suuupra_gateway.net.networks import Networks
from suuupra_gateway.net.redis_errors import StoreError, StoreUnavailable
from suuupra_gateway.tally import Sample

NAME: Final = "api-key"
"""Of who decides, in log and metrics."""

_SHOWN: Final = 10_000
"""Good keys that need not be taken apart again."""

_NOTED: Final = 20_000
"""Keys whose use was noted lately."""

_ANYBODY: Final = ("", b"")

Checked = tuple["Entry", Principal | Cached] | Refused | Undecided


class Entry:
    """A record, as requests need it. Lives as long as the decision."""

    __slots__ = ("record", "principal", "networks", "routes", "good")

    def __init__(self, record: KeyRecord) -> None:
        self.record = record
        self.networks = Networks(record.cidrs) if record.cidrs else None
        self.routes = frozenset(record.routes)
        self.good = b""
        """Digest of the key that was found to be the right one; empty for none yet."""
        self.principal = Principal(
            record.owner,
            "api-key",
            scopes=frozenset(record.scopes),
            roles=frozenset(record.roles),
            tenant=record.tenant,
            claims=_claims(record),
            key=record.id,
            tier=record.tier,
            limits=tuple(sorted(record.limits.items())),
            expires=record.ends() or inf,
            tags=(f"key:{record.id}", f"subject:api-key:{record.owner}"),
        )


def _claims(record: KeyRecord) -> dict[str, Any]:
    return {
        "sub": record.owner,
        "key_id": record.id,
        "key_name": record.name,
        "environment": record.environment,
        "tenant": record.tenant,
        "scope": " ".join(record.scopes),
        "roles": list(record.roles),
        "notes": record.notes,
    }


def _entry(decision: Decision) -> Entry | None:
    return Entry(KeyRecord.decode(decision.value)) if decision.allow else None


_UNKNOWN: Final = Refused("unknown_key")
_WRONG: Final = Refused("wrong_secret")
_MALFORMED: Final = Refused("malformed", "no API key, or mistyped")
_ELSEWHERE: Final = Refused("wrong_environment", "a key of another environment")
_REASONS: Final = {
    "revoked": Refused("revoked"),
    "expired": Refused("expired"),
    "replaced": Refused("replaced", "its overlap is over"),
    "not-yet": Refused("not_yet_valid"),
}


class _Shown:
    """A key that somebody has shown, taken apart. Lives as long as the request, or, if it was good, until it makes room."""

    __slots__ = ("key", "place", "digest", "_asks")

    def __init__(self, key: ApiKey, place: bytes) -> None:
        self.key = key
        self.place = place
        """By what decisions about its id are found."""
        self.digest = hashlib.blake2b(key.text, digest_size=16).digest()
        self._asks: Callable[[], Awaitable[Decision]] | None = None

    def ask(self, asks: Callable[[str], Awaitable[Decision]]) -> Callable[[], Awaitable[Decision]]:
        """``asks`` about its id; made once."""
        if self._asks is None:
            self._asks = partial(asks, self.key.id)
        return self._asks


class _Noted:
    """Who has used a key lately, so that it need not be noted again. Lives for `TOUCHED` seconds."""

    __slots__ = ("until", "callers")

    def __init__(self, until: float) -> None:
        self.until = until
        self.callers: set[tuple[str, bytes]] = set()


class KeyRing:
    """The keys of one store in one worker; a resident."""

    __slots__ = (
        "spec",
        "_store",
        "_peppers",
        "_decisions",
        "_revocations",
        "_wall",
        "_shown",
        "_noted",
        "_end",
        "_close",
    )

    def __init__(
        self,
        spec: ApiKeysSpec,
        store: IKeyStore,
        revocations: Revocations,
        shared: Shared | None,
        *,
        meaning: str,
        close: Callable[[], Deferred[None]] | None = None,
        wall: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """
        :param meaning: which store it is; see `Decisions`.
        :param close: ends the store, if it is ours.
        """
        self.spec = spec
        self._store = store
        self._peppers = Peppers(spec.peppers)
        self._decisions: Decisions[Entry | None] = Decisions(
            NAME, spec.cache, shared, decode=_entry, meaning=f"api-key {meaning}", wall=wall, monotonic=monotonic
        )
        self._revocations = revocations
        self._wall = wall
        self._shown: dict[bytes, _Shown] = {}
        self._noted: dict[str, _Noted] = {}
        self._end: Callable[[], None] | None = None
        self._close = close

    def start(self) -> None:
        """See `Resident`."""
        self._end = self._revocations.subscribe(self._decisions.revoke)

    def retire(self) -> Deferred[None] | None:
        """See `Resident`."""
        if self._end is not None:
            self._end()
        return self._close() if self._close is not None else None

    def samples(self) -> Iterator[Sample]:
        """For metrics."""
        return self._decisions.samples()

    def check(self, text: bytes, *, stale_allowed: bool = True) -> Checked | Awaitable[Checked]:
        """
        What a key is worth, wherever it was found.

        :param stale_allowed: whether an old record will do while the store cannot be asked.
        """
        shown = self._shown.get(text)
        if shown is None:
            key = parse(text)
            if key is None:
                return _MALFORMED
            if key.environment != self.spec.environment:
                return _ELSEWHERE
            shown = _Shown(key, self._decisions.key(key.id.encode("ascii")))
        found = self._decisions.look(shown.place, shown.ask(self._ask), stale_allowed=stale_allowed)
        if isinstance(found, Found):
            return self._weighed(shown, found)
        if isinstance(found, Undecided):
            return found
        return self._later(shown, found)

    def glance(self, text: bytes) -> Refused | None:
        """What is wrong with a key as far as it tells by itself; None if only its record can say more."""
        key = parse(text)
        if key is None:
            return _MALFORMED
        return _ELSEWHERE if key.environment != self.spec.environment else None

    async def _later(self, shown: _Shown, pending: Awaitable[Found[Entry | None] | Undecided]) -> Checked:
        found = await pending
        return found if isinstance(found, Undecided) else self._weighed(shown, found)

    async def _ask(self, id: str) -> Decision:
        try:
            record = await self._store.get(id)
        except (StoreUnavailable, StoreError, ValueError) as error:
            # A record that cannot be read is the matter of one key.
            raise AskFailed(str(error), alone=isinstance(error, ValueError)) from error
        if record is None:
            return Decision(False, tags=(f"key:{id}",))
        return Decision(True, record.encode(), tags=(f"key:{id}", f"subject:api-key:{record.owner}"))

    def _weighed(self, shown: _Shown, found: Found[Entry | None]) -> Checked:
        entry = found.made
        if entry is None:
            self._peppers.waste(shown.key.text)
            return _UNKNOWN
        if not hmac.compare_digest(shown.digest, entry.good):
            if not self._peppers.matches(shown.key.text, entry.record.pepper, entry.record.hash):
                return _WRONG
            entry.good = shown.digest
            # Only what is good, so that nobody can fill it with what they make up.
            if len(self._shown) >= _SHOWN:
                self._shown.clear()
            self._shown[shown.key.text] = shown
        state = entry.record.state(self._wall())
        if state != "active":
            return _REASONS[state]
        if found.source == "live":
            return entry, entry.principal
        return entry, Cached(entry.principal, found.source, found.age)

    # -- who uses it --------------------------------------------------------------------------------------------------

    def note(self, record: KeyRecord, client: str, agent: bytes | None) -> None:
        """
        Note that a key is in use: by whom, if it has been replaced, so that its owner learns who still has to change.

        At most once in `TOUCHED` seconds for each, for at most `USAGES` callers of one key, and never so that a request waits.
        """
        now = self._wall()
        noted = self._noted.get(record.id)
        if noted is None or now >= noted.until:
            if len(self._noted) >= _NOTED:
                self._noted.clear()
            noted = self._noted[record.id] = _Noted(now + TOUCHED)
        who = (client, agent or b"") if record.rotated_to else _ANYBODY
        if who in noted.callers or len(noted.callers) >= USAGES:
            return
        noted.callers.add(who)
        touched: Deferred[Any] = self._store.touch(record.id, now, who[0], agent_of(who[1]))
        touched.addErrback(self._unnoted, noted)

    def _unnoted(self, failure: Failure, noted: _Noted) -> None:
        """The store is away: note it later, but not with the next request."""
        failure.trap(StoreUnavailable, StoreError)  # type: ignore[no-untyped-call]  # Twisted's
        noted.until = min(noted.until, self._wall() + TOUCHED / 30)
