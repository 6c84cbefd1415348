"""
Workers without processes: the real `WorkerEnd` and `Child` at the two ends of a connection in memory, on a clock that the test
moves. What serves behind them is a stand-in that does as it is told.
"""

import os

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.test.iosim import FakeTransport, IOPump

from suuupra_gateway.config.model import (
    FixedSpec,
    GatewayConfig,
    IdentitySpec,
    ListenerSpec,
    ProcessSpec,
    RouteSpec,
    TargetSpec,
)
from suuupra_gateway.process import control
from suuupra_gateway.process.collector import Untouched
from suuupra_gateway.process.generation import Generation
from suuupra_gateway.process.sockets import BoundListener
from suuupra_gateway.process.worker import WorkerEnd
from suuupra_gateway.tally import Tally


class StandIn:
    """Instead of a `Serving`: remembers what it was asked, and refuses or hangs on demand."""

    grace = 30.0
    connections = 3
    lag = 0.25

    def __init__(self, worker):
        self.worker = worker
        self.asked = []
        self.generation = 0
        self.prepared = 0

    async def prepare(self, generation, digest, path):
        self.asked.append(f"prepare {generation}")
        if self.worker.yard.refuses == generation:
            raise control.PlanRefused("route x: no such thing")
        if self.worker.yard.hangs == generation:
            await Deferred()
        self.prepared = generation

    def commit(self, generation):
        self.asked.append(f"commit {generation}")
        if self.prepared != generation:
            raise control.PlanRefused("not prepared")
        self.generation = generation

    def discard(self):
        self.asked.append("discard")
        self.prepared = 0

    def adopt(self, slot):
        self.asked.append(f"adopt {slot}")
        if self.worker.yard.barren:
            raise control.CannotServe("no socket")

    def release(self, slot):
        self.asked.append(f"release {slot}")

    def reopen(self):
        self.asked.append("reopen")

    def drain(self, grace):
        self.asked.append(f"drain {grace:g}")
        if grace == 0.0 or not self.worker.busy:
            self.worker.leave()

    def orphaned(self):
        self.asked.append("orphaned")
        self.drain(self.grace)

    def write_tally(self):
        data = Tally().snapshot().encode()
        os.pwrite(self.worker.child.memory, data, 0)
        return len(data)


class Worker:
    """One end of a connection, as a process would be."""

    def __init__(self, yard, child):
        self.yard = yard
        self.child = child
        self.pid = 1000 + len(yard.workers)
        self.busy = False
        self.killed = False
        self.gone = False
        self.end = WorkerEnd(child.slot, Untouched(), yard.clock)
        self.end.serving = self.serving = StandIn(self)
        child.body = self
        theirs, ours = FakeTransport(self.end, False), FakeTransport(child.control, True)
        self.pump = IOPump(self.end, child.control, theirs, ours, False, yard.clock)
        self._begun = False

    def begin(self):
        """It has been imported and speaks."""
        self._begun = True
        self.child.control.makeConnection(self.pump.serverIO)
        self.end.makeConnection(self.pump.clientIO)

    def kill(self):
        self.killed = True
        self.exit("signal 9")

    def leave(self):
        self.yard.clock.callLater(0, self.exit, "exit code 0")

    def exit(self, why):
        if not self.gone:
            self.gone = True
            self.yard.clock.callLater(0, self._over, why)

    def _over(self, why):
        if self.child.control.transport is not None:
            self.child.control.connectionLost(Failure(ConnectionDone()))
        self.child.exited(why)

    def flush(self):
        if self._begun and not self.gone and self.yard.frozen != self.child.slot:
            return self.pump.pump()
        return False


class Yard:
    """Where workers are launched."""

    def __init__(self, slots=0):
        self.clock = Clock()
        self.workers = []
        self.refuses = self.hangs = self.frozen = None
        self.barren = False
        self.stillborn = False
        self.generation = generation(1, slots)

    def launch(self, child):
        worker = Worker(self, child)
        self.workers.append(worker)
        if self.stillborn:
            worker.exit("exit code 1")
        else:
            worker.begin()
        return worker

    def settle(self):
        """Until nobody has anything more to say at this moment."""
        for _ in range(200):
            self.clock.advance(0)
            moved = [worker.flush() for worker in self.workers]  # all of them, not only up to the first
            if not any(moved) and not self._due():
                return
        raise AssertionError("they never come to rest")

    def _due(self):
        return any(call.getTime() <= self.clock.seconds() for call in self.clock.getDelayedCalls())

    def advance(self, seconds):
        """Let time pass, in steps small enough for answers to come in between."""
        while seconds > 0:
            self.clock.advance(min(0.5, seconds))
            self.settle()
            seconds -= 0.5

    def current(self):
        return self.generation

    def alive(self):
        return [worker for worker in self.workers if not worker.gone]


def configuration(identity=None, **gateway):
    return GatewayConfig(
        gateway=ProcessSpec(**gateway),
        identity=identity or IdentitySpec(),
        listeners=(ListenerSpec(name="public", address="127.0.0.1:0"),),
        routes=(RouteSpec(name="r", target=TargetSpec(fixed=FixedSpec())),),
    )


class NoSocket:
    """In place of a socket that nobody touches."""

    def close(self):
        pass


def generation(number, slots=0, config=None):
    bound = BoundListener("public", "127.0.0.1:0", slots=tuple(NoSocket() for _ in range(slots)))
    return Generation(number, f"digest-{number}", config or configuration(), f"/run/plan-{number}.json", (bound,))
