"""Where browsers may be sent to: nowhere but home, and where the configuration says."""

from urllib.parse import unquote, urljoin, urlsplit

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from suuupra_gateway.auth.returning import LONGEST, Returns, origin_of

HOME = "https://shop.example.org"
RETURNS = Returns(f"{HOME}/_login/callback", ("https://app.example.org", "http://localhost:3000"))


@pytest.mark.parametrize(
    "target",
    [
        "/",
        "/orders",
        "/orders?x=1&y=//evil.example",
        "/a?b=https://evil.example#c",
        "/a%20b",
        "/caf%C3%A9",
        "/a/./b",
        "/~x",
    ],
)
def test_paths_of_our_own_are_good(target):
    assert RETURNS.safe(target) == target


@pytest.mark.parametrize(
    "target",
    [
        "",
        "orders",
        "//evil",
        "///evil",
        "/\\evil",
        "\\\\evil",
        "/%2f%2fevil",
        "/%2Fevil",
        "/%5cevil",
        "/%252fevil",
        "/%2525252525252fevil",
        "/\t/evil",
        "/\n/evil",
        "/%09/evil",
        "/%0a/evil",
        "/\x00/evil",
        " /evil",
        "https:evil",
        "https:/evil",
        "https:///evil",
        "https://evil",
        "HTTPS://evil",
        "https://shop.example.org@evil",
        "https://a@evil@shop.example.org",
        "https://shop.example.org.evil",
        "https://shop.example.org:443@evil",
        "https://shop.example.org\\@evil",
        "https://shop.example.org%00.evil/",
        "http://shop.example.org/",
        "https://shop.example.org:444/",
        "https://shop.example.org//evil",
        "https://shop.example.org/%2fevil",
        "https://app.example.org//evil",
        "javascript:alert(1)",
        "data:text/html,x",
        "//shop.example.org/",
        "/a\r\nSet-Cookie: x=1",
        "/é",
        '/"><script>alert(1)</script>',
        "/%zz",
        "/" + "a" * LONGEST,
    ],
)
def test_all_others_are_not(target):
    assert RETURNS.safe(target) is None


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("https://shop.example.org", "/"),
        ("https://shop.example.org/", "/"),
        ("https://SHOP.example.org:443/orders?x=1", "/orders?x=1"),
        ("https://shop.example.org?x=1", "/?x=1"),
        ("https://app.example.org", "https://app.example.org/"),
        ("https://app.example.org/a?b#c", "https://app.example.org/a?b#c"),
        ("http://localhost:3000/a", "http://localhost:3000/a"),
    ],
)
def test_origins_are_compared_as_browsers_do(target, expected):
    assert RETURNS.safe(target) == expected


PIECES = st.sampled_from(
    [
        *(
            "/",
            "//",
            "\\",
            "%2f",
            "%5c",
            "%252F",
            "%09",
            "\t",
            "\r",
            "\n",
            " ",
            "@",
            ":",
            "?",
            "#",
            ".",
            "%00",
            "[",
            "]",
        ),
        *("evil", "https:", "http://", ";", "é", "%", "javascript:", "shop.example.org", "app.example.org", HOME),
    ]
)


def as_browsers_do(location: str) -> str:
    """Where a browser ends up (WHATWG URL): tabs and line feeds are dropped, backslashes are slashes."""
    plain = location.strip("".join(map(chr, range(0x21)))).translate({9: None, 10: None, 13: None}).replace("\\", "/")
    split = urlsplit(urljoin(f"{HOME}/x", plain))
    return f"{split.scheme}://{split.netloc.rpartition('@')[2]}".lower()


@given(st.lists(PIECES, max_size=8).map("".join) | st.text(max_size=30))
@example("/%2f%2fevil")
@example("https://shop.example.org@evil")
@example("/\t/evil")
def test_no_text_leads_anywhere_else(target):
    """Neither as it is, nor when somebody on the way decodes it a few times."""
    found = RETURNS.safe(target)
    if found is None:
        return
    for _ in range(4):
        origin = as_browsers_do(found)
        assert origin in (HOME, "https://app.example.org", "http://localhost:3000"), target
        path, mark, query = found.partition("?")
        found = unquote(path) + mark + query


@given(st.lists(PIECES, max_size=8).map("".join))
def test_what_is_safe_stays_the_same(target):
    found = RETURNS.safe(target)
    assert found is None or RETURNS.safe(found) == found


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://A.example", "https://a.example"),
        ("https://a.example:443/x", "https://a.example"),
        ("http://a.example:0080", "http://a.example:80"),
        ("http://a.example:80", "http://a.example"),
        ("http://[::1]:3000/x", "http://[::1]:3000"),
        ("https://u:p@a.example", None),
        ("ftp://a.example", None),
        ("/a", None),
    ],
)
def test_origins(url, expected):
    assert origin_of(url) == expected


def test_an_odd_redirect_uri_is_its_own_origin():
    """`check` has refused it already."""
    assert Returns("https://user@shop.example.org/x").origin == "https://user@shop.example.org"
    assert Returns(HOME, ("nonsense",)).safe("nonsense") is None
