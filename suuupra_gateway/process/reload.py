"""
Changing what workers serve by: in all of them, or in none.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Coroutine, Iterable
from contextlib import suppress
from typing import Any, Final, TypeVar

import attrs
from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger

import suuupra_gateway
from suuupra_gateway.process.child import Child, WorkerLost
from suuupra_gateway.process.control import CannotServe, PlanRefused
from suuupra_gateway.process.fleet import Fleet, RollFailed
from suuupra_gateway.process.generation import Generation, Loaded, PlanFiles, installed_release, load, slots, workers
from suuupra_gateway.process.sockets import BoundListener, CannotListen, Manager, close_unused, rebind

T = TypeVar("T")

BEHIND: Final = 10
"""Niceness of the thread that reads configurations: on a machine that is busy, requests go first."""


class ReloadFailed(Exception):
    """Nothing has changed; the message says why, one problem per line."""


class Reloading:
    """
    Holds the generation in force, and replaces it. Lives as long as the supervisor, which lets one change happen at a time.

    A plan that rests on the same sockets and process settings is swapped inside the workers, in two phases. Anything else, new
    code too, takes new workers, which come one by one.
    """

    log = Logger()

    current: Generation
    """What workers serve by, and what those that are started now will."""

    def __init__(
        self,
        reactor: Any,
        path: str,
        loaded: Loaded,
        bound: tuple[BoundListener, ...],
        manager: Manager,
        fleet: Fleet,
    ) -> None:
        """
        Write the first plan.

        :param reactor: for its threads.
        :param path: of the configuration.
        :param bound: the sockets for ``loaded``; owned from now on.
        :raises OSError: if that is not possible.
        """
        self._reactor = reactor
        self._path = path
        self._manager = manager
        self._fleet = fleet
        self._numbers = 0
        self._release = suuupra_gateway.__version__
        self._files = PlanFiles(loaded.config.gateway.run_dir)
        self.current = self._generation(loaded, bound)
        self._files.keep([self.current.path])

    def close(self) -> None:
        """Close the supervisor's hold on the listeners. What workers hold stays open."""
        for bound in self.current.bound:
            bound.close()

    def forget(self) -> None:
        """Remove the plans: nobody needs them any more."""
        self._files.close()

    def read(self) -> Deferred[Loaded]:
        """What the file says now; errback `ConfigErrors`."""
        # In a thread: ten thousand routes take seconds, and pings must go on.
        return deferToThreadPool(self._reactor, self._reactor.getThreadPool(), _load_behind, self._path)

    async def take(self, loaded: Loaded) -> None:
        """
        Let all workers serve by ``loaded``.

        :raises ReloadFailed: and all serve as before.
        """
        before = self.current
        try:
            candidate = self._generation(loaded, before.bound)
        except OSError as why:
            raise ReloadFailed(f"the plan cannot be handed to workers: {why}") from why
        try:
            asked = await self._prepare(candidate)
            if before.rests_on(loaded.config) and installed_release() == self._release:
                self.current = candidate
                await self._commit(candidate, asked)
            else:
                await self._discard(candidate, asked)
                await self._roll_over(before, candidate)
        finally:
            self._files.keep([self.current.path])

    async def replace(self) -> None:
        """
        Replace all workers by ones that run what is installed now.

        :raises ReloadFailed: if one does not come up; it and those after it are still the old ones.
        """
        try:
            await self._fleet.roll(range(slots(self.current.config)))
        except RollFailed as why:
            raise ReloadFailed(str(why)) from why
        self._release = installed_release()

    # -----------------------------------------------------------------------------------------------------------------

    def _generation(self, loaded: Loaded, bound: tuple[BoundListener, ...]) -> Generation:
        self._numbers += 1
        path = self._files.write(self._numbers, loaded.document)
        return Generation(self._numbers, loaded.document.digest, loaded.config, path, bound)

    async def _prepare(self, candidate: Generation) -> list[Child]:
        """Let everybody who serves prepare; those who can. :raises ReloadFailed: if one refused."""
        asked = self._fleet.ready()
        refusals: list[str] = []

        async def ask(child: Child) -> Child | None:
            try:
                await child.prepare(candidate)
            except PlanRefused as why:
                refusals.append(f"worker {child.slot}: {why}")
            except WorkerLost:
                child.kill()  # it hangs or is gone; its successor will take what is in force then
            else:
                return child
            return None

        able = [child for child in await _all(ask(child) for child in asked) if child is not None]
        if refusals:
            await self._discard(candidate, able)
            raise ReloadFailed("\n".join(sorted(refusals)))
        return able

    async def _discard(self, candidate: Generation, asked: list[Child]) -> None:
        async def ask(child: Child) -> None:
            with suppress(WorkerLost):
                await child.discard(candidate.number)

        await _all(ask(child) for child in asked)

    async def _commit(self, candidate: Generation, asked: list[Child]) -> None:
        """All prepared it, so all take it; who came up in between catches up, who cannot is replaced."""

        async def ask(child: Child) -> None:
            try:
                if child not in asked:
                    await child.prepare(candidate)
                await child.commit(candidate.number)
            except (PlanRefused, CannotServe, WorkerLost) as why:
                self.log.error("Worker {slot} cannot follow and is killed: {why}", slot=child.slot, why=str(why))
                child.kill()

        await _all(ask(child) for child in self._fleet.ready() if child.generation != candidate.number)

    async def _roll_over(self, before: Generation, candidate: Generation) -> None:
        """Let new workers serve ``candidate`` with its own sockets, or old ones as before."""
        try:
            bound = rebind(before.bound, candidate.config.listeners, workers(candidate.config), self._manager)
        except CannotListen as why:
            raise ReloadFailed(str(why)) from why
        self.current = attrs.evolve(candidate, bound=bound)
        size = slots(candidate.config)
        try:
            await self._fleet.roll(range(size))
        except RollFailed as why:
            self.current = before
            # Bring back what the others still serve by.
            with suppress(RollFailed):
                await self._fleet.roll(slot for slot in why.done if slot < slots(before.config))
            self._fleet.resize(slots(before.config))
            close_unused(bound, before.bound)
            raise ReloadFailed(str(why)) from why
        close_unused(before.bound, bound)
        self._fleet.resize(size)
        self._release = installed_release()


async def _all(waiting: Iterable[Coroutine[Deferred[Any], Any, T]]) -> list[T]:
    """What all of them return; none raises."""
    results = await DeferredList([Deferred.fromCoroutine(each) for each in waiting])
    return [result for _, result in results]


def _load_behind(path: str) -> Loaded:
    """`load`, on a thread of the pool, which is behind all requests from then on. (On Linux each thread has its own niceness.)"""
    thread = threading.get_native_id()
    os.setpriority(os.PRIO_PROCESS, thread, max(BEHIND, os.getpriority(os.PRIO_PROCESS, thread)))
    return load(path)
