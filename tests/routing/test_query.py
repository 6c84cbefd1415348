"""
Query strings, for conditions on their parameters.
"""

from __future__ import annotations

from urllib.parse import parse_qsl, urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from suuupra_gateway.routing.query import parameters_of


@pytest.mark.parametrize(
    ("query", "parameters"),
    [
        (None, {}),
        (b"", {}),
        (b"a", {b"a": [b""]}),
        (b"a=", {b"a": [b""]}),
        (b"a=1&b=2&a=3", {b"a": [b"1", b"3"], b"b": [b"2"]}),
        (b"&&a=1&", {b"a": [b"1"]}),
        (b"a+b=c+d", {b"a b": [b"c d"]}),
        (b"%61=%2B%26%3d", {b"a": [b"+&="]}),
        (b"a=b=c", {b"a": [b"b=c"]}),
        (b"a=1;b=2", {b"a": [b"1;b=2"]}),
        (b"a=100%", {b"a": [b"100%"]}),
        (b"a=%zz%4", {b"a": [b"%zz%4"]}),
        (b"=x", {b"": [b"x"]}),
        (b"a=%ff", {b"a": [b"\xff"]}),
    ],
)
def test_parameters_are_decoded_like_forms(query: bytes | None, parameters: dict[bytes, list[bytes]]) -> None:
    assert parameters_of(query) == parameters


@given(st.lists(st.tuples(st.text(max_size=3), st.text(max_size=3)), max_size=5))
def test_parameters_agree_with_the_standard_library(pairs: list[tuple[str, str]]) -> None:
    query = urlencode(pairs)
    expected: dict[bytes, list[bytes]] = {}
    for name, value in parse_qsl(query, keep_blank_values=True):
        expected.setdefault(name.encode(), []).append(value.encode())
    assert parameters_of(query.encode()) == expected
