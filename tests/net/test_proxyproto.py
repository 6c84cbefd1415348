"""The PROXY protocol: what is read, what is refused, and how the connection goes on."""

import ipaddress
import math
import struct

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IConsumer, IPushProducer, ITransport
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.logger import globalLogPublisher
from twisted.python.failure import Failure

from suuupra_gateway.net.networks import Networks
from suuupra_gateway.net.proxyproto import ProxyProtocolFactory, parse
from suuupra_gateway.net.sweep import Sweep

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
V1 = b"PROXY TCP4 203.0.113.9 192.0.2.1 4711 80\r\n"
BALANCER = IPv4Address("TCP", "10.0.0.1", 999)
CLIENT = IPv4Address("TCP", "203.0.113.9", 4711)
SITE = IPv4Address("TCP", "192.0.2.1", 80)


def v2(payload, family=0x11, command=1, version=2, length=None):
    length = len(payload) if length is None else length
    return SIGNATURE + struct.pack("!BBH", version << 4 | command, family, length) + payload


V2 = v2(ipaddress.ip_address("203.0.113.9").packed + ipaddress.ip_address("192.0.2.1").packed + b"\x12\x67\x00\x50")


class Recorder(Protocol):
    def __init__(self):
        self.received = b""
        self.lost = None

    def dataReceived(self, data):
        self.received += data

    def connectionLost(self, reason):
        self.lost = reason


class RecorderFactory(Factory):
    noisy = False
    refuse = False

    def __init__(self):
        self.built = []

    def buildProtocol(self, addr):
        if self.refuse:
            return None
        protocol = Recorder()
        self.built.append((addr, protocol))
        return protocol


class Transport(StringTransport):
    aborted = False

    def abortConnection(self):
        self.aborted = True


class Wire:
    """A connection from ``peer`` to a factory that expects a header."""

    def __init__(self, peer=BALANCER, **options):
        self.inner = RecorderFactory()
        self.factory = ProxyProtocolFactory(self.inner, Networks(["10.0.0.0/8"]), **options)
        self.transport = Transport(peerAddress=peer, hostAddress=IPv4Address("TCP", "10.0.0.2", 8080))
        self.protocol = self.factory.buildProtocol(peer)
        if self.protocol is not None:
            self.protocol.makeConnection(self.transport)

    def send(self, *pieces):
        for piece in pieces:
            if not self.transport.aborted and not self.transport.disconnecting:
                self.protocol.dataReceived(piece)
        return self

    @property
    def reached(self):
        return self.inner.built[0][1] if self.inner.built else None


# -- parsing -----------------------------------------------------------------------------------------------------------

PORTS = st.integers(0, 65535)
TAILS = st.binary(max_size=40)
TLVS = st.lists(st.tuples(st.integers(0, 255), st.binary(max_size=30)), max_size=4).map(
    lambda tlvs: b"".join(struct.pack("!BH", kind, len(value)) + value for kind, value in tlvs)
)


@st.composite
def headers(draw):
    """``(bytes, peer, host)``"""
    version, source, target = draw(
        st.sampled_from([4, 6]).flatmap(
            lambda v: st.tuples(st.just(v), st.ip_addresses(v=v), st.ip_addresses(v=v)),
        )
    )
    ports = draw(PORTS), draw(PORTS)
    kind = IPv4Address if version == 4 else IPv6Address
    peer, host = kind("TCP", str(source), ports[0]), kind("TCP", str(target), ports[1])
    if draw(st.booleans()):
        text = f"PROXY TCP{version} {source} {target} {ports[0]} {ports[1]}\r\n"
        return text.encode(), peer, host
    payload = source.packed + target.packed + struct.pack("!HH", *ports) + draw(TLVS)
    return v2(payload, 0x11 if version == 4 else 0x21), peer, host


@given(headers(), TAILS)
def test_headers_are_read_and_what_follows_is_left(header, tail):
    data, peer, host = header
    parsed = parse(data + tail)
    assert (parsed.peer, parsed.host, parsed.size) == (peer, host, len(data))


@given(headers())
def test_every_part_of_a_header_waits_for_the_rest(header):
    data = header[0]
    assert all(parse(data[:end]) is None for end in range(len(data)))


@given(headers(), TAILS, st.data())
def test_a_header_may_be_split_anywhere(header, tail, data):
    whole = header[0] + tail
    cuts = sorted(data.draw(st.sets(st.integers(1, len(whole)), max_size=10)))
    pieces = [whole[a:b] for a, b in zip([0, *cuts], [*cuts, len(whole)], strict=True) if a < b]
    wire = Wire().send(*pieces)
    assert wire.inner.built[0][0] == header[1]
    assert wire.reached.transport.getPeer() == header[1]
    assert wire.reached.transport.getHost() == header[2]
    assert wire.reached.received == tail


@given(
    st.binary(max_size=300) | st.binary(max_size=100).map(V1.__add__) | st.binary(max_size=60).map(SIGNATURE.__add__)
)
@example(b"\r\n\r\n\0\r\nQUIT\n\x21\x11\xff\xff")
def test_any_bytes_are_a_header_part_of_one_or_refused(data):
    try:
        parsed = parse(data)
    except ValueError:
        return
    if parsed is None:
        assert len(data) < 16 + 4096
    else:
        assert 8 <= parsed.size <= len(data)
        assert (parsed.peer is None) == (parsed.host is None)


@given(headers(), st.data())
def test_a_mutated_header_is_never_read_past_its_bytes(header, data):
    mutated = bytearray(header[0])
    for _ in range(data.draw(st.integers(1, 3))):
        mutated[data.draw(st.integers(0, len(mutated) - 1))] = data.draw(st.integers(0, 255))
    try:
        parsed = parse(bytes(mutated))
    except ValueError:
        return
    assert parsed is None or parsed.size <= len(mutated)


@pytest.mark.parametrize(
    "data",
    [
        b"PROXY UNKNOWN\r\n",
        b"PROXY UNKNOWN ffff:f...f:ffff ffff:f...f:ffff 65535 65535\r\n",
        v2(b"", command=0),
        v2(b"rubbish", family=0xEE, command=0),
        v2(V2[16:], command=0),
        v2(b"", family=0),
        v2(b"\x04\0\0", family=0),
    ],
)
def test_senders_that_speak_for_themselves_announce_nobody(data):
    parsed = parse(data + b"GET")
    assert (parsed.size, parsed.peer, parsed.host) == (len(data), None, None)


def test_unix_clients_have_no_name():
    parsed = parse(v2(b"/run/client".ljust(108, b"\0") + b"/run/server".ljust(108, b"\0"), 0x31))
    assert parsed.peer == parsed.host == UNIXAddress(None)


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\n",
        b"PROXZ",
        b"PROXY\r\n",
        b"\r\n\r\nX",
        b"\x16\x03\x01",
        b"PROXY TCP5 1.2.3.4 1.2.3.4 1 2\r\n",
        b"PROXY UDP4 1.2.3.4 1.2.3.4 1 2\r\n",
        b"PROXY tcp4 1.2.3.4 1.2.3.4 1 2\r\n",
        b"PROXY TCP4 1.2.3.4 1.2.3.4 1\r\n",
        b"PROXY TCP4 1.2.3.4 1.2.3.4 1 2 3\r\n",
        b"PROXY TCP4  1.2.3.4 1.2.3.4 1 2\r\n",
        b"PROXY TCP4 1.2.3.4 1.2.3.4 1 65536\r\n",
        b"PROXY TCP4 1.2.3.4 1.2.3.4 1 123456\r\n",
        b"PROXY TCP4 1.2.3.4 1.2.3.4 01 2\r\n",
        b"PROXY TCP4 1.2.3.4 1.2.3.4 -1 2\r\n",
        b"PROXY TCP4 1.2.3.4 1.2.3.4 \xb2 2\r\n",
        b"PROXY TCP4 1.2.3 1.2.3.4 1 2\r\n",
        b"PROXY TCP4 \xff.2.3.4 1.2.3.4 1 2\r\n",
        b"PROXY TCP4 ::1 ::1 1 2\r\n",
        b"PROXY TCP6 1.2.3.4 1.2.3.4 1 2\r\n",
        b"PROXY TCP6 fe80::1%eth0 ::1 1 2\r\n",
        b"PROXY UNKNOWN " + b"x" * 93,
        b"PROXY TCP4 1.2.3.4 1.2.3.4 1 2\n" + b"x" * 80,
        v2(V2[16:], version=1),
        v2(V2[16:], command=2),
        v2(V2[16:], family=0x12),
        v2(V2[16:], family=0x41),
        v2(V2[16:27]),
        v2(b"x" * 35, family=0x21),
        v2(b"x" * 215, family=0x31),
        v2(b"", length=4097),
    ],
)
def test_refused(data):
    with pytest.raises(ValueError):
        parse(data)


# -- connections -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("header", [V1, V2])
def test_the_wrapped_protocol_sees_the_announced_addresses(header):
    wire = Wire().send(header, b"GET /", b" HTTP/1.1")
    assert wire.inner.built[0][0] == CLIENT
    transport = wire.reached.transport
    assert (transport.getPeer(), transport.getHost()) == (CLIENT, SITE)
    assert wire.reached.received == b"GET / HTTP/1.1"


def test_the_announced_transport_is_otherwise_the_real_one():
    wire = Wire().send(V1)
    transport = wire.reached.transport
    for interface in (ITransport, IConsumer, IPushProducer):
        assert interface.providedBy(transport) == interface.providedBy(wire.transport)
    transport.write(b"answer")
    transport.loseConnection()
    assert wire.transport.value() == b"answer"
    assert wire.transport.disconnecting


def test_a_sender_that_speaks_for_itself_is_the_peer():
    wire = Wire().send(b"PROXY UNKNOWN\r\nhello")
    assert wire.inner.built[0][0] == BALANCER
    assert wire.reached.transport.getPeer() == BALANCER
    assert wire.reached.received == b"hello"


def test_peers_that_are_not_trusted_are_closed_at_once():
    assert Wire(peer=IPv4Address("TCP", "203.0.113.9", 1)).protocol is None


def test_peers_on_unix_sockets_are_trusted():
    assert Wire(peer=UNIXAddress(None)).send(V1).reached.transport.getPeer() == CLIENT


def test_a_connection_without_a_header_is_cut_and_never_seen():
    wire = Wire().send(b"GET / HTTP/1.1\r\n\r\n")
    assert wire.transport.aborted
    assert wire.reached is None
    wire.protocol.connectionLost(Failure(ConnectionDone()))


def test_the_end_of_the_connection_reaches_the_wrapped_protocol():
    wire = Wire().send(V1)
    reason = Failure(ConnectionDone())
    wire.protocol.connectionLost(reason)
    assert wire.reached.lost is reason


def test_an_end_before_the_header_reaches_nobody():
    wire = Wire().send(V1[:10])
    wire.protocol.connectionLost(Failure(ConnectionDone()))
    assert wire.reached is None


def test_the_wrapped_factory_may_refuse():
    wire = Wire()
    wire.inner.refuse = True
    wire.send(V1 + b"GET")
    assert wire.transport.disconnecting


def test_the_wrapped_factory_is_started_and_stopped():
    wire = Wire()
    wire.factory.doStart()
    assert wire.inner.numPorts == 1
    wire.factory.doStop()
    assert wire.inner.numPorts == 0


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def sweep(clock):
    sweep = Sweep(clock, monotonic=clock.seconds, interval=0.5)
    sweep.start()
    return sweep


def test_a_header_that_does_not_come_is_not_waited_for(clock, sweep):
    wire = Wire(sweep=sweep, timeout=2.0).send(V1[:10])
    clock.pump([0.5] * 3)
    assert not wire.transport.aborted
    clock.advance(0.5)
    assert wire.transport.aborted
    assert wire.protocol.deadline == math.inf


def test_a_header_in_time_ends_the_wait(clock, sweep):
    wire = Wire(sweep=sweep, timeout=2.0).send(V1)
    clock.pump([0.5] * 10)
    assert not wire.transport.aborted


def test_a_lost_connection_ends_the_wait(clock, sweep):
    wire = Wire(sweep=sweep, timeout=2.0)
    wire.protocol.connectionLost(Failure(ConnectionDone()))
    clock.pump([0.5] * 10)
    assert not wire.transport.aborted


def test_those_who_are_refused_cannot_fill_the_log(clock, sweep):
    told = []
    globalLogPublisher.addObserver(told.append)
    try:
        wire = Wire(sweep=sweep)
        for _ in range(20):
            assert wire.factory.buildProtocol(IPv4Address("TCP", "192.0.2.1", 1)) is None
        wire.send(b"rubbish")
        assert wire.transport.aborted
        clock.pump([0.5] * 3)
        wire.factory.buildProtocol(IPv4Address("TCP", "192.0.2.1", 1))
    finally:
        globalLogPublisher.removeObserver(told.append)
    assert len([event for event in told if event["log_namespace"].endswith("ProxyProtocolFactory")]) == 2
