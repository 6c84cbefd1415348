"""
The connections to one peer: idle ones newest first, a cap on all, and a bounded queue for those who have to wait.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from twisted.internet.defer import CancelledError, Deferred, fail
from twisted.python.failure import Failure

from suuupra_gateway.errors import NoPeer, PoolFull
from suuupra_gateway.http.connection import UpstreamConnection

if TYPE_CHECKING:
    from suuupra_gateway.config.model import PoolSpec
    from suuupra_gateway.net.sweep import Sweep


class Pool:
    """
    Lives as long as its peer, then until its last connection is closed.

    Newest first, so that the others grow old and a burst leaves nothing behind.
    """

    __slots__ = (
        "idle",
        "open",
        "connects",
        "connect_failures",
        "reuses",
        "interim",
        "_connect",
        "_sweep",
        "_waiting",
        "_closed",
        "_emptied",
        "_most",
        "_most_idle",
        "_most_waiting",
        "_most_requests",
        "_idle_timeout",
        "_pool_timeout",
    )

    idle: list[UpstreamConnection]
    """Connections that nobody uses, the newest last."""

    open: int
    """All connections, those that are being made included."""

    connects: int
    connect_failures: int

    reuses: int
    """How often an idle connection was taken."""

    interim: int
    """1xx answers seen on connections that are gone."""

    def __init__(
        self,
        connect: Callable[[Pool], Deferred[UpstreamConnection]],
        spec: PoolSpec,
        pool_timeout: float,
        sweep: Sweep,
    ) -> None:
        """
        :param connect: makes a connection; its Deferred can be cancelled and fails with a `GatewayError`.
        :param pool_timeout: seconds that somebody waits at most while all connections are in use.
        """
        self.idle = []
        self.open = 0
        self.connects = self.connect_failures = self.reuses = self.interim = 0
        self._connect = connect
        self._sweep = sweep
        self._waiting: deque[_Waiter] = deque()
        self._closed = False
        self._emptied: Deferred[None] | None = None
        self._most = spec.connections
        self._most_idle = spec.idle
        self._most_waiting = spec.waiting
        self._most_requests = spec.requests
        self._idle_timeout = float(spec.idle_timeout)
        self._pool_timeout = pool_timeout

    @property
    def waiting(self) -> int:
        """How many wait for a connection."""
        return len(self._waiting)

    def acquire(self, fresh: bool = False) -> UpstreamConnection | Deferred[UpstreamConnection]:
        """
        A connection for one request: at once if one is idle, else later.

        Errback: what connecting may fail with, or `PoolFull`. May be cancelled.

        :param fresh: rather make a new one: idle ones have just turned out to be stale.
        """
        if self.idle and not (fresh and self.open < self._most):
            self.reuses += 1
            return self.idle.pop()
        if self.open < self._most:
            return self._make()
        if len(self._waiting) >= self._most_waiting:
            return fail(PoolFull(f"{self._most} connections in use, {len(self._waiting)} requests waiting"))
        # Not `Sweep.now`, which is up to a tick old, and more on a busy machine: nobody is to be sent away too early.
        waiter = _Waiter(self, self._sweep.monotonic() + self._pool_timeout)
        self._waiting.append(waiter)
        self._sweep.watch(waiter)
        return waiter.deferred

    def release(self, connection: UpstreamConnection) -> None:
        """Take back a connection that can carry another request."""
        connection.reused = True
        if self._waiting and not self._closed and connection.requests < self._most_requests:
            self._next().deferred.callback(connection)
        elif (
            len(self.idle) < self._most_idle
            and connection.requests < self._most_requests
            and not self._closed
            and not connection.transport.disconnecting
        ):
            connection.deadline = self._sweep.now + self._idle_timeout
            self.idle.append(connection)
        else:
            connection.close()

    def discard(self, connection: UpstreamConnection) -> None:
        """An idle connection is not to be used again; its owner closes it."""
        if connection in self.idle:
            self.idle.remove(connection)

    def lost(self, connection: UpstreamConnection) -> None:
        """A connection is closed."""
        self.discard(connection)
        self.interim += connection.parser.interim
        self._gone()

    def close(self) -> Deferred[None] | None:
        """
        Keep no connection any more: idle ones are closed now, others after their exchange; whoever waits gets `NoPeer`.

        :return: fires when the last one is gone; None if none is left.
        """
        self._closed = True
        idle, self.idle = self.idle, []
        for connection in idle:
            connection.close()
        while self._waiting:
            self._next().deferred.errback(NoPeer("the endpoint was taken away"))
        if not self.open:
            return None
        if self._emptied is None:
            self._emptied = Deferred()
        return self._emptied

    def _make(self) -> Deferred[UpstreamConnection]:
        self.open += 1
        self.connects += 1
        return self._connect(self).addErrback(self._not_made)

    def _not_made(self, failure: Failure) -> Failure:
        if not failure.check(CancelledError):  # type: ignore[no-untyped-call]  # twisted is not typed here
            self.connect_failures += 1
        self._gone()
        return failure

    def _gone(self) -> None:
        self.open -= 1
        if self._waiting and not self._closed:
            waiter = self._next()
            waiter.making = self._make()
            waiter.making.addCallbacks(waiter.deferred.callback, waiter.deferred.errback)
        elif not self.open and self._emptied is not None:
            emptied, self._emptied = self._emptied, None
            emptied.callback(None)

    def _next(self) -> _Waiter:
        waiter = self._waiting.popleft()
        self._sweep.unwatch(waiter)
        return waiter

    def _leave(self, waiter: _Waiter) -> None:
        self._waiting.remove(waiter)
        self._sweep.unwatch(waiter)


class _Waiter:
    """Somebody's place in the queue, until a connection is there or being made for them."""

    __slots__ = ("deferred", "deadline", "making", "_pool")

    def __init__(self, pool: Pool, deadline: float) -> None:
        self.deferred: Deferred[UpstreamConnection] = Deferred(self._cancel)
        self.deadline = deadline
        self.making: Deferred[UpstreamConnection] | None = None
        self._pool = pool

    def _cancel(self, deferred: Deferred[UpstreamConnection]) -> None:
        if self.making is not None:
            self.making.cancel()  # its errback is ours
        else:
            self._pool._leave(self)

    def expired(self, now: float) -> None:
        """Nothing became free in time."""
        self._pool._leave(self)
        self.deferred.errback(PoolFull("all connections are in use and none became free in time"))
