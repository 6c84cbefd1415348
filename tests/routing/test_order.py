"""
Which route goes first: each rule of the order alone, and that it is total.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest

from suuupra_gateway.config.model import MatchSpec
from suuupra_gateway.routing.order import Precedence, precedence
from suuupra_gateway.routing.pattern import Pattern


def place(name: str = "r", priority: int = 0, order: int = 0, **keys: object) -> Precedence:
    return precedence(name, Pattern.of(MatchSpec.model_validate(keys)), priority, order)


def test_priority_goes_above_all() -> None:
    assert place(priority=1) < place(host="a.org", path="/a", methods=["GET"], headers={"a": "1"})
    assert place() < place(priority=-1, host="a.org")


HOSTS = ["a.b.org", "*.a.b.org", "*.b.org", ""]


@pytest.mark.parametrize(("first", "second"), list(pairwise(HOSTS)))
def test_hosts_exact_then_longest_suffix_then_any(first: str, second: str) -> None:
    assert place(host=first) < place(host=second, path="/a", methods=["GET"])


PATHS: list[dict[str, Any]] = [
    {"path": "/a/b"},
    {"path": "/a/b/{x}"},
    {"path": "/a/b/{rest*}"},  # two literals, but shorter: what the rest takes is not counted
    {"path": "/a/{x}/{y}/{z}"},
    {"path": "/a/{x}/{y}/{z}/{rest*}"},
    {"path": "/a/{x}/{y}"},
    {"path": "/{x}/{y}/{z}/{w}"},
    {"path": "/{rest*}"},
    {"prefix": "/a/b"},
    {"prefix": "/a/"},
    {"prefix": "/a"},
    {"prefix": "/"},
    {"regex": "/a.*"},
    {},
]


@pytest.mark.parametrize(("first", "second"), list(pairwise(PATHS)))
def test_paths_exact_then_template_then_prefix_then_expression_then_any(
    first: dict[str, Any], second: dict[str, Any]
) -> None:
    assert place(**first) < place(**second, methods=["GET"], headers={"a": "1"})


def test_expressions_keep_the_order_of_the_file_whatever_else_they_ask() -> None:
    assert place(regex="/a", order=1) < place(regex="/b", order=2, methods=["GET"], headers={"a": "1"})


def test_then_methods_then_headers_then_query_then_name_then_file() -> None:
    assert place(methods=["GET"]) < place(headers={"a": "1", "b": "2"})
    assert place(headers={"a": "1", "b": "*"}) < place(headers={"a": "1"}, query={"a": "1", "b": "2"})
    assert place(query={"a": "1", "b": "2"}) < place(query={"a": "1"})
    assert place("a", order=2) < place("b", order=1)
    assert place("a", order=1) < place("a", order=2)


def test_different_exact_paths_and_hosts_are_left_to_the_later_rules() -> None:
    assert place("b", path="/a") > place("a", path="/z/z/z")
    assert place("b", host="a.org") > place("a", host="z.org")
