"""
Redis, for state that all machines share: commands, scripts, subscriptions, each with a bound on how long and how many.

txredisapi's protocol with hiredis, on connections of our own keeping: its handlers wait for ever while there is no connection,
and a failed login ends them for good. Here a command fails at once when Redis is not there, and after ``timeout`` when it is
there and does not answer; then the connection is dropped, as replies come in order and none behind the missing one would be in
time. What is sent in one turn of the reactor leaves in one write.

The connections (`net.redis_link`) are imported late: txredisapi reaches for the global reactor, which may not be chosen yet.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final

import attrs
from twisted.internet.defer import Deferred, DeferredList, fail, succeed
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from suuupra_gateway.config.model import StoreSpec
from suuupra_gateway.net.redis_errors import StoreError, StoreUnavailable

if TYPE_CHECKING:
    from suuupra_gateway.net.redis_link import Connection, Link, Word

__all__ = ["Redis", "Script", "StoreError", "StoreUnavailable", "Subscription"]

ALIVE: Final = 5.0
"""Seconds after which an idle subscription is asked whether it is there."""


@attrs.frozen
class Script:
    """A Lua script, and the name by which Redis knows it."""

    source: str
    digest: str = attrs.field(init=False)

    @digest.default
    def _digest(self) -> str:
        return hashlib.sha1(self.source.encode(), usedforsecurity=False).hexdigest()


class Redis:
    """A Redis server; a resident. Connects when started and, whatever happens, again and again."""

    log = Logger()

    def __init__(self, spec: StoreSpec, reactor: Any) -> None:
        """
        :raises ValueError: ``ca-file`` cannot be read, or holds no certificates.
        """
        self.spec = spec
        self._reactor = reactor
        self._link = _link(spec, reactor, ready=self._connected)
        self._subscriptions: list[Subscription] = []
        self._started = False

    def start(self) -> None:
        """See `Resident`."""
        self._started = True
        self._link.start()

    def retire(self) -> Deferred[None]:
        """See `Resident`."""
        for subscription in tuple(self._subscriptions):
            subscription.end()
        if not self._started:
            return succeed(None)
        self._started = False
        return self._link.stop()

    @property
    def available(self) -> bool:
        """Whether there is a connection now."""
        return self._link.connection is not None

    def key(self, *parts: str) -> str:
        """The name of a key of ours: the prefix, and parts separated by colons."""
        return ":".join((self.spec.prefix, *parts))

    def call(self, *words: Word) -> Deferred[Any]:
        """
        One command; its reply as hiredis gives it: bytes, int, list, None.

        Errback `StoreUnavailable` at once when there is no connection, and within ``timeout`` in any case; `StoreError`.
        Who has less time than that cancels: the command may be done even so, and its reply goes to nobody.
        """
        connection = self._link.connection
        if connection is None:
            return fail(StoreUnavailable("there is no connection to Redis"))
        return connection.send(*words)

    def calls(self, commands: Iterable[Sequence[Word]]) -> Deferred[list[Any]]:
        """Several commands in one write; their replies. Errback as of the first that fails."""
        results = [self.call(*words) for words in commands]
        both: Deferred[Any] = DeferredList(results, fireOnOneErrback=True, consumeErrors=True)

        def unwrap(failure: Failure) -> Failure:
            inner = getattr(failure.value, "subFailure", None)
            return inner if inner is not None else failure

        return both.addCallbacks(lambda replies: [reply for _, reply in replies], unwrap)

    def script(self, script: Script, keys: Sequence[Word], arguments: Sequence[Word] = ()) -> Deferred[Any]:
        """
        Run a script, by its digest if Redis has it. Errback as `call`.

        After a restart Redis has forgotten it: then it is sent whole.
        """
        words: tuple[Word, ...] = (len(keys), *keys, *arguments)

        def unknown(failure: Failure) -> Any:
            error = failure.value
            if not isinstance(error, StoreError) or not str(error).startswith("NOSCRIPT"):
                return failure
            return self.call("EVAL", script.source, *words)

        return self.call("EVALSHA", script.digest, *words).addErrback(unknown)

    def subscribe(
        self,
        channels: Sequence[str],
        message: Callable[[str, bytes], object],
        state: Callable[[bool], object] = lambda connected: None,
    ) -> Subscription:
        """
        Hear of messages, on a connection of its own.

        :param message: called with channel and message.
        :param state: called with True whenever it begins to hear, and with False when it does so no more: what is said in
            between is lost.
        """
        made = Subscription(self.spec, self._reactor, channels, message, state, self._subscriptions.remove)
        self._subscriptions.append(made)
        made.begin()
        return made

    def _connected(self, connection: Connection) -> None:
        self.log.info("Redis at {url} is there", url=self.spec.url)


class Subscription:
    """A connection that hears messages. Lives until `end`."""

    def __init__(
        self,
        spec: StoreSpec,
        reactor: Any,
        channels: Sequence[str],
        message: Callable[[str, bytes], object],
        state: Callable[[bool], object],
        ended: Callable[[Subscription], object],
    ) -> None:
        self._channels = tuple(channels)
        self._message = message
        self._state = state
        self._ended = ended
        self._reactor = reactor
        self._link = _link(spec, reactor, ready=self._ready, gone=self._gone, pushed=self._pushed)
        self._alive: IDelayedCall | None = None
        self._answered = True
        self._over = False

    def begin(self) -> None:
        """Connect."""
        self._link.start()

    def end(self) -> None:
        """Hear no more. Idempotent."""
        if not self._over:
            self._over = True
            self._rest()
            self._link.stop()
            self._ended(self)

    def _ready(self, connection: Connection) -> None:
        connection.write("SUBSCRIBE", *self._channels)
        self._answered = True
        self._alive = self._reactor.callLater(ALIVE, self._ask, connection)

    def _ask(self, connection: Connection) -> None:
        """A server that hangs, or a connection that a firewall forgot, says nothing: ask."""
        self._alive = None
        if not self._answered:
            connection.drop(f"a subscription got no answer within {ALIVE:g} s")
            return
        self._answered = False
        connection.write("PING")
        self._alive = self._reactor.callLater(ALIVE, self._ask, connection)

    def _pushed(self, reply: list[Any]) -> None:
        self._answered = True
        if reply[0] == b"message":
            self._message(reply[1].decode("utf-8", "replace"), reply[2])
        elif reply[0] == b"subscribe" and reply[2] == len(self._channels):
            self._state(True)

    def _gone(self) -> None:
        self._rest()
        if not self._over:
            self._state(False)

    def _rest(self) -> None:
        if self._alive is not None:
            self._alive.cancel()
            self._alive = None


def _link(spec: StoreSpec, reactor: Any, **calls: Any) -> Link:
    from suuupra_gateway.net.redis_link import Link

    return Link(spec, reactor, **calls)
