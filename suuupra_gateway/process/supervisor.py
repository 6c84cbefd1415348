"""
The control process: binds, starts and watches workers, reloads, answers the admin listener. It never touches a request.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from types import FrameType
from typing import Any

import attrs
from twisted.application.service import Service
from twisted.internet.defer import Deferred, DeferredList, DeferredLock
from twisted.internet.interfaces import IDelayedCall, IListeningPort
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger
from zope.interface import implementer

import suuupra_gateway
from suuupra_gateway.admin.site import admin_site
from suuupra_gateway.config.decode import ConfigErrors
from suuupra_gateway.config.dump import dump
from suuupra_gateway.config.model import AdminSpec, GatewayConfig
from suuupra_gateway.interfaces import IControl
from suuupra_gateway.net.address import Address
from suuupra_gateway.process import launch
from suuupra_gateway.process.child import Child
from suuupra_gateway.process.control import PlanRefused
from suuupra_gateway.process.fleet import Fleet, RollFailed
from suuupra_gateway.process.notify import Notifier
from suuupra_gateway.process.reload import Generation, Loaded, PlanFiles, ReloadFailed, installed_release, load
from suuupra_gateway.process.sockets import (
    BoundListener,
    CannotListen,
    bind,
    bind_tcp,
    bind_unix,
    close_unused,
    passed,
    rebind,
)

POLL = 1.0
"""Seconds between two questions to each worker."""


@attrs.frozen
class Attempt:
    """How the last start or reload went."""

    at: float
    """UNIX time."""

    why: str = ""
    """Why it was refused; empty if it took effect."""


@implementer(IControl)
class Supervisor(Service):
    """
    The whole gateway as a Twisted service.

    `bind` may need privileges and comes first; workers start when the reactor runs. `stopService` drains.
    """

    log = Logger()

    def __init__(self, reactor: Any, path: str, loaded: Loaded) -> None:
        """
        :param reactor: the process's own; signals and processes come with it.
        :param path: of the configuration, read again at each reload.
        :param loaded: what `load` made of it.
        """
        self._reactor = reactor
        self._path = os.path.abspath(path)  # a daemon changes its directory
        self._loaded: Loaded = loaded
        self._notifier = Notifier()
        self._manager = passed({}, 0)
        self._bound: tuple[BoundListener, ...] = ()
        self._admin: BoundListener | None = None
        self._admin_port: IListeningPort | None = None
        self._lock = DeferredLock()
        self._numbers = 0
        self._release = suuupra_gateway.__version__
        self._attempt = Attempt(time.time())
        self._polling: IDelayedCall | None = None
        self._announced = False
        self._stopping = False
        self._fleet = Fleet(reactor, self._launch, lambda: self._current, self._fleet_changed)
        self._files: PlanFiles
        self._current: Generation

    # -- start --------------------------------------------------------------------------------------------------------

    def bind(self, environ: os._Environ[str] | dict[str, str]) -> None:
        """
        Open all listeners, or take them from the service manager.

        :raises CannotListen: and nothing stays open.
        """
        self._notifier = Notifier.of(environ, os.getpid())
        self._manager = passed(environ, os.getpid())
        config = self._loaded.config
        made: list[BoundListener] = []
        try:
            for listener in config.listeners:
                made.append(bind(listener, workers(config), self._manager))
            self._admin = bind_admin(config.admin)
        except CannotListen:
            for bound in made:
                bound.close()
            raise
        self._bound = tuple(made)
        for bound in made:
            self.log.info("Listener {name} on {where}", name=bound.name, where=bound.where())

    def startService(self) -> None:
        """Write the first plan and begin when the reactor runs."""
        super().startService()
        config = self._loaded.config
        self._files = PlanFiles(config.gateway.run_dir)
        self._current = self._generation(self._loaded, self._bound)
        self._files.keep([self._current.path])
        if self._admin is not None:
            self._serve_admin(config.admin)
        self._reactor.callWhenRunning(self._begin)

    def _begin(self) -> None:
        self._catch_signals()
        self._fleet.resize(slots(self._current.config))
        self._poll()

    def _launch(self, child: Child) -> None:
        start = launch.in_process if self._current.config.gateway.workers != 0 else launch.inside
        start(self._reactor, child, self._current.bound)

    def _generation(self, loaded: Loaded, bound: tuple[BoundListener, ...]) -> Generation:
        self._numbers += 1
        path = self._files.write(self._numbers, loaded.document)
        return Generation(self._numbers, loaded.document.digest, loaded.config, path, bound)

    def _serve_admin(self, spec: AdminSpec) -> None:
        assert self._admin is not None
        site = admin_site(self, spec)
        site.noisy = False
        sock = self._admin.sockets[0]
        self._admin_port = self._reactor.adoptStreamPort(sock.fileno(), sock.family, site)
        self.log.info("Admin on {where}", where=self._admin.where())

    # -- signals ------------------------------------------------------------------------------------------------------

    def _catch_signals(self) -> None:
        def on(number: signal.Signals, act: Callable[[], object]) -> None:
            signal.signal(number, lambda _, frame: self._reactor.callFromThread(act))

        on(signal.SIGHUP, lambda: self._reload_on_signal())
        on(signal.SIGUSR1, self._fleet.reopen)
        on(signal.SIGUSR2, lambda: self.replace("SIGUSR2").addErrback(self._told))
        for number in (signal.SIGTERM, signal.SIGINT):
            self._hurry_at_second(number)

    def _hurry_at_second(self, number: signal.Signals) -> None:
        first = signal.getsignal(number)  # the reactor's, which stops it

        def act(signum: int, frame: FrameType | None) -> None:
            if self._stopping:
                self._reactor.callFromThread(self._fleet.hurry)
            elif callable(first):
                first(signum, frame)

        signal.signal(number, act)

    def _reload_on_signal(self) -> None:
        if not self._lock.waiting:  # one that waits will read the file later than now
            self.reload("SIGHUP").addErrback(self._told)

    def _told(self, failure: Any) -> None:
        """The reason has been logged where it arose."""
        failure.trap(ConfigErrors, ReloadFailed)

    # -- reload -------------------------------------------------------------------------------------------------------

    def reload(self, reason: str) -> Deferred[None]:
        """Load the file again; errback `ConfigErrors` or `ReloadFailed`, and nothing has changed."""
        self.log.info("Reload: {reason}", reason=reason)
        return self._alone(self._renew, reason)

    def replace(self, reason: str) -> Deferred[None]:
        """Replace all workers, one after the other, by ones that run what is installed now; errback `ReloadFailed`."""
        self.log.info("Replacing all workers: {reason}", reason=reason)
        return self._alone(self._replace, reason)

    def _alone(self, change: Callable[[], Any], reason: str) -> Deferred[None]:
        """Run one change at a time; tell the service manager, the log and the admin site how it went."""

        async def run() -> None:
            if self._stopping:
                raise ReloadFailed("the gateway is stopping")
            self._notifier.reloading(f"reloading ({reason})")
            try:
                await change()
            except Exception as why:
                self._attempt = Attempt(time.time(), str(why) or type(why).__name__)
                if isinstance(why, (ConfigErrors, ReloadFailed)):
                    self.log.error(
                        "Refused, generation {generation} goes on: {why}", generation=self._current.number, why=str(why)
                    )
                    raise
                self.log.failure("Reload failed, generation {generation} goes on", generation=self._current.number)
                raise ReloadFailed(f"{type(why).__name__}: {why}") from why
            else:
                self._attempt = Attempt(time.time())
                self.log.info("Generation {generation} serves", generation=self._current.number)
            finally:
                if not self._stopping:
                    self._notifier.ready(self._status())

        result: Deferred[None] = self._lock.run(lambda: Deferred.fromCoroutine(run()))
        return result

    async def _replace(self) -> None:
        self._release = installed_release()
        try:
            await self._fleet.roll(slots(self._current.config))
        except RollFailed as why:
            raise ReloadFailed(str(why)) from why

    async def _renew(self) -> None:
        # In a thread: ten thousand routes take seconds, and pings must go on.
        loaded = await deferToThreadPool(self._reactor, self._reactor.getThreadPool(), load, self._path)
        before = self._current
        candidate = self._generation(loaded, before.bound)
        try:
            asked = await self._prepare(candidate)
            if before.rests_on(loaded.config) and installed_release() == self._release:
                self._current = candidate
                await self._commit(candidate, asked)
            else:
                await self._discard(candidate, asked)
                await self._roll_over(before, candidate)
            self._move_admin(before.config.admin, loaded.config.admin)
        except CannotListen as why:
            raise ReloadFailed(str(why)) from why
        finally:
            self._files.keep([self._current.path])

    async def _prepare(self, candidate: Generation) -> list[Child]:
        """Let everybody who serves prepare; those who can. :raises ReloadFailed: if one refused."""
        asked = self._fleet.ready()
        answers = await DeferredList([child.prepare(candidate) for child in asked], consumeErrors=True)
        able = [child for child, (took, _) in zip(asked, answers, strict=True) if took]
        refusals = []
        for child, (took, answer) in zip(asked, answers, strict=True):
            if took:
                continue
            if answer.check(PlanRefused):  # type: ignore[attr-defined]
                refusals.append(f"worker {child.slot}: {answer.getErrorMessage()}")  # type: ignore[attr-defined]
            else:
                child.kill()  # it hangs or is gone; its successor will take what is in force then
        if refusals:
            await self._discard(candidate, able)
            raise ReloadFailed("\n".join(sorted(refusals)))
        return able

    async def _discard(self, candidate: Generation, asked: list[Child]) -> None:
        await DeferredList([child.discard(candidate.number) for child in asked], consumeErrors=True)

    async def _commit(self, candidate: Generation, asked: list[Child]) -> None:
        """All prepared it, so all take it; who cannot any more, or came up in between, is replaced or catches up."""

        async def take(child: Child) -> None:
            try:
                if child not in asked:
                    await child.prepare(candidate)
                await child.commit(candidate.number)
            except Exception as why:
                self.log.error("Worker {slot} could not follow and is killed: {why}", slot=child.slot, why=str(why))
                child.kill()

        behind = [child for child in self._fleet.ready() if child.generation != candidate.number]
        await DeferredList([Deferred.fromCoroutine(take(child)) for child in behind])

    async def _roll_over(self, before: Generation, candidate: Generation) -> None:
        """Let new workers serve ``candidate`` with its own sockets, or all stays as before."""
        bound = rebind(before.bound, candidate.config.listeners, workers(candidate.config), self._manager)
        try:
            self._current = attrs.evolve(candidate, bound=bound)
            await self._fleet.roll(slots(candidate.config))
        except RollFailed as why:
            self._current = before
            if why.slot and not self._stopping:
                # Some had been replaced: bring back what the others still serve by.
                await self._fleet.roll(why.slot)
            close_unused(bound, before.bound)
            raise ReloadFailed(str(why)) from why
        self._release = installed_release()
        close_unused(before.bound, bound)

    def _move_admin(self, before: AdminSpec, after: AdminSpec) -> None:
        if before == after:
            return
        moved = self._admin if before.address == after.address else bind_admin(after)
        if self._admin_port is not None:
            self._admin_port.stopListening()
            self._admin_port = None
        if self._admin is not None and self._admin is not moved:
            self._admin.close()
        self._admin = moved
        if moved is not None:
            self._serve_admin(after)

    # -- watch --------------------------------------------------------------------------------------------------------

    def _poll(self) -> None:
        watchdog = self._notifier.watchdog
        interval = min(POLL, watchdog / 4) if watchdog else POLL
        if self._stopping:
            self._notifier.extend(5 * POLL)
            self._notifier.alive()
        elif self._fleet.all_answer(within=2 * interval):
            self._notifier.alive()
        self._fleet.poll()
        self._polling = self._reactor.callLater(interval, self._poll)

    def _fleet_changed(self) -> None:
        if self._stopping:
            return
        if not self._announced and len(self._fleet.ready()) >= slots(self._current.config):
            self._announced = True
            self._notifier.ready(self._status())
            self.log.info("Ready: {status}", status=self._status())
        else:
            self._notifier.status(self._status())

    def _status(self) -> str:
        text = f"{len(self._fleet.ready())} of {slots(self._current.config)} workers serve generation {self._current.number}"
        if self._attempt.why:
            text += f"; last reload refused: {self._attempt.why.splitlines()[0]}"
        return text

    # -- stop ---------------------------------------------------------------------------------------------------------

    def stopService(self) -> Deferred[None]:
        """Let all workers finish, within ``gateway.drain``; fires when they are gone."""
        super().stopService()
        self._stopping = True
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        grace = float(self._current.config.gateway.drain)
        self._notifier.stopping(f"draining, at most {grace:.0f} s")
        self.log.info("Draining, at most {grace:.0f} s", grace=grace)
        gone = Deferred.fromCoroutine(self._fleet.stop(grace))
        for bound in self._current.bound:
            bound.close()
        await gone
        if self._admin_port is not None:
            await self._admin_port.stopListening()
        if self._admin is not None:
            self._admin.close()
        if self._polling is not None:
            self._polling.cancel()
        self._files.close()
        self._notifier.close()

    # -- IControl -----------------------------------------------------------------------------------------------------

    def plan(self) -> dict[str, object]:
        """Generation, digest, age, the last attempt, and the effective configuration with secrets masked."""
        current = self._current
        return {
            "generation": current.number,
            "digest": current.digest,
            "since": current.since,
            "age": time.time() - current.since,
            "last_reload": {"at": self._attempt.at, "successful": not self._attempt.why, "why": self._attempt.why},
            "config": dump(current.config),
        }

    def workers(self) -> list[dict[str, object]]:
        """One entry per worker."""
        now = self._reactor.seconds()
        return [
            {
                "slot": child.slot,
                "pid": child.body.pid,
                "state": child.state,
                "generation": child.generation,
                "release": child.release,
                "started": time.time() - (now - child.started),
                "restarts": self._fleet.restarts.get(child.slot, 0),
                "answered": now - child.answered,
                "connections": child.connections,
                "lag": child.lag,
            }
            for child in sorted(self._fleet.children, key=lambda child: (child.slot, child.started))
        ]

    def snapshots(self) -> Deferred[list[bytes]]:
        """Fresh tallies of all workers, and one of those who are gone."""
        return Deferred.fromCoroutine(self._fleet.snapshots())

    def healthy(self) -> bool:
        """That this is answered at all says it."""
        return True

    def ready(self) -> tuple[bool, str]:
        """Whether at least one worker serves."""
        if self._stopping:
            return False, "draining"
        if self._fleet.ready():
            return True, ""
        return False, "no worker serves yet"


def workers(config: GatewayConfig) -> int:
    """Worker processes that the configuration asks for; 0 to serve from the supervisor."""
    count = config.gateway.workers
    return len(os.sched_getaffinity(0)) if count == "auto" else count


def slots(config: GatewayConfig) -> int:
    """Workers of either kind."""
    return workers(config) or 1


def bind_admin(spec: AdminSpec) -> BoundListener | None:
    """
    The admin listener's socket, or None for ``off``.

    :raises CannotListen: with the reason.
    """
    if spec.address == "off":
        return None
    try:
        address = Address.parse(spec.address)
        if address.path:
            sock, inode = bind_unix(address.path, 128, mode=0o660)
            return BoundListener("admin", spec.address, (sock,), path=address.path, inode=inode)
        return BoundListener("admin", spec.address, (bind_tcp(address, 128),))
    except (OSError, ValueError) as reason:
        raise CannotListen(f"admin: cannot listen on {spec.address}: {reason}") from reason
