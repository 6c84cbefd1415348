"""
Why a route does not take a request, in words, for ``explain``.
"""

from __future__ import annotations

from collections.abc import Sequence

import attrs

from suuupra_gateway.http.message import RequestHead, values
from suuupra_gateway.routing.pattern import Condition, PathPattern, Pattern, Reach
from suuupra_gateway.routing.query import Parameters


@attrs.frozen
class NearMiss:
    """One route, looked at for one request."""

    name: str
    why: str | None
    """The first thing that does not match: host, path, method, headers, query, in this order. None if all matches."""


def failure(pattern: Pattern, head: RequestHead, parameters: Parameters) -> str | None:
    """
    The first part of ``pattern`` that ``head`` does not match, or None.

    :param parameters: of the head's query.
    """
    if not pattern.host.accepts(head.host):
        return f"host is {head.host.decode('latin-1') or 'not given'}, not {pattern.host}"
    why = mismatch(pattern.path, head.path)
    if why is not None:
        return why
    if pattern.methods and head.method not in pattern.methods:
        allowed = ", ".join(method.decode() for method in sorted(pattern.methods))
        return f"method {head.method.decode('latin-1')} is not one of {allowed}"
    for condition in pattern.headers:
        why = _unmet(condition, "header", values(head.headers, condition.name))
        if why is not None:
            return why
    for condition in pattern.query:
        why = _unmet(condition, "query parameter", parameters.get(condition.name, []))
        if why is not None:
            return why
    return None


def mismatch(pattern: PathPattern, path: bytes) -> str | None:
    """Where a normalised path leaves ``pattern``, or None if it matches."""
    if pattern.regex is not None:
        return None if pattern.regex.accepts(path) else f"path does not match {pattern.text}"
    why = _departure(pattern, path)
    if why is not None and _departure(pattern, path[:-1] if path.endswith(b"/") else path + b"/") is None:
        return "path differs by a trailing slash"
    return why


def _departure(pattern: PathPattern, path: bytes) -> str | None:
    if pattern.reach is Reach.ANYWHERE:
        return None
    slash, *segments = path.split(b"/")
    if slash or not segments:
        return f"path is {_shown(path)}, not below /"
    wanted = pattern.segments
    for place, mine in enumerate(wanted):
        if place == len(segments):
            return f"path ends after segment {place}"
        given = segments[place]
        if mine is None and not given:
            return f"path has nothing at segment {place + 1}, where a parameter is wanted"
        if mine is not None and mine != given:
            return f"path differs at segment {place + 1}: {_shown(given)} is not {_shown(mine)}"
    if pattern.reach is Reach.END and len(segments) > len(wanted):
        return f"path goes on after segment {len(wanted)}"
    if pattern.reach is Reach.BELOW and len(segments) == len(wanted):
        return f"path ends after segment {len(wanted)}"
    return None


def _unmet(condition: Condition, what: str, found: Sequence[bytes]) -> str | None:
    if any(condition.accepts(value) for value in found):
        return None
    name = condition.name.decode("latin-1")
    if not found:
        return f"{what} {name} is missing"
    return f"{what} {name} is {_listed(found)}, not {condition}"


def _listed(found: Sequence[bytes]) -> str:
    return ", ".join(_shown(value) for value in found)


def _shown(value: bytes) -> str:
    return repr(value.decode("utf-8", "backslashreplace"))
