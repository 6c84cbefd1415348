"""Endpoints as values."""

from __future__ import annotations

import pytest

from suuupra_gateway.config.model import EndpointSpec
from suuupra_gateway.upstreams.endpoint import Endpoint


def parse(url, weight=1):
    return Endpoint.parse(EndpointSpec(url=url, weight=weight))


@pytest.mark.parametrize(
    ("url", "text", "secure", "authority"),
    [
        ("http://10.0.0.1:8080", "10.0.0.1:8080", False, b"10.0.0.1:8080"),
        ("http://users.internal", "users.internal:80", False, b"users.internal"),
        ("http://users.internal:443", "users.internal:443", False, b"users.internal:443"),
        ("https://users.internal", "users.internal:443", True, b"users.internal"),
        ("https://users.internal:8443/", "users.internal:8443", True, b"users.internal:8443"),
        ("http://[::1]:8080", "[::1]:8080", False, b"[::1]:8080"),
        ("https://[::1]", "[::1]:443", True, b"[::1]"),
        ("unix:/run/users.sock", "unix:/run/users.sock", False, b"localhost"),
    ],
)
def test_an_endpoint_is_an_address_and_how_to_speak_there(url, text, secure, authority):
    endpoint = parse(url)
    assert str(endpoint) == text
    assert endpoint.secure is secure
    assert endpoint.authority == authority
    assert endpoint == parse(url)
    assert hash(endpoint) == hash(parse(url))


def test_weights_make_a_difference():
    assert parse("http://h:1", 2) != parse("http://h:1", 3)


@pytest.mark.parametrize(
    "url",
    ["ftp://h:1", "http://", "http://h:1/path", "http://h:1?q", "http://u@h:1", "http://h:x", "http://h:99999", "h:1"],
)
def test_what_is_no_endpoint_is_refused(url):
    spec = EndpointSpec.model_construct(url=url, weight=1)
    with pytest.raises(ValueError):
        Endpoint.parse(spec)
