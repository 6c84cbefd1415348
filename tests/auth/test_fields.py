"""How upstreams learn who is calling: nothing that a claim says makes a second field or a second member."""

import re
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from suuupra_gateway.auth.fields import LONGEST, FieldTooLong, PrincipalFields, joined, text
from suuupra_gateway.auth.principal import Principal
from suuupra_gateway.config.model import PrincipalHeaders


def fields(principal, **settings):
    return dict(PrincipalFields(PrincipalHeaders.model_validate(settings)).of(principal))


def test_everything_has_a_field():
    known = Principal(
        "alice", "api-key", scopes=frozenset({"b", "a"}), roles=frozenset({"y", "x"}), tenant="acme", key="k1"
    )
    assert fields(known) == {
        b"x-user-id": b"alice",
        b"x-user-roles": b"x,y",
        b"x-auth-scopes": b"a b",
        b"x-tenant-id": b"acme",
        b"x-consumer-key-id": b"k1",
        b"x-auth-method": b"api-key",
    }


def test_what_is_not_known_is_left_out_and_sessions_are_no_keys():
    assert fields(Principal("a", "session", key="id-of-session")) == {b"x-user-id": b"a", b"x-auth-method": b"session"}


def test_names_are_chosen_and_left_out():
    found = fields(Principal("a", "jwt"), subject="Remote-User", credential="")
    assert found == {b"remote-user": b"a"}


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("x", b"x"),
        (["b", "a,c"], b"a%2Cc,b"),
        (7, b"7"),
        (True, b"true"),
        ({"a": "\u00e4"}, b'{"a":"%C3%A4"}'),
        ([1, "a"], b'[1,"a"]'),
        (None, None),
        ("", None),
        ([], None),
    ],
)
def test_claims_get_fields_of_their_own(value, expected):
    found = fields(Principal("a", "jwt", claims={"c": {"d": value}}), claims={"X-Auth-C": "c.d"})
    assert found.get(b"x-auth-c") == expected


def test_whoever_decided_knows_best():
    known = Principal("a", "forward-auth", fields=((b"x-user-id", b"b"), (b"x-auth-more", b"1")))
    assert PrincipalFields(PrincipalHeaders()).of(known) == (
        (b"x-auth-method", b"forward-auth"),
        (b"x-user-id", b"b"),
        (b"x-auth-more", b"1"),
    )


def test_what_no_upstream_would_take_is_not_sent():
    made = PrincipalFields(PrincipalHeaders())
    assert len(dict(made.of(Principal("x" * LONGEST, "jwt")))[b"x-user-id"]) == LONGEST
    with pytest.raises(FieldTooLong, match=f"x-user-id would have {LONGEST + 1} bytes"):
        made.of(Principal("x" * (LONGEST + 1), "jwt"))
    with pytest.raises(FieldTooLong, match="x-a would"):
        made.of(Principal("x", "jwt", fields=((b"x-a", b"1" * (LONGEST + 1)),)))


@pytest.mark.parametrize("value", ["a b", "\u00eb%2C", " a", "a ", "\t", "\x00", "a\r\nb: c", "\u2028", "\U0001f511"])
def test_a_text_is_got_back_by_decoding(value):
    encoded = text(value)
    assert re.fullmatch(r"[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?", encoded)
    assert unquote(encoded) == value


@given(st.text(min_size=1))
def test_no_text_makes_another_field(value):
    assert re.fullmatch(r"[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?", text(value))


@given(st.frozensets(st.text(alphabet=st.characters(codec="utf-8"), min_size=1)), st.sampled_from(", "))
def test_members_of_a_list_are_got_back(members, separator):
    encoded = joined(members, separator)
    assert encoded.isascii()
    assert {unquote(each) for each in encoded.split(separator) if each} == members


def test_half_characters_are_nobody_elses():
    """JSON can say them, UTF-8 cannot; replaced, they would be the name of somebody else."""
    assert text("a\ud800") == "a%ED%A0%80"
    assert joined(["\ud800"], ",") == "%ED%A0%80"
