"""
The bytes of one connection, cut into the heads and bodies of requests, one at a time and never further.

What comes after the message at hand stays in `Intake.rest` as it came: a pipelined request is not looked at before the one
ahead of it has been answered. In order::

    intake.rest += data
    head = intake.head()          # None: not all of it there yet
    data = intake.body()          # any number of times, until intake.open is False
    intake.trailers
"""

from __future__ import annotations

from suuupra_gateway.errors import BadRequest, HeadTooLarge, TargetTooLong
from suuupra_gateway.http import grammar
from suuupra_gateway.http.chunked import ChunkReader
from suuupra_gateway.http.message import Pairs, RequestHead
from suuupra_gateway.http.parser import RequestParser, check_line
from suuupra_gateway.http.rules import HeadRules


class Intake:
    """
    Reads requests from bytes; does no I/O. Lives as long as its connection.

    States: between messages or in a head (`open` is False), in a body (`open` is True). After an exception it is of no use.
    """

    __slots__ = ("rest", "open", "left", "trailers", "parser", "_rules", "_parse", "_scanned", "_skipped", "_chunks")

    rest: bytes
    """What was received and not yet taken."""

    open: bool
    """Whether a body has begun that is not complete."""

    left: int
    """Bytes of the body still to come if its length was declared, else 0."""

    trailers: Pairs
    """The trailer fields of the last chunked body."""

    parser: RequestParser
    """Its ``keep`` and ``expects`` belong to the last head."""

    def __init__(self, rules: HeadRules) -> None:
        self.rest = b""
        self.open = False
        self.left = 0
        self.trailers = []
        self.parser = RequestParser(rules)
        self._rules = rules
        self._parse = self.parser.parse
        self._scanned = 0
        self._skipped = False
        self._chunks: ChunkReader | None = None

    def head(self) -> RequestHead | None:
        """
        The next head, if all of it is there. Only between messages.

        :raises GatewayError: as `RequestParser.parse`, some of it before the head is complete; ``rest`` is as it was.
        """
        rest = self.rest
        end = rest.find(b"\r\n\r\n", self._scanned)
        line = rest.find(b"\r\n")
        if end < 0 or line == 0:
            return self._incomplete(line)
        if end + 4 == len(rest):
            head = self._parse(rest, line)
            self.rest = b""
        else:
            head = self._parse(rest[: end + 4], line)
            self.rest = rest[end + 4 :]
        self._scanned = 0
        self._skipped = False
        if head.chunked:
            self.open = True
            self._chunks = ChunkReader(self._rules)
        elif head.content_length:
            self.open = True
            self.left = head.content_length
        return head

    def _incomplete(self, line: int) -> RequestHead | None:
        rest = self.rest
        if line == 0:
            # RFC 9112 section 2.2: one empty line before a request line is ignored; old clients send it after a body.
            if self._skipped:
                raise BadRequest("empty lines before the request line")
            self._skipped = True
            self._scanned = 0
            self.rest = rest[2:]
            return self.head() if self.rest else None
        if grammar.stray(rest, self._scanned):
            raise BadRequest("a control character or a bare line end in the head")
        if line < 0:
            if len(rest) > self._rules.request_line + 1:
                raise TargetTooLong("a request line without an end")
        else:
            check_line(rest[:line])
            if line > self._rules.request_line:
                raise TargetTooLong(f"request line of {line} bytes")
            if len(rest) - line > self._rules.head + 4 or rest.count(b"\n") - 1 > self._rules.headers:
                raise HeadTooLarge("header fields without an end")
        self._scanned = max(0, len(rest) - 3)
        return None

    def body(self) -> bytes:
        """
        What there is of the body, decoded; ``open`` turns False with its last byte. Only while ``open``.

        :raises BadRequest: a malformed chunked body.
        :raises HeadTooLarge: its trailers exceed the limits.
        """
        rest = self.rest
        chunks = self._chunks
        if chunks is not None:
            data, self.rest = chunks.read(rest)
            if chunks.complete:
                self.open = False
                self.trailers = chunks.trailers
                self._chunks = None
            return data
        left = self.left
        if len(rest) < left:
            self.left = left - len(rest)
            self.rest = b""
            return rest
        self.rest = rest[left:]
        self.left = 0
        self.open = False
        return rest[:left]

    def glimpse(self) -> tuple[bytes, bytes]:
        """Method and target of a head that was refused, as far as they can be told and logged; else empty."""
        parts = self.rest[: self._rules.request_line].split(b"\r", 1)[0].split(b" ")
        method = parts[0] if parts[0] in grammar.METHODS else b""
        target = parts[1] if method and len(parts) > 1 and grammar.visible(parts[1]) else b""
        return method, target
