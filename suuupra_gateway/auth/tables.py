"""
The tables of decisions that a host shares, in one file of LMDB. `auth.shared` is how to use them.

*records*: by namespace and key, a decision. *ages*: namespace, kind, time and key of each, so that the oldest are found.
*marks*: by hashed tag, when it was revoked. *notes*: how many there are of each namespace and kind, and what holds for all.
"""

from __future__ import annotations

import hashlib
import os
import struct
from collections.abc import Iterable
from math import inf
from pathlib import Path
from typing import Any, Final

import lmdb
import msgspec

from suuupra_gateway.policy.clocks import Wishes

MARKS: Final = 100_000
"""Revoked tags that are kept; of more, all decisions are forgotten with them."""

EVERYTHING: Final = "*"
"""The tag of everything: news may have been missed, so that all is asked anew before it is used, unless asking fails."""

_TIME: Final = struct.Struct(">d")
_AGE: Final = struct.Struct(">8scQ16s")
_COUNT: Final = struct.Struct(">Q")
_SECRET: Final = b"secret"
_DOUBTED: Final = b"doubted"
_ALLOW: Final = b"a"
_DENY: Final = b"d"


class Record(msgspec.Struct, frozen=True, array_like=True):
    """A decision as it is shared; see `memory.Decision`."""

    allow: bool
    value: bytes
    decided: float
    """Seconds of the monotonic clock."""

    expires: float
    tags: tuple[str, ...]
    wishes: Wishes
    doubted: float = -inf
    """When everything was doubted last; same clock."""


encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(Record).decode


class Tables:
    """
    One file, as one process has it open. Methods that take a transaction are for the one writer; all raise `lmdb.Error`.

    Times are seconds of the monotonic clock.
    """

    __slots__ = ("env", "records", "ages", "marks", "notes")

    def __init__(self, path: Path, size: int) -> None:
        # No sync: after a crash of the machine nothing of this is read.
        self.env: Any = lmdb.open(
            str(path), subdir=False, map_size=size, max_dbs=4, mode=0o600, max_readers=1024, sync=False, metasync=False
        )
        self.records: Any = self.env.open_db(b"records")
        self.ages: Any = self.env.open_db(b"ages")
        self.marks: Any = self.env.open_db(b"marks")
        self.notes: Any = self.env.open_db(b"notes")
        self.env.reader_check()

    def secret(self) -> bytes:
        """The same for all processes."""
        with self.env.begin(write=True) as txn:
            found: bytes | None = txn.get(_SECRET, db=self.notes)
            if found is None:
                found = os.urandom(32)
                txn.put(_SECRET, found, db=self.notes)
            return found

    def read(self, name: bytes) -> Record | None:
        with self.env.begin() as txn:
            raw = txn.get(name, db=self.records)
            if raw is None:
                return None
            record = _decode(raw)
            for tag in record.tags:
                mark = txn.get(_hashed(tag), db=self.marks)
                if mark is not None and _TIME.unpack(mark)[0] >= record.decided:
                    return None
            doubted = txn.get(_DOUBTED, db=self.notes)
        if doubted is None:
            return record
        return msgspec.structs.replace(record, doubted=_TIME.unpack(doubted)[0])

    def put(self, txn: Any, namespace: bytes, key: bytes, raw: bytes, limit: int) -> None:
        record = _decode(raw)
        if not self.forget(txn, namespace, key, before=record.decided):
            return
        kind = _ALLOW if record.allow else _DENY
        most = limit if record.allow else limit // 8 + 1
        count = self._count(txn, namespace + kind)
        while count >= most and self._forget_oldest(txn, namespace, kind):
            count -= 1
        txn.put(namespace + key, raw, db=self.records)
        txn.put(_age(namespace, key, record), b"", db=self.ages)
        txn.put(namespace + kind, _COUNT.pack(self._count(txn, namespace + kind) + 1), db=self.notes)

    def forget(self, txn: Any, namespace: bytes, key: bytes, before: float = inf) -> bool:
        """Whether what was there, if anything, was from ``before``; then it is not there any more."""
        raw = txn.get(namespace + key, db=self.records)
        if raw is None:
            return True
        record = _decode(raw)
        if record.decided > before:
            return False
        kind = _ALLOW if record.allow else _DENY
        txn.delete(namespace + key, db=self.records)
        txn.delete(_age(namespace, key, record), db=self.ages)
        txn.put(namespace + kind, _COUNT.pack(max(0, self._count(txn, namespace + kind) - 1)), db=self.notes)
        return True

    def mark(self, txn: Any, tags: Iterable[str], now: float) -> None:
        for tag in tags:
            if tag == EVERYTHING:
                txn.put(_DOUBTED, _TIME.pack(now), db=self.notes)
            else:
                txn.put(_hashed(tag), _TIME.pack(now), db=self.marks)
        if txn.stat(self.marks)["entries"] > MARKS:
            for table in (self.records, self.ages, self.marks):
                txn.drop(table, delete=False)
            # The counts go with what they count.
            for name in [name for name, _ in txn.cursor(db=self.notes) if name not in (_SECRET, _DOUBTED)]:
                txn.delete(name, db=self.notes)

    def tidy(self, txn: Any, before: float) -> None:
        """Forget what was decided or revoked before that, in all namespaces, and readers that died."""
        self.env.reader_check()
        cursor = txn.cursor(db=self.ages)
        found = cursor.first()
        old: list[tuple[bytes, bytes]] = []
        while found:
            namespace, kind, decided, key = _AGE.unpack(cursor.key())
            if decided / 1e6 < before:
                old.append((namespace, key))
                found = cursor.next()
            else:
                # The next kind, or the next namespace: within each, keys are in order of age.
                found = cursor.set_range(_AGE.pack(namespace, kind, 2**64 - 1, b"\xff" * 16))
        for namespace, key in old:
            self.forget(txn, namespace, key)
        for tag, mark in list(txn.cursor(db=self.marks)):
            if _TIME.unpack(mark)[0] < before:
                txn.delete(tag, db=self.marks)

    def clear(self) -> None:
        with self.env.begin(write=True) as txn:
            secret = txn.get(_SECRET, db=self.notes)
            for table in (self.records, self.ages, self.marks, self.notes):
                txn.drop(table, delete=False)
            if secret is not None:
                txn.put(_SECRET, secret, db=self.notes)

    def _count(self, txn: Any, name: bytes) -> int:
        found = txn.get(name, db=self.notes)
        return 0 if found is None else int(_COUNT.unpack(found)[0])

    def _forget_oldest(self, txn: Any, namespace: bytes, kind: bytes) -> bool:
        cursor = txn.cursor(db=self.ages)
        if not cursor.set_range(namespace + kind) or not cursor.key().startswith(namespace + kind):
            return False
        return self.forget(txn, namespace, _AGE.unpack(cursor.key())[3])


def _hashed(tag: str) -> bytes:
    return hashlib.blake2b(tag.encode(), digest_size=16).digest()


def _age(namespace: bytes, key: bytes, record: Record) -> bytes:
    return _AGE.pack(namespace, _ALLOW if record.allow else _DENY, int(record.decided * 1e6), key)
