"""
A store of API keys that forgets: for tests of what stands on one. Held to the same contract as the real ones.
"""

from __future__ import annotations

from twisted.internet.defer import Deferred, fail, succeed

from suuupra_gateway.auth import keystore
from suuupra_gateway.auth.keystore import Usage
from suuupra_gateway.net.redis_errors import StoreUnavailable


class MemoryKeyStore:
    """See `IKeyStore`. ``broken`` makes everything fail."""

    def __init__(self) -> None:
        self.broken = False
        self.asked = 0
        """How often anything was asked."""

        self._records: dict = {}
        self._used: dict = {}
        self._usage: dict = {}
        self._audit: list = []
        self._revoked: dict = {}

    def _reply(self, work) -> Deferred:
        self.asked += 1
        return fail(StoreUnavailable("it is broken")) if self.broken else succeed(work())

    def get(self, id):
        return self._reply(lambda: self._records.get(id))

    def put(self, record, expected, entry):
        def work():
            if self._records.get(record.id) != expected:
                return False
            self._records[record.id] = record
            self._audit.insert(0, entry)
            del self._audit[keystore.AUDITED :]
            return True

        return self._reply(work)

    def all(self):
        return self._reply(lambda: sorted(self._records.values(), key=lambda record: (record.created_at, record.id)))

    def touch(self, id, at, client, agent):
        def work():
            self._used[id] = max(at, self._used.get(id, 0.0))
            usage = self._usage.setdefault(id, {})
            known = usage.get((client, agent))
            if known is None:
                if len(usage) >= keystore.USAGES:
                    del usage[min(usage, key=lambda who: usage[who].last)]
                known = Usage(client, agent, at, at, 0)
            usage[client, agent] = Usage(client, agent, known.first, max(known.last, at), known.count + 1)

        return self._reply(work)

    def used(self, ids):
        return self._reply(lambda: {id: self._used[id] for id in ids if id in self._used})

    def usage(self, id):
        return self._reply(lambda: sorted(self._usage.get(id, {}).values(), key=lambda each: -each.last))

    def audit(self, limit):
        return self._reply(lambda: self._audit[:limit])

    def revoke(self, tags, at):
        def work():
            for tag in tags:
                self._revoked[tag] = max(at, self._revoked.get(tag, 0.0))
            for tag in [tag for tag, when in self._revoked.items() if when < at - 86400]:
                del self._revoked[tag]

        return self._reply(work)

    def revocations(self, since):
        return self._reply(lambda: {tag: at for tag, at in self._revoked.items() if at >= since})

    def close(self):
        return succeed(None)
