"""
What must hold inside ``identity``, and between it and the rest.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from suuupra_gateway.config.checks_identity import is_local
from tests.config.files import LISTENER, decoded, refused, write

LONG = "'0123456789abcdef0123456789abcdef'"
STORE = "gateway: {store: 'redis://127.0.0.1'}\n"
KEYS = f"session: {{keys: [{LONG}]}}"
LOGIN = f"provider: corp, client-id: gw, redirect-uri: 'https://app.example.org/_login/callback', {KEYS}"
PROVIDER = "providers: {corp: {issuer: 'https://id.example.org'}}"


def config(identity: str, more: str = "") -> str:
    """A configuration with this ``identity`` and no route."""
    return f"{LISTENER}{more}identity: {{{identity}}}\n"


def wrong(tmp_path: Path, identity: str, more: str = "") -> list[str]:
    """What is wrong, without places."""
    found = refused(tmp_path, config(identity, more))
    return [line.split(": ", 1)[1].removeprefix("identity.") for line in found]


def provider(**keys: str) -> str:
    """A provider with these further keys."""
    written = "".join(f", {key.replace('_', '-')}: {value}" for key, value in keys.items())
    return f"providers: {{corp: {{issuer: 'https://id.example.org'{written}}}}}"


def login(more: str = "", session: str = KEYS, **keys: str) -> str:
    """A provider and a login; the login's keys can be replaced."""
    tree = {
        "provider": "corp",
        "client-id": "gw",
        "redirect-uri": "'https://app.example.org/_login/callback'",
        **{key.replace("_", "-"): value for key, value in keys.items()},
    }
    written = ", ".join(f"{key}: {value}" for key, value in tree.items())
    return f"{PROVIDER}, logins: {{web: {{{written}, {session}}}{more}}}"


# -- providers --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("identity", "errors"),
    [
        (
            provider(jwks="'https://id.example.org/jwks'", secret=LONG, algorithms="[HS256]"),
            ["providers.corp.secret: jwks is given already, keys come from one place: jwks, keys, secret or discovery"],
        ),
        (
            "providers: {corp: {issuer: joe}}",
            [
                "providers.corp.issuer: keys cannot be discovered below what is no URL, "
                "make it one, or say where its keys come from: jwks, keys or secret"
            ],
        ),
        (
            provider(secret=LONG),
            ["providers.corp.secret: none of its algorithms takes a secret, write `algorithms: [HS256]`"],
        ),
        (
            provider(secret=LONG, algorithms="[HS256, RS256]"),
            ["providers.corp.algorithms: with a secret there is HS256, HS384 and HS512 only, make two providers of it"],
        ),
        (
            provider(algorithms="[RS256, HS384]"),
            [
                "providers.corp.algorithms: HS384 needs a secret: public keys are known to everybody, "
                "add secret, or leave it out"
            ],
        ),
        (
            provider(secret="hush", algorithms="[HS256]"),
            [
                "providers.corp.secret: a secret that signs tokens has at least 32 characters, "
                "make one with: openssl rand -base64 48"
            ],
        ),
        (provider(keys="keys.json"), ["providers.corp.keys: there is no file keys.json"]),
        (provider(ca_file="ca.pem"), ["providers.corp.ca-file: there is no file ca.pem"]),
    ],
)
def test_a_provider_is_consistent(tmp_path: Path, identity: str, errors: list[str]) -> None:
    assert [line.replace(f"{tmp_path}/", "") for line in wrong(tmp_path, identity)] == errors


@pytest.mark.parametrize(
    "identity",
    [
        PROVIDER,
        provider(algorithms="[HS256, HS512]", secret=LONG),
        "providers: {corp: {issuer: joe, jwks: 'http://127.0.0.1/jwks'}}",
    ],
)
def test_providers_that_are_consistent(tmp_path: Path, identity: str) -> None:
    assert decoded(tmp_path, config(identity)).identity.providers


def test_a_secret_is_not_told_by_what_is_wrong_with_it(tmp_path: Path) -> None:
    text = f"{provider(secret='hush-hush', algorithms='[HS256]')}, api-keys: {{peppers: [hush-hush]}}"
    assert "hush-hush" not in "".join(wrong(tmp_path, text))


# -- API keys ---------------------------------------------------------------------------------------------------------


def test_api_keys_are_kept_somewhere_and_hashed_with_what_nobody_guesses(tmp_path: Path) -> None:
    assert wrong(tmp_path, f"api-keys: {{peppers: [{LONG}, short]}}") == [
        "api-keys: there is nowhere to keep API keys, add gateway.store (Redis), gateway.state-dir (such as "
        "/var/lib/suuupra-gateway), or file here",
        "api-keys.peppers[1]: a pepper has at least 32 characters, make one with: openssl rand -base64 48",
    ]


@pytest.mark.parametrize(
    ("more", "file"),
    [(STORE, ""), ("gateway: {state-dir: /var/lib/gw}\n", ""), ("", ", file: keys.sqlite")],
)
def test_api_keys_are_kept_in_redis_in_the_state_directory_or_in_a_file(tmp_path: Path, more: str, file: str) -> None:
    assert decoded(tmp_path, config(f"api-keys: {{peppers: [{LONG}]{file}}}", more)).identity.api_keys


def test_the_file_of_api_keys_is_in_a_directory(tmp_path: Path) -> None:
    assert wrong(tmp_path, f"api-keys: {{peppers: [{LONG}], file: /no/such/keys}}") == [
        "api-keys.file: there is no directory /no/such"
    ]


def test_where_keys_are_kept_is_not_asked_while_the_gateway_section_is_wrong(tmp_path: Path) -> None:
    found = wrong(tmp_path, f"api-keys: {{peppers: [{LONG}]}}, {login(session='session: {keys: [x]}')}", "gateway: 7\n")
    assert len(found) == 2
    assert found[0].startswith("gateway: expected")
    assert found[1].startswith("logins.web.session.keys[0]: a key of sessions has at least")


# -- names of fields --------------------------------------------------------------------------------------------------

REMOVED = "is removed from every request, as gateway.identity-headers says, use another name"
BELIEVED = "themselves, and upstreams would believe it"


@pytest.mark.parametrize(
    ("identity", "error"),
    [
        (f"api-keys: {{peppers: [{LONG}], header: X_Auth_Key}}", f"api-keys.header: X_Auth_Key {REMOVED}"),
        (
            "forward-auth: {a: {url: 'https://a', request-headers: [Cookie, X-User-Id]}}",
            f"forward-auth.a.request-headers[1]: X-User-Id {REMOVED}",
        ),
        (
            "forward-auth: {a: {url: 'https://a', vary: [X-Auth-Realm]}}",
            f"forward-auth.a.vary[0]: X-Auth-Realm {REMOVED}",
        ),
        (
            "forward-auth: {a: {url: 'https://a', response-headers: [X-User-Id, Remote-User]}}",
            f"forward-auth.a.response-headers[1]: clients could send Remote-User {BELIEVED}, "
            "add Remote-User to gateway.identity-headers",
        ),
        (
            "headers: {subject: Remote-User}",
            f"headers.subject: clients could send Remote-User {BELIEVED}, add Remote-User to gateway.identity-headers",
        ),
        (
            "headers: {claims: {X-Email: email}}",
            f"headers.claims.X-Email: clients could send X-Email {BELIEVED}, add X-Email to gateway.identity-headers",
        ),
        ("headers: {roles: x-user-id}", "headers.roles: x-user-id tells something else already, give it a name of its own"),
    ],
)  # fmt: skip
def test_fields_of_identity_come_from_the_gateway_and_others_arrive(tmp_path: Path, identity: str, error: str) -> None:
    (found,) = wrong(tmp_path, identity, STORE)
    assert found.split(", see")[0] == error


def test_the_field_of_the_assertion_is_the_gateways_too(tmp_path: Path) -> None:
    (tmp_path / "key.pem").write_bytes(pem(ec.generate_private_key(ec.SECP256R1())))
    assert wrong(tmp_path, "assertion: {issuer: gw, keys: [key.pem], header: X-Id}") == [
        f"assertion.header: clients could send X-Id {BELIEVED}, add X-Id to gateway.identity-headers"
    ]


def test_fields_may_be_left_out_and_further_ones_owned(tmp_path: Path) -> None:
    more = "gateway: {identity-headers: ['X-*', Remote-User]}\n"
    text = config("headers: {subject: Remote-User, roles: '', tenant: '', claims: {X-Email: email}}", more)
    assert decoded(tmp_path, text).identity.headers.tenant == ""


def test_the_usual_fields_need_no_owner_while_no_upstream_is_told(tmp_path: Path) -> None:
    def route(auth: str) -> str:
        more = "gateway: {identity-headers: [X-Other]}\n"
        return f"{config(PROVIDER, more)}routes: [{{name: r, auth: {auth}, target: {{fixed: {{}}}}}}]\n"

    assert decoded(tmp_path, route("none"))
    assert decoded(tmp_path, route("{any: [{jwt: {provider: corp}}], headers: false}"))
    found = refused(tmp_path, route("{any: [{jwt: {provider: corp}}]}"))
    assert [line.split(": ")[1] for line in found] == [
        f"identity.headers.{key}" for key in ("subject", "roles", "scopes", "tenant", "key", "credential")
    ]


# -- logins -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("identity", "errors"),
    [
        (login(provider="crop"), ["provider: there is no provider crop, did you mean corp?"]),
        (
            login().replace("}}, logins", ", jwks: 'https://id.example.org/jwks'}}, logins"),
            [
                "provider: a login needs discovery, and the keys of corp come from elsewhere, "
                "take jwks, keys and secret away there"
            ],
        ),
        (
            login(redirect_uri="'http://app.example.org/cb'"),
            [
                "redirect-uri: over plain HTTP everybody on the way could take the code and the session, "
                "use https; http is for localhost only"
            ],
        ),
        (
            login(redirect_uri="'https://app.example.org/cb?a=1'"),
            ["redirect-uri: it must have no query, return_to and the like are kept in a cookie"],
        ),
        (
            login(scopes="[profile]"),
            ["scopes: without openid there is no ID token, so nobody knows who has logged in"],
        ),
        (
            login(parameters="{prompt: login, State: x, nonce: y}"),
            [
                "parameters.State: State is the flow's own to set",
                "parameters.nonce: nonce is the flow's own to set",
            ],
        ),
        (
            login(client_auth="none", client_secret="x"),
            ["client-secret: client-auth none sends no secret, leave one of them out"],
        ),
        (
            login(client_auth="client_secret_post"),
            ["client-auth: client_secret_post needs a secret, add client-secret"],
        ),
        (
            login(session="session: {keys: [short]}"),
            ["session.keys[0]: a key of sessions has at least 32 characters, make one with: openssl rand -base64 48"],
        ),
        (
            login(session=f"session: {{keys: [{LONG}], idle: 13h}}"),
            ["session.idle: idle (13h) is longer than absolute (12h)"],
        ),
        (
            login(session=f"session: {{keys: [{LONG}], absolute: 30m}}"),
            ["session.absolute: idle (1h) is longer than absolute (30m)"],
        ),
        (
            login(session=f"session: {{keys: [{LONG}], store: redis}}"),
            ["session.store: there is no Redis to keep sessions in, add gateway.store"],
        ),
        (
            login(backchannel_path="/bye"),
            [
                "backchannel-path: sessions that live in cookies alone cannot be ended from elsewhere, "
                "keep sessions in Redis: add gateway.store"
            ],
        ),
        (login(after_logout="bye"), ["after-logout: it is neither a path nor a URL"]),
        (
            login(after_logout="//evil.example"),
            ["after-logout: browsers take this for another host, write the whole URL"],
        ),
        (
            login(return_to="['https://a.example', 'https://a.example/x', a.example]"),
            [
                "return-to[1]: it is no origin, write one such as https://app.example.org",
                "return-to[2]: it is no origin, write one such as https://app.example.org",
            ],
        ),
        (
            login(logout_path="/_login/callback"),
            ["logout-path: /_login/callback is taken on app.example.org, give each a path of its own"],
        ),
    ],
)
def test_a_login_can_work(tmp_path: Path, identity: str, errors: list[str]) -> None:
    found = [line.split(", see")[0].removeprefix("logins.web.") for line in wrong(tmp_path, identity)]
    assert found == errors


@pytest.mark.parametrize(
    ("identity", "more"),
    [
        (login(), ""),
        (login(redirect_uri="'http://localhost:8080/cb'"), ""),
        (login(redirect_uri="'https://app.example.org'"), ""),
        (login(client_auth="none"), ""),
        (login(client_secret="x", client_auth="client_secret_post"), ""),
        (login(backchannel_path="/bye", session=f"session: {{keys: [{LONG}], store: redis}}"), STORE),
        (login(backchannel_path="''"), ""),
        (login(after_logout="'https://www.example.org/bye'", return_to="['https://a.example:8443']"), ""),
    ],
)
def test_logins_that_can_work(tmp_path: Path, identity: str, more: str) -> None:
    assert decoded(tmp_path, config(identity, more)).identity.logins


def test_sessions_in_cookies_cannot_be_ended_from_elsewhere_whatever_there_is_to_keep_them_in(tmp_path: Path) -> None:
    session = f"session: {{keys: [{LONG}], store: cookie}}"
    (found,) = wrong(tmp_path, login(session=session, backchannel_path="/bye"), STORE)
    assert found.startswith("logins.web.backchannel-path: sessions that live in cookies alone")


def test_logins_on_one_host_are_in_nobodys_way(tmp_path: Path) -> None:
    other = f", api: {{{LOGIN.replace('callback', 'other')}, logout-path: /bye}}"
    assert [line.split(", see")[0] for line in wrong(tmp_path, login(other))] == [
        "logins.api.backchannel-path: /_login/backchannel-logout is taken on app.example.org, give each a path of its own",
        "logins.api.cookie: another login on app.example.org has a cookie of this name, so one session would end the "
        "other, give each a name of its own",
    ]


def test_logins_on_two_hosts_may_be_alike(tmp_path: Path) -> None:
    other = f", api: {{{LOGIN.replace('app.example.org', 'api.example.org')}}}"
    assert len(decoded(tmp_path, config(login(other))).identity.logins) == 2


@pytest.mark.parametrize(
    "url", ["http://localhost/x", "http://a.localhost.", "http://127.0.0.1:8080", "http://[::1]/", "https://127.9.9.9"]
)
def test_this_host_is_local(url: str) -> None:
    assert is_local(url)


@pytest.mark.parametrize("url", ["http://localhost.example.org", "http://10.0.0.1", "http://[fd00::1]", "joe"])
def test_other_hosts_are_not(url: str) -> None:
    assert not is_local(url)


# -- the rest ---------------------------------------------------------------------------------------------------------


def test_nobody_has_a_secret_of_introspection_without_a_name(tmp_path: Path) -> None:
    assert wrong(tmp_path, "introspection: {a: {url: 'https://a', client-secret: x}, b: {url: 'https://b'}}") == [
        "introspection.a.client-secret: nobody has this secret, add client-id"
    ]


def test_certificates_are_told_by_proxies_that_are_trusted(tmp_path: Path) -> None:
    assert wrong(tmp_path, "client-certificates: {header: Client-Cert, ca-file: /no/ca}") == [
        "client-certificates.header: nobody may send Client-Cert, so nobody would have a certificate, name the proxies "
        "that end TLS in gateway.trusted-proxies",
        "client-certificates.ca-file: there is no file /no/ca",
    ]
    trusted = "gateway: {trusted-proxies: [10.0.0.0/8]}\n"
    assert decoded(tmp_path, config("client-certificates: {header: Client-Cert}", trusted)).identity
    assert decoded(tmp_path, config("client-certificates: {}")).identity


def test_the_field_of_certificates_arrives(tmp_path: Path) -> None:
    trusted = "gateway: {trusted-proxies: [10.0.0.0/8]}\n"
    assert wrong(tmp_path, "client-certificates: {header: X-Auth-Cert}", trusted) == [
        f"client-certificates.header: X-Auth-Cert {REMOVED}"
    ]


def test_what_certificates_are_told_by_is_not_asked_while_the_gateway_section_is_wrong(tmp_path: Path) -> None:
    text = "client-certificates: {header: X-Auth-Cert}, headers: {subject: Remote-User}"
    assert len(wrong(tmp_path, text, "gateway: 7\n")) == 1


def pem(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey, password: bytes | None = None) -> bytes:
    """A private key in PEM."""
    sealed = BestAvailableEncryption(password) if password else NoEncryption()
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, sealed)


def test_statements_are_signed_with_private_p256_keys(tmp_path: Path) -> None:
    good = ec.generate_private_key(ec.SECP256R1())
    files = {
        "good.pem": pem(good),
        "sealed.pem": pem(good, b"hush"),
        "public.pem": good.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
        "p384.pem": pem(ec.generate_private_key(ec.SECP384R1())),
        "rsa.pem": pem(rsa.generate_private_key(65537, 2048)),
        "none.pem": b"hello",
    }
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    found = wrong(tmp_path, f"assertion: {{issuer: gw, keys: [{', '.join(files)}, gone.pem]}}")
    assert [line.replace(f"{tmp_path}/", "").partition(" in PEM")[0] for line in found] == [
        "assertion.keys[1]: sealed.pem holds no private P-256 key",
        "assertion.keys[2]: public.pem holds no private P-256 key",
        "assertion.keys[3]: p384.pem holds no private P-256 key",
        "assertion.keys[4]: rsa.pem holds no private P-256 key",
        "assertion.keys[5]: none.pem holds no private P-256 key",
        "assertion.keys[6]: there is no file gone.pem",
    ]


def test_files_of_all_who_are_asked_can_be_read(tmp_path: Path) -> None:
    write(tmp_path, "", "ca.pem")
    text = (
        "providers: {p: {issuer: 'https://p', keys: ca.pem, ca-file: ca.pem}}, "
        "introspection: {i: {url: 'https://i', ca-file: no}}, forward-auth: {f: {url: 'https://f', ca-file: none}}"
    )
    more = "gateway: {store: {url: 'rediss://r', ca-file: gone}}\n"
    assert [line.rpartition("/")[0] + line.rpartition("/")[2] for line in wrong(tmp_path, text, more)] == [
        "gateway.store.ca-file: there is no file gone",
        "introspection.i.ca-file: there is no file no",
        "forward-auth.f.ca-file: there is no file none",
    ]


def test_tokens_of_the_admin_api_are_long_and_different(tmp_path: Path) -> None:
    tokens = f"a: {{secret: {LONG}, scopes: [keys.read]}}, b: {{secret: short, scopes: [revoke]}}"
    more = f"admin: {{tokens: {{{tokens}, c: {{secret: {LONG}, scopes: [keys.write]}}}}}}\n"
    assert [line.split(", see")[0] for line in wrong(tmp_path, "realm: x", more)] == [
        "admin.tokens.b.secret: a token has at least 32 characters, make one with: openssl rand -base64 48",
        "admin.tokens.c.secret: a has this secret already, give each its own",
    ]


def test_what_is_no_section_at_all_is_not_checked(tmp_path: Path) -> None:
    assert len(refused(tmp_path, f"{LISTENER}admin: 7\nidentity: 7\n")) == 2
