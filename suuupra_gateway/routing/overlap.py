"""
Routes that tie, and routes that can never be reached, because an earlier one takes all of their requests.

Sound: what is reported is true of every request. Not complete: a route that only several others together cover is found
when they differ in nothing but their methods, and an expression counts as covering only exact paths and its own copies.

The search costs little more than building the table: what may cover a route's path hangs, in the trie, on the way to that
route, and where many routes share a leaf they are found by a condition that the covered route must have too.
"""

from __future__ import annotations

import enum
from collections import Counter
from collections.abc import Callable, Collection, Generator, Iterator
from itertools import takewhile
from typing import Any, Final

import attrs

from suuupra_gateway.routing.pattern import Condition, Kind, Pattern
from suuupra_gateway.routing.table import RouteTable
from suuupra_gateway.routing.trie import Candidate, Leaf

_STEP: Final = 16  # routes looked at between two yields
_CROWD: Final = 8  # candidates of one leaf from which on they are found by their conditions


class Flaw(enum.Enum):
    """What is wrong with a route."""

    TIE = "tie"
    """Another route has the same match and the same priority: only the names would decide."""

    UNREACHABLE = "unreachable"
    """Earlier routes take all of its requests."""


@attrs.frozen
class Overlap:
    """One finding."""

    flaw: Flaw
    name: str
    """The route that gets no requests."""

    others: tuple[str, ...]
    """Those that get them; more than one if they share them by method."""

    why: str
    """A sentence for people that names both."""


def overlaps(table: RouteTable[Any], allowed: Collection[str] = ()) -> list[Overlap]:
    """
    All findings, in order of precedence of the routes that get no requests.

    :param allowed: names of routes that may be unreachable (``allow-shadowed``).
    """
    steps = finding(table, allowed)
    while True:
        try:
            next(steps)
        except StopIteration as stop:
            found: list[Overlap] = stop.value
            return found


def finding(table: RouteTable[Any], allowed: Collection[str] = ()) -> Generator[None, None, list[Overlap]]:
    """As `overlaps`, pausing often; the findings are what the generator returns."""
    allowed = frozenset(allowed)
    seen: dict[tuple[Pattern, int], Candidate[Any]] = {}
    crowds: dict[int, _Crowd] = {}
    found = []
    for count, candidate in enumerate(table):
        first = seen.setdefault((candidate.pattern, candidate.priority), candidate)
        if candidate.name not in allowed:
            overlap = _unreachable(table, candidate, crowds) if first is candidate else _tie(candidate, first)
            if overlap is not None:
                found.append(overlap)
        if count % _STEP == 0:
            yield
    return found


def _tie(candidate: Candidate[Any], first: Candidate[Any]) -> Overlap:
    why = f"{first.name} and {candidate.name} match the same requests with the same priority; only their names differ"
    return Overlap(Flaw.TIE, candidate.name, (first.name,), why)


def _unreachable(table: RouteTable[Any], candidate: Candidate[Any], crowds: dict[int, _Crowd]) -> Overlap | None:
    pattern = candidate.pattern
    shares: list[Candidate[Any]] = []
    uncovered = set(pattern.methods)
    for other in _earlier(table, candidate, crowds):
        if not _covers_but_for_methods(other.pattern, pattern):
            continue
        methods = other.pattern.methods
        if not methods or (pattern.methods and pattern.methods <= methods):
            why = f"{candidate.name} is never reached: {other.name} takes all of its requests, and goes first by"
            return Overlap(Flaw.UNREACHABLE, candidate.name, (other.name,), f"{why} {_reason(other, candidate)}")
        if uncovered & methods:
            shares.append(other)
            uncovered -= methods
            if not uncovered:
                names = tuple(share.name for share in shares)
                why = (
                    f"{candidate.name} is never reached: {', '.join(names)} between them take all of its requests first"
                )
                return Overlap(Flaw.UNREACHABLE, candidate.name, names, why)
    return None


def _earlier(table: RouteTable[Any], candidate: Candidate[Any], crowds: dict[int, _Crowd]) -> Iterator[Candidate[Any]]:
    """The routes that go before ``candidate`` and may cover it."""
    pattern, rank = candidate.pattern, candidate.rank
    for hosts in table.above(pattern.host):
        if hosts.lowest >= rank:
            continue
        for leaf in hosts.covering(pattern.path):
            if leaf[0].rank >= rank:
                continue
            if len(leaf) < _CROWD:
                rows: list[Leaf[Any]] = [leaf]
            else:
                if id(leaf) not in crowds:  # leaves live as long as the table, so their ids are theirs alone
                    crowds[id(leaf)] = _Crowd(leaf)
                rows = crowds[id(leaf)].possible(pattern)
            for row in rows:
                yield from takewhile(lambda other: other.rank < rank, row)


def _covers_but_for_methods(wide: Pattern, narrow: Pattern) -> bool:
    return (
        wide.host.covers(narrow.host)
        and wide.path.covers(narrow.path)
        and _follow(wide.headers, narrow.headers)
        and _follow(wide.query, narrow.query)
    )


def _follow(wide: tuple[Condition, ...], narrow: tuple[Condition, ...]) -> bool:
    """Whether whatever meets all of ``narrow`` meets all of ``wide``."""
    return all(any(condition.follows_from(other) for other in narrow) for condition in wide)


_REASONS: Final[tuple[tuple[str, Callable[[Candidate[Any]], int]], ...]] = (
    ("its priority", lambda candidate: -candidate.priority),
    ("its kind of path", lambda candidate: candidate.pattern.path.kind),
    ("its place in the file", lambda candidate: candidate.rank if candidate.pattern.path.regex else 0),
    ("naming methods", lambda candidate: not candidate.pattern.methods),
    ("its conditions on headers", lambda candidate: -len(candidate.pattern.headers)),
    ("its conditions on the query", lambda candidate: -len(candidate.pattern.query)),
    ("its name", lambda candidate: candidate.rank),
)


def _reason(first: Candidate[Any], second: Candidate[Any]) -> str:
    """Why one of two routes goes before the other, of which it takes all requests; in the order of `precedence`."""
    return next(words for words, key in _REASONS if key(first) < key(second))


_Key = tuple[str, bytes | str, bytes | str | None]


class _Crowd:
    """The candidates of one leaf, by something that a route must have to be covered by them."""

    __slots__ = ("_open", "_rows", "_expressions")

    def __init__(self, leaf: Leaf[Any]) -> None:
        self._open: Leaf[Any] = []
        self._rows: dict[_Key, Leaf[Any]] = {}
        self._expressions: Leaf[Any] = []
        counts = Counter(key for candidate in leaf for key in _keys(candidate.pattern))
        for candidate in leaf:
            pattern = candidate.pattern
            keys = _keys(pattern)
            if pattern.path.regex is not None:
                self._expressions.append(candidate)
                chosen: list[_Key] = [("path", pattern.path.regex.text, None)]
            elif keys:
                chosen = [min(keys, key=counts.__getitem__)]
            else:
                chosen = [("method", method, None) for method in pattern.methods]
            for key in chosen:
                self._rows.setdefault(key, []).append(candidate)
            if not chosen:
                self._open.append(candidate)

    def possible(self, narrow: Pattern) -> list[Leaf[Any]]:
        """The candidates that may cover ``narrow``, in rows that are sorted by rank."""
        keys: list[_Key] = [("method", method, None) for method in sorted(narrow.methods)]
        for side, conditions in (("header", narrow.headers), ("query", narrow.query)):
            for condition in conditions:
                keys.append((side, condition.name, None))
                if condition.exact is not None:
                    keys.append((side, condition.name, condition.exact))
                if condition.exact is not None or condition.regex is not None:
                    keys.append((side, condition.name, "~"))
        rows = [self._open, *(self._rows[key] for key in keys if key in self._rows)]
        if narrow.path.kind is Kind.EXACT:
            rows.append(self._expressions)
        elif narrow.path.regex is not None:
            rows.append(self._rows.get(("path", narrow.path.regex.text, None), []))
        return rows


def _keys(pattern: Pattern) -> list[_Key]:
    keys: list[_Key] = []
    for side, conditions in (("header", pattern.headers), ("query", pattern.query)):
        for condition in conditions:
            keys.append((side, condition.name, condition.exact if condition.regex is None else "~"))
    return keys
