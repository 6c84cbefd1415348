"""
API keys in Redis: for all machines.

Keys, after the prefix: ``key:ID`` a record; ``keys`` all ids by time of creation; ``key-used`` when each was last in use;
``key-usage:ID`` by whom; ``key-audit`` the audit log; ``revocations`` what was revoked lately, by time. What is revoked is told
on the channel ``revoked``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any, Final

import msgspec
from twisted.internet.defer import Deferred, succeed

from suuupra_gateway.auth.keystore import AUDITED, USAGES, AuditEntry, KeyRecord, Usage
from suuupra_gateway.auth.revocations import Revocation
from suuupra_gateway.net.redis import Redis, Script, StoreUnavailable

REMEMBERED: Final = 86400
"""Seconds for which revocations are kept for gateways that missed them."""

_PUT: Final = Script(
    """
local kept = redis.call('GET', KEYS[1])
if (kept or '') ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[2])
redis.call('ZADD', KEYS[2], ARGV[3], ARGV[4])
redis.call('LPUSH', KEYS[3], ARGV[5])
redis.call('LTRIM', KEYS[3], 0, ARGV[6] - 1)
return 1
"""
)

_TOUCH: Final = Script(
    """
local at = tonumber(ARGV[2])
if at > tonumber(redis.call('HGET', KEYS[1], ARGV[1]) or '-1') then redis.call('HSET', KEYS[1], ARGV[1], ARGV[2]) end
local entry = redis.call('HGET', KEYS[2], ARGV[3])
local first, last, count = at, at, 0
if entry then
    local known = cjson.decode(entry)
    first, last, count = known.first, math.max(known.last, at), known.count
elseif redis.call('HLEN', KEYS[2]) >= tonumber(ARGV[6]) then
    local all = redis.call('HGETALL', KEYS[2])
    local oldest, when = nil, math.huge
    for place = 1, #all, 2 do
        local seen = cjson.decode(all[place + 1]).last
        if seen < when then oldest, when = all[place], seen end
    end
    redis.call('HDEL', KEYS[2], oldest)
end
redis.call('HSET', KEYS[2], ARGV[3],
    cjson.encode({client = ARGV[4], agent = ARGV[5], first = first, last = last, count = count + 1}))
redis.call('EXPIRE', KEYS[2], 7776000)
return 1
"""
)

_REVOKE: Final = Script(
    """
for place = 4, #ARGV do redis.call('ZADD', KEYS[1], 'GT', ARGV[1], ARGV[place]) end
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', '(' .. ARGV[2])
redis.call('PUBLISH', KEYS[2], ARGV[3])
return 1
"""
)


class RedisKeyStore:
    """See `IKeyStore`. Borrows its connection."""

    __slots__ = ("_redis", "_key")

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._key = redis.key

    def get(self, id: str) -> Deferred[KeyRecord | None]:
        """See `IKeyStore`."""
        return self._redis.call("GET", self._key("key", id)).addCallback(_record, id)

    def put(self, record: KeyRecord, expected: KeyRecord | None, entry: AuditEntry) -> Deferred[bool]:
        """See `IKeyStore`."""
        return Deferred.fromCoroutine(self._put(record, expected, entry))

    async def _put(self, record: KeyRecord, expected: KeyRecord | None, entry: AuditEntry) -> bool:
        # What is kept may have been written by another release, in other words: meaning is compared here, words in Redis.
        kept: bytes = await self._redis.call("GET", self._key("key", record.id)) or b""
        if (_record(kept, record.id) if kept else None) != expected:
            return False
        keys = (self._key("key", record.id), self._key("keys"), self._key("key-audit"))
        words = (
            kept,
            record.encode(),
            repr(record.created_at),
            record.id,
            msgspec.json.encode(entry),
            AUDITED,
        )
        return bool(await self._redis.script(_PUT, keys, words))

    def all(self) -> Deferred[list[KeyRecord]]:
        """See `IKeyStore`."""
        return Deferred.fromCoroutine(self._all())

    async def _all(self) -> list[KeyRecord]:
        ids = await self._redis.call("ZRANGE", self._key("keys"), 0, -1)
        found: list[KeyRecord] = []
        for place in range(0, len(ids), 500):
            some = [id.decode() for id in ids[place : place + 500]]
            texts = await self._redis.call("MGET", *(self._key("key", id) for id in some))
            records = map(_record, texts, some)
            found += (record for record in records if record is not None)
        return found

    def touch(self, id: str, at: float, client: str, agent: str) -> Deferred[None]:
        """See `IKeyStore`."""
        who = hashlib.sha256(f"{client}\n{agent}".encode()).hexdigest()[:16]
        keys = (self._key("key-used"), self._key("key-usage", id))
        return self._redis.script(_TOUCH, keys, (id, repr(at), who, client, agent, USAGES)).addCallback(_nothing)

    def used(self, ids: Iterable[str]) -> Deferred[Mapping[str, float]]:
        """See `IKeyStore`."""
        names = tuple(ids)
        if not names:
            return succeed({})

        def read(times: list[bytes | None]) -> dict[str, float]:
            return {id: float(at) for id, at in zip(names, times, strict=True) if at is not None}

        return self._redis.call("HMGET", self._key("key-used"), *names).addCallback(read)

    def usage(self, id: str) -> Deferred[list[Usage]]:
        """See `IKeyStore`."""

        def read(entries: list[bytes]) -> list[Usage]:
            found = [msgspec.json.decode(entry, type=Usage) for entry in entries]
            return sorted(found, key=lambda each: -each.last)

        return self._redis.call("HVALS", self._key("key-usage", id)).addCallback(read)

    def audit(self, limit: int) -> Deferred[list[AuditEntry]]:
        """See `IKeyStore`."""

        def read(entries: list[bytes]) -> list[AuditEntry]:
            return [msgspec.json.decode(entry, type=AuditEntry) for entry in entries]

        return self._redis.call("LRANGE", self._key("key-audit"), 0, limit - 1).addCallback(read)

    def revoke(self, tags: Iterable[str], at: float) -> Deferred[None]:
        """See `IKeyStore`."""
        named = tuple(tags)
        event = msgspec.json.encode(Revocation(named, at))
        keys = (self._key("revocations"), self._key("revoked"))
        return self._redis.script(_REVOKE, keys, (repr(at), repr(at - REMEMBERED), event, *named)).addCallback(_nothing)

    def revocations(self, since: float) -> Deferred[Mapping[str, float]]:
        """See `IKeyStore`."""

        def read(pairs: list[bytes]) -> dict[str, float]:
            return {tag.decode(): float(at) for tag, at in zip(pairs[::2], pairs[1::2], strict=True)}

        words = ("ZRANGEBYSCORE", self._key("revocations"), repr(since), "+inf", "WITHSCORES")
        return self._redis.call(*words).addCallback(read)


def _record(data: bytes | None, id: str) -> KeyRecord | None:
    try:
        return KeyRecord.decode(data) if data is not None else None
    except ValueError as error:
        raise StoreUnavailable(f"key {id}: {error}") from error


def _nothing(_: Any) -> None:
    return None
