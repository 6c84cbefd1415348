"""
Who issues tokens, as a worker knows it: its keys and metadata as the supervisor fetched them, and the tokens verified lately.

`Provider.check` is on the path of every request with a token. A token that was verified in the last minute costs one hash and one
look-up; the first time it costs a signature. Only a key that nobody knows makes a request wait, and not for long.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from itertools import islice
from math import inf
from typing import Any, Final

import msgspec
from twisted.internet.defer import Deferred, TimeoutError
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from suuupra_gateway.auth.jwt import TokenError, UnknownKey, Verifier
from suuupra_gateway.auth.keyset import KeyFile, KeySet, KeySetError
from suuupra_gateway.auth.principal import Principal, Refused, Undecided
from suuupra_gateway.auth.publication import is_fetched, read, topic
from suuupra_gateway.auth.revocations import EVERYTHING, Revocations
from suuupra_gateway.config.model import ClaimNames, ProviderSpec
from suuupra_gateway.interfaces import Board, NoAnswer

KEPT: Final = 60.0
"""Seconds for which a verified token is not verified again."""

REFUSED: Final = 5.0
"""Seconds for which a token that is no good is not looked at again."""

MOST: Final = 20_000
"""Tokens that are remembered."""

MOST_REFUSED: Final = 4096
"""Of those that are no good."""

WAIT: Final = 0.5
"""Seconds for which a request waits for a key that nobody knows."""

LOOK: Final = 5.0
"""Seconds between two looks at a file with keys."""

PAUSE: Final = 1.0
"""Seconds between two questions for newer keys."""

_LONGEST_SUBJECT: Final = 1024
_NONE: Final = KeySet()

Checked = Principal | Refused | Undecided


class ProviderUnavailable(Exception):
    """The provider's keys or metadata are not there. The message says why."""


class Provider:
    """One provider in one worker; a resident."""

    log = Logger()

    __slots__ = (
        "spec",
        "metadata",
        "fetched",
        "_board",
        "_revocations",
        "_reactor",
        "_wall",
        "_verifier",
        "_keys",
        "_file",
        "_looking",
        "_known",
        "_refused",
        "_ends",
        "_asking",
        "_asked",
        "_error",
    )

    def __init__(
        self,
        spec: ProviderSpec,
        board: Board,
        revocations: Revocations,
        reactor: IReactorTime,
        *,
        wall: Callable[[], float] = time.time,
    ) -> None:
        """
        :raises ValueError: the file with its keys holds none.
        :raises OSError: it cannot be read.
        """
        self.spec = spec
        self.metadata: Mapping[str, Any] | None = None
        """Its discovery document (OIDC Discovery section 3); None as long as it is not known."""
        self.fetched = 0.0
        """UNIX time when its keys were last fetched; 0 for never, or not at all."""
        self._board = board
        self._revocations = revocations
        self._reactor = reactor
        self._wall = wall
        self._verifier = Verifier(spec)
        self._file = KeyFile(spec.keys) if spec.keys else None
        self._keys = _own_keys(spec, self._file)
        self._looking: IDelayedCall | None = None
        self._known: dict[bytes, tuple[Principal, float]] = {}
        # Apart, so that a flood of bad tokens drives out no good one.
        self._refused: dict[bytes, tuple[Refused, float]] = {}
        self._ends: list[Callable[[], None]] = []
        self._asking: list[Deferred[None]] | None = None
        self._asked = -inf
        self._error = ""

    def start(self) -> None:
        """See `Resident`."""
        self._ends.append(self._revocations.subscribe(self._forget))
        if is_fetched(self.spec):
            self._ends.append(self._board.watch(topic(self.spec), self._take))
        self._look()

    def retire(self) -> None:
        """See `Resident`."""
        if self._looking is not None:
            self._looking.cancel()
            self._looking = None
        while self._ends:
            self._ends.pop()()

    # -- tokens -------------------------------------------------------------------------------------------------------

    def check(self, token: bytes) -> Checked | Awaitable[Checked]:
        """What an access token is worth. Waits only for keys that nobody knows."""
        key = hashlib.blake2b(token, digest_size=16).digest()
        known = self._known.get(key)
        if known is not None and known[1] > self._wall():
            return known[0]
        return self._first(token, key)

    def _first(self, token: bytes, key: bytes) -> Checked | Awaitable[Checked]:
        now = self._wall()
        refused = self._refused.get(key)
        if refused is not None and refused[1] > now:
            return refused[0]
        missing = bool(self._missing(now))
        try:
            return self._remember(key, self._principal(token, key, now, _NONE if missing else self._keys), now)
        except UnknownKey as error:
            if missing or self._may_ask():
                return self._again(token, key, error.kid)
            return self._refuse(key, error, now)
        except TokenError as error:
            return self._refuse(key, error, now)

    async def _again(self, token: bytes, key: bytes, kid: str) -> Checked:
        """Once more, with whatever keys the supervisor finds."""
        answered = await self._ask(kid)
        now = self._wall()
        missing = self._missing(now)
        if missing:
            return Undecided("keys_unavailable", missing)
        try:
            return self._remember(key, self._principal(token, key, now, self._keys), now)
        except UnknownKey as error:
            if answered and not self._error:
                return self._refuse(key, error, now)
            return Undecided("keys_unavailable", self._error or "the key is unknown, and no newer set came in time")
        except TokenError as error:
            return self._refuse(key, error, now)

    def _principal(self, token: bytes, key: bytes, now: float, keys: KeySet) -> Principal:
        claims = self._verifier.verify(token, keys, now)
        issued = claims.get("iat", 0.0)  # one that does not say when may be older than any revocation
        tag = f"token:{key.hex()}"
        found = principal_from(
            claims, self.spec.claims, self.spec.name, "jwt", leeway=float(self.spec.leeway), tags=(tag,)
        )
        if self._revocations.revoked(found.tags, issued) or self._revocations.revoked((tag,), 0.0):
            raise TokenError("revoked")
        return found

    def _remember(self, key: bytes, found: Principal, now: float) -> Principal:
        known = self._known
        known.pop(key, None)  # anew at the end: the oldest are at the front
        _make_room(known, MOST)
        known[key] = (found, min(found.expires, now + KEPT))
        return found

    def _refuse(self, key: bytes, error: TokenError, now: float) -> Refused:
        refused = Refused(error.reason, error.detail)
        _make_room(self._refused, MOST_REFUSED)
        self._refused[key] = (refused, now + REFUSED)
        return refused

    async def claims_of(
        self, token: bytes, *, audience: str, types: frozenset[str] = frozenset({"", "jwt"}), required: bool = True
    ) -> dict[str, Any]:
        """
        The claims of an ID token or a logout token, verified as far as `Verifier.verify_other` does.

        :raises TokenError: it is no good.
        :raises ProviderUnavailable: it cannot be verified now.
        """
        try:
            return self._other(token, audience, types, required)
        except (ProviderUnavailable, UnknownKey) as error:
            if isinstance(error, UnknownKey) and not self._may_ask():
                raise
        await self._ask("")
        return self._other(token, audience, types, required)

    def _other(self, token: bytes, audience: str, types: frozenset[str], required: bool) -> dict[str, Any]:
        now = self._wall()
        missing = self._missing(now)
        if missing:
            raise ProviderUnavailable(missing)
        return self._verifier.verify_other(token, self._keys, now, audience=audience, types=types, required=required)

    # -- keys ---------------------------------------------------------------------------------------------------------

    def _missing(self, now: float) -> str:
        """Why there are no keys to go by; empty if there are."""
        if not is_fetched(self.spec):
            return ""
        if not self.fetched:
            return self._error or "its keys have not been fetched yet"
        if now - self.fetched > float(self.spec.max_stale):
            return f"its keys could not be fetched for {now - self.fetched:.0f} s: {self._error}"
        return ""

    def _may_ask(self) -> bool:
        """Whether asking for newer keys makes sense. The supervisor minds the cool-down; this is for its own sake."""
        if not is_fetched(self.spec):
            return False
        return self._asking is not None or self._reactor.seconds() - self._asked >= PAUSE or bool(self._error)

    async def _ask(self, kid: str) -> bool:
        """Let the supervisor fetch; whether it has done so. All who wait share one question."""
        done: Deferred[None] = Deferred()
        if self._asking is None:
            waiting = self._asking = [done]
            question = msgspec.json.encode({"kid": kid[:256]})
            asked = self._board.ask(topic(self.spec), question)
            asked.addBoth(lambda answer: self._answered(waiting, answer))
        else:
            self._asking.append(done)
        try:
            await done.addTimeout(WAIT, self._reactor)
        except (NoAnswer, TimeoutError):
            return False
        return True

    def _answered(self, waiting: list[Deferred[None]], answer: object) -> None:
        self._asking = None
        failed = not isinstance(answer, bytes)
        if not failed:
            self._asked = self._reactor.seconds()
        for done in waiting:
            if done.called:
                continue
            if failed:
                done.errback(NoAnswer("the supervisor did not answer"))
            else:
                done.callback(None)

    def _take(self, value: bytes) -> None:
        try:
            published = read(value)
            keys = KeySet.of_tree(published.keys) if published.keys is not None else self._keys
        except (ValueError, KeySetError) as error:
            self.log.error(
                "What is published of provider {name} cannot be used: {error}", name=self.spec.name, error=error
            )
            return
        self.metadata = published.metadata if published.metadata is not None else self.metadata
        self.fetched = published.fetched
        self._error = published.error
        self._change(keys)

    def _look(self) -> None:
        """Take what is new in the file with the keys; on and on."""
        if self._file is None:
            return
        try:
            keys = self._file.news()
        except (OSError, KeySetError) as error:
            self.log.error(
                "Keys of provider {name} cannot be read; those of before stay: {error}",
                name=self.spec.name,
                error=error,
            )
        else:
            if keys is not None:
                self._change(keys)
        self._looking = self._reactor.callLater(LOOK, self._look)

    def _change(self, keys: KeySet) -> None:
        before, after = self._keys.identities(), keys.identities()
        self._keys = keys
        if before != after:
            if before - after:
                self._known.clear()  # what a key has signed that is gone is worth nothing any more
            self._refused.clear()

    def _forget(self, tags: frozenset[str]) -> None:
        if EVERYTHING in tags:
            return  # signed tokens are asked about to nobody
        self._known = {key: entry for key, entry in self._known.items() if tags.isdisjoint(entry[0].tags)}


def _make_room(table: dict[bytes, Any], most: int) -> None:
    if len(table) >= most:
        # The oldest, some at once; a wholesale clearing would cost a signature for everybody at the same time.
        for oldest in list(islice(table, most // 16)):
            del table[oldest]


def _own_keys(spec: ProviderSpec, file: KeyFile | None) -> KeySet:
    if spec.secret is not None:
        return KeySet.of_secret(spec.secret.reveal())
    try:
        return (file.news() if file is not None else None) or KeySet()
    except KeySetError as error:
        raise ValueError(f"{spec.keys}: {error}") from error


# -- from claims to callers -------------------------------------------------------------------------------------------


def principal_from(
    claims: Mapping[str, Any],
    names: ClaimNames,
    provider: str,
    credential: str,
    *,
    leeway: float = 0.0,
    tags: Iterable[str] = (),
    key: str = "",
) -> Principal:
    """
    Who it is that claims speak of. They have been verified.

    :raises TokenError: they do not say who.
    """
    subject = claim(claims, names.subject)
    if not isinstance(subject, str) or not 0 < len(subject) <= _LONGEST_SUBJECT:
        raise TokenError("missing_claim", f"{names.subject} says of nobody who it is")
    scopes = words(claim(claims, names.scopes))
    if not scopes and names.scopes == "scope":
        scopes = words(claims.get("scp"))
    tenant = claim(claims, names.tenant)
    expires = claims.get("exp")
    return Principal(
        subject,
        credential,
        provider,
        scopes=scopes,
        roles=words(claim(claims, names.roles)),
        tenant=tenant if isinstance(tenant, str) else "",
        claims=claims,
        key=key,
        expires=float(expires) + leeway if isinstance(expires, int | float) else inf,
        tags=(f"subject:{provider}:{subject}", *tags),
    )


def claim(claims: Mapping[str, Any], path: str) -> Any:
    """
    What lies at ``path``, or None. A claim of that very name goes before dots that lead into objects, as names may be URLs.
    """
    found: Any = claims.get(path)
    if found is not None or "." not in path:
        return found
    found = claims
    for step in path.split("."):
        if not isinstance(found, Mapping):
            return None
        found = found.get(step)
    return found


def words(value: object) -> frozenset[str]:
    """The members of a list of texts, or of a text with spaces between them."""
    if isinstance(value, str):
        return frozenset(value.split())
    if isinstance(value, list | tuple):
        return frozenset(each for each in value if isinstance(each, str))
    return frozenset()
