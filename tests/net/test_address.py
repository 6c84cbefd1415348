"""Addresses: what may be written, and that nothing is lost on the way back to text."""

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from suuupra_gateway.net.address import Address

NAMES = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,20}[a-z0-9])?(\.[a-z]{2,8}){0,3}", fullmatch=True)
HOSTS = NAMES | st.ip_addresses(v=4).map(str) | st.ip_addresses(v=6).map(str)
PATHS = st.text(st.characters(min_codepoint=33, max_codepoint=0x2FF, exclude_characters="\0"), min_size=1, max_size=40)


def test_host_and_port():
    assert Address.parse("example.org:80") == Address(host="example.org", port=80)


def test_ipv6_is_written_in_brackets():
    address = Address.parse("[::1]:8443")
    assert (address.host, address.port) == ("::1", 8443)
    assert str(address) == "[::1]:8443"


def test_unix_path():
    address = Address.parse("unix:/run/gateway.sock")
    assert address == Address(path="/run/gateway.sock")
    assert str(address) == "unix:/run/gateway.sock"


def test_abstract_unix_path():
    assert Address.parse("unix:@gateway").path == "@gateway"


@given(HOSTS, st.integers(0, 65535))
def test_text_of_host_and_port_reads_back(host, port):
    address = Address(host=host, port=port)
    assert Address.parse(str(address)) == address


@given(PATHS)
def test_text_of_a_path_reads_back(path):
    address = Address(path="/" + path)
    assert Address.parse(str(address)) == address


@given(st.text(max_size=40))
def test_any_text_is_read_or_refused_with_words(text):
    words = ""
    try:
        address = Address.parse(text)
    except ValueError as reason:
        words = str(reason)
    if words:
        assert repr(text) in words
    else:
        assert Address.parse(str(address)) == address


@pytest.mark.parametrize(
    "text",
    [
        "",
        "example.org",
        ":80",
        "example.org:",
        "example.org:http",
        "example.org:65536",
        "example.org:-1",
        "example.org:٣",
        "::1:80",
        "[::1]",
        "[nonsense]:80",
        "a b:80",
        "http://example.org:80",
        "user@example.org:80",
        "unix:",
        "unix:/",
        "unix:relative",
        "unix:/" + "x" * 107,
        "unix:/a\0b",
    ],
)
def test_refused(text):
    with pytest.raises(ValueError):
        Address.parse(text)


def test_addresses_are_values():
    assert len({Address("a", 1), Address("a", 1), Address("a", 2)}) == 2
    assert ipaddress.ip_address(Address.parse("[fe80::1]:1").host).is_link_local
