"""
All workers: as many as there are slots, each replaced when it dies, and all of them one by one when that is asked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from suuupra_gateway import tally
from suuupra_gateway.process.child import Child, WorkerLost
from suuupra_gateway.process.control import CannotServe, PlanRefused, VersionMismatch
from suuupra_gateway.process.generation import Generation
from suuupra_gateway.process.lifecycle import Backoff

HUNG = 10.0
"""Seconds after which a worker that answers no ping is killed: all its connections hang with it."""

FRESH = 1.0
"""Seconds that a worker has to renew its tally when somebody waits; else its last one is good enough."""

MARGIN = 3.0
"""Seconds beyond the time to drain before a worker that is still there is killed."""


class RollFailed(Exception):
    """A new worker did not come up, so the old one of its slot, and of all later slots, is still there."""

    def __init__(self, slot: int, why: str, done: Iterable[int]) -> None:
        super().__init__(f"the new worker of slot {slot} did not come up: {why}")
        self.done = tuple(done)
        """Slots whose workers had been replaced before."""


class Fleet:
    """
    Keeps one worker per slot. Lives as long as the supervisor.

    While the worker of a slot is down, a sibling accepts on its sockets.
    """

    log = Logger()

    def __init__(
        self,
        reactor: IReactorTime,
        launch: Callable[[Child], None],
        current: Callable[[], Generation],
        changed: Callable[[], None] = lambda: None,
    ) -> None:
        """
        :param launch: starts what the child runs in, and sets its ``body``.
        :param current: what workers are to serve by.
        :param changed: called when a worker began or ceased to serve.
        """
        self._reactor = reactor
        self._launch = launch
        self._current = current
        self._changed = changed
        self.slots: dict[int, Child] = {}
        """Who serves a slot, or is about to."""
        self.children: set[Child] = set()
        """Everybody who is not gone: those of the slots, successors that are starting, and those that drain."""
        self.restarts: dict[int, int] = {}
        """How often a slot's worker had to be started again because it died."""
        self._size = 0
        self._pauses: dict[int, IDelayedCall] = {}
        self._backoffs: dict[int, Backoff] = {}
        self._adopters: dict[int, Child] = {}
        self._left_behind = tally.Snapshot()
        self._stopping = False
        self._hurried = False

    def resize(self, size: int) -> None:
        """Fill up to ``size`` slots; let the workers of further ones finish."""
        self._size = size
        if self._stopping:
            return
        for slot in [slot for slot in {*self.slots, *self._pauses} if slot >= size]:
            self._cancel_pause(slot)
            child = self.slots.pop(slot, None)
            if child is not None:
                self._dismiss(child, self._grace())
        for slot in range(size):
            if slot not in self.slots and slot not in self._pauses:
                self._fill(slot)
        self._settle_orphans()

    def ready(self) -> list[Child]:
        """Those who serve."""
        return [child for child in self.children if child.state == "ready"]

    def waiting(self) -> list[int]:
        """Slots whose workers died, before the pause until their successors start is over."""
        return sorted(self._pauses)

    async def roll(self, slots: Iterable[int]) -> None:
        """
        Replace the workers of ``slots`` one after the other, each only when its successor serves.

        Slots that are new come first: their sockets belong to nobody yet.

        :raises RollFailed: at the first that fails to come up.
        """
        done: list[int] = []
        for slot in sorted(slots, key=lambda slot: (slot < self._size, slot)):
            if self._stopping:
                raise RollFailed(slot, "the gateway is stopping", done)
            successor = self._start(slot)
            why = await self._bring_up(successor)
            if why is not None:
                raise RollFailed(slot, why, done)
            done.append(slot)
            predecessor = self.slots.get(slot)
            self.slots[slot] = successor
            self._cancel_pause(slot)
            self._size = max(self._size, slot + 1)
            self._settle_orphans()
            if predecessor is not None:
                self._dismiss(predecessor, self._grace())

    async def stop(self, grace: float) -> None:
        """Let everybody finish within ``grace`` seconds; kill those who are still there after that."""
        self._stopping = True
        for slot in list(self._pauses):
            self._cancel_pause(slot)
        everybody = list(self.children)
        for child in everybody:
            self._dismiss(child, 0.0 if self._hurried else grace)
        await DeferredList([child.when_gone() for child in everybody])

    def hurry(self) -> None:
        """Let those who drain, or will, stop waiting for clients."""
        self._hurried = True
        for child in list(self.children):
            if child.state == "draining":
                child.drain(0.0)

    def poll(self) -> None:
        """Ping everybody and renew their tallies; kill those who have not answered for long."""
        now = self._reactor.seconds()
        for child in list(self.children):
            if child.state not in ("ready", "draining"):
                continue  # `Child.bring_up` has its own bounds
            if now - child.answered > HUNG:
                self.log.error(
                    "Worker {slot} (pid {process}) has not answered for {seconds:.0f} s and is killed",
                    slot=child.slot,
                    process=child.body.pid,
                    seconds=now - child.answered,
                )
                child.kill()
                continue
            child.ping().addErrback(_lost)
            child.snapshot().addErrback(_lost)

    def all_answer(self, within: float) -> bool:
        """Whether somebody serves, and everybody who does has answered within the last so many seconds."""
        ready = self.ready()
        now = self._reactor.seconds()
        return bool(ready) and all(now - child.answered <= within for child in ready)

    async def snapshots(self) -> list[bytes]:
        """Tallies of everybody, fresh if they answer, and one of those who are gone."""
        await DeferredList([child.snapshot(FRESH) for child in self.children], consumeErrors=True)
        # Only now: who died meanwhile has been added to those who are gone, and must not count twice.
        return [self._left_behind.encode(), *(child.counted for child in self.children if child.counted)]

    def reopen(self) -> None:
        """Let everybody open their log files anew."""
        for child in self.children:
            child.reopen().addErrback(_lost)

    # -----------------------------------------------------------------------------------------------------------------

    def _grace(self) -> float:
        return float(self._current().config.gateway.drain)

    def _start(self, slot: int) -> Child:
        child = Child(self._reactor, slot, stopped=self._vacate, gone=self._bury)
        self.children.add(child)
        self._launch(child)
        return child

    async def _bring_up(self, child: Child) -> str | None:
        """Let it serve; None, or why it does not and was killed."""
        try:
            await child.bring_up(self._current)
        except (WorkerLost, PlanRefused, CannotServe, VersionMismatch) as reason:
            child.kill()
            return str(reason)
        self._changed()
        return None

    def _fill(self, slot: int) -> None:
        self._pauses.pop(slot, None)
        child = self._start(slot)
        self.slots[slot] = child

        def came_up(why: str | None) -> None:
            if why is None:
                self._settle_orphans()
            elif not self._stopping:
                self.log.error("Worker {slot} did not come up: {why}", slot=slot, why=why)

        Deferred.fromCoroutine(self._bring_up(child)).addCallback(came_up).addErrback(
            lambda failure: self.log.failure("Worker {slot} did not come up", failure, slot=slot)
        )

    def _vacate(self, child: Child) -> None:
        """It serves no longer. If nobody took its slot, see to it."""
        self._changed()
        if self.slots.get(child.slot) is child:
            del self.slots[child.slot]
            if child.slot < self._size and not self._stopping:
                self._restart(child)
        self._settle_orphans()

    def _restart(self, child: Child) -> None:
        slot = child.slot
        self.restarts[slot] = self.restarts.get(slot, 0) + 1
        backoff = self._backoffs.get(slot)
        if backoff is None:
            backoff = self._backoffs[slot] = Backoff(*map(float, self._current().config.gateway.restart_backoff))
        pause = backoff.pause(self._reactor.seconds() - child.started)
        self._pauses[slot] = self._reactor.callLater(pause, self._fill, slot)

    def _bury(self, child: Child, why: str) -> None:
        self.children.discard(child)
        expected = self.slots.get(child.slot) is not child and child.slot not in self._pauses
        if expected or self._stopping:
            self.log.info(
                "Worker {slot} (pid {process}) is gone: {why}", slot=child.slot, process=child.body.pid, why=why
            )
        else:
            self.log.error(
                "Worker {slot} (pid {process}) died: {why}", slot=child.slot, process=child.body.pid, why=why
            )
        left = child.left_behind()
        if left is not None:
            self._left_behind.merge(left)
        self._vacate(child)

    def _settle_orphans(self) -> None:
        """See that somebody accepts on the sockets of every slot: its own worker, else a sibling."""
        ready = {slot: child for slot, child in self.slots.items() if child.state == "ready"}
        if not ready or self._stopping:
            return
        sockets = max((len(listener.slots) for listener in self._current().bound), default=0)
        for slot in range(sockets):
            adopter = self._adopters.get(slot)
            if slot in ready:
                if adopter is not None:
                    del self._adopters[slot]
                    adopter.release_slot(slot).addErrback(_lost)
            elif adopter is None or adopter.state != "ready":
                sibling = ready[min(ready, key=lambda other: (other - slot) % max(sockets, 1))]
                self._adopters[slot] = sibling
                sibling.adopt(slot).addErrback(self._not_adopted, slot)

    def _not_adopted(self, failure: Failure, slot: int) -> None:
        self._adopters.pop(slot, None)
        self.log.warn("Nobody accepts for slot {slot}: {why}", slot=slot, why=failure.getErrorMessage())

    def _dismiss(self, child: Child, grace: float) -> None:
        child.drain(grace)
        doom = self._reactor.callLater(grace + MARGIN, child.kill)
        child.when_gone().addCallback(lambda _: doom.cancel() if doom.active() else None)

    def _cancel_pause(self, slot: int) -> None:
        pause = self._pauses.pop(slot, None)
        if pause is not None:
            pause.cancel()


def _lost(failure: object) -> None:
    """It is being looked after: either it hangs and will be killed, or its end is about to be noticed."""
