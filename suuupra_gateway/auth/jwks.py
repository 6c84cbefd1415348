"""
The life of a provider's key set: fetched by one process of the host, kept fresh, and kept while it cannot be had.

In order: `KeyWatch.start` publishes what the disk remembers and fetches; from then on it fetches when the set is old, and when a
worker meets a key that nobody knows (`ask`), but not too often. Whatever goes wrong, the last good set stays published, with the
time when it was fetched: workers decide how old is too old.
"""

from __future__ import annotations

import contextlib
import os
import random
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, cast

import msgspec
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from suuupra_gateway.auth.fetch import Fetch, Fetched, FetchFailed
from suuupra_gateway.auth.keyset import LARGEST, KeySet, KeySetError
from suuupra_gateway.auth.publication import Published
from suuupra_gateway.config.model import ProviderSpec

TIMEOUT: Final = 5.0
"""Seconds for one fetch."""

PAUSES: Final = (1.0, 60.0)
"""First and longest pause in seconds after a fetch that failed; doubled each time."""

SHORTEST: Final = 30.0
"""Seconds between two fetches, whatever the provider wishes."""

_MAX_AGE: Final = re.compile(rb"(?:^|[,\s])max-age\s*=\s*\"?(\d{1,9})", re.IGNORECASE).search


class FetchRefused(Exception):
    """What came is no key set, or not this provider's. The message says why."""


class KeyWatch:
    """Keeps the keys of one provider. Lives as long as a configuration names it; `stop` ends it."""

    log = Logger()

    def __init__(
        self,
        spec: ProviderSpec,
        fetch: Fetch,
        reactor: IReactorTime,
        publish: Callable[[bytes], None],
        snapshot: Path | None,
        *,
        wall: Callable[[], float] = time.time,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        """
        :param publish: called with `Published`, encoded, whenever something changed.
        :param snapshot: where the last good set is remembered over restarts; None for nowhere.
        :param jitter: between 0 and 1.
        """
        self.spec = spec
        self.fetches = {"ok": 0, "failed": 0}
        """How fetches went."""
        self._fetch = fetch
        self._reactor = reactor
        self._publish = publish
        self._snapshot = snapshot
        self._wall = wall
        self._jitter = jitter
        self._known = Published()
        self._patient_until = 0.0
        """Until when no question makes us fetch; reactor time."""
        self._failures = 0
        self._due: IDelayedCall | None = None
        self._fetching: Deferred[None] | None = None
        self._waiting: list[Deferred[None]] = []
        self._stopped = False

    def start(self) -> None:
        """Publish what is remembered, and fetch."""
        self._remember()
        self._begin()

    def stop(self) -> None:
        """Fetch no more."""
        self._stopped = True
        if self._due is not None:
            self._due.cancel()
            self._due = None
        if self._fetching is not None:
            self._fetching.cancel()

    @property
    def age(self) -> float | None:
        """Seconds since the set was fetched; None if it never was."""
        return self._wall() - self._known.fetched if self._known.fetched else None

    def ask(self, question: bytes) -> Deferred[bytes]:
        """
        A worker wants newer keys: fires when they have been fetched, or need not be. Never fails.

        At most one fetch per ``cooldown`` comes of this, however many ask; while fetches fail, at most one per second.
        """
        if self._fetching is None and (self._stopped or self._reactor.seconds() < self._patient_until):
            return succeed(b"")
        done: Deferred[None] = Deferred()
        self._waiting.append(done)
        if self._fetching is None:
            self._begin()
        return done.addCallback(lambda _: b"")

    # -- fetching -----------------------------------------------------------------------------------------------------

    def _begin(self) -> None:
        if self._due is not None:
            if self._due.active():
                self._due.cancel()
            self._due = None
        fetching = self._fetching = Deferred.fromCoroutine(self._renew())
        fetching.addErrback(self._broken).addBoth(lambda _: self._ended())

    async def _renew(self) -> None:
        try:
            metadata, keys, lasting = await self._get()
        except (FetchFailed, FetchRefused, KeySetError) as error:
            self._failed(str(error))
            return
        self.fetches["ok"] += 1
        if self._failures:
            self.log.info("Keys of provider {name} are fetched again", name=self.spec.name)
        self._failures = 0
        self._known = Published(metadata, keys, self._wall(), "")
        self._tell()
        self._save()
        wanted = min(float(self.spec.refresh), lasting if lasting is not None else float(self.spec.refresh))
        floor = min(SHORTEST, float(self.spec.refresh))
        self._schedule(max(wanted, floor) * (1.0 - 0.1 * self._jitter()))

    async def _get(self) -> tuple[dict[str, Any] | None, dict[str, Any], float | None]:
        """Metadata, key set, and for how many seconds it says that it is good."""
        metadata = None
        url = self.spec.jwks
        if url is None:
            metadata = await self._discover()
            url = metadata["jwks_uri"]
        answer = await self._one(url, "key set")
        found = KeySet.of_json(answer.body)
        if not found:
            raise KeySetError("it holds no key that can be used")
        return metadata, msgspec.json.decode(answer.body, type=dict[str, Any]), _max_age(answer)

    async def _discover(self) -> dict[str, Any]:
        issuer = self.spec.issuer
        answer = await self._one(issuer.rstrip("/") + "/.well-known/openid-configuration", "metadata")
        try:
            metadata = msgspec.json.decode(answer.body, type=dict[str, Any])
        except (ValueError, RecursionError) as error:
            raise FetchRefused("the metadata is no JSON object") from error
        if metadata.get("issuer") != issuer:
            # OIDC Discovery section 4.3: exactly; else one provider could speak for another.
            raise FetchRefused("the metadata is of another issuer")
        uri = metadata.get("jwks_uri")
        if not isinstance(uri, str) or not uri.startswith(("https://", issuer.partition("//")[0] + "//")):
            raise FetchRefused("the metadata names no jwks_uri that is as secure as the issuer")
        return metadata

    async def _one(self, url: str, what: str) -> Fetched:
        fields = ((b"accept", b"application/json"),)
        answer = await self._fetch.request("GET", url, headers=fields, timeout=TIMEOUT, limit=LARGEST)
        if answer.status != 200:
            raise FetchRefused(f"the {what} is answered with status {answer.status}")
        return answer

    def _failed(self, why: str) -> None:
        if self._stopped:
            return
        self.fetches["failed"] += 1
        first, longest = PAUSES
        pause = min(first * 2**self._failures, longest) if self._failures < 16 else longest
        self._failures += 1
        if self._failures == 1 or why != self._known.error:
            self.log.warn(
                "Keys of provider {name} cannot be fetched: {why}; what is known stays in use",
                name=self.spec.name,
                why=why,
            )
        self._known = msgspec.structs.replace(self._known, error=why)
        self._tell()
        self._schedule(pause * (1.0 - 0.1 * self._jitter()))

    def _broken(self, failure: Failure) -> None:
        if not self._stopped:
            self.log.failure("The keys of provider {name} are watched no more", failure, name=self.spec.name)
            self._schedule(PAUSES[1])

    def _schedule(self, seconds: float) -> None:
        if not self._stopped:
            self._due = self._reactor.callLater(seconds, self._begin)

    def _ended(self) -> None:
        self._fetching = None
        waiting, self._waiting = self._waiting, []
        if self._failures:
            self._patient_until = self._reactor.seconds() + PAUSES[0]
        elif waiting:
            # Not after a fetch that was due anyway: keys may change right after it, and that should not take a cool-down to see.
            self._patient_until = self._reactor.seconds() + float(self.spec.cooldown)
        for done in waiting:
            done.callback(None)

    def _tell(self) -> None:
        self._publish(msgspec.json.encode(self._known))

    # -- the disk -----------------------------------------------------------------------------------------------------

    def _remember(self) -> None:
        if self._snapshot is None:
            return
        try:
            known = msgspec.json.decode(self._snapshot.read_bytes(), type=Published)
            usable = known.keys is not None and bool(KeySet.of_tree(known.keys))
        except FileNotFoundError:
            return
        except (OSError, ValueError, RecursionError, KeySetError) as error:
            self.log.warn("What is remembered of provider {name} is lost: {error}", name=self.spec.name, error=error)
            return
        if usable and known.fetched <= self._wall() < known.fetched + float(self.spec.max_stale):
            self._known = known
            self._tell()

    def _save(self) -> None:
        if self._snapshot is None:
            return
        temporary = self._snapshot.with_suffix(".new")
        try:
            with contextlib.suppress(FileNotFoundError):
                temporary.unlink()
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
            with open(descriptor, "wb") as file:
                file.write(msgspec.json.encode(self._known))
            temporary.rename(self._snapshot)
        except OSError as error:
            self.log.warn("Provider {name} cannot be remembered: {error}", name=self.spec.name, error=error)


def _max_age(answer: Fetched) -> float | None:
    """Seconds for which an answer says that it is good (RFC 9111 section 5.2.2)."""
    value = answer.get(b"cache-control")
    if value is None:
        return None
    found = _MAX_AGE(value)
    return float(cast(bytes, found[1])) if found else None
