"""What somebody wants a new API key to be."""

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from suuupra_gateway.auth.keyorder import BadOrder, KeyOrder

NOW = 1_700_000_000.0


def why(known=None, /, **fields):
    """What is wrong with an order; empty for nothing."""
    try:
        KeyOrder(**{"owner": "ann", **fields}).check(NOW, known)
    except BadOrder as error:
        return str(error)
    return ""


def test_an_owner_is_all_that_is_needed():
    assert why() == ""


def test_everything_can_be_wanted():
    assert not why(
        {"users", "reports"},
        name="nightly reports, Zürich",
        scopes=("reports.read", "a:b/c", "!"),
        roles=("auditor",),
        tenant="acme",
        routes=("reports",),
        cidrs=("10.0.0.0/8", "2001:db8::/32", "192.0.2.7"),
        not_before=NOW + 10,
        expires_at=NOW + 20,
        tier="gold",
        limits={"per-minute": "600/min"},
        notes={"ticket": "OPS-1"},
    )


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"owner": ""}, "it must say whose it is"),
        ({"owner": " ann"}, "owner must be at most 200 visible characters"),
        ({"owner": "a\x1b[31mnn"}, "owner must be at most 200 visible characters"),
        ({"name": "x" * 201}, "name must be at most 200 visible characters"),
        ({"tenant": "a\nb"}, "tenant must be at most 200 visible characters"),
        ({"tier": "\u202e"}, "tier must be at most 200 visible characters"),
        ({"scopes": ("a b",)}, "'a b' is no scope"),
        ({"scopes": ("",)}, "'' is no scope"),
        ({"scopes": ('"',)}, "'\"' is no scope"),
        ({"roles": ("a,b",)}, "'a,b' is no role"),
        ({"roles": ("é" * 300,)}, "is no role"),
        ({"cidrs": ("10.0.0.1/8",)}, "'10.0.0.1/8' is no address range"),
        ({"cidrs": ("everywhere",)}, "'everywhere' is no address range"),
        ({"scopes": tuple(map(str, range(101)))}, "scopes are at most 100"),
        ({"limits": {"a b": "1"}}, "limits need names"),
        ({"notes": {"a": "\n"}}, "notes need names"),
        ({"notes": {str(number): "" for number in range(21)}}, "notes are at most 20"),
        ({"expires_at": NOW}, "over before it begins"),
        ({"expires_at": NOW + 5, "not_before": NOW + 6}, "over before it begins"),
        ({"expires_at": -1.0}, "times are UNIX seconds"),
        ({"not_before": float("inf")}, "times are UNIX seconds"),
        ({"expires_at": float("nan")}, "times are UNIX seconds"),
    ],
)
def test_what_makes_no_sense_is_said(fields, said):
    assert said in why(**fields)


def test_all_that_is_wrong_is_said_at_once():
    assert why({"users"}, owner="", scopes=("a b",), routes=("uesrs",)) == (
        "it must say whose it is; 'a b' is no scope; there is no route 'uesrs'"
    )


def test_routes_are_believed_if_nobody_knows_better():
    assert why(None, routes=("anything",)) == ""


@given(st.text(max_size=40))
def test_no_complaint_can_command_a_terminal(text):
    assert why({"users"}, scopes=(text,), roles=(text,), routes=(text,), cidrs=(text,)).isprintable()


@given(st.text(max_size=40))
def test_scopes_are_words_of_rfc_6749(text):
    allowed = text != "" and all(char == "!" or "#" <= char <= "[" or "]" <= char <= "~" for char in text)
    assert (why(scopes=(text,)) == "") == allowed


@given(st.ip_addresses())
def test_every_address_is_a_range_of_its_own(address):
    assert why(cidrs=(str(ipaddress.ip_network(address)), str(address))) == ""
