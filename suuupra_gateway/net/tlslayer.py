"""
TLS between one of Twisted's own transports and a protocol, by the standard library's `ssl`.

Used where the reactor runs on no asyncio loop, so that connections are verified by the same code and configuration as
on uvloop, which has TLS of its own. The protocol is built when the handshake is done, and sees a transport.
"""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from twisted.internet import error
from twisted.internet.interfaces import (
    IAddress,
    IConsumer,
    INegotiated,
    IProtocol,
    IProtocolFactory,
    IPushProducer,
    ISSLTransport,
)
from twisted.internet.protocol import Protocol
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import directlyProvides, implementer, providedBy

if TYPE_CHECKING:
    from OpenSSL.crypto import X509

_PIECE = 64 * 1024
"""Bytes decrypted at once."""


def certificate_of(tls: ssl.SSLObject) -> X509 | None:
    """The peer's certificate as pyOpenSSL has it, which is what `ISSLTransport` promises; None if it showed none."""
    from cryptography.x509 import load_der_x509_certificate
    from OpenSSL.crypto import X509

    encoded = tls.getpeercert(binary_form=True)
    return None if encoded is None else X509.from_cryptography(load_der_x509_certificate(encoded))


def protocol_of(tls: ssl.SSLObject) -> bytes | None:
    """The protocol agreed on by ALPN (RFC 7301), or None."""
    chosen = tls.selected_alpn_protocol()
    return None if chosen is None else chosen.encode("ascii")


class TLSLayer(Protocol):
    """
    One connection: the protocol of the raw transport, and the transport of the protocol above.

    States: shaking hands (no protocol yet), open, closing, lost.
    """

    log = Logger()

    disconnecting = False

    def __init__(
        self,
        factory: IProtocolFactory,
        context: ssl.SSLContext,
        server_name: str | None,
        made: Callable[[IProtocol | BaseException], None] | None = None,
    ) -> None:
        """
        :param server_name: the name to expect of the server; None if we are the server.
        :param made: as for `StreamTransport`; failures of the handshake are told as `ssl.SSLError` or `error.ConnectionLost`.
        """
        self._factory = factory
        self._made = made
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._tls = context.wrap_bio(
            self._incoming, self._outgoing, server_side=server_name is None, server_hostname=server_name or None
        )
        self.protocol: IProtocol | None = None
        self._paused = False
        self._delivering = False
        self._producing = False
        self._closed = False
        self._ended = False
        self._broken: Exception | None = None

    # -- what the raw transport calls ---------------------------------------------------------------------------------

    def connectionMade(self) -> None:
        """Begin the handshake."""
        assert self.transport is not None
        directlyProvides(self, providedBy(self.transport), ISSLTransport, INegotiated, IConsumer, IPushProducer)
        self._shake()

    def dataReceived(self, data: bytes) -> None:
        """Encrypted bytes came."""
        self._incoming.write(data)
        if self.protocol is None:
            self._shake()
        if self.protocol is not None:
            self._deliver()

    def connectionLost(self, reason: Failure) -> None:  # type: ignore[override]  # the default value is of no use
        """The end, orderly or not."""
        self._closed = True
        protocol, self.protocol = self.protocol, None
        if self._broken is not None:
            reason = Failure(self._broken)  # type: ignore[no-untyped-call]  # Twisted's
        elif isinstance(reason.value, error.ConnectionDone) and not self._ended and not self.disconnecting:
            # RFC 9112 section 9.8: without close_notify nobody knows whether there should have been more.
            lost = error.ConnectionLost("The peer closed the connection without a TLS close_notify")
            reason = Failure(lost)  # type: ignore[no-untyped-call]
        if protocol is not None:
            protocol.connectionLost(reason)
        else:
            self._tell(reason.value or error.ConnectionLost())

    def _tell(self, outcome: IProtocol | BaseException) -> None:
        made, self._made = self._made, None
        if made is not None:
            made(outcome)

    def _flush(self) -> None:
        data = self._outgoing.read()
        if data:
            assert self.transport is not None
            self.transport.write(data)

    def _shake(self) -> None:
        assert self.transport is not None
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            self._flush()
        except ssl.SSLError as reason:
            self._broken = reason
            self._flush()  # the alert
            self._tell(reason)
            self.transport.loseConnection()
        else:
            self._flush()
            self._begin()

    def _begin(self) -> None:
        """The handshake is done."""
        try:
            protocol = self._factory.buildProtocol(self.getPeer())
            if protocol is None:
                raise error.NoProtocol()
            self.protocol = protocol
            protocol.makeConnection(self)  # type: ignore[arg-type]  # provides what connectionMade declared
        except Exception as reason:
            if self._made is None and not isinstance(reason, error.NoProtocol):
                self.log.failure("A connection's protocol could not begin")
            self.abortConnection()
            self._tell(reason)
        else:
            self._tell(protocol)

    def _deliver(self) -> None:
        """Decrypt and pass on what is there, as long as it is wanted."""
        if self._delivering:
            return
        self._delivering = True
        try:
            while self.protocol is not None and not self._paused and not self.disconnecting:
                try:
                    data = self._tls.read(_PIECE)
                except ssl.SSLWantReadError:
                    break
                except ssl.SSLError as reason:
                    if not isinstance(reason, ssl.SSLZeroReturnError):
                        self._broken = error.ConnectionLost(str(reason))
                        self.abortConnection()
                        break
                    data = b""
                if not data:
                    self._ended = True
                    self._close()
                    break
                self.protocol.dataReceived(data)
        finally:
            self._delivering = False
        if not self._closed:
            self._flush()

    # -- what the protocol calls --------------------------------------------------------------------------------------

    def write(self, data: bytes) -> None:
        """Encrypt and send. Ignored once the connection is closing."""
        if not self._closed and data:
            self._tls.write(data)
            self._flush()

    def writeSequence(self, data: Iterable[bytes]) -> None:
        """Send several pieces."""
        self.write(b"".join(data))

    def loseConnection(self) -> None:
        """Close when all is sent, and after a registered producer has been unregistered. Idempotent."""
        if not self.disconnecting:
            self.disconnecting = True
            if not self._producing:
                self._close()

    def _close(self) -> None:
        if self._closed:
            return
        self._closed = True
        with contextlib.suppress(
            ssl.SSLError
        ):  # it waits for the peer's close_notify; we do not (RFC 8446 section 6.1)
            self._tls.unwrap()
        self._flush()
        assert self.transport is not None
        self.transport.loseConnection()

    def abortConnection(self) -> None:
        """Close now and drop what is not sent."""
        self._closed = self.disconnecting = True
        self._raw.abortConnection()

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        """As for any transport."""
        self._producing = True
        self._raw.registerProducer(producer, streaming)

    def unregisterProducer(self) -> None:
        """As for any transport."""
        self._producing = False
        self._raw.unregisterProducer()
        if self.disconnecting:
            self._close()

    def pauseProducing(self) -> None:
        """Stop reading, and keep what is already here."""
        self._paused = True
        self._raw.pauseProducing()

    def resumeProducing(self) -> None:
        """Read on, what is already here first."""
        self._paused = False
        self._deliver()
        if not self._paused and not self._closed:
            self._raw.resumeProducing()

    def stopProducing(self) -> None:
        """As `loseConnection`."""
        self.loseConnection()

    def getPeer(self) -> IAddress:
        """Address of the other end."""
        return self._raw.getPeer()  # type: ignore[no-any-return]

    def getHost(self) -> IAddress:
        """Address of our end."""
        return self._raw.getHost()  # type: ignore[no-any-return]

    def getPeerCertificate(self) -> X509 | None:
        """The peer's certificate, or None if it showed none."""
        return certificate_of(self._tls)

    @property
    def negotiatedProtocol(self) -> bytes | None:
        """The protocol agreed on by ALPN, or None."""
        return protocol_of(self._tls)

    @property
    def _raw(self) -> Any:
        return self.transport

    def __getattr__(self, name: str) -> Any:
        """The rest of what the raw transport provides, such as ``setTcpNoDelay``."""
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(self.transport, name)


@implementer(IProtocolFactory)
class TLSLayerFactory:
    """Builds a `TLSLayer` for each connection to a server of ours."""

    __slots__ = ("_wrapped", "_context", "doStart", "doStop")

    def __init__(self, factory: IProtocolFactory, context: ssl.SSLContext) -> None:
        self._wrapped = factory
        self._context = context
        self.doStart = factory.doStart
        self.doStop = factory.doStop

    def buildProtocol(self, addr: IAddress) -> TLSLayer:
        """A connection came; the wrapped factory is asked after the handshake."""
        return TLSLayer(self._wrapped, self._context, None)
