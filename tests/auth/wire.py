"""
The other end of what is asked over the network, in memory.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.error import ConnectionDone
from twisted.internet.testing import MemoryReactorClock, StringTransport
from twisted.python.failure import Failure


class Transport(StringTransport):
    """One that can be told all that a real one can."""

    def abortConnection(self) -> None:
        self.loseConnection()

    def setTcpNoDelay(self, enabled: bool) -> None:
        """Nothing to do."""


class Wire:
    """A reactor, and the servers that somebody connects to by it."""

    def __init__(self) -> None:
        self.reactor = MemoryReactorClock()
        self._taken = 0

    def connect(self) -> Transport:
        """Accept the next connection; what was sent is in the transport."""
        factory: Any = self.reactor.tcpClients[self._taken][2]
        self._taken += 1
        self.protocol = factory.buildProtocol(None)
        self.transport = Transport()
        self.protocol.makeConnection(self.transport)
        return self.transport

    def answer(self, data: bytes) -> None:
        """Send something over the last connection."""
        self.protocol.dataReceived(data)

    def hang_up(self, reason: type[Exception] = ConnectionDone) -> None:
        """Close the last connection."""
        self.protocol.connectionLost(Failure(reason()))
