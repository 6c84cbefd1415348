"""
Which header fields belong to the gateway.
"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from suuupra_gateway.config.names import OwnedNames, folded

OWNED = OwnedNames(["X-User-Id", "X-Auth-*"])


@pytest.mark.parametrize("name", [b"X-User-Id", b"x_user.id", b"x-auth-", b"X_AUTH_ANYTHING"])
def test_owned_names_are_told_whatever_their_case_and_separators(name: bytes) -> None:
    assert name in OWNED


@pytest.mark.parametrize("name", [b"x-user-idx", b"x-user", b"x-auth", b"x-author", b""])
def test_names_that_only_begin_alike_are_free(name: bytes) -> None:
    assert name not in OWNED


def test_with_no_pattern_every_name_is_free() -> None:
    assert b"x-user-id" not in OwnedNames(())


@given(st.text("aAxXuU-_.", max_size=12))
def test_what_wsgi_cannot_tell_apart_is_one_name(text: str) -> None:
    name = text.encode()
    environ = b"HTTP_" + name.upper().replace(b"-", b"_").replace(b".", b"_")
    assert folded(name) == environ[5:].lower().replace(b"_", b"-")


def test_what_the_gateway_itself_says_is_always_its_own():
    owned = OwnedNames([])
    assert b"X-Suuupra-Auth" in owned
    assert b"x_suuupra_identity" in owned
    assert b"x-user-id" not in owned
