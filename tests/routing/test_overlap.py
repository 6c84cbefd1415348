"""
Routes that tie, and routes that nothing ever reaches.
"""

from __future__ import annotations

import pytest

from suuupra_gateway.config.model import MatchSpec
from suuupra_gateway.routing.overlap import Flaw, Overlap, finding, overlaps
from suuupra_gateway.routing.table import Entry, RouteTable


def table(**routes: dict[str, object]) -> RouteTable[None]:
    entries = []
    for order, (name, keys) in enumerate(routes.items()):
        priority = keys.pop("priority", 0)
        assert isinstance(priority, int)
        entries.append(Entry(name, MatchSpec.model_validate(keys), priority, order, None))
    return RouteTable.build(entries)


def found(**routes: dict[str, object]) -> list[tuple[Flaw, str, tuple[str, ...]]]:
    return [(overlap.flaw, overlap.name, overlap.others) for overlap in overlaps(table(**routes))]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({}, {}),
        ({"path": "/a"}, {"path": "/%61"}),
        ({"path": "/a/{x}"}, {"path": "/a/{y}"}),
        ({"path": "/{rest*}", "methods": ["GET", "HEAD"]}, {"path": "/{all*}", "methods": ["GET"]}),
        ({"host": "A.org", "headers": {"X": "1"}}, {"host": "a.org", "headers": {"x": "1"}}),
        ({"regex": "/a+"}, {"regex": "/a+"}),
        ({"priority": 3, "query": {"a": "1", "b": "2"}}, {"priority": 3, "query": {"b": "2", "a": "1"}}),
    ],
)
def test_routes_with_the_same_match_and_priority_tie(first: dict[str, object], second: dict[str, object]) -> None:
    assert found(a=first, b=second) == [(Flaw.TIE, "b", ("a",))]


def test_three_of_a_kind_all_tie_with_the_first() -> None:
    assert found(a={}, b={}, c={}) == [(Flaw.TIE, "b", ("a",)), (Flaw.TIE, "c", ("a",))]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({"path": "/a"}, {"path": "/a/"}),
        ({"path": "/a", "methods": ["GET"]}, {"path": "/a", "methods": ["POST"]}),
        ({"path": "/a", "methods": ["GET"]}, {"path": "/a", "methods": ["GET", "POST"], "priority": -1}),
        ({"host": "a.org"}, {"host": "b.org"}),
        ({"host": "a.org"}, {"host": "*.org"}),
        ({"host": "*.a.org", "priority": 1}, {"host": "*.org"}),
        ({"headers": {"a": "1"}}, {"headers": {"a": "2"}}),
        ({"headers": {"a": "1"}}, {"headers": {"b": "1"}}),
        ({"headers": {"a": "1"}, "priority": 1}, {}),
        ({"headers": {"a": "1"}, "priority": 1}, {"query": {"a": "1"}}),
        ({"query": {"a": "1"}, "priority": 1}, {"query": {"a": "*"}}),
        ({"prefix": "/a", "priority": 1}, {"prefix": "/"}),
        ({"prefix": "/a", "priority": 1}, {"regex": ".*"}),
        ({"prefix": "/a/", "priority": 1}, {"path": "/a"}),
        ({"prefix": "/", "priority": 1}, {}),
        ({"path": "/a/{x}", "priority": 1}, {"path": "/a/"}),
        ({"path": "/a/{x}", "priority": 1}, {"prefix": "/a"}),
        ({"regex": "/a", "priority": 1}, {"path": "/b"}),
        ({"methods": ["GET"], "priority": 1}, {}),
        ({"path": "/a/{x}", "priority": 1}, {"regex": "/a/[0-9]"}),
    ],
)
def test_routes_that_leave_something_to_each_other_are_fine(
    first: dict[str, object], second: dict[str, object]
) -> None:
    assert found(a=first, b=second) == []


@pytest.mark.parametrize(
    ("first", "second", "why"),
    [
        ({"prefix": "/", "priority": 1}, {"path": "/a"}, "its priority"),
        ({"priority": 1}, {"host": "*.a.org", "regex": ".*"}, "its priority"),
        ({"host": "*.org", "priority": 1}, {"host": "*.a.org", "path": "/x"}, "its priority"),
        ({"host": "*.org", "priority": 1}, {"host": "a.org"}, "its priority"),
        ({"priority": 1}, {}, "its priority"),
        ({"path": "/v1/{rest*}"}, {"prefix": "/v1/users"}, "its kind of path"),
        ({"path": "/{x}/{rest*}"}, {"prefix": "/v1"}, "its kind of path"),
        ({"prefix": "/users"}, {"regex": "/users/[0-9]+"}, "its kind of path"),
        ({"prefix": "/"}, {"regex": "/.*"}, "its kind of path"),
        ({"regex": "/a.*"}, {"regex": "/a.*", "methods": ["GET"]}, "its place in the file"),
        ({"methods": ["GET", "POST"]}, {"methods": ["POST"]}, "its name"),
        ({"headers": {"a": "*"}}, {"headers": {"a": "1"}}, "its name"),
        ({"headers": {"a": "~[12]"}}, {"headers": {"a": "1"}}, "its name"),
        ({"query": {"a": "*"}}, {"query": {"a": "~x"}}, "its name"),
        ({"headers": (("a", "*"), ("a", "1"))}, {"headers": {"a": "1"}}, "its conditions on headers"),
        ({"query": (("a", "*"), ("a", "1"))}, {"query": {"a": "1"}}, "its conditions on the query"),
        ({"regex": "/a|/b", "priority": 1}, {"path": "/b"}, "its priority"),
        ({"methods": ["GET"], "priority": 1}, {"methods": ["HEAD"], "path": "/x"}, "its priority"),
    ],
)
def test_routes_of_which_all_is_taken_are_found(first: dict[str, object], second: dict[str, object], why: str) -> None:
    [overlap] = overlaps(table(a=first, b=second))
    assert overlap == Overlap(
        Flaw.UNREACHABLE, "b", ("a",), f"b is never reached: a takes all of its requests, and goes first by {why}"
    )


def test_the_rule_that_decided_is_named_for_methods_too() -> None:
    """A route with methods covers one without only in name: it must be the wider one that loses."""
    assert found(a={"methods": ["GET"]}, b={}) == []
    assert found(b={"methods": ["GET"]}, a={"methods": ["GET", "POST"], "priority": -1}) == []


def test_several_routes_may_share_the_methods_of_one() -> None:
    [overlap] = overlaps(
        table(
            a={"prefix": "/", "methods": ["GET"], "priority": 1},
            b={"methods": ["POST"], "priority": 1},
            c={"path": "/x", "methods": ["GET", "POST"]},
        )
    )
    assert (overlap.name, overlap.others) == ("c", ("b", "a"))
    assert overlap.why == "c is never reached: b, a between them take all of its requests first"
    assert (
        found(
            a={"methods": ["GET"], "priority": 1},
            b={"methods": ["POST"], "priority": 1, "headers": {"a": "1"}},
            c={"path": "/x", "methods": ["GET", "POST"]},
        )
        == []
    )


def test_several_routes_without_a_share_add_nothing() -> None:
    routes: dict[str, dict[str, object]] = {
        "a": {"methods": ["GET", "LOCK"], "priority": 1},
        "b": {"methods": ["GET", "PUT"], "priority": 1},
        "c": {"methods": ["GET", "POST"]},
    }
    assert found(**routes) == []


def test_what_is_allowed_is_not_reported() -> None:
    routes = table(a={"priority": 1}, b={}, c={"priority": 1}, d={"path": "/x"})
    assert {overlap.name for overlap in overlaps(routes)} == {"b", "c", "d"}
    assert {overlap.name for overlap in overlaps(routes, allowed=["b", "c"])} == {"d"}


def crowd(*more: dict[str, object], **late: object) -> list[tuple[str, tuple[str, ...]]]:
    """What is found about a late route, among many that meet it in one leaf."""
    routes: dict[str, dict[str, object]] = {f"h{i}": {"path": "/x", "headers": {"tenant": f"t{i}"}} for i in range(20)}
    routes |= {f"m{i}": {"path": "/x", "methods": [f"M{'ABCDEFGHIJ'[i]}"]} for i in range(10)}
    routes |= {f"q{i}": keys for i, keys in enumerate(more)}
    routes["z"] = {"path": "/x", **late}
    return [(overlap.name, overlap.others) for overlap in overlaps(table(**routes)) if overlap.name == "z"]


def test_in_a_crowd_routes_are_found_by_what_they_must_have_in_common() -> None:
    assert crowd(headers={"tenant": "t7"}, methods=["GET"], priority=-1) == [("z", ("h7",))]
    assert crowd(headers={"tenant": "t7", "b": "~x"}, priority=-1) == [("z", ("h7",))]
    assert crowd(headers={"tenant": "t21"}, priority=-1) == []
    assert crowd(headers={"tenant": "~t7"}, priority=-1) == []
    assert crowd(headers={"tenant": "*"}, priority=-1) == []
    assert crowd(methods=["MC"], priority=-1) == [("z", ("m2",))]
    assert crowd(methods=["MC", "MD"], priority=-1) == [("z", ("m2", "m3"))]
    assert crowd(methods=["MC", "GET"], priority=-1) == []
    assert crowd(priority=-1) == []
    assert crowd(query={"tenant": "t7"}, priority=-1) == []
    assert crowd(path="/{x}", priority=-1) == []


def test_in_a_crowd_of_templates_too() -> None:
    routes: dict[str, dict[str, object]] = {f"t{i}": {"path": "/{x}/y", "query": {"q": f"v{i}"}} for i in range(20)}
    assert found(**routes, z={"path": "/{id}/y", "query": {"q": "v3"}, "headers": {"a": "1"}, "priority": -1}) == [
        (Flaw.UNREACHABLE, "z", ("t3",))
    ]


@pytest.mark.parametrize(
    ("wide", "narrow"),
    [
        ({"path": "/x"}, {"headers": {"a": "1"}}),
        ({"path": "/x", "headers": {"a": "*"}}, {"headers": {"a": "1"}}),
        ({"path": "/x", "headers": {"a": "*"}}, {"headers": {"a": "~1"}}),
        ({"path": "/x", "headers": {"a": "~[12]"}}, {"headers": {"a": "1"}}),
        ({"path": "/x", "query": {"a": "~1"}}, {"query": {"a": "~1"}, "methods": ["GET"]}),
        (
            {"path": "/x", "query": {"a": "*"}, "headers": {"b": "1"}},
            {"query": {"a": "*"}, "headers": {"b": "1", "c": "1"}},
        ),
    ],
)
def test_in_a_crowd_the_same_is_found_as_among_few(wide: dict[str, object], narrow: dict[str, object]) -> None:
    assert crowd({**wide, "priority": 1}, **narrow) == [("z", ("q0",))]


def test_in_a_crowd_of_expressions_copies_and_exact_paths_are_found() -> None:
    routes: dict[str, dict[str, object]] = {f"r{i:02}": {"regex": f".*/{i}", "priority": 1} for i in range(20)}
    routes |= {"x": {"regex": ".*/7", "methods": ["GET"]}, "y": {"path": "/a/9"}, "z": {"path": "/a/99"}}
    assert found(**routes) == [(Flaw.UNREACHABLE, "y", ("r09",)), (Flaw.UNREACHABLE, "x", ("r07",))]


def test_a_new_expression_in_a_crowd_is_fine() -> None:
    routes: dict[str, dict[str, object]] = {f"r{i:02}": {"regex": f".*/{i}"} for i in range(20)}
    assert found(**routes, z={"regex": ".*/x"}) == []


def test_the_search_pauses_often() -> None:
    routes: dict[str, dict[str, object]] = {f"r{i}": {"path": f"/{i}"} for i in range(320)}
    assert sum(1 for _ in finding(table(**routes))) == 20
