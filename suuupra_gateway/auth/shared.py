"""
Decisions that all processes of a host share: what one worker learnt, all know, also one that was just started.

Reading takes no lock and a few microseconds. Writing is done by a thread, as the lock for it may be held by a process that was
stopped. Nothing here ever fails a request: whatever goes wrong, a decision is then not there.

The file is private to the user and to one boot of the machine, as its times are those of the monotonic clock.
"""

from __future__ import annotations

import queue
import struct
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Final
from weakref import WeakValueDictionary

import lmdb
from twisted.logger import Logger

from suuupra_gateway.auth.tables import Record, Tables, encode
from suuupra_gateway.policy.clocks import LONGEST

SIZE: Final = 512 * 1024 * 1024
"""Bytes that the file may grow to; only what is used takes memory."""

LARGEST: Final = 64 * 1024
"""Bytes of a decision that is shared."""

WAITING: Final = 10_000
"""Changes that may wait to be written."""

_BATCH: Final = 256
"""Changes that are written at once."""

_IDLE: Final = 60.0
"""Seconds between two rounds of tidying up."""

_KEPT: Final = 3 * LONGEST
"""Seconds after which no clock of a decision runs any more."""

_FORMAT: Final = "1"
"""Goes into the file's name: releases that write another format do not meet."""

_BOOT: Final = Path("/proc/sys/kernel/random/boot_id")
_PREFIX: Final = "decisions-"

_SPOILT: Final = (lmdb.Error, struct.error, ValueError)
"""What comes of a file that is full, or not as we left it."""

_Change = Callable[[Tables, Any], object]


class Shared:
    """
    The file of one host, as one process has it open. Lives from `open` to as many `close`.

    LMDB must not open a file twice in one process, so that who asks for it twice gets the same.
    """

    log = Logger()

    __slots__ = ("secret", "_path", "_tables", "_changes", "_thread", "_owners", "_lost", "_monotonic", "__weakref__")

    secret: bytes
    """32 bytes that only processes of this host know, to hash keys with."""

    @classmethod
    def open(
        cls, directory: str, *, size: int = SIZE, monotonic: Callable[[], float] = time.monotonic
    ) -> Shared | None:
        """
        What is shared in ``directory``, which must be ours alone; None if that cannot be, and the log says why.

        Files of other boots are removed. One that is spoilt is made anew.

        :param size: bytes that the file may grow to.
        """
        path = Path(directory).absolute() / f"{_PREFIX}{_FORMAT}-{_boot()}.mdb"
        found = _OPEN.get(str(path))
        if found is not None:
            found._owners += 1
            return found
        try:
            for other in path.parent.glob(f"{_PREFIX}*"):
                if not other.name.startswith(path.name):
                    other.unlink(missing_ok=True)
            try:
                made = cls(path, Tables(path, size), monotonic)
            except (lmdb.InvalidError, lmdb.CorruptedError, lmdb.VersionMismatchError):
                cls.log.warn("{path} is spoilt and is made anew", path=str(path))
                for spoilt in path.parent.glob(f"{path.name}*"):
                    spoilt.unlink(missing_ok=True)
                made = cls(path, Tables(path, size), monotonic)
        except (lmdb.Error, OSError) as error:
            cls.log.warn(
                "Decisions are not shared with other workers: {path}: {error}", path=str(path), error=str(error)
            )
            return None
        _OPEN[str(path)] = made
        return made

    def __init__(self, path: Path, tables: Tables, monotonic: Callable[[], float]) -> None:
        """For `open`."""
        self.secret = tables.secret()
        self._path = path
        self._tables = tables
        self._monotonic = monotonic
        self._changes: queue.SimpleQueue[_Change | threading.Event | None] = queue.SimpleQueue()
        self._owners = 1
        self._lost = False
        self._thread = threading.Thread(target=self._write, name="decisions", daemon=True)
        self._thread.start()

    def get(self, namespace: bytes, key: bytes) -> Record | None:
        """What is known, unless it was revoked. ``namespace`` has 8 bytes and ``key`` 16."""
        if self._lost:
            return None
        try:
            return self._tables.read(namespace + key)
        except _SPOILT:
            return None

    def put(self, namespace: bytes, key: bytes, record: Record, limit: int) -> None:
        """
        Let all know, unless they know something newer.

        :param limit: how many decisions of ``namespace`` are kept that let somebody in; of others an eighth.
        """
        raw = encode(record)
        if len(raw) > LARGEST:
            self.forget(namespace, key)
        else:
            self._change(lambda tables, txn: tables.put(txn, namespace, key, raw, limit))

    def forget(self, namespace: bytes, key: bytes) -> None:
        """Let all forget what they know by this file."""
        self._change(lambda tables, txn: tables.forget(txn, namespace, key))

    def revoke(self, tags: Iterable[str], at: float) -> None:
        """What was decided under one of ``tags`` until then is not to be found any more; see `tables.EVERYTHING`."""
        self._change(lambda tables, txn: tables.mark(txn, tags, at))

    def flush(self, seconds: float) -> bool:
        """Wait until everything up to here is written; whether it was in time. For tests, and before the end."""
        written = threading.Event()
        self._changes.put(written)
        return written.wait(seconds)

    def close(self) -> None:
        """Let go of the file, which stays. After the last owner has, nothing is found any more."""
        self._owners -= 1
        if self._owners:
            return
        _OPEN.pop(str(self._path), None)
        self._changes.put(None)
        self._thread.join(1.0)
        self._lost = True
        # If somebody who was stopped holds the lock, the thread ends with the process.
        if not self._thread.is_alive():
            self._tables.env.close()

    def _change(self, change: _Change) -> None:
        if self._lost:
            return
        if self._changes.qsize() >= WAITING:
            # A refusal that is not written would leave what it replaces in force: better nothing at all.
            self._lost = True
            self.log.warn("Changes of decisions come faster than they can be shared: all shared ones are forgotten")
        self._changes.put(change)

    # -- in the thread --------------------------------------------------------------------------------------------------------

    def _write(self) -> None:
        tidied = self._monotonic()
        while True:
            batch = self._next()
            if self._monotonic() - tidied >= _IDLE:
                tidied = self._monotonic()
                batch.append(self._tidy)
            try:
                if self._lost:
                    self._tables.clear()
                    self._lost = False
                elif batch:
                    with self._tables.env.begin(write=True) as txn:
                        for change in batch:
                            if callable(change):
                                change(self._tables, txn)
            except _SPOILT as error:
                # Also when the file is full: what is in it does not fit the limits.
                self._lost = True
                self.log.warn("Shared decisions are forgotten: {path}: {error}", path=str(self._path), error=str(error))
            for change in batch:
                if isinstance(change, threading.Event):
                    change.set()
            if None in batch:
                return

    def _tidy(self, tables: Tables, txn: Any) -> None:
        tables.tidy(txn, self._monotonic() - _KEPT)

    def _next(self) -> list[_Change | threading.Event | None]:
        batch: list[_Change | threading.Event | None] = []
        try:
            batch.append(self._changes.get(timeout=1.0 if self._lost else _IDLE))
            while len(batch) < _BATCH or self._lost:
                batch.append(self._changes.get_nowait())
        except queue.Empty:
            pass
        return batch


_OPEN: Final[WeakValueDictionary[str, Shared]] = WeakValueDictionary()
"""By path. Not state of ours: it mirrors what LMDB itself knows of this process."""


def _boot() -> str:
    """Which boot of the machine this is."""
    try:
        return _BOOT.read_text(encoding="ascii").strip()
    except OSError:
        return "unknown"
