"""
One connection to Redis: logged in, kept, with a bound on how long and how many commands wait.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any, Final
from urllib.parse import urlsplit

import hiredis
import txredisapi
from twisted.application.internet import ClientService, backoffPolicy
from twisted.internet.defer import Deferred, fail
from twisted.internet.endpoints import HostnameEndpoint, UNIXClientEndpoint, wrapClientTLS
from twisted.internet.interfaces import IAddress, IDelayedCall, IStreamClientEndpoint
from twisted.internet.protocol import Factory, connectionDone
from twisted.internet.ssl import Certificate, optionsForClientTLS, trustRootFromCertificates
from twisted.logger import Logger
from twisted.python.failure import Failure

from suuupra_gateway.config.model import StoreSpec
from suuupra_gateway.net.redis_errors import StoreError, StoreUnavailable

Word = bytes | str | int
"""What commands are made of. No floats: how many digits they have is not ours to guess."""

PAUSES: Final = (0.1, 2.0)
"""First and longest pause in seconds between two attempts to connect."""

MOST: Final = 10_000
"""Commands that wait for their replies on one connection."""

_RECONNECT: Final = ("READONLY", "LOADING", "MASTERDOWN", "NOAUTH", "CLUSTERDOWN")
"""Errors of a server that is not, or no longer, the one to talk to."""


def packed(words: tuple[Word, ...]) -> bytes:
    """A command as it goes over the wire."""
    command: bytes = hiredis.pack_command(words)  # type: ignore[arg-type]  # hiredis knows only tuples of one
    return command


class Connection(txredisapi.HiredisProtocol):  # type: ignore[misc]  # txredisapi is not typed
    """One connection. Replies come in the order of commands."""

    def __init__(self, owner: Link) -> None:
        super().__init__(charset=None, convertNumbers=False)
        self._owner = owner
        self._pending: deque[tuple[Deferred[Any], float]] = deque()
        self._watch: IDelayedCall | None = None

    def connectionMade(self) -> None:
        self._owner.greet(self)

    def send(self, *words: Word) -> Deferred[Any]:
        """One command; errback `StoreUnavailable`, `StoreError`."""
        if len(self._pending) >= MOST:
            return fail(StoreUnavailable(f"{MOST} commands wait for their replies already"))
        done: Deferred[Any] = Deferred()
        reactor = self._owner.reactor
        self._pending.append((done, reactor.seconds() + self._owner.timeout))
        if self._watch is None:
            self._watch = reactor.callLater(self._owner.timeout, self._check)
        self.transport.write(packed(words))
        return done

    def _check(self) -> None:
        """The oldest command is the first to be late."""
        self._watch = None
        if not self._pending:
            return
        left = self._pending[0][1] - self._owner.reactor.seconds()
        if left <= 0:
            self.transport.abortConnection()
        else:
            self._watch = self._owner.reactor.callLater(left, self._check)

    def dataReceived(self, data: bytes, unpause: bool = False) -> None:
        reader = self._reader
        reader.feed(data)
        while True:
            try:
                reply = reader.gets()
            except txredisapi.InvalidData:
                self.transport.abortConnection()
                return
            if reply is False:
                return
            if self._owner.pushed is not None and type(reply) is list and reply and reply[0] in _PUSHES:
                self._owner.pushed(reply)
                continue
            if not self._pending:
                self.transport.abortConnection()  # a reply to nothing: whatever follows would be somebody else's
                return
            done, _ = self._pending.popleft()
            if isinstance(reply, Exception):
                if str(reply).startswith(_RECONNECT):
                    self.transport.abortConnection()
                    done.errback(StoreUnavailable(str(reply)))
                else:
                    done.errback(StoreError(str(reply)))
            else:
                done.callback(reply)

    def connectionLost(self, why: Failure = connectionDone) -> None:
        self.connected = 0
        if self._watch is not None:
            self._watch.cancel()
            self._watch = None
        self._owner.lost(self)
        pending, self._pending = self._pending, deque()
        for done, _ in pending:
            done.errback(StoreUnavailable("the connection to Redis was lost, or did not answer in time"))


_PUSHES: Final = (b"message", b"subscribe", b"unsubscribe", b"pong")


class _Factory(Factory):
    noisy = False

    def __init__(self, owner: Link) -> None:
        self._owner = owner

    def buildProtocol(self, addr: IAddress | None) -> Any:
        return Connection(self._owner)


class Link:
    """Keeps one connection to a server, logged in. Lives between `start` and `stop`."""

    log = Logger()

    def __init__(
        self,
        spec: StoreSpec,
        reactor: Any,
        *,
        ready: Callable[[Connection], object] = lambda connection: None,
        gone: Callable[[], object] = lambda: None,
        pushed: Callable[[list[Any]], object] | None = None,
    ) -> None:
        self.spec = spec
        self.reactor = reactor
        self.timeout = float(spec.timeout)
        self.pushed = pushed
        self.connection: Connection | None = None
        self._ready = ready
        self._gone = gone
        self._complained = False
        self._service = ClientService(
            _endpoint(spec, reactor),
            _Factory(self),
            retryPolicy=backoffPolicy(*PAUSES, factor=1.6),
            clock=reactor,
        )

    def start(self) -> None:
        """Connect, and again whenever that is lost."""
        self._service.startService()

    def stop(self) -> Deferred[None]:
        """Connect no more."""
        stopped: Deferred[None] = self._service.stopService()
        if self.connection is not None:
            self.connection.transport.abortConnection()
        return stopped

    def greet(self, connection: Connection) -> None:
        """A connection is made: log in."""
        Deferred.fromCoroutine(self._greet(connection)).addErrback(self._unwelcome, connection)

    async def _greet(self, connection: Connection) -> None:
        if self.spec.password is not None:
            secret = self.spec.password.reveal()
            await connection.send("AUTH", *([self.spec.user] if self.spec.user else []), secret)
        number = _database(self.spec)
        if number:
            await connection.send("SELECT", number)
        await connection.send("PING")
        self.connection = connection
        self._complained = False
        self._ready(connection)

    def _unwelcome(self, failure: Failure, connection: Connection) -> None:
        if not self._complained:
            self._complained = True
            self.log.error("Redis at {url} cannot be used: {why}", url=self.spec.url, why=failure.getErrorMessage())
        connection.transport.abortConnection()

    def lost(self, connection: Connection) -> None:
        """It is gone."""
        if self.connection is connection:
            self.connection = None
            self._gone()


def _endpoint(spec: StoreSpec, reactor: Any) -> IStreamClientEndpoint:
    if spec.url.startswith("unix:"):
        return UNIXClientEndpoint(reactor, spec.url[5:], timeout=float(spec.timeout))  # type: ignore[no-untyped-call]
    split = urlsplit(spec.url)
    host = split.hostname or "localhost"
    endpoint: IStreamClientEndpoint = HostnameEndpoint(
        reactor, host, split.port or 6379, timeout=max(1.0, float(spec.timeout))
    )
    if split.scheme == "rediss":
        options = optionsForClientTLS(host, trustRoot=_trust(spec.ca_file) if spec.ca_file else None)
        endpoint = wrapClientTLS(options, endpoint)
    return endpoint


def _trust(path: str) -> Any:
    with open(path, "rb") as file:
        text = file.read()
    end = b"-----END CERTIFICATE-----"
    found = [Certificate.loadPEM(piece + end) for piece in text.split(end)[:-1]]
    if not found:
        raise ValueError(f"{path} holds no certificates in PEM")
    return trustRootFromCertificates(found)  # type: ignore[no-untyped-call]


def _database(spec: StoreSpec) -> int:
    if spec.database is not None:
        return spec.database
    return int(urlsplit(spec.url).path.lstrip("/") or 0) if not spec.url.startswith("unix:") else 0
