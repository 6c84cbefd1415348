"""
Connecting with TLS.
"""

import contextlib
import socket
import ssl
import time

from twisted.internet import error
from twisted.internet.defer import CancelledError
from twisted.internet.interfaces import ISSLTransport
from twisted.internet.protocol import Factory

from suuupra_gateway.config.model import UpstreamTLS
from suuupra_gateway.errors import ConnectRefused, ConnectTimeout, TLSCertificateRefused, TLSFailed
from suuupra_gateway.net.tls import client_tls
from tests.net.certificates import Authority
from tests.net.stage import (
    MEGABYTE,
    PushProducer,
    RecorderFactory,
    address_of,
    echo_once,
    fails,
    read_all,
    reset,
    tls_server,
)


async def connects_with_tls(stage):
    for family, names_ in (
        (socket.AF_INET, ("localhost",)),
        (socket.AF_INET6, ("::1",)),
        (socket.AF_INET, ("127.0.0.1",)),
        (socket.AF_UNIX, ("localhost",)),
    ):
        seen = []
        context = stage.server_context(*names_)
        context.sni_callback = lambda tls, name, context, seen=seen: seen.append(name)

        def serve(tls):
            data = echo_once(tls)
            tls.unwrap()
            return data

        address, serving = stage.served(tls_server(context, serve), family)
        factory = RecorderFactory(made=lambda protocol: protocol.transport.write(b"hello"))
        protocol = await stage.connect(address, factory, stage.trust(names_[0]))
        assert ISSLTransport.providedBy(protocol.transport)
        assert protocol.transport.negotiatedProtocol == b"http/1.1"
        assert names_[0] == protocol.transport.getPeerCertificate().get_subject().CN
        reason = await protocol.end()
        assert reason.check(error.ConnectionDone), reason
        assert protocol.received == await serving == b"hello"
        assert seen == ["localhost" if names_ == ("localhost",) else None]


async def a_certificate_that_is_not_trusted_expired_or_for_another_name(stage):
    stranger = Authority(stage.directory, "stranger")

    for context, tls in (
        (stage.server_context("localhost"), client_tls(UpstreamTLS(ca_file=stranger.file), "localhost")),
        (stage.server_context("localhost"), client_tls(UpstreamTLS(), "localhost")),
        (stage.server_context("localhost", days=-1), stage.trust()),
        (stage.server_context("elsewhere.example"), stage.trust()),
        (stage.server_context("localhost"), stage.trust("127.0.0.1")),
        (stage.server_context("localhost"), stage.trust(server_name="other.example")),
    ):

        def serve(connection, context=context):
            with contextlib.suppress(OSError):
                context.wrap_socket(connection, server_side=True).close()

        address, serving = stage.served(serve)
        reason = await fails(stage.connect(address, RecorderFactory(), tls), TLSCertificateRefused)
        assert isinstance(reason.__cause__, ssl.SSLCertVerificationError), reason.__cause__
        await serving


async def verification_may_be_turned_off(stage):
    address, serving = stage.served(tls_server(stage.server_context("elsewhere.example"), echo_once))
    factory = RecorderFactory(made=lambda protocol: protocol.transport.write(b"hello"))
    await stage.connect(address, factory, client_tls(UpstreamTLS(verify=False), "localhost"))
    assert await serving == b"hello"
    await (await factory.built()).end()


async def a_client_certificate_is_shown(stage):
    context = stage.server_context("localhost", trust=stage.authority.file)
    address, serving = stage.served(tls_server(context, lambda tls: (echo_once(tls), tls.getpeercert())))
    factory = RecorderFactory(made=lambda protocol: protocol.transport.write(b"hello"))
    tls = stage.trust(certificate=stage.authority.issue("gateway.example"))
    await stage.connect(address, factory, tls)
    _, certificate = await serving
    assert certificate["subject"] == ((("commonName", "gateway.example"),),)
    await (await factory.built()).end()


async def a_server_that_speaks_no_tls_or_too_old_or_hangs_up(stage):
    def plain(connection):
        connection.recv(10)
        connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        with contextlib.suppress(OSError):
            read_all(connection)

    def old(connection):
        context = stage.server_context("localhost", minimum=ssl.TLSVersion.TLSv1, maximum=ssl.TLSVersion.TLSv1_1)
        with contextlib.suppress(OSError):
            context.wrap_socket(connection, server_side=True).close()

    def closing(connection):
        connection.recv(10)

    def resetting(connection):
        connection.recv(10)
        reset(connection)

    for serve in (plain, old, closing, resetting):
        address, serving = stage.served(serve)
        reason = await fails(stage.connect(address, RecorderFactory(), stage.trust()), TLSFailed)
        assert not isinstance(reason, TLSCertificateRefused), (serve, reason)
        await serving


async def a_server_that_hangs_up_at_once_fails_the_handshake(stage):
    address, serving = stage.served(lambda connection: None)
    await fails(stage.connect(address, RecorderFactory(), stage.trust()), TLSFailed)
    await serving


async def a_tls_handshake_that_takes_too_long(stage):
    with stage.bound() as sock:
        sock.listen()
        began = time.monotonic()
        reason = await fails(
            stage.connect(address_of(sock), RecorderFactory(), stage.trust(), connect_timeout=0.1, tls_timeout=0.3),
            ConnectTimeout,
        )
        assert 0.25 < time.monotonic() - began < 2
        assert "TLS" in str(reason)
        assert "0.3 s" in str(reason)


async def cancelling_a_tls_handshake_closes_the_connection(stage):
    def serve(connection):
        try:
            return read_all(connection)
        except ConnectionResetError:
            return b"reset"

    address, serving = stage.served(serve)
    dialed = stage.connect(address, RecorderFactory(), stage.trust())
    await stage.sleep(0.05)
    dialed.cancel()
    await fails(dialed, CancelledError)
    await serving


async def refused_connections_fail_before_tls(stage):
    with stage.bound() as sock:
        await fails(stage.connect(address_of(sock), RecorderFactory(), stage.trust()), ConnectRefused)


async def tls_without_close_notify_is_a_cut_and_with_it_an_end(stage):
    def cut(tls):
        tls.sendall(b"half an ans")

    def ended(tls):
        tls.sendall(b"whole")
        with contextlib.suppress(OSError):
            tls.unwrap()

    for serve, kind in ((cut, error.ConnectionLost), (ended, error.ConnectionDone)):
        address, serving = stage.served(tls_server(stage.server_context("localhost"), serve))
        protocol = await stage.connect(address, RecorderFactory(), stage.trust())
        reason = await protocol.end()
        assert reason.check(kind), (kind, reason)
        assert protocol.received in (b"half an ans", b"whole")
        await serving


async def much_data_passes_tls_both_ways_with_back_pressure(stage):
    def serve(tls):
        count = 0
        time.sleep(0.1)  # let the kernel's buffers fill
        while count < 24 * len(MEGABYTE):
            data = tls.recv(65536)
            count += len(data)
        for _ in range(8):
            tls.sendall(MEGABYTE)
        with contextlib.suppress(OSError):
            tls.unwrap()
        return count

    address, serving = stage.served(tls_server(stage.server_context("localhost"), serve))

    def made(protocol):
        producer = protocol.producer = PushProducer(protocol.transport, 24 * 64)
        protocol.transport.registerProducer(producer, True)
        producer.done = protocol.transport.unregisterProducer
        producer.resumeProducing()

    factory = RecorderFactory(made=made)
    protocol = await stage.connect(address, factory, stage.trust())
    for _ in range(5):
        protocol.transport.pauseProducing()
        await stage.sleep(0.01)
        protocol.transport.resumeProducing()
    assert (await protocol.end()).check(error.ConnectionDone)
    assert await serving == 24 * len(MEGABYTE)
    assert protocol.received == MEGABYTE * 8
    assert "pause" in protocol.producer.events


async def tls_pauses_from_inside_of_dataReceived(stage):
    def serve(tls):
        for _ in range(4):
            tls.sendall(MEGABYTE)
        with contextlib.suppress(OSError):
            tls.unwrap()

    def react(protocol, data):
        protocol.transport.pauseProducing()
        stage.reactor.callLater(0, protocol.transport.resumeProducing)

    address, serving = stage.served(tls_server(stage.server_context("localhost"), serve))
    protocol = await stage.connect(address, RecorderFactory(react), stage.trust())
    await protocol.end()
    await serving
    assert protocol.received == MEGABYTE * 4


async def tls_closing_waits_for_a_registered_producer(stage):
    address, serving = stage.served(tls_server(stage.server_context("localhost"), read_all))
    protocol = await stage.connect(address, RecorderFactory(), stage.trust())
    protocol.transport.registerProducer(PushProducer(protocol.transport, 0), True)
    protocol.transport.loseConnection()
    await stage.sleep(0.02)
    assert protocol.lost is None
    protocol.transport.writeSequence([b"last ", b"words"])
    protocol.transport.unregisterProducer()
    assert await serving == b"last words"
    await protocol.end()


async def tls_writing_after_the_end_is_ignored(stage):
    def serve(tls):
        with contextlib.suppress(OSError):
            tls.unwrap()

    address, serving = stage.served(tls_server(stage.server_context("localhost"), serve))
    protocol = await stage.connect(address, RecorderFactory(), stage.trust())
    transport = protocol.transport
    await protocol.end()
    await serving
    transport.write(b"x")
    transport.writeSequence([b"x"])
    transport.loseConnection()
    transport.abortConnection()


async def exceptions_of_a_tls_clients_protocol_end_its_connection(stage):
    stage.expected += ["ZeroDivisionError", "Fatal error", "Unhandled", "division by zero"]
    address, serving = stage.served(tls_server(stage.server_context("localhost"), lambda tls: tls.sendall(b"x")))
    protocol = await stage.connect(address, RecorderFactory(lambda protocol, data: 1 / 0), stage.trust())
    reason = await protocol.end()
    assert reason.check(ZeroDivisionError), reason
    await serving


async def a_tls_factory_that_builds_nothing_or_raises(stage):
    class Raising(Factory):
        noisy = False

        def buildProtocol(self, addr):
            raise ZeroDivisionError

    nothing = Factory()
    nothing.noisy = False
    nothing.buildProtocol = lambda addr: None

    def serve(connection):
        with (
            contextlib.suppress(OSError),
            stage.server_context("localhost").wrap_socket(connection, server_side=True) as s,
        ):
            s.recv(1)

    for factory, kind in ((nothing, error.NoProtocol), (Raising(), ZeroDivisionError)):
        address, serving = stage.served(serve)
        await fails(stage.connect(address, factory, stage.trust()), kind)
        await serving
