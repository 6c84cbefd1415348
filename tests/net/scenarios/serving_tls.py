"""
Listening with TLS.
"""

import contextlib
import os
import socket

from twisted.internet import error
from twisted.internet.interfaces import IConsumer, INegotiated, IPushProducer, ISSLTransport, ITransport

from tests.net.stage import MEGABYTE, RecorderFactory, client_context, dial, echo, read_all, read_exactly


async def accepts_with_tls(stage):
    seen = []

    def react(protocol, data):
        transport = protocol.transport
        for interface in (ITransport, IConsumer, IPushProducer, ISSLTransport, INegotiated):
            assert interface.providedBy(transport), interface
        seen.append((transport.negotiatedProtocol, transport.getPeerCertificate()))
        transport.write(data)

    factory = RecorderFactory(react)
    context = client_context(stage)
    for family in (socket.AF_INET, socket.AF_UNIX):
        _, name = stage.listening(factory, stage.bound(family), tls=stage.server_context("localhost"))

        def client(name=name):
            with dial(name) as raw, context.wrap_socket(raw, server_hostname="localhost") as sock:
                sock.sendall(b"secret")
                answer = read_exactly(sock, 6)
                sock.unwrap()
                return answer

        assert await stage.thread(client) == b"secret"
        assert seen.pop() == (b"http/1.1", None)
        assert (await factory.protocols[-1].end()).check(error.ConnectionDone)


async def shows_the_clients_certificate(stage):
    seen = []

    def react(protocol, data):
        seen.append(protocol.transport.getPeerCertificate().get_subject().CN)
        protocol.transport.write(data)

    factory = RecorderFactory(react)
    _, name = stage.listening(factory, tls=stage.server_context("localhost", trust=stage.authority.file))
    context = client_context(stage, stage.authority.issue("client.example"))

    def client():
        with dial(name) as raw, context.wrap_socket(raw, server_hostname="localhost") as sock:
            sock.sendall(b"x")
            return read_exactly(sock, 1)

    await stage.thread(client)
    assert seen == ["client.example"]


async def bytes_that_are_no_tls_close_one_connection_only(stage):
    stage.expected += ["SSL handshake failed", "SSL"]
    factory = RecorderFactory(echo)
    _, name = stage.listening(factory, tls=stage.server_context("localhost"))

    def rubbish():
        with dial(name) as sock:
            sock.sendall(b"GET / HTTP/1.1\r\n\r\n")
            with contextlib.suppress(ConnectionResetError):
                read_all(sock)

    await stage.thread(rubbish)
    (await stage.thread(dial, name)).close()
    assert factory.protocols == []
    context = client_context(stage)

    def client():
        with dial(name) as raw, context.wrap_socket(raw, server_hostname="localhost") as sock:
            sock.sendall(b"x")
            return read_exactly(sock, 1)

    assert await stage.thread(client) == b"x"


async def tls_closes_orderly_and_loses_nothing(stage):
    def made(protocol):
        for _ in range(4):
            protocol.transport.write(MEGABYTE)
        protocol.transport.loseConnection()

    factory = RecorderFactory(made=made)
    _, name = stage.listening(factory, tls=stage.server_context("localhost"))
    context = client_context(stage)

    def client():
        with dial(name) as raw, context.wrap_socket(raw, server_hostname="localhost") as sock:
            data = read_all(sock)  # raises SSLEOFError without a close_notify
            sock.unwrap()
            return data

    assert await stage.thread(client) == MEGABYTE * 4
    assert (await (await factory.built()).end()).check(error.ConnectionDone)


async def tls_abort_resets(stage):
    factory = RecorderFactory()
    _, name = stage.listening(factory, tls=stage.server_context("localhost"))
    context = client_context(stage)

    def client():
        with (
            dial(name) as raw,
            context.wrap_socket(raw, server_hostname="localhost") as sock,
            # below TLS, because `ssl` tells a reset and an end of the stream alike
            socket.socket(fileno=os.dup(sock.fileno())) as below,
        ):
            below.settimeout(10)
            try:
                return read_all(below)
            except ConnectionResetError:
                return "reset"

    asking = stage.thread(client)
    protocol = await factory.built()
    await stage.sleep(0.05)
    protocol.transport.abortConnection()
    assert (await protocol.end()).check(error.ConnectionAborted)
    assert await asking == "reset"


async def a_tls_servers_factory_may_refuse_or_fail(stage):
    stage.expected += ["could not begin", "ZeroDivisionError", "division by zero"]

    class Moody(RecorderFactory):
        mood = "refuse"

        def buildProtocol(self, addr):
            if self.mood == "refuse":
                return None
            if self.mood == "fail":
                raise ZeroDivisionError
            return super().buildProtocol(addr)

    factory = Moody(echo)
    _, name = stage.listening(factory, tls=stage.server_context("localhost"))
    context = client_context(stage)

    def client():
        with dial(name) as raw, context.wrap_socket(raw, server_hostname="localhost") as sock:
            try:
                sock.sendall(b"x")
                return sock.recv(1)
            except OSError:
                return b""

    for mood, answer in (("refuse", b""), ("fail", b""), ("", b"x")):
        factory.mood = mood
        assert await stage.thread(client) == answer, mood


async def a_tls_server_pauses_and_stops(stage):
    def react(protocol, data):
        protocol.transport.pauseProducing()
        stage.reactor.callLater(0.01, protocol.transport.resumeProducing)
        if protocol.received.endswith(b"end"):
            stage.reactor.callLater(0.02, protocol.transport.stopProducing)

    factory = RecorderFactory(react)
    _, name = stage.listening(factory, tls=stage.server_context("localhost"))
    context = client_context(stage)

    def client():
        with dial(name) as raw, context.wrap_socket(raw, server_hostname="localhost") as sock:
            sock.sendall(MEGABYTE[:300_000])
            sock.sendall(b"end")
            return read_all(sock)

    assert await stage.thread(client) == b""
    protocol = await factory.built()
    assert (await protocol.end()).check(error.ConnectionDone)
    assert protocol.received == MEGABYTE[:300_000] + b"end"
