"""
A store of API keys in memory, that can be away, and that can take its time.

Held to what `tests.contract.test_keystore` asks of the real ones.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TypeVar

from twisted.internet.defer import Deferred, execute

from suuupra_gateway.auth.keystore import AUDITED, USAGES, AuditEntry, KeyRecord, Usage
from suuupra_gateway.net.redis_errors import StoreUnavailable

T = TypeVar("T")


class MemoryKeyStore:
    """See `IKeyStore`."""

    def __init__(self) -> None:
        self.records: dict[str, KeyRecord] = {}
        self.last: dict[str, float] = {}
        self.usages: dict[str, dict[tuple[str, str], Usage]] = {}
        self.entries: list[AuditEntry] = []
        self.revoked: dict[str, float] = {}
        self.away = False
        """Whether it cannot be reached."""

        self.slow = False
        """Whether answers wait in `waiting` until `answer`."""

        self.waiting: list[tuple[Deferred[object], Callable[[], object]]] = []
        self.asked: list[str] = []
        """What it was asked, by name of the method."""

    def answer(self) -> None:
        """Give what was asked for while it was slow: as things are now."""
        waiting, self.waiting = self.waiting, []
        for deferred, work in waiting:
            execute(self._work, work).chainDeferred(deferred)

    def _work(self, work: Callable[[], T]) -> T:
        if self.away:
            raise StoreUnavailable("it is away")
        return work()

    def _do(self, name: str, work: Callable[[], T]) -> Deferred[T]:
        self.asked.append(name)
        if not self.slow:
            return execute(self._work, work)
        deferred: Deferred[T] = Deferred()
        self.waiting.append((deferred, work))  # type: ignore[arg-type]  # what comes in is what goes out
        return deferred

    def get(self, id: str) -> Deferred[KeyRecord | None]:
        return self._do("get", lambda: self.records.get(id))

    def put(self, record: KeyRecord, expected: KeyRecord | None, entry: AuditEntry) -> Deferred[bool]:
        def work() -> bool:
            if self.records.get(record.id) != expected:
                return False
            self.records[record.id] = record
            self.entries = [entry, *self.entries][:AUDITED]
            return True

        return self._do("put", work)

    def all(self) -> Deferred[list[KeyRecord]]:
        return self._do("all", lambda: sorted(self.records.values(), key=lambda record: (record.created_at, record.id)))

    def touch(self, id: str, at: float, client: str, agent: str) -> Deferred[None]:
        def work() -> None:
            self.last[id] = max(at, self.last.get(id, at))
            usages = self.usages.setdefault(id, {})
            known = usages.get((client, agent), Usage(client, agent, at, at, 0))
            if known.count or len(usages) < USAGES:
                usages[client, agent] = Usage(client, agent, known.first, max(at, known.last), known.count + 1)

        return self._do("touch", work)

    def used(self, ids: Iterable[str]) -> Deferred[Mapping[str, float]]:
        wanted = tuple(ids)
        return self._do("used", lambda: {id: self.last[id] for id in wanted if id in self.last})

    def usage(self, id: str) -> Deferred[list[Usage]]:
        def work() -> list[Usage]:
            return sorted(self.usages.get(id, {}).values(), key=lambda usage: usage.last, reverse=True)

        return self._do("usage", work)

    def audit(self, limit: int) -> Deferred[list[AuditEntry]]:
        return self._do("audit", lambda: self.entries[:limit])

    def revoke(self, tags: Iterable[str], at: float) -> Deferred[None]:
        named = tuple(tags)
        return self._do("revoke", lambda: self.revoked.update(dict.fromkeys(named, at)))

    def revocations(self, since: float) -> Deferred[Mapping[str, float]]:
        return self._do("revocations", lambda: {tag: at for tag, at in self.revoked.items() if at >= since})

    def close(self) -> Deferred[None]:
        return execute(lambda: None)
