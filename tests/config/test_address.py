"""
Addresses as they stand in files.
"""

from __future__ import annotations

import pytest
from pydantic_core import PydanticCustomError

from suuupra_gateway.config.address import Bound, admin_address, endpoint_url, listener_address, store_url

GOOD = [
    "0.0.0.0:8080",
    "127.0.0.1:0",
    "localhost:65535",
    "gateway.example.org:443",
    "[::]:8080",
    "[fe80::1%eth0]:80",
    "unix:/run/gateway.sock",
    "unix:@gateway",
]
BAD = [
    "",
    "8080",
    ":8080",
    "0.0.0.0",
    "0.0.0.0:65536",
    "256.0.0.1:80",
    "1.2.3:80",
    "::1:80",
    "[::g]:80",
    "[::1]",
    "host name:80",
    "http://host:80",
    "unix:",
    "unix:relative",
    "unix:/" + "x" * 107,
    "-host:80",
]


@pytest.mark.parametrize("address", [*GOOD, "systemd:public"])
def test_a_listener_has_an_address(address: str) -> None:
    assert listener_address(address) == address


@pytest.mark.parametrize("address", [*BAD, "off", "systemd:", "systemd:a:b", "systemd:a b"])
def test_a_listener_has_no_other_address(address: str) -> None:
    with pytest.raises(PydanticCustomError, match="expected an address such as"):
        listener_address(address)


@pytest.mark.parametrize("address", [*GOOD, "off"])
def test_the_admin_listener_has_an_address_or_is_off(address: str) -> None:
    assert admin_address(address) == address


@pytest.mark.parametrize("address", [*BAD, "systemd:admin"])
def test_the_admin_listener_has_no_other_address(address: str) -> None:
    with pytest.raises(PydanticCustomError, match="or off"):
        admin_address(address)


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("http://10.0.0.5:9001", "http://10.0.0.5:9001"),
        ("http://users", "http://users:80"),
        ("https://users.internal", "https://users.internal:443"),
        ("http://users/", "http://users:80"),
        ("https://[::1]", "https://[::1]:443"),
        ("http://[fd00::1]:8080", "http://[fd00::1]:8080"),
        ("unix:/run/users.sock", "unix:/run/users.sock"),
    ],
)
def test_an_endpoint_gets_its_port(written: str, meant: str) -> None:
    assert endpoint_url(written) == meant


@pytest.mark.parametrize(
    "url",
    [
        "users:80",
        "ftp://users",
        "http://",
        "http://users/path",
        "http://users?x",
        "http://me:pw@users",
        "http://users:0",
        "http://users:65536",
        "http://users:x",
        "http://1.2.3.4.5",
        "http://[::g]",
        "unix:x",
        "HTTP://users",
    ],
)
def test_an_endpoint_is_nothing_else(url: str) -> None:
    with pytest.raises(PydanticCustomError, match="expected an endpoint such as"):
        endpoint_url(url)


@pytest.mark.parametrize(
    ("one", "other", "clash"),
    [
        ("127.0.0.1:80", "127.0.0.1:80", True),
        ("127.0.0.1:80", "127.0.0.1:81", False),
        ("127.0.0.1:80", "127.0.0.2:80", False),
        ("127.0.0.1:80", "0.0.0.0:80", True),
        ("0.0.0.0:80", "0.0.0.0:80", True),
        ("localhost:80", "127.0.0.1:80", True),
        ("[::]:80", "[::1]:80", True),
        ("[::1]:80", "[0::1]:80", True),
        ("[::]:80", "0.0.0.0:80", False),
        ("127.0.0.1:0", "127.0.0.1:0", False),
        ("a.example:80", "a.example:80", True),
        ("a.example:80", "127.0.0.1:80", False),
        ("unix:/a", "unix:/a", True),
        ("unix:/a", "unix:/b", False),
        ("unix:/a", "127.0.0.1:80", False),
        ("systemd:a", "systemd:a", True),
        ("systemd:a", "systemd:b", False),
    ],
)
def test_addresses_clash_where_the_kernel_would_refuse_the_second(one: str, other: str, clash: bool) -> None:
    assert Bound.of(one).clashes(Bound.of(other)) is clash
    assert Bound.of(other).clashes(Bound.of(one)) is clash


@pytest.mark.parametrize(
    "url",
    [
        "redis://127.0.0.1",
        "redis://127.0.0.1:6380/15",
        "rediss://redis.internal:6379/",
        "redis://[::1]:6379/0",
        "unix:/run/redis.sock",
    ],
)
def test_a_store_is_a_redis_server(url: str) -> None:
    assert store_url(url) == url


@pytest.mark.parametrize(
    "url",
    ["127.0.0.1", "http://a", "redis://", "redis://a/x", "redis://a/1000", "redis://u:p@a", "unix:redis.sock", ""],
)
def test_what_is_no_redis_server_is_refused(url: str) -> None:
    with pytest.raises(PydanticCustomError, match="expected a store such as"):
        store_url(url)
