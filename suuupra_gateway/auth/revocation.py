"""
Hearing of revocations, in the supervisor: from Redis as they happen, or from the file of this host by looking often.

Who was away asks for what it has missed. Times are those of whoever revoked, so a little more than that is asked for.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from suuupra_gateway.auth.keystore import IKeyStore
from suuupra_gateway.auth.revocations import EVERYTHING, Revocation
from suuupra_gateway.net.redis import Redis, Subscription
from suuupra_gateway.net.redis_errors import StoreError, StoreUnavailable

SLACK: Final = 60.0
"""Seconds by which clocks of machines may differ."""

MISSED: Final = 86400.0
"""Seconds of revocations that are asked for at the start; stores keep no more than a day."""


class RevocationFeed:
    """Tells of everything that is revoked. Lives as long as its store is configured; `stop` ends it."""

    log = Logger()

    def __init__(
        self,
        store: IKeyStore,
        reactor: Any,
        announce: Callable[[bytes], object],
        *,
        redis: Redis | None = None,
        poll: float = 0.5,
        wall: Callable[[], float] = time.time,
    ) -> None:
        """
        :param announce: called with each `Revocation`, encoded.
        :param redis: where the store lies, if it can tell by itself; else it is looked at every ``poll`` seconds.
        """
        self.live = False
        """Whether everything is heard of now."""
        self._store = store
        self._reactor = reactor
        self._announce = announce
        self._redis = redis
        self._poll = poll
        self._wall = wall
        self._since = wall() - MISSED
        self._complete = wall()
        """When it last was known that everything had been heard."""
        self._heard: dict[str, float] = {}
        self._call: IDelayedCall | None = None
        self._subscription: Subscription | None = None
        self._stopped = False

    def start(self) -> None:
        """Begin."""
        if self._redis is not None:
            self._subscription = self._redis.subscribe([self._redis.key("revoked")], self._message, self._state)
        else:
            self._look()

    def stop(self) -> None:
        """Hear no more."""
        self._stopped = True
        if self._call is not None:
            self._call.cancel()
            self._call = None
        if self._subscription is not None:
            self._subscription.end()

    # -- Redis --------------------------------------------------------------------------------------------------------

    def _message(self, channel: str, event: bytes) -> None:
        try:
            revocation = msgspec.json.decode(event, type=Revocation)
        except ValueError:  # no UTF-8 is one too
            self.log.error("A revocation cannot be read; what was revoked is looked up")
            self._look()
            return
        try:
            self._hear(dict.fromkeys(revocation.tags, revocation.at))
        except Exception:
            self._failed(Failure())  # type: ignore[no-untyped-call]  # Twisted's

    def _state(self, connected: bool) -> None:
        if connected:
            self._look()
        else:
            if self.live:
                self._complete = self._wall()
            self.live = False

    # -- looking ------------------------------------------------------------------------------------------------------

    def _look(self) -> None:
        if self._call is not None and self._call.active():
            self._call.cancel()
        self._call = None
        looked: Deferred[Mapping[str, float]] = self._store.revocations(self._since - SLACK)
        looked.addCallback(self._found).addErrback(self._failed)

    def _found(self, tags: Mapping[str, float]) -> None:
        if self._stopped:
            return
        now = self._wall()
        if now - self._complete > MISSED:
            # Stores have forgotten what was revoked first since then.
            self.log.warn("Nothing was heard of revocations for more than a day; everything is asked anew")
            self._announce(msgspec.json.encode(Revocation((EVERYTHING,), now)))
        self._hear(tags)
        self.live = True
        self._complete = now
        if self._redis is None:
            self._again(self._poll)

    def _failed(self, failure: Failure) -> None:
        if self._stopped:
            return
        if not isinstance(failure.value, (StoreUnavailable, StoreError)):
            self.log.failure("Revocations are not passed on", failure)
        elif self.live:
            self.log.warn("Revocations cannot be looked for: {why}", why=failure.getErrorMessage())
        self.live = False
        # A subscription that comes back looks by itself, but it may be there while the other connection is not.
        self._again(self._poll if self._redis is None else 1.0)

    def _again(self, seconds: float) -> None:
        if self._call is None:
            self._call = self._reactor.callLater(seconds, self._look)

    def _hear(self, tags: Mapping[str, float]) -> None:
        news = {tag: at for tag, at in tags.items() if self._heard.get(tag, -1.0) < at}
        if not news:
            return
        for tag, at in news.items():
            self._announce(msgspec.json.encode(Revocation((tag,), at)))
            self._heard.pop(tag, None)  # only now: what was not passed on is tried again
            self._heard[tag] = at
            self._since = max(self._since, min(at, self._wall()))
        oldest = self._since - 2 * SLACK
        while self._heard and self._heard[next(iter(self._heard))] < oldest:
            del self._heard[next(iter(self._heard))]
