"""
The route table against a router that tries every route in turn, written from the documentation and from nothing else.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from urllib.parse import parse_qsl

from hypothesis import example, given, settings
from hypothesis import strategies as st

from suuupra_gateway.config.model import MatchSpec
from suuupra_gateway.http.message import RequestHead
from suuupra_gateway.routing.overlap import Flaw, overlaps
from suuupra_gateway.routing.table import Entry, Refusal, RouteTable

Route = Entry[str]


# -- the oracle -------------------------------------------------------------------------------------------------------


def host_takes(pattern: str, host: str) -> bool:
    if pattern.startswith("*."):
        return re.fullmatch(r".+" + re.escape(pattern[1:]), host) is not None
    return pattern in ("", host)


def as_expression(spec: MatchSpec) -> str:
    """The path of a match as one expression of Python's, with a group for each parameter."""
    if spec.regex:
        return spec.regex
    if spec.prefix.endswith("/"):
        return re.escape(spec.prefix) + ".*"
    if spec.prefix:
        return re.escape(spec.prefix) + "(?:/.*)?"
    if spec.path:
        parts = []
        for piece in spec.path.split("/")[1:]:
            if piece.endswith("*}"):
                parts.append(f"(?:/(?P<{piece[1:-2]}>.*))?")
            elif piece.startswith("{"):
                parts.append(f"/(?P<{piece[1:-1]}>[^/]+)")
            else:
                parts.append("/" + re.escape(piece))
        return "".join(parts)
    return ".*"


def value_will_do(wanted: str, given: Sequence[str]) -> bool:
    if wanted.startswith("~"):
        return any(re.fullmatch(wanted[1:], value) for value in given)
    return wanted in given or (wanted == "*" and bool(given))


def takes(spec: MatchSpec, head: RequestHead, path: str, *, any_method: bool = False) -> bool:
    method = head.method.decode()
    fields = [(key.decode(), value.decode()) for key, value in head.headers]
    parameters = parse_qsl((head.query or b"").decode(), keep_blank_values=True)
    return (
        host_takes(spec.host, head.host.decode())
        and re.fullmatch(as_expression(spec), path) is not None
        and (any_method or not spec.methods or method in spec.methods or (method == "HEAD" and "GET" in spec.methods))
        and all(value_will_do(wanted, [v for k, v in fields if k == name.lower()]) for name, wanted in spec.headers)
        and all(value_will_do(wanted, [v for k, v in parameters if k == name]) for name, wanted in spec.query)
    )


def goes_first(route: Route) -> tuple[object, ...]:
    spec = route.match
    pieces = (spec.path or spec.prefix).split("/")[1:]
    literals = [piece for piece in pieces if not piece.startswith("{")]
    rest = bool(pieces) and pieces[-1].endswith("*}")
    if spec.path and len(literals) == len(pieces):
        path: tuple[object, ...] = (0,)
    elif spec.path:
        path = (1, -len(literals), -(len(pieces) - rest), rest)
    elif spec.prefix:
        path = (2, -len(spec.prefix))
    elif spec.regex:
        path = (3, route.order)
    else:
        path = (4,)
    host = (2, 0) if not spec.host else (1, -len(spec.host)) if spec.host.startswith("*") else (0, 0)
    return (
        -route.priority,
        host,
        path,
        0 if spec.methods else 1,
        -len(spec.headers),
        -len(spec.query),
        route.name,
        route.order,
    )


def winner(routes: Sequence[Route], head: RequestHead, path: str) -> Route | None:
    return min((route for route in routes if takes(route.match, head, path)), key=goes_first, default=None)


def naive(routes: Sequence[Route], head: RequestHead) -> tuple[str | Refusal, dict[str, bytes] | None]:
    path = head.path.decode()
    best = winner(routes, head, path)
    if best is not None:
        if "{" not in best.match.path:
            return best.value, None
        found = re.fullmatch(as_expression(best.match), path)
        assert found is not None
        return best.value, {name: (value or "").encode() for name, value in found.groupdict().items()}
    other = path[:-1] if path.endswith("/") else path + "/"
    if path != "*" and other and not other.startswith("//"):
        best = winner(routes, head, other)
        if best is not None and best.trailing:
            return Refusal(redirect=other.encode()), None
    allow = set()
    for route in routes:
        if takes(route.match, head, path, any_method=True):
            allow |= {*route.match.methods, *(["HEAD"] if "GET" in route.match.methods else [])}
    return Refusal(tuple(sorted(method.encode() for method in allow))), None


# -- routes and requests that collide ---------------------------------------------------------------------------------

literals = st.sampled_from(["a", "b", "a.b", "%2F"])
hosts = st.sampled_from(["", "a.test", "b.a.test", "test", "*.test", "*.a.test", "*.b.a.test", "[::1]"])
methods = st.sampled_from([(), ("GET",), ("POST",), ("HEAD",), ("GET", "POST"), ("DELETE",), ("OPTIONS",)])
values = st.sampled_from(["1", "2", "*", "~[12]", "~[13]+", ""])
conditions = st.lists(st.tuples(st.sampled_from(["a", "b"]), values), max_size=2, unique_by=lambda pair: pair[0]).map(
    tuple
)


@st.composite
def paths(draw: st.DrawFn) -> dict[str, str]:
    kind = draw(st.sampled_from(["exact", "template", "rest", "prefix", "regex", "any"]))
    pieces = draw(st.lists(literals, max_size=3))
    slash = draw(st.sampled_from(["", "/"]))
    if kind == "any":
        return {}
    if kind == "regex":
        return {
            "regex": draw(st.sampled_from(["/a/.*", "/[ab]", "/a|/b/a", ".*", "/(a|b)/?[^/]*", "/a(/b)?", r"\*|/"]))
        }
    if kind in ("template", "rest"):
        holes = draw(st.lists(st.booleans(), min_size=len(pieces), max_size=len(pieces)))
        pieces = [f"{{p{i}}}" if hole else piece for i, (piece, hole) in enumerate(zip(pieces, holes, strict=True))]
    text = "/" + "/".join(pieces) + (slash if pieces else "")
    if kind == "rest":
        return {"path": "/" + "/".join([*pieces, "{rest*}"])}
    return {"prefix" if kind == "prefix" else "path": text}


@st.composite
def tables(draw: st.DrawFn) -> list[Route]:
    count = draw(st.integers(1, 12))
    # Half of the tables have few hosts or few paths, so that many routes meet in one leaf.
    some_hosts = draw(st.lists(hosts, min_size=1, max_size=3))
    some_paths = draw(st.lists(paths(), min_size=1, max_size=3))
    crowded = draw(st.booleans())
    routes = []
    for order in range(count):
        spec = MatchSpec(
            host=draw(st.sampled_from(some_hosts) if crowded else hosts),
            methods=draw(methods),
            headers=draw(conditions),
            query=draw(conditions),
            **(draw(st.sampled_from(some_paths)) if crowded else draw(paths())),
        )
        name = draw(st.sampled_from(["p", "q", "r"])) + str(order)
        priority = draw(st.sampled_from([0, 0, 0, 1, -1]))
        routes.append(Entry(name, spec, priority, order, name, draw(st.booleans())))
    return routes


@st.composite
def requests(draw: st.DrawFn) -> RequestHead:
    pieces = draw(st.lists(st.sampled_from(["a", "b", "a.b", "%2F", "c", ""]), max_size=4))
    path = draw(st.sampled_from(["*"])) if draw(st.integers(0, 19)) == 0 else "/" + "/".join(pieces)
    pairs = st.lists(st.tuples(st.sampled_from(["a", "b"]), st.sampled_from(["1", "2", "3", ""])), max_size=3)
    query = draw(st.none() | pairs.map(lambda found: "&".join(f"{name}={value}" for name, value in found).encode()))
    return RequestHead(
        draw(st.sampled_from([b"GET", b"HEAD", b"POST", b"DELETE", b"OPTIONS", b"PATCH"])),
        path.encode(),
        [(name.encode(), value.encode()) for name, value in draw(pairs)],
        query=query,
        host=draw(st.sampled_from([b"", b"a.test", b"b.a.test", b"c.b.a.test", b"x.test", b"test", b"else", b"[::1]"])),
    )


@settings(max_examples=300, deadline=None)
@given(tables(), st.lists(requests(), min_size=1, max_size=6))
@example(
    [
        Entry("specific", MatchSpec(path="/a/b", methods=("POST",)), 0, 0, "specific"),
        Entry("general", MatchSpec(prefix="/", methods=("GET",)), 0, 1, "general"),
    ],
    [RequestHead(b"GET", b"/a/b", []), RequestHead(b"PATCH", b"/a/b", [])],
)
@example(
    [
        Entry("two-literals", MatchSpec(path="/{p}/b/c"), 0, 0, "two-literals"),
        Entry("literal-first", MatchSpec(path="/a/{p}/{q}"), 0, 1, "literal-first"),
    ],
    [RequestHead(b"GET", b"/a/b/c", [])],
)
@example(
    [Entry("slash", MatchSpec(path="/a/{p}/"), 0, 0, "slash", True), Entry("get", MatchSpec(path="/a/b"), 0, 1, "get")],
    [RequestHead(b"GET", b"/a/c", []), RequestHead(b"GET", b"//", [])],
)
def test_the_table_answers_as_trying_every_route_in_turn_would(routes: list[Route], heads: list[RequestHead]) -> None:
    table = RouteTable.build(routes)
    assert [candidate.name for candidate in table] == [route.name for route in sorted(routes, key=goes_first)]
    for head in heads:
        expected, params = naive(routes, head)
        assert table.match(head) == expected
        assert head.params == params


@settings(max_examples=100, deadline=None)
@given(tables(), st.lists(requests(), min_size=1, max_size=4))
def test_explanations_agree_with_the_table(routes: list[Route], heads: list[RequestHead]) -> None:
    table = RouteTable.build(routes)
    by_name = {route.name: route for route in routes}
    for head in heads:
        for near in table.candidates(head):
            assert (near.why is None) == takes(by_name[near.name].match, head, head.path.decode())


@settings(max_examples=200, deadline=None)
@given(tables(), st.lists(requests(), min_size=4, max_size=12))
def test_routes_said_to_be_unreachable_never_win(routes: list[Route], heads: list[RequestHead]) -> None:
    findings = overlaps(RouteTable.build(routes))
    lost = {finding.name for finding in findings}
    by_name = {route.name: route for route in routes}
    for head in heads:
        best = winner(routes, head, head.path.decode())
        assert best is None or best.name not in lost
    for finding in findings:
        assert all(goes_first(by_name[other]) < goes_first(by_name[finding.name]) for other in finding.others)
        for head in heads:
            if takes(by_name[finding.name].match, head, head.path.decode()):
                assert any(takes(by_name[other].match, head, head.path.decode()) for other in finding.others)


@settings(max_examples=100, deadline=None)
@given(tables())
def test_a_copy_of_a_route_is_a_tie(routes: list[Route]) -> None:
    copy = Entry("z" + routes[0].name, routes[0].match, routes[0].priority, len(routes), "copy")
    found = [finding for finding in overlaps(RouteTable.build([*routes, copy])) if finding.name == copy.name]
    assert [finding.flaw for finding in found] == [Flaw.TIE]
