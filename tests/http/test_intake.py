"""
Requests cut out of a stream.
"""

from contextlib import suppress

import pytest

from suuupra_gateway.errors import BadRequest, GatewayError, HeadTooLarge, TargetTooLong, VersionNotSupported
from suuupra_gateway.http.intake import Intake
from suuupra_gateway.http.rules import HeadRules

GET = b"GET /%d HTTP/1.1\r\nHost: a\r\n\r\n"


def feed(intake, data):
    intake.rest += data
    return intake.head()


def test_heads_come_one_at_a_time_and_the_rest_stays():
    intake = Intake(HeadRules())
    assert feed(intake, GET % 1 + GET % 2 + b"GET").path == b"/1"
    assert intake.rest == GET % 2 + b"GET"
    assert intake.head().path == b"/2"
    assert intake.rest == b"GET"
    assert intake.head() is None
    assert not intake.open


def test_a_head_byte_by_byte():
    intake = Intake(HeadRules())
    heads = [feed(intake, bytes([byte])) for byte in GET % 7]
    assert heads[-1].path == b"/7"
    assert heads[:-1] == [None] * (len(heads) - 1)


def test_a_body_of_known_length():
    intake = Intake(HeadRules())
    feed(intake, b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhe")
    assert intake.open
    assert intake.body() == b"he"
    assert intake.left == 3
    intake.rest = b"lloGET"
    assert intake.body() == b"llo"
    assert not intake.open
    assert intake.rest == b"GET"


def test_a_chunked_body():
    intake = Intake(HeadRules())
    feed(intake, b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3")
    assert intake.body() == b"he"
    assert intake.open
    intake.rest += b"\r\nllo\r\n0\r\nT: 1\r\n\r\nGET"
    assert intake.body() == b"llo"
    assert not intake.open
    assert intake.trailers == [(b"t", b"1")]
    assert intake.rest == b"GET"


def test_a_plain_body_after_a_chunked_one():
    intake = Intake(HeadRules())
    feed(intake, b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n")
    intake.body()
    feed(intake, b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\n0\r\n")
    assert intake.body() == b"0\r\n"
    assert not intake.open


def test_an_empty_body_is_none():
    intake = Intake(HeadRules())
    feed(intake, b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n")
    assert not intake.open


def test_one_empty_line_before_a_request_is_ignored():
    intake = Intake(HeadRules())
    assert feed(intake, b"\r") is None
    assert feed(intake, b"\n") is None
    assert intake.rest == b""
    assert feed(intake, GET % 1).path == b"/1"
    assert feed(intake, b"\r\n" + GET % 2).path == b"/2"
    with pytest.raises(BadRequest):
        feed(intake, b"\r\n\r\n")


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (b"\x16\x03\x01", BadRequest),
        (b"GET / HTTP/1.1\n", BadRequest),
        (b"GET /\r\n", BadRequest),
        (b"GET / HTTP/2.0\r\n", VersionNotSupported),
        (b"GET /" + b"a" * 100, TargetTooLong),
        (b"GET /" + b"a" * 100 + b" HTTP/1.1\r\n", TargetTooLong),
        (b"GET / HTTP/1.1\r\nA: " + b"a" * 200, HeadTooLarge),
        (b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 6, HeadTooLarge),
    ],
)
def test_a_head_that_cannot_become_good_is_refused_at_once(data, error):
    with pytest.raises(error):
        feed(Intake(HeadRules(request_line=80, head=150, headers=5)), data)


def test_limits_do_not_hit_a_head_that_keeps_them():
    rules = HeadRules(request_line=14, head=24, headers=2)
    raw = b"GET / HTTP/1.1\r\nHost: a\r\nX: 456789012\r\n\r\n"
    intake = Intake(rules)
    for byte in raw[:-1]:
        assert feed(intake, bytes([byte])) is None
    assert feed(intake, raw[-1:]).headers[1] == (b"x", b"456789012")


@pytest.mark.parametrize(
    ("raw", "seen"),
    [
        (b"GET /a?b HTTP/3.0\r\n", (b"GET", b"/a?b")),
        (b"GET /a", (b"GET", b"/a")),
        (b"GET", (b"GET", b"")),
        (b"BREW /a HTTP/1.1\r\n", (b"", b"")),
        (b"GET /\x1b[31m HTTP/1.1\r\n", (b"GET", b"")),
        (b"\x16\x03", (b"", b"")),
        (b"", (b"", b"")),
    ],
)
def test_what_can_be_told_of_a_refused_head(raw, seen):
    intake = Intake(HeadRules())
    with suppress(GatewayError):
        feed(intake, raw)
    assert intake.glimpse() == seen
