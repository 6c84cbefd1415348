"""
The control process: binds, starts and watches workers, reloads, answers the admin listener. It never touches a request.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from functools import partial
from types import FrameType
from typing import Any

import attrs
from twisted.application.service import Service
from twisted.internet.defer import Deferred, DeferredLock
from twisted.internet.interfaces import IDelayedCall, IListeningPort
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from suuupra_gateway.admin.site import admin_site
from suuupra_gateway.auth.issuing import Issuing
from suuupra_gateway.config.decode import ConfigErrors
from suuupra_gateway.config.dump import dump
from suuupra_gateway.config.model import AdminSpec
from suuupra_gateway.interfaces import IControl
from suuupra_gateway.net import endpoints
from suuupra_gateway.process import launch
from suuupra_gateway.process.board import Board
from suuupra_gateway.process.child import Child
from suuupra_gateway.process.fleet import Fleet
from suuupra_gateway.process.generation import Generation, Loaded, slots, workers
from suuupra_gateway.process.notify import Notifier
from suuupra_gateway.process.oversight import CannotWatch, Oversight
from suuupra_gateway.process.reload import ReloadFailed, Reloading
from suuupra_gateway.process.sockets import BoundListener, CannotListen, Manager, bind, bind_admin, passed
from suuupra_gateway.tally import Snapshot

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

    def __init__(self, reactor: Any, path: str, loaded: Loaded, *, logger: str = "") -> None:
        """
        :param reactor: the process's own; signals and processes come with it.
        :param path: of the configuration, read again at each reload.
        :param loaded: what it says now.
        :param logger: factory of the log observer of workers; empty for text.
        """
        self._reactor = reactor
        self._path = os.path.abspath(path)  # a daemon changes its directory
        self._loaded = loaded
        self._logger = logger
        self._notifier = Notifier()
        self._manager: Manager = {}
        self._bound: tuple[BoundListener, ...] = ()
        self._admin: BoundListener | None = None
        self._admin_port: IListeningPort | None = None
        self._lock = DeferredLock()
        self._attempt = Attempt(time.time())
        self._shown: tuple[Generation, object] | None = None
        self._polling: IDelayedCall | None = None
        self._announced = False
        self._told_to_end = False
        self._stopping = False
        self._board = Board()
        self._oversight = Oversight(reactor, self._board)
        self._fleet = Fleet(reactor, self._launch, lambda: self._reloading.current, self._fleet_changed)
        self._reloading: Reloading

    # -- start --------------------------------------------------------------------------------------------------------

    def bind(self, environ: Mapping[str, str]) -> None:
        """
        Open all listeners, or take them from the service manager.

        :param environ: what the process was started with.
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

    def startService(self) -> None:
        """Write the first plan; begin when the reactor runs."""
        super().startService()
        self._reloading = Reloading(self._reactor, self._path, self._loaded, self._bound, self._manager, self._fleet)
        for bound in self._bound:
            self.log.info("Listener {name} on {where}", name=bound.name, where=bound.where())
        self._serve_admin(self._loaded.config.admin)
        try:
            self._oversight.expect(self._loaded.config)
        except CannotWatch as why:
            self.log.error("Until the next reload there is nobody to watch {why}", why=why)
        self._reactor.callWhenRunning(self._begin)

    def _begin(self) -> None:
        self._catch_signals()
        self._fleet.resize(slots(self._reloading.current.config))
        self._poll()

    def _launch(self, child: Child) -> None:
        current = self._reloading.current
        child.board = self._board
        if current.config.gateway.workers == 0:
            launch.inside(self._reactor, child, current.bound)
        else:
            launch.in_process(self._reactor, child, current.bound, self._logger)

    # -- signals ------------------------------------------------------------------------------------------------------

    def _catch_signals(self) -> None:
        for number, act in (
            (signal.SIGHUP, self._reload_on_signal),
            (signal.SIGUSR1, self._fleet.reopen),
            (signal.SIGUSR2, self._replace_on_signal),
        ):
            # twistd has a handler for SIGUSR1 if it logs to a file, and is to keep it.
            signal.signal(number, partial(self._caught, act, signal.getsignal(number)))
        signal.signal(signal.SIGTERM, partial(self._asked_to_end, None))
        signal.signal(signal.SIGINT, partial(self._asked_to_end, signal.getsignal(signal.SIGINT)))

    def _caught(self, act: Callable[[], None], before: object, number: int, frame: FrameType | None) -> None:
        self._reactor.callFromThread(act)
        if callable(before):
            before(number, frame)

    def _asked_to_end(self, before: object, number: int, frame: FrameType | None) -> None:
        if self._told_to_end:
            self._reactor.callFromThread(self._fleet.hurry)
            return
        self._told_to_end = True
        if callable(before):
            before(number, frame)  # the reactor's own: it stops, and in the end twistd dies by the signal
        else:
            self._reactor.callFromThread(self._reactor.stop)  # the same, but an end in order exits with 0

    def _reload_on_signal(self) -> None:
        if not self._lock.waiting:  # one that waits will read the file later than now
            self.reload("SIGHUP").addErrback(_told)

    def _replace_on_signal(self) -> None:
        if not self._lock.waiting:
            self.replace("SIGUSR2").addErrback(_told)

    # -- changes ------------------------------------------------------------------------------------------------------

    def reload(self, reason: str) -> Deferred[None]:
        """Load the file again. Errback `ConfigErrors` or `ReloadFailed`: nothing has changed."""
        return self._alone(self._renew, reason)

    def replace(self, reason: str) -> Deferred[None]:
        """Replace all workers, one after the other, by ones that run what is installed now. Errback `ReloadFailed`."""
        return self._alone(self._reloading.replace, reason)

    async def _renew(self) -> None:
        before = self._reloading.current.config.admin
        loaded = await self._reloading.read()
        after = loaded.config.admin
        admin = self._admin
        if after.address != before.address:
            try:
                admin = bind_admin(after)
            except CannotListen as why:
                raise ReloadFailed(str(why)) from why
        try:
            try:
                self._oversight.expect(loaded.config)
            except CannotWatch as why:
                raise ReloadFailed(str(why)) from why
            await self._reloading.take(loaded)
        except BaseException:
            if admin is not None and admin is not self._admin:
                admin.close()
            raise
        finally:
            self._oversight.settle(self._reloading.current.config)
        if after != before:
            self._close_admin(keep=admin)
            self._admin = admin
            self._serve_admin(after)

    def _alone(self, change: Callable[[], Coroutine[Deferred[Any], Any, None]], reason: str) -> Deferred[None]:
        """Make one change at a time; tell the service manager, the log and the admin site how it went."""

        async def run() -> None:
            if self._stopping:
                raise ReloadFailed("the gateway is stopping")
            self.log.info("{reason}: changing what generation {number} serves", reason=reason, number=self._number())
            self._notifier.reloading(f"reloading ({reason})")
            try:
                await change()
            except Exception as why:
                self._attempt = Attempt(time.time(), str(why) or type(why).__name__)
                if not isinstance(why, ConfigErrors | ReloadFailed):
                    self.log.failure("{reason} failed", reason=reason)
                    raise ReloadFailed(self._attempt.why) from why
                self.log.error(
                    "{reason} refused, generation {number} goes on: {why}",
                    reason=reason,
                    number=self._number(),
                    why=self._attempt.why,
                )
                raise
            else:
                self._attempt = Attempt(time.time())
                self.log.info("{reason} done, generation {number} serves", reason=reason, number=self._number())
            finally:
                if not self._stopping:
                    self._notifier.ready(self._status())

        result: Deferred[None] = self._lock.run(lambda: Deferred.fromCoroutine(run()))
        return result

    def _number(self) -> int:
        return self._reloading.current.number

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
        if not self._announced and len(self._fleet.ready()) >= slots(self._reloading.current.config):
            self._announced = True
            self._notifier.ready(self._status())
            self.log.info("Ready: {status}", status=self._status())
        else:
            self._notifier.status(self._status())

    def _status(self) -> str:
        wanted = slots(self._reloading.current.config)
        text = f"{len(self._fleet.ready())} of {wanted} workers serve generation {self._number()}"
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
        grace = float(self._reloading.current.config.gateway.drain)
        self._notifier.stopping(f"draining, at most {grace:.0f} s")
        self.log.info("Draining, at most {grace:.0f} s", grace=grace)
        gone = Deferred.fromCoroutine(self._fleet.stop(grace))
        self._reloading.close()
        await gone
        # Not before: who drains must hear of revocations and new keys too.
        await self._oversight.stop().addTimeout(POLL, self._reactor).addErrback(lambda _: None)
        self._close_admin()
        if self._polling is not None:
            self._polling.cancel()
        self._reloading.forget()
        self._notifier.close()

    # -- the admin listener -------------------------------------------------------------------------------------------

    def _serve_admin(self, spec: AdminSpec) -> None:
        if self._admin is None:
            return
        site = admin_site(self, spec)
        site.noisy = False
        self._admin_port = endpoints.listen(self._reactor, self._admin.sockets[0].dup(), site)
        self.log.info("Admin on {where}", where=self._admin.where())

    def _close_admin(self, keep: BoundListener | None = None) -> None:
        if self._admin_port is not None:
            self._admin_port.stopListening()
            self._admin_port = None
        if self._admin is not None and self._admin is not keep:
            self._admin.close()

    # -- IControl -----------------------------------------------------------------------------------------------------

    def plan(self) -> dict[str, object]:
        """Generation, digest, age, how the last reload went, and the effective configuration with secrets masked."""
        current = self._reloading.current
        if self._shown is None or self._shown[0] is not current:
            self._shown = (current, dump(current.config))  # metrics ask each time, and ten thousand routes take long
        return {
            "generation": current.number,
            "digest": current.digest,
            "since": current.since,
            "age": time.time() - current.since,
            "reload_at": self._attempt.at,
            "reload_successful": not self._attempt.why,
            "reload_refused": self._attempt.why,
            "config": self._shown[1],
        }

    def issuing(self) -> Issuing | None:
        """Who makes and ends API keys; None if the configuration has none."""
        config = self._reloading.current.config
        store = self._oversight.recall.store(config)
        return Issuing.of(config, store) if store is not None else None

    def revoke(self, tags: Sequence[str]) -> Deferred[bool]:
        """See `IControl`."""
        return Deferred.fromCoroutine(self._oversight.recall.revoke(tags, self._reloading.current.config))

    def workers(self) -> list[dict[str, object]]:
        """One entry per worker, those that start or drain included, and per slot that waits for its next one."""
        now = self._reactor.seconds()
        restarts = self._fleet.restarts
        entries: list[dict[str, object]] = [
            {
                "slot": child.slot,
                "pid": child.body.pid,
                "state": child.state,
                "generation": child.generation,
                "release": child.release,
                "started": time.time() - (now - child.started),
                "restarts": restarts.get(child.slot, 0),
                "answered": now - child.answered,
                "connections": child.connections,
                "lag": child.lag,
            }
            for child in sorted(self._fleet.children, key=lambda child: (child.slot, child.started))
        ]
        waiting = [
            {"slot": slot, "state": "waiting", "restarts": restarts.get(slot, 0)} for slot in self._fleet.waiting()
        ]
        return entries + waiting

    def snapshots(self) -> Deferred[list[bytes]]:
        """Fresh tallies of all workers, one of those who are gone, and one of what is counted here."""
        return Deferred.fromCoroutine(self._fleet.snapshots()).addCallback(
            lambda tallies: [*tallies, Snapshot(samples=list(self._oversight.samples())).encode()]
        )

    def healthy(self) -> bool:
        """That this is answered at all says it."""
        return True

    def ready(self) -> tuple[bool, str]:
        """Whether at least one worker serves, and if not, why."""
        if self._stopping:
            return False, "draining"
        if self._fleet.ready():
            return True, ""
        return False, "no worker serves yet"


def _told(failure: Failure) -> None:
    """Nobody but the log waits for what a signal brought, and there it is."""
    failure.trap(ConfigErrors, ReloadFailed)
