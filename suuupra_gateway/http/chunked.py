"""
The chunked transfer coding of requests (RFC 9112 section 7.1), decoded strictly.

Our own and not httptools', because that goes on with the next message in the same call, bounds neither extensions nor
trailers, and hands trailers out as header fields.
"""

from __future__ import annotations

from typing import Final

from suuupra_gateway.errors import BadRequest, HeadTooLarge
from suuupra_gateway.http import grammar
from suuupra_gateway.http.message import Pairs
from suuupra_gateway.http.rules import HeadRules

_SIZE: Final = 0
_BYTES: Final = 1
_GAP: Final = 2
_TRAILERS: Final = 3

LONGEST_LINE: Final = 512
"""Bytes of a chunk's size and extension. Signed uploads (AWS SigV4) need about 90."""

EXTENSIONS: Final = 16 * 1024
"""Bytes of extensions that come free with a body; beyond them each needs a byte of data (CVE-2024-22019 and relatives)."""

# RFC 9110 section 6.5.1: fields that frame or route the message are of no use once it has been framed and routed.
_FORBIDDEN: Final = frozenset(
    {b"content-length", b"transfer-encoding", b"host", b"connection", b"trailer", b"te", b"upgrade"}
)


class ChunkReader:
    """
    Decodes one chunked body.

    States: size line, bytes of a chunk, the CRLF behind them, trailers; then `complete`.
    """

    __slots__ = ("complete", "trailers", "_rules", "_state", "_left", "_credit", "_scanned")

    complete: bool
    """Whether the last byte of the message has been read."""

    trailers: Pairs
    """Trailer fields, lower-case names; meaningful when `complete`."""

    def __init__(self, rules: HeadRules) -> None:
        self._rules = rules
        self._state = _SIZE
        self._left = 0
        self._credit = EXTENSIONS
        self._scanned = 0  # bytes of trailers that were looked at: a sender of single bytes must not make us look again
        self.complete = False
        self.trailers = []

    def read(self, data: bytes) -> tuple[bytes, bytes]:
        """
        Decode as much as there is.

        :param data: what was left by the last call, and what came since.
        :return: bytes of the body, all chunks joined, and the rest, which is bounded unless the message is `complete`.
        :raises BadRequest: this is no chunked body.
        :raises HeadTooLarge: trailers over the limits for heads.
        """
        pieces: list[bytes] = []
        position, size = 0, len(data)
        while True:
            if self._state == _BYTES:
                piece = data[position : position + self._left]
                if piece:
                    pieces.append(piece)
                    position += len(piece)
                    self._left -= len(piece)
                if self._left:
                    break
                self._state = _GAP
            elif self._state == _GAP:
                gap = data[position : position + 2]
                if gap != b"\r\n":
                    if gap in (b"", b"\r"):
                        break
                    raise BadRequest("no CRLF after a chunk")
                position += 2
                self._state = _SIZE
            elif self._state == _SIZE:
                end = data.find(b"\r\n", position, position + LONGEST_LINE + 2)
                if end < 0:
                    if size - position > LONGEST_LINE + 1 or b"\n" in data[position:]:
                        raise BadRequest("malformed chunk size, or an extension without an end")
                    break
                self._left = self._size(data, position, end)
                position = end + 2
                self._state = _BYTES if self._left else _TRAILERS
            else:
                position = self._read_trailers(data, position)
                break
        return (pieces[0] if len(pieces) == 1 else b"".join(pieces)), data[position:]

    def _size(self, data: bytes, position: int, end: int) -> int:
        line = grammar.chunk_line(data, position, end)
        if line is None:
            raise BadRequest("malformed chunk size or extension")
        digits = line[1]
        number = int(digits, 16)
        self._credit += number - (end - position - len(digits))
        if self._credit < 0:
            raise BadRequest("more chunk extensions than data")
        self._credit = min(self._credit, EXTENSIONS)
        return number

    def _read_trailers(self, data: bytes, position: int) -> int:
        if data.startswith(b"\r\n", position):
            self.complete = True
            return position + 2
        end = data.find(b"\r\n\r\n", position + self._scanned)
        if end < 0:
            if len(data) - position > self._rules.head + 2:
                raise HeadTooLarge("trailers without an end")
            if grammar.stray(data, position + self._scanned):
                raise BadRequest("malformed trailers")
            self._scanned = max(0, len(data) - position - 3)
            return position
        if end - position > self._rules.head:
            raise HeadTooLarge("trailers too long")
        lines = data[position:end].split(b"\r\n")
        if len(lines) > self._rules.headers:
            raise HeadTooLarge("too many trailers")
        self.trailers = [pair for pair in map(self._trailer, lines) if pair is not None]
        self.complete = True
        return end + 4

    def _trailer(self, line: bytes) -> tuple[bytes, bytes] | None:
        field = grammar.field_line(line)
        if field is None:
            raise BadRequest("malformed trailer")
        name = field[1].lower()
        if name in _FORBIDDEN:
            raise BadRequest("a trailer that frames or routes")
        return (name, field[2].rstrip(b" \t")) if self._rules.admit(name) else None
