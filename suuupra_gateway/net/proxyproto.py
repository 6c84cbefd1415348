"""
The PROXY protocol, versions 1 and 2: a load balancer in front of us tells whom it speaks for.

`ProxyProtocolFactory` wraps the factory of a listener. Each connection must begin with one header and come from a peer that we
trust (or over a UNIX socket, where the file's mode decides who may); any other is closed. Then the wrapped protocol begins,
and its transport reports the addresses that were announced.

Specification: https://www.haproxy.org/download/2.9/doc/proxy-protocol.txt, sections cited as "PP".
"""

from __future__ import annotations

import ipaddress
import math
import struct
from typing import Any, Final

import attrs
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.interfaces import IAddress, IProtocol, IProtocolFactory
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import directlyProvides, implementer, providedBy

from suuupra_gateway.net.networks import Networks
from suuupra_gateway.net.sweep import Sweep
from suuupra_gateway.net.transport import StreamTransport

_V1: Final = b"PROXY "
_V2: Final = b"\r\n\r\n\0\r\nQUIT\n"

_V1_LONGEST: Final = 107
"""Bytes with the line end, PP section 2.1."""

_V2_LONGEST: Final = 4096
"""Bytes of addresses and TLVs that we take; the format has room for 65,535, but no sender is known to need 1,000."""

_LOCAL, _PROXY = 0, 1

_V2_SIZES: Final = {0x11: 12, 0x21: 36, 0x31: 216}
"""Bytes of addresses for TCP over IPv4 and IPv6, and for UNIX streams."""


@attrs.frozen
class ProxyHeader:
    """What a header said."""

    size: int
    """Bytes that it took."""

    peer: IAddress | None
    """The client; None if the sender speaks for itself (health checks) or does not know: the socket's own address counts."""

    host: IAddress | None
    """Where the client had connected to; None likewise."""


def parse(data: bytes) -> ProxyHeader | None:
    """
    Read the header at the start of ``data``.

    :return: None if there has to be more of it.
    :raises ValueError: if this can never become a header, as soon as that is certain.
    """
    if data.startswith(_V2):
        return _parse_v2(data)
    if data.startswith(_V1):
        return _parse_v1(data)
    if _V1.startswith(data) or _V2.startswith(data):
        return None
    raise ValueError("no PROXY protocol header")


def _parse_v1(data: bytes) -> ProxyHeader | None:
    line, end, _ = data[:_V1_LONGEST].partition(b"\r\n")
    if not end:
        if len(data) >= _V1_LONGEST:
            raise ValueError("a version 1 header of more than 107 bytes")
        return None
    size = len(line) + 2
    words = line.split(b" ")
    if words[1] == b"UNKNOWN":
        return ProxyHeader(size, None, None)  # PP section 2.1: the rest of the line is to be ignored
    if len(words) != 6:
        raise ValueError("a version 1 header without its six words")
    if words[1] == b"TCP4":
        return ProxyHeader(size, _v4(words[2], words[4]), _v4(words[3], words[5]))
    if words[1] == b"TCP6":
        return ProxyHeader(size, _v6(words[2], words[4]), _v6(words[3], words[5]))
    raise ValueError("an unknown family in a version 1 header")


def _v4(address: bytes, port: bytes) -> IPv4Address:
    return IPv4Address("TCP", str(ipaddress.IPv4Address(address.decode("ascii"))), _port(port))


def _v6(address: bytes, port: bytes) -> IPv6Address:
    parsed = ipaddress.IPv6Address(address.decode("ascii"))
    if parsed.scope_id is not None:
        raise ValueError("an address with a scope in a version 1 header")
    return IPv6Address("TCP", str(parsed), _port(port))


def _port(digits: bytes) -> int:
    if not digits.isdigit() or len(digits) > 5 or (digits[:1] == b"0" and digits != b"0") or int(digits) > 65535:
        raise ValueError("a malformed port in a version 1 header")
    return int(digits)


def _parse_v2(data: bytes) -> ProxyHeader | None:
    if len(data) < 16:
        return None
    version_command, family, length = struct.unpack_from("!BBH", data, 12)
    if version_command >> 4 != 2:
        raise ValueError("an unknown version in a binary header")
    command = version_command & 0xF
    if command not in (_LOCAL, _PROXY):
        raise ValueError("an unknown command in a version 2 header")
    if length > _V2_LONGEST:
        raise ValueError(f"a version 2 header of {length} bytes")
    # PP section 2.2: of a LOCAL header everything but the length is to be discarded, and AF_UNSPEC says nothing.
    unsaid = command == _LOCAL or family == 0x00
    if not unsaid:
        if family not in _V2_SIZES:
            raise ValueError("an unknown family in a version 2 header")
        if length < _V2_SIZES[family]:
            raise ValueError("a version 2 header that is too short for its addresses")
    size = 16 + length
    if len(data) < size:
        return None
    if unsaid:
        return ProxyHeader(size, None, None)
    if family == 0x31:
        return ProxyHeader(size, UNIXAddress(None), UNIXAddress(None))
    # The TLVs behind the addresses are skipped: nothing here depends on them.
    if family == 0x11:
        source, target, source_port, target_port = struct.unpack_from("!4s4sHH", data, 16)
        return ProxyHeader(
            size,
            IPv4Address("TCP", str(ipaddress.IPv4Address(source)), source_port),
            IPv4Address("TCP", str(ipaddress.IPv4Address(target)), target_port),
        )
    source, target, source_port, target_port = struct.unpack_from("!16s16sHH", data, 16)
    return ProxyHeader(
        size,
        IPv6Address("TCP", str(ipaddress.IPv6Address(source)), source_port),
        IPv6Address("TCP", str(ipaddress.IPv6Address(target)), target_port),
    )


@implementer(IProtocolFactory)
class ProxyProtocolFactory:
    """Builds the wrapped factory's protocols once their connections have been announced. Lives as long as its port."""

    __slots__ = ("wrapped", "trusted", "sweep", "timeout", "doStart", "doStop", "_told")

    log = Logger()

    def __init__(
        self, wrapped: IProtocolFactory, trusted: Networks, *, sweep: Sweep | None = None, timeout: float = 5.0
    ) -> None:
        """
        :param sweep: closes connections whose header does not come; without it they may wait for ever.
        :param timeout: seconds from the connection to the end of the header.
        """
        self.wrapped = wrapped
        self.trusted = trusted
        self.sweep = sweep
        self.timeout = timeout
        self.doStart = wrapped.doStart
        self.doStop = wrapped.doStop
        self._told = -math.inf

    def complain(self, text: str, **fields: object) -> None:
        """Log a warning, once per second: whoever can connect must not be able to fill the log."""
        if self.sweep is not None:
            if self.sweep.now - self._told < 1.0:
                return
            self._told = self.sweep.now
        self.log.warn(text, **fields)

    def buildProtocol(self, addr: IAddress) -> IProtocol | None:
        """A connection came; None, which closes it, unless the peer is trusted."""
        if isinstance(addr, UNIXAddress) or getattr(addr, "host", None) in self.trusted:
            return _Announcement(self)
        self.complain("{peer} may not send a PROXY protocol header: it is no trusted proxy", peer=addr)
        return None


@implementer(IProtocol)
class _Announcement:
    """The start of a connection, up to the end of the header; then it hands over to the wrapped factory's protocol."""

    __slots__ = ("_factory", "_transport", "_data", "_protocol", "deadline")

    deadline: float

    def __init__(self, factory: ProxyProtocolFactory) -> None:
        self._factory = factory
        self._data = b""
        self._protocol: IProtocol | None = None
        self.deadline = math.inf

    def makeConnection(self, transport: Any) -> None:
        """The connection is there."""
        self._transport = transport
        self.connectionMade()

    def connectionMade(self) -> None:
        """Wait for the header."""
        sweep = self._factory.sweep
        if sweep is not None:
            self.deadline = sweep.now + self._factory.timeout
            sweep.watch(self)

    def expired(self, now: float) -> None:
        """The header took too long."""
        self.deadline = math.inf
        self._transport.abortConnection()

    def dataReceived(self, data: bytes) -> None:
        """Bytes of the header, or, on transports that cannot be handed over, of what follows."""
        if self._protocol is not None:
            self._protocol.dataReceived(data)
            return
        self._data += data
        try:
            header = parse(self._data)
        except ValueError as reason:
            self._data = b""
            peer = self._transport.getPeer()
            self._factory.complain("{peer} sent {reason}", peer=peer, reason=str(reason))
            self._transport.abortConnection()
            return
        if header is not None:
            rest, self._data = self._data[header.size :], b""
            self._begin(header, rest)

    def _begin(self, header: ProxyHeader, rest: bytes) -> None:
        self._over()
        transport = self._transport
        peer = header.peer or transport.getPeer()
        protocol = self._factory.wrapped.buildProtocol(peer)
        if protocol is None:
            transport.loseConnection()
            return
        if header.peer is not None:
            assert header.host is not None
            if isinstance(transport, StreamTransport):
                transport.announce(header.peer, header.host)
            else:
                transport = _AnnouncedTransport(transport, header.peer, header.host)
        if isinstance(transport, StreamTransport):
            transport.takeover(protocol)
        else:
            self._protocol = protocol
        protocol.makeConnection(transport)
        if rest:
            protocol.dataReceived(rest)

    def connectionLost(self, reason: Failure) -> None:
        """The end, before the header was complete or for the protocol behind it."""
        self._over()
        protocol, self._protocol = self._protocol, None
        if protocol is not None:
            protocol.connectionLost(reason)

    def _over(self) -> None:
        if self._factory.sweep is not None:
            self._factory.sweep.unwatch(self)


class _AnnouncedTransport:
    """One of Twisted's own transports that reports the addresses which were announced."""

    def __init__(self, transport: Any, peer: IAddress, host: IAddress) -> None:
        self._transport = transport
        self._peer = peer
        self._host = host
        directlyProvides(self, providedBy(transport))

    def getPeer(self) -> IAddress:
        """The client."""
        return self._peer

    def getHost(self) -> IAddress:
        """Where the client had connected to."""
        return self._host

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)
