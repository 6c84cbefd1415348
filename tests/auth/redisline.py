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
        self._accept()

    def connect(self) -> None:
        """Let the next attempt to connect succeed."""
        before = len(self.reactor.unixClients)
        for _ in range(100):
            if len(self.reactor.unixClients) > before:
                break
            self.reactor.advance(0.1)
        self._accept()

    def _accept(self) -> None:
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
        """Hand on what the server says to whatever it was asked, or in so many seconds; whether there was anything."""
        transport = self._transport
        found = False
        while transport is not None and not transport.gone:
            connection = self.redis._link.connection
            asked = connection is not None and bool(connection._pending)
            if not select.select([transport.socket], [], [], PATIENCE if asked else wait)[0]:
                break
            data = transport.socket.recv(65536)
            if not data:
                break
            found = True
            self._protocol.dataReceived(data)
            wait = 0.0
        return found

    def close(self) -> None:
        """Give the socket back."""
        if self._transport is not None:
            self._transport.abortConnection()
