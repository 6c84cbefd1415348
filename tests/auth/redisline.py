"""
`suuupra_gateway.net.redis.Redis` and a real server, without a reactor: what it sends goes over a blocking socket at once.
"""

from __future__ import annotations

import select
import socket
from typing import Any

from twisted.internet.error import ConnectionDone
from twisted.internet.testing import MemoryReactorClock, StringTransport
from twisted.python.failure import Failure

from suuupra_gateway.config.model import StoreSpec
from suuupra_gateway.net.redis import Redis
from tests.servers.redis import RedisServer

PATIENCE = 10.0


class _Transport(StringTransport):
    def __init__(self, path: str) -> None:
        super().__init__()
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(PATIENCE)
        self.socket.connect(path)
        self.gone = False

    def write(self, data: bytes) -> None:
        self.socket.sendall(data)

    def abortConnection(self) -> None:
        self.gone = True
        self.socket.close()

    loseConnection = abortConnection


class RedisLine:
    """A connected `Redis`. Its time stands still unless a test moves ``reactor``."""

    def __init__(self, server: RedisServer, prefix: str = "t") -> None:
        self.server = server
        self.reactor = MemoryReactorClock()
        self.redis = Redis(StoreSpec(url=f"unix:{server.path}", prefix=prefix), self.reactor)
        self.redis.start()
        self._transport: _Transport | None = None
        self._protocol: Any = None
        self.connect()

    def connect(self) -> None:
        """Accept the last attempt to connect."""
        factory: Any = self.reactor.unixClients[-1][1]
        self._protocol = factory.buildProtocol(None)
        self._transport = _Transport(self.server.path)
        self._protocol.makeConnection(self._transport)
        self.pump(0.2)

    def cut(self) -> None:
        """Lose the connection."""
        assert self._transport is not None
        self._transport.abortConnection()
        self._protocol.connectionLost(Failure(ConnectionDone()))

    def pump(self, wait: float = 0.0) -> bool:
        """Hand on what the server has sent, waiting so many seconds for it; whether there was anything."""
        transport = self._transport
        if transport is None or transport.gone:
            return False
        found = False
        while not transport.gone and select.select([transport.socket], [], [], wait)[0]:
            data = transport.socket.recv(65536)
            if not data:
                return found
            found = True
            self._protocol.dataReceived(data)
            wait = 0.0
        return found

    def close(self) -> None:
        """Give the socket back."""
        if self._transport is not None:
            self._transport.abortConnection()
