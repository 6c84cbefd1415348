"""
Sessions that lie, sealed, in the browsers' own cookies: for machines without Redis. There are no tokens in them.

So nothing is refreshed, and what is revoked is known to this host only, for as long as it remembers revocations. Cookies are
renewed while they are used (`Sessions.renewal`).
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator
from typing import Final

import msgspec

from suuupra_gateway.auth.cookies import CookieJar
from suuupra_gateway.auth.principal import Principal, Refused
from suuupra_gateway.auth.revocations import Revocations
from suuupra_gateway.auth.session import Session, Ticket, principal_of
from suuupra_gateway.auth.sessions import OVER, Unkept
from suuupra_gateway.auth.sessionstore import CookieSessions
from suuupra_gateway.config.model import ClaimNames, LoginSpec
from suuupra_gateway.http.message import Pair, RequestHead
from suuupra_gateway.tally import Sample

MALFORMED: Final = Refused("malformed_session", "not sealed by us, not whole, or over")
_REVOKED: Final = Refused("revoked")


class SealedSessions:
    """See above, and `Sessions`. Lives as long as its login."""

    _MOST: Final = 10_000

    def __init__(
        self,
        spec: LoginSpec,
        names: ClaimNames,
        store: CookieSessions,
        jar: CookieJar,
        revocations: Revocations,
        *,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._spec = spec
        self._names = names
        self._store = store
        self._jar = jar
        self._revocations = revocations
        self._wall = wall
        self._cookie = jar.name(spec.cookie)
        self._opened: dict[bytes, tuple[Session, Principal]] = {}
        self._seen: dict[str, float] = {}

    def start(self) -> None:
        """See `Sessions`."""

    def stop(self) -> None:
        """See `Sessions`."""

    def samples(self) -> Iterator[Sample]:
        """See `Sessions`. There is nobody to ask."""
        return iter(())

    def shown(self, head: RequestHead) -> bytes | None:
        """See `Sessions`."""
        return self._jar.gather(head, self._cookie)

    def check(self, value: bytes, *, stale_allowed: bool) -> Principal | Refused:
        """See `Sessions`."""
        found = self._open(value)
        if found is None:
            return MALFORMED
        session, principal = found
        if self._wall() >= min(session.idle, session.ends):
            return OVER
        return _REVOKED if self._revocations.revoked(principal.tags, session.began) else principal

    def renewal(self, head: RequestHead) -> tuple[Pair, ...]:
        """See `Sessions`."""
        value = self.shown(head)
        if value is None or not isinstance(self.check(value, stale_allowed=False), Principal):
            return ()
        found = self._open(value)
        if found is None or not self._store.worn(found[0]):
            return ()
        return self._set(found[0]) or ()

    async def begin(self, session: Session) -> tuple[Pair, ...]:
        """See `Sessions`."""
        fields = self._set(msgspec.structs.replace(session, id=Ticket.new().id))
        if fields is None:
            raise Unkept("the claims are too long for cookies; with gateway.store, sessions are kept in Redis")
        return fields

    def _set(self, session: Session) -> tuple[Pair, ...] | None:
        return self._jar.spread(self._cookie, self._store.seal(session), session.ends - self._wall())

    async def end(self, value: bytes) -> Session | None:
        """See `Sessions`. The cookie may have been copied, so it is revoked too."""
        found = self._open(value)
        if found is None or isinstance(self.check(value, stale_allowed=False), Refused):
            return None
        return found[0]

    async def end_all(self, subject: str, sid: str) -> tuple[str, ...]:
        """See `Sessions`. Nobody knows them all; revoking their tags ends them on this host."""
        return ()

    async def first(self, what: str, seconds: float) -> bool:
        """See `Sessions`. As far as this process knows."""
        now = self._wall()
        seen = self._seen
        if seen.get(what, 0.0) > now:
            return False
        while seen and (len(seen) >= self._MOST or next(iter(seen.values())) <= now):
            del seen[next(iter(seen))]
        seen.pop(what, None)
        seen[what] = now + seconds
        return True

    async def seen(self, what: str) -> bool:
        """See `Sessions`. As far as this process knows."""
        return self._seen.get(what, 0.0) > self._wall()

    def mark(self, value: bytes) -> bytes | None:
        """See `Sessions`."""
        found = self._open(value)
        return found[0].id.encode("ascii") if found is not None else None

    def _open(self, value: bytes) -> tuple[Session, Principal] | None:
        """What is in a cookie; remembered, so that routes need not judge the same principal again and again."""
        key = hashlib.blake2b(value, digest_size=16).digest()
        found = self._opened.get(key)
        if found is not None:
            return found
        session = self._store.open(value)
        if session is None:
            return None
        try:
            found = session, principal_of(session, self._names, self._spec.name, self._spec.provider)
        except ValueError:
            return None
        if len(self._opened) >= self._MOST:
            self._opened.clear()
        self._opened[key] = found
        return found
