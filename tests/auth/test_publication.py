"""Which providers share what was fetched."""

from __future__ import annotations

import msgspec
import pytest

from suuupra_gateway.auth.publication import Published, digest, is_fetched, read, topic
from suuupra_gateway.config.model import ProviderSpec
from suuupra_gateway.config.units import Duration, Secret

SPEC = ProviderSpec(name="idp", issuer="https://login.example.org")


def other(**more) -> ProviderSpec:
    return ProviderSpec(**{"name": "idp", "issuer": "https://login.example.org", **more})


def test_a_topic_tells_what_is_fetched_differently():
    assert topic(SPEC) == f"provider:idp:{digest(SPEC)}"
    for more in ({"issuer": "https://x.example"}, {"jwks": "https://x.example"}, {"refresh": Duration(60.0)}):
        assert digest(other(**more)) != digest(SPEC)


def test_what_tokens_must_say_makes_no_other_fetch():
    assert digest(other(audiences=("a",), leeway=Duration(0.0), type="at+jwt")) == digest(SPEC)


def test_only_what_is_nowhere_on_this_host_is_fetched():
    assert is_fetched(SPEC)
    assert is_fetched(other(jwks="https://x.example"))
    assert not is_fetched(other(keys="/etc/keys.pem"))
    assert not is_fetched(other(secret=Secret("s")))


def test_what_is_published_is_read():
    value = Published({"issuer": "i"}, {"keys": []}, 1.5, "down")

    assert read(msgspec.json.encode(value)) == value
    assert read(b"{}") == Published()
    with pytest.raises(ValueError):
        read(b"[]")
