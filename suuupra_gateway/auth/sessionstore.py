"""
Where sessions are kept: in Redis, for all machines, or in the browser's own cookie.

In Redis a session lies sealed under ``<prefix>:sess:<login>:<id>`` and is forgotten when it is idle for too long. Beside it are
indexes by the provider's session and by subject, for logouts that the provider tells of, and locks, so that of all who find a
session due only one refreshes it.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable
from typing import Final

import attrs
from msgspec.structs import replace
from twisted.internet.defer import Deferred

from suuupra_gateway.auth.seal import Ring, bytes_of, text_of
from suuupra_gateway.auth.session import Session, Ticket
from suuupra_gateway.config.model import SessionSpec
from suuupra_gateway.net.redis import Redis, Script

LOCK: Final = 10.0
"""Seconds for which a lock holds without being renewed."""

RENEW: Final = 3.0
"""Seconds between two renewals."""

_COOLING: Final = b"cooling"
"""In place of a lock's owner: whoever had it failed, and nobody is to try again for a while."""

_RENEWING: Final = Script(
    "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('PEXPIRE', KEYS[1], ARGV[2]) end return 0"
)
_RELEASING: Final = Script(
    "if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end "
    "if ARGV[2] == '0' then return redis.call('DEL', KEYS[1]) end "
    "redis.call('SET', KEYS[1], ARGV[3], 'PX', ARGV[2]) return 1"
)


def _milliseconds(seconds: float) -> int:
    return max(1, int(seconds * 1000))


@attrs.frozen
class Lock:
    """The right to refresh one session. Ends by itself after `LOCK` seconds."""

    key: str
    owner: bytes


class RedisSessions:
    """The sessions of one login in Redis. All Deferreds errback `StoreUnavailable` or `StoreError`."""

    __slots__ = ("_redis", "_ring", "_login", "_idle", "_wall")

    def __init__(
        self, redis: Redis, ring: Ring, login: str, spec: SessionSpec, *, wall: Callable[[], float] = time.time
    ) -> None:
        """:param ring: for nothing else."""
        self._redis = redis
        self._ring = ring
        self._login = login
        self._idle = float(spec.idle)
        self._wall = wall

    @property
    def now(self) -> float:
        """UNIX time."""
        return self._wall()

    async def create(self, session: Session, ticket: Ticket) -> None:
        """Keep a new session, under the id of its ticket."""
        left = max(1.0, session.ends - self._wall())
        commands: list[tuple[str | bytes | int, ...]] = [
            (
                "SET",
                self._key(ticket.id),
                self._sealed(session, ticket),
                "PX",
                _milliseconds(min(self._idle, left)),
            )
        ]
        for index in self._indexes(session.subject, session.sid):
            commands += (
                ("ZADD", index, int(session.ends), ticket.id),
                ("ZREMRANGEBYSCORE", index, "-inf", int(self._wall()) - 1),
                ("EXPIREAT", index, int(session.ends) + 1),
            )
        await self._redis.calls(commands)

    async def read(self, ticket: Ticket) -> Session | None:
        """
        The session; None if there is none, or the ticket does not open it.

        It counts as being used.
        """
        sealed = await self._redis.call("GET", self._key(ticket.id))
        session = self._opened(sealed, ticket)
        if session is None or session.ends <= self._wall():
            return None
        left = session.ends - self._wall()
        touched: Deferred[object] = self._redis.call(
            "PEXPIRE", self._key(ticket.id), _milliseconds(min(self._idle, left))
        )
        touched.addErrback(lambda failure: None)  # it lasts for a while, and the next use counts too
        return session

    async def write(self, session: Session, ticket: Ticket) -> bool:
        """Replace a session; whether it is still there: one that was ended meanwhile does not come back."""
        reply = await self._redis.call("SET", self._key(ticket.id), self._sealed(session, ticket), "XX", "KEEPTTL")
        return reply is not None

    async def delete(self, session: Session) -> None:
        """End a session."""
        commands: list[tuple[str, ...]] = [("DEL", self._key(session.id))]
        commands += (("ZREM", index, session.id) for index in self._indexes(session.subject, session.sid))
        await self._redis.calls(commands)

    async def delete_all(self, subject: str, sid: str) -> tuple[str, ...]:
        """
        End all sessions of ``subject``, or the ones that the provider calls ``sid``, or those that are both; their ids.

        Either may be empty.
        """
        indexes = self._indexes(subject, sid)
        found = await self._redis.calls([("ZRANGEBYSCORE", index, "-inf", "+inf") for index in indexes])
        both = set(found[0]).intersection(*found[1:])
        ids = tuple(sorted(id.decode("ascii") for id in both))
        for start in range(0, len(ids), _AT_A_TIME):
            some = ids[start : start + _AT_A_TIME]
            await self._redis.calls(
                [("DEL", *map(self._key, some)), *(("ZREM", index, *some) for index in indexes)],
            )
        return ids

    async def first(self, what: str, seconds: float) -> bool:
        """Whether ``what`` is seen for the first time in so many seconds, on any machine."""
        return await self._redis.call("SET", self._once(what), "1", "NX", "PX", _milliseconds(seconds)) is not None

    async def seen(self, what: str) -> bool:
        """Whether `first` has seen ``what``, and not too long ago."""
        return bool(await self._redis.call("EXISTS", self._once(what)))

    def _once(self, what: str) -> str:
        return self._redis.key("once", self._login, _digest(what))

    # -- locks --------------------------------------------------------------------------------------------------------

    async def lock(self, id: str) -> Lock | None:
        """The lock of a session; None if somebody else has it."""
        lock = Lock(self._redis.key("lock", self._login, id), text_of(os.urandom(12)))
        reply = await self._redis.call("SET", lock.key, lock.owner, "NX", "PX", _milliseconds(LOCK))
        return lock if reply is not None else None

    async def renew(self, lock: Lock) -> bool:
        """Hold a lock for another `LOCK` seconds; whether it was still ours."""
        return bool(await self._redis.script(_RENEWING, (lock.key,), (lock.owner, _milliseconds(LOCK))))

    async def release(self, lock: Lock, cool: float = 0.0) -> None:
        """:param cool: seconds for which nobody gets it."""
        await self._redis.script(_RELEASING, (lock.key,), (lock.owner, int(cool * 1000), _COOLING))

    async def cooling(self, id: str) -> bool:
        """Whether whoever had the lock failed just now."""
        return bool(await self._redis.call("GET", self._redis.key("lock", self._login, id)) == _COOLING)

    # -- inside -------------------------------------------------------------------------------------------------------

    def _key(self, id: str) -> str:
        return self._redis.key("sess", self._login, id)

    def _indexes(self, subject: str, sid: str) -> list[str]:
        """Names are hashed: they come from outside, and Redis need not know who has logged in."""
        named = [("sub", subject), ("sid", sid)]
        return [self._redis.key(f"sess-{kind}", self._login, _digest(name)) for kind, name in named if name]

    def _about(self, id: str) -> bytes:
        return f"session {self._login} {id}".encode()

    def _sealed(self, session: Session, ticket: Ticket) -> bytes:
        return self._ring.seal(session.encode(), self._about(ticket.id), ticket.secret)

    def _opened(self, sealed: bytes | None, ticket: Ticket) -> Session | None:
        plain = self._ring.open(sealed or b"", self._about(ticket.id), ticket.secret)
        if plain is None:
            return None
        try:
            return Session.decode(plain)
        except ValueError:
            return None  # of another release


_AT_A_TIME: Final = 500


class CookieSessions:
    """The sessions of one login in the browsers' own cookies. Immutable."""

    __slots__ = ("_ring", "_login", "_idle", "_wall")

    def __init__(self, ring: Ring, login: str, spec: SessionSpec, *, wall: Callable[[], float] = time.time) -> None:
        """:param ring: for nothing else."""
        self._ring = ring
        self._login = login.encode("utf-8")
        self._idle = float(spec.idle)
        self._wall = wall

    def seal(self, session: Session) -> bytes:
        """The cookie of a session, which is over when it is idle from now on."""
        idle = min(self._wall() + self._idle, session.ends)
        kept = replace(session, tokens=None, idle=idle)
        return text_of(self._ring.seal(kept.encode(), b"session " + self._login))

    def open(self, value: bytes) -> Session | None:
        """The session in a cookie; None if there is none, or it is over."""
        plain = self._ring.open(bytes_of(value) or b"", b"session " + self._login)
        if plain is None:
            return None
        try:
            session = Session.decode(plain)
        except ValueError:
            return None  # of another release
        return session if self._wall() < min(session.idle, session.ends) else None

    def worn(self, session: Session) -> bool:
        """Whether a session is better given a new cookie: a quarter of what it may be idle for is over."""
        return self._wall() > session.idle - 0.75 * self._idle and session.idle < session.ends


def _digest(name: str) -> str:
    return hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:32]
