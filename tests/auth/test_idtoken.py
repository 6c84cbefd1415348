"""Tokens about people: the right one, for us, for this attempt."""

import json

import pytest

from suuupra_gateway.auth.idtoken import LOGOUT_EVENT, LogoutToken, check_id_token, check_refreshed, check_userinfo
from suuupra_gateway.auth.oauth2 import ProtocolError
from tests.auth.tokens import encoded
from tests.servers.evil_idp import half_hash

CLIENT, ACCESS, NOW = "shop", "the access token", 1_800_000_000.0


def token(algorithm="RS256"):
    """Only its header is read: the signature has been verified."""
    return (encoded({"alg": algorithm}) + b".e30.AA").decode()


def claims(**more):
    good = {
        "iss": "i",
        "aud": CLIENT,
        "sub": "alice",
        "iat": NOW,
        "exp": NOW + 9,
        "nonce": "n",
        "at_hash": half_hash(ACCESS),
    }
    return {name: value for name, value in {**good, **more}.items() if value is not None}


def check(found, shown=None, **more):
    check_id_token(shown or token(), found, **{"client_id": CLIENT, "nonce": "n", "access": ACCESS, **more})


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"at_hash": None},
        {"azp": CLIENT},
        {"aud": [CLIENT]},
        {"aud": [CLIENT, "other"], "azp": CLIENT},
        {"amr": ["pwd"]},
        {"auth_time": NOW},
    ],
)
def test_good_ones_are_good(more):
    check(claims(**more))


@pytest.mark.parametrize(
    "more",
    [
        {"nonce": None},
        {"nonce": "other"},
        {"nonce": ""},
        {"nonce": ["n"]},
        {"at_hash": half_hash("another token")},
        {"at_hash": ""},
        {"at_hash": 7},
        {"azp": "other"},
        {"azp": ""},
        {"azp": [CLIENT]},
        {"aud": [CLIENT, "other"]},
        {"aud": [CLIENT, "other"], "azp": "other"},
        {"sub": None},
        {"sub": ""},
        {"sub": 7},
        {"sub": "x" * 256},
        {"iss": None},
        {"exp": None},
        {"iat": None},
        {"amr": "pwd"},
        {"auth_time": "yesterday"},
    ],
)
def test_bad_ones_are_refused(more):
    with pytest.raises(ProtocolError, match="bad_id_token"):
        check(claims(**more))


@pytest.mark.parametrize("algorithm", ["RS256", "ES384", "PS512"])
def test_the_hash_of_the_access_token_follows_the_algorithm(algorithm):
    check(claims(at_hash=half_hash(ACCESS, algorithm)), token(algorithm))
    with pytest.raises(ProtocolError):
        check(claims(at_hash=half_hash(ACCESS, "RS256" if algorithm != "RS256" else "RS512")), token(algorithm))


def test_a_hash_that_cannot_be_made_is_not_matched():
    with pytest.raises(ProtocolError):
        check(claims(), token("none"))


def test_whoever_asks_for_a_fresh_login_gets_one():
    check(claims(auth_time=NOW - 50), max_age="60", now=NOW)
    check(claims(auth_time=NOW - 110), max_age="60", now=NOW)  # within what clocks differ
    for told in (NOW - 121, None):
        with pytest.raises(ProtocolError):
            check(claims(auth_time=told), max_age="60", now=NOW)


# -- after a refresh --------------------------------------------------------------------------------------------------


def refreshed(found, before=None):
    check_refreshed(token(), found, before=before or {}, subject="alice", client_id=CLIENT, access=ACCESS)


@pytest.mark.parametrize("more", [{"nonce": None}, {"azp": CLIENT}, {"auth_time": 5}, {"at_hash": None}])
def test_a_refreshed_token_may_say_the_same(more):
    refreshed(claims(**more), {"auth_time": 5})


@pytest.mark.parametrize(
    "more",
    [
        {"sub": "bob"},
        {"sub": None},
        {"azp": "other"},
        {"aud": [CLIENT, "other"]},
        {"auth_time": 6},
        {"at_hash": half_hash("another")},
    ],
)
def test_but_not_something_else(more):
    with pytest.raises(ProtocolError, match="bad_id_token"):
        refreshed(claims(**more), {"auth_time": 5})


# -- logouts ----------------------------------------------------------------------------------------------------------


def logout(**more):
    good = {"iat": NOW, "jti": "j", "sub": "alice", "sid": "s", "events": {LOGOUT_EVENT: {}}}
    return LogoutToken.of({name: value for name, value in {**good, **more}.items() if value is not None}, NOW)


def test_a_logout_names_a_session_or_everybody_of_a_name():
    assert logout() == LogoutToken("alice", "s", "j")
    assert logout(sid=None) == LogoutToken("alice", "", "j")
    assert logout(sub=None) == LogoutToken("", "s", "j")


@pytest.mark.parametrize(
    "more",
    [
        {"sub": None, "sid": None},
        {"sub": 1},
        {"sid": ["s"]},
        {"sid": "s" * 1025},
        {"jti": None},
        {"iat": None},
        {"iat": True},
        {"iat": NOW - 601},
        {"nonce": "n"},
        {"events": None},
        {"events": {}},
        {"events": [LOGOUT_EVENT]},
        {"events": {LOGOUT_EVENT: "x"}},
    ],
)
def test_nothing_else_is_a_logout(more):
    with pytest.raises(ProtocolError, match="bad_logout_token"):
        logout(**more)


# -- userinfo ---------------------------------------------------------------------------------------------------------


def test_userinfo_is_about_whom_it_was_asked():
    assert check_userinfo(b'{"sub": "alice", "email": "a@b"}', "alice") == {"sub": "alice", "email": "a@b"}


@pytest.mark.parametrize("body", [b'{"sub": "bob"}', b"{}", b"[]", b"<html>", b"\xff", b"[" * 100_000])
def test_or_it_is_refused(body):
    with pytest.raises(ProtocolError, match="userinfo"):
        check_userinfo(body, "alice")


def test_what_is_refused_is_not_shown():
    with pytest.raises(ProtocolError) as caught:
        check(claims(nonce="the wrong nonce", sub="alice"))
    assert "the wrong nonce" not in str(caught.value)
    assert json.dumps(ACCESS) not in str(caught.value)
