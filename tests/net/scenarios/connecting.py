"""
Connecting without TLS.
"""

import contextlib
import os
import socket
import time

import attrs
from twisted.internet import error
from twisted.internet.address import UNIXAddress
from twisted.internet.defer import CancelledError
from twisted.internet.protocol import Factory

from suuupra_gateway.errors import ConnectRefused, ConnectTimeout, NameNotFound
from suuupra_gateway.net.address import Address
from tests.net.stage import Recorder, RecorderFactory, address_of, echo_once, fails, only, read_all


async def connects_over_ipv4_ipv6_and_unix_sockets(stage):
    for family in (socket.AF_INET, socket.AF_INET6, socket.AF_UNIX):
        address, serving = stage.served(echo_once, family)
        factory = RecorderFactory(made=lambda protocol: protocol.transport.write(b"hello"))
        protocol = await stage.connect(address, factory)
        assert protocol is factory.protocols[0]
        assert protocol.calls[0] == "made"
        if family != socket.AF_UNIX:
            assert protocol.transport.getTcpNoDelay()
            peer = protocol.transport.getPeer()
            assert (peer.host, peer.port) == (address.host, address.port)
        else:
            assert isinstance(protocol.transport.getPeer(), UNIXAddress)
        assert (await protocol.end()).check(error.ConnectionDone)
        assert protocol.received == await serving == b"hello"
        assert factory.calls == []


async def connects_to_an_abstract_unix_socket(stage):
    sock = socket.socket(socket.AF_UNIX)
    sock.bind(f"\0suuupra-{os.getpid()}")
    sock.listen()
    with sock:
        protocol = await stage.connect(address_of(sock), RecorderFactory())
        protocol.transport.loseConnection()
        await protocol.end()


async def connects_to_a_name(stage):
    address, serving = stage.served(echo_once)
    factory = RecorderFactory(made=lambda protocol: protocol.transport.write(b"hello"))
    protocol = await stage.connect(attrs.evolve(address, host="localhost"), factory)
    await protocol.end()
    assert await serving == b"hello"


async def a_name_that_does_not_exist(stage):
    for name in ("no-such-host.invalid", "x" * 70 + ".invalid"):
        reason = await fails(
            stage.connect(Address(host=name, port=80), RecorderFactory(), connect_timeout=14), NameNotFound
        )
        assert name in str(reason)


async def a_refused_connection(stage):
    with stage.bound() as sock:
        reason = await fails(stage.connect(address_of(sock), RecorderFactory()), ConnectRefused)
        assert str(address_of(sock)) in str(reason)
    await fails(stage.connect(Address(path=stage.path()), RecorderFactory()), ConnectRefused)
    await fails(stage.connect(Address(path=stage.directory), RecorderFactory()), ConnectRefused)


@contextlib.contextmanager
def _black_hole(stage):
    """A TCP address where connections are neither accepted nor refused: its queue is full."""
    with stage.bound() as sock, contextlib.ExitStack() as stack:
        sock.listen(0)
        for _ in range(8):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(sock.getsockname())
        yield address_of(sock)


async def a_connection_that_takes_too_long(stage):
    with _black_hole(stage) as address:
        began = time.monotonic()
        reason = await fails(stage.connect(address, RecorderFactory(), connect_timeout=0.2), ConnectTimeout)
        assert 0.15 < time.monotonic() - began < 2
        assert "0.2 s" in str(reason)


async def cancelling_gives_the_socket_back(stage):
    with _black_hole(stage) as address:
        before = len(os.listdir("/proc/self/fd"))
        dialed = [stage.connect(address, RecorderFactory()) for _ in range(10)]
        await stage.sleep(0.05)
        for one in dialed:
            one.cancel()
        for one in dialed:
            await fails(one, CancelledError)
        await stage.sleep(0.05)
        assert len(os.listdir("/proc/self/fd")) <= before


async def cancelling_at_any_moment_leaks_nothing(stage):
    factory = RecorderFactory()
    sock = stage.keep(stage.bound())
    sock.listen(128)
    address = address_of(sock)
    tls = stage.trust()
    for secure in (None, tls):
        for delay in (None, 0, 0, 0, 0.0005, 0.001, 0.002):
            dialed = stage.connect(address, factory, secure)
            outcomes = []
            dialed.addBoth(outcomes.append)
            if delay is not None:
                await stage.sleep(delay)
            dialed.cancel()
            await stage.sleep(0.01)
            assert len(outcomes) == 1
            if isinstance(outcomes[0], Recorder):
                outcomes[0].transport.abortConnection()
            else:
                assert outcomes[0].check(CancelledError), outcomes[0]
    await stage.sleep(0.05)
    assert all(protocol.lost is not None for protocol in factory.protocols)


@only("uvloop", "asyncio")  # Twisted's own connectors cannot
async def cancelling_from_inside_of_connectionMade_leaks_nothing(stage):
    address, serving = stage.served(read_all)
    factory = RecorderFactory(made=lambda protocol: dialed.cancel())
    dialed = stage.connect(address, factory)
    with contextlib.suppress(CancelledError):
        (await dialed).transport.abortConnection()
    with contextlib.suppress(ConnectionResetError):
        await serving
    await (await factory.built()).end()


async def a_factory_that_builds_nothing_or_raises(stage):
    class Raising(Factory):
        noisy = False

        def buildProtocol(self, addr):
            raise ZeroDivisionError

    nothing = Factory()
    nothing.noisy = False
    nothing.buildProtocol = lambda addr: None

    def serve(connection):
        with contextlib.suppress(ConnectionResetError):
            return read_all(connection)

    for factory, kind in ((nothing, error.NoProtocol), (Raising(), ZeroDivisionError)):
        address, serving = stage.served(serve)
        await fails(stage.connect(address, factory), kind)
        assert await serving in (b"", None)
