"""
An attempt to log in: everything about it lies in a cookie of the browser that began it, sealed.

So a callback counts only in that browser (login CSRF), and several attempts, as of tabs that were restored, do not disturb each
other. What must be known beside the cookie is which attempts are over: each counts once.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import re
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Final

import msgspec
from authlib.oauth2.rfc7636 import create_s256_code_challenge

from suuupra_gateway.auth.cookies import CookieJar, cookies, read
from suuupra_gateway.auth.seal import Ring, bytes_of, text_of
from suuupra_gateway.http.message import Pair, RequestHead

LASTS: Final = 600.0
"""Seconds from the first redirect to the callback."""

MOST: Final = 5
"""Attempts of one browser at a time; of more, the oldest are given up."""

PREFIX: Final = "sg_oidc_"
"""Begins the names of their cookies."""

_NAME: Final = 8
_RANDOM: Final = 32
_LOOKED_AT: Final = 4 * MOST
"""Most cookies of one request that are opened: a stranger may send hundreds."""

_is_name: Final = re.compile(rb".*_[0-9a-f]{8}").fullmatch


class Attempt(msgspec.Struct, frozen=True):
    """One attempt."""

    state: str
    nonce: str
    verifier: str
    """Of PKCE (RFC 7636 section 4.1); leaves us only in the sealed cookie and in the token request."""

    return_to: str
    began: float
    """UNIX time."""

    @classmethod
    def new(cls, return_to: str, now: float) -> Attempt:
        """With 256 bits of randomness each for state, nonce and verifier."""
        state, nonce, verifier = (text_of(os.urandom(_RANDOM)).decode("ascii") for _ in range(3))
        return cls(state, nonce, verifier, return_to, now)

    @property
    def challenge(self) -> str:
        """What is told to the provider of `verifier`; always S256."""
        challenge: str = create_s256_code_challenge(self.verifier)
        return challenge


_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(Attempt).decode


class Attempts:
    """The attempts at one login. Immutable."""

    __slots__ = ("_ring", "_jar", "_login", "_wall")

    def __init__(self, ring: Ring, jar: CookieJar, login: str, wall: Callable[[], float]) -> None:
        """:param ring: for nothing else."""
        self._ring = ring
        self._jar = jar
        self._login = login.encode("utf-8")
        self._wall = wall

    def begin(self, head: RequestHead, return_to: str) -> tuple[Attempt, tuple[Pair, ...]]:
        """A new attempt by the browser that sent ``head``, and the cookies to set."""
        now = self._wall()
        attempt = Attempt.new(return_to, now)
        name = self._cookie(attempt.state)
        sealed = text_of(self._ring.seal(_encode(attempt), self._about(name)))
        fields = [self._jar.set(name, sealed, LASTS)]
        others = sorted(self._others(head), reverse=True)
        fields += (self._jar.clear(other) for began, other in others if other != name and began <= now - LASTS)
        alive = [other for began, other in others if other != name and began > now - LASTS]
        fields += map(self._jar.clear, alive[MOST - 1 :])
        return attempt, tuple(fields)

    def find(self, head: RequestHead, state: str) -> Attempt | None:
        """The attempt with ``state`` that this browser has begun; None if it has not, or long ago."""
        name = self._cookie(state)
        attempt = self._open(name, read(head, name) or b"")
        if attempt is None or not hmac.compare_digest(attempt.state.encode("ascii"), state.encode("utf-8")):
            return None
        return attempt if self._wall() - LASTS < attempt.began else None

    def end(self, state: str) -> Pair:
        """The field that takes its cookie away."""
        return self._jar.clear(self._cookie(state))

    def _cookie(self, state: str) -> bytes:
        digest = hashlib.sha256(state.encode("utf-8")).hexdigest()
        return self._jar.name(f"{PREFIX}{digest[:_NAME]}")

    def _about(self, name: bytes) -> bytes:
        return b"attempt %b %b" % (name, self._login)

    def _open(self, name: bytes, value: bytes) -> Attempt | None:
        plain = self._ring.open(bytes_of(value) or b"", self._about(name))
        return None if plain is None else _decode(plain)

    def _others(self, head: RequestHead) -> Iterator[tuple[float, bytes]]:
        """When other attempts of this browser began, and their cookies' names. Those that cannot be opened are of no use."""
        prefix = self._jar.name(PREFIX)
        found = ((name, value) for name, value in cookies(head) if name.startswith(prefix) and _is_name(name))
        for name, value in islice(found, _LOOKED_AT):
            attempt = self._open(name, value)
            yield (0.0 if attempt is None else attempt.began), name
