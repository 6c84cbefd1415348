"""What of a request names its sender."""

from __future__ import annotations

import pytest

from suuupra_gateway.http.message import RequestHead
from suuupra_gateway.memory import MemoryExchange
from suuupra_gateway.upstreams.keys import key_of


def exchange(*headers):
    return MemoryExchange(RequestHead(b"GET", b"/a/b", list(headers)), client="192.0.2.9")


def test_the_client_and_the_path_are_always_there():
    assert key_of("client")(exchange()) == b"192.0.2.9"
    assert key_of("path")(exchange()) == b"/a/b"


def test_a_header_is_compared_without_case_and_may_be_missing():
    key = key_of("header:X-Session")
    assert key(exchange((b"x-session", b"7"), (b"x-session", b"8"))) == b"7"
    assert key(exchange()) == b""


@pytest.mark.parametrize(
    ("cookies", "found"),
    [
        ([b"sid=7"], b"7"),
        ([b"a=b; sid=7; c=d"], b"7"),
        ([b"xsid=1;sid=7"], b"7"),
        ([b"xsid=1"], b""),
        ([b"a=b", b"sid=7"], b"7"),
        ([], b""),
    ],
)
def test_a_cookie_is_found_wherever_it_stands(cookies, found):
    assert key_of("cookie:sid")(exchange((b"accept", b"sid=x"), *[(b"cookie", value) for value in cookies])) == found


@pytest.mark.parametrize("text", ["", "user", "header:", "cookie:", "query:x"])
def test_other_keys_are_refused(text):
    with pytest.raises(ValueError, match="expected"):
        key_of(text)
