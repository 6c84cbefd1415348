"""
The seam over httptools for the answers of upstreams, with the guards that it lacks.

How the parts are used, in order::

    parser = ResponseParser(names, max_head)
    parser.expect(head_only=False)      # once per request on the connection
    parser.feed(data)                   # as bytes come; then look at
    parser.head, parser.body(), parser.complete
    parser.eof()                        # when the connection closed before the answer was complete
    parser.persistent                   # when it is complete

Nothing is called back: what one ``feed`` brought is looked at when it has returned, so that whoever acts upon it may at once
start the next request on the same connection.
"""

from __future__ import annotations

import re
from http import HTTPStatus
from typing import Final

import httptools

from suuupra_gateway.errors import BadResponse, GatewayError, ResponseCut, UpgradeRefused
from suuupra_gateway.http.hygiene import AnswerNames, remove_nominated, tokens
from suuupra_gateway.http.message import Pairs, ResponseHead

MAX_FIELDS: Final = 1000
"""Most header fields of an answer: `max_head` bounds bytes, but each field costs far more memory than its bytes."""

MAX_INTERIM: Final = 32
"""Most 1xx answers before the final one."""

_REGISTERED: Final = {status.value: status.phrase.encode("ascii") for status in HTTPStatus}
# RTSP/1.0, ICE/1.0, HTTP/2.0, status 099 and 600 are all fine for llhttp.
_STARTS: Final = frozenset(b"HTTP/1.%d %d" % (minor, digit) for minor in (0, 1) for digit in (2, 3, 4, 5))
_INTERIM_STARTS: Final = frozenset({b"HTTP/1.0 1", b"HTTP/1.1 1"})
_REASON: Final = re.compile(rb"[\t\x20-\x7e\x80-\xff]*").fullmatch  # RFC 9112 section 4
_NO_OPTIONS: Final[frozenset[bytes]] = frozenset()
_new: Final = ResponseHead.__new__
_NO_CONTENT: Final = frozenset({204, 304})


class ResponseParser:
    """
    Answers of one upstream connection, one at a time. Lives as long as the connection.

    Refuses, beyond what llhttp does: versions other than 1.0 and 1.1, statuses outside of 100 to 599, transfer codings
    other than ``chunked`` (RFC 9112 section 6.1; any at all with HTTP/1.0), 101 (nobody asks for an upgrade here), heads and
    framing without an end. Header fields of the connection are taken out (RFC 9110 section 7.6.1), trailers kept apart.
    """

    __slots__ = (
        "head",
        "complete",
        "trailers",
        "interim",
        "version",
        "started",
        "in_head",
        "until_close",
        "on_body",
        "_max_head",
        "_names",
        "_pieces",
        "_feed",
        "_parser",
        "_fields",
        "_reason",
        "_length",
        "_chunked",
        "_nominated",
        "_keep",
        "_head_only",
        "_versioned",
        "_spent",
        "_surplus",
        "_close",
        "_quiet",
        "_prefix",
        "_interim",
    )

    head: ResponseHead | None
    """The head of the final answer as soon as it is whole; whoever takes it sets this to None."""

    complete: bool
    """Whether the message has ended, or none is expected."""

    trailers: Pairs
    """Trailer fields of a chunked answer, lower-case, once `complete`; never merged (RFC 9110 section 6.5.1)."""

    interim: int
    """1xx answers that were swallowed, over the whole connection."""

    version: bytes
    """``b"1.1"`` or ``b"1.0"``, of the answer at hand."""

    started: bool
    """Whether any byte of the answer at hand has come."""

    in_head: bool
    """Whether the head of the final answer is not yet whole."""

    until_close: bool
    """Whether only the end of the connection ends the body (RFC 9112 section 6.3, rule 8)."""

    def __init__(self, names: AnswerNames, max_head: int) -> None:
        """
        :param names: remembers what is to be done with which header field; may be shared by many parsers.
        :param max_head: most bytes of a head, and of framing between two pieces of a body.
        """
        self._names = names
        self._max_head = max_head
        self._pieces: list[bytes] = []
        self.on_body = self._pieces.append  # llhttp calls this one itself: no Python frame per piece
        self.interim = 0
        self._spent = True
        self.version = b"1.1"
        self.expect(False)
        self.complete = True

    def expect(self, head_only: bool) -> None:
        """
        A request was sent: the next message answers it.

        :param head_only: it was a HEAD request, so the message ends with its head whatever that says (RFC 9110 section 9.3.2).
        """
        if self._spent:
            self._parser = httptools.HttpResponseParser(self)
            self._feed = self._parser.feed_data
            self._spent = False
        self._pieces.clear()
        self.head = None
        self.complete = False
        self.started = self._versioned = False
        self.until_close = False
        self.trailers: Pairs = []
        self._head_only = head_only
        self._surplus = False
        self._prefix = b""
        self._quiet = 0
        self._interim = 0
        self._begin()

    def _begin(self) -> None:
        self._fields: Pairs = []
        self._reason = b""
        self._length: int | None = None
        self._chunked = False
        self._nominated = _NO_OPTIONS
        self._keep = self._close = False
        self.in_head = True

    @property
    def persistent(self) -> bool:
        """Whether the connection may carry another request: nothing came after the message and nobody said close."""
        return not (self._close or self._surplus)

    def body(self) -> bytes:
        """The piece of the body that the last `feed` brought; ``b""`` for none."""
        pieces = self._pieces
        if not pieces:
            return b""
        body = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        pieces.clear()
        return body

    def feed(self, data: bytes) -> None:
        """
        Take bytes as they came from the connection.

        :raises BadResponse: malformed, ambiguous or over a limit; the connection is of no more use.
        :raises UpgradeRefused: the upstream switched protocols without being asked.
        """
        if not self._versioned:
            self.started = True
            if self._prefix or data[:10] not in _STARTS:
                data = self._start(data)
                if not data:
                    return
            self._versioned = True
            self.version = data[5:8]
        self._run(data)
        head = self.head
        if head is not None:
            if self._quiet + len(data) > self._max_head:
                self._check_size(head.headers)
            self._quiet = 0
        elif self._pieces:
            self._quiet = 0
        else:
            self._quiet += len(data)
            if self._quiet > self._max_head and not self.complete:
                raise BadResponse(f"no end of a head or of a chunk's framing within {self._max_head} bytes")
        if self._head_only and self._pieces:
            self._surplus = True
            self._pieces.clear()

    def _start(self, data: bytes) -> bytes:
        """
        The start of a message that is no plain final answer: too few bytes to tell, interim answers, or rubbish.

        :return: the bytes from the status line of the final answer on, if these have come.
        """
        data = self._prefix + data
        self._prefix = b""
        while data[:10] in _INTERIM_STARTS:
            end = data.find(b"\r\n\r\n") + 4
            if end < 4:
                break
            # One at a time: for llhttp there may be empty lines, or another protocol, between two of them.
            interim = self.interim
            self._run(data[:end])
            if self.interim == interim:
                raise BadResponse("an interim answer that does not end with its head")
            data = data[end:]
        if data[:10] in _STARTS:
            return data
        if data[:10] not in _INTERIM_STARTS and not any(start.startswith(data) for start in _INTERIM_STARTS | _STARTS):
            raise BadResponse(f"expected an HTTP/1.1 status line, got {data[:10]!r}")
        if len(data) > self._max_head:
            raise BadResponse(f"no end of an interim answer within {self._max_head} bytes")
        self._prefix = data
        return b""

    def _run(self, data: bytes) -> None:
        try:
            self._feed(data)
        except httptools.HttpParserCallbackError as reason:
            if not self.complete:
                cause = reason.__context__
                raise cause if isinstance(cause, GatewayError) else reason from None
            self._surplus = True
        except httptools.HttpParserError as reason:
            if not self.complete:
                raise BadResponse(f"malformed answer: {reason}") from reason
            self._surplus = True

    def _check_size(self, fields: Pairs) -> None:
        if sum([len(name) + len(value) + 4 for name, value in fields]) > self._max_head:
            raise BadResponse(f"header fields of more than {self._max_head} bytes")

    def eof(self) -> None:
        """
        The connection has ended in an orderly way.

        :raises ResponseCut: unless that completes the message.
        """
        if not self.until_close:
            raise ResponseCut("the connection closed in the middle of the answer")
        self.complete = True

    # -- callbacks of httptools ---------------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        """Called at each status line; behind a complete answer it is surplus."""
        if self.complete:
            raise BadResponse("surplus after the answer")

    def on_status(self, piece: bytes) -> None:
        """Called with pieces of the reason phrase."""
        self._reason += piece

    def on_header(self, name: bytes, value: bytes) -> None:
        """Called with each header field, and with each trailer field after the body."""
        key = self._names[name]
        if key:
            self._fields.append((key, value))
        elif self.in_head:
            self._special(name.lower(), value.rstrip(b" \t"))

    def _special(self, name: bytes, value: bytes) -> None:
        if name == b"content-length":
            # llhttp refuses a second one, and one that does not fit into 64 bits.
            if not value.isdigit():
                raise BadResponse(f"content-length {value!r}")
            self._length = int(value)
        elif name == b"connection":
            if value == b"keep-alive":
                self._keep = True
            elif value == b"close":
                self._close = True
            else:
                options = tokens([value])
                self._keep = self._keep or b"keep-alive" in options
                self._close = self._close or b"close" in options
                self._nominated |= options
        elif name == b"transfer-encoding":
            if self._chunked or value.lower() != b"chunked":
                raise BadResponse(f"transfer-encoding {value!r}")
            self._chunked = True

    def on_headers_complete(self) -> None:
        """Called when a head is whole: what it says about framing is settled here."""
        status = self._parser.get_status_code()
        reason = self._reason
        if reason == _REGISTERED.get(status):
            reason = b""
        elif not _REASON(reason):
            raise BadResponse(f"reason phrase {reason!r}")
        if status < 200:
            self._not_final(status)
            return
        fields = self._fields
        if len(fields) > MAX_FIELDS:
            raise BadResponse(f"more than {MAX_FIELDS} header fields")
        modern = self.version == b"1.1"
        if self._nominated:
            remove_nominated(fields, self._nominated)
        if not (modern or self._keep):
            self._close = True  # RFC 9112 section 9.3
        length = self._length
        if self._head_only:
            self.complete = True
            self._spent = True  # llhttp expects a body now; what may follow is no part of the head
            self._fields = []
        elif status in _NO_CONTENT:
            if status == 204:
                length = None  # RFC 9110 section 8.6: it must not announce one
        elif self._chunked:
            if not modern:
                raise BadResponse("transfer-encoding with HTTP/1.0")  # RFC 9112 section 6.1: faulty framing
            self.trailers = []
            self._fields = self.trailers
        elif length is None:
            self.until_close = self._close = True
        self.in_head = False
        self.head = head = _new(ResponseHead)  # a third of the cost of calling the class
        head.status = status
        head.reason = reason
        head.headers = fields
        head.length = length

    def _not_final(self, status: int) -> None:
        if status == 101:
            raise UpgradeRefused("the upstream switched protocols without being asked")
        self.interim += 1
        self._interim += 1
        if self._interim > MAX_INTERIM:
            raise BadResponse(f"more than {MAX_INTERIM} interim answers")

    def on_message_complete(self) -> None:
        """Called when a message has ended; an interim one only makes way for the next."""
        if self.in_head:
            self._begin()
            return
        if self.trailers:
            self._check_size(self.trailers)
        self.complete = True
        # llhttp reads `Connection` in trailers too, and knows HTTP/1.0's better than we need: do not rely on its memory then.
        self._spent = bool(self.trailers) or self.version != b"1.1"
