"""
What is done once per host, by the supervisor, so that no worker need: fetching key sets, hearing of revocations.

Before a configuration is handed to workers, `expect` lets what it needs begin; when it has taken effect, or was refused, `settle`
ends what the one in force does not need.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

import attrs
import msgspec
from twisted.internet.defer import Deferred, succeed
from twisted.logger import Logger

from suuupra_gateway import metrics
from suuupra_gateway.auth.fetch import Fetch
from suuupra_gateway.auth.jwks import KeyWatch
from suuupra_gateway.auth.keystore import IKeyStore
from suuupra_gateway.auth.keystore_redis import RedisKeyStore
from suuupra_gateway.auth.keystore_sqlite import SqliteKeyStore
from suuupra_gateway.auth.publication import digest, is_fetched, topic
from suuupra_gateway.auth.revocation import RevocationFeed
from suuupra_gateway.auth.revocations import MOST, TOPIC, Recent, Revocation
from suuupra_gateway.config.model import GatewayConfig, ProcessSpec, ProviderSpec, StoreSpec
from suuupra_gateway.net.redis import Redis
from suuupra_gateway.process.board import Board
from suuupra_gateway.state import keys_file, state_directory
from suuupra_gateway.tally import Sample

KEPT: Final = 86400.0
"""Seconds for which revocations are remembered for workers that come later."""


_Source = tuple[StoreSpec | None, str, float]


@attrs.frozen(eq=False)
class _Feed:
    """Who tells of revocations, and keeps API keys."""

    source: _Source
    store: IKeyStore
    feed: RevocationFeed
    close: Callable[[], object]


class Oversight:
    """Everything that the supervisor watches for its workers. Lives as long as it."""

    log = Logger()

    def __init__(self, reactor: Any, board: Board, *, wall: Callable[[], float] = time.time) -> None:
        self._reactor = reactor
        self._board = board
        self._wall = wall
        self._watches: dict[str, tuple[KeyWatch, Fetch]] = {}
        self._revoked: dict[str, float] = {}
        self._feed: _Feed | None = None
        board.listen(TOPIC, self.revoked)

    # -- configurations -----------------------------------------------------------------------------------------------

    def expect(self, config: GatewayConfig) -> None:
        """Begin what ``config`` needs and nobody does yet."""
        for spec in _fetched(config):
            name = topic(spec)
            if name not in self._watches:
                self._watch(spec, name, config.gateway)
        if self._feed is None:
            self._listen(config)

    def settle(self, config: GatewayConfig) -> None:
        """End what ``config``, which is in force, does not need."""
        needed = {topic(spec) for spec in _fetched(config)}
        for name in [name for name in self._watches if name not in needed]:
            watch, fetch = self._watches.pop(name)
            watch.stop()
            fetch.close()
            self._board.retract(name)
        if self._feed is None or self._feed.source != _told_by(config):
            self._listen(config)

    def stop(self) -> None:
        """End everything."""
        for watch, fetch in self._watches.values():
            watch.stop()
            fetch.close()
        self._watches.clear()
        self._deafen()

    def _watch(self, spec: ProviderSpec, name: str, gateway: ProcessSpec) -> None:
        try:
            directory = state_directory(gateway)
        except OSError as error:
            self.log.warn("What must outlive restarts does not: {error}", error=error)
            directory = None
        snapshot = directory / f"provider-{digest(spec)}.json" if directory is not None else None
        fetch = Fetch(self._reactor, ca_file=spec.ca_file)
        watch = KeyWatch(spec, fetch, self._reactor, lambda value: self._board.publish(name, value), snapshot)
        self._watches[name] = (watch, fetch)
        self._board.answer(name, watch.ask)
        watch.start()

    # -- hearing of revocations ---------------------------------------------------------------------------------------

    def _listen(self, config: GatewayConfig) -> None:
        """Hear of what is revoked wherever ``config`` keeps keys and sessions."""
        self._deafen()
        source = _told_by(config)
        if source is None:
            return
        spec, path, poll = source
        if spec is not None:
            redis = Redis(spec, self._reactor)
            redis.start()
            kept: IKeyStore = RedisKeyStore(redis)
            feed = RevocationFeed(kept, self._reactor, self.revoked, redis=redis, wall=self._wall)
            self._feed = _Feed(source, kept, feed, redis.retire)
        else:
            file = SqliteKeyStore(path, self._reactor)
            feed = RevocationFeed(file, self._reactor, self.revoked, poll=poll, wall=self._wall)
            self._feed = _Feed(source, file, feed, file.close)
        feed.start()

    def _deafen(self) -> None:
        if self._feed is not None:
            gone, self._feed = self._feed, None
            gone.feed.stop()
            gone.close()

    @property
    def store(self) -> IKeyStore | None:
        """Where API keys are kept, and revocations told; None if nowhere."""
        return self._feed.store if self._feed is not None else None

    def revoke(self, tags: Sequence[str]) -> Deferred[bool]:
        """See `IControl`."""
        at = self._wall()
        self.revoked(msgspec.json.encode(Revocation(tuple(tags), at)))
        if self._feed is None:
            return succeed(False)
        shared = self._feed.source[0] is not None
        return self._feed.store.revoke(tags, at).addCallback(lambda _: shared)

    # -- revocations --------------------------------------------------------------------------------------------------

    def revoked(self, event: bytes) -> None:
        """
        Something was revoked: let all workers know, now and those that come later.

        :raises msgspec.DecodeError: ``event`` is no `Revocation`.
        """
        revocation = msgspec.json.decode(event, type=Revocation)
        self._board.announce(TOPIC, event)
        oldest = self._wall() - KEPT
        for tag in revocation.tags:
            self._revoked[tag] = max(revocation.at, self._revoked.pop(tag, 0.0))
        while self._revoked and (len(self._revoked) > MOST // 2 or self._revoked[next(iter(self._revoked))] < oldest):
            del self._revoked[next(iter(self._revoked))]
        self._board.publish(TOPIC, msgspec.json.encode(Recent(self._revoked)), quiet=True)

    # -- metrics ------------------------------------------------------------------------------------------------------

    def samples(self) -> Iterator[Sample]:
        """For metrics."""
        for watch, _ in self._watches.values():
            labels = (("provider", watch.spec.name),)
            if watch.age is not None:
                yield Sample(metrics.JWKS_AGE.name, labels, watch.age)
            for result, count in watch.fetches.items():
                yield Sample(metrics.JWKS_FETCHES.name, (*labels, ("result", result)), count)
        if self._feed is not None:
            yield Sample(metrics.REVOCATIONS_HEARD.name, (), float(self._feed.feed.live))


def _fetched(config: GatewayConfig) -> Iterator[ProviderSpec]:
    return (spec for spec in config.identity.providers if is_fetched(spec))


def _told_by(config: GatewayConfig) -> _Source | None:
    """Who tells of revocations: a store, or a file that is looked at every so often; None for nobody."""
    identity = config.identity
    if config.gateway.store is not None:
        return (config.gateway.store, "", 0.0)
    path = keys_file(identity.api_keys, config.gateway) if identity.api_keys is not None else ""
    return (None, path, float(identity.revocation_poll)) if path else None
