"""
``auth:`` of a route, and what is said of one that is wrong.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from suuupra_gateway.config.dump import dump, dump_yaml
from suuupra_gateway.config.model import AuthSpec
from tests.config.files import LISTENER, decoded, refused

IDENTITY = "identity: {providers: {corp: {issuer: 'https://id.example.org', audiences: [api]}}}\n"
JWT = "any: [{jwt: {provider: corp}}]"


def config(auth: str) -> str:
    """A configuration whose only route has this ``auth``."""
    return f"{LISTENER}{IDENTITY}routes:\n  - {{name: r, target: {{fixed: {{}}}}, auth: {auth}}}\n"


def test_everything_that_auth_can_say(tmp_path: Path) -> None:
    text = config(
        "{all: [{jwt: {provider: corp, audiences: [a]}}], scopes: {any: [a, b], all: [c]}, roles: {all: [r]}, "
        "claims: {org.id: {in: [7, x, true]}, email: {pattern: '.*@x', exists: true}}, forward-credentials: true, "
        "headers: false, assertion: off, stale: never}"
    )
    auth = decoded(tmp_path, text).routes[0].auth
    assert isinstance(auth, AuthSpec)
    assert [(claim.name, claim.in_) for claim in auth.claims] == [("org.id", (7, "x", True)), ("email", ())]
    assert (auth.all[0].kind, auth.scopes.any, auth.stale) == ("jwt", ("a", "b"), "never")


@pytest.mark.parametrize(
    ("auth", "error"),
    [
        ("{}", "auth (r): expected either any or all with at least one credential"),
        ("{any: []}", "auth (r): expected either any or all with at least one credential"),
        ("{any: [api-key: ], all: [api-key: ]}", "auth (r): expected either any or all with at least one credential"),
        ("{any: [jwt]}", "auth.any[0] (r): expected a mapping (key: value), not 'jwt'"),
        ("{any: [{jwt: {}}]}", "auth.any[0].jwt (r): provider is missing"),
        ("{any: [{jwtt: {provider: corp}}]}", "auth.any[0].jwtt (r): unknown key, did you mean jwt?"),
        (
            "{any: [{jwt: {provider: corp}, api-key: }]}",
            "auth.any[0] (r): expected exactly one of jwt, api-key, session, introspection, forward-auth, client-certificate",
        ),
        ("{anny: []}", "auth.anny (r): unknown key, did you mean any?"),
        (f"{{{JWT}, scopes: [a]}}", "auth.scopes (r): expected a mapping (key: value), not a list"),
        (f"{{{JWT}, scopes: {{any: a}}}}", "auth.scopes.any (r): expected a list, not 'a', put it in brackets"),
        (
            f"{{{JWT}, claims: {{a.b: {{in: [[]]}}}}}}",
            "auth.claims.a.b.in[0] (r): expected a text or a whole number or a number or true or false, not a list",
        ),
        (f"{{{JWT}, claims: {{a.b: 7}}}}", "auth.claims.a.b (r): expected a mapping (key: value), not 7"),
        (
            f"{{{JWT}, stale: neverr}}",
            "auth.stale (r): expected 'allow', 'read-only' or 'never', not 'neverr', did you mean never?",
        ),
        ("nnone", "auth (r): expected 'none' or a mapping (key: value), not 'nnone', did you mean none?"),
        ("[jwt]", "auth (r): expected 'none' or a mapping (key: value), not a list"),
        ("true", "auth (r): expected 'none' or a mapping (key: value), not true"),
    ],
)  # fmt: skip
def test_one_mistake_makes_one_exact_error(tmp_path: Path, auth: str, error: str) -> None:
    """That ``none`` would have been allowed too says nothing about a mapping."""
    found = refused(tmp_path, config(auth))
    assert [line.split("routes[0].", 1)[1] for line in found] == [error]


def test_what_is_dumped_means_the_same(tmp_path: Path) -> None:
    made = decoded(tmp_path, config(f"{{{JWT}, scopes: {{any: [a]}}, claims: {{a.b: {{in: [1]}}}}}}"))
    auth = dump(made)["routes"][0]["auth"]
    assert set(auth) == {"any", "scopes", "claims", "forward-credentials", "headers", "assertion", "stale"}
    assert decoded(tmp_path, dump_yaml(made)).routes[0].auth == AuthSpec.model_validate(auth)
    assert AuthSpec.model_validate(auth).claims[0].in_ == (1,)
