"""
`RouteTable`: which route takes a request. Immutable once it is built; a plan holds one.

The answer is always the first route, in the total order of `routing/order.py`, of which everything matches. A table of ten
thousand routes finds it at the price of ten: by host, then by path (`routing/trie.py`), so that only routes which the host
and the path of the request can reach are looked at, best first. A route whose method, headers or query do not match gives
way to the next one, however much less specific.
"""

from __future__ import annotations

import heapq
from collections.abc import Generator, Iterable, Iterator
from typing import Final, Generic, TypeVar

import attrs

from suuupra_gateway.config.model import MatchSpec
from suuupra_gateway.http.message import RequestHead
from suuupra_gateway.routing.near import NearMiss, failure
from suuupra_gateway.routing.order import Precedence, precedence
from suuupra_gateway.routing.pattern import HostPattern, Pattern
from suuupra_gateway.routing.query import Parameters, parameters_of
from suuupra_gateway.routing.trie import NEVER, Candidate, HostTable, Leaf

V = TypeVar("V")

_STEP: Final = 16  # routes compiled between two yields: some 0.5 ms
_RUN: Final = 256  # routes sorted at once: some 0.3 ms


@attrs.frozen
class Entry(Generic[V]):
    """A route to be put into a table."""

    name: str
    match: MatchSpec
    priority: int
    order: int
    """Place in the file."""

    value: V
    """What `RouteTable.match` answers."""

    trailing: bool = False
    """Redirect a path that differs from one of this route's by a trailing slash."""


@attrs.frozen
class Refusal:
    """No route matches: 404, unless one of these says otherwise."""

    allow: tuple[bytes, ...] = ()
    """405: the methods for which there would have been a route, sorted."""

    redirect: bytes | None = None
    """308: the path with its trailing slash added or taken away, under which a route would match; the query stays."""


_NOT_FOUND: Final = Refusal()


class RouteTable(Generic[V]):
    """An immutable table of routes. Make one with `build`, or slice by slice with `building`."""

    __slots__ = ("_candidates", "_known", "_suffixes", "_labels", "_others", "_trailing", "tables")

    tables: dict[HostPattern, HostTable[V]]
    """One per host pattern."""

    def __init__(self) -> None:
        self.tables = {}
        self._candidates: list[Candidate[V]] = []
        self._known: dict[bytes, tuple[HostTable[V], ...]] = {}
        self._suffixes: dict[bytes, tuple[HostTable[V], ...]] = {}
        self._labels = 0
        self._others: tuple[HostTable[V], ...] = ()
        self._trailing = False

    # -- building -----------------------------------------------------------------------------------------------------

    @classmethod
    def build(cls, entries: Iterable[Entry[V]]) -> RouteTable[V]:
        """:raises PatternError: for the first entry whose match means nothing."""
        steps = cls.building(entries)
        while True:
            try:
                next(steps)
            except StopIteration as stop:
                table: RouteTable[V] = stop.value
                return table

    @classmethod
    def building(cls, entries: Iterable[Entry[V]]) -> Generator[None, None, RouteTable[V]]:
        """As `build`, pausing about every half millisecond; the table is what the generator returns."""
        table = cls()
        runs: list[list[tuple[Precedence, Candidate[V]]]] = [[]]
        for count, entry in enumerate(entries, 1):
            pattern = Pattern.of(entry.match)
            candidate = Candidate(entry.name, pattern, entry.priority, entry.value, entry.trailing)
            runs[-1].append((precedence(entry.name, pattern, entry.priority, entry.order), candidate))
            if count % _STEP == 0:
                yield
            if count % _RUN == 0:
                runs[-1].sort(key=_first_of)
                runs.append([])
                yield
        runs[-1].sort(key=_first_of)
        # Merging sorted runs costs no more than sorting at once, and can be paused.
        for rank, (_, candidate) in enumerate(heapq.merge(*runs, key=_first_of)):
            candidate.rank = rank
            table._add(candidate)
            if rank % _STEP == 0:
                yield
        yield from table._link()
        return table

    def _add(self, candidate: Candidate[V]) -> None:
        host = candidate.pattern.host
        known = self.tables.get(host)
        if known is None:
            known = self.tables[host] = HostTable(host)
        known.add(candidate)
        self._candidates.append(candidate)
        self._trailing = self._trailing or candidate.trailing

    def _link(self) -> Iterator[None]:
        """Note for each host pattern which tables its hosts may find a route in, the most specific one first."""
        for count, (host, table) in enumerate(self.tables.items()):
            if host.wildcard:
                self._suffixes[host.name] = self.above(host)
                self._labels = max(self._labels, host.name.count(b"."))
            elif host.name:
                self._known[host.name] = self.above(host)
            else:
                self._others = (table,)
            if count % _STEP == 0:
                yield

    def above(self, host: HostPattern) -> tuple[HostTable[V], ...]:
        """The tables whose host patterns take all that ``host``, which has a table, takes; most specific first."""
        found = [self.tables[host]]
        name = host.name
        dot = name.find(b".", 1)
        while dot > 0:
            wider = self.tables.get(HostPattern(name[dot:]))
            if wider is not None:
                found.append(wider)
            dot = name.find(b".", dot + 1)
        if name and HostPattern() in self.tables:
            found.append(self.tables[HostPattern()])
        return tuple(found)

    # -- matching -----------------------------------------------------------------------------------------------------

    def match(self, head: RequestHead) -> V | Refusal:
        """The value of the route that takes the request, whose ``head.params`` are set; or why there is none."""
        path = head.path
        found = self._first(path, head)
        if found is None:
            return self._refusal(path, head)
        head.params = found.pattern.path.parse(path) if found.parametric else None
        return found.value

    def _first(self, path: bytes, head: RequestHead) -> Candidate[V] | None:
        """The candidate of lowest rank that accepts the request, asked at ``path``."""
        found = None
        best = NEVER
        for table in self._known.get(head.host) or self._wider(head.host):
            if table.lowest >= best:
                continue
            leaf = table.exact.get(path)
            if leaf is not None:
                better = _pick(leaf, best, path, head)
                if better is not None:
                    found, best = better, better.rank
            if table.lowest_inexact < best:
                for leaf in reversed(table.leaves(path)):
                    better = _pick(leaf, best, path, head)
                    if better is not None:
                        found, best = better, better.rank
        return found

    def _wider(self, host: bytes) -> tuple[HostTable[V], ...]:
        """The tables for ``host``, which has none of its own. Looks at as many labels as the longest wildcard has."""
        tables = self._others
        dot = len(host)
        for _ in range(self._labels):
            dot = host.rfind(b".", 0, dot)
            if dot <= 0:
                break
            tables = self._suffixes.get(host[dot:], tables)
        return tables

    def _refusal(self, path: bytes, head: RequestHead) -> Refusal:
        if self._trailing and path != b"*":
            other = path[:-1] if path.endswith(b"/") else path + b"/"
            # With two slashes in front it would be the URL of another host (RFC 3986 section 4.2).
            if other and not other.startswith(b"//"):
                found = self._first(other, head)
                if found is not None and found.trailing:
                    return Refusal(redirect=other)
        allow: set[bytes] = set()
        parameters = parameters_of(head.query)
        for table in self._known.get(head.host) or self._wider(head.host):
            leaves = table.leaves(path)
            if path in table.exact:
                leaves.append(table.exact[path])
            for leaf in leaves:
                for candidate in leaf:
                    if candidate.methods is not None and candidate.accepts(path, head.headers, parameters):
                        allow |= candidate.methods
        return Refusal(tuple(sorted(allow))) if allow else _NOT_FOUND

    # -- explaining ---------------------------------------------------------------------------------------------------

    def candidates(self, head: RequestHead) -> list[NearMiss]:
        """Every route in order of precedence, with the first thing that does not match; for people, not for speed."""
        parameters = parameters_of(head.query)
        return [
            NearMiss(candidate.name, failure(candidate.pattern, head, parameters)) for candidate in self._candidates
        ]

    def __iter__(self) -> Iterator[Candidate[V]]:
        """All routes in order of precedence."""
        return iter(self._candidates)

    def __len__(self) -> int:
        return len(self._candidates)


def _first_of(pair: tuple[Precedence, object]) -> Precedence:
    return pair[0]


def _pick(leaf: Leaf[V], best: int, path: bytes, head: RequestHead) -> Candidate[V] | None:
    """The first candidate of ``leaf`` that accepts the request and ranks before ``best``."""
    method = head.method
    parameters: Parameters | None = None
    for candidate in leaf:
        if candidate.rank >= best:
            return None
        methods = candidate.methods
        if methods is not None and method not in methods:
            continue
        if not candidate.conditional:
            return candidate
        if parameters is None and candidate.queries:
            parameters = parameters_of(head.query)
        if candidate.accepts(path, head.headers, parameters or {}):
            return candidate
    return None
