"""
A transport of the event loop's own (uvloop's, or plain asyncio's) seen as a Twisted transport, for any `IProtocol`.

uvloop's sockets cost a third of Twisted's own per request, if nothing is put in between. So nothing is: the loop calls the
protocol's ``dataReceived`` itself, and ``write`` is the loop's own method. Both are attributes of the instance and change
when the connection ends, so look ``transport.write`` up when you write and never keep it.

In order: the loop calls ``connection_made`` (here the protocol is built), ``data_received`` any number of times, and once
``connection_lost``.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import struct
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from twisted.internet import error
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.interfaces import (
    IAddress,
    IConsumer,
    INegotiated,
    IProtocol,
    IProtocolFactory,
    IPushProducer,
    ISSLTransport,
    ITCPTransport,
)
from twisted.internet.main import CONNECTION_DONE
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from suuupra_gateway.net.tlslayer import certificate_of, protocol_of

if TYPE_CHECKING:
    from OpenSSL.crypto import X509

HIGH_WATER = 64 * 1024
"""Bytes waiting to be sent above which a producer is paused."""

LOW_WATER = 16 * 1024
"""Bytes at which it goes on. uvloop's own default is 16 *bytes*, which would let the socket run dry each time."""

_RESET = struct.pack("ii", 1, 0)


def _ignore(*data: object) -> None:
    """What ``write`` becomes when the connection is closing: Twisted's transports drop such bytes without a word."""


def _pause_again(transport: Any) -> None:
    """
    Stop reading once more if that was asked for when the connection was made.

    asyncio of Python 3.11.2 (Debian 12) begins to read after ``connection_made`` even so, and takes itself for paused.
    """
    if not (transport.is_closing() or transport.is_reading()):
        transport.resume_reading()
        transport.pause_reading()


def twisted_address(name: Any) -> IAddress:
    """The Twisted address for what ``getpeername`` and ``getsockname`` of the socket module return."""
    if isinstance(name, tuple):
        return IPv4Address("TCP", *name) if len(name) == 2 else IPv6Address("TCP", *name)
    return UNIXAddress(name or None)


@implementer(ITCPTransport, IConsumer, IPushProducer)
class StreamTransport:
    """
    One connection: the `asyncio.Protocol` of the loop's transport and the `ITransport` of a Twisted protocol in one.

    States: waiting (``connected`` is 0, no protocol yet), open, closing (``disconnecting``: what is written is still sent,
    and a registered producer may still write), lost (``connected`` is 0 again).
    """

    __slots__ = (
        "protocol",
        "connected",
        "disconnecting",
        "write",
        "writeSequence",
        "pauseProducing",
        "resumeProducing",
        "data_received",
        "_factory",
        "_made",
        "_transport",
        "_peer",
        "_host",
        "_producer",
        "_streaming",
        "_full",
        "_closed",
        "_aborted",
    )

    log = Logger()

    protocol: IProtocol | None
    """Who receives; None before there is one and after the connection is lost. Changed by `takeover`."""

    connected: int
    disconnecting: bool

    write: Callable[[bytes], None]
    """Send bytes, now if the socket takes them. Ignored once the connection is closing."""

    writeSequence: Callable[[Iterable[bytes]], None]
    """Send several pieces, in one system call if possible."""

    pauseProducing: Callable[[], None]
    """Stop reading. Idempotent, harmless when the connection is gone."""

    resumeProducing: Callable[[], None]
    """Read on. Idempotent, harmless when the connection is gone."""

    data_received: Callable[[bytes], None]
    """The protocol's own ``dataReceived``."""

    def __init__(
        self, factory: IProtocolFactory, made: Callable[[IProtocol | BaseException], None] | None = None
    ) -> None:
        """
        :param factory: builds the protocol when the connection is there; nothing else of it is called.
        :param made: called once, after the protocol's ``connectionMade``, with the protocol or with the reason why there is
            none (`error.NoProtocol` if the factory did not want the connection). Without it reasons go to the log.
        """
        self._factory = factory
        self._made = made
        self.protocol = None
        self.connected = 0
        self.disconnecting = False
        self.write = self.writeSequence = self.data_received = _ignore
        self.pauseProducing = self.resumeProducing = _ignore
        self._peer: IAddress | None = None
        self._host: IAddress | None = None
        self._producer: Any = None
        self._streaming = False
        self._full = False
        self._closed = False
        self._aborted = False

    # -- what the loop calls ------------------------------------------------------------------------------------------

    def connection_made(self, transport: Any) -> None:
        """The connection is there (and its TLS handshake done): build the protocol and let it begin."""
        self._transport = transport
        self.pauseProducing = transport.pause_reading
        self.resumeProducing = transport.resume_reading
        self.connected = 1
        made, self._made = self._made, None
        try:
            self._peer = twisted_address(transport.get_extra_info("peername"))
            protocol = self._factory.buildProtocol(self._peer)
            if protocol is None:
                raise error.NoProtocol()
            transport.set_write_buffer_limits(HIGH_WATER, LOW_WATER)
            self.write = transport.write
            self.writeSequence = transport.writelines
            self.takeover(protocol)
            protocol.makeConnection(self)
        except error.NoProtocol as reason:
            self._closed = True
            transport.abort()
            if made is not None:
                made(reason)
        except Exception as reason:
            if made is None:
                self.log.failure("A connection's protocol could not begin")
            self.abortConnection()
            if made is not None:
                made(reason)
        else:
            if not (self._closed or transport.is_reading()):
                asyncio.get_running_loop().call_soon(_pause_again, transport)
            if made is not None:
                made(protocol)

    def eof_received(self) -> bool | None:
        """The peer will send no more: the connection is over, as for Twisted's transports, and unsent bytes are dropped."""
        if self._transport.get_write_buffer_size():
            self._transport.abort()
        return None  # the loop closes

    def connection_lost(self, reason: Exception | None) -> None:
        """The end."""
        self.connected = 0
        self._closed = True
        self.write = self.writeSequence = self.data_received = _ignore
        self.pauseProducing = self.resumeProducing = _ignore
        producer, self._producer = self._producer, None
        protocol, self.protocol = self.protocol, None
        try:
            if producer is not None:
                producer.stopProducing()
        finally:
            if protocol is not None:
                protocol.connectionLost(Failure(self._lost(reason)))  # type: ignore[no-untyped-call]  # Twisted's

    def _lost(self, reason: Exception | None) -> Exception:
        """The exception by which Twisted's own transports would tell ``reason``."""
        if self._aborted:
            return error.ConnectionAborted()
        if reason is None:
            return CONNECTION_DONE
        if isinstance(reason, OSError):
            lost = error.ConnectionLost(str(reason))
            lost.__cause__ = reason
            return lost
        return reason  # raised by the protocol's dataReceived

    def pause_writing(self) -> None:
        """More than `HIGH_WATER` bytes wait to be sent."""
        self._full = True
        if self._producer is not None and self._streaming:
            self._producer.pauseProducing()

    def resume_writing(self) -> None:
        """No more than `LOW_WATER` bytes wait to be sent."""
        self._full = False
        if self._producer is not None:
            if self._streaming:
                self._producer.resumeProducing()
            else:
                self._pull(self._producer)

    # -- what protocols call ------------------------------------------------------------------------------------------

    def takeover(self, protocol: IProtocol) -> None:
        """
        Let ``protocol`` receive what comes from now on, and the end of the connection.

        Its ``makeConnection`` is *not* called: that is for whoever hands the connection over.
        """
        self.protocol = protocol
        self.data_received = protocol.dataReceived
        # uvloop keeps the bound method that it found when it was last told about its protocol.
        self._transport.set_protocol(self)

    def announce(self, peer: IAddress, host: IAddress) -> None:
        """Report other addresses than the socket's, as a proxy in front of us gave them."""
        self._peer = peer
        self._host = host

    def loseConnection(self) -> None:
        """Close when all is sent, and after a registered producer has been unregistered. Idempotent."""
        if self.connected and not self.disconnecting:
            self.disconnecting = True
            self.pauseProducing()
            self.resumeProducing = _ignore
            if self._producer is None:
                self._close()

    def _close(self) -> None:
        self._closed = True
        self.write = self.writeSequence = _ignore
        self._transport.close()

    def abortConnection(self) -> None:
        """Close now and drop what is not sent; TCP peers see a reset (RFC 9293 section 3.6), not an orderly end."""
        if not self.connected or self._aborted:
            return
        self._aborted = self._closed = self.disconnecting = True
        self.write = self.writeSequence = _ignore
        with contextlib.suppress(OSError):
            self._transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self._transport.abort()

    def loseWriteConnection(self) -> None:
        """Send what is written, then an end of stream; go on reading. Not possible with TLS."""
        if self.connected and not self.disconnecting:
            self.write = self.writeSequence = _ignore
            self._transport.write_eof()

    def getPeer(self) -> Any:  # an IAddress, but ITCPTransport does not know that there are UNIX sockets
        """Address of the other end."""
        assert self._peer is not None
        return self._peer

    def getHost(self) -> Any:  # likewise
        """Address of our end."""
        if self._host is None:
            self._host = twisted_address(self._transport.get_extra_info("sockname"))
        return self._host

    def getTcpNoDelay(self) -> bool:
        """Whether small segments are sent at once, which they are unless it was changed."""
        return self._option(socket.IPPROTO_TCP, socket.TCP_NODELAY)

    def setTcpNoDelay(self, enabled: bool) -> None:
        """Send small segments at once, or not. Nothing happens on UNIX sockets."""
        self._option(socket.IPPROTO_TCP, socket.TCP_NODELAY, enabled)

    def getTcpKeepAlive(self) -> bool:
        """Whether the kernel probes an idle peer."""
        return self._option(socket.SOL_SOCKET, socket.SO_KEEPALIVE)

    def setTcpKeepAlive(self, enabled: bool) -> None:
        """Let the kernel probe an idle peer, or not. Nothing happens on UNIX sockets."""
        self._option(socket.SOL_SOCKET, socket.SO_KEEPALIVE, enabled)

    def _option(self, level: int, name: int, value: bool | None = None) -> bool:
        sock = self._transport.get_extra_info("socket")
        if sock is None or sock.family == socket.AF_UNIX:
            return False
        if value is not None:
            sock.setsockopt(level, name, int(value))
        return bool(sock.getsockopt(level, name))

    # -- flow control -------------------------------------------------------------------------------------------------

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        """
        Let ``producer`` follow the peer's pace: a streaming one is paused and resumed, another asked for each piece.

        :raises RuntimeError: if there is one already.
        """
        if self._producer is not None:
            raise RuntimeError(f"Cannot register producer {producer}: {self._producer} was never unregistered")
        if self._closed or not self.connected:
            producer.stopProducing()
            return
        self._producer = producer
        self._streaming = streaming
        if not streaming:
            self._pull(producer)
        elif self._full:
            producer.pauseProducing()

    def unregisterProducer(self) -> None:
        """Forget the producer; closes the connection if that was waiting for it."""
        self._producer = None
        if self.disconnecting and not self._closed:
            self._close()

    def _pull(self, producer: Any) -> None:
        """Ask a pull producer for a piece, once per turn of the loop, until the buffer is full."""
        if producer is self._producer and not self._full:
            producer.resumeProducing()
            asyncio.get_running_loop().call_soon(self._pull, producer)

    def stopProducing(self) -> None:
        """As `loseConnection`."""
        self.loseConnection()

    def __repr__(self) -> str:
        state = "open" if self.connected else "not open"
        return f"<{type(self).__name__} of {self.protocol!r} with {self._peer}, {state}>"


@implementer(ISSLTransport, INegotiated)
class SecureTransport(StreamTransport):
    """A `StreamTransport` over TLS."""

    __slots__ = ("_ended",)

    def __init__(
        self, factory: IProtocolFactory, made: Callable[[IProtocol | BaseException], None] | None = None
    ) -> None:
        super().__init__(factory, made)
        self._ended = False

    def eof_received(self) -> bool | None:
        """The peer will send no more, and perhaps said so (``close_notify``, RFC 8446 section 6.1)."""
        # uvloop comes here only after a close_notify, asyncio also after a bare end of the TCP stream; OpenSSL knows.
        with contextlib.suppress(ssl.SSLWantReadError):
            try:
                self._ended = not self._transport.get_extra_info("ssl_object").read(1)
            except ssl.SSLZeroReturnError:
                self._ended = True
        return super().eof_received()

    def _lost(self, reason: Exception | None) -> Exception:
        if self._ended or self.disconnecting:
            # We or they said so; that a peer does not wait for, or answer, the last close_notify is common.
            return super()._lost(None)
        if reason is None:
            # RFC 9112 section 9.8: without close_notify nobody knows whether there should have been more.
            return error.ConnectionLost("The peer closed the connection without a TLS close_notify")
        return super()._lost(reason)

    def getPeerCertificate(self) -> X509 | None:
        """The peer's certificate, or None if it showed none."""
        return certificate_of(self._transport.get_extra_info("ssl_object"))

    @property
    def negotiatedProtocol(self) -> bytes | None:
        """The protocol agreed on by ALPN, or None."""
        return protocol_of(self._transport.get_extra_info("ssl_object"))
