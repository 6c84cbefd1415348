"""What is shown of messages is no credential."""

import pytest

from suuupra_gateway.config.model import GatewayConfig
from suuupra_gateway.masks import Masks

LONG = "0123456789abcdef0123456789abcdef"


def masks(identity=None, *credentials):
    tree = {
        "listeners": [{"name": "a", "address": "127.0.0.1:0"}],
        "identity": identity or {},
        "routes": [
            {"name": "r", "auth": {"any": list(credentials)} if credentials else "none", "target": {"fixed": {}}}
        ],
    }
    return Masks(GatewayConfig.model_validate(tree))


@pytest.mark.parametrize(
    ("name", "value", "shown"),
    [
        ("Authorization", "Bearer eyJ.x.y", "Bearer ***"),
        ("authorization", "eyJ.x.y", "***"),
        ("authorization", "", "***"),
        ("Proxy-Authorization", "Basic  eDp5", "Basic ***"),
        ("cookie", "a=1; sid=secret==", "a=***; sid=***"),
        ("cookie", "odd; a=1", "***; a=***"),
        ("set-cookie", "__Host-s=secret; Path=/; Max-Age=60", "__Host-s=***; Path=/; Max-Age=60"),
        ("set-cookie", "a=secret", "a=***"),
        ("x-team", "platform", "platform"),
    ],
)
def test_credentials_that_everybody_knows(name, value, shown):
    assert masks().field(name, value) == shown


def test_credentials_of_the_configuration():
    identity = {
        "api-keys": {"peppers": [LONG], "header": "X-Key"},
        "assertion": {"issuer": "gw", "keys": ["k.pem"]},
        "forward-auth": {"legacy": {"url": "https://auth", "request-headers": ["X-Legacy"]}},
    }
    made = masks(identity)
    assert [made.field(name, "secret") for name in ("x-key", "X_Key", "X-Suuupra-Identity", "x-legacy")] == ["***"] * 4
    assert masks().field("x-key", "secret") == "secret"


def test_api_keys_in_queries():
    identity = {"api-keys": {"peppers": [LONG]}}
    made = masks(identity, {"api-key": {"query": "key"}}, {"client-certificate": {}})
    assert made.query("https://a/x?a=1&key=secret&monkey=2#f") == "https://a/x?a=1&key=***&monkey=2#f"
    assert made.query("key=secret") == "key=***"
    assert made.query("/x?key=secret") == "/x?key=***"
    assert masks().query("/x?key=mine") == "/x?key=mine"
