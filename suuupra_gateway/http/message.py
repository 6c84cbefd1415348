"""
Message heads and the replies that the gateway makes itself.

Everything here is bytes, header names are lower-case, order and duplicates are kept: a head's ``headers`` is a list of
``(name, value)`` pairs. The few operations on such lists are module functions, so that requests and responses share them.
"""

from __future__ import annotations

import html
from typing import Final

import attrs
import msgspec

from suuupra_gateway.errors import GatewayError

Pair = tuple[bytes, bytes]
Pairs = list[Pair]


def first(headers: Pairs, name: bytes) -> bytes | None:
    """The value of the first field called ``name`` (lower-case), or None."""
    for key, value in headers:
        if key == name:
            return value
    return None


def values(headers: Pairs, name: bytes) -> list[bytes]:
    """The values of all fields called ``name`` (lower-case), in order."""
    return [value for key, value in headers if key == name]


def replace(headers: Pairs, name: bytes, value: bytes) -> None:
    """Make ``name: value`` the only field of that name, at the place of the first one (or at the end)."""
    for index, (key, _) in enumerate(headers):
        if key == name:
            headers[index] = (name, value)
            tail = [pair for pair in headers[index + 1 :] if pair[0] != name]
            headers[index + 1 :] = tail
            return
    headers.append((name, value))


def remove(headers: Pairs, name: bytes) -> None:
    """Drop all fields called ``name`` (lower-case), in place."""
    headers[:] = [pair for pair in headers if pair[0] != name]


class FieldBlock:
    """
    Field lines that a connection has sent twice in a row, and what was made of them. Lives as long as its connection repeats it.

    Keep-alive clients repeat their header fields to the byte more often than not (HPACK rests on the same observation): such a
    head is recognised by one comparison instead of being taken apart and put together again. Only heads without a body.
    """

    __slots__ = ("lines", "pairs", "authority", "host", "keep", "composer", "edited", "composed")

    def __init__(self, lines: bytes, pairs: Pairs, authority: bytes, host: bytes, keep: bool) -> None:
        self.lines = lines
        self.pairs = pairs
        self.authority = authority
        self.host = host
        self.keep = keep
        self.composer: object = None
        """The `Hygiene` that made `composed`."""
        self.edited: Pairs = []
        """What filters had made of `pairs` when `composed` was made: with the same route and caller they make the same again."""
        self.composed = b""
        """`edited` as it goes to an upstream."""


class RequestHead:
    """
    The head of a request as the gateway understood it. Lives as long as its exchange; filters may edit it.

    Framing (``content_length``, ``chunked``) is ours to compute from what was received; it is never copied onwards.
    """

    __slots__ = (
        "method",
        "target",
        "path",
        "query",
        "version",
        "headers",
        "authority",
        "host",
        "content_length",
        "chunked",
        "escaped",
        "params",
        "prefix",
        "block",
    )

    method: bytes
    """Upper-case token."""

    target: bytes
    """The request target as received; for the access log."""

    path: bytes
    """Normalised, percent-encoded path (`http/target.py`); what routes match on and what is forwarded."""

    query: bytes | None
    """The bytes after the first ``?``, untouched; None when there was no ``?``."""

    version: bytes
    """``b"1.0"`` or ``b"1.1"`` (``b"2"`` from an HTTP/2 stack)."""

    headers: Pairs

    authority: bytes
    """``Host`` (or the authority of an absolute-form target), lower-case, port included; empty on HTTP/1.0 without Host."""

    host: bytes
    """`authority` without its port and without a trailing dot; what routes match on."""

    content_length: int | None
    """Length of the body in bytes if it was declared; None for chunked bodies *and* for no body at all."""

    chunked: bool
    """Whether the body is chunked."""

    escaped: bool
    """Whether `path` still holds ``%2F``, ``%5C`` or ``%00``, which most routes refuse."""

    params: dict[str, bytes] | None
    """Values of the matched route's template parameters, percent-encoded as in `path`; None before or without any."""

    prefix: bytes
    """What a rewrite took from the front of `path`; the upstream is told by ``X-Forwarded-Prefix``. Never from the client."""

    block: FieldBlock | None
    """What `headers` was copied from, if the connection repeats itself; for the wire's two ends only."""

    def __init__(
        self,
        method: bytes,
        path: bytes,
        headers: Pairs,
        *,
        target: bytes = b"",
        query: bytes | None = None,
        version: bytes = b"1.1",
        authority: bytes = b"",
        host: bytes = b"",
        content_length: int | None = None,
        chunked: bool = False,
        escaped: bool = False,
    ) -> None:
        self.method = method
        self.target = target or (path if query is None else path + b"?" + query)
        self.path = path
        self.query = query
        self.version = version
        self.headers = headers
        self.authority = authority
        self.host = host
        self.content_length = content_length
        self.chunked = chunked
        self.escaped = escaped
        self.params = None
        self.prefix = b""
        self.block = None

    @property
    def has_body(self) -> bool:
        """Whether any body bytes are to be expected."""
        return self.chunked or bool(self.content_length)

    @property
    def preflight(self) -> bool:
        """Whether this is a CORS preflight: OPTIONS that names an origin and the method it asks about."""
        return (
            self.method == b"OPTIONS"
            and self.get(b"access-control-request-method") is not None
            and self.get(b"origin") is not None
        )

    def get(self, name: bytes) -> bytes | None:
        """The first value of header ``name`` (lower-case), or None."""
        for key, value in self.headers:
            if key == name:
                return value
        return None

    def __repr__(self) -> str:
        return f"<RequestHead {self.method!r} {self.authority!r} {self.path!r}>"


class ResponseHead:
    """
    The head of an answer on its way to the client. Filters may edit ``status``, ``reason`` and ``headers``.

    Framing is not in ``headers``: `length` says how many body bytes follow, None means "until `finish()`".
    """

    __slots__ = ("status", "reason", "headers", "length")

    status: int
    """100 to 599."""

    reason: bytes
    """Reason phrase; empty lets the gateway choose the registered one."""

    headers: Pairs
    """Without ``content-length``, ``transfer-encoding``, ``connection``, ``date`` unless the upstream sent a date."""

    length: int | None
    """
    Body length in bytes, or None if it is not known before the end. On answers without a body (to HEAD, 304) the length
    that is *announced*. A filter that changes the body sets it to None.
    """

    def __init__(self, status: int, headers: Pairs, *, reason: bytes = b"", length: int | None = None) -> None:
        self.status = status
        self.reason = reason
        self.headers = headers
        self.length = length

    def get(self, name: bytes) -> bytes | None:
        """The first value of header ``name`` (lower-case), or None."""
        return first(self.headers, name)

    def __repr__(self) -> str:
        return f"<ResponseHead {self.status} length={self.length}>"


_PROBLEM_BASE: Final = "https://suuupra.dev/problems/"


@attrs.frozen
class Reply:
    """
    An answer that the gateway makes itself (Envoy's "local reply"). Immutable; may be shared between exchanges.

    Either ``body`` is given, or ``error``, and then the body is an RFC 9457 problem made for the exchange that sends it.
    """

    status: int
    headers: tuple[Pair, ...] = ()
    body: bytes = b""
    error: GatewayError | None = None
    members: tuple[tuple[str, object], ...] = ()
    """Extension members of the problem body (RFC 9457 section 3.2)."""

    @classmethod
    def problem(
        cls,
        status: int,
        *,
        code: str = "",
        title: str = "",
        detail: str | None = None,
        retry_after: float | None = None,
        headers: tuple[Pair, ...] = (),
        members: tuple[tuple[str, object], ...] = (),
    ) -> Reply:
        """
        A problem with a status of the filter's choosing.

        :param retry_after: seconds; sent rounded up as ``Retry-After``.
        """
        if retry_after is not None:
            headers = (*headers, (b"retry-after", b"%d" % max(1, -int(-retry_after // 1))))
        error = _Chosen(status, code, title, detail=detail, headers=headers)
        return cls(status, headers, b"", error, members)

    @classmethod
    def of(cls, error: GatewayError) -> Reply:
        """The reply for ``error``: the only way by which an error becomes an answer."""
        return cls(error.status, error.headers, b"", error)

    @property
    def code(self) -> str:
        """The stable error code, or ``""`` for a reply that is no error."""
        return self.error.code if self.error is not None else ""

    def payload(self, request_id: bytes, prefers_html: bool = False) -> tuple[bytes, bytes]:
        """
        ``(content type, body)`` of a problem reply for the request called ``request_id``.

        HTML only for clients that prefer it; nothing of the request is echoed (CVE-2022-39348 and relatives).
        """
        error = self.error
        assert error is not None
        if prefers_html:
            page = _PAGE % (
                self.status,
                html.escape(error.title).encode(),
                self.status,
                html.escape(error.title).encode(),
                html.escape(error.detail or "").encode(),
                html.escape(error.code).encode(),
                html.escape(request_id.decode("latin-1")).encode(),
            )
            return b"text/html; charset=utf-8", page
        problem: dict[str, object] = {
            "type": _PROBLEM_BASE + error.code.replace("_", "-"),
            "title": error.title,
            "status": self.status,
            "code": error.code,
            "request_id": request_id.decode("latin-1"),
        }
        if error.detail:
            problem["detail"] = error.detail
        problem.update(self.members)
        return b"application/problem+json", msgspec.json.encode(problem)


class _Chosen(GatewayError):
    """An error whose status, code and title a filter chose; blamed on nobody but the gateway's policy."""

    token = "http_request_denied"

    def __init__(self, status: int, code: str, title: str, *, detail: str | None, headers: tuple[Pair, ...]) -> None:
        self.status = status  # type: ignore[misc]  # an instance may narrow what is constant on every other type
        self.code = code or "denied"  # type: ignore[misc]
        self.title = title or _TITLES.get(status, "Error")  # type: ignore[misc]
        super().__init__(detail or self.title, detail=detail, headers=headers)


_TITLES: Final = {
    400: "Bad request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not found",
    413: "Request body too large",
    429: "Too many requests",
    502: "Bad gateway",
    503: "Service unavailable",
    504: "Gateway timeout",
}

_PAGE: Final = (
    b'<!doctype html><html lang="en"><meta charset="utf-8"><title>%d %s</title>'
    b'<body style="font-family:sans-serif;max-width:40em;margin:4em auto"><h1>%d %s</h1><p>%s</p>'
    b"<p><small>%s &middot; %s</small></p></body></html>\n"
)
