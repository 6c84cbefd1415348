"""
One connection to Redis: made, logged in, kept, with a bound on how long and how many commands wait.
"""

from __future__ import annotations

import random
import ssl
from collections import deque
from collections.abc import Callable
from typing import Any, Final, cast
from urllib.parse import urlsplit

import hiredis
import txredisapi
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.interfaces import IAddress, IDelayedCall, IProtocol, IProtocolFactory
from twisted.internet.protocol import connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from suuupra_gateway.config.model import StoreSpec
from suuupra_gateway.net.address import Address
from suuupra_gateway.net.endpoints import connect
from suuupra_gateway.net.redis_errors import StoreError, StoreUnavailable
from suuupra_gateway.net.tls import ClientTLS

Word = bytes | str | int
"""What commands are made of. No floats: how many digits they have is not ours to guess."""

PAUSES: Final = (0.1, 2.0)
"""First and longest pause in seconds between two attempts to connect; each is up to a fifth shorter, by chance."""

STEADY: Final = 2.0
"""Seconds for which a connection must have been good before the pauses begin anew after it."""

MOST: Final = 10_000
"""Commands that wait for their replies on one connection."""

_ELSEWHERE: Final = frozenset(("READONLY", "LOADING", "MASTERDOWN", "NOAUTH", "CLUSTERDOWN"))
"""Errors of a server that is not, not yet or no longer the one to talk to."""

_UNABLE: Final = frozenset(("BUSY", "OOM", "MISCONF", "NOREPLICAS", "TRYAGAIN"))
"""Errors of a server that cannot do now what it could at other times."""

_PUSHES: Final = (b"message", b"subscribe", b"unsubscribe", b"pong")


def packed(words: tuple[Word, ...]) -> bytes:
    """A command as it goes over the wire."""
    command: bytes = hiredis.pack_command(words)  # type: ignore[arg-type]  # hiredis knows only tuples of one
    return command


class Connection(txredisapi.HiredisProtocol):  # type: ignore[misc]  # txredisapi is not typed
    """
    One connection. Replies come in the order of commands, so behind one that is late all others would be: it ends then.

    States: open; leaving (takes nothing new, ends with the last reply); over (whoever waited has been told).
    """

    log = Logger()

    def __init__(self, owner: Link) -> None:
        super().__init__(charset=None, convertNumbers=False)
        self._owner = owner
        self._pending: deque[tuple[Deferred[Any], float]] = deque()
        self._watch: IDelayedCall | None = None
        self._leaving = False
        self._over = False

    def connectionMade(self) -> None:
        """Nothing: `Link` logs in."""

    def send(self, *words: Word) -> Deferred[Any]:
        """One command; errback `StoreUnavailable`, `StoreError`. Cancelling leaves only its reply unheard."""
        if self._over or self._leaving:
            return fail(StoreUnavailable("the connection to Redis is closed"))
        if len(self._pending) >= MOST:
            return fail(StoreUnavailable(f"{MOST} commands wait for their replies already"))
        done: Deferred[Any] = Deferred()
        reactor = self._owner.reactor
        self._pending.append((done, reactor.seconds() + self._owner.timeout))
        if self._watch is None:
            self._watch = reactor.callLater(self._owner.timeout, self._check)
        self.transport.write(packed(words))
        return done

    def write(self, *words: Word) -> None:
        """One command that has no reply of its own, but pushes."""
        self.transport.write(packed(words))

    def leave(self) -> None:
        """Take no more commands, and end when all replies are there."""
        self._leaving = True
        if not self._pending:
            self.drop("it is not needed any more")

    def drop(self, why: str) -> None:
        """End it now. Idempotent."""
        if not self._over:
            self.transport.abortConnection()
            self._end(why)

    def _check(self) -> None:
        """The oldest command is the first to be late."""
        self._watch = None
        if self._pending:
            left = self._pending[0][1] - self._owner.reactor.seconds()
            if left <= 0:
                self.drop(f"no reply within {self._owner.timeout:g} s")
            else:
                self._watch = self._owner.reactor.callLater(left, self._check)

    def dataReceived(self, data: bytes, unpause: bool = False) -> None:
        """See `IProtocol`."""
        reader = self._reader
        reader.feed(data)
        while not self._over:
            try:
                reply = reader.gets()
            except txredisapi.InvalidData:
                self.drop("what came is not the protocol of Redis")
                return
            if reply is False:
                return
            pushed = self._owner.pushed
            if pushed is not None and type(reply) is list and reply and reply[0] in _PUSHES:
                try:
                    pushed(reply)
                except Exception:  # of whoever listens; the connection is not to blame
                    self.log.failure("What Redis told was not heeded")
            elif self._pending:
                self._take(reply, self._pending.popleft()[0])
            else:
                # A reply to nothing: what follows would be taken for somebody else's. Or why we may not subscribe.
                self.drop(str(reply) if isinstance(reply, Exception) else "a reply came that nobody had asked for")

    def _take(self, reply: object, done: Deferred[Any]) -> None:
        if isinstance(reply, Exception):
            why = str(reply).partition(", with args ")[0]  # of an unknown command, such as AUTH with its password
            word = why.partition(" ")[0]
            if word in _ELSEWHERE:
                self.drop(why)
            unavailable = word in _ELSEWHERE or word in _UNABLE
            done.errback(StoreUnavailable(why) if unavailable else StoreError(why))
        else:
            done.callback(reply)
        if self._leaving and not self._pending:
            self.drop("it is not needed any more")

    def connectionLost(self, why: Failure = connectionDone) -> None:
        """See `IProtocol`."""
        self.connected = 0
        if not self._over:
            self._end(f"the connection was lost: {why.getErrorMessage()}")

    def _end(self, why: str) -> None:
        self._over = True
        if self._watch is not None:
            self._watch.cancel()
            self._watch = None
        pending, self._pending = self._pending, deque()
        self._owner.lost(self, why)
        for done, _ in pending:
            done.errback(StoreUnavailable(f"Redis: {why}"))


@implementer(IProtocolFactory)
class Link:
    """Keeps one connection to a server, logged in. Lives between `start` and `stop`."""

    log = Logger()

    timeout: float
    """Seconds for a reply."""

    connection: Connection | None
    """The one that is logged in, if there is one."""

    def __init__(
        self,
        spec: StoreSpec,
        reactor: Any,
        *,
        ready: Callable[[Connection], object] = lambda connection: None,
        gone: Callable[[], object] = lambda: None,
        pushed: Callable[[list[Any]], object] | None = None,
    ) -> None:
        """
        :param ready: called with each connection that is logged in.
        :param gone: called when that has ended, unless it was stopped.
        :param pushed: called with what subscriptions tell; without it there can be none.
        :raises ValueError: ``ca-file`` cannot be read, or holds no certificates.
        """
        self.spec = spec
        self.reactor = reactor
        self.timeout = float(spec.timeout)
        self.pushed = pushed
        self.connection = None
        self._ready = ready
        self._gone = gone
        self._address = _address(spec)
        self._tls = _tls(spec, self._address.host) if spec.url.startswith("rediss:") else None
        self._wanted = False
        self._complained = False
        self._failures = 0
        self._since = 0.0
        self._pause: IDelayedCall | None = None
        self._dialing: Deferred[IProtocol] | None = None
        self._held: Connection | None = None
        """The one that is made, logged in or not."""
        self._stopping: Deferred[None] | None = None

    # -- its life -----------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Connect, and again whenever that is lost."""
        self._wanted = True
        self._dial()

    def stop(self) -> Deferred[None]:
        """Connect no more; fires when commands that wait have their replies, or are too late. Call it once, after `start`."""
        self._wanted = False
        if self._pause is not None:
            self._pause.cancel()
            self._pause = None
        if self._dialing is not None:
            self._dialing.cancel()
        held, usable, self.connection = self._held, self.connection, None
        if held is None:
            return succeed(None)
        stopping = self._stopping = Deferred()
        if usable is None or self.pushed is not None:
            held.drop("it is not needed any more")
        else:
            held.leave()
        return stopping

    def lost(self, connection: Connection, why: str) -> None:
        """It is over."""
        if connection is not self._held:
            return  # given up while it was made
        self._held = None
        if self.connection is connection:
            self.connection = None
            self.log.warn("Redis at {url} is gone: {why}", url=self.spec.url, why=why)
            if self.reactor.seconds() - self._since >= STEADY:
                self._failures = 0
            self._gone()
        elif self._wanted:
            self._complain(why)
        if self._stopping is not None:
            self._stopping.callback(None)
        elif self._wanted:
            self._again()

    # -- connecting ---------------------------------------------------------------------------------------------------

    def buildProtocol(self, addr: IAddress | None) -> IProtocol:
        """See `IProtocolFactory`."""
        self._held = Connection(self)
        return cast(IProtocol, self._held)

    def doStart(self) -> None:
        """Nothing."""

    def doStop(self) -> None:
        """Nothing."""

    def _dial(self) -> None:
        self._pause = None
        patience = max(1.0, self.timeout)  # names are looked up in it too
        made = connect(self.reactor, self._address, self, tls=self._tls, connect_timeout=patience, tls_timeout=patience)
        self._dialing = made
        made.addCallbacks(self._made, self._unreachable)

    def _made(self, connection: Any) -> None:
        self._dialing = None
        if not self._wanted:
            connection.drop("it is not needed any more")  # cancelled too late
            return
        Deferred.fromCoroutine(self._greet(connection)).addErrback(self._unwelcome, connection)

    def _unreachable(self, failure: Failure) -> None:
        self._dialing = None
        self._held = None
        if self._wanted:
            self._complain(failure.getErrorMessage())
            self._again()

    async def _greet(self, connection: Connection) -> None:
        if self.spec.password is not None or self.spec.user:
            secret = self.spec.password.reveal() if self.spec.password is not None else ""
            await connection.send("AUTH", *([self.spec.user] if self.spec.user else []), secret)
        number = _database(self.spec)
        if number:
            await connection.send("SELECT", number)
        await connection.send("PING")  # a server that loads its file refuses this
        self.connection = connection
        self._complained = False
        self._since = self.reactor.seconds()
        self._ready(connection)

    def _unwelcome(self, failure: Failure, connection: Connection) -> None:
        connection.drop(failure.getErrorMessage())

    def _again(self) -> None:
        first, longest = PAUSES
        pause = min(longest, first * 2.0 ** min(self._failures, 10)) * random.uniform(0.8, 1.0)
        self._failures += 1
        self._pause = self.reactor.callLater(pause, self._dial)

    def _complain(self, why: str) -> None:
        """Once for each time that it is away."""
        if not self._complained:
            self._complained = True
            self.log.error("Redis at {url} cannot be used: {why}", url=self.spec.url, why=why)


def _address(spec: StoreSpec) -> Address:
    if spec.url.startswith("unix:"):
        return Address(path=spec.url[5:])
    split = urlsplit(spec.url)
    return Address(host=split.hostname or "", port=6379 if split.port is None else split.port)


def _tls(spec: StoreSpec, host: str) -> ClientTLS:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if not spec.ca_file:
        context.load_default_certs(ssl.Purpose.SERVER_AUTH)
        return ClientTLS(context, host)
    try:
        context.load_verify_locations(cafile=spec.ca_file)
    except OSError as reason:
        raise ValueError(f"{spec.ca_file}: no usable certificates: {reason.strerror or reason}") from reason
    return ClientTLS(context, host)


def _database(spec: StoreSpec) -> int:
    if spec.database is not None:
        return spec.database
    return int(urlsplit(spec.url).path.lstrip("/") or 0) if not spec.url.startswith("unix:") else 0
