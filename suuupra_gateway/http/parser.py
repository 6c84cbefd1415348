"""
One complete head of a request in, one `RequestHead` out, or the error that refuses it.

httptools (llhttp) takes the field lines apart and refuses most nonsense; the request line and all framing are decided here,
before an exchange exists. Nothing but heads is ever fed to it: `intake.py` finds where a head ends and reads bodies itself.
That is what keeps one message at a time (httptools cannot pause between two), trailers apart from header fields, and bodies
whole that come with an ``Upgrade`` offer (after which httptools stops, MagicStack/httptools#124): we ignore such offers here,
which RFC 9110 section 7.8 allows, and whoever wants one takes the connection by `detach`.

On the way there no Python runs per field: httptools calls ``dict.setdefault``, and a field name that came twice shows in the
number of entries, which sends that head on a longer way (2.2 us for ten fields instead of 3.2).

What is refused and by whom is listed, vector by vector, in ``tests/http/vectors.py``.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Final

import httptools

from suuupra_gateway.errors import (
    BadRequest,
    ExpectationFailed,
    GatewayError,
    HeadTooLarge,
    NotImplementedMethod,
    TargetTooLong,
    VersionNotSupported,
)
from suuupra_gateway.http import grammar
from suuupra_gateway.http.hygiene import remove_nominated
from suuupra_gateway.http.message import FieldBlock, Pairs, RequestHead
from suuupra_gateway.http.rules import HeadRules
from suuupra_gateway.http.target import parse_target

_VERSIONS: Final = {b"HTTP/1.1": b"1.1", b"HTTP/1.0": b"1.0"}

_CLOSE: Final = 1
_KEEP: Final = 2

_OPTIONS: Final = {b"keep-alive": _KEEP, b"Keep-Alive": _KEEP, b"close": _CLOSE, b"Close": _CLOSE}
"""What nearly all ``Connection`` fields say; the others are taken apart."""

_REMEMBERED: Final = 1024
"""Most spellings of field names, and most hosts, that are remembered (about 0.2 MiB each)."""

_LONGEST_NAME: Final = 64
"""Longer field names are not worth remembering."""

_LONGEST_HOST: Final = 261
"""The longest name and port; what is longer is white space."""

_LONGEST_BLOCK: Final = 4096
"""Bytes of field lines that are worth remembering on a connection; with what is made of them they take five times as much."""

_new: Final = RequestHead.__new__


class _Tap:
    """What httptools calls; None for what nobody wants to know."""

    __slots__ = ("on_header", "on_headers_complete")

    def __init__(
        self, on_header: Callable[[bytes, bytes], object], on_headers_complete: Callable[[], object] | None = None
    ) -> None:
        self.on_header = on_header
        self.on_headers_complete = on_headers_complete


class RequestParser:
    """
    Parses the heads of one connection, one after the other. Lives as long as the connection.

    After `parse`: `keep` and `expects` tell what the head said about the connection.
    """

    __slots__ = (
        "keep",
        "expects",
        "_rules",
        "_known",
        "_fields",
        "_tap",
        "_feed",
        "_host",
        "_length",
        "_coding",
        "_expect",
        "_option",
        "_nominated",
        "_lines",
        "_block",
    )

    keep: bool
    """Whether the client is willing to send another request on this connection (RFC 9112 section 9.3)."""

    expects: bool
    """Whether the client waits for ``100 (Continue)`` before it sends the body."""

    def __init__(self, rules: HeadRules) -> None:
        self._rules = rules
        self._known = rules.names.get
        self._fields: dict[bytes, bytes] = {}
        self._tap = _Tap(self._fields.setdefault)
        self._host: bytes | None = None
        self._length: bytes | None = None
        self._coding: bytes | None = None
        self._expect: bytes | None = None
        self._option = 0
        self._nominated: set[bytes] | None = None
        self._lines = b""
        self._block: FieldBlock | None = None
        self._renew()

    def _renew(self) -> None:
        # 0.2 us; needed after every head that announced a body, an upgrade or was broken off, because httptools waits for
        # what follows such a head, or for nothing.
        self._feed = httptools.HttpRequestParser(self._tap).feed_data

    def parse(self, raw: bytes, end_of_line: int) -> RequestHead:
        """
        The head of the next request.

        :param raw: a complete head: bytes that end with the first empty line.
        :param end_of_line: where the request line's CRLF is.
        :raises BadRequest: malformed or ambiguous.
        :raises TargetTooLong, HeadTooLarge: over a limit.
        :raises NotImplementedMethod: a method that we do not know, CONNECT, or a transfer coding besides chunked.
        :raises VersionNotSupported: HTTP, but neither 1.0 nor 1.1.
        :raises ExpectationFailed: ``Expect`` with anything but ``100-continue``.
        """
        rules = self._rules
        line = raw[:end_of_line]
        if end_of_line > rules.request_line:
            raise TargetTooLong(f"request line of {end_of_line} bytes")
        if len(raw) - end_of_line > rules.head + 4:
            raise HeadTooLarge(f"{len(raw) - end_of_line} bytes of header fields")
        count = raw.count(b"\n") - 2
        if count > rules.headers:
            raise HeadTooLarge(f"{count} header fields")
        parts = line.split(b" ")
        version = _VERSIONS.get(parts[-1])
        if version is None or len(parts) != 3 or parts[0] not in grammar.METHODS:
            raise _line_error(parts)
        method, target, _ = parts
        lines = raw[end_of_line:]
        block = self._block
        if block is not None and block.lines == lines and version == b"1.1":
            return self._repeated(block, method, target)

        dropped = rules.counters.dropped_headers
        fields = self._fields
        if fields:
            fields.clear()  # of a head that was refused
        try:
            self._feed(raw)
        except httptools.HttpParserUpgrade:
            self._renew()
        except httptools.HttpParserError as error:
            self._renew()
            raise BadRequest(str(error)) from error
        # The last field is only handed over when httptools has seen the empty line too.
        pairs = fields.items() if len(fields) == count > 0 else _read_again(raw)

        self._host = self._length = self._coding = self._expect = None
        self._option = 0
        self._nominated = None
        headers: Pairs = []
        known = self._known
        for name, value in pairs:
            lower = known(name)
            if lower is None:
                # The two that nearly every request has are taken here, if they look as they nearly always do.
                if name == b"Host" and self._host is None:
                    self._host = value
                    lower = b"host"
                elif name == b"Connection" and self._option == 0 and value in _OPTIONS:
                    self._option = _OPTIONS[value]
                    lower = b"connection"
                else:
                    lower = self._classify(name, value)
                    if lower is None:
                        continue
            headers.append((lower, value))
        fields.clear()
        if b" \r\n" in raw or b"\t" in raw:
            # RFC 9110 section 5.5: white space around the value is no part of it; httptools leaves what trails.
            headers = [(name, value.rstrip(b" \t")) for name, value in headers]
        if self._nominated is not None:
            # Now and never again: a nomination must not take away what a filter sets (CVE-2021-32813, CVE-2024-45410).
            remove_nominated(headers, self._nominated)

        head = _new(RequestHead)
        head.method = method
        head.target = target
        head.path, head.query, authority, head.escaped = parse_target(target, method, merge_slashes=rules.merge_slashes)
        head.version = version
        head.headers = headers
        head.content_length = None
        head.chunked = False
        head.params = None
        head.prefix = b""
        if version == b"1.1":
            self.keep = self._option != _CLOSE
            self.expects = False
            if self._expect is not None:
                self._check_expect(self._expect)
        else:
            # RFC 9110 section 10.1.1: expectations of HTTP/1.0 clients are ignored.
            self.keep = self._option == _KEEP
            self.expects = False
        hosts = rules.hosts
        if authority is None and self._host in hosts:
            head.authority, head.host = hosts[self._host]
        else:
            self._set_host(head, self._host, authority)
        head.block = None
        if self._length is not None or self._coding is not None:
            self._set_framing(head)
        elif lines != self._lines:
            # Kept while the connection idles, so long ones would let many idle connections hold what they once have sent.
            self._lines = lines if len(lines) <= _LONGEST_BLOCK else b""
        elif version == b"1.1" and not self.expects and rules.counters.dropped_headers == dropped:
            self._block = FieldBlock(lines, headers.copy(), head.authority, head.host, self.keep)
        return head

    def _repeated(self, block: FieldBlock, method: bytes, target: bytes) -> RequestHead:
        """A head whose field lines are those of the one before."""
        head = _new(RequestHead)
        head.method = method
        head.target = target
        head.path, head.query, authority, head.escaped = parse_target(
            target, method, merge_slashes=self._rules.merge_slashes
        )
        head.authority = block.authority
        head.host = block.host
        if authority is not None and authority.lower() != head.authority:
            raise BadRequest("the target's authority is not that of the Host field")
        head.version = b"1.1"
        head.headers = block.pairs.copy()
        head.content_length = None
        head.chunked = False
        head.params = None
        head.prefix = b""
        head.block = block
        self.keep = block.keep
        self.expects = False
        return head

    # -- the fields that mean something to us -------------------------------------------------------------------------

    def _classify(self, name: bytes, value: bytes) -> bytes | None:
        """The lower-case name of a field that is not known to be without meaning; None if it is to be dropped."""
        lower = name.lower()
        if lower == b"host":
            if self._host is not None:
                raise BadRequest("several Host fields", detail="There must be exactly one Host header.")
            self._host = value
        elif lower == b"connection":
            self._note_connection(value)
        elif lower == b"content-length":
            if self._length is not None:
                raise BadRequest("several Content-Length fields")
            self._length = value
        elif lower == b"transfer-encoding":
            if self._coding is not None:
                raise BadRequest("several Transfer-Encoding fields")
            self._coding = value
        elif lower == b"expect":
            self._expect = value if self._expect is None else self._expect + b"," + value
        elif not self._rules.admit(lower):
            return None
        else:
            names = self._rules.names
            if len(names) < _REMEMBERED and len(name) <= _LONGEST_NAME:
                names[name] = lower
        return lower

    def _note_connection(self, value: bytes) -> None:
        option = _OPTIONS.get(value)
        if option is None:
            options = grammar.tokens(value)
            self._nominated = (self._nominated or set()).union(options)
            # RFC 9112 section 9.3: close wins over keep-alive, wherever it stands.
            option = _CLOSE if b"close" in options else _KEEP if b"keep-alive" in options else 0
        if self._option != _CLOSE:
            self._option = option or self._option

    def _check_expect(self, value: bytes) -> None:
        expectations = grammar.tokens(value)
        if expectations != [b"100-continue"]:
            raise ExpectationFailed("an expectation besides 100-continue")
        self.expects = True

    def _set_host(self, head: RequestHead, value: bytes | None, authority: bytes | None) -> None:
        if value is None:
            if head.version == b"1.1":
                # RFC 9112 section 3.2
                raise BadRequest("no Host field", detail="There must be exactly one Host header.")
            head.authority = head.host = b""
            if authority is not None:
                head.authority, head.host = self._parse_host(authority)
            return
        hosts = self._rules.hosts
        found = hosts.get(value)
        if found is None:
            found = self._parse_host(value.strip(b" \t"))
            if len(hosts) < _REMEMBERED and len(value) <= _LONGEST_HOST:
                hosts[value] = found
        head.authority, head.host = found
        if authority is not None and authority.lower() != head.authority:
            # RFC 9112 section 3.2.2 would let the target win; but then the next parser may choose otherwise.
            raise BadRequest("the target's authority is not that of the Host field")

    def _parse_host(self, value: bytes) -> tuple[bytes, bytes]:
        found = grammar.parse_host(value)
        if found is None:
            raise BadRequest("malformed Host", detail="The Host header is malformed.")
        return found

    def _set_framing(self, head: RequestHead) -> None:
        """Decide where the body ends (RFC 9112 section 6.3), if there is one and only one way to tell."""
        self._renew()
        if self._coding is not None:
            if self._length is not None:
                raise BadRequest("both Transfer-Encoding and Content-Length")
            if head.version == b"1.0":
                # RFC 9112 section 6.1
                raise BadRequest("Transfer-Encoding with HTTP/1.0")
            if self._coding.strip(b" \t").lower() != b"chunked":
                # RFC 9112 section 6.1 asks for 501 where the coding is not known. Practice: 400, as for all ambiguous framing.
                raise BadRequest("a Transfer-Encoding besides chunked")
            head.chunked = True
        else:
            assert self._length is not None
            value = self._length.rstrip(b" \t")
            if not grammar.digits(value):
                raise BadRequest("malformed Content-Length")
            head.content_length = int(value)


def check_line(line: bytes) -> None:
    """
    Refuse a request line early, before the rest of its head is there: HTTP/0.9 and other protocols would wait for ever.

    :param line: without its CRLF.
    :raises BadRequest, VersionNotSupported, NotImplementedMethod: as `RequestParser.parse`.
    """
    parts = line.split(b" ")
    if len(parts) != 3 or parts[2] not in _VERSIONS or parts[0] not in grammar.METHODS or not parts[1]:
        raise _line_error(parts)


def _line_error(parts: list[bytes]) -> GatewayError:
    """Why a request line is refused that is not method, target and a version of ours with one space between."""
    if len(parts) != 3 or not grammar.token(parts[0]) or not parts[1] or not grammar.http_version(parts[2]):
        return BadRequest("malformed request line")
    if parts[2] not in _VERSIONS:
        return VersionNotSupported(f"version {parts[2]!r}")
    return NotImplementedMethod(f"method {parts[0][:32]!r}")


def _read_again(raw: bytes) -> Pairs:
    """
    The fields of a head in which some name comes twice, or none comes at all.

    :raises BadRequest: httptools does not end the head where we do. Cannot happen as far as is known, but if it does,
        somebody smuggles.
    """
    pairs: Pairs = []
    ends: list[int] = []
    tap = _Tap(lambda name, value: pairs.append((name, value)), lambda: ends.append(len(pairs)))
    with suppress(httptools.HttpParserUpgrade):  # which we do not grant
        httptools.HttpRequestParser(tap).feed_data(raw)
    if ends != [raw.count(b"\n") - 2]:
        raise BadRequest("the head does not end at its first empty line")
    return pairs
