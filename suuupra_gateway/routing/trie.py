"""
Where the routes of one host pattern hang: a dictionary of exact paths, a trie of segments, and a rest without either.

A *leaf* is a list of candidates in order of precedence. `HostTable.leaves` finds those that a path can reach, in time that
depends on the path and not on how many routes there are: each node of the trie is visited once at most, and a path is cut
into no more segments than the trie is deep.
"""

from __future__ import annotations

from typing import Final, Generic, TypeVar

from suuupra_gateway.http.message import Pairs
from suuupra_gateway.routing.pattern import Expression, HostPattern, Kind, PathPattern, Pattern, Reach
from suuupra_gateway.routing.query import Parameters

V = TypeVar("V")

NEVER: Final = 1 << 62
"""A rank behind all others."""


class Candidate(Generic[V]):
    """One route in a table. Lives as long as the table."""

    __slots__ = (
        "rank",
        "name",
        "priority",
        "value",
        "trailing",
        "pattern",
        "methods",
        "conditional",
        "queries",
        "parametric",
        "_regex",
    )

    rank: int
    """Its place in the total order; 0 goes first."""

    methods: frozenset[bytes] | None
    """None for any."""

    conditional: bool
    """Whether `accepts` has anything to look at."""

    queries: bool
    """Whether `accepts` looks at the query."""

    parametric: bool
    """Whether the path is a template."""

    def __init__(self, name: str, pattern: Pattern, priority: int, value: V, trailing: bool) -> None:
        self.rank = NEVER
        self.name = name
        self.priority = priority
        self.value = value
        self.trailing = trailing
        self.pattern = pattern
        self.methods = pattern.methods or None
        self.queries = bool(pattern.query)
        self.parametric = pattern.path.kind is Kind.TEMPLATE
        self._regex: Expression | None = pattern.path.regex
        self.conditional = bool(self._regex or pattern.headers or pattern.query)

    def accepts(self, path: bytes, headers: Pairs, parameters: Parameters) -> bool:
        """
        Whether everything matches that neither the leaf nor the method has settled.

        :param parameters: of the query; looked at only if `queries`.
        """
        if self._regex is not None and not self._regex.accepts(path):
            return False
        for condition in self.pattern.headers:
            name = condition.name
            for key, value in headers:
                if key == name and condition.accepts(value):
                    break
            else:
                return False
        for condition in self.pattern.query:
            for value in parameters.get(condition.name, ()):
                if condition.accepts(value):
                    break
            else:
                return False
        return True


Leaf = list[Candidate[V]]


class Node(Generic[V]):
    """A place in the trie, reached by the segments so far."""

    __slots__ = ("literals", "parameter", "end", "here", "below")

    def __init__(self) -> None:
        self.literals: dict[bytes, Node[V]] = {}
        self.parameter: Node[V] | None = None
        # Lists are made when they are needed: most nodes have one at most, and the garbage collector visits each.
        self.end: Leaf[V] | None = None
        self.here: Leaf[V] | None = None
        self.below: Leaf[V] | None = None


class HostTable(Generic[V]):
    """All routes of one host pattern."""

    __slots__ = ("host", "lowest", "lowest_inexact", "exact", "root", "anywhere", "depth")

    lowest: int
    """The rank of the first of all candidates."""

    lowest_inexact: int
    """The rank of the first candidate that is not in `exact`."""

    depth: int
    """Segments of the longest way down the trie."""

    def __init__(self, host: HostPattern) -> None:
        self.host = host
        self.lowest = self.lowest_inexact = NEVER
        self.exact: dict[bytes, Leaf[V]] = {}
        self.root: Node[V] = Node()
        self.anywhere: Leaf[V] = []
        self.depth = 0

    def add(self, candidate: Candidate[V]) -> None:
        """Hang ``candidate`` where it belongs. In order of precedence, or else leaves are not sorted."""
        self.lowest = min(self.lowest, candidate.rank)
        path = candidate.pattern.path
        if path.kind is Kind.EXACT:
            self.exact.setdefault(path.normalised, []).append(candidate)
            return
        self.lowest_inexact = min(self.lowest_inexact, candidate.rank)
        if path.reach is Reach.ANYWHERE:
            self.anywhere.append(candidate)
            return
        node = self._node(path)
        if path.reach is Reach.END:
            node.end = _with(node.end, candidate)
        elif path.reach is Reach.HERE:
            node.here = _with(node.here, candidate)
        else:
            node.below = _with(node.below, candidate)

    def _node(self, path: PathPattern) -> Node[V]:
        node = self.root
        for segment in path.segments:
            if segment is not None:
                following = node.literals.get(segment)
                if following is None:
                    following = node.literals[segment] = Node()
                node = following
            elif node.parameter is None:
                node.parameter = node = Node()
            else:
                node = node.parameter
        self.depth = max(self.depth, len(path.segments))
        return node

    def leaves(self, path: bytes) -> list[Leaf[V]]:
        """The leaves that a normalised path reaches, those of exact paths left out; the deeper, the later."""
        found = [self.anywhere] if self.anywhere else []
        if path[:1] != b"/":
            return found
        # One segment more than the trie is deep: enough to tell that the path goes on.
        segments = path.split(b"/", self.depth + 1)
        del segments[0]
        nodes = [self.root]
        for segment in segments:
            following = []
            for node in nodes:
                if node.here:
                    found.append(node.here)
                if node.below:
                    found.append(node.below)
                child = node.literals.get(segment)
                if child is not None:
                    following.append(child)
                child = node.parameter
                if child is not None and segment:
                    following.append(child)
            if not following:
                return found
            nodes = following
        for node in nodes:
            if node.here:
                found.append(node.here)
            if node.end:
                found.append(node.end)
        return found

    def covering(self, path: PathPattern) -> list[Leaf[V]]:
        """The leaves that hold whatever may take all that ``path`` takes, exact paths among them."""
        found = [self.anywhere] if self.anywhere else []
        if path.reach is Reach.ANYWHERE:
            return found
        if path.kind is Kind.EXACT and (leaf := self.exact.get(path.normalised)):
            found.append(leaf)
        nodes = [self.root]
        for segment in path.segments:
            following = []
            for node in nodes:
                found += (leaf for leaf in (node.here, node.below) if leaf)
                if segment is not None and segment in node.literals:
                    following.append(node.literals[segment])
                if segment != b"" and node.parameter is not None:
                    following.append(node.parameter)
            nodes = following
        for node in nodes:
            found += (leaf for leaf in (node.here, node.below, node.end) if leaf)
        return found


def _with(leaf: Leaf[V] | None, candidate: Candidate[V]) -> Leaf[V]:
    if leaf is None:
        return [candidate]
    leaf.append(candidate)
    return leaf
