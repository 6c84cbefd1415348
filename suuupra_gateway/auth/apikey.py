"""
What an API key looks like, and what is kept of it.

``sgk_<environment>_<id>_<secret>_<checksum>``: scanners of leaked secrets know it by its prefix, and a checksum tells a mistyped
or made-up key without asking anybody (as GitHub's tokens do since 2021). The secret has 256 bits, so a fast keyed hash is all
that has to be kept of it; the pepper is in the configuration, the hash in the store, and neither is of use without the other.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import zlib
from collections.abc import Sequence
from typing import Final

import attrs

from suuupra_gateway.config.units import Secret

_DIGITS: Final = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_ID: Final = 12
_SECRET: Final = 43  # 62 ** 43 > 2 ** 256
_CHECKSUM: Final = 6  # 62 ** 6 > 2 ** 32

LONGEST: Final = 100
"""Characters of a key."""

_KEY: Final = re.compile(rb"sgk_([a-z0-9]{1,12})_([0-9A-Za-z]{12})_([0-9A-Za-z]{43})_([0-9A-Za-z]{6})")
_whole: Final = _KEY.fullmatch


@attrs.frozen
class ApiKey:
    """A key that is well-formed; whether it is good is not known yet."""

    environment: str
    id: str
    text: bytes = attrs.field(repr=False)
    """All of it."""

    @property
    def masked(self) -> str:
        """What may be shown: enough to recognise it."""
        return masked(self.environment, self.id)


def masked(environment: str, id: str) -> str:
    """A key as it may be shown, such as ``sgk_live_Ab3x…``."""
    return f"sgk_{environment}_{id[:4]}…"


def parse(text: bytes) -> ApiKey | None:
    """The key that ``text`` is; None if it is none, or was mistyped."""
    found = _whole(text) if len(text) <= LONGEST else None
    if found is None or _checksum(text[: found.start(4) - 1]) != found[4]:
        return None
    return ApiKey(found[1].decode("ascii"), found[2].decode("ascii"), text)


def find(text: bytes) -> list[ApiKey]:
    """All keys somewhere in ``text``, such as a log or a page of source."""
    candidates = (parse(match.group()) for match in _KEY.finditer(text))
    return [key for key in candidates if key is not None]


def make(environment: str) -> ApiKey:
    """A new key. It is random: two are never the same."""
    id, secret = _random(_ID), _random(_SECRET)
    start = f"sgk_{environment}_{id}_{secret}".encode("ascii")
    return ApiKey(environment, id, start + b"_" + _checksum(start))


def _random(length: int) -> str:
    return "".join(secrets.choice(_DIGITS) for _ in range(length))


def _checksum(start: bytes) -> bytes:
    number = zlib.crc32(start)
    digits = []
    for _ in range(_CHECKSUM):
        number, digit = divmod(number, 62)
        digits.append(_DIGITS[digit])
    return "".join(reversed(digits)).encode("ascii")


class Peppers:
    """The secrets that go into stored hashes: the first for new keys, all for checks. Immutable."""

    __slots__ = ("_by_name", "_newest")

    def __init__(self, peppers: Sequence[Secret]) -> None:
        revealed = [pepper.reveal().encode("utf-8") for pepper in peppers]
        self._by_name = {_name(pepper): pepper for pepper in reversed(revealed)}
        self._newest = revealed[0]

    def hash(self, key: bytes) -> tuple[str, str]:
        """``(name of the pepper, hash)`` to keep for a new key."""
        return _name(self._newest), _hash(self._newest, key)

    def matches(self, key: bytes, pepper: str, kept: str) -> bool:
        """Whether ``kept``, made with the pepper of that name, is of ``key``. Takes the same time either way."""
        secret = self._by_name.get(pepper)
        made = _hash(secret if secret is not None else self._newest, key)
        return hmac.compare_digest(made, kept) and secret is not None

    def waste(self, key: bytes) -> None:
        """Take as long as `matches` does: who asks for a key that does not exist is not to notice."""
        self.matches(key, "", "0" * 64)

    def known(self, name: str) -> bool:
        """Whether there is a pepper of that name."""
        return name in self._by_name

    def newest(self, name: str) -> bool:
        """Whether it is the one for new keys."""
        return name == _name(self._newest)


def _name(pepper: bytes) -> str:
    # Tells which one it is and nothing of it: peppers have 32 characters or more.
    return hashlib.sha256(b"suuupra-gateway pepper\0" + pepper).hexdigest()[:8]


def _hash(pepper: bytes, key: bytes) -> str:
    return hmac.new(pepper, key, "sha256").hexdigest()
