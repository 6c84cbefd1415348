"""
Listening ports on sockets that may be shared with other processes.

Closing one gives back our descriptor and nothing else: the socket is never shut down, which would end it for all who share
it, no file is removed, and connections that were accepted live on. Keep a reference to a port for as long as it listens.
"""

from __future__ import annotations

import errno
import socket
import ssl
import sys
from collections.abc import Coroutine
from functools import partial
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import (
    IAddress,
    IDelayedCall,
    IListeningPort,
    IProtocol,
    IProtocolFactory,
    IReadDescriptor,
)
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from suuupra_gateway.net.transport import SecureTransport, StreamTransport, twisted_address

_HANDSHAKE = 10.0
"""Seconds that a client may take for its TLS handshake."""

_ACCEPTS = 64
"""Connections accepted per turn of the reactor, so that a storm of them does not starve the others."""

_FULL = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})

_PAUSE = 1.0
"""Seconds without accepting when descriptors or memory have run out; the kernel goes on queueing."""


def _at_once(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """The result of a coroutine that waits for nothing, other than for the next turn of the loop (``sleep(0)``)."""
    try:
        while coroutine.send(None) is None:
            pass
    except StopIteration as done:
        return done.value
    coroutine.close()
    raise RuntimeError("The event loop had to wait for a listening socket")


def _prepare(sock: socket.socket, backlog: int) -> None:
    sock.setblocking(False)
    if sock.family != socket.AF_UNIX:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # on Linux, what is accepted inherits it
    sock.listen(backlog)  # uvloop would do this too, but swallows the error


@implementer(IListeningPort)
class LoopPort:
    """A port on an asyncio loop; its connections are `StreamTransport`s."""

    __slots__ = ("_factory", "_host", "_server", "_start")

    def __init__(
        self, loop: Any, sock: socket.socket, factory: IProtocolFactory, tls: ssl.SSLContext | None, backlog: int
    ) -> None:
        self._factory = factory
        self._host = twisted_address(sock.getsockname())
        _prepare(sock, backlog)
        options: dict[str, Any] = {"sock": sock, "backlog": backlog, "ssl": tls}
        if tls is not None:
            options["ssl_handshake_timeout"] = _HANDSHAKE
        build = partial(StreamTransport if tls is None else SecureTransport, factory)
        if sock.family == socket.AF_UNIX:
            if sys.version_info >= (3, 13):
                options["cleanup_socket"] = False  # else closing would remove the file that siblings listen on
            self._start = partial(loop.create_unix_server, build, **options)
        else:
            self._start = partial(loop.create_server, build, **options)
        self._server: Any = None

    def startListening(self) -> None:
        """Accept connections from now on. `listen` has done this."""
        self._server = _at_once(self._start())
        self._factory.doStart()

    def stopListening(self) -> Deferred[None]:
        """Accept no more and close our descriptor, now. Idempotent."""
        server, self._server = self._server, None
        if server is not None:
            server.close()
            self._factory.doStop()
        return succeed(None)

    def getHost(self) -> IAddress:
        """The address that is listened on."""
        return self._host


@implementer(IListeningPort, IReadDescriptor)
class AcceptingPort:
    """
    A port on any other reactor of Twisted's; its connections are Twisted's own.

    Twisted's own port will not do for UNIX sockets: adopting one changes its mode and backlog, and closing it shuts it down
    and removes its file.
    """

    __slots__ = ("_reactor", "_socket", "_factory", "_host", "_again")

    log = Logger()

    def __init__(self, reactor: Any, sock: socket.socket, factory: IProtocolFactory, backlog: int) -> None:
        self._reactor = reactor
        self._socket = sock
        self._factory = factory
        self._host = twisted_address(sock.getsockname())
        self._again: IDelayedCall | None = None
        _prepare(sock, backlog)

    def startListening(self) -> None:
        """Accept connections from now on. `listen` has done this."""
        self._factory.doStart()
        self._reactor.addReader(self)

    def stopListening(self) -> Deferred[None]:
        """Accept no more and close our descriptor, now. Idempotent."""
        if self._socket.fileno() != -1:
            if self._again is not None:
                self._again.cancel()
                self._again = None
            self._reactor.removeReader(self)
            self._socket.close()
            self._factory.doStop()
        return succeed(None)

    def getHost(self) -> IAddress:
        """The address that is listened on."""
        return self._host

    def fileno(self) -> int:
        """-1 when closed."""
        return self._socket.fileno()

    def doRead(self) -> None:
        """Connections wait, or did before a sibling took them."""
        for _ in range(_ACCEPTS):
            if self._socket.fileno() == -1:
                return
            try:
                connection, _ = self._socket.accept()
            except BlockingIOError:
                return
            except OSError as reason:
                if reason.errno in _FULL:
                    self.log.error("No connection can be accepted for a while: {reason}", reason=reason)
                    self._reactor.removeReader(self)
                    self._again = self._reactor.callLater(_PAUSE, self._resume)
                    return
                continue  # it was reset before we came to it
            with connection:
                connection.setblocking(False)
                try:
                    self._reactor.adoptStreamConnection(connection.fileno(), self._socket.family, self)
                except OSError:
                    pass  # likewise
                except Exception:
                    self.log.failure("A connection's protocol could not begin")

    def buildProtocol(self, addr: IAddress) -> IProtocol | None:
        """Called for each connection; an exception here would leave it open for ever."""
        try:
            return self._factory.buildProtocol(addr)
        except Exception:
            self.log.failure("A connection's protocol could not be built")
            return None

    def _resume(self) -> None:
        self._again = None
        self._reactor.addReader(self)

    def connectionLost(self, reason: Failure) -> None:
        """The reactor stops, or the descriptor is broken."""
        self.stopListening()

    def logPrefix(self) -> str:
        """For Twisted's log."""
        return type(self).__name__
