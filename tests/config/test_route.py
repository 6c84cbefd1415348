"""
``routes:``.
"""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from suuupra_gateway.config.route import MatchSpec, PrincipalSpec, RouteSpec, RouteTestRequest


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


def test_a_principal_may_be_a_subject_alone_and_knows_claims_of_any_shape() -> None:
    assert PrincipalSpec.model_validate("alice").subject == "alice"
    claims = {"org": {"id": 7}, "groups": ["a", None]}
    made = PrincipalSpec.model_validate({"scopes": ["read"], "claims": claims})
    assert (made.subject, made.scopes, made.credential) == ("somebody", ("read",), None)
    assert made.claims == '{"groups": ["a", null], "org": {"id": 7}}'
    assert hash(made) == hash(
        PrincipalSpec.model_validate({"scopes": ["read"], "claims": dict(reversed(claims.items()))})
    )
    assert made.model_dump(mode="json")["claims"] == claims


@pytest.mark.parametrize(
    "written", [{"subject": ""}, {"credential": "password"}, {"claims": [1]}, {"claims": "x"}, {"scope": "a"}, 7]
)
def test_a_principal_is_nothing_else(written: object) -> None:
    with pytest.raises(ValidationError):
        PrincipalSpec.model_validate(written)


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
