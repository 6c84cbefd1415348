"""Warnings: what a configuration may say but hardly should."""

import pytest

from suuupra_gateway.config.decode import gateway_model
from suuupra_gateway.filters.catalog import kinds
from suuupra_gateway.lint import warnings

USERS = {"users": {"endpoints": ["https://127.0.0.1:9001"]}}


def warned(upstreams=USERS, proxy=None, **more):
    tree = {
        "listeners": [{"name": "a", "address": "127.0.0.1:8080"}],
        "upstreams": upstreams,
        "routes": [{"name": "r", "auth": "none", "target": {"proxy": proxy or {"upstream": "users"}}}],
        **more,
    }
    found = warnings(gateway_model(kinds()).model_validate(tree))
    assert all(finding.why for finding in found)
    return [finding.loc for finding in found]


def test_a_sound_configuration_has_none():
    assert warned() == []


@pytest.mark.parametrize("everybody", ["0.0.0.0/0", "::/0"])
def test_trusting_everybody(everybody):
    assert warned(gateway={"trusted-proxies": ["10.0.0.0/8", everybody]}) == [("gateway", "trusted-proxies", 1)]


def test_owning_no_header():
    assert warned(gateway={"identity-headers": []}) == [("gateway", "identity-headers")]


@pytest.mark.parametrize("address", ["0.0.0.0:9900", "[::]:9900", "192.0.2.1:9900"])
def test_an_admin_listener_for_everybody(address):
    assert warned(admin={"address": address}) == [("admin", "address")]


@pytest.mark.parametrize("address", ["127.0.0.1:9900", "[::1]:9900", "unix:/run/admin.sock", "off"])
def test_an_admin_listener_for_this_host(address):
    assert warned(admin={"address": address}) == []


def test_keeping_underscores():
    listeners = [{"name": "a", "address": "127.0.0.1:8080", "underscores": "keep"}]
    assert warned(listeners=listeners) == [("listeners", 0, "underscores")]


def test_trusting_any_certificate():
    assert warned({"users": {**USERS["users"], "tls": {"verify": False}}}) == [("upstreams", "users", "tls", "verify")]


def test_an_endpoint_without_traffic():
    idle = {"url": "https://127.0.0.1:9002", "weight": 0}
    assert warned({"users": {"endpoints": ["https://127.0.0.1:9001", idle]}}) == [
        ("upstreams", "users", "endpoints", 1, "weight")
    ]


def test_a_branch_without_traffic():
    split = [{"upstream": "users", "weight": 1}, {"upstream": "next", "weight": 0}]
    assert warned({**USERS, "next": USERS["users"]}, {"split": split}) == [
        ("routes", 0, "target", "proxy", "split", 1, "weight")
    ]


def test_an_upstream_that_no_route_uses():
    assert warned({**USERS, "left": USERS["users"]}) == [("upstreams", "left")]


# -- identity ---------------------------------------------------------------------------------------------------------

LONG = "0123456789abcdef0123456789abcdef"
CORP = {"issuer": "https://id.example.org", "audiences": ["api"]}


def told(identity, *credentials, key="any", **more):
    """What is warned of, with the words, on a route that takes these credentials."""
    tree = {
        "listeners": [{"name": "a", "address": "127.0.0.1:8080"}],
        "identity": identity,
        "routes": [{"name": "r", "auth": {key: list(credentials)} if credentials else "none", "target": {"fixed": {}}}],
        **more,
    }
    return {finding.loc: finding.why for finding in warnings(gateway_model(kinds()).model_validate(tree))}


def jwt(provider="corp", **more):
    return {"jwt": {"provider": provider, **more}}


def test_identity_that_is_sound():
    identity = {
        "providers": {"corp": CORP},
        "api-keys": {"peppers": [LONG]},
        "introspection": {"opaque": {"url": "https://id.example.org"}},
        "forward-auth": {"legacy": {"url": "http://127.0.0.1:9000/auth"}},
        "logins": {
            "web": {
                "provider": "corp",
                "client-id": "gw",
                "redirect-uri": "https://app.example.org/cb",
                "session": {"keys": [LONG]},
            }
        },
        "client-certificates": {},
    }
    credentials = [
        jwt(),
        {"api-key": {}},
        {"introspection": {"by": "opaque"}},
        {"forward-auth": {"by": "legacy"}},
        {"session": {"login": "web"}},
        {"client-certificate": {}},
    ]
    assert told(identity, *credentials) == told(identity, *credentials, key="all") == {}


def test_tokens_for_anybody():
    anybody = {"providers": {"corp": {"issuer": "https://id.example.org"}}}
    assert list(told(anybody, jwt())) == [("identity", "providers", "corp")]
    assert list(told(anybody, jwt(audiences=["api"]))) == []
    assert list(told({"providers": {"corp": CORP}}, jwt())) == []


def test_keys_in_queries():
    identity = {"api-keys": {"peppers": [LONG]}}
    loc = ("routes", 0, "auth", "any", 0, "api-key", "query")
    assert told(identity, {"api-key": {"query": "key"}}) == {loc: "keys in URLs end in logs, histories and Referer"}
    written = told(identity, {"api-key": {"query": "key"}}, **{"access-log": {"query": True}})
    assert "access-log.query writes them down here" in written[loc]
    off = told(identity, {"api-key": {"query": "key"}}, **{"access-log": {"query": True, "path": "off"}})
    assert "access-log" not in off[loc]
    assert list(told({}, {"api-key": {"query": "key"}})) == [loc]


@pytest.mark.parametrize(("algorithm", "length"), [("HS256", 31), ("HS384", 47), ("HS512", 63)])
def test_secrets_that_are_shorter_than_the_hash(algorithm, length):
    loc = ("identity", "providers", "corp", "secret")
    provider = {**CORP, "algorithms": ["HS256", algorithm], "secret": "x" * length}
    assert "shorter than its hash" in told({"providers": {"corp": provider}}, jwt())[loc]
    provider["secret"] += "x"
    assert told({"providers": {"corp": provider}}, jwt())[loc] == "whoever can check these tokens can make them too"


@pytest.mark.parametrize(
    ("identity", "loc"),
    [
        ({"providers": {"corp": {**CORP, "issuer": "http://id.example.org"}}}, ("providers", "corp", "issuer")),
        ({"providers": {"corp": {**CORP, "jwks": "http://id.example.org"}}}, ("providers", "corp", "jwks")),
        ({"introspection": {"a": {"url": "http://10.0.0.1/x"}}}, ("introspection", "a", "url")),
        ({"forward-auth": {"a": {"url": "http://auth:9000"}}}, ("forward-auth", "a", "url")),
    ],
)
def test_asking_in_the_clear_who_is_let_in(identity, loc):
    assert ("identity", *loc) in told(identity)


@pytest.mark.parametrize(
    "provider",
    [
        {**CORP, "issuer": "http://localhost:9000"},
        {**CORP, "issuer": "http://id.example.org", "keys": "keys.pem"},
        {**CORP, "issuer": "http://id.example.org", "jwks": "https://id.example.org/jwks"},
    ],
)
def test_nothing_is_asked_in_the_clear(provider):
    assert told({"providers": {"corp": provider}}, jwt()) == {}


def test_a_password_in_the_clear():
    def store(url, **more):
        return list(told({}, gateway={"store": {"url": url, **more}}))

    assert store("redis://redis.internal", password="x") == [("gateway", "store")]
    assert store("redis://127.0.0.1", password="x") == []
    assert store("rediss://redis.internal", password="x") == []
    assert store("redis://redis.internal") == []


def test_identity_that_no_route_uses():
    identity = {
        "providers": {"corp": CORP, "left": CORP, "behind": CORP},
        "introspection": {"opaque": {"url": "https://id.example.org"}},
        "forward-auth": {"legacy": {"url": "https://auth.example.org"}},
        "logins": {
            "web": {
                "provider": "behind",
                "client-id": "gw",
                "redirect-uri": "https://app.example.org/cb",
                "session": {"keys": [LONG]},
            }
        },
    }
    assert list(told(identity, jwt())) == [
        ("identity", "providers", "left"),
        ("identity", "logins", "web"),
        ("identity", "introspection", "opaque"),
        ("identity", "forward-auth", "legacy"),
    ]
