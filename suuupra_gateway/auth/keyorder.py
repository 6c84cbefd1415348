"""
What somebody wants a new API key to be, and whether that makes sense: the same for the command line and the admin API.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Collection, Iterable, Iterator
from typing import Final

import msgspec

MOST: Final = 100
"""Scopes, roles, routes or address ranges of one key."""

LONGEST: Final = 200
"""Characters of a text."""

_MOST_PAIRS: Final = 20
_SCOPE: Final = re.compile(r"[!#-\[\]-~]+").fullmatch  # scope-token of RFC 6749 section 3.3
_ROLE: Final = re.compile(r"[!-+\--~]+").fullmatch  # upstreams get roles separated by commas
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*").fullmatch


class BadOrder(ValueError):
    """A key cannot be made like this. The message says why."""


class KeyOrder(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A new key, as it is wanted. The names mean what they mean in `KeyRecord`; times are UNIX seconds, 0 for never."""

    owner: str
    name: str = ""
    scopes: tuple[str, ...] = ()
    roles: tuple[str, ...] = ()
    tenant: str = ""
    routes: tuple[str, ...] = ()
    cidrs: tuple[str, ...] = ()
    not_before: float = 0.0
    expires_at: float = 0.0
    tier: str = ""
    limits: dict[str, str] = {}
    notes: dict[str, str] = {}

    def check(self, now: float, routes: Collection[str] | None = None) -> None:
        """
        :param routes: names of all routes; None if they are not known.
        :raises BadOrder: it makes no sense; the message has everything that is wrong with it.
        """
        problems = [*self._texts(), *self._lists(routes), *self._times(now)]
        if problems:
            raise BadOrder("; ".join(problems))

    def _texts(self) -> Iterator[str]:
        if not self.owner:
            yield "it must say whose it is"
        for name in ("owner", "name", "tenant", "tier"):
            text: str = getattr(self, name)
            if not plain(text):
                yield f"{name} must be at most {LONGEST} visible characters"
        for what, pairs in (("limits", self.limits), ("notes", self.notes)):
            if len(pairs) > _MOST_PAIRS:
                yield f"{what} are at most {_MOST_PAIRS}"
            elif not all(len(name) <= LONGEST and _NAME(name) and plain(text) for name, text in pairs.items()):
                yield (
                    f"{what} need names of letters, digits, dots, dashes and underscores, "
                    f"and texts of at most {LONGEST} visible characters"
                )

    def _lists(self, routes: Collection[str] | None) -> Iterator[str]:
        for name in ("scopes", "roles", "routes", "cidrs"):
            if len(getattr(self, name)) > MOST:
                yield f"{name} are at most {MOST}"
        yield from _wrong("scope", self.scopes, lambda scope: bool(_SCOPE(scope)))
        yield from _wrong("role", self.roles, lambda role: bool(_ROLE(role)))
        yield from _wrong("address range", self.cidrs, _is_network)
        if routes is not None:
            yield from (f"there is no route {_quoted(route)}" for route in self.routes if route not in routes)

    def _times(self, now: float) -> Iterator[str]:
        # The year 9999 is the last that anybody can write down.
        if not (0 <= self.not_before < 253402300800 and 0 <= self.expires_at < 253402300800):
            yield "times are UNIX seconds"
        elif self.expires_at and self.expires_at <= max(now, self.not_before):
            yield "it would be over before it begins"


def plain(text: str) -> bool:
    """Whether a text may be kept: it is short, and shown somewhere, it shows and does nothing else."""
    return len(text) <= LONGEST and text.isprintable() and text == text.strip()


def _wrong(what: str, words: Iterable[str], right: Callable[[str], bool]) -> Iterator[str]:
    for word in words:
        if len(word) > LONGEST or not right(word):
            yield f"{_quoted(word)} is no {what}"


def _quoted(word: str) -> str:
    return ascii(word if len(word) <= LONGEST else f"{word[:20]}…")


def _is_network(text: str) -> bool:
    try:
        ipaddress.ip_network(text)
    except ValueError:
        return False
    return True
