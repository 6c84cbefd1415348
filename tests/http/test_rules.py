"""Which header fields are not let in, whoever reads them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from suuupra_gateway.config.names import OwnedNames
from suuupra_gateway.errors import BadRequest
from suuupra_gateway.http.parser import RequestParser
from suuupra_gateway.http.rules import HeadRules


def read(*lines: bytes, rules: HeadRules | None = None):
    raw = b"GET / HTTP/1.1\r\nHost: a\r\n" + b"".join(line + b"\r\n" for line in lines) + b"\r\n"
    return RequestParser(rules or HeadRules()).parse(raw, raw.index(b"\r\n")).headers[1:]


@pytest.mark.parametrize(
    "name",
    [
        b"x-user-id",
        b"X-User-Id",
        b"x_user_id",
        b"X_USER-ID",
        b"x.user.id",
        b"x-auth-anything",
        b"x_auth_x",
        b"x-consumer-",
        b"x-suuupra-auth",
    ],
)
def test_identity_never_comes_from_outside_whatever_underscores_may_do(name):
    rules = HeadRules(underscores="keep")
    assert read(name + b": admin", b"X-A: 1", rules=rules) == [(b"x-a", b"1")]
    assert rules.counters.dropped_headers == 1


@pytest.mark.parametrize("name", [b"x-user-identity", b"x-author", b"user-id", b"x-tenant"])
def test_names_that_only_look_like_identity_pass(name):
    assert read(name + b": 1") == [(name, b"1")]


def test_which_names_are_identity_is_configurable():
    rules = HeadRules(owned=OwnedNames(["Remote-*"]))
    assert read(b"Remote-User: x", b"X-User-Id: 7", rules=rules) == [(b"x-user-id", b"7")]


def test_names_with_underscores_are_dropped_kept_or_rejected():
    assert read(b"X_A: 1") == []
    assert read(b"X_A: 1", rules=HeadRules(underscores="keep")) == [(b"x_a", b"1")]
    with pytest.raises(BadRequest):
        read(b"X_A: 1", rules=HeadRules(underscores="reject"))


@given(st.text("aAxXuUsSeErR-_.", min_size=1, max_size=12))
def test_owned_names_do_not_depend_on_case_or_separator(text):
    owned = OwnedNames(["X-User", "Ax-*"])
    name = text.encode()
    assert (name in owned) == (name.lower().replace(b"_", b"-").replace(b".", b"-") in owned) == (name.upper() in owned)


# -- nominations ------------------------------------------------------------------------------------------------------


def test_nominated_fields_are_gone_before_any_filter_sets_one_of_the_same_name():
    assert read(b"Connection: X-Team, close", b"X-Team: forged", b"X-A: 1") == [
        (b"connection", b"X-Team, close"),
        (b"x-a", b"1"),
    ]


def test_several_connection_fields_nominate_together():
    assert read(b"Connection: x-a", b"Connection: x-b", b"X-A: 1", b"X-B: 2", b"X-C: 3")[2:] == [(b"x-c", b"3")]


@pytest.mark.parametrize(
    "name", [b"X-Forwarded-For", b"x_forwarded_for", b"X-Forwarded-User", b"Forwarded", b"X.Real.IP"]
)
def test_only_those_we_trust_may_say_for_whom_they_speak(name):
    strict = HeadRules(underscores="keep", believes=False)
    for _ in range(2):
        assert read(name + b": 1", b"X-A: 1", rules=strict) == [(b"x-a", b"1")]
    assert read(name + b": 1", rules=HeadRules(underscores="keep")) == [(name.lower(), b"1")]
    assert read(b"X-Forwarded: 1", rules=strict) == [(b"x-forwarded", b"1")]
