"""
What the supervisor and its workers have to report, gathered for the pages of the admin site.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from typing import TypeVar

from twisted.internet.defer import Deferred, succeed
from twisted.internet.threads import deferToThread
from twisted.logger import Logger

import suuupra_gateway
from suuupra_gateway import metrics
from suuupra_gateway.interfaces import IControl
from suuupra_gateway.tally import Sample, Snapshot

T = TypeVar("T")


class Threads:
    """Where slow work goes. Needs a running reactor's thread pool."""

    def run(self, work: Callable[[], T]) -> Deferred[T]:
        """Do ``work`` in a thread; it must share nothing with anybody."""
        return deferToThread(work)


class Inline(Threads):
    """The same without threads: for tests, and for tools that have no reactor."""

    def run(self, work: Callable[[], T]) -> Deferred[T]:
        return succeed(work())


class Report:
    """Asks the supervisor and its workers. Lives as long as the admin site."""

    log = Logger()

    __slots__ = ("_control", "_threads", "_shared")

    def __init__(self, control: IControl, threads: Threads) -> None:
        self._control = control
        self._threads = threads
        self._shared: dict[object, list[Deferred[object]]] = {}

    async def over_snapshot(self, key: object, work: Callable[[Snapshot], T]) -> T:
        """
        ``work`` on the merged snapshot of all workers and of the supervisor itself, in a thread.

        While one such work goes on, whoever asks for the same ``key`` waits for its result: impatient scrapers do not pile up.
        """
        waiting: Deferred[T] = Deferred()
        queue = self._shared.get(key)
        if queue is not None:
            queue.append(waiting)  # type: ignore[arg-type]  # same key, same work, same type
            return await waiting
        self._shared[key] = [waiting]  # type: ignore[list-item]

        def share(result: object) -> None:
            for each in self._shared.pop(key):
                if not each.called:  # cancelled: that client left
                    each.callback(result)

        Deferred.fromCoroutine(self._work(work)).addBoth(share)
        return await waiting

    async def _work(self, work: Callable[[Snapshot], T]) -> T:
        encoded = await self._control.snapshots()
        own = self.own_samples()

        def merge() -> T:
            return work(merge_all(encoded, own))

        return await self._threads.run(merge)

    def own_samples(self) -> list[Sample]:
        """What the supervisor itself has to say."""
        plan = self._control.plan()
        reload = plan.get("last_reload")
        failed = isinstance(reload, dict) and not reload.get("successful", True)
        workers = self._control.workers()
        samples = [
            Sample(metrics.BUILD.name, (("version", suuupra_gateway.__version__),), 1),
            Sample(metrics.GENERATION.name, (), _number(plan.get("generation"))),
            Sample(metrics.RELOADED.name, (), 0.0 if failed else 1.0),
            Sample(metrics.RELOADED_AT.name, (), _number(plan.get("since"))),
        ]
        states = Counter(str(worker.get("state")) for worker in workers)
        samples += [Sample(metrics.WORKERS.name, (("state", state),), count) for state, count in states.items()]
        restarts: dict[str, float] = {}
        for worker in workers:
            slot = str(worker.get("slot"))
            restarts[slot] = max(restarts.get(slot, 0.0), _number(worker.get("restarts")))
        samples += [Sample(metrics.RESTARTS.name, (("worker", slot),), count) for slot, count in restarts.items()]
        return samples


def merge_all(encoded: Iterable[bytes], own: list[Sample]) -> Snapshot:
    """One snapshot out of many. One that cannot be read (a worker of another release) is left out and counted."""
    whole = Snapshot()
    unreadable = 0
    for data in encoded:
        try:
            whole.merge(Snapshot.decode(data))
        except ValueError:
            unreadable += 1
    whole.merge(Snapshot(samples=[*own, Sample(metrics.BROKEN_SOURCES.name, (), unreadable)]))
    return whole


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) else 0.0
