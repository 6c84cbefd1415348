"""
Why routes do not take a request, in words.
"""

from __future__ import annotations

import pytest

from suuupra_gateway.config.model import MatchSpec
from suuupra_gateway.http.message import RequestHead
from suuupra_gateway.routing.near import NearMiss
from suuupra_gateway.routing.table import Entry, RouteTable


def why(path: bytes = b"/a/b", /, **keys: object) -> str | None:
    """What is said about one route and GET example.org with ``beta: 1``, ``beta: 2``, ``?q=x``."""
    entry = Entry("r", MatchSpec.model_validate(keys), 0, 0, None)
    headers = [(b"beta", b"1"), (b"beta", b"2")]
    head = RequestHead(b"GET", path, headers, query=b"q=x", host=b"example.org")
    [near] = RouteTable.build([entry]).candidates(head)
    assert near.name == "r"
    return near.why


@pytest.mark.parametrize(
    "keys",
    [
        {},
        {"host": "example.org"},
        {"host": "*.org"},
        {"path": "/a/b"},
        {"path": "/a/{x}"},
        {"path": "/a/b/{rest*}"},
        {"prefix": "/a/"},
        {"regex": "/a/.*"},
        {"methods": ["GET"], "headers": {"beta": "2"}, "query": {"q": "~x|y"}},
    ],
)
def test_of_what_matches_nothing_is_said(keys: dict[str, object]) -> None:
    assert why(**keys) is None


@pytest.mark.parametrize(
    ("path", "keys", "words"),
    [
        (b"/a/b", {"host": "api.example.org"}, "host is example.org, not api.example.org"),
        (b"/a/b", {"host": "*.example.org"}, "host is example.org, not *.example.org"),
        (b"/a/b", {"path": "/a/c"}, "path differs at segment 2: 'b' is not 'c'"),
        (b"/a/b", {"path": "/x/{y}"}, "path differs at segment 1: 'a' is not 'x'"),
        (b"/a/b", {"path": "/a/b/c"}, "path ends after segment 2"),
        (b"/a/b", {"path": "/a"}, "path goes on after segment 1"),
        (b"/a/b", {"path": "/a/b/{x}"}, "path ends after segment 2"),
        (b"/a//c", {"path": "/a/{x}/c"}, "path has nothing at segment 2, where a parameter is wanted"),
        (b"/a/b", {"path": "/a/b/"}, "path differs by a trailing slash"),
        (b"/a/b/", {"path": "/a/b"}, "path differs by a trailing slash"),
        (b"/a/b/", {"path": "/a/{x}"}, "path differs by a trailing slash"),
        (b"/a/b", {"prefix": "/a/b/"}, "path differs by a trailing slash"),
        (b"/a/b", {"prefix": "/a/bc"}, "path differs at segment 2: 'b' is not 'bc'"),
        (b"/a/b", {"regex": "/[0-9]+"}, "path does not match /[0-9]+"),
        (b"*", {"prefix": "/"}, "path is '*', not below /"),
        (b"/a/b", {"methods": ["POST", "DELETE"]}, "method GET is not one of DELETE, POST"),
        (b"/a/b", {"headers": {"Alpha": "1"}}, "header alpha is missing"),
        (b"/a/b", {"headers": {"beta": "3"}}, "header beta is '1', '2', not '3'"),
        (b"/a/b", {"headers": {"beta": "~[x]"}}, "header beta is '1', '2', not ~[x]"),
        (b"/a/b", {"query": {"p": "*"}}, "query parameter p is missing"),
        (b"/a/b", {"query": {"q": "y"}}, "query parameter q is 'x', not 'y'"),
    ],
)
def test_the_first_thing_that_differs_is_named(path: bytes, keys: dict[str, object], words: str) -> None:
    assert why(path, **keys) == words


def test_the_order_is_host_path_method_headers_query() -> None:
    keys = {"host": "x", "path": "/x", "methods": ["PUT"], "headers": {"x": "1"}, "query": {"x": "1"}}
    said = []
    for key in ("host", "path", "methods", "headers", "query"):
        said.append((why(**keys) or "").split()[0])
        del keys[key]
    assert said == ["host", "path", "method", "header", "query"]


def test_a_missing_host_is_said_to_be_missing() -> None:
    entry = Entry("r", MatchSpec(host="example.org"), 0, 0, None)
    [near] = RouteTable.build([entry]).candidates(RequestHead(b"GET", b"/", []))
    assert near == NearMiss("r", "host is not given, not example.org")


def test_every_route_is_listed_in_order_of_precedence() -> None:
    entries = [
        Entry("any", MatchSpec(), 0, 0, None),
        Entry("exact", MatchSpec(path="/b"), 0, 1, None),
        Entry("first", MatchSpec(methods=("PUT",)), 5, 2, None),
    ]
    found = RouteTable.build(entries).candidates(RequestHead(b"GET", b"/a", []))
    assert [(near.name, near.why is None) for near in found] == [("first", False), ("exact", False), ("any", True)]
