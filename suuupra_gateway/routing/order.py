"""
Which of two routes goes first: a total order, so that nothing is ever left to chance or to the length of a rule.

1. `priority`, higher first;
2. host: exact, then wildcards with the longer suffix first, then any;
3. path: exact; templates with more literal segments first, then longer ones, then those without a ``{rest*}``; prefixes,
   longest first; expressions in file order; any path at all;
4. with methods before without; 5. more headers first; 6. more query parameters first; 7. by name; 8. by place in the file.
"""

from __future__ import annotations

from suuupra_gateway.routing.pattern import HostPattern, Kind, PathPattern, Pattern, Reach

Precedence = tuple[int | str, ...]
"""Sorts before that of every route that gives way to this one. Flat, because building a table compares many of them."""


def precedence(name: str, pattern: Pattern, priority: int, order: int) -> Precedence:
    """
    The place of a route among all others.

    :param order: place in the file.
    """
    return (
        -priority,
        *_of_host(pattern.host),
        *_of_path(pattern.path, order),
        not pattern.methods,
        -len(pattern.headers),
        -len(pattern.query),
        name,
        order,
    )


def _of_host(host: HostPattern) -> tuple[int, int]:
    if not host.name:
        return 2, 0
    return (1, -len(host.name)) if host.wildcard else (0, 0)


def _of_path(path: PathPattern, order: int) -> tuple[int, int, int, int]:
    kind, segments = path.kind, path.segments
    if kind is Kind.TEMPLATE:
        literals = sum(segment is not None for segment in segments)
        return kind, -literals, -len(segments), path.reach is not Reach.END
    if kind is Kind.PREFIX:
        slash = path.reach is Reach.BELOW
        return kind, -sum(len(segment) + 1 for segment in segments if segment is not None) - slash, 0, 0
    return kind, order if kind is Kind.REGEX else 0, 0, 0
