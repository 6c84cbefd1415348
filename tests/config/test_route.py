"""
``routes:``.
"""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from suuupra_gateway.config.route import MatchSpec, RouteSpec, RouteTestRequest


def test_a_route_matches_everything_and_is_private_unless_it_says_otherwise() -> None:
    route = RouteSpec.model_validate({"name": "a", "target": {"fixed": {}}})
    assert (route.match, route.auth, route.filters, route.priority) == (MatchSpec(), None, (), 0)


def test_hosts_are_matched_in_lower_case() -> None:
    assert MatchSpec.model_validate({"host": "*.Example.ORG"}).host == "*.example.org"


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("GET /a?b", ("GET", "/a?b")),
        ("/a", ("GET", "/a")),
        (" POST   http://x/a ", ("POST", "http://x/a")),
    ],
)
def test_a_request_may_be_its_first_line_alone(written: str, meant: tuple[str, str]) -> None:
    request = RouteTestRequest.model_validate(written)
    assert (request.method, request.url) == meant


@pytest.mark.parametrize(
    "written",
    [
        {"match": {"path": "a"}},
        {"match": {"prefix": "a"}},
        {"match": {"host": "a:80"}},
        {"match": {"methods": ["get"]}},
        {"match": {"headers": {"a b": "c"}}},
        {"priority": 1001},
        {"auth": "any"},
        {"escapes": "decode"},
        {"tests": [{"request": "", "expect": {}}]},
        {"tests": [{"request": "get /", "expect": {}}]},
        {"tests": [{"request": "GET /"}]},
        {"filters": [{}]},
    ],
)
def test_a_route_is_nothing_else(written: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        RouteSpec.model_validate({"name": "a", "target": {"fixed": {}}, **written})
