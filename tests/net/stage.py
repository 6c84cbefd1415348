"""
What the scenarios share: a stage to play on, protocols that remember, blocking peers, and servers of theirs in threads.
"""

import contextlib
import os
import socket
import ssl
import struct

from twisted.internet.defer import Deferred
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread

from suuupra_gateway.config.model import UpstreamTLS
from suuupra_gateway.net.address import Address
from suuupra_gateway.net.endpoints import connect, listen
from suuupra_gateway.net.tls import client_tls
from tests.net.certificates import Authority

MEGABYTE = b"0123456789abcdef" * 65536


class Recorder(Protocol):
    """Keeps what it receives and how it ended."""

    def __init__(self, react=None, made=None):
        self.received = b""
        self.made = made
        self.react = react
        self.lost = None
        self.waiting = []
        self.calls = []

    def connectionMade(self):
        self.calls.append("made")
        if self.made is not None:
            self.made(self)

    def dataReceived(self, data):
        self.calls.append("data")
        self.received += data
        if self.react is not None:
            self.react(self, data)
        self._wake()

    def connectionLost(self, reason):
        assert self.lost is None, "lost twice"
        self.calls.append("lost")
        self.lost = reason
        self._wake()

    def _wake(self):
        waiting, self.waiting = self.waiting, []
        for deferred in waiting:
            deferred.callback(None)

    async def until(self, predicate):
        while not predicate(self):
            deferred = Deferred()
            self.waiting.append(deferred)
            await deferred
        return self

    async def end(self):
        await self.until(lambda self: self.lost is not None)
        return self.lost


class RecorderFactory(Factory):
    """Hands out recorders; ``protocols`` are all that were built."""

    noisy = False

    def __init__(self, react=None, made=None):
        self.protocols = []
        self.addresses = []
        self.react = react
        self.made = made
        self.calls = []
        self.waiting = []

    def startFactory(self):
        self.calls.append("start")

    def stopFactory(self):
        self.calls.append("stop")

    def buildProtocol(self, addr):
        self.addresses.append(addr)
        protocol = Recorder(self.react, self._made)
        self.protocols.append(protocol)
        return protocol

    def _made(self, protocol):
        if self.made is not None:
            self.made(protocol)
        waiting, self.waiting = self.waiting, []
        for deferred in waiting:
            deferred.callback(None)

    async def built(self):
        while not self.protocols or not self.protocols[0].calls:
            deferred = Deferred()
            self.waiting.append(deferred)
            await deferred
        return self.protocols[0]


class PushProducer:
    def __init__(self, transport, total):
        self.transport = transport
        self.left = total
        self.sent = 0
        self.events = []
        self.running = False
        self.done = None

    def resumeProducing(self):
        self.events.append("resume")
        self.running = True
        while self.running and self.left:
            self.left -= 1
            self.sent += 1
            self.transport.write(MEGABYTE[:16384])
        if not self.left and self.done is not None:
            self.done, done = None, self.done
            done()

    def pauseProducing(self):
        self.events.append("pause")
        self.running = False

    def stopProducing(self):
        self.events.append("stop")
        self.running = False


def echo(protocol, data):
    protocol.transport.write(data)


class Stage:
    """What scenarios share: the reactor, a directory, ports that are closed for them."""

    def __init__(self, reactor, kind, directory):
        self.reactor = reactor
        self.kind = kind
        self.directory = directory
        self.expected = []
        self.authority = Authority(directory)
        self._closing = contextlib.ExitStack()
        self._count = 0
        self._standing = set(reactor.getDelayedCalls())

    def owns(self, call):
        return call in self._standing

    async def clear(self):
        self._closing.close()
        await self.sleep(0)

    def keep(self, thing):
        self._closing.callback(thing.close)
        return thing

    def sleep(self, seconds):
        return deferLater(self.reactor, seconds, lambda: None)

    def thread(self, function, *args):
        return deferToThread(function, *args)

    def path(self):
        self._count += 1
        return os.path.join(self.directory, f"s{self._count}")

    def bound(self, family=socket.AF_INET, reuse_port=False, address=None):
        sock = socket.socket(family, socket.SOCK_STREAM)
        if family == socket.AF_UNIX:
            sock.bind(self.path())
        else:
            if reuse_port:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            sock.bind(address or (("127.0.0.1" if family == socket.AF_INET else "::1"), 0))
        return sock

    def listening(self, factory, sock=None, **options):
        """``(port, name to connect a blocking socket to)``."""
        sock = sock or self.bound()
        name = sock.getsockname()
        port = listen(self.reactor, sock, factory, **options)
        self._closing.callback(port.stopListening)
        return port, name

    def served(self, serve, family=socket.AF_INET, backlog=16):
        """Run ``serve(connection)`` in a thread for one connection; the address to connect to."""
        sock = self.bound(family)
        sock.listen(backlog)
        sock.settimeout(10)

        def accept():
            with sock:
                connection, _ = sock.accept()
                connection.settimeout(10)
                with connection:
                    return serve(connection)

        return address_of(sock), deferToThread(accept)

    def server_context(self, *names_, days=30, minimum=None, maximum=None, trust=None):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        if minimum is not None:
            context.minimum_version = minimum
        if maximum is not None:
            context.set_ciphers("ALL:@SECLEVEL=0")
            context.maximum_version = maximum
        context.load_cert_chain(self.authority.issue(*names_, days=days))
        context.set_alpn_protocols(["http/1.1"])
        if trust is not None:
            context.load_verify_locations(trust)
            context.verify_mode = ssl.CERT_REQUIRED
        return context

    def connect(self, address, factory, tls=None, connect_timeout=5.0, tls_timeout=5.0):
        return connect(
            self.reactor, address, factory, tls=tls, connect_timeout=connect_timeout, tls_timeout=tls_timeout
        )

    def trust(self, host="localhost", **options):
        return client_tls(UpstreamTLS(ca_file=self.authority.file, **options), host)


def address_of(sock):
    name = sock.getsockname()
    if sock.family == socket.AF_UNIX:
        return Address(path=name if isinstance(name, str) else "@" + name[1:].decode())
    return Address(host=name[0], port=name[1])


def dial(name, timeout=10):
    family = socket.AF_UNIX if isinstance(name, str) else (socket.AF_INET if len(name) == 2 else socket.AF_INET6)
    sock = socket.socket(family, socket.SOCK_STREAM)
    sock.settimeout(timeout)
    sock.connect(name)
    return sock


def read_all(sock):
    pieces = []
    while piece := sock.recv(65536):
        pieces.append(piece)
    return b"".join(pieces)


def read_exactly(sock, count):
    pieces = bytearray()
    while len(pieces) < count:
        piece = sock.recv(count - len(pieces))
        assert piece, f"the connection ended after {len(pieces)} of {count} bytes"
        pieces += piece
    return bytes(pieces)


def ask(name, request):
    with dial(name) as sock:
        sock.sendall(request)
        return read_exactly(sock, len(request))


def reset(sock):
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


async def fails(awaitable, kind):
    try:
        result = await awaitable
    except kind as reason:
        return reason
    raise AssertionError(f"no {kind.__name__} but {result!r}")


def tls_server(context, serve):
    def secure(connection):
        with context.wrap_socket(connection, server_side=True) as tls:
            return serve(tls)

    return secure


def echo_once(connection):
    data = connection.recv(65536)
    connection.sendall(data)
    return data


def client_context(stage, certificate=None):
    context = ssl.create_default_context(cafile=stage.authority.file)
    context.set_alpn_protocols(["http/1.1"])
    if certificate:
        context.load_cert_chain(certificate)
    return context


def only(*kinds):
    def mark(scenario):
        scenario.kinds = kinds
        return scenario

    return mark
