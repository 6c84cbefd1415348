"""
One listener's HTTP: a Twisted Web site that gives each connection a lean channel.
"""

from __future__ import annotations

from collections.abc import Callable
from random import getrandbits
from time import time
from typing import cast

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IAddress, IReactorTime
from twisted.web.resource import IResource
from twisted.web.server import Site

from suuupra_gateway.config.model import ListenerSpec, ProcessSpec
from suuupra_gateway.config.names import OwnedNames
from suuupra_gateway.http.channel import EdgeChannel
from suuupra_gateway.http.counters import EdgeCounters
from suuupra_gateway.http.local import proxy_status
from suuupra_gateway.http.rules import HeadRules
from suuupra_gateway.interfaces import IExchange
from suuupra_gateway.net.networks import Networks
from suuupra_gateway.net.sweep import Sweep


def ignore(exchange: IExchange) -> None:
    """Nobody wants to know."""


class GatewaySite(Site):
    """
    Serves a resource to the clients of one listener. Lives as long as its worker.

    The root resource is asked to ``render`` each exchange itself, as one with ``isLeaf`` is: no traversal. What it gets is an
    `Exchange`, not an ``IRequest``.
    """

    channels: set[EdgeChannel]
    """Open connections."""

    counters: EdgeCounters

    draining: bool
    """Whether answers say that they are the last ones of their connections."""

    settled: Callable[[IExchange], None]
    """Called once per exchange, after its done-hooks, those included that were refused before they had a route."""

    rules: HeadRules
    """What is asked of heads."""

    trusting_rules: HeadRules
    """The same for those of proxies that we trust."""

    most_connections: int
    """Open connections at most; lower than the listener's limit where the process may not open so many files."""

    def __init__(
        self,
        resource: IResource,
        *,
        listener: ListenerSpec,
        process: ProcessSpec,
        sweep: Sweep,
        settled: Callable[[IExchange], None] = ignore,
    ) -> None:
        # HTTPFactory would import the global reactor; it uses it for log times only, in what is overridden below.
        super().__init__(resource, reactor=cast(IReactorTime, sweep))  # type: ignore[no-untyped-call]
        self.listener = listener
        self.limits = listener.limits
        self.timeouts = listener.timeouts
        self.idle = float(listener.timeouts.idle)
        self.most_requests = listener.limits.requests
        self.most_connections = listener.limits.connections
        self.sweep = sweep
        self.settled = settled
        self.trusted = Networks(process.trusted_proxies)
        self.counters = EdgeCounters()
        owned = OwnedNames(process.identity_headers)
        self.rules, self.trusting_rules = [
            HeadRules(
                request_line=int(listener.limits.request_line),
                head=int(listener.limits.head),
                headers=listener.limits.headers,
                underscores=listener.underscores,
                merge_slashes=listener.merge_slashes,
                owned=owned,
                believes=believes,
                counters=self.counters,
            )
            for believes in (False, True)
        ]
        self.proxy_status = proxy_status(process.name)
        self.channels = set()
        self.draining = False
        self._empty: list[Deferred[None]] = []
        self._tick = -1.0
        self._prefix = b""
        self._serial = 0

    def startFactory(self) -> None:
        """Nothing to start: the access log is not Twisted's."""

    def stopFactory(self) -> None:
        """Nothing to stop."""

    def buildProtocol(self, addr: IAddress | None) -> EdgeChannel | None:  # type: ignore[override]  # no HTTPChannel
        """A channel, or None past the limit of connections."""
        if len(self.channels) >= self.most_connections:
            self.counters.refused += 1
            return None
        return EdgeChannel(self)

    def drain(self) -> Deferred[None]:
        """
        No keep-alive from now on; idle connections are closed.

        Those in use a moment ago, or fresh, may send one more request within a second: closing under it would lose it.

        :return: fires when the last connection is gone, which may be now.
        """
        self.draining = True
        for channel in list(self.channels):
            channel.leave()
        if not self.channels:
            return succeed(None)
        done: Deferred[None] = Deferred()
        self._empty.append(done)
        return done

    def abort_all(self) -> None:
        """Drop all connections and what goes on there."""
        for channel in list(self.channels):
            channel.abort()

    def next_id(self) -> bytes:
        """
        A new request id: a UUID version 7 in text form (RFC 9562 section 5.7).

        The time is that of the last tick of `Sweep`; ids of one tick count up from a random number (section 6.2, method 2).
        """
        if self._tick != self.sweep.now:
            self._tick = self.sweep.now
            now = int(time() * 1000)
            self._prefix = b"%08x-%04x-7%03x-%04x-" % (
                now >> 16,
                now & 0xFFFF,
                getrandbits(12),
                0x8000 | getrandbits(14),
            )
            self._serial = getrandbits(47)
        self._serial = serial = self._serial + 1
        return b"%b%012x" % (self._prefix, serial)

    # -- called by channels -----------------------------------------------------------------------------------------

    def opened(self, channel: EdgeChannel) -> None:
        """A connection is there."""
        self.counters.accepted += 1
        self.channels.add(channel)
        self.sweep.watch(channel)
        if self.draining:
            channel.leave()

    def closed(self, channel: EdgeChannel) -> None:
        """A connection is gone, or belongs to somebody else now."""
        self.channels.discard(channel)
        self.sweep.unwatch(channel)
        if not self.channels and self._empty:
            waiting, self._empty = self._empty, []
            for done in waiting:
                done.callback(None)
