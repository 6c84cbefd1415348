"""Filter access: by the address of the client."""

from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from suuupra_gateway.filters.access import kind
from tests.filters.running import exchange, made


def allowed(client, **settings):
    verdict = made(kind, **settings).request(exchange(client=client))
    if verdict is not None:
        assert (verdict.status, verdict.code) == (403, "forbidden")
    return verdict is None


def test_only_allowed_addresses_pass_if_there_is_an_allow_list():
    assert allowed("10.1.2.3", allow=["10.0.0.0/8"])
    assert not allowed("11.1.2.3", allow=["10.0.0.0/8"])


def test_everybody_but_the_denied_passes_if_there_is_a_deny_list_alone():
    assert allowed("11.1.2.3", deny=["10.0.0.0/8"])
    assert not allowed("10.1.2.3", deny=["10.0.0.0/8"])


def test_deny_goes_before_allow():
    lists = {"allow": ["10.0.0.0/8"], "deny": ["10.6.6.6"]}
    assert not allowed("10.6.6.6", **lists)
    assert allowed("10.6.6.7", **lists)


def test_ipv6_and_mapped_addresses_are_understood():
    assert allowed("fd00::1", allow=["fd00::/8"])
    assert not allowed("::ffff:10.0.0.1", deny=["10.0.0.0/8"])


def test_a_client_without_an_address_is_not_in_an_allow_list():
    assert not allowed("", allow=["0.0.0.0/0", "::/0"])
    assert allowed("", deny=["10.0.0.0/8"])


@pytest.mark.parametrize("settings", [{}, {"allow": []}, {"allow": ["10.0.0.1/8"]}, {"deny": ["somewhere"]}])
def test_lists_that_mean_nothing_are_refused(settings):
    with pytest.raises(ValidationError):
        made(kind, **settings)


@pytest.mark.parametrize(
    ("client", "settings", "says"),
    [
        ("10.0.0.1", {"deny": ["10.0.0.0/8"]}, "10.0.0.1 is in deny"),
        ("11.0.0.1", {"deny": ["10.0.0.0/8"]}, "11.0.0.1 is not in deny"),
        ("", {"deny": ["10.0.0.0/8"]}, "a client without an address is not in deny"),
        ("10.0.0.1", {"allow": ["10.0.0.0/8"]}, "10.0.0.1 is in allow"),
        ("11.0.0.1", {"allow": ["10.0.0.0/8"]}, "11.0.0.1 is not in allow"),
        ("", {"allow": ["10.0.0.0/8"]}, "a client without an address is not in allow"),
    ],
)
def test_explain_names_the_list_that_decides(client, settings, says):
    assert made(kind, **settings).explain(exchange(client=client)) == says


ranges = st.builds(
    lambda address, length: str(ip_network((address, length), strict=False)),
    st.integers(0, 2**32 - 1),
    st.integers(0, 32),
)


@given(st.lists(ranges, max_size=3), st.lists(ranges, min_size=1, max_size=3), st.integers(0, 2**32 - 1))
def test_the_verdict_is_that_of_the_plain_rule(allow, deny, number):
    address = ip_address(number)
    inside = lambda cidrs: any(address in ip_network(cidr) for cidr in cidrs)  # noqa: E731
    wanted = not inside(deny) and (not allow or inside(allow))
    assert allowed(str(address), allow=allow, deny=deny) == wanted
