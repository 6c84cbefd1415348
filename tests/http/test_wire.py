"""
Heads of answers as bytes.
"""

import pytest

from suuupra_gateway.errors import Bug
from suuupra_gateway.http.message import ResponseHead
from suuupra_gateway.http.wire import LAST_CHUNK, REASONS, interim_head, last_chunk, response_head

DATE = b"Sun, 06 Nov 1994 08:49:37 GMT"


def head(status=200, headers=(), version=b"1.1", keep=True, chunked=False, **kwargs):
    return response_head(ResponseHead(status, list(headers), **kwargs), version, keep, DATE, chunked)


def test_a_head_has_status_fields_framing_and_date():
    assert head(headers=[(b"a", b"b"), (b"a", b"")], length=5) == (
        b"HTTP/1.1 200 OK\r\na: b\r\na: \r\ncontent-length: 5\r\ndate: " + DATE + b"\r\n\r\n"
    )


def test_a_date_that_came_with_the_answer_stays():
    assert head(headers=[(b"x", b"y"), (b"date", b"yesterday")]) == (
        b"HTTP/1.1 200 OK\r\nx: y\r\ndate: yesterday\r\n\r\n"
    )


@pytest.mark.parametrize(
    ("version", "keep", "line"),
    [
        (b"1.1", True, b""),
        (b"1.1", False, b"connection: close\r\n"),
        (b"1.0", True, b"connection: keep-alive\r\n"),
        (b"1.0", False, b"connection: close\r\n"),
    ],
)
def test_what_is_said_about_the_connection(version, keep, line):
    assert head(version=version, keep=keep, length=0) == (
        b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n" + line + b"date: " + DATE + b"\r\n\r\n"
    )


@pytest.mark.parametrize(
    ("status", "length", "chunked", "framing"),
    [
        (200, 0, False, b"content-length: 0"),
        (200, None, True, b"transfer-encoding: chunked"),
        (200, None, False, None),
        (304, 7, False, b"content-length: 7"),
        (304, None, False, None),
        (204, 0, False, None),
        (204, None, False, None),
    ],
)
def test_framing(status, length, chunked, framing):
    lines = head(status, length=length, chunked=chunked).split(b"\r\n")[1:-3]
    assert lines == ([framing] if framing else [])


def test_reasons():
    assert head(404).startswith(b"HTTP/1.1 404 Not Found\r\n")
    assert head(599).startswith(b"HTTP/1.1 599 Unknown\r\n")
    assert head(200, reason=b"Fine").startswith(b"HTTP/1.1 200 Fine\r\n")
    assert REASONS[504] == b"Gateway Timeout"


@pytest.mark.parametrize("bad", [b"\r", b"\n", b"\r\n", b"a\r\nset-cookie: b", b"\n\r"])
def test_a_line_break_in_a_field_makes_no_second_field(bad):
    for pair in ((b"a", bad), (bad, b"a")):
        with pytest.raises(Bug):
            head(headers=[pair])
        with pytest.raises(Bug):
            last_chunk([pair])
        with pytest.raises(Bug):
            interim_head(ResponseHead(103, [pair]))
    with pytest.raises(Bug):
        head(reason=bad)


def test_interim_answers_have_no_framing():
    assert interim_head(ResponseHead(103, [(b"link", b"</a>")])) == b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n"
    assert interim_head(ResponseHead(102, [])) == b"HTTP/1.1 102 Processing\r\n\r\n"


def test_the_last_chunk_holds_the_trailers():
    assert last_chunk(None) == last_chunk([]) == LAST_CHUNK == b"0\r\n\r\n"
    assert last_chunk([(b"x", b"1"), (b"y", b"")]) == b"0\r\nx: 1\r\ny: \r\n\r\n"
