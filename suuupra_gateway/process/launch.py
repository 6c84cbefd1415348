"""
What a worker runs in: a process of its own, or this one.
"""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Iterable
from typing import Any

from twisted.internet.error import ProcessDone, ProcessTerminated
from twisted.internet.interfaces import IProcessTransport
from twisted.internet.protocol import ProcessProtocol
from twisted.logger import Logger
from twisted.python.failure import Failure

from suuupra_gateway.process.child import Child
from suuupra_gateway.process.collector import Untouched
from suuupra_gateway.process.notify import environment
from suuupra_gateway.process.serving import Serving, Sockets
from suuupra_gateway.process.sockets import BoundListener
from suuupra_gateway.process.worker import LOGGER, WorkerEnd, connect

_CONTROL, _MEMORY, _FIRST = 3, 4, 5


class WorkerProcess(ProcessProtocol):
    """A worker in a process of its own. Lives as long as the process."""

    log = Logger()

    transport: IProcessTransport

    def __init__(self, child: Child) -> None:
        self.pid = 0
        self._child = child
        self._over = False
        self._rest = b""

    def connectionMade(self) -> None:
        """It has been started."""
        self.pid = self.transport.pid or 0

    def kill(self) -> None:
        """SIGKILL."""
        if not self._over:
            self.transport.signalProcess("KILL")

    def childDataReceived(self, childFD: int, data: bytes) -> None:
        # Only of a daemon, whose own descriptors 1 and 2 lead nowhere.
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            self.log.info("worker {slot}: {line}", slot=self._child.slot, line=line.decode("utf-8", "backslashreplace"))

    def processExited(self, reason: Failure) -> None:
        self._over = True
        self._child.exited(_why(reason))


def _why(reason: Failure) -> str:
    ended = reason.value
    if isinstance(ended, ProcessDone):
        return "exit code 0"
    if isinstance(ended, ProcessTerminated):
        return f"signal {ended.signal}" if ended.signal is not None else f"exit code {ended.exitCode}"
    return reason.getErrorMessage()


def in_process(reactor: Any, child: Child, bound: Iterable[BoundListener], logger: str = "") -> None:
    """
    Start ``child`` as a process that inherits the sockets of ``bound``; it runs what is installed now.

    :param logger: factory of its log observer, as for ``twistd --logger``; empty for text on standard error.
    """
    ours, theirs = socket.socketpair()
    output: int | str = "r" if _leads_nowhere(2) else 2
    inherits: dict[int, int | str] = {
        0: 0,
        1: "r" if output == "r" else 1,
        2: output,
        _CONTROL: theirs.fileno(),
        _MEMORY: child.memory,
    }
    words: list[str] = []
    for listener in bound:
        slots = [("-", sock) for sock in listener.shared] + [(str(k), sock) for k, sock in enumerate(listener.slots)]
        for slot, sock in slots:
            descriptor = _FIRST + len(words)
            inherits[descriptor] = sock.fileno()
            words.append(f"{listener.name}:{slot}:{descriptor}")
    process = child.body = WorkerProcess(child)
    command = [sys.executable, "-m", "suuupra_gateway.process.worker", str(child.slot), str(_CONTROL), str(_MEMORY)]
    reactor.spawnProcess(
        process, sys.executable, command + words, env={**environment(), LOGGER: logger}, childFDs=inherits
    )
    theirs.close()
    connect(reactor, ours, child.control)


def _leads_nowhere(descriptor: int) -> bool:
    try:
        return os.fstat(descriptor).st_rdev == os.stat(os.devnull).st_rdev
    except OSError:
        return True


class WorkerHere:
    """A worker in the supervisor's own process: for development. Its crash is ours."""

    def __init__(self, child: Child, serving: Serving) -> None:
        self.pid = os.getpid()
        self._child = child
        self._serving = serving

    def kill(self) -> None:
        """Cut its connections; it is gone soon after."""
        self._serving.drain(0.0)


def inside(reactor: Any, child: Child, bound: Iterable[BoundListener]) -> None:
    """Start ``child`` in this process. It is spoken to in the same way, over a socket pair."""
    ours, theirs = socket.socketpair()
    sockets = {
        listener.name: Sockets(
            tuple(sock.dup() for sock in listener.shared), tuple(sock.dup() for sock in listener.slots)
        )
        for listener in bound
    }
    end = WorkerEnd(child.slot, Untouched(), reactor)

    def left(length: int) -> None:
        def over(_: object) -> None:
            if end.transport is not None:
                end.transport.loseConnection()
            os.close(memory)
            reactor.callLater(0, child.exited, "drained")

        end.say_farewell(length).addBoth(over)

    memory = os.dup(child.memory)
    end.serving = Serving(reactor, child.slot, sockets, memory, left, end.board)
    child.body = WorkerHere(child, end.serving)
    connect(reactor, theirs, end)
    connect(reactor, ours, child.control)
