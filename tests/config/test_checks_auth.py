"""
What must hold inside ``auth`` of a route, and between it and ``identity``.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.config.files import LISTENER, decoded, refused

LONG = "'0123456789abcdef0123456789abcdef'"
IDENTITY = f"""\
gateway: {{state-dir: /var/lib/gw}}
identity:
  providers: {{corp: {{issuer: 'https://id.example.org'}}, partner: {{issuer: 'https://id.example.com'}}}}
  api-keys: {{peppers: [{LONG}]}}
  introspection: {{opaque: {{url: 'https://id.example.org/tell'}}}}
  forward-auth: {{legacy: {{url: 'https://auth.example.org'}}}}
  logins:
    web:
      {{provider: corp, client-id: gw, redirect-uri: 'https://app.example.org/cb', session: {{keys: [{LONG}]}}}}
  client-certificates: {{}}
"""
EVERY = (
    "[{jwt: {provider: corp}}, {jwt: {provider: partner}}, api-key: , {session: {login: web}}, "
    "{introspection: {by: opaque}}, {forward-auth: {by: legacy}}, client-certificate: ]"
)
JWT = "any: [{jwt: {provider: corp}}]"


def config(auth: str, identity: str = IDENTITY) -> str:
    """A configuration whose only route has this ``auth``."""
    written = f"    auth: {auth}\n" if auth else ""
    return f"{LISTENER}{identity}routes:\n  - name: r\n    target: {{fixed: {{}}}}\n{written}"


def wrong(tmp_path: Path, auth: str, identity: str = IDENTITY) -> list[str]:
    """What is wrong with the route, without places."""
    return [line.split("routes[0].", 1)[1] for line in refused(tmp_path, config(auth, identity))]


@pytest.mark.parametrize(
    "auth",
    [
        "none",
        f"{{any: {EVERY}}}",
        f"{{all: {EVERY}}}",
        f"{{{JWT}, scopes: {{any: [a]}}, roles: {{all: [b c]}}}}",
        f"{{{JWT}, claims: {{a.b: {{equals: false}}, c: {{exists: false}}, d: {{in: [1], exists: true}}, e: {{pattern: x+}}}}}}",
        f"{{{JWT}, assertion: off}}",
    ],
)
def test_whatever_exists_may_be_required(tmp_path: Path, auth: str) -> None:
    assert decoded(tmp_path, config(auth)).routes


# -- private routes ---------------------------------------------------------------------------------------------------


def test_a_private_route_is_refused_while_nobody_could_use_it(tmp_path: Path) -> None:
    assert wrong(tmp_path, "", "") == [
        "auth (r): this route is private, but no identity is configured that could let anybody in, "
        "write `auth: none` to make it public"
    ]


@pytest.mark.parametrize(
    ("key", "example"),
    [
        ("providers", "{jwt: {provider: corp}}"),
        ("introspection", "{introspection: {by: opaque}}"),
        ("forward-auth", "{forward-auth: {by: legacy}}"),
        ("api-keys", "{api-key: {}}"),
        ("client-certificates", "{client-certificate: {}}"),
    ],
)
def test_a_private_route_without_credentials_is_refused_with_one_that_works(
    tmp_path: Path, key: str, example: str
) -> None:
    lines = [
        line for line in IDENTITY.splitlines(keepends=True) if line.startswith(("gateway", "identity", f"  {key}"))
    ]
    identity = "".join(lines)
    assert wrong(tmp_path, "", identity) == [
        "auth (r): this route is private, but does not say by what callers prove who they are, "
        f"write `auth: {{any: [{example}]}}` or the like, or `auth: none` to make it public"
    ]
    assert decoded(tmp_path, config(f"{{any: [{example}]}}", identity)).routes


def test_a_login_is_offered_while_its_provider_is_wrong(tmp_path: Path) -> None:
    identity = IDENTITY.replace("{issuer: 'https://id.example.org'}", "7").replace(
        "{issuer: 'https://id.example.com'}", "7"
    )
    assert "{any: [{session: {login: web}}]}" in refused(tmp_path, config("", identity))[-1]


def test_nothing_is_said_of_private_routes_twice(tmp_path: Path) -> None:
    assert len(refused(tmp_path, config("", "identity: 7\n"))) == 2


# -- credentials ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("credential", "error"),
    [
        ("{jwt: {provider: crop}}", "jwt.provider (r): there is no provider crop, did you mean corp?"),
        ("{jwt: {provider: x}}", "jwt.provider (r): there is no provider x, providers: corp, partner"),
        ("{session: {login: wbe}}", "session.login (r): there is no login wbe, did you mean web?"),
        (
            "{introspection: {by: opqaue}}",
            "introspection.by (r): there is no introspection opqaue, did you mean opaque?",
        ),
        (
            "{forward-auth: {by: legcay}}",
            "forward-auth.by (r): there is no forward-auth legcay, did you mean legacy?",
        ),
    ],
)
def test_credentials_are_of_somebody_who_exists(tmp_path: Path, credential: str, error: str) -> None:
    assert wrong(tmp_path, f"{{any: [{credential}]}}") == [f"auth.any[0].{error}"]
    assert wrong(tmp_path, f"{{all: [{credential}]}}") == [f"auth.all[0].{error}"]


@pytest.mark.parametrize(
    ("credential", "error"),
    [
        ("{jwt: {provider: corp}}", "jwt.provider (r): there is no provider corp, add it to identity.providers"),
        ("{session: {login: web}}", "session.login (r): there is no login web, add it to identity.logins"),
        (
            "{introspection: {by: x}}",
            "introspection.by (r): there is no introspection x, add it to identity.introspection",
        ),
        ("{forward-auth: {by: x}}", "forward-auth.by (r): there is no forward-auth x, add it to identity.forward-auth"),
        ("{api-key: {}}", "api-key (r): no API keys are configured, add identity.api-keys"),
        (
            "client-certificate: ",
            "client-certificate (r): no client certificates are configured, add identity.client-certificates",
        ),
    ],
)
def test_credentials_of_what_is_not_configured(tmp_path: Path, credential: str, error: str) -> None:
    assert wrong(tmp_path, f"{{any: [{credential}]}}", "") == [f"auth.any[0].{error}"]


def test_what_is_configured_wrongly_is_not_missing_too(tmp_path: Path) -> None:
    identity = (
        "identity: {providers: {corp: {}}, api-keys: {}, introspection: {opaque: 7}, client-certificates: 7, "
        "forward-auth: {legacy: {}}, logins: {web: {}}}\n"
    )
    found = refused(tmp_path, config(f"{{any: {EVERY.replace('{jwt: {provider: partner}}, ', '')}}}", identity))
    assert [line for line in found if "routes" in line] == []


def test_a_section_that_is_none_knows_nobody(tmp_path: Path) -> None:
    found = refused(tmp_path, config("{any: [api-key: , client-certificate: ]}", "identity: 7\n"))
    assert len(found) == 1


def test_a_credential_is_there_once(tmp_path: Path) -> None:
    text = "{any: [{jwt: {provider: corp}}, api-key: , {jwt: {provider: corp}}]}"
    (found,) = wrong(tmp_path, text)
    assert found.startswith("auth.any[2] (r): this credential is here twice, see gateway.yaml:")


# -- requirements -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("more", "error"),
    [
        ("scopes: {}", "scopes (r): no scopes are named, so nothing is required, name some, or leave it out"),
        ("roles: {any: []}", "roles (r): no roles are named, so nothing is required, name some, or leave it out"),
        ("scopes: {all: [a b]}", "scopes.all[0] (r): 'a b' is none of the scopes that anybody can have"),
        ("roles: {any: [a, '']}", "roles.any[1] (r): '' is none of the roles that anybody can have"),
        (
            "claims: {a: {}}",
            "claims.a (r): nothing is required of this claim, add equals, in, exists or pattern",
        ),
        (
            "claims: {a: {equals: 1, exists: false}}",
            "claims.a.exists (r): a claim that is not there is nothing else either, leave one of them out",
        ),
        ("claims: {a..b: {equals: 1}}", "claims.a..b (r): a path is names with dots between them"),
        (
            "claims: {a: {pattern: '(?=x)'}}",
            "claims.a.pattern (r): not an RE2 expression: invalid perl operator: (?=",
        ),
        ("assertion: users", "assertion (r): there is nothing to sign statements with, add identity.assertion"),
    ],
)
def test_what_is_required_says_something(tmp_path: Path, more: str, error: str) -> None:
    assert wrong(tmp_path, f"{{{JWT}, {more}}}") == [f"auth.{error}"]
