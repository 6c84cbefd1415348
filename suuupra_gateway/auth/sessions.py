"""
The sessions of one login as a worker knows them: what is asked of them wherever they are kept, and those that are kept in Redis.

`StoredSessions` looks tickets up in Redis and remembers as `auth.decisions` does, so sessions go on while Redis is away; what
is due is refreshed behind the request while the access token holds, before it when that is over, and not at all when the provider
cannot be reached: then a session holds for as long as any old decision. For the other kind see `auth.sealedsessions`.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterator
from typing import TYPE_CHECKING, Any, Final, Protocol

import msgspec
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from suuupra_gateway.auth.cookies import CookieJar, read
from suuupra_gateway.auth.decisions import AskFailed, Decision, Decisions, Found
from suuupra_gateway.auth.principal import Cached, Principal, Refused, Undecided
from suuupra_gateway.auth.refreshing import Refresher, RefreshFailed
from suuupra_gateway.auth.revocations import Revocations
from suuupra_gateway.auth.seal import Ring, text_of
from suuupra_gateway.auth.session import Session, Ticket, principal_of
from suuupra_gateway.auth.sessionstore import RedisSessions
from suuupra_gateway.auth.shared import Shared
from suuupra_gateway.config.model import ClaimNames, LoginSpec
from suuupra_gateway.http.message import Pair, RequestHead
from suuupra_gateway.net.redis import StoreError, StoreUnavailable
from suuupra_gateway.tally import Sample

if TYPE_CHECKING:
    from suuupra_gateway.auth.backchannel import Backchannel

Standing = Principal | Cached | Refused | Undecided
"""How a session turns out."""

OVER: Final = Refused("session_over", "logged out, or too long ago")


class Unkept(Exception):
    """A session is too large for cookies."""


class Sessions(Protocol):
    """What a login needs of its sessions. Errors of the store are `StoreUnavailable` and `StoreError`."""

    def shown(self, head: RequestHead) -> bytes | None:
        """The session's cookie; None if there is none, and empty if it is no good."""

    def check(self, value: bytes, *, stale_allowed: bool) -> Standing | Awaitable[Standing]:
        """What a cookie is worth."""

    def renewal(self, head: RequestHead) -> tuple[Pair, ...]:
        """The fields that give a good session a new cookie, if it needs one."""

    async def begin(self, session: Session) -> tuple[Pair, ...]:
        """Keep a session, under an id of its own; the fields that set its cookie. Raises `Unkept` too."""

    async def end(self, value: bytes) -> Session | None:
        """End the session of a cookie; what it was, if there was one."""

    async def end_all(self, subject: str, sid: str) -> tuple[str, ...]:
        """End those of ``subject``, or called ``sid`` by the provider, or both; the ids of those that are known."""

    async def first(self, what: str, seconds: float) -> bool:
        """Whether ``what`` is seen for the first time in so many seconds."""

    async def seen(self, what: str) -> bool:
        """Whether `first` has seen ``what``, and not too long ago."""

    def mark(self, value: bytes) -> bytes | None:
        """What proves that a form was made for the session of a cookie, for the same one only; None if there is none."""

    def start(self) -> None:
        """Begin to hear of revocations."""

    def stop(self) -> Deferred[None] | None:
        """Give everything back."""

    def samples(self) -> Iterator[Sample]:
        """For metrics."""


class _Known(msgspec.Struct, frozen=True, array_like=True):
    """A session as workers share it: without tokens."""

    session: Session
    due: float
    """UNIX time from which on to refresh; 0 for never."""

    expires: float
    """UNIX time after which it does not hold without being refreshed."""


class _Live:
    """A session that is remembered. Lives as long as the decision."""

    __slots__ = ("principal", "due", "expires")

    def __init__(self, principal: Principal, due: float, expires: float) -> None:
        self.principal = principal
        self.due = due
        self.expires = expires


_encode: Final = msgspec.json.Encoder().encode
_decode: Final = msgspec.json.Decoder(_Known).decode


class StoredSessions:
    """See above. Lives as long as its login."""

    def __init__(
        self,
        spec: LoginSpec,
        names: ClaimNames,
        store: RedisSessions,
        jar: CookieJar,
        ring: Ring,
        backchannel: Backchannel,
        shared: Shared | None,
        revocations: Revocations,
        reactor: IReactorTime,
        *,
        meaning: str,
        wall: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """
        :param names: where claims say what.
        :param ring: for marks.
        :param meaning: which store it is; see `Decisions`.
        """
        self._spec = spec
        self._names = names
        self._store = store
        self._jar = jar
        self._ring = ring
        self._revocations = revocations
        self._wall = wall
        self._cookie = jar.name(spec.cookie)
        self._stale = float(spec.session.cache.stale_if_error)
        # The keys: who has changed them wants all sessions to be opened anew.
        keys = text_of(ring.mark(b"sessions", b"meaning")).decode("ascii")
        self._decisions: Decisions[_Live | None] = Decisions(
            spec.name,
            spec.session.cache,
            shared,
            decode=self._made,
            meaning=repr(("session", spec.name, spec.provider, meaning, keys)),
            wall=wall,
            monotonic=monotonic,
        )
        self._refresher = Refresher(
            spec.name,
            store,
            backchannel.refresh,
            reactor,
            patience=2 * float(spec.timeout),
            ended=backchannel.give_back,
        )
        self._ends: list[Callable[[], None]] = []

    def start(self) -> None:
        """See `Sessions`."""
        self._ends.append(self._revocations.subscribe(self._decisions.revoke))

    def stop(self) -> Deferred[None]:
        """See `Sessions`."""
        while self._ends:
            self._ends.pop()()
        return self._refresher.stop()

    def samples(self) -> Iterator[Sample]:
        """See `Sessions`."""
        return self._decisions.samples()

    # -- requests -----------------------------------------------------------------------------------------------------

    def shown(self, head: RequestHead) -> bytes | None:
        """See `Sessions`."""
        return read(head, self._cookie)

    def check(self, value: bytes, *, stale_allowed: bool) -> Standing | Awaitable[Standing]:
        """See `Sessions`."""
        decisions = self._decisions
        found = decisions.look(decisions.key(value), lambda: self._ask(value), stale_allowed=stale_allowed)
        if isinstance(found, Found):
            return self._weighed(value, found, stale_allowed)
        if isinstance(found, Undecided):
            return found
        return self._later(value, found, stale_allowed)

    async def _later(
        self, value: bytes, pending: Awaitable[Found[_Live | None] | Undecided], stale_allowed: bool
    ) -> Standing:
        found = await pending
        if isinstance(found, Undecided):
            return found
        standing = self._weighed(value, found, stale_allowed)
        if isinstance(standing, Principal | Cached | Refused | Undecided):
            return standing
        return await standing

    def _weighed(self, value: bytes, found: Found[_Live | None], stale_allowed: bool) -> Standing | Awaitable[Standing]:
        live = found.made
        if live is None:
            return OVER
        if live.due and live.due <= self._wall():
            return self._due(value, found, live, stale_allowed)
        return _standing(live.principal, found)

    def _due(
        self, value: bytes, found: Found[_Live | None], live: _Live, stale_allowed: bool
    ) -> Standing | Awaitable[Standing]:
        """A session that is to be refreshed."""
        ticket = Ticket.parse(value)
        assert ticket is not None  # it has opened a session
        late = self._wall() - live.expires
        refreshed = self._refreshed(ticket)
        if late < 0 or (self._refresher.lost and stale_allowed and late < self._stale):
            # Nobody waits while it holds, nor for an attempt that will most likely fail.
            refreshed.addErrback(lambda failure: None)
            return _standing(live.principal, found) if late < 0 else Cached(live.principal, "stale", late)
        return self._awaited(refreshed, live, late, stale_allowed)

    async def _awaited(
        self, refreshed: Deferred[Session | None], live: _Live, late: float, stale_allowed: bool
    ) -> Standing:
        try:
            session = await refreshed
        except (RefreshFailed, StoreUnavailable, StoreError) as error:
            if stale_allowed and late < self._stale:
                return Cached(live.principal, "stale", late)
            return Undecided("provider_unavailable", f"{self._spec.name}: {error}")
        if session is None:
            return OVER
        try:
            return self._principal(session)
        except ValueError as error:
            return Refused("missing_claim", str(error))

    def _refreshed(self, ticket: Ticket) -> Deferred[Session | None]:
        def forget(session: Session | None) -> Session | None:
            self._decisions.revoke((_mine(ticket.id),))
            return session

        return self._refresher.refresh(ticket).addCallback(forget)

    async def _ask(self, value: bytes) -> Decision:
        ticket = Ticket.parse(value)
        if ticket is None:
            return Decision(False)
        try:
            session = await self._store.read(ticket)
            if session is None:
                return Decision(False, tags=(_mine(ticket.id),))
            principal = self._principal(session)
            if self._revocations.revoked(principal.tags, session.began):
                await self._store.delete(session)
                return Decision(False, tags=(_mine(ticket.id),))
        except (StoreUnavailable, StoreError) as error:
            raise AskFailed(str(error)) from error
        except ValueError:
            return Decision(False, tags=(_mine(ticket.id),))
        tokens = session.tokens
        due = tokens is not None and tokens.refresh
        known = _Known(
            msgspec.structs.replace(session, tokens=None),
            tokens.due if due and tokens is not None else 0.0,
            tokens.expires if due and tokens is not None else 0.0,
        )
        return Decision(True, _encode(known), session.ends, principal.tags)

    def _made(self, decision: Decision) -> _Live | None:
        """See `Decisions`: raises `ValueError`."""
        if not decision.allow:
            return None
        try:
            known = _decode(decision.value)
        except msgspec.DecodeError as error:
            raise ValueError("of another release") from error
        return _Live(self._principal(known.session), known.due, known.expires)

    def _principal(self, session: Session) -> Principal:
        return principal_of(session, self._names, self._spec.name, self._spec.provider)

    def renewal(self, head: RequestHead) -> tuple[Pair, ...]:
        """See `Sessions`. Tickets do not age."""
        return ()

    # -- beginnings and ends ------------------------------------------------------------------------------------------

    async def begin(self, session: Session) -> tuple[Pair, ...]:
        """See `Sessions`."""
        ticket = Ticket.new()
        kept = msgspec.structs.replace(session, id=ticket.id)
        await self._store.create(kept, ticket)
        return (self._jar.set(self._cookie, ticket.value, session.ends - self._wall()),)

    async def end(self, value: bytes) -> Session | None:
        """See `Sessions`."""
        ticket = Ticket.parse(value)
        if ticket is None:
            return None
        session = await self._store.read(ticket)
        if session is not None:
            await self._store.delete(session)
            self._decisions.revoke((_mine(ticket.id),))
        return session

    async def end_all(self, subject: str, sid: str) -> tuple[str, ...]:
        """See `Sessions`."""
        ids = await self._store.delete_all(subject, sid)
        self._decisions.revoke(map(_mine, ids))
        return ids

    async def first(self, what: str, seconds: float) -> bool:
        """See `Sessions`."""
        return await self._store.first(what, seconds)

    async def seen(self, what: str) -> bool:
        """See `Sessions`."""
        return await self._store.seen(what)

    def mark(self, value: bytes) -> bytes | None:
        """See `Sessions`."""
        return value if Ticket.parse(value) is not None else None


def _mine(id: str) -> str:
    """The tag of what is remembered of a session."""
    return f"session:{id}"


def _standing(principal: Principal, found: Found[Any]) -> Principal | Cached:
    return principal if found.source == "live" else Cached(principal, found.source, found.age)
