"""
Heads of answers as bytes: status line, fields, and the framing that is ours to choose.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import Final

from suuupra_gateway.errors import Bug
from suuupra_gateway.http.message import Pairs, ResponseHead

REASONS: Final[dict[int, bytes]] = {status.value: status.phrase.encode("ascii") for status in HTTPStatus}
"""Registered reason phrases (RFC 9110 section 15); purely decorative, RFC 9112 section 4."""

_STATUS_LINES: Final = {
    # RFC 9112 section 2.3: we send our own version, whatever the client's is.
    status: b"HTTP/1.1 %d %b\r\n" % (status, REASONS.get(status, b"Unknown"))
    for status in range(100, 600)
}

_colon: Final = b": ".join

CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"

LAST_CHUNK: Final = b"0\r\n\r\n"


def response_head(head: ResponseHead, version: bytes, keep: bool, date: bytes, chunked: bool) -> bytes:
    """
    The head of a final answer, up to and with the empty line.

    :param version: the client's, ``b"1.1"`` or ``b"1.0"``.
    :param keep: whether another request may follow on the connection.
    :param date: an IMF-fixdate, used unless the head has a ``date`` of its own (RFC 9110 section 6.6.1).
    :param chunked: whether a body of unknown length follows as chunks; False with ``length`` None means no framing fields: the
        answer has no body, or ends with the connection.
    :raises Bug: a field holds a line break, which would make two messages of one (RFC 9110 section 5.5).
    """
    headers = head.headers
    status = head.status
    fields = b"\r\n".join(map(_colon, headers))
    breaks = len(headers) - 1
    if breaks >= 0:
        if fields.count(b"\n") != breaks or fields.count(b"\r") != breaks:
            raise Bug("a field of the answer's head holds a line break")
        fields += b"\r\n"
    if not head.reason:
        line = _STATUS_LINES[status]
    elif b"\n" in head.reason or b"\r" in head.reason:
        raise Bug("the answer's reason phrase holds a line break")
    else:
        line = b"HTTP/1.1 %d %b\r\n" % (status, head.reason)
    length = head.length
    if length is not None and status != 204:
        # RFC 9110 section 8.6: never with 204
        framing = b"content-length: %d\r\n" % length
    elif chunked:
        framing = b"transfer-encoding: chunked\r\n"
    else:
        framing = b""
    if not keep:
        framing += b"connection: close\r\n"
    elif version == b"1.0":
        # RFC 9112 appendix C.2.2: an HTTP/1.0 client that asked for it must be told.
        framing += b"connection: keep-alive\r\n"
    for name, _ in headers:
        if name == b"date":
            return b"".join((line, fields, framing, b"\r\n"))
    return b"".join((line, fields, framing, b"date: ", date, b"\r\n\r\n"))


def interim_head(head: ResponseHead) -> bytes:
    """
    A 1xx answer (RFC 9110 section 15.2): no framing, no date.

    :raises Bug: a field holds a line break.
    """
    return _STATUS_LINES[head.status] + _fields(head.headers) + b"\r\n"


def last_chunk(trailers: Pairs | None) -> bytes:
    """
    The end of a chunked body (RFC 9112 section 7.1.2).

    :raises Bug: a trailer holds a line break.
    """
    return b"0\r\n%b\r\n" % _fields(trailers) if trailers else LAST_CHUNK


def _fields(pairs: Pairs) -> bytes:
    fields = b"".join([b"%b: %b\r\n" % pair for pair in pairs])
    if fields.count(b"\n") != len(pairs) or fields.count(b"\r") != len(pairs):
        raise Bug("a field holds a line break")
    return fields
