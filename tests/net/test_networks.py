"""Address ranges, and the client behind trusted proxies."""

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from suuupra_gateway.net.networks import Networks, client_of, normal

TRUSTED = Networks(["10.0.0.0/8", "fd00::/8"])

networks_of_any_kind = st.one_of(
    st.tuples(st.ip_addresses(v=4), st.integers(0, 32)), st.tuples(st.ip_addresses(v=6), st.integers(0, 128))
).map(lambda pair: ipaddress.ip_network(f"{pair[0]}/{pair[1]}", strict=False))


@given(st.lists(networks_of_any_kind, max_size=8), st.lists(st.ip_addresses(), max_size=8))
def test_agrees_with_the_naive_look_up(ranges, addresses):
    networks = Networks(map(str, ranges))
    for address in [*addresses, *(net.network_address for net in ranges), *(net.broadcast_address for net in ranges)]:
        plain = getattr(address, "ipv4_mapped", None) or address
        plain_ranges = [
            ipaddress.ip_network((net.network_address.ipv4_mapped, net.prefixlen - 96))
            if net.version == 6 and net.network_address.ipv4_mapped and net.prefixlen >= 96
            else net
            for net in ranges
        ]
        expected = any(plain in net for net in plain_ranges if net.version == plain.version)
        assert (str(address) in networks) == expected


def test_ipv4_peers_of_a_dual_stack_socket_are_in_ipv4_ranges():
    assert "::ffff:10.1.2.3" in TRUSTED
    assert "10.1.2.3" in Networks(["::ffff:10.0.0.0/104"])


def test_scoped_addresses_are_looked_up_without_their_scope():
    assert "fe80::1%eth0" in Networks(["fe80::/10"])


@pytest.mark.parametrize(
    "nothing", ["", "localhost", "10.0.0", "10.0.0.1:80", "010.0.0.1", None, b"10.0.0.1", 167772161]
)
def test_what_is_no_address_is_in_no_range(nothing):
    assert nothing not in TRUSTED


def test_memory_is_bounded():
    networks = Networks(["10.0.0.0/8"])
    for number in range(10_000):
        assert str(ipaddress.IPv4Address(0x0A000000 + number)) in networks
    assert networks._lookup.cache_info().currsize <= 4096


def test_empty_is_false_and_holds_nothing():
    assert not Networks([])
    assert "127.0.0.1" not in Networks([])
    assert Networks(["127.0.0.1"])


@pytest.mark.parametrize("cidr", ["10.0.0.1/8", "nonsense", "10.0.0.0/33", ""])
def test_malformed_ranges_are_refused(cidr):
    with pytest.raises(ValueError):
        Networks([cidr])


def test_repr_names_the_ranges():
    assert repr(TRUSTED) == "<Networks 10.0.0.0/8 fd00::/8>"


@pytest.mark.parametrize(
    ("peer", "forwarded", "client"),
    [
        # an untrusted peer is the client, whatever it says
        ("192.0.2.1", [b"203.0.113.9"], "192.0.2.1"),
        ("", [b"203.0.113.9"], ""),
        # a trusted one is believed
        ("10.0.0.1", [], "10.0.0.1"),
        ("10.0.0.1", [b"203.0.113.9"], "203.0.113.9"),
        # but only about what it saw itself: the rest may be forged
        ("10.0.0.1", [b"1.2.3.4, 203.0.113.9"], "203.0.113.9"),
        ("10.0.0.1", [b"1.2.3.4", b"203.0.113.9, 10.0.0.7"], "203.0.113.9"),
        ("10.0.0.1", [b"1.2.3.4, 203.0.113.9", b"10.0.0.7 ,\t10.0.0.8"], "203.0.113.9"),
        ("fd00::1", [b"2001:DB8::0:1"], "2001:db8::1"),
        ("::ffff:10.0.0.1", [b"::ffff:203.0.113.9"], "203.0.113.9"),
        # trusted all the way: the farthest
        ("10.0.0.1", [b"10.0.0.9, 10.0.0.8"], "10.0.0.9"),
        # rubbish ends the walk at the one that reported it
        ("10.0.0.1", [b"203.0.113.9, unknown"], "10.0.0.1"),
        ("10.0.0.1", [b"203.0.113.9, _hidden, 10.0.0.8"], "10.0.0.8"),
        ("10.0.0.1", [b"\xff\xfe"], "10.0.0.1"),
        ("10.0.0.1", [b"1.2.3.4:nonsense"], "10.0.0.1"),
        ("10.0.0.1", [b"[2001:db8::1"], "10.0.0.1"),
        ("10.0.0.1", [b"[2001:db8::1]80"], "10.0.0.1"),
        ("10.0.0.1", [b"fe80::1%\xffany text"], "10.0.0.1"),
        ("10.0.0.1", [b"[fe80::1%eth0]:80"], "10.0.0.1"),
        # empty elements mean nothing
        ("10.0.0.1", [b" , 203.0.113.9,, "], "203.0.113.9"),
        ("10.0.0.1", [b""], "10.0.0.1"),
        # ports are taken away
        ("10.0.0.1", [b"203.0.113.9:4711"], "203.0.113.9"),
        ("10.0.0.1", [b"[2001:db8::1]:4711"], "2001:db8::1"),
        ("10.0.0.1", [b"[2001:db8::1]"], "2001:db8::1"),
    ],
)
def test_client_of(peer, forwarded, client):
    assert client_of(peer, forwarded, TRUSTED) == client


@given(st.text(max_size=20), st.lists(st.binary(max_size=60), max_size=4))
def test_client_is_the_peer_or_an_address(peer, forwarded):
    client = client_of(peer, forwarded, Networks(["0.0.0.0/0", "::/0"]))
    assert client == peer or normal(client) == client


@given(st.lists(st.ip_addresses().map(lambda ip: normal(str(ip))), min_size=1, max_size=6))
def test_nothing_left_of_an_untrusted_address_matters(addresses):
    trusted = Networks(["10.0.0.0/8"])
    honest = client_of("10.0.0.1", [", ".join(addresses).encode()], trusted)
    if addresses[0] not in trusted:
        forged = client_of("10.0.0.1", [b"1.1.1.1, 10.0.0.2", ", ".join(addresses).encode()], trusted)
        assert forged == honest
