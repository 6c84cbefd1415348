"""
What is done once per host, by the supervisor, so that no worker need: fetching key sets, hearing of revocations.

Before a configuration is handed to workers, `expect` lets what it needs begin; when it has taken effect, or was refused, `settle`
ends what the one in force does not need.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

from twisted.internet.defer import Deferred, DeferredList
from twisted.logger import Logger

from suuupra_gateway import metrics
from suuupra_gateway.auth.fetch import Fetch
from suuupra_gateway.auth.jwks import KeyWatch
from suuupra_gateway.auth.publication import digest, is_fetched, topic
from suuupra_gateway.config.model import GatewayConfig, ProcessSpec, ProviderSpec
from suuupra_gateway.process.board import Board
from suuupra_gateway.process.recall import Recall
from suuupra_gateway.state import state_directory
from suuupra_gateway.tally import Sample


class CannotWatch(Exception):
    """A configuration needs something watched that cannot be. The message says what, and why."""


class Oversight:
    """Everything that the supervisor watches for its workers. Lives as long as it."""

    log = Logger()

    recall: Recall
    """What is revoked."""

    def __init__(self, reactor: Any, board: Board, *, wall: Callable[[], float] = time.time) -> None:
        self._reactor = reactor
        self._board = board
        self._wall = wall
        self._watches: dict[str, tuple[KeyWatch, Fetch]] = {}
        self.recall = Recall(reactor, board, wall=wall)

    def expect(self, config: GatewayConfig) -> None:
        """
        Begin what ``config`` needs and nobody does yet.

        :raises CannotWatch: not all of it can be; `settle` ends the rest.
        """
        for spec in _fetched(config):
            name = topic(spec)
            if name not in self._watches:
                try:
                    self._watch(spec, name, config.gateway)
                except (OSError, ValueError) as why:
                    raise CannotWatch(f"identity.providers.{spec.name}: {why}") from why
        try:
            self.recall.expect(config)
        except (OSError, ValueError) as why:
            raise CannotWatch(f"gateway.store: {why}") from why

    def settle(self, config: GatewayConfig) -> None:
        """End what ``config``, which is in force, does not need."""
        needed = {topic(spec) for spec in _fetched(config)}
        for name in [name for name in self._watches if name not in needed]:
            self._board.retract(name)
            _end(*self._watches.pop(name))
        self.recall.settle(config)

    def stop(self) -> Deferred[None]:
        """End everything; fires when files and connections are closed."""
        ends = [_end(*watched) for watched in self._watches.values()]
        self._watches.clear()
        return DeferredList([*ends, self.recall.stop()]).addCallback(lambda _: None)

    def samples(self) -> Iterator[Sample]:
        """For metrics."""
        for watch, _ in self._watches.values():
            labels = (("provider", watch.spec.name),)
            if watch.age is not None:
                yield Sample(metrics.JWKS_AGE.name, labels, watch.age)
            for result, count in watch.fetches.items():
                yield Sample(metrics.JWKS_FETCHES.name, (*labels, ("result", result)), count)
        if self.recall.live is not None:
            yield Sample(metrics.REVOCATIONS_HEARD.name, (), float(self.recall.live))

    def _watch(self, spec: ProviderSpec, name: str, gateway: ProcessSpec) -> None:
        try:
            directory = state_directory(gateway)
        except OSError as error:
            self.log.warn("What must outlive restarts does not: {error}", error=error)
            directory = None
        snapshot = directory / f"provider-{digest(spec)}.json" if directory is not None else None
        fetch = Fetch(self._reactor, ca_file=spec.ca_file)
        watch = KeyWatch(
            spec, fetch, self._reactor, lambda value: self._board.publish(name, value), snapshot, wall=self._wall
        )
        self._watches[name] = (watch, fetch)
        self._board.answer(name, watch.ask)
        watch.start()


def _end(watch: KeyWatch, fetch: Fetch) -> Deferred[None]:
    watch.stop()
    return fetch.close()


def _fetched(config: GatewayConfig) -> Iterator[ProviderSpec]:
    return (spec for spec in config.identity.providers if is_fetched(spec))
