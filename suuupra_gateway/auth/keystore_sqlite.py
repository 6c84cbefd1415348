"""
API keys in a file of this host, for gateways without Redis: shared by all workers, and by the command line.

SQLite in WAL mode: who reads waits for nobody. All work is done in one thread, as a disk may take its time.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Callable, Iterable, Mapping
from threading import Thread
from typing import Any, Final, TypeVar

import msgspec
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThreadPool
from twisted.python.threadpool import ThreadPool

from suuupra_gateway.auth.keystore import AUDITED, USAGES, AuditEntry, KeyRecord, Usage
from suuupra_gateway.net.redis_errors import StoreUnavailable

T = TypeVar("T")

PATIENCE: Final = 2.0
"""Seconds that a change waits for another one to be done."""

REMEMBERED: Final = 86400.0
"""Seconds for which revocations are kept."""

FORM: Final = 1
"""Of the tables; a file with a higher number is of a later release."""

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS keys (id TEXT PRIMARY KEY, created REAL NOT NULL, record BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS used (id TEXT PRIMARY KEY, at REAL NOT NULL);
CREATE TABLE IF NOT EXISTS usage (id TEXT NOT NULL, client TEXT NOT NULL, agent TEXT NOT NULL, first REAL NOT NULL,
    last REAL NOT NULL, count INTEGER NOT NULL, PRIMARY KEY (id, client, agent));
CREATE TABLE IF NOT EXISTS audit (number INTEGER PRIMARY KEY AUTOINCREMENT, entry BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS revocations (tag TEXT PRIMARY KEY, at REAL NOT NULL);
CREATE INDEX IF NOT EXISTS revocations_at ON revocations (at);
"""

_FORGET_OLDEST: Final = """
DELETE FROM usage WHERE rowid = (SELECT rowid FROM usage WHERE id = ? ORDER BY last LIMIT 1)
"""


class SqliteKeyStore:
    """See `IKeyStore`. Opens its file at the first use; `close` ends it."""

    __slots__ = ("path", "_reactor", "_pool", "_connection")

    def __init__(self, path: str, reactor: Any) -> None:
        self.path = path
        self._reactor = reactor
        self._pool: ThreadPool | None = None
        self._connection: sqlite3.Connection | None = None

    def get(self, id: str) -> Deferred[KeyRecord | None]:
        """See `IKeyStore`."""

        def work(db: sqlite3.Connection) -> KeyRecord | None:
            row = db.execute("SELECT record FROM keys WHERE id = ?", (id,)).fetchone()
            return KeyRecord.decode(row[0]) if row is not None else None

        return self._do(work)

    def put(self, record: KeyRecord, expected: KeyRecord | None, entry: AuditEntry) -> Deferred[bool]:
        """See `IKeyStore`."""

        def work(db: sqlite3.Connection) -> bool:
            with db:
                db.execute("BEGIN IMMEDIATE")
                row = db.execute("SELECT record FROM keys WHERE id = ?", (record.id,)).fetchone()
                if (KeyRecord.decode(row[0]) if row is not None else None) != expected:
                    return False
                words = (record.id, record.created_at, record.encode())
                db.execute("INSERT OR REPLACE INTO keys (id, created, record) VALUES (?, ?, ?)", words)
                added = db.execute("INSERT INTO audit (entry) VALUES (?)", (msgspec.json.encode(entry),))
                db.execute("DELETE FROM audit WHERE number <= ?", ((added.lastrowid or 0) - AUDITED,))
            return True

        return self._do(work)

    def all(self) -> Deferred[list[KeyRecord]]:
        """See `IKeyStore`."""

        def work(db: sqlite3.Connection) -> list[KeyRecord]:
            rows = db.execute("SELECT record FROM keys ORDER BY created, id").fetchall()
            return [KeyRecord.decode(record) for (record,) in rows]

        return self._do(work)

    def touch(self, id: str, at: float, client: str, agent: str) -> Deferred[None]:
        """See `IKeyStore`."""

        def work(db: sqlite3.Connection) -> None:
            with db:
                db.execute("BEGIN IMMEDIATE")
                db.execute(
                    "INSERT INTO used (id, at) VALUES (?, ?) ON CONFLICT (id) DO UPDATE SET at = max(at, excluded.at)",
                    (id, at),
                )
                known = db.execute(
                    "UPDATE usage SET last = max(last, ?), count = count + 1 WHERE id = ? AND client = ? AND agent = ?",
                    (at, id, client, agent),
                )
                if known.rowcount == 0:
                    (count,) = db.execute("SELECT count(*) FROM usage WHERE id = ?", (id,)).fetchone()
                    if count >= USAGES:
                        db.execute(_FORGET_OLDEST, (id,))
                    db.execute("INSERT INTO usage VALUES (?, ?, ?, ?, ?, 1)", (id, client, agent, at, at))

        return self._do(work)

    def used(self, ids: Iterable[str]) -> Deferred[Mapping[str, float]]:
        """See `IKeyStore`."""
        wanted = msgspec.json.encode(tuple(ids)).decode()

        def work(db: sqlite3.Connection) -> Mapping[str, float]:
            rows = db.execute("SELECT id, at FROM used WHERE id IN (SELECT value FROM json_each(?))", (wanted,))
            return dict(rows.fetchall())

        return self._do(work)

    def usage(self, id: str) -> Deferred[list[Usage]]:
        """See `IKeyStore`."""

        def work(db: sqlite3.Connection) -> list[Usage]:
            rows = db.execute(
                "SELECT client, agent, first, last, count FROM usage WHERE id = ? ORDER BY last DESC", (id,)
            ).fetchall()
            return [Usage(*row) for row in rows]

        return self._do(work)

    def audit(self, limit: int) -> Deferred[list[AuditEntry]]:
        """See `IKeyStore`."""

        def work(db: sqlite3.Connection) -> list[AuditEntry]:
            rows = db.execute("SELECT entry FROM audit ORDER BY number DESC LIMIT ?", (limit,)).fetchall()
            return [msgspec.json.decode(entry, type=AuditEntry) for (entry,) in rows]

        return self._do(work)

    def revoke(self, tags: Iterable[str], at: float) -> Deferred[None]:
        """See `IKeyStore`."""
        named = tuple(tags)

        def work(db: sqlite3.Connection) -> None:
            with db:
                db.execute("BEGIN IMMEDIATE")
                db.executemany(
                    "INSERT INTO revocations VALUES (?, ?) ON CONFLICT (tag) DO UPDATE SET at = max(at, excluded.at)",
                    [(tag, at) for tag in named],
                )
                db.execute("DELETE FROM revocations WHERE at < ?", (at - REMEMBERED,))

        return self._do(work)

    def revocations(self, since: float) -> Deferred[Mapping[str, float]]:
        """See `IKeyStore`."""

        def work(db: sqlite3.Connection) -> Mapping[str, float]:
            return dict(db.execute("SELECT tag, at FROM revocations WHERE at >= ? ORDER BY at", (since,)).fetchall())

        return self._do(work)

    def close(self) -> Deferred[None]:
        """Close the file; fires when that is done. Idempotent."""
        pool, self._pool = self._pool, None

        def work() -> None:
            # Last in its thread: what was asked for before may just have opened it.
            connection, self._connection = self._connection, None
            if connection is not None:
                connection.close()

        def done(result: Any) -> None:
            assert pool is not None
            pool.stop()

        if pool is None:
            closed: Deferred[None] = Deferred()
            closed.callback(None)
            return closed
        return deferToThreadPool(self._reactor, pool, work).addBoth(done)

    # -----------------------------------------------------------------------------------------------------------------

    def _do(self, work: Callable[[sqlite3.Connection], T]) -> Deferred[T]:
        if self._pool is None:
            self._pool = ThreadPool(0, 1, "api-keys")
            # A process that ends without closing the file must not wait for a thread that waits for work.
            self._pool.threadFactory = _DaemonThread
            self._pool.start()
        return deferToThreadPool(self._reactor, self._pool, self._work, work)

    def _work(self, work: Callable[[sqlite3.Connection], T]) -> T:
        try:
            if self._connection is None:
                self._connection = _opened(self.path)
            return work(self._connection)
        except (sqlite3.Error, OSError, ValueError, msgspec.DecodeError) as error:
            raise StoreUnavailable(f"{self.path}: {error}") from error


class _DaemonThread(Thread):
    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options, daemon=True)


def _opened(path: str) -> sqlite3.Connection:
    """The database at ``path``, made if there is none, for its owner only."""
    directory = os.path.dirname(path)
    if directory:
        os.makedirs(directory, mode=0o700, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "rb"), contextlib.suppress(PermissionError):
        # Made by root on the command line, used by the gateway, which is somebody else. SQLite's further files follow.
        owner = os.stat(directory or ".")
        os.fchown(descriptor, owner.st_uid, owner.st_gid)
    # In one thread of the pool at a time, which need not be the same for ever.
    db = sqlite3.connect(path, timeout=PATIENCE, isolation_level=None, check_same_thread=False)
    try:
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = FULL")  # a key that was revoked must not come back with the power
        (form,) = db.execute("PRAGMA user_version").fetchone()
        if form > FORM:
            raise ValueError(f"made by a later release (form {form}, not {FORM})")
        if form < FORM:
            db.executescript(f"BEGIN IMMEDIATE; {_SCHEMA} PRAGMA user_version = {FORM}; COMMIT;")
    except BaseException:
        db.close()
        raise
    return db
