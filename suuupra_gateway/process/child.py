"""
One worker, as its supervisor sees it.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol, TypeVar

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.internet.protocol import connectionDone
from twisted.logger import Logger
from twisted.protocols import amp
from twisted.python.failure import Failure

from suuupra_gateway import tally
from suuupra_gateway.process import control
from suuupra_gateway.process.board import Board
from suuupra_gateway.process.lifecycle import Life, live

if TYPE_CHECKING:
    from suuupra_gateway.process.generation import Generation

T = TypeVar("T")

HELLO = 60.0
"""Seconds that a worker may take to start; a busy machine that starts many at once needs some."""

PREPARE = 120.0
"""Seconds that a worker may take to compile a plan, which it does in slices between requests."""

PROMPT = 15.0
"""Seconds that a worker may take for anything else before it counts as hung."""


class WorkerLost(Exception):
    """The worker went away, or did not answer in time; the message says which."""


class Body(Protocol):
    """What a worker runs in: a process, or a part of this one."""

    pid: int

    def kill(self) -> None:
        """End it at once. `Child.exited` is called when it has ended. Idempotent."""


class SupervisorEnd(control.End):
    """The supervisor's end of the control connection."""

    def __init__(self, child: Child) -> None:
        super().__init__()
        self.child = child

    @control.Hello.responder
    def hello(self, version: int, slot: int, release: str) -> dict[str, object]:
        """It runs."""
        self.child.greeted(version, release)
        return {}

    @control.Ask.responder
    def ask(self, topic: str, question: bytes) -> Deferred[dict[str, bytes]]:
        """It asks."""
        return self.child.board.asked(topic, question).addCallback(lambda answer: {"answer": answer})

    @control.Tell.responder
    def tell(self, topic: str, event: bytes) -> dict[str, object]:
        """It tells."""
        self.child.board.told(topic, event)
        return {}

    @control.Farewell.responder
    def farewell(self, length: int) -> dict[str, object]:
        """It goes."""
        self.child.read_tally(length)
        return {}

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        super().connectionLost(reason)
        self.child.disconnected()


class Child:
    """
    One worker: its life, its control connection, what it last said. Lives from its start until it is gone.

    It does nothing by itself; see `Fleet`.
    """

    log = Logger()

    body: Body
    """Set by whoever launched it, before anything else."""

    board: Board
    """What it is to know; whoever launches it may give it that of all workers."""

    def __init__(
        self,
        reactor: IReactorTime,
        slot: int,
        *,
        stopped: Callable[[Child], None] = lambda child: None,
        gone: Callable[[Child, str], None] = lambda child, why: None,
    ) -> None:
        """
        :param stopped: called once if it had been ready and is so no longer.
        :param gone: called once when nothing is left of it, with the reason in words.
        """
        self.slot = slot
        self.board = Board()
        self.control = SupervisorEnd(self)
        self.state = "starting"
        self.release = ""
        self.generation = 0
        """Of the plan that it serves by; 0 for none yet."""
        self.started = reactor.seconds()
        self.answered = self.started
        """When it last answered anything."""
        self.connections = 0
        self.lag = 0.0
        self.counted = b""
        """Its last tally, encoded."""
        self.memory = os.memfd_create(f"suuupra-tally-{slot}")
        """Where it writes its tally. Shared memory, because AMP values end at 65 535 bytes."""
        self._reactor = reactor
        self._stopped = stopped
        self._gone = gone
        self._hello: Deferred[None] = Deferred()
        self._gone_waiters: list[Deferred[None]] = []
        self._life: Life = live(self)

    # -- what is done with it -----------------------------------------------------------------------------------------

    async def bring_up(self, current: Callable[[], Generation]) -> None:
        """
        Wait until it runs, and let it serve by ``current()``.

        :raises WorkerLost: if it went away or took too long. The caller kills it.
        :raises PlanRefused: if it cannot take the plan, likewise.
        :raises CannotServe: if it cannot accept connections, likewise.
        :raises VersionMismatch: if its code does not fit ours, likewise.
        """
        await self._bounded(self._hello, HELLO, "start")
        while self.generation != (generation := current()).number:
            try:
                await self.prepare(generation)
            except control.PlanRefused:
                if current() is generation:
                    raise
            if current() is generation:  # else a reload was faster: take that instead
                await self.commit(generation.number)
        self._life.serving()
        if self.state != "ready":
            raise WorkerLost(f"worker {self.slot} was told to go while it started")

    def prepare(self, generation: Generation) -> Deferred[None]:
        """Let it compile a plan. Errback `PlanRefused` or `WorkerLost`."""
        return self._tell(
            control.Prepare,
            PREPARE,
            generation=generation.number,
            digest=generation.digest,
            path=generation.path,
        )

    def commit(self, generation: int) -> Deferred[None]:
        """Let it serve by what it prepared. Errback `PlanRefused`, `CannotServe` or `WorkerLost`."""

        def committed(_: object) -> None:
            self.generation = generation

        return self._ask(control.Commit, PROMPT, generation=generation).addCallback(committed)

    def discard(self, generation: int) -> Deferred[None]:
        """Let it forget what it prepared. Errback `WorkerLost`."""
        return self._tell(control.Discard, PROMPT, generation=generation)

    def adopt(self, slot: int) -> Deferred[None]:
        """Let it accept for another slot. Errback `CannotServe` or `WorkerLost`."""
        return self._tell(control.Adopt, PROMPT, slot=slot)

    def release_slot(self, slot: int) -> Deferred[None]:
        """Let it accept for another slot no longer. Errback `WorkerLost`."""
        return self._tell(control.Release, PROMPT, slot=slot)

    def reopen(self) -> Deferred[None]:
        """Let it open its log files anew. Errback `WorkerLost`."""
        return self._tell(control.Reopen, PROMPT)

    def ping(self) -> Deferred[None]:
        """Ask whether it is there. Errback `WorkerLost`."""

        def pong(answer: dict[str, float]) -> None:
            self.connections = int(answer["connections"])
            self.lag = answer["lag"]

        return self._ask(control.Ping, PROMPT).addCallback(pong)

    def snapshot(self, within: float = PROMPT) -> Deferred[None]:
        """Renew `counted`. Errback `WorkerLost`, also if that takes longer than ``within`` seconds."""
        return self._ask(control.Snapshot, within).addCallback(lambda answer: self.read_tally(int(answer["length"])))

    def drain(self, grace: float) -> None:
        """Let it finish within ``grace`` seconds and go. Again with less to hurry it."""
        self._life.drain(grace)

    def kill(self) -> None:
        """End it at once, with all that it holds."""
        if self.state != "gone":
            self.body.kill()

    def when_gone(self) -> Deferred[None]:
        """Fires when nothing is left of it."""
        if self.state == "gone":
            return succeed(None)
        waiter: Deferred[None] = Deferred(self._gone_waiters.remove)
        self._gone_waiters.append(waiter)
        return waiter

    # -- what it says -------------------------------------------------------------------------------------------------

    def greeted(self, version: int, release: str) -> None:
        """It said `control.Hello`."""
        self.release = release
        self.answered = self._reactor.seconds()
        if version != control.VERSION:
            mismatch = control.VersionMismatch(
                f"worker {self.slot} speaks version {version} of the control protocol, the supervisor {control.VERSION}:"
                " restart the service"
            )
            if not self._hello.called:
                self._hello.errback(Failure(mismatch))
            raise mismatch
        self.board.join(self.control)
        if not self._hello.called:
            self._hello.callback(None)

    def read_tally(self, length: int) -> None:
        """Its tally lies in the shared memory."""
        # A copy, and only if whole: the worker may have died in the middle of writing.
        counted = os.pread(self.memory, length, 0)
        if len(counted) == length:
            self.counted = counted

    def disconnected(self) -> None:
        """Its end of the control connection is closed."""
        self.board.leave(self.control)
        if not self._hello.called:
            self._hello.errback(Failure(WorkerLost(f"worker {self.slot} closed its control connection at once")))
        self._life.lost()

    def exited(self, why: str) -> None:
        """It has ended; called by its body."""
        if not self._hello.called:
            self._hello.errback(Failure(WorkerLost(f"worker {self.slot} ended while it started: {why}")))
        self._life.exited(why)

    def left_behind(self) -> tally.Snapshot | None:
        """What it counted and must not be lost with it."""
        if not self.counted:
            return None
        try:
            return tally.Snapshot.decode(self.counted).counters()
        except ValueError as reason:
            self.log.warn("The last tally of worker {slot} is lost: {reason}", slot=self.slot, reason=reason)
            return None

    # -- what its life calls (`lifecycle.Subject`) --------------------------------------------------------------------

    def became_ready(self) -> None:
        self.log.info("Worker {slot} (pid {process}) serves", slot=self.slot, process=self.body.pid)

    def tell_drain(self, grace: float) -> None:
        self._tell(control.Drain, PROMPT, grace=grace).addErrback(lambda _: None)  # it went first

    def end(self) -> None:
        self.body.kill()

    def stopped_serving(self) -> None:
        self._stopped(self)

    def became_gone(self, why: str) -> None:
        os.close(self.memory)
        self._gone(self, why)
        waiters, self._gone_waiters = self._gone_waiters, []
        for waiter in waiters:
            waiter.callback(None)

    # -----------------------------------------------------------------------------------------------------------------

    def _ask(self, command: type[amp.Command], seconds: float, **arguments: object) -> Deferred[dict[str, float]]:
        if self.control.transport is None:
            return fail(WorkerLost(f"worker {self.slot} is not connected"))

        def answered(answer: dict[str, float]) -> dict[str, float]:
            self.answered = self._reactor.seconds()
            return answer

        asked = self.control.callRemote(command, **arguments).addCallback(answered)
        return self._bounded(asked, seconds, f"answer {command.__name__}")

    def _tell(self, command: type[amp.Command], seconds: float, **arguments: object) -> Deferred[None]:
        return self._ask(command, seconds, **arguments).addCallback(lambda _: None)

    def _bounded(self, waiting: Deferred[T], seconds: float, what: str) -> Deferred[T]:
        def named(failure: Failure) -> Failure:
            failure.trap(Exception)
            if failure.check(control.PlanRefused, control.CannotServe, control.VersionMismatch, WorkerLost):
                return failure
            return Failure(WorkerLost(f"worker {self.slot} did not {what}: {failure.getErrorMessage()}"))

        return waiting.addTimeout(seconds, self._reactor).addErrback(named)
