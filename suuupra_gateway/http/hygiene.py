"""
What may pass from one hop to the next: header hygiene of requests and answers, and the fields that the gateway adds.

`Hygiene` is compiled once per plan and composes the head that an upstream sees in one pass over the client's fields. What
each field name means is decided once and remembered, together with the bytes that it puts on the wire.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Set
from typing import TYPE_CHECKING, Final

from suuupra_gateway.config.names import OwnedNames, folded
from suuupra_gateway.errors import Bug, LoopDetected
from suuupra_gateway.http.message import Pair, Pairs
from suuupra_gateway.net.networks import Networks

if TYPE_CHECKING:
    from suuupra_gateway.config.model import ProcessSpec
    from suuupra_gateway.interfaces import IExchange

CONNECTION_FIELDS: Final = frozenset(
    {
        b"connection",
        b"http2-settings",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    }
)
"""Fields of one connection, whether nominated or not (RFC 9110 section 7.6.1, semantics of the framing)."""

_FRAMING: Final = frozenset({b"content-length", b"host", b"expect"})
"""Made anew for every hop. Practice: ``100 (Continue)`` is the gateway's own affair, as in nginx."""

_OWN: Final = frozenset({b"x-request-id", b"x-request-attempt", b"x-request-timeout-ms"})
"""Written by the gateway on every request."""

_DROPPED: Final = CONNECTION_FIELDS | _FRAMING | _OWN | {b"proxy"}
"""Never passed on with a request. Practice: CGI makes HTTP_PROXY of ``Proxy``, and libraries believe it (CVE-2016-5385)."""

_FORBIDDEN_TRAILERS: Final = _DROPPED | frozenset(
    {
        b"authorization",
        b"cache-control",
        b"cookie",
        b"forwarded",
        b"max-forwards",
        b"set-cookie",
        b"traceparent",
        b"tracestate",
        b"via",
        b"x-gateway-error",
        b"x-real-ip",
    }
)
"""Framing, routing, authentication and controls have no place behind a body (RFC 9110 section 6.5.1)."""

_REMEMBERED: Final = 2048
"""Field names kept per table: clients may invent names, so there is a bound."""

_LONGEST_NAME: Final = 64
"""Longer ones are not worth remembering, and must not be: 2048 names of 32 KiB would stay for as long as the plan."""

_LONGEST_TAIL: Final = 1024
"""Bytes of forwarding fields, those of the client included, that are worth remembering."""

_LONGEST_FIELDS: Final = 8 * 1024
"""Bytes of composed fields that a connection may keep; filters may have added any number of them."""

_OPTION: Final = re.compile(rb"[^\s,]+")
_HOST_CHARS: Final = re.compile(rb"[A-Za-z0-9._~!$&'()*+;=:%\[\]-]*").fullmatch


def tokens(values: Iterable[bytes]) -> set[bytes]:
    """The lower-case members of comma-separated lists, such as connection options (RFC 9110 section 5.6.1)."""
    return {token for value in values for token in _OPTION.findall(value.lower())}


def _protected(name: bytes) -> bool:
    return (
        name.startswith((b"content-", b"x-forwarded-"))
        or name in _OWN
        or name in (b"host", b"authorization", b"cookie", b"set-cookie", b"forwarded", b"via", b"x-real-ip", b"date")
    )


def remove_nominated(headers: Pairs, options: Set[bytes]) -> None:
    """
    Take out, in place, the fields that ``Connection`` nominates (RFC 9110 section 7.6.1).

    Nominations of what the hop itself depends upon are ignored: by these a client could make proxies delete fields that they
    had just written (CVE-2021-32813, CVE-2024-45410, CVE-2022-31813).
    """
    doomed = {name for name in options - _HARMLESS_OPTIONS if not _protected(name)}
    if doomed:
        headers[:] = [pair for pair in headers if pair[0] not in doomed]


_HARMLESS_OPTIONS: Final = frozenset({b"close", b"keep-alive", b"te", b"upgrade"})


class AnswerNames(dict[bytes, bytes]):
    """Field names of answers as received → lower-case, or ``b""`` for those that are not passed on as they are."""

    __slots__ = ()

    def __missing__(self, name: bytes) -> bytes:
        lower = name.lower()
        if lower in CONNECTION_FIELDS or lower in (b"content-length", b"x-gateway-error"):
            lower = b""  # X-Gateway-Error tells our own errors from those of upstreams
        if len(self) < _REMEMBERED and len(name) <= _LONGEST_NAME:
            self[name] = lower
        return lower


class _RequestNames(dict[bytes, bytes | None]):
    """
    Field names of requests → the bytes that go before their value, None to drop them, ``b""`` to look at them closely.
    """

    __slots__ = ()

    def __missing__(self, name: bytes) -> bytes | None:
        lower = name.lower()
        plain = folded(lower)
        start: bytes | None
        if lower in _CLOSELY or (plain.startswith(b"x-forwarded-") and plain == lower):
            start = b""
        elif plain in _DROPPED or plain.startswith(b"x-forwarded-") or plain in _CLOSELY:
            start = None  # plain: X_Forwarded_For is the twin of a name that matters, and so is Transfer_Encoding
        else:
            start = b"\r\n%b: " % name
        if len(self) < _REMEMBERED and len(name) <= _LONGEST_NAME:
            self[name] = start
        return start


_CLOSELY: Final = frozenset({b"forwarded", b"te", b"via", b"x-real-ip"})
_FRESH: Final = frozenset({b"x-forwarded-for", b"x-forwarded-proto", b"x-forwarded-host", b"x-forwarded-port"})


class Hygiene:
    """
    The rules for what passes, compiled once per plan; all its state is memory of decisions.

    :ivar trusted: peers whose forwarding fields are believed.
    :ivar owned: names that only the gateway may set.
    :ivar via: HTTP version → the ``Via`` field for a message that came with it (RFC 9110 section 7.6.3).
    """

    __slots__ = ("trusted", "owned", "pseudonym", "_names", "_tails", "_x_forwarded", "_rfc7239", "via")

    def __init__(self, process: ProcessSpec) -> None:
        self.trusted = Networks(process.trusted_proxies)
        self.owned = OwnedNames(process.identity_headers)
        self.pseudonym = process.name.encode("ascii")
        self._names = _RequestNames()
        self._tails: dict[object, bytes] = {}
        self._x_forwarded = process.forwarded != "rfc7239"
        self._rfc7239 = process.forwarded != "x-forwarded"
        self.via = {version: (b"via", b"%b %b" % (version, self.pseudonym)) for version in (b"1.1", b"1.0", b"2")}

    def request_head(self, exchange: IExchange, host: bytes, attempt: int, remaining: float | None) -> bytes:
        """
        The head of the exchange's request as an upstream gets it, framed anew, up to and with the empty line.

        :param host: what to send as ``Host``; empty keeps what the client asked for.
        :param attempt: 1 for the first.
        :param remaining: seconds that are left for everything; None for no limit.
        :raises LoopDetected: it has passed a gateway of this name before (RFC 9110 section 7.6.3).
        :raises Bug: a filter put a line break into the head.
        """
        head = exchange.head
        query = head.query
        line = b"%b %b HTTP/1.1\r\nhost: %b" % (
            head.method,
            head.path if query is None else b"%b?%b" % (head.path, query),
            host or head.authority,
        )
        # Parsers let no line break through, but a filter might: one that reached the upstream could smuggle a request.
        if line.count(b"\n") != 1 or line.count(b"\r") != 1:
            raise Bug("a line break in the request line")
        block = head.block
        if block is not None and block.composer is self and not head.prefix and head.headers == block.edited:
            fields = block.composed
        else:
            fields = self._fields(exchange)
        if head.chunked:
            framing = b"\r\ntransfer-encoding: chunked\r\n\r\n"
        elif head.content_length is not None:
            framing = b"\r\ncontent-length: %d\r\n\r\n" % head.content_length
        elif head.method in _EXPECT_BODY:
            framing = b"\r\ncontent-length: 0\r\n\r\n"
        else:
            framing = b"\r\n\r\n"
        if remaining is None:
            return b"%b%b%b\r\nx-request-attempt: %d%b" % (line, fields, exchange.id, attempt, framing)
        return b"%b%b%b\r\nx-request-attempt: %d\r\nx-request-timeout-ms: %d%b" % (
            line,
            fields,
            exchange.id,
            attempt,
            remaining * 1000 if remaining > 0.001 else 1,
            framing,
        )

    def _fields(self, exchange: IExchange) -> bytes:
        """All fields after ``host``, ending with the start of ``x-request-id``."""
        head = exchange.head
        names = self._names
        parts: list[bytes] = []
        append = parts.append
        closely: tuple[Pair, ...] = ()
        for name, value in head.headers:
            start = names[name]
            if start:
                append(start)
                append(value)
            elif start is not None:
                closely += ((name, value),)
        own = self._tails.get((exchange.peer, exchange.secure, head.authority, head.version, head.prefix, closely))
        if own is None:
            own = self._tail(exchange, closely)
        fields = b"".join(parts)
        lines = len(parts) >> 1
        if fields.count(b"\n") != lines or fields.count(b"\r") != lines:
            raise Bug("a line break in the request's head")
        fields += own
        block = head.block
        if block is not None and not closely and not head.prefix and len(fields) <= _LONGEST_FIELDS:
            block.composer = self
            block.edited = head.headers.copy()
            block.composed = fields
        return fields

    def _tail(self, exchange: IExchange, closely: tuple[Pair, ...]) -> bytes:
        """The fields that the gateway adds, ending with the start of ``x-request-id``; the same for most of a connection."""
        head = exchange.head
        fields = self._added(exchange, closely)
        fields.append((b"x-request-id", b""))
        tail = b"".join([b"\r\n%b: %b" % field for field in fields])
        if tail.count(b"\n") != len(fields) or tail.count(b"\r") != len(fields):
            raise Bug("a line break in the forwarding fields")
        # Both are bounded: a client may write much of what is looked at closely, and little of that makes its way to the tail.
        if len(tail) + sum([len(name) + len(value) for name, value in closely]) <= _LONGEST_TAIL:
            if len(self._tails) >= _REMEMBERED:
                self._tails.clear()
            key = (exchange.peer, exchange.secure, head.authority, head.version, head.prefix, closely)
            self._tails[key] = tail
        return tail

    def _added(self, exchange: IExchange, closely: tuple[Pair, ...]) -> Pairs:
        head = exchange.head
        trusted = exchange.peer in self.trusted
        vias: list[bytes] = []
        believed: dict[bytes, list[bytes]] = {}
        fields: Pairs = []
        for name, value in closely:
            if name == b"via":
                vias.append(value)
            elif name == b"te":
                if b"trailers" in tokens([value]):
                    # RFC 9110 section 10.1.4: a sender of TE nominates it.
                    fields += [(b"te", b"trailers"), (b"connection", b"te")]
            elif trusted:
                believed.setdefault(name, []).append(value)
        if self._x_forwarded:
            fields += self._x_forwarded_fields(exchange, believed)
        if trusted and b"x-real-ip" in believed:
            fields.append((b"x-real-ip", believed[b"x-real-ip"][-1]))
        if self._rfc7239:
            fields.append((b"forwarded", b", ".join([*believed.get(b"forwarded", ()), _forwarded(exchange)])))
        if any(by == self.pseudonym.lower() for value in vias for by in _received_by(value)):
            raise LoopDetected(f"via {b', '.join(vias)!r}")
        vias.append(self.via[head.version][1])
        fields.append((b"via", b", ".join(vias)))
        return fields

    def _x_forwarded_fields(self, exchange: IExchange, believed: dict[bytes, list[bytes]]) -> Pairs:
        head = exchange.head
        addresses = believed.get(b"x-forwarded-for", [])
        if exchange.peer:
            addresses = [*addresses, exchange.peer.encode("latin-1")]
        fields: Pairs = []
        if addresses:
            fields.append((b"x-forwarded-for", b", ".join(addresses)))
        fields.append((b"x-forwarded-proto", b"https" if exchange.secure else b"http"))
        host = believed.get(b"x-forwarded-host", [head.authority])[0]
        if host:
            fields.append((b"x-forwarded-host", host))
        fields.append(
            (b"x-forwarded-port", believed.get(b"x-forwarded-port", [_port(head.authority, exchange.secure)])[0])
        )
        prefix = believed.get(b"x-forwarded-prefix", [b""])[0] + head.prefix
        if prefix:
            fields.append((b"x-forwarded-prefix", prefix))
        for name, values in believed.items():
            if name.startswith(b"x-forwarded-") and name not in _RENEWED:
                fields += [(name, value) for value in values]
        return fields

    def already_retried(self, exchange: IExchange) -> bool:
        """Whether a trusted gateway before us says that this is not its first attempt."""
        value = exchange.head.get(b"x-request-attempt")
        return value is not None and value != b"1" and exchange.peer in self.trusted

    def patience(self, exchange: IExchange) -> float | None:
        """Seconds that a trusted gateway before us has left for this exchange; None if there is none or it does not say."""
        value = exchange.head.get(b"x-request-timeout-ms")
        if value is None or not value.isdigit() or len(value) > 9 or exchange.peer not in self.trusted:
            return None
        return int(value) / 1000

    def clean_trailers(self, trailers: Pairs) -> Pairs:
        """The trailer fields that may pass, in either direction (RFC 9110 section 6.5.1)."""
        return [pair for pair in trailers if self._fit_for_trailer(pair[0])]

    def _fit_for_trailer(self, name: bytes) -> bool:
        plain = folded(name)
        return not (
            plain in _FORBIDDEN_TRAILERS or plain.startswith((b"content-", b"x-forwarded-")) or name in self.owned
        )


_EXPECT_BODY: Final = frozenset({b"POST", b"PUT", b"PATCH"})
"""Without a body these announce its absence (RFC 9110 section 8.6)."""

_RENEWED: Final = frozenset(
    {b"x-forwarded-for", b"x-forwarded-proto", b"x-forwarded-host", b"x-forwarded-port", b"x-forwarded-prefix"}
)


def _received_by(via: bytes) -> list[bytes]:
    """The hosts or pseudonyms, lower-case, that a ``Via`` value names (RFC 9110 section 7.6.3)."""
    # By splitting: what finds words by an expression takes quadratic time for one long word, seconds for 32 KiB.
    elements = [element.split() for element in via.lower().split(b",")]
    return [words[1] for words in elements if len(words) > 1]


def _port(authority: bytes, secure: bool) -> bytes:
    host, colon, port = authority.rpartition(b":")
    if colon and port.isdigit() and (host.endswith(b"]") or b":" not in host):
        return port
    return b"443" if secure else b"80"


def _forwarded(exchange: IExchange) -> bytes:
    """Our element of ``Forwarded`` (RFC 7239 section 4)."""
    peer = exchange.peer.encode("latin-1")
    if not peer:
        node = b"unknown"
    elif b":" in peer:
        node = b'"[%b]"' % peer
    else:
        node = peer
    authority = exchange.head.authority
    proto = b"https" if exchange.secure else b"http"
    if authority and _HOST_CHARS(authority):
        return b'for=%b;host="%b";proto=%b' % (node, authority, proto)
    return b"for=%b;proto=%b" % (node, proto)


def head_fields(raw: bytes) -> Pairs:
    """The fields of a composed head, for people to look at; the request line comes first, under the name ``b""``."""
    line, *lines = raw[:-4].split(b"\r\n")
    pairs = [(name, value) for name, _, value in (text.partition(b": ") for text in lines)]
    return [(b"", line), *pairs]
