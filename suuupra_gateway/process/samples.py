"""
What a worker publishes beside its tally of exchanges: connections, pools, the loop's lag, the process itself.
"""

from __future__ import annotations

import os
import resource
from collections.abc import Callable, Iterable, Iterator

from twisted.internet.interfaces import IDelayedCall, IReactorTime

from suuupra_gateway import metrics
from suuupra_gateway.http.client import BUSY
from suuupra_gateway.http.site import GatewaySite
from suuupra_gateway.tally import Sample
from suuupra_gateway.upstreams.upstream import Upstream

_PAGE = os.sysconf("SC_PAGE_SIZE")


class LoopLag:
    """
    How late timers are: the sign of a saturated event loop.

    One timer, every ``interval`` seconds. Lives as long as its worker.
    """

    __slots__ = ("_reactor", "_interval", "_due", "_call", "_worst", "last")

    last: float
    """Seconds by which the last timer was late."""

    def __init__(self, reactor: IReactorTime, *, interval: float = 0.1) -> None:
        self._reactor = reactor
        self._interval = interval
        self._worst = 0.0
        self._call: IDelayedCall | None = None
        self.last = 0.0

    def start(self) -> None:
        """Begin to measure."""
        self._due = self._reactor.seconds() + self._interval
        self._call = self._reactor.callLater(self._interval, self._tick)

    def stop(self) -> None:
        """Measure no more. Idempotent."""
        if self._call is not None:
            self._call.cancel()
            self._call = None

    def take(self) -> float:
        """The longest lag since the last call, in seconds."""
        worst, self._worst = self._worst, 0.0
        return worst

    def _tick(self) -> None:
        now = self._reactor.seconds()
        self.last = max(0.0, now - self._due)
        self._worst = max(self._worst, self.last)
        self._due = now + self._interval
        self._call = self._reactor.callLater(self._interval, self._tick)


def of_site(name: str, site: GatewaySite) -> Iterator[Sample]:
    """One listener of one worker."""
    labels = (("listener", name),)
    counters = site.counters
    yield Sample(metrics.CONNECTIONS.name, labels, len(site.channels))
    yield Sample(metrics.IN_FLIGHT.name, labels, sum(channel.exchange is not None for channel in site.channels))
    yield Sample(metrics.IN_FLIGHT.name, labels, sum(channel.phase == BUSY for channel in site.channels))
    yield Sample(metrics.ACCEPTED.name, labels, counters.accepted)
    yield Sample(metrics.REFUSED.name, labels, counters.refused)
    yield Sample(metrics.BAD_REQUESTS.name, labels, counters.bad_requests)
    yield Sample(metrics.DROPPED_HEADERS.name, labels, counters.dropped_headers)


def of_upstream(upstream: Upstream) -> Iterator[Sample]:
    """The peers of one upstream together."""
    labels = (("service", upstream.name),)
    pools = [peer.pool for peer in upstream.peers]
    idle = sum(len(pool.idle) for pool in pools)
    yield Sample(metrics.ENDPOINTS.name, (*labels, ("state", "active")), len(pools))
    yield Sample(metrics.POOL.name, (*labels, ("state", "active")), sum(pool.open for pool in pools) - idle)
    yield Sample(metrics.POOL.name, (*labels, ("state", "idle")), idle)
    yield Sample(metrics.POOL_WAITING.name, labels, sum(pool.waiting for pool in pools))
    yield Sample(metrics.CONNECTS.name, labels, sum(pool.connects for pool in pools))
    yield Sample(metrics.CONNECT_FAILURES.name, labels, sum(pool.connect_failures for pool in pools))
    yield Sample(metrics.REUSES.name, labels, sum(pool.reuses for pool in pools))


def of_process(slot: int, lag: LoopLag) -> Callable[[], Iterable[Sample]]:
    """A source of samples for the worker as a process."""
    labels = (("worker", str(slot)),)

    def samples() -> Iterator[Sample]:
        usage = resource.getrusage(resource.RUSAGE_SELF)
        yield Sample(metrics.LOOP_LAG.name, labels, lag.take())
        yield Sample(metrics.CPU.name, labels, usage.ru_utime + usage.ru_stime)
        with open("/proc/self/statm", encoding="ascii") as file:
            yield Sample(metrics.RESIDENT.name, labels, int(file.read().split()[1]) * _PAGE)
        yield Sample(metrics.OPEN_FILES.name, labels, len(os.listdir("/proc/self/fd")))

    return samples
