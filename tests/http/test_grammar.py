"""
The productions, at their edges.
"""

import pytest

from suuupra_gateway.http import grammar


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"a", (b"a", b"a")),
        (b"A.Example:8080", (b"a.example:8080", b"a.example")),
        (b"a.example.", (b"a.example.", b"a.example")),
        (b"a.example.:80", (b"a.example.:80", b"a.example")),
        (b"a.example:", (b"a.example:", b"a.example")),
        (b"127.0.0.1", (b"127.0.0.1", b"127.0.0.1")),
        (b"[::1]:8443", (b"[::1]:8443", b"[::1]")),
        (b"[2001:DB8::1]", (b"[2001:db8::1]", b"[2001:db8::1]")),
        (b"under_score.example", (b"under_score.example", b"under_score.example")),
    ],
)
def test_hosts_lose_case_port_and_final_dot(value, expected):
    assert grammar.parse_host(value) == expected


@pytest.mark.parametrize(
    "value",
    [
        *(
            b"",
            b":80",
            b".",
            b".a",
            b"a b",
            b"a,b",
            b"a/b",
            b"a@b",
            b"a:b",
            b"a:123456",
            b"a%41",
            b"[::1",
            b"::1",
            b"a\x00",
        ),
        *(b"[v1.x]", b"[]", b"a" * 256, b"\xc3\xa4", b"a\n", b"<a>"),
    ],
)
def test_malformed_hosts_are_none(value):
    assert grammar.parse_host(value) is None


def test_lists_of_tokens_lose_white_space_case_and_empty_elements():
    assert grammar.tokens(b" Keep-Alive ,\tClose,, ,x") == [b"keep-alive", b"close", b"x"]
    assert grammar.tokens(b"") == []


@pytest.mark.parametrize(
    ("accept", "html"),
    [
        (None, False),
        (b"*/*", False),
        (b"text/*", False),
        (b"text/html", True),
        (b"TEXT/HTML", True),
        (b"text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", True),
        (b"application/json, text/html;q=0.9", False),
        (b"application/json;q=0.5, text/html;q=0.9", True),
        (b"application/problem+json, text/html", False),
        (b"text/html;q=0", False),
        (b"text/html;q=rubbish", False),
        (b"text/html;level=1;q=0.5", True),
    ],
)
def test_html_is_for_those_who_prefer_it(accept, html):
    assert grammar.prefers_html(accept) is html


@pytest.mark.parametrize("rubbish", [b"\x00", b"a\nb", b"\n", b"a\rb", b"\x7f", b"a\r\rb", b"\x1b", b"\x0b"])
def test_strays_are_found_in_parts_of_heads(rubbish):
    assert grammar.stray(b"GET / HTTP/1.1\r\n" + rubbish)


def test_a_line_end_is_no_stray_even_when_half_of_it_came():
    assert not grammar.stray(b"GET / HTTP/1.1\r\nA: \tb\xff\r\n")
    assert not grammar.stray(b"GET / HTTP/1.1\r")
    head = b"GET / HTTP/1.1\r\n"
    assert not grammar.stray(head, len(head) - 1)


@pytest.mark.parametrize("line", [b"0", b"1F", b"fffffffffffffff", b"5;a", b'5;a="b c";\tx'])
def test_chunk_lines(line):
    assert grammar.chunk_line(line)


@pytest.mark.parametrize(
    "line", [b"", b"g", b" 5", b"5 ", b"5 ;a", b"0x5", b"1000000000000000", b"5;\x00", b"5;\xff", b"+5"]
)
def test_what_is_no_chunk_line(line):
    assert not grammar.chunk_line(line)


def test_request_ids_are_short_and_plain():
    assert grammar.request_id(b"0190a1b2-c3d4_X")
    assert grammar.request_id(b"x" * 64)
    assert not any(map(grammar.request_id, [b"", b"x" * 65, b"a b", b"a\n", b'"', b"\xc3"]))
