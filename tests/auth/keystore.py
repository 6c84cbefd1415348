"""
The store of API keys that forgets, in other people's hands: it can be away and slow, and shows what it holds.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred

from suuupra_gateway.auth.keystore import AuditEntry, KeyRecord, Usage
from tests import keystores


class MemoryKeyStore(keystores.MemoryKeyStore):
    """See `tests.keystores`."""

    def __init__(self) -> None:
        super().__init__()
        self.slow = False
        """Whether answers wait for `answer`."""

        self.questions: list[str] = []
        """Names of the methods that were called."""

        self._waiting: list[tuple[Deferred[Any], Callable[[], Any]]] = []

    def _reply(self, work: Callable[[], Any]) -> Deferred[Any]:
        self.questions.append(work.__qualname__.split(".")[1])
        if not self.slow:
            return super()._reply(work)
        waiting: Deferred[Any] = Deferred()
        self._waiting.append((waiting, work))
        return waiting

    def answer(self) -> None:
        """Give what was asked for while it was slow, as things are now."""
        waiting, self._waiting = self._waiting, []
        for deferred, work in waiting:
            super()._reply(work).chainDeferred(deferred)

    def forget_revocations(self) -> None:
        """As if it were a day later."""
        self._revoked.clear()

    @property
    def records(self) -> dict[str, KeyRecord]:
        return self._records

    @records.setter
    def records(self, records: dict[str, KeyRecord]) -> None:
        self._records = records

    @property
    def revoked(self) -> dict[str, float]:
        return self._revoked

    @property
    def last(self) -> dict[str, float]:
        return self._used

    @property
    def usages(self) -> dict[str, dict[tuple[str, str], Usage]]:
        return self._usage

    @property
    def entries(self) -> list[AuditEntry]:
        return self._audit
