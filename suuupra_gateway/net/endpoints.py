"""
Listening and connecting.

On an asyncio loop, uvloop's above all, with the loop's own transports (`net/transport.py`); on any other reactor with
Twisted's. Arguments, errors and behaviour are the same.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import ssl
from typing import Any, NoReturn

from twisted.internet import error
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.endpoints import HostnameEndpoint, TCP4ClientEndpoint, TCP6ClientEndpoint, UNIXClientEndpoint
from twisted.internet.interfaces import (
    IAddress,
    IDelayedCall,
    IListeningPort,
    IProtocol,
    IProtocolFactory,
    IReactorTime,
    IStreamClientEndpoint,
    ITCPTransport,
)
from twisted.python.failure import Failure
from zope.interface import implementer

from suuupra_gateway.errors import ConnectRefused, ConnectTimeout, NameNotFound, TLSCertificateRefused, TLSFailed
from suuupra_gateway.net.address import Address
from suuupra_gateway.net.ports import AcceptingPort, LoopPort
from suuupra_gateway.net.reactor import loop_of
from suuupra_gateway.net.tls import ClientTLS
from suuupra_gateway.net.tlslayer import TLSLayer, TLSLayerFactory
from suuupra_gateway.net.transport import SecureTransport, StreamTransport

BACKLOG = 4096
"""Connections that the kernel queues. Listening on an inherited socket sets it anew, so it must be said each time."""

_CLOSING = 5.0
"""Seconds that a server may take to answer our TLS close_notify before the connection is cut."""


def listen(
    reactor: IReactorTime,
    sock: socket.socket,
    factory: IProtocolFactory,
    *,
    tls: ssl.SSLContext | None = None,
    backlog: int = BACKLOG,
) -> IListeningPort:
    """
    Accept connections on ``sock``, which is bound, and may be shared with other processes or have SO_REUSEPORT siblings.

    :param sock: TCP over IPv4 or IPv6, or UNIX stream. It is ours from now on, also if this fails; keep a duplicate if it is
        needed once more after ``stopListening``.
    :param tls: a server's context; the handshake is over before ``factory`` is asked for a protocol.
    :raises OSError: if the kernel refuses.
    """
    loop = loop_of(reactor)
    port: LoopPort | AcceptingPort
    try:
        if loop is not None:
            port = LoopPort(loop, sock, factory, tls, backlog)
        else:
            port = AcceptingPort(reactor, sock, factory if tls is None else TLSLayerFactory(factory, tls), backlog)
        port.startListening()
    except BaseException:
        sock.close()
        raise
    return port


def connect(
    reactor: IReactorTime,
    address: Address,
    factory: IProtocolFactory,
    *,
    tls: ClientTLS | None = None,
    connect_timeout: float,
    tls_timeout: float,
) -> Deferred[IProtocol]:
    """
    Connect to ``address`` and let ``factory`` build the protocol, of which nothing but ``buildProtocol`` is called.

    Cancelling gives everything back. Nothing of a request has been sent when this fails, so any peer may be tried next.

    :param connect_timeout: seconds for the name and the TCP handshake, all addresses of the name together.
    :param tls_timeout: seconds for the TLS handshake, after that.
    :return: the protocol, after its ``connectionMade``; or errback `NameNotFound`, `ConnectRefused`, `ConnectTimeout` (of
        either handshake), `TLSFailed`, `TLSCertificateRefused`, `error.NoProtocol` if the factory built none,
        `CancelledError`, or what the factory raised.
    """
    loop = loop_of(reactor)
    # uvloop cannot connect to abstract UNIX sockets; Twisted's own transports can, on any reactor.
    if loop is None or address.path.startswith("@"):
        return Deferred.fromCoroutine(_connected(reactor, address, factory, tls, connect_timeout, tls_timeout))
    return _Dialing(reactor, loop, address, factory, tls, connect_timeout, tls_timeout).result


def _translated(reason: BaseException, address: Address, *, secure: bool) -> BaseException:
    """The gateway's error for what sockets, resolvers and TLS raise; ``secure`` once the TLS handshake has begun."""
    made: BaseException
    if isinstance(reason, ssl.SSLCertVerificationError):
        made = TLSCertificateRefused(f"{address}: {reason.verify_message or reason}")
    elif isinstance(reason, ssl.SSLError) or (secure and isinstance(reason, (OSError, error.ConnectionClosed))):
        made = TLSFailed(f"{address}: {reason}")
    elif isinstance(reason, (socket.gaierror, UnicodeError, error.DNSLookupError)):
        made = NameNotFound(f"{address}: {reason}")
    elif isinstance(reason, (TimeoutError, error.TimeoutError)):
        made = ConnectTimeout(f"{address}: {reason}")
    elif isinstance(reason, (OSError, error.ConnectError)):
        made = ConnectRefused(f"{address}: {reason}")
    else:
        made = reason
    return made


def _late(address: Address, seconds: float, *, secure: bool) -> ConnectTimeout:
    what = "TLS handshake" if secure else "connection"
    return ConnectTimeout(f"{address}: no {what} within {seconds:g} s")


class _Silence(asyncio.Protocol):
    """Holds a connection until TLS begins: a TLS server waits for the client to speak first (RFC 8446 section 2)."""

    def __init__(self) -> None:
        self.broken = False

    def data_received(self, data: bytes) -> None:
        """Something in the clear, which nobody has asked for and nobody may take for an answer (CVE-2026-1642)."""
        self.broken = True


class _Dialing:
    """
    One attempt to connect on an asyncio loop.

    States: reaching (TCP, ``_task`` runs), securing (TLS, likewise), over (``result`` has fired or was cancelled).
    """

    __slots__ = (
        "result",
        "_reactor",
        "_loop",
        "_address",
        "_stream",
        "_tls",
        "_tls_timeout",
        "_timer",
        "_task",
        "_secure",
        "_over",
    )

    def __init__(
        self,
        reactor: IReactorTime,
        loop: asyncio.AbstractEventLoop,
        address: Address,
        factory: IProtocolFactory,
        tls: ClientTLS | None,
        connect_timeout: float,
        tls_timeout: float,
    ) -> None:
        self.result: Deferred[IProtocol] = Deferred(self._cancelled)
        self._reactor = reactor
        self._loop = loop
        self._address = address
        self._stream = (StreamTransport if tls is None else SecureTransport)(factory, self._made)
        self._tls = tls
        self._tls_timeout = tls_timeout
        self._secure = False
        self._over = False
        self._timer: IDelayedCall = reactor.callLater(connect_timeout, self._timed_out, connect_timeout)
        self._task = loop.create_task(self._run())
        self._task.add_done_callback(self._ran)

    async def _run(self) -> None:
        tls = self._tls
        if tls is None:
            await self._reach(lambda: self._stream)
            return
        silence = _Silence()
        raw = await self._reach(lambda: silence)
        try:
            self._secure = True
            self._timer.cancel()
            self._timer = self._reactor.callLater(self._tls_timeout, self._timed_out, self._tls_timeout)
            if raw.is_closing():
                raise ConnectionResetError("closed before the TLS handshake")
            if silence.broken:
                raise ssl.SSLError("spoken to in the clear before the TLS handshake")
            transport = await self._loop.start_tls(
                raw,
                self._stream,  # type: ignore[arg-type]  # has all that asyncio asks of a protocol
                tls.context,
                server_hostname=tls.server_name or None,
                ssl_handshake_timeout=self._tls_timeout + _CLOSING,  # ours comes first
                ssl_shutdown_timeout=_CLOSING,
            )
        except BaseException:
            raw.abort()  # uvloop leaves it open if the handshake has not begun
            raise
        self._stream.connection_made(transport)

    async def _reach(self, protocol_factory: Any) -> Any:
        address = self._address
        if address.path:
            transport, _ = await self._loop.create_unix_connection(protocol_factory, address.path)
        else:
            transport, _ = await self._loop.create_connection(protocol_factory, address.host, address.port)
        return transport

    def _made(self, outcome: IProtocol | BaseException) -> None:
        """The transport has a protocol, or the reason why it has none."""
        if self._over:
            self._stream.abortConnection()  # cancelled or timed out in the same turn
        elif isinstance(outcome, BaseException):
            self._fail(outcome)
        else:
            self._end()
            self.result.callback(outcome)

    def _ran(self, task: asyncio.Task[None]) -> None:
        """No more will come of the task."""
        if task.cancelled():
            reason: BaseException | None = ConnectRefused(f"{self._address}: the event loop stopped")
        else:
            reason = task.exception()
        if reason is not None and not self._over:
            made = _translated(reason, self._address, secure=self._secure)
            if made is not reason:
                made.__cause__ = reason
            self._fail(made)

    def _timed_out(self, seconds: float) -> None:
        self._fail(_late(self._address, seconds, secure=self._secure))

    def _cancelled(self, result: Deferred[IProtocol]) -> None:
        self._end()
        self._give_up()

    def _fail(self, reason: BaseException) -> None:
        self._end()
        self._give_up()
        self.result.errback(Failure(reason))  # type: ignore[no-untyped-call]  # Twisted's

    def _give_up(self) -> None:
        if self._stream.connected:
            # Cancelling the task now would let uvloop close the socket without telling the protocol.
            self._stream.abortConnection()
        else:
            self._task.cancel()

    def _end(self) -> None:
        self._over = True
        if self._timer.active():
            self._timer.cancel()


@implementer(IProtocolFactory)
class _Once:
    """Builds what `_connected` needs; Twisted's endpoints call its ``doStart`` and ``doStop`` in place of the factory's."""

    __slots__ = ("_factory", "_tls", "_made")

    def __init__(self, factory: IProtocolFactory, tls: ClientTLS | None, made: Deferred[IProtocol]) -> None:
        self._factory = factory
        self._tls = tls
        self._made = made

    def doStart(self) -> None:
        """Nothing."""

    def doStop(self) -> None:
        """Nothing."""

    def buildProtocol(self, addr: IAddress) -> IProtocol | None:
        """The protocol itself, or the TLS layer that will ask for it."""
        if self._tls is None:
            return self._factory.buildProtocol(addr)
        return TLSLayer(self._factory, self._tls.context, self._tls.server_name, self._outcome)

    def _outcome(self, outcome: IProtocol | BaseException) -> None:
        if isinstance(outcome, BaseException):
            self._made.errback(Failure(outcome))  # type: ignore[no-untyped-call]  # Twisted's
        else:
            self._made.callback(outcome)


def _endpoint(reactor: Any, address: Address, seconds: float) -> IStreamClientEndpoint:
    if address.path:
        path = "\0" + address.path[1:] if address.path.startswith("@") else address.path
        return UNIXClientEndpoint(reactor, path, timeout=seconds)  # type: ignore[no-untyped-call]
    try:
        version = ipaddress.ip_address(address.host).version
    except ValueError:
        return HostnameEndpoint(reactor, address.host.encode("idna"), address.port, timeout=seconds)
    kind = TCP4ClientEndpoint if version == 4 else TCP6ClientEndpoint
    return kind(reactor, address.host, address.port, timeout=seconds)


def _raise(made: BaseException, reason: BaseException) -> NoReturn:
    if made is reason:
        raise reason
    raise made from reason


async def _connected(
    reactor: IReactorTime,
    address: Address,
    factory: IProtocolFactory,
    tls: ClientTLS | None,
    connect_timeout: float,
    tls_timeout: float,
) -> IProtocol:
    """As `connect`, with Twisted's own transports."""
    made: Deferred[IProtocol] = Deferred()
    try:
        dialed = _endpoint(reactor, address, connect_timeout + 1.0).connect(_Once(factory, tls, made))
        dialed.addTimeout(
            connect_timeout,
            reactor,
            lambda _, seconds: Failure(_late(address, seconds, secure=False)),  # type: ignore[no-untyped-call]
        )
        protocol = await dialed
    except error.ConnectingCancelledError as reason:
        raise CancelledError() from reason
    except Exception as reason:
        _raise(_translated(reason, address, secure=False), reason)
    transport = getattr(protocol, "transport", None)
    if ITCPTransport.providedBy(transport) and not address.path:
        transport.setTcpNoDelay(True)
    if tls is None:
        return protocol
    assert isinstance(protocol, TLSLayer)
    made.addTimeout(
        tls_timeout,
        reactor,
        lambda _, seconds: Failure(_late(address, seconds, secure=True)),  # type: ignore[no-untyped-call]
    )
    try:
        return await made
    except BaseException as reason:
        protocol.abortConnection()
        _raise(_translated(reason, address, secure=True), reason)
