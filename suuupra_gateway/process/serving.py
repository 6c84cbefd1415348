"""
The data half of the gateway: everything that touches requests, put together for one process.

Used in this order: `Serving.prepare` and `commit` for the first plan, which open the listeners; the same for each further
plan; at last `drain`.
"""

from __future__ import annotations

import os
import resource
import socket
import sys
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from typing import Any

import attrs
import msgspec
from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.interfaces import IDelayedCall, IListeningPort, IProtocolFactory
from twisted.internet.task import deferLater
from twisted.logger import Logger

from suuupra_gateway import identity
from suuupra_gateway.config.decode import ConfigErrors, decoding
from suuupra_gateway.config.model import ListenerSpec, UpstreamSpec
from suuupra_gateway.config.source import Document
from suuupra_gateway.filters.catalog import known
from suuupra_gateway.http.site import GatewaySite
from suuupra_gateway.interfaces import Board, IExchange
from suuupra_gateway.logs import AccessLog
from suuupra_gateway.net import endpoints
from suuupra_gateway.net.networks import Networks
from suuupra_gateway.net.proxyproto import ProxyProtocolFactory
from suuupra_gateway.net.sweep import Sweep
from suuupra_gateway.plan import Plan, compiling
from suuupra_gateway.process import samples
from suuupra_gateway.process.control import CannotServe, PlanRefused
from suuupra_gateway.process.generation import remove_orphan
from suuupra_gateway.process.slices import sliced
from suuupra_gateway.residents import Residents
from suuupra_gateway.routing.resource import GatewayResource
from suuupra_gateway.tally import Sample, Tally
from suuupra_gateway.trace import running_tests
from suuupra_gateway.upstreams.upstream import Upstream

LATECOMERS = 0.05
"""Seconds for connections that had been accepted when the listeners closed to show up."""


@attrs.frozen(eq=False)
class Sockets:
    """The listening sockets of one listener that this process has inherited; see `sockets.BoundListener`."""

    shared: tuple[socket.socket, ...] = ()
    slots: tuple[socket.socket, ...] = ()

    def close(self) -> None:
        """Give up this process's hold on them."""
        for sock in self.shared + self.slots:
            sock.close()


class Serving:
    """
    Serves by one plan at a time. Lives from the start of a worker until it has drained.

    States: *idle* until the first `commit`, *serving*, *draining* after `drain`, and over when ``left`` was called.
    """

    log = Logger()

    def __init__(
        self,
        reactor: Any,
        slot: int,
        sockets: Mapping[str, Sockets],
        memory: int,
        left: Callable[[int], object],
        board: Board,
    ) -> None:
        """
        :param reactor: the process's own; what is made of it here needs all of its interfaces.
        :param sockets: by name of the listener; owned from now on.
        :param memory: descriptor of the shared memory for the tally.
        :param left: called when everything has ended after `drain`, with the length of the last tally.
        :param board: what the supervisor knows.
        """
        self._reactor = reactor
        self._slot = slot
        self._sockets = sockets
        self._memory = memory
        self._left = left
        self._sweep = Sweep(reactor)
        self._residents = Residents()
        self._residents.register(UpstreamSpec, self._upstream)
        identity.register(
            self._residents,
            reactor=reactor,
            sweep=self._sweep,
            board=board,
            run_dir=lambda: os.path.dirname(self._path),
        )
        self._resource = GatewayResource()
        self._path = ""
        self._plan: Plan | None = None
        self._prepared: Plan | None = None
        self._access: AccessLog | None = None
        self._tally = Tally()
        self._sites: dict[str, GatewaySite] = {}
        self._factories: dict[str, IProtocolFactory] = {}
        self._ports: dict[int | None, list[IListeningPort]] = {}
        """By slot; None for those of shared sockets."""
        self._lag = samples.LoopLag(reactor)
        self._doom: IDelayedCall | None = None
        self._draining = False
        self._tally.sources += [samples.of_process(slot, self._lag), self._samples, self._residents.samples]

    # -- plans --------------------------------------------------------------------------------------------------------

    async def prepare(self, generation: int, digest: str, path: str) -> None:
        """
        Compile and test the plan whose document lies at ``path``, in slices.

        :raises PlanRefused: with everything that is wrong with it.
        """
        self.discard()
        self._path = path
        try:
            tree = _read(path)
            document = Document.from_tree(tree)
            kinds = known(document)
            config = await sliced(self._reactor, decoding(document, kinds))
            steps = compiling(
                config,
                self._residents,
                kinds=kinds,
                reactor=self._reactor,
                sweep=self._sweep,
                generation=generation,
                digest=digest,
            )
            plan = await sliced(self._reactor, steps)
            failures = await sliced(self._reactor, running_tests(plan))
            await sliced(self._reactor, _letting_go(tree.pop("routes", [])))
        except (ConfigErrors, OSError, msgspec.DecodeError) as reason:
            raise PlanRefused(str(reason)) from reason
        except Exception as reason:
            self.log.failure("Generation {generation} cannot be compiled", generation=generation)
            raise PlanRefused(f"{type(reason).__name__}: {reason}") from reason
        if failures:
            raise PlanRefused("\n".join(map(str, failures)))
        self._prepared = plan

    def commit(self, generation: int) -> None:
        """
        Serve by the plan that was prepared; the first time, begin to accept connections.

        :raises PlanRefused: if it is not the one that was prepared.
        :raises CannotServe: if a listener or the access log cannot be opened.
        """
        plan = self._prepared
        if plan is None or plan.generation != generation:
            raise PlanRefused(f"generation {generation} has not been prepared")
        self._prepared = None
        first = self._plan is None
        old, self._plan = self._plan, plan
        self._resource.plan = plan
        self._residents.settle(plan.claims)
        self._let_go(old)
        if first:
            self._open(plan)
        if self._access is not None:
            self._access.generation = generation

    def discard(self) -> None:
        """Forget the plan that was prepared, if any."""
        if self._prepared is not None:
            unused, self._prepared = self._prepared, None
            if self._plan is not None:
                self._residents.settle(self._plan.claims)
            self._let_go(unused)

    def _let_go(self, plan: Plan | None) -> None:
        """Free ``plan`` in slices: ten thousand routes at once would stop requests for a third of a second."""
        if plan is not None:
            pieces: list[object] = [*plan.config.routes, *plan.routes.values()]
            sliced(self._reactor, _letting_go(pieces))

    # -- listeners ----------------------------------------------------------------------------------------------------

    def adopt(self, slot: int) -> None:
        """
        Accept on the sockets of ``slot`` too.

        :raises CannotServe: if that is not possible.
        """
        if self._draining or slot in self._ports:
            return
        self._ports[slot] = []
        for name, sockets in self._sockets.items():
            for sock in sockets.slots[slot : slot + 1]:
                self._listen(name, sock, slot)

    def release(self, slot: int) -> None:
        """Accept on the sockets of ``slot`` no longer."""
        if slot != self._slot:
            for port in self._ports.pop(slot, ()):
                port.stopListening()

    def _open(self, plan: Plan) -> None:
        config = plan.config
        try:
            self._access = AccessLog(config.access_log, self._reactor, worker=self._slot)
        except OSError as reason:
            raise CannotServe(f"access log {config.access_log.path}: {reason}") from reason
        self._tally.sources.append(self._access.samples)
        self._sweep.start()
        self._lag.start()
        trusted = Networks(config.gateway.trusted_proxies)
        room = self._room(config.listeners)
        for listener in config.listeners:
            site = self._sites[listener.name] = GatewaySite(
                self._resource,
                listener=listener,
                process=config.gateway,
                sweep=self._sweep,
                settled=self._settled(listener),
            )
            site.noisy = False
            site.most_connections = min(site.most_connections, room)
            self._factories[listener.name] = (
                ProxyProtocolFactory(site, trusted, sweep=self._sweep) if listener.proxy_protocol else site
            )
        self._ports[None] = []
        for name in self._sites:
            for sock in self._sockets[name].shared:
                self._listen(name, sock, None)
        self.adopt(self._slot)

    def _room(self, listeners: Sequence[ListenerSpec]) -> int:
        """Connections per listener that leave a quarter of our descriptors to upstreams: who only connects must not take all."""
        files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        if files == resource.RLIM_INFINITY:
            return sys.maxsize
        room = max(1, files * 3 // 4 // len(listeners))
        if any(room < listener.limits.connections for listener in listeners):
            self.log.warn("{files} open files allow {room} connections per listener", files=files, room=room)
        return room

    def _settled(self, listener: ListenerSpec) -> Callable[[IExchange], None]:
        record, access, name = self._tally.record, self._access, listener.name
        if access is None or not access.enabled:
            return record
        write = access.record

        def settled(exchange: IExchange) -> None:
            record(exchange)
            write(exchange, name)

        return settled

    def _listen(self, name: str, sock: socket.socket, slot: int | None) -> None:
        try:
            port = endpoints.listen(
                self._reactor, sock.dup(), self._factories[name], backlog=self._sites[name].listener.backlog
            )
        except OSError as reason:
            raise CannotServe(f"listener {name}: {reason}") from reason
        self._ports[slot].append(port)

    # -- the end ------------------------------------------------------------------------------------------------------

    def drain(self, grace: float) -> None:
        """Accept nothing new, finish within ``grace`` seconds, and leave. Again with less to hurry."""
        doom = self._doom
        if doom is not None and doom.active() and grace < doom.getTime() - self._reactor.seconds():
            doom.reset(grace)
        if not self._draining:
            self._draining = True
            self._doom = self._reactor.callLater(grace, self._cut)
            Deferred.fromCoroutine(self._leave()).addErrback(
                lambda failure: self.log.failure("Draining failed", failure)
            ).addBoth(lambda _: self._left(self.write_tally()))

    def orphaned(self) -> None:
        """The supervisor is gone. Unless we are leaving already it did not mean to: clear up behind it, and drain."""
        if not self._draining:
            remove_orphan(self._path)
        self.drain(self.grace)

    async def _leave(self) -> None:
        ports = [port for ports in self._ports.values() for port in ports]
        self._ports.clear()
        await DeferredList([Deferred.fromCoroutine(_stop(port)) for port in ports], consumeErrors=True)
        for sockets in self._sockets.values():
            sockets.close()
        # The loop tells of a connection one turn after it was accepted: none of those may meet closed upstreams.
        await deferLater(self._reactor, LATECOMERS)
        await DeferredList([site.drain() for site in self._sites.values()], consumeErrors=True)
        if self._doom is not None and self._doom.active():
            self._doom.cancel()
        await self._residents.close()
        self._lag.stop()
        self._sweep.stop()
        if self._access is not None:
            self._access.close()

    def _cut(self) -> None:
        for site in self._sites.values():
            site.abort_all()

    # -- what is asked in between -------------------------------------------------------------------------------------

    @property
    def generation(self) -> int:
        """Of the plan in force; 0 for none."""
        return self._plan.generation if self._plan is not None else 0

    @property
    def grace(self) -> float:
        """Seconds to drain when nobody says how many."""
        return float(self._plan.config.gateway.drain) if self._plan is not None else 0.0

    @property
    def connections(self) -> int:
        """Open connections of clients."""
        return sum(len(site.channels) for site in self._sites.values())

    @property
    def lag(self) -> float:
        """Seconds by which the loop's last timer was late."""
        return self._lag.last

    def reopen(self) -> None:
        """Open the access log anew."""
        if self._access is not None:
            self._access.reopen()

    def write_tally(self) -> int:
        """Put all that was counted into the shared memory; its length."""
        encoded = self._tally.snapshot().encode()
        os.pwrite(self._memory, encoded, 0)
        return len(encoded)

    def _samples(self) -> Iterator[Sample]:
        for name, site in self._sites.items():
            yield from samples.of_site(name, site)
        if self._plan is not None:
            for upstream in self._plan.upstreams.values():
                yield from samples.of_upstream(upstream)

    def _upstream(self, spec: UpstreamSpec) -> Upstream:
        return Upstream(spec, self._reactor, self._sweep)


def _letting_go(pieces: list[object]) -> Generator[None, None, None]:
    while pieces:
        pieces.pop()
        yield


def _read(path: str) -> dict[str, Any]:
    # Local, written a moment ago, and memory by nature (/run): as quick as any other step.
    with open(path, "rb") as file:
        return msgspec.json.decode(file.read(), type=dict[str, Any])


async def _stop(port: IListeningPort) -> None:
    stopped = port.stopListening()
    if stopped is not None:
        await stopped
