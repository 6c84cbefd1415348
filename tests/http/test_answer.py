"""What the response parser takes, refuses and says, one answer at a time."""

from __future__ import annotations

import pytest

from suuupra_gateway.errors import BadResponse, ResponseCut, UpgradeRefused
from suuupra_gateway.http.answer import MAX_FIELDS, MAX_INTERIM, ResponseParser
from suuupra_gateway.http.hygiene import AnswerNames

MAX_HEAD = 2048


def parser(head_only=False):
    made = ResponseParser(AnswerNames(), MAX_HEAD)
    made.expect(head_only)
    return made


def fed(*pieces, head_only=False):
    """The parser after ``pieces``, its head kept, and the whole body."""
    made = parser(head_only)
    head, body = None, b""
    for piece in pieces:
        made.feed(piece)
        if made.head is not None:
            head, made.head = made.head, None
        body += made.body()
    return made, head, body


def refused(*pieces, head_only=False, error=BadResponse):
    with pytest.raises(error):
        fed(*pieces, head_only=head_only)


def test_an_answer_with_a_length_is_complete_at_that_length():
    made, head, body = fed(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-A: b\r\n\r\nhi")
    assert (head.status, head.headers, head.length, head.reason) == (200, [(b"x-a", b"b")], 2, b"")
    assert body == b"hi"
    assert made.complete
    assert made.persistent


@pytest.mark.parametrize("size", [1, 2, 3, 7, 20])
def test_an_answer_may_be_split_anywhere(size):
    raw = (
        b"HTTP/1.1 404 Gone Fishing\r\nX-Ab: cd\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"2\r\nhi\r\n3;x=y\r\nyou\r\n0\r\nX-T: 1\r\n\r\n"
    )
    made, head, body = fed(*[raw[at : at + size] for at in range(0, len(raw), size)])
    assert (head.status, head.reason, head.headers, head.length) == (404, b"Gone Fishing", [(b"x-ab", b"cd")], None)
    assert body == b"hiyou"
    assert made.trailers == [(b"x-t", b"1")]
    assert made.complete
    assert made.persistent


def test_one_parser_takes_one_answer_after_the_other():
    made, _, _ = fed(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-A: b\r\n\r\nhi")
    made.expect(False)
    assert not made.complete
    made.feed(b"HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n")
    assert made.head.status == 201
    assert made.head.headers == []
    assert made.complete


def test_a_body_without_a_length_ends_with_the_connection():
    made, head, body = fed(b"HTTP/1.1 200 OK\r\n\r\nhi", b" you")
    assert (head.length, body, made.complete, made.until_close) == (None, b"hi you", False, True)
    made.eof()
    assert made.complete
    assert not made.persistent


def test_the_end_of_the_connection_completes_nothing_else():
    made, _, _ = fed(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhi")
    with pytest.raises(ResponseCut):
        made.eof()
    assert not made.complete


@pytest.mark.parametrize(
    "fields", [b"Content-Length: 5\r\n", b"Transfer-Encoding: chunked\r\n", b"", b"Content-Length: 0\r\n"]
)
def test_an_answer_to_head_ends_with_its_head(fields):
    made, head, body = fed(b"HTTP/1.1 200 OK\r\n" + fields + b"\r\n", head_only=True)
    assert made.complete
    assert made.persistent
    assert body == b""
    assert head.length == (int(fields[16:17]) if fields[:3] == b"Con" else None)
    made.expect(False)
    made.feed(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx")
    assert made.body() == b"x"
    assert made.complete


def test_a_body_behind_an_answer_to_head_spoils_the_connection():
    made, _, body = fed(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi", head_only=True)
    assert made.complete
    assert not made.persistent
    assert body == b""


@pytest.mark.parametrize(("status", "length"), [(204, None), (304, 5)])
def test_some_statuses_have_no_body_whatever_they_announce(status, length):
    made, head, body = fed(b"HTTP/1.1 %d x\r\nContent-Length: 5\r\n\r\n" % status)
    assert made.complete
    assert made.persistent
    assert (head.length, body) == (length, b"")


@pytest.mark.parametrize(
    "surplus", [b"X", b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", b"HTTP/1.1 2", b"HTTP/1.1 200 OK\r\nX: y"]
)
def test_surplus_behind_an_answer_is_not_part_of_it_and_spoils_the_connection(surplus):
    made, head, body = fed(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-A: b\r\n\r\nhi" + surplus)
    assert made.complete
    assert not made.persistent
    assert body == b"hi"
    assert head.headers == [(b"x-a", b"b")]


@pytest.mark.parametrize(
    ("raw", "persistent"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", True),
        (b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n", False),
        (b"HTTP/1.1 200 OK\r\nConnection: Close\r\nContent-Length: 0\r\n\r\n", False),
        (b"HTTP/1.1 200 OK\r\nConnection: x, close\r\nContent-Length: 0\r\n\r\n", False),
        (b"HTTP/1.1 200 OK\r\nConnection: keep-alive\r\nConnection: close\r\nContent-Length: 0\r\n\r\n", False),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n", False),
        (b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 0\r\n\r\n", True),
        (b"HTTP/1.0 200 OK\r\nConnection: Keep-Alive\r\nContent-Length: 0\r\n\r\n", True),
        (b"HTTP/1.0 200 OK\r\nConnection: keep-alive, close\r\nContent-Length: 0\r\n\r\n", False),
    ],
)
def test_the_connection_persists_as_both_versions_have_it(raw, persistent):
    made, _, _ = fed(raw)
    assert made.complete
    assert made.persistent is persistent


def test_fields_of_the_connection_stay_behind_nominated_or_not():
    _, head, _ = fed(
        b"HTTP/1.1 200 OK\r\nConnection: X-Hop, Content-Type, Set-Cookie\r\nX-Hop: 1\r\nKeep-Alive: timeout=5\r\nUpgrade: h2c\r\n"
        b"Proxy-Authenticate: Basic\r\nTrailer: X-T\r\nContent-Type: text/plain\r\nSet-Cookie: a=b\r\nSet-Cookie: c=d\r\n"
        b"X-Gateway-Error: no_peer\r\nContent-Length: 0\r\n\r\n"
    )
    assert head.headers == [(b"content-type", b"text/plain"), (b"set-cookie", b"a=b"), (b"set-cookie", b"c=d")]


def test_interim_answers_are_swallowed_and_counted():
    made, head, _ = fed(
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
    )
    assert (head.status, head.headers, made.interim, made.complete) == (200, [], 2, True)


def test_an_interim_answer_alone_completes_nothing():
    made, head, _ = fed(b"HTTP/1.1 100 Continue\r\n\r\n")
    assert head is None
    assert made.in_head
    assert not made.complete
    made.feed(b"HTTP/1.0 200 OK\r\n\r\n")
    assert made.head.status == 200
    assert made.version == b"1.0"


def test_interim_answers_without_end_are_refused():
    refused(b"HTTP/1.1 102 Processing\r\n\r\n" * (MAX_INTERIM + 1))


def test_an_interim_answer_has_an_end_too():
    refused(b"HTTP/1.1 100 Continue\r\nX: ", b"x" * MAX_HEAD)
    refused(b"HTTP/1.1 100 Continue\r\nX: %b" % (b"x" * MAX_HEAD))


def test_an_upgrade_that_nobody_asked_for_is_refused():
    refused(
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n", error=UpgradeRefused
    )
    refused(b"HTTP/1.1 101 Switching Protocols\r\n\r\n", error=UpgradeRefused)


@pytest.mark.parametrize(
    "raw",
    [
        b"HTTP/1.1 099 Odd\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 600 Odd\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 2000 Odd\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/0.9 200 OK\r\nContent-Length: 0\r\n\r\n",
        b"RTSP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n",
        b"\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 O\x00K\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 103 O\x00K\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"HT\r\n",
        b"<html>hello</html>",
        b"HTTP/1.1 200 OK\nContent-Length: 0\n\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nhi",
        b"HTTP/1.1 200 OK\r\nContent-Length: +2\r\n\r\nhi",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2, 2\r\n\r\nhi",
        b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\nhi",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nxx",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0x1\r\nx\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\nx\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nxy\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX-A: b\r\n c\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX-A : b\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX-A: b\x00c\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX-A: b\rc\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\nX: \n\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ],
)
def test_what_is_malformed_or_ambiguous_is_refused(raw):
    refused(raw)
    refused(*[raw[at : at + 1] for at in range(len(raw))])


def test_too_short_a_start_may_still_become_a_status_line():
    made = parser()
    for at in b"HTTP/1.1":
        made.feed(bytes([at]))
        assert made.started
        assert made.head is None
    made.feed(b" 200 OK\r\nContent-Length: 0\r\n\r\n")
    assert made.head.status == 200


def test_a_head_may_not_be_longer_than_allowed_in_one_piece_or_in_many():
    raw = b"HTTP/1.1 200 OK\r\n" + b"X-Long: %b\r\n" % (b"x" * MAX_HEAD) + b"Content-Length: 0\r\n\r\n"
    refused(raw)
    refused(*[raw[at : at + 100] for at in range(0, len(raw), 100)])
    refused(b"HTTP/1.1 200 OK\r\nX: ", *[b"xxxx"] * MAX_HEAD)


def test_a_short_head_with_much_of_the_body_is_not_taken_for_a_long_head():
    made, _, body = fed(b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n" + b"x" * 5000)
    assert made.complete
    assert len(body) == 5000


def test_too_many_fields_are_refused_however_short():
    generous = ResponseParser(AnswerNames(), 1 << 20)
    generous.expect(False)
    with pytest.raises(BadResponse, match="header fields"):
        generous.feed(b"HTTP/1.1 200 OK\r\n" + b"a:\r\n" * (MAX_FIELDS + 1) + b"\r\n")


def test_chunk_framing_without_end_is_refused():
    start = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n"
    refused(start, b"1;", *[b"extension"] * MAX_HEAD)


def test_trailers_are_bounded_and_never_merged():
    refused(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX: %b\r\n\r\n" % (b"x" * MAX_HEAD))
    made, head, _ = fed(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX-T: 1\r\nConnection: close\r\n\r\n"
    )
    assert head.headers == []
    assert made.trailers == [(b"x-t", b"1")]
    assert made.persistent
    made.expect(False)
    made.feed(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
    assert made.complete


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"HTTP/1.1 200 OK", b""),
        (b"HTTP/1.1 200", b""),
        (b"HTTP/1.1 200 Alright", b"Alright"),
        (b"HTTP/1.1 299 Mine", b"Mine"),
        (b"HTTP/1.1 200 \xc3\xa4", b"\xc3\xa4"),
    ],
)
def test_a_reason_passes_if_it_is_unusual_and_harmless(line, reason):
    _, head, _ = fed(line + b"\r\nContent-Length: 0\r\n\r\n")
    assert head.reason == reason


def test_a_new_expectation_forgets_what_was_left_of_the_last_answer():
    made = parser()
    made.feed(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi")
    made.expect(False)
    assert made.head is None
    assert made.body() == b""


def test_an_error_of_our_own_in_a_callback_is_not_disguised():
    class Broken(AnswerNames):
        def __missing__(self, name):
            raise ZeroDivisionError

    made = ResponseParser(Broken(), MAX_HEAD)
    made.expect(False)
    with pytest.raises(Exception, match="callback") as caught:
        made.feed(b"HTTP/1.1 200 OK\r\nX: y\r\n\r\n")
    assert not isinstance(caught.value, BadResponse)


@pytest.mark.parametrize(
    "raw",
    [
        b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nhi more",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz",
    ],
)
def test_surplus_that_cannot_be_read_at_all_spoils_no_more_than_the_connection(raw):
    made, head, _ = fed(raw, head_only=b"chunked" in raw)
    assert made.complete
    assert head.status == 200
    assert not made.persistent


def test_a_length_is_checked_even_if_the_c_parser_let_it_pass():
    made = parser()
    with pytest.raises(BadResponse):
        made.on_header(b"Content-Length", b"+1")


def test_an_interim_answer_that_the_c_parser_sees_no_end_of_is_refused():
    made = parser()
    made._feed = lambda data: None
    with pytest.raises(BadResponse, match="does not end"):
        made.feed(b"HTTP/1.1 100 Continue\r\n\r\n")
