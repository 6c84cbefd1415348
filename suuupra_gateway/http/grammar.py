"""
The productions of RFC 9110 and RFC 9112 that the edge relies on, as compiled expressions, and the few values they make.

All of them describe single lines or values that have a bound before they get here, and none backtracks more than linearly.
"""

from __future__ import annotations

import re
from typing import Final

# RFC 9110 section 5.6.2: token = 1*tchar
_TCHAR: Final = rb"!#$%&'*+\-.^_`|~0-9A-Za-z"

token: Final = re.compile(rb"[%b]+" % _TCHAR).fullmatch
"""A method, a field name, a connection option."""

# RFC 9110 section 5.5: field-value, without the obs-fold that RFC 9112 section 5.2 lets a server refuse; the controls that
# section 5.5 lets us refuse are refused.
field_value: Final = re.compile(rb"[\t\x20-\x7e\x80-\xff]*").fullmatch

visible: Final = re.compile(rb"[!-~]+").fullmatch
"""VCHAR only: what a request target consists of."""

http_version: Final = re.compile(rb"HTTP/[0-9]\.[0-9]").fullmatch
"""RFC 9112 section 2.3; which of them we speak is another question."""

digits: Final = re.compile(rb"[0-9]{1,18}").fullmatch
"""RFC 9110 section 8.6: ``Content-Length = 1*DIGIT``. 18 digits fit into 63 bits, so no next parser can wrap around."""

# RFC 9112 section 7.1: chunk-size [ chunk-ext ] CRLF. Stricter than section 7.1.1: no white space after the size, because
# parsers disagree about it, and no controls or obs-text in extensions. 15 digits fit into 60 bits.
chunk_line: Final = re.compile(rb"([0-9A-Fa-f]{1,15})(?:;[\t\x20-\x7e]*)?").fullmatch

# RFC 9112 section 5: field-line = field-name ":" OWS field-value OWS
field_line: Final = re.compile(rb"([%b]+):[ \t]*+([\t\x20-\x7e\x80-\xff]*)" % _TCHAR).fullmatch

request_id: Final = re.compile(rb"[A-Za-z0-9_-]{1,64}").fullmatch
"""What we accept as a request id from proxies that we trust."""

stray: Final = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]|(?<!\r)\n|\r(?!\n|\Z)").search
"""Finds what no head may hold: controls, LF without CR, CR without LF (RFC 9112 section 2.2). A CR at the end may go on."""

# RFC 3986 section 3.2.2 with the port of section 3.2.3: uri-host [ ":" port ]. No userinfo (RFC 9110 section 4.2.4), no
# empty host (section 4.2.1); no escapes and no sub-delims: nobody who means a name writes them, a comma is what becomes of
# two Host fields that were joined, and two spellings of one host are one too many.
_host: Final = re.compile(rb"(\[[0-9A-Fa-f:.]{2,45}\]|[A-Za-z0-9_~-][A-Za-z0-9._~-]{0,254})(?::[0-9]{0,5})?").fullmatch

METHODS: Final = frozenset(
    b"GET HEAD POST PUT DELETE OPTIONS PATCH TRACE QUERY "
    b"ACL BIND CHECKOUT COPY LINK LOCK M-SEARCH MERGE MKACTIVITY MKCALENDAR MKCOL MOVE NOTIFY PROPFIND PROPPATCH PURGE REBIND "
    b"REPORT SEARCH SUBSCRIBE UNBIND UNLINK UNLOCK UNSUBSCRIBE".split()
)
"""Methods that are understood well enough to be relayed (IANA's registry, as far as llhttp knows it). CONNECT is not."""


def parse_host(value: bytes) -> tuple[bytes, bytes] | None:
    """
    ``(authority, host)`` of a ``Host`` value without surrounding white space, or None if it is malformed.

    Both are lower-case; ``host`` is without port and without the dot at the end of a fully qualified name.
    """
    found = _host(value)
    if found is None:
        return None
    value = value.lower()
    host = value[: found.end(1)]
    if len(host) > 1 and host.endswith(b"."):
        host = host[:-1]
    return value, host


def tokens(value: bytes) -> list[bytes]:
    """The elements of a comma-separated list of tokens (RFC 9110 section 5.6.1), lower-case, empty ones left out."""
    return [element for element in (part.strip(b" \t").lower() for part in value.split(b",")) if element]


def prefers_html(accept: bytes | None) -> bool:
    """
    Whether ``Accept`` asks for ``text/html`` by name and for nothing JSON-like with at least the same weight.

    :param accept: the field's value; None and ``*/*`` prefer nothing.
    """
    if accept is None or b"text/html" not in accept.lower():
        return False
    html = json = 0.0
    for element in accept.lower().split(b","):
        kind, *parameters = (part.strip(b" \t") for part in element.split(b";"))
        weight = 1.0
        for parameter in parameters:
            if parameter.startswith(b"q="):
                weight = _weight(parameter[2:])
        if kind == b"text/html":
            html = max(html, weight)
        elif kind.startswith(b"application/") and kind.endswith(b"json"):
            json = max(json, weight)
    return html > json


_qvalue: Final = re.compile(rb"(?:0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?)").fullmatch  # RFC 9110 section 12.4.2


def _weight(value: bytes) -> float:
    return float(value) if _qvalue(value) else 0.0
