"""What an API key looks like, and what is kept of it."""

import hashlib
import hmac
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from suuupra_gateway.auth import apikey
from suuupra_gateway.auth.apikey import ApiKey, Peppers
from suuupra_gateway.config.units import Secret

ALPHABET = string.digits + string.ascii_letters
ENVIRONMENTS = st.text(string.ascii_lowercase + string.digits, min_size=1, max_size=12)
PEPPER = Secret("p" * 32)
OLDER = Secret("q" * 32)


def test_a_new_key_has_the_shape_that_scanners_look_for():
    key = apikey.make("live")
    prefix, environment, id, secret, checksum = key.text.decode("ascii").split("_")
    assert (prefix, environment, id) == ("sgk", "live", key.id)
    assert (len(id), len(secret), len(checksum)) == (12, 43, 6)
    assert set(id + secret + checksum) <= set(ALPHABET)


def test_new_keys_differ_in_id_and_secret():
    keys = [apikey.make("live") for _ in range(200)]
    assert len({key.id for key in keys}) == 200
    assert len({key.text.split(b"_")[3] for key in keys}) == 200


def test_the_checksum_is_what_it_was_for_keys_of_earlier_releases():
    start = b"sgk_live_" + b"A" * 12 + b"_" + b"z" * 43
    assert apikey.parse(start + b"_0NYLr7") == ApiKey("live", "A" * 12, start + b"_0NYLr7")


@given(ENVIRONMENTS)
def test_what_was_made_is_read(environment):
    key = apikey.make(environment)
    assert apikey.parse(key.text) == key


@given(ENVIRONMENTS, st.integers(0), st.characters(codec="ascii"))
def test_a_key_with_one_other_character_is_none(environment, place, other):
    text = apikey.make(environment).text
    place %= len(text)
    changed = text[:place] + other.encode("ascii") + text[place + 1 :]
    if changed != text:
        assert apikey.parse(changed) is None


@given(st.binary(max_size=200))
def test_anything_else_is_no_key(text):
    assert apikey.parse(text) is None


@pytest.mark.parametrize("add", [b" ", b"\n", b"0", b"_"])
def test_nothing_may_stand_around_a_key(add):
    text = apikey.make("live").text
    assert apikey.parse(text + add) is None
    assert apikey.parse(add + text) is None


def test_a_long_text_is_no_key_whatever_is_in_it():
    assert apikey.parse(apikey.make("live").text * 1000) is None


def test_keys_show_no_secret():
    key = apikey.make("live")
    secret = key.text.split(b"_")[3].decode("ascii")
    assert key.masked == f"sgk_live_{key.id[:4]}…"
    assert secret not in repr(key)


@given(st.lists(st.binary(max_size=30).filter(lambda text: b"sgk_" not in text), min_size=1, max_size=5))
def test_keys_are_found_wherever_they_are(texts):
    keys = [apikey.make("live") for _ in texts]
    text = b"".join(text + b" " + key.text + b"\n" for text, key in zip(texts, keys, strict=True))
    assert apikey.find(text) == keys


def test_what_only_looks_like_a_key_is_not_found():
    key = apikey.make("live")
    assert apikey.find(key.text[:-1] + (b"0" if key.text[-1:] != b"0" else b"1")) == []
    assert apikey.find(b"KEY=" + key.text[:40]) == []


# -- what is kept -----------------------------------------------------------------------------------------------------


def test_what_is_kept_is_a_keyed_hash():
    name, kept = Peppers([PEPPER]).hash(b"key")
    assert kept == hmac.new(b"p" * 32, b"key", hashlib.sha256).hexdigest()
    assert len(name) == 8
    assert "p" * 4 not in name


def test_a_key_matches_what_was_kept_of_it_and_no_other_one_does():
    peppers = Peppers([PEPPER])
    name, kept = peppers.hash(b"key")
    assert peppers.matches(b"key", name, kept)
    assert not peppers.matches(b"kez", name, kept)


def test_an_older_pepper_still_checks_and_makes_no_new_ones():
    before = Peppers([OLDER])
    name, kept = before.hash(b"key")
    after = Peppers([PEPPER, OLDER])
    assert after.matches(b"key", name, kept)
    assert after.known(name)
    assert not after.newest(name)
    assert after.hash(b"key")[0] != name
    assert after.newest(after.hash(b"key")[0])


def test_what_was_made_with_a_pepper_that_is_gone_matches_nothing():
    name, kept = Peppers([OLDER]).hash(b"key")
    peppers = Peppers([PEPPER])
    assert not peppers.known(name)
    assert not peppers.matches(b"key", name, kept)
    # not even what the pepper that is tried instead would make of it
    assert not peppers.matches(b"key", name, peppers.hash(b"key")[1])


def test_wasted_time_lets_nobody_in():
    Peppers([PEPPER]).waste(b"key")
