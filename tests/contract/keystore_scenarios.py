"""
What every store of API keys must do; see `tests.net.drive`. Each scenario is played with each kind of store.
"""

import contextlib
import functools
import inspect
import os
import pathlib
import sqlite3
import stat
import tempfile
import time

import msgspec
import pytest
from twisted.internet.defer import Deferred

from suuupra_gateway.auth import keystore, keystore_redis, keystore_sqlite
from suuupra_gateway.auth.keystore import AuditEntry, KeyRecord
from suuupra_gateway.auth.keystore_redis import RedisKeyStore
from suuupra_gateway.auth.keystore_sqlite import SqliteKeyStore
from suuupra_gateway.auth.revocation import RevocationFeed
from suuupra_gateway.auth.revocations import Revocation
from suuupra_gateway.config.store import StoreSpec
from suuupra_gateway.net.redis import Redis, StoreUnavailable
from tests.keystores import MemoryKeyStore
from tests.servers.redis import RedisServer

NOW = 1_800_000_000.25
CREATED = AuditEntry(NOW, "alice", "create", "first", "for orders")


def record(id="first", created_at=NOW, **more):
    return KeyRecord(
        id=id, hash="00" * 32, pepper="0a", environment="live", owner="orders", created_at=created_at, **more
    )


FULL = record(
    name="nightly",
    scopes=("orders.read", "orders.write"),
    roles=("robot",),
    tenant="acme",
    routes=("orders",),
    cidrs=("10.0.0.0/8",),
    not_before=NOW,
    expires_at=NOW + 1.5,
    tier="gold",
    limits={"burst": "10/s"},
    rotated_from="zeroth",
    created_by="alice ☃",
    notes={"ticket": "OPS-7"},
)


class Place:
    """Where one kind of store keeps its records; opened as often as needed."""

    def __init__(self, stage):
        self.stage = stage

    async def open(self):
        raise AssertionError

    async def break_(self):
        """Let the store of this place be out of reach."""

    def write(self, id, text):
        """Put text where a record would be, past the store."""


class InRedis(Place):
    constants = keystore_redis

    async def open(self):
        if not hasattr(self, "server"):
            self.server = self.stage.keep(RedisServer(pathlib.Path(tempfile.mkdtemp(dir=self.stage.directory))))
        self.stage.expected.append("Redis")
        redis = Redis(StoreSpec(url=self.server.url), self.stage.reactor)
        redis.start()
        for _ in range(500):
            if redis.available:
                break
            await self.stage.sleep(0.01)
        return RedisKeyStore(redis), redis.retire

    async def break_(self):
        self.server.stop()

    def write(self, id, text):
        self.server.ask("SET", f"sg:key:{id}", text)


class InSqlite(Place):
    constants = keystore_sqlite

    def __init__(self, stage):
        super().__init__(stage)
        self.file = os.path.join(tempfile.mkdtemp(dir=stage.directory), "made", "api-keys.sqlite")

    async def open(self):
        store = SqliteKeyStore(self.file, self.stage.reactor)
        return store, store.close

    async def break_(self):
        for end in ("", "-wal", "-shm"):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self.file + end)
        os.mkdir(self.file)

    def write(self, id, text):
        with sqlite3.connect(self.file) as db:
            db.execute("INSERT OR REPLACE INTO keys VALUES (?, 0.0, ?)", (id, text.encode()))
        db.close()


class InMemory(Place):
    constants = keystore

    def __init__(self, stage):
        super().__init__(stage)
        self.store = MemoryKeyStore()

    async def open(self):
        return self.store, self.store.close

    async def break_(self):
        self.store.broken = True


@contextlib.asynccontextmanager
async def opened(place):
    store, close = await place.open()
    try:
        yield store
    finally:
        await close()


@contextlib.contextmanager
def set_to(module, **values):
    before = {name: getattr(module, name) for name in values}
    for name, value in values.items():
        setattr(module, name, value)
    try:
        yield
    finally:
        for name, value in before.items():
            setattr(module, name, value)


async def records_are_kept_as_they_are(place):
    async with opened(place) as store:
        assert await store.get("first") is None
        assert await store.put(FULL, None, CREATED) is True
        assert await store.get("first") == FULL
        assert await store.get("FIRST") is None
        assert await store.get("first:2' OR 1=1 --") is None


async def nobody_overwrites_what_he_has_not_seen(place):
    async with opened(place) as store:
        first, second, third = record(), record(name="second"), record(name="third")
        assert await store.put(first, second, CREATED) is False
        assert await store.put(first, None, CREATED) is True
        assert await store.put(second, None, CREATED) is False
        assert await store.put(second, first, CREATED) is True
        assert await store.put(third, first, CREATED) is False
        assert await store.get("first") == second
        assert len(await store.audit(10)) == 2


async def of_many_who_change_a_record_one_succeeds(place):
    async with opened(place) as store, opened(place) as other:
        await store.put(record(), None, CREATED)
        changes = [record(name=str(number)) for number in range(8)]
        pending = [each.put(change, record(), CREATED) for change in changes for each in (store, other)]
        outcomes = [await each for each in pending]
        assert outcomes.count(True) == 1
        assert (await store.get("first")).name == str(outcomes.index(True) // 2)
        assert len(await other.audit(100)) == 2


async def records_of_other_releases_can_be_changed(place):
    async with opened(place) as store:
        await store.put(record(), None, CREATED)
        words = msgspec.json.decode(record().encode()) | {"name": "", "status": "active", "invented": ["later"]}
        place.write("first", msgspec.json.format(msgspec.json.encode(words)).decode())
        assert await store.get("first") == record()
        assert await store.put(record(name="new"), record(), CREATED) is True
        assert await store.get("first") == record(name="new")


async def what_is_no_record_is_an_error_and_stays(place):
    async with opened(place) as store:
        await store.put(record(), None, CREATED)
        for text in ("{", '{"id": 7}', "[]"):
            place.write("first", text)
            for asked in (
                store.get("first"),
                store.put(record(), None, CREATED),
                store.put(record(), record(), CREATED),
            ):
                with pytest.raises(StoreUnavailable, match="no record of a key"):
                    await asked


async def all_are_listed_oldest_first(place):
    async with opened(place) as store:
        assert await store.all() == []
        made = [record(f"key{number:04}", NOW + (number * 7919) % 1201) for number in range(1201)]
        for each in made[:-1]:
            last = store.put(each, None, CREATED)
        assert await last
        await store.put(made[-1], None, CREATED)
        assert await store.all() == sorted(made, key=lambda each: each.created_at)


async def who_uses_a_key_is_noted(place):
    async with opened(place) as store:
        assert await store.used(["first", "second"]) == {}
        assert await store.used([]) == {}
        assert await store.usage("first") == []
        await store.touch("first", NOW, "192.0.2.1", "curl/8")
        await store.touch("first", NOW + 10, "192.0.2.2", 'odd "agent" \\ ☃')
        await store.touch("first", NOW + 20, "192.0.2.1", "curl/8")
        await store.touch("first", NOW + 15, "192.0.2.1", "curl/8")  # by a machine whose clock is late
        await store.touch("second", NOW, "", "")
        assert await store.used(["first", "second", "third"]) == {"first": NOW + 20, "second": NOW}
        seen = [(use.client, use.agent, use.first, use.last, use.count) for use in await store.usage("first")]
        assert [row[:2] for row in seen] == [("192.0.2.1", "curl/8"), ("192.0.2.2", 'odd "agent" \\ ☃')]
        assert seen[0][2:] == (pytest.approx(NOW, abs=0.01), pytest.approx(NOW + 20, abs=0.01), 3)
        assert seen[1][4] == 1


async def of_too_many_callers_the_ones_seen_longest_ago_are_forgotten(place):
    async with opened(place) as store:
        with set_to(place.constants, USAGES=5):
            for number in range(5):
                await store.touch("first", NOW + number, f"192.0.2.{number}", "")
            await store.touch("first", NOW + 9, "192.0.2.0", "")
            await store.touch("first", NOW + 10, "192.0.2.9", "")
            clients = [use.client[-1] for use in await store.usage("first")]
            assert clients == ["9", "0", "4", "3", "2"]


async def the_audit_log_is_kept_latest_first_and_bounded(place):
    async with opened(place) as store:
        assert await store.audit(10) == []
        with set_to(place.constants, AUDITED=20):
            for number in range(30):
                entry = AuditEntry(NOW + number, "alice", "create", f"key{number}", "☃")
                await store.put(record(f"key{number}"), None, entry)
            entries = await store.audit(100)
        assert [entry.id for entry in entries] == [f"key{number}" for number in reversed(range(10, 30))]
        assert entries[0] == AuditEntry(NOW + 29, "alice", "create", "key29", "☃")
        assert await store.audit(1) == entries[:1]


async def revocations_are_kept_for_a_day(place):
    async with opened(place) as store, opened(place) as other:
        assert await store.revocations(0.0) == {}
        await store.revoke(["key:a", "session:ü"], NOW)
        await store.revoke(["key:b"], NOW + 10)
        await store.revoke(["key:a"], NOW - 10)  # by a machine whose clock is late
        assert await other.revocations(0.0) == {"key:a": NOW, "session:ü": NOW, "key:b": NOW + 10}
        assert await other.revocations(NOW + 10) == {"key:b": NOW + 10}
        await store.revoke([f"token:{number}" for number in range(500)], NOW + 86405)
        left = await other.revocations(0.0)
        assert len(left) == 501
        assert left["key:b"] == NOW + 10


async def stores_that_are_out_of_reach_say_so(place):
    async with opened(place) as store:
        await store.put(record(), None, CREATED)
    await place.break_()
    async with opened(place) as store:
        for asked in (
            lambda: store.get("first"),
            lambda: store.put(record(name="new"), record(), CREATED),
            store.all,
            lambda: store.touch("first", NOW, "", ""),
            lambda: store.used(["first"]),
            lambda: store.usage("first"),
            lambda: store.audit(1),
            lambda: store.revoke(["key:a"], NOW),
            lambda: store.revocations(0.0),
        ):
            with pytest.raises(StoreUnavailable):
                await asked()


# -- files only -------------------------------------------------------------------------------------------------------


async def files_are_for_their_owner_only(place):
    async with opened(place) as store:
        await store.put(record(), None, CREATED)
        directory = pathlib.Path(place.file).parent
        assert stat.S_IMODE(directory.stat().st_mode) == 0o700
        modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in directory.iterdir()}
        assert len(modes) == 3
        assert set(modes.values()) == {0o600}


async def a_locked_file_blocks_nobody_but_who_changes_it(place):
    async with opened(place) as store:
        await store.put(record(), None, CREATED)
        lock = sqlite3.connect(place.file, isolation_level=None)
        lock.execute("BEGIN IMMEDIATE")
        with set_to(keystore_sqlite, PATIENCE=0.3):
            async with opened(place) as other:
                assert await other.get("first") == record()
                began = time.monotonic()
                pending = other.put(record(name="new"), record(), CREATED)
                turns = 0
                while not pending.called:
                    await place.stage.sleep(0.01)
                    turns += 1
                with pytest.raises(StoreUnavailable, match="locked"):
                    await pending
                assert turns > 10
                assert time.monotonic() - began < 2.0
                lock.execute("ROLLBACK")
                assert await other.put(record(name="new"), record(), CREATED) is True
        lock.close()


async def files_can_be_closed_at_any_time(place):
    store = SqliteKeyStore(place.file, place.stage.reactor)
    await store.close()
    pending = store.put(record(), None, CREATED)
    closing = store.close()
    assert await pending is True
    await closing
    await store.close()
    assert await store.get("first") == record()
    await store.close()


async def files_of_later_releases_are_left_alone(place):
    async with opened(place) as store:
        await store.put(record(), None, CREATED)
    with sqlite3.connect(place.file) as db:
        db.execute("PRAGMA user_version = 2")
    db.close()
    async with opened(place) as store:
        with pytest.raises(StoreUnavailable, match="later release"):
            await store.get("first")


async def a_file_may_lie_where_we_are(place):
    before = os.getcwd()
    os.chdir(tempfile.mkdtemp(dir=place.stage.directory))
    try:
        store = SqliteKeyStore("keys.sqlite", place.stage.reactor)
        assert await store.put(record(), None, CREATED) is True
        await store.close()
    finally:
        os.chdir(before)


# -- Redis only -------------------------------------------------------------------------------------------------------


async def revocations_are_told_on_a_channel(place):
    heard = []
    async with opened(place) as store:
        redis = store._redis
        first = Deferred()
        redis.subscribe([redis.key("revoked")], lambda channel, event: heard.append(event), first.callback)
        await first
        await store.revoke(["key:a", "key:b"], NOW)
        while not heard:
            await place.stage.sleep(0.01)
        place.stage.expected.append("Redis")
    assert msgspec.json.decode(heard[0]) == {"tags": ["key:a", "key:b"], "at": NOW}


async def revocations_are_heard_whatever_redis_does(place):
    heard = {}

    broken = ["once", "twice"]

    def announce(event):
        revocation = msgspec.json.decode(event, type=Revocation)
        if revocation.tags[0].startswith("broken") and broken:
            raise ValueError(broken.pop())
        heard.update(dict.fromkeys(revocation.tags, revocation.at))

    async def until(predicate):
        end = time.monotonic() + 10
        while not predicate():
            assert time.monotonic() < end, inspect.getsource(predicate)
            await place.stage.sleep(0.01)

    now = time.time()
    async with opened(place) as store, opened(place) as elsewhere:
        await elsewhere.revoke(["before"], now - 3600)
        redis = store._redis
        feed = RevocationFeed(store, place.stage.reactor, announce, redis=redis)
        feed.start()
        await until(lambda: feed.live)
        assert heard == {"before": now - 3600}
        began = time.monotonic()
        await elsewhere.revoke(["during", "likewise"], now)
        await until(lambda: "during" in heard)
        assert time.monotonic() - began < 1.0
        assert heard == {"before": now - 3600, "during": now, "likewise": now}

        # The subscription alone is cut, and something is revoked before it is back.
        place.server.ask("CLIENT", "KILL", "TYPE", "pubsub")
        await elsewhere.revoke(["unheard"], now + 1)
        await until(lambda: "unheard" in heard)

        # What was not passed on is tried again.
        place.stage.expected.append("not passed on")
        await elsewhere.revoke(["broken"], now + 1)
        await elsewhere.revoke(["broken likewise"], now + 1)
        await until(lambda: {"broken", "broken likewise"} <= set(heard))

        # What nobody can read is no reason to be deaf.
        place.stage.expected.append("cannot be read")
        place.server.ask("PUBLISH", "sg:revoked", "{")
        await elsewhere.revoke(["after"], now + 2)
        await until(lambda: "after" in heard)

        place.server.stop()
        await until(lambda: not feed.live)
        place.server.start()
        await until(lambda: feed.live)
        await until(lambda: elsewhere._redis.available)
        await elsewhere.revoke(["again"], now + 3)
        await until(lambda: "again" in heard)
        feed.stop()
        await elsewhere.revoke(["too late"], now + 4)
        await place.stage.sleep(0.1)
        assert "too late" not in heard


FILES_ONLY = (
    files_are_for_their_owner_only,
    a_locked_file_blocks_nobody_but_who_changes_it,
    files_can_be_closed_at_any_time,
    files_of_later_releases_are_left_alone,
    a_file_may_lie_where_we_are,
)
REDIS_ONLY = (revocations_are_told_on_a_channel, revocations_are_heard_whatever_redis_does)
WRITTEN_ONLY = (records_of_other_releases_can_be_changed, what_is_no_record_is_an_error_and_stays)


async def _play(scenario, kind, stage):
    await scenario(kind(stage))


ALL = {
    f"{kind.__name__}-{name}": functools.partial(_play, scenario, kind)
    for name, scenario in list(globals().items())
    if inspect.iscoroutinefunction(scenario) and list(inspect.signature(scenario).parameters) == ["place"]
    for kind in (InRedis, InSqlite, InMemory)
    if (scenario not in FILES_ONLY or kind is InSqlite)
    and (scenario not in REDIS_ONLY or kind is InRedis)
    and (scenario not in WRITTEN_ONLY or kind is not InMemory)
}


def names(kind):
    """The scenarios for a kind of reactor: all of them."""
    return list(ALL)
