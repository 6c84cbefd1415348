"""
What a caller must be allowed, compiled: scopes, roles, claims.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any, Final

import attrs
import re2

from suuupra_gateway.auth.principal import Principal
from suuupra_gateway.auth.provider import claim
from suuupra_gateway.config.model import AuthSpec, ClaimSpec, Wanted

_SCOPE: Final = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]+").fullmatch

_LONGEST: Final = 4096
"""Characters of a text that patterns look at; longer ones do not match."""


@attrs.frozen
class Unmet:
    """What is missing."""

    reason: str
    """A stable word: ``insufficient_scope``, ``missing_role`` or ``claim_mismatch``."""

    detail: str
    """In words, for log and ``explain``."""

    scope: str = ""
    """The scopes that would do, for ``WWW-Authenticate``; empty if it is not about scopes."""


Test = Callable[[Any], bool]


class Requirements:
    """What a route asks of its callers. Immutable."""

    __slots__ = ("_scopes", "_roles", "_claims")

    def __init__(self, spec: AuthSpec) -> None:
        """:raises ValueError: a pattern of a claim is no RE2 expression, or a scope is none."""
        for scope in (*spec.scopes.all, *spec.scopes.any):
            if _SCOPE(scope) is None:
                raise ValueError(f"{scope!r} is no scope (RFC 6749 section 3.3)")
        self._scopes = spec.scopes
        self._roles = spec.roles
        self._claims: tuple[tuple[ClaimSpec, tuple[Test, ...]], ...] = tuple(
            (each, tuple(_tests(each))) for each in spec.claims
        )

    def unmet(self, principal: Principal) -> Unmet | None:
        """The first thing that ``principal`` lacks; None if it may come."""
        lacking = _lacking(self._scopes, principal.scopes)
        if lacking:
            return Unmet("insufficient_scope", f"scopes {lacking}", " ".join(_wanted(self._scopes, principal.scopes)))
        lacking = _lacking(self._roles, principal.roles)
        if lacking:
            return Unmet("missing_role", f"roles {lacking}")
        for spec, tests in self._claims:
            value = claim(principal.claims, spec.name)
            if not all(test(value) for test in tests):
                return Unmet("claim_mismatch", f"claim {spec.name} is not as it must be")
        return None


def _wanted(wanted: Wanted, have: frozenset[str]) -> tuple[str, ...]:
    """What would do: all of the one, and, if there is none of the other, those to choose from."""
    return wanted.all if not have.isdisjoint(wanted.any) else (*wanted.all, *wanted.any)


def _lacking(wanted: Wanted, have: frozenset[str]) -> str:
    """What is lacking, in words; empty for nothing."""
    missing = [each for each in wanted.all if each not in have]
    if missing:
        return f"lack {', '.join(missing)}"
    if wanted.any and have.isdisjoint(wanted.any):
        return f"have none of {', '.join(wanted.any)}"
    return ""


def _tests(spec: ClaimSpec) -> Iterable[Test]:
    if spec.exists is not None:
        wanted = spec.exists
        yield lambda value: (value is not None) is wanted
    if spec.equals is not None:
        expected = spec.equals
        yield lambda value: any(_same(each, expected) for each in _members(value))
    if spec.in_:
        choices = spec.in_
        yield lambda value: any(_same(each, choice) for each in _members(value) for choice in choices)
    if spec.pattern:
        try:
            matches = re2.compile(spec.pattern).fullmatch
        except re2.error as error:
            raise ValueError(f"the pattern of claim {spec.name} is no RE2 expression: {error}") from error
        yield lambda value: any(
            isinstance(each, str) and len(each) <= _LONGEST and matches(each) is not None for each in _members(value)
        )


def _members(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _same(value: Any, expected: Any) -> bool:
    # In Python True is 1; in a policy it is not.
    return isinstance(value, bool) is isinstance(expected, bool) and value == expected
