"""
Listening: what is accepted, told, shared and given back.
"""

import contextlib
import os
import pathlib
import socket
import struct

from twisted.internet import error
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.interfaces import IConsumer, IPushProducer, ISSLTransport, ITransport
from twisted.internet.protocol import Factory

from suuupra_gateway.net.endpoints import listen
from suuupra_gateway.net.networks import Networks
from suuupra_gateway.net.proxyproto import ProxyProtocolFactory
from tests.net.stage import RecorderFactory, ask, dial, echo, read_all, read_exactly


async def accepts_over_ipv4_ipv6_and_unix_sockets(stage):
    for family in (socket.AF_INET, socket.AF_INET6, socket.AF_UNIX):
        factory = RecorderFactory(echo)
        _, name = stage.listening(factory, stage.bound(family))
        assert await stage.thread(ask, name, b"hello") == b"hello"
        reason = await (await factory.built()).end()
        assert reason.check(error.ConnectionDone), reason


async def tells_both_addresses(stage):
    seen = []

    def react(protocol, data):
        seen.append((protocol.transport.getPeer(), protocol.transport.getHost()))
        protocol.transport.write(data)

    for family, kind in ((socket.AF_INET, IPv4Address), (socket.AF_INET6, IPv6Address), (socket.AF_UNIX, UNIXAddress)):
        factory = RecorderFactory(react)
        port, name = stage.listening(factory, stage.bound(family))
        await stage.thread(ask, name, b"x")
        peer, host = seen.pop()
        assert type(peer) is type(host) is kind
        assert host == port.getHost()
        assert [type(address) for address in factory.addresses] == [kind]
        if family != socket.AF_UNIX:
            assert (host.host, host.port) == name[:2]
            assert peer.host == factory.addresses[0].host == name[0]
            assert peer.port == factory.addresses[0].port
            assert peer.port != name[1]


async def provides_the_interfaces_of_a_transport(stage):
    factory = RecorderFactory()
    _, name = stage.listening(factory)
    with await stage.thread(dial, name):
        transport = (await factory.built()).transport
        for interface in (ITransport, IConsumer, IPushProducer):
            assert interface.providedBy(transport), interface
        assert not ISSLTransport.providedBy(transport)
        assert transport.connected
        assert not transport.disconnecting
        assert transport.getTcpNoDelay()
        transport.setTcpKeepAlive(True)
        assert transport.getTcpKeepAlive()


async def a_factory_may_refuse_a_connection(stage):
    factory = Factory()
    factory.noisy = False
    factory.buildProtocol = lambda addr: None
    _, name = stage.listening(factory)

    def client():
        with dial(name) as sock:
            return read_all(sock)

    for _ in range(3):
        assert await stage.thread(client) == b""


async def exceptions_of_protocols_end_one_connection_and_not_the_server(stage):
    stage.expected += ["could not be", "ZeroDivisionError", "Fatal error", "Unhandled", "division by zero"]

    class Fragile(RecorderFactory):
        fail = "build"

        def buildProtocol(self, addr):
            if self.fail == "build":
                raise ZeroDivisionError
            return super().buildProtocol(addr)

    factory = Fragile(echo)
    _, name = stage.listening(factory)

    def client():
        try:
            with dial(name) as sock:
                sock.sendall(b"x")
                return read_all(sock)
        except ConnectionError:
            return b""

    assert await stage.thread(client) == b""
    factory.fail = ""
    if stage.kind != "epoll":  # Twisted's own transports go on with a protocol that failed to begin
        factory.made = lambda protocol: 1 / 0
        assert await stage.thread(client) == b""
        factory.made = None
    factory.react = lambda protocol, data: 1 / 0
    assert await stage.thread(client) == b""
    reason = await factory.protocols[-1].end()
    assert reason.check(ZeroDivisionError), reason
    factory.react = echo
    assert await stage.thread(ask, name, b"x") == b"x"


async def stopping_leaves_a_shared_socket_and_accepted_connections_alone(stage):
    for family in (socket.AF_INET, socket.AF_INET6, socket.AF_UNIX):
        sock = stage.bound(family)
        ours = sock.dup()
        with sock:
            sock.settimeout(10)
            factory = RecorderFactory(echo)
            port, name = stage.listening(factory, ours)
            with await stage.thread(dial, name) as client:
                await factory.built()
                await port.stopListening()
                await port.stopListening()
                assert factory.calls == ["start", "stop"]

                def sibling(sock=sock, name=name):
                    with dial(name):
                        connection, _ = sock.accept()
                        connection.close()

                await stage.thread(sibling)
                client.sendall(b"still served")
                assert await stage.thread(read_exactly, client, 12) == b"still served"


async def a_unix_socket_keeps_its_file_and_mode(stage):
    sock = stage.bound(socket.AF_UNIX)
    path = sock.getsockname()
    os.chmod(path, 0o640)
    port, _ = stage.listening(RecorderFactory(), sock)
    assert os.stat(path).st_mode & 0o777 == 0o640
    await port.stopListening()
    await stage.sleep(0.02)
    assert os.stat(path).st_mode & 0o777 == 0o640
    assert sock.fileno() == -1


async def siblings_with_so_reuseport_take_over(stage):
    first = stage.bound(reuse_port=True)
    name = first.getsockname()
    second = stage.bound(reuse_port=True, address=name)
    one, two = RecorderFactory(echo), RecorderFactory(echo)
    stage.listening(one, first)
    port, _ = stage.listening(two, second)

    def storm():
        for _ in range(40):
            assert ask(name, b"hi") == b"hi"

    await stage.thread(storm)
    assert len(one.protocols) + len(two.protocols) == 40
    assert two.protocols, "the kernel spreads connections over both"
    await port.stopListening()
    before = len(two.protocols)
    await stage.thread(storm)
    assert len(two.protocols) == before


def longest_backlog():
    return int(pathlib.Path("/proc/sys/net/core/somaxconn").read_text())


async def the_backlog_is_as_asked(stage):
    def backlog(sock):
        return struct.unpack_from("I", sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 192), 28)[0]

    sock = stage.bound()
    sock.listen(7)
    copy = stage.keep(sock.dup())
    assert backlog(copy) == 7
    most = longest_backlog()
    stage.listening(RecorderFactory(), sock)
    assert backlog(copy) == min(4096, most)
    stage.listening(RecorderFactory(), stage.keep(copy.dup()), backlog=33)
    assert backlog(copy) == 33


async def a_storm_of_connections_is_served(stage):
    factory = RecorderFactory(echo)
    for family in (socket.AF_INET, socket.AF_UNIX):
        _, name = stage.listening(factory, stage.bound(family))

        def storm(name=name):
            socks = [dial(name) for _ in range(300)]
            for sock in socks:
                sock.sendall(b"hi")
            for sock in socks:
                assert read_exactly(sock, 2) == b"hi"
                sock.close()

        await stage.thread(storm)


async def running_out_of_descriptors_is_survived(stage):
    stage.expected += ["No connection can be accepted", "Too many open files", "EMFILE", "accept"]
    factory = RecorderFactory(echo)
    _, name = stage.listening(factory)
    socks = []
    try:
        with contextlib.suppress(OSError):
            while True:
                socks.append(socket.socket())
                assert len(socks) < 100_000
        client = socks.pop()
        client.settimeout(5)
        client.connect(name)
        await stage.sleep(0.1)
    finally:
        for sock in socks:
            sock.close()
    client.close()
    assert await stage.thread(ask, name, b"back again") == b"back again"


async def a_port_can_be_stopped_while_it_has_no_descriptors(stage):
    stage.expected += ["No connection can be accepted", "Too many open files", "EMFILE", "accept"]
    port, name = stage.listening(RecorderFactory())
    socks = []
    try:
        with contextlib.suppress(OSError):
            while True:
                socks.append(socket.socket())
        client = socks.pop()
        client.connect(name)
        await stage.sleep(0.1)
        await port.stopListening()
    finally:
        for sock in socks:
            sock.close()
        client.close()


async def listening_on_what_cannot_listen_fails_and_closes_it(stage):
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as sock:
        try:
            listen(stage.reactor, sock, RecorderFactory())
        except OSError:
            assert sock.fileno() == -1
        else:
            raise AssertionError("a connected socket cannot listen")


async def the_proxy_protocol_hands_the_connection_over(stage):
    seen = []

    def react(protocol, data):
        seen.append((protocol.transport.getPeer(), protocol.transport.getHost()))
        protocol.transport.write(data)

    factory = RecorderFactory(react)
    _, name = stage.listening(ProxyProtocolFactory(factory, Networks(["127.0.0.0/8"])))

    def client():
        with dial(name) as sock:
            sock.sendall(b"PROXY TCP4 203.0.113.9 192.0.2.1 4711 80\r\none")
            assert read_exactly(sock, 3) == b"one"
            sock.sendall(b"two")
            assert read_exactly(sock, 3) == b"two"

    await stage.thread(client)
    assert set(seen) == {(IPv4Address("TCP", "203.0.113.9", 4711), IPv4Address("TCP", "192.0.2.1", 80))}
    protocol = await factory.built()
    assert (await protocol.end()).check(error.ConnectionDone)
    assert protocol.received == b"onetwo"
