"""
A data process: ``python -m suuupra_gateway.process.worker SLOT CONTROL MEMORY LISTENER…``, started by the supervisor only.

The numbers are descriptors that it inherits; a LISTENER is ``NAME:-:FD`` for a shared socket and ``NAME:K:FD`` for the one of
slot K. Everything else comes over the control connection.
"""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import socket
import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IAddress
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.logger import (
    FilteringLogObserver,
    ILogObserver,
    LogLevel,
    LogLevelFilterPredicate,
    globalLogBeginner,
    textFileLogObserver,
)
from twisted.python.failure import Failure
from twisted.python.reflect import namedAny

import suuupra_gateway
from suuupra_gateway.process import control
from suuupra_gateway.process.board import WorkerBoard
from suuupra_gateway.process.collector import Collector

if TYPE_CHECKING:
    from suuupra_gateway.process.serving import Serving


LOGGER = "SUUUPRA_GATEWAY_LOGGER"
"""Environment variable by which the supervisor tells its workers the factory of its log observer."""


class WorkerEnd(control.End):
    """The worker's end of the control connection: commands in, calls of a `Serving` out."""

    serving: Serving
    """Set before the connection is made."""

    def __init__(self, slot: int, collector: Collector, reactor: Any) -> None:
        super().__init__()
        self.board = WorkerBoard(self, reactor)
        self._slot = slot
        self._collector = collector

    def connectionMade(self) -> None:
        super().connectionMade()
        self.callRemote(
            control.Hello, version=control.VERSION, slot=self._slot, release=suuupra_gateway.__version__
        ).addErrback(lambda _: None)  # the supervisor ends us

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        super().connectionLost(reason)
        self.serving.orphaned()

    def say_farewell(self, length: int) -> Deferred[None]:
        """Tell the supervisor where the last tally is; fires when it knows, or can no longer be told."""
        if self.transport is None:
            return succeed(None)
        said: Deferred[object] = self.callRemote(control.Farewell, length=length)
        return said.addBoth(lambda _: None)

    @control.Prepare.responder
    def prepare(self, generation: int, digest: str, path: str) -> Deferred[dict[str, object]]:
        """See `Serving.prepare`."""

        def refused(failure: Failure) -> Failure:
            self._collector.resume()
            return failure

        self._collector.rest()
        prepared = Deferred.fromCoroutine(self.serving.prepare(generation, digest, path))
        return prepared.addCallbacks(lambda _: {}, refused)

    @control.Commit.responder
    def commit(self, generation: int) -> dict[str, object]:
        """See `Serving.commit`."""
        self.serving.commit(generation)
        self._collector.settle()
        return {}

    @control.Discard.responder
    def discard(self, generation: int) -> dict[str, object]:
        """See `Serving.discard`."""
        self.serving.discard()
        self._collector.resume()
        return {}

    @control.Ping.responder
    def ping(self) -> dict[str, object]:
        """Answered by the same loop that serves requests: that is the point."""
        serving = self.serving
        return {"generation": serving.generation, "connections": serving.connections, "lag": serving.lag}

    @control.Snapshot.responder
    def snapshot(self) -> dict[str, object]:
        """See `Serving.write_tally`."""
        return {"length": self.serving.write_tally()}

    @control.Adopt.responder
    def adopt(self, slot: int) -> dict[str, object]:
        """See `Serving.adopt`."""
        self.serving.adopt(slot)
        return {}

    @control.Release.responder
    def release(self, slot: int) -> dict[str, object]:
        """See `Serving.release`."""
        self.serving.release(slot)
        return {}

    @control.Reopen.responder
    def reopen(self) -> dict[str, object]:
        """See `Serving.reopen`."""
        self.serving.reopen()
        return {}

    @control.Post.responder
    def post(self, topic: str, number: int, last: bool, piece: bytes) -> dict[str, object]:
        """See `WorkerBoard.posted`."""
        self.board.posted(topic, number, last, piece)
        return {}

    @control.Retract.responder
    def retract(self, topic: str) -> dict[str, object]:
        """See `WorkerBoard.retracted`."""
        self.board.retracted(topic)
        return {}

    @control.Event.responder
    def event(self, topic: str, event: bytes) -> dict[str, object]:
        """See `WorkerBoard.heard`."""
        self.board.heard(topic, event)
        return {}

    @control.Drain.responder
    def drain(self, grace: float) -> dict[str, object]:
        """See `Serving.drain`."""
        self.serving.drain(grace)
        return {}


class _Single(Factory):
    noisy = False

    def __init__(self, protocol: control.End) -> None:
        self._protocol = protocol

    def buildProtocol(self, addr: IAddress | None) -> Protocol | None:
        return self._protocol


def connect(reactor: Any, sock: socket.socket, protocol: control.End) -> None:
    """Speak ``protocol`` on one end of a socket pair, of which this takes ownership."""
    sock.setblocking(False)
    reactor.adoptStreamConnection(sock.fileno(), socket.AF_UNIX, _Single(protocol))
    sock.close()


def inherited(words: Iterable[str]) -> dict[str, tuple[tuple[socket.socket, ...], tuple[socket.socket, ...]]]:
    """The listening sockets that the command line names: shared ones and slots, by listener."""
    found: dict[str, tuple[tuple[socket.socket, ...], tuple[socket.socket, ...]]] = {}
    for word in words:
        name, slot, descriptor = word.split(":")
        sock = socket.socket(fileno=int(descriptor))
        sock.set_inheritable(False)
        shared, slots = found.get(name, ((), ()))
        found[name] = ((*shared, sock), slots) if slot == "-" else (shared, (*slots, sock))
    return found


def _observer() -> ILogObserver:
    """What twistd's ``--logger`` names, if that is for workers too; else text on standard error."""
    name = os.environ.get(LOGGER)
    if name:
        observer: ILogObserver = namedAny(name)()
        return observer
    return textFileLogObserver(sys.stderr)


def main(arguments: Sequence[str]) -> None:
    """Run until drained."""
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, signal.SIG_IGN)  # a terminal or a service manager sends them to all; the supervisor knows
    slot, descriptor, memory = map(int, arguments[:3])
    with contextlib.suppress(OSError), open("/proc/self/comm", "w", encoding="ascii") as comm:
        comm.write(f"suuupra-w{slot}")

    # Shells and containers give 1024 files to begin with, as select(2) knows no more; as many as one client can connect.
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))

    from suuupra_gateway.net.reactor import install

    install()
    from twisted.internet import reactor

    from suuupra_gateway.process.serving import Serving, Sockets

    globalLogBeginner.beginLoggingTo(
        [FilteringLogObserver(_observer(), [LogLevelFilterPredicate(LogLevel.info)])], redirectStandardIO=False
    )
    os.set_inheritable(memory, False)
    loop: Any = reactor
    sockets = {name: Sockets(*both) for name, both in inherited(arguments[3:]).items()}
    collector = Collector()
    end = WorkerEnd(slot, collector, loop)
    gone: Deferred[None] = Deferred()
    shutdown = False

    def left(length: int) -> None:
        end.say_farewell(length).addTimeout(1.0, loop).addBoth(lambda _: gone.callback(None))

    def stop(_: object) -> None:
        if not shutdown:
            loop.stop()

    def stopping() -> Deferred[None]:
        # After `stop` this has nothing to wait for; upon a SIGTERM to this very process it has.
        nonlocal shutdown
        shutdown = True
        end.serving.drain(end.serving.grace)
        return gone

    end.serving = Serving(loop, slot, sockets, memory, left, end.board)
    gone.addCallback(stop)
    loop.addSystemEventTrigger("before", "shutdown", stopping)
    connect(loop, socket.socket(fileno=descriptor), end)
    collector.begin()
    loop.run()


if __name__ == "__main__":
    # Imported under its real name too, so that its classes exist once.
    from suuupra_gateway.process.worker import main as run

    run(sys.argv[1:])
