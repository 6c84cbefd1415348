"""
What has been revoked, as one host knows it: heard from its store or its workers, told to all workers, remembered for those that
come later.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final

import attrs
import msgspec
from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger

from suuupra_gateway.auth.keystore import IKeyStore
from suuupra_gateway.auth.keystore_redis import RedisKeyStore
from suuupra_gateway.auth.keystore_sqlite import SqliteKeyStore
from suuupra_gateway.auth.revocation import RevocationFeed
from suuupra_gateway.auth.revocations import EVERYTHING, MOST, TOPIC, Recent, Revocation
from suuupra_gateway.config.model import GatewayConfig, StoreSpec
from suuupra_gateway.net.redis import Redis
from suuupra_gateway.process.board import LARGEST, LONGEST, Board
from suuupra_gateway.state import keys_file

KEPT: Final = 86400.0
"""Seconds for which revocations are remembered for workers that come later."""

AT_ONCE: Final = 100
"""Revocations of one turn that are told one by one; more of them, as after an outage, are told as all that is known."""

PATIENCE: Final = 2.0
"""Seconds that whoever revokes waits for workers; one that hangs is replaced, and its successor knows."""

_ENTRY: Final = 24
"""Bytes of a tag's time and punctuation in JSON, at most."""


@attrs.frozen
class Source:
    """Who tells of revocations: a store, or a file that is looked at every so often."""

    store: StoreSpec | None
    path: str = ""
    poll: float = 0.0

    @classmethod
    def of(cls, config: GatewayConfig) -> Source | None:
        """Where ``config`` keeps keys; None for nowhere."""
        if config.gateway.store is not None:
            return cls(config.gateway.store)
        keys = config.identity.api_keys
        path = keys_file(keys, config.gateway) if keys is not None else ""
        return cls(None, path, float(config.identity.revocation_poll)) if path else None


@attrs.frozen
class _Heard:
    store: IKeyStore
    feed: RevocationFeed
    close: Callable[[], Deferred[None]]


class Recall:
    """Takes back, on this host. Lives as long as the supervisor; in between, `expect` and `settle` as for `Oversight`."""

    log = Logger()

    def __init__(self, reactor: Any, board: Board, *, wall: Callable[[], float] = time.time) -> None:
        self._reactor = reactor
        self._board = board
        self._wall = wall
        self._sources: dict[Source, _Heard] = {}
        self._known: dict[str, float] = {}
        self._size = 0
        """Of what is known, in JSON; not less."""
        self._untold: list[bytes] = []
        self._telling: IDelayedCall | None = None
        board.listen(TOPIC, self.heard)
        board.compose(TOPIC, self._recent)

    # -- stores -------------------------------------------------------------------------------------------------------

    def expect(self, config: GatewayConfig) -> None:
        """
        Begin to listen where ``config`` keeps keys.

        :raises ValueError: ``ca-file`` of its store holds no certificates.
        :raises OSError: it cannot be read.
        """
        source = Source.of(config)
        if source is None or source in self._sources:
            return
        if source.store is not None:
            redis = Redis(source.store, self._reactor)
            redis.start()
            store: IKeyStore = RedisKeyStore(redis)
            feed = RevocationFeed(store, self._reactor, self.heard, redis=redis, wall=self._wall)
            close = redis.retire
        else:
            kept = store = SqliteKeyStore(source.path, self._reactor)
            feed = RevocationFeed(kept, self._reactor, self.heard, poll=source.poll, wall=self._wall)
            close = kept.close
        self._sources[source] = _Heard(store, feed, close)
        feed.start()

    def settle(self, config: GatewayConfig) -> None:
        """Listen nowhere else than ``config``, which is in force, says."""
        kept = Source.of(config)
        for source in [source for source in self._sources if source != kept]:
            self._end(self._sources.pop(source))

    def stop(self) -> Deferred[None]:
        """End everything; fires when files and connections are closed."""
        if self._telling is not None:
            self._telling.cancel()
            self._telling = None
        heard = list(self._sources.values())
        self._sources.clear()
        return DeferredList([self._end(each) for each in heard]).addCallback(lambda _: None)

    def store(self, config: GatewayConfig) -> IKeyStore | None:
        """Where ``config``, which is in force, keeps keys; None for nowhere. Good until the next reload."""
        source = Source.of(config)
        heard = self._sources.get(source) if source is not None else None
        return heard.store if heard is not None else None

    @property
    def live(self) -> bool | None:
        """Whether everything is heard of; None if there is nobody to hear of it from."""
        return all(heard.feed.live for heard in self._sources.values()) if self._sources else None

    def _end(self, heard: _Heard) -> Deferred[None]:
        heard.feed.stop()
        return heard.close().addErrback(lambda failure: self.log.failure("A store cannot be closed", failure))

    # -- revocations --------------------------------------------------------------------------------------------------

    def heard(self, event: bytes) -> None:
        """
        Something was revoked: in this turn or the next, let all workers know, and those that come later.

        :param event: a `Revocation`, encoded.
        :raises msgspec.DecodeError: it is none.
        """
        self._know(msgspec.json.decode(event, type=Revocation))
        self._untold.append(event)
        if self._telling is None:
            self._telling = self._reactor.callLater(0, self._tell)

    async def revoke(self, tags: Iterable[str], config: GatewayConfig) -> bool:
        """
        Let all workers of this host know of ``tags``, and all other hosts that have the store of ``config``.

        Whether there is such a store: then other hosts know too.

        :raises StoreUnavailable: it does not answer; this host knows all the same.
        """
        named, at = tuple(tags), self._wall()
        told = []
        for some in _pieces(named):
            revocation = Revocation(some, at)
            self._know(revocation)
            told.append(self._board.announce(TOPIC, msgspec.json.encode(revocation)))
        store = self.store(config)
        if store is not None:
            await store.revoke(named, at)
        await DeferredList(told).addTimeout(PATIENCE, self._reactor, onTimeoutCancel=self._late)
        return config.gateway.store is not None

    def _late(self, result: object, seconds: float) -> None:
        self.log.warn(
            "A worker does not answer within {seconds} s, and may not know yet what was revoked", seconds=seconds
        )

    def _know(self, revocation: Revocation) -> None:
        known = self._known
        for tag in revocation.tags:
            if tag == EVERYTHING:
                continue  # who comes later has nothing that it could doubt
            before = known.pop(tag, None)
            if before is None:
                self._size += _size(tag)
            known[tag] = max(revocation.at, before or 0.0)  # anew at the end: the oldest are at the front
        oldest = self._wall() - KEPT
        while known:
            tag, at = next(iter(known.items()))
            if at >= oldest and len(known) <= MOST and self._size <= LARGEST - _ENTRY:
                break
            del known[tag]
            self._size -= _size(tag)

    def _recent(self) -> bytes:
        return msgspec.json.encode(Recent(self._known))

    def _tell(self) -> None:
        self._telling = None
        untold, self._untold = self._untold, []
        if len(untold) <= AT_ONCE:
            for event in untold:
                self._board.announce(TOPIC, event)
            return
        self._board.renew(TOPIC)
        if any(EVERYTHING in msgspec.json.decode(event, type=Revocation).tags for event in untold):
            self._board.announce(TOPIC, msgspec.json.encode(Revocation((EVERYTHING,), self._wall())))


def _size(tag: str) -> int:
    return len(msgspec.json.encode(tag)) + _ENTRY


def _pieces(tags: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    """So many at a time as go into an event."""
    some: list[str] = []
    size = 0
    for tag in tags:
        size += _size(tag)
        if some and size > LONGEST - 2 * _ENTRY:
            yield tuple(some)
            some, size = [], _size(tag)
        some.append(tag)
    if some:
        yield tuple(some)
