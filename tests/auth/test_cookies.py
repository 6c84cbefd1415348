"""Cookies: found, set, spread over several and concealed."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from suuupra_gateway.auth.cookies import PIECE, PIECES, CookieJar, conceal, cookies, names_of, read
from suuupra_gateway.http.message import RequestHead

JAR = CookieJar(secure=True)
NAME = JAR.name("sg_session")


def head(*lines):
    return RequestHead(b"GET", b"/", [(b"accept", b"*/*"), *((b"cookie", line) for line in lines), (b"x", b"1")])


def test_cookies_are_read_in_order_from_all_fields():
    assert list(cookies(head(b"a=1; b = 2 ;c", b"d=x=y; e="))) == [
        (b"a", b"1"),
        (b"b", b"2"),
        (b"d", b"x=y"),
        (b"e", b""),
    ]


def test_of_several_cookies_of_one_name_none_is_believed():
    assert read(head(b"a=1; b=2"), b"b") == b"2"
    assert read(head(b"a=1"), b"b") is None
    assert read(head(b"b=1; b=2"), b"b") == b""
    assert read(head(b"b=1", b"b=1"), b"b") == b""


def test_cookies_are_for_this_host_alone_and_out_of_reach_of_scripts():
    assert JAR.set(NAME, b"v", 60.5) == (
        b"set-cookie",
        b"__Host-sg_session=v; Path=/; HttpOnly; SameSite=Lax; Secure; Max-Age=60",
    )
    assert JAR.set(NAME, b"v")[1].endswith(b"; Secure")
    assert JAR.set(NAME, b"v", 0.1)[1].endswith(b"; Max-Age=1")
    assert JAR.clear(NAME)[1] == b"__Host-sg_session=; Path=/; HttpOnly; SameSite=Lax; Secure; Max-Age=0"


def test_without_tls_there_is_neither_prefix_nor_secure():
    jar = CookieJar(secure=False)
    assert jar.set(jar.name("x"), b"v") == (b"set-cookie", b"x=v; Path=/; HttpOnly; SameSite=Lax")


def kept(fields):
    """What a browser has of these fields."""
    found = {}
    for _, value in fields:
        name, _, rest = value.partition(b"=")
        if b"Max-Age=0" not in rest:
            found[name] = rest.partition(b";")[0]
    return b"; ".join(b"%b=%b" % pair for pair in found.items())


@given(st.integers(min_value=1, max_value=PIECES * PIECE))
def test_long_values_are_put_together_again(length):
    value = (b"A" + b"bcdefghijklmnopqrstuvw" * 700)[:length]
    fields = JAR.spread(NAME, value, 60)
    assert len(fields) == PIECES
    assert all(len(field) < 4096 for _, field in fields)
    assert JAR.gather(head(kept(fields)), NAME) == value


def test_what_is_too_long_is_not_set():
    assert JAR.spread(NAME, b"A" * (PIECES * PIECE + 1)) is None


def test_values_in_pieces_are_whole_or_nothing():
    fields = JAR.spread(NAME, b"A" * (PIECE + 1))
    first, second = kept(fields).split(b"; ")
    assert JAR.gather(head(first), NAME) == b""
    assert JAR.gather(head(second), NAME) is None
    assert JAR.gather(head(NAME + b"=7." + b"A" * 9), NAME) == b""
    assert JAR.gather(head(NAME + b"=A"), NAME) == b"A"


def test_all_pieces_are_taken_away():
    assert [field.partition(b"=")[0] for _, field in JAR.clear_all(NAME)] == list(names_of(NAME))


@pytest.mark.parametrize(
    ("lines", "left"),
    [
        ([b"__Host-sg_session=1"], []),
        ([b"a=1; __Host-sg_session=1; b=2"], [b"a=1; b=2"]),
        ([b"__Host-sg_session=1; b=2"], [b"b=2"]),
        ([b"a=1; __Host-sg_session_1=x;__Host-sg_oidc_0011aabb=y"], [b"a=1"]),
        ([b"a=1;b=2"], [b"a=1;b=2"]),
        ([b"__Host-sg_session=1", b"__Host-sg_session_3=1; c=3"], [b"c=3"]),
        ([b"__Host-sg_sessions=1"], [b"__Host-sg_sessions=1"]),
        ([b"__Host-sg_session"], []),
        ([], []),
    ],
)
def test_only_our_own_are_concealed(lines, left):
    shown = head(*lines)
    conceal(shown, frozenset(names_of(NAME)), b"__Host-sg_oidc_")
    assert shown.headers == [(b"accept", b"*/*"), *((b"cookie", line) for line in left), (b"x", b"1")]
