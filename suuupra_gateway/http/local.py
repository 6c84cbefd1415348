"""
The answers that the gateway makes itself, ready to be sent. Used by both HTTP stacks.
"""

from __future__ import annotations

from typing import Final

from suuupra_gateway.http.grammar import prefers_html
from suuupra_gateway.http.message import Reply, RequestHead, ResponseHead

_NO_LENGTH: Final = frozenset({204, 304})
"""These announce no length without a body: 204 may not (RFC 9110 section 8.6), and of 304 it is not known."""


def compose(reply: Reply, head: RequestHead, request_id: bytes, proxy_status: bytes) -> tuple[ResponseHead, bytes]:
    """
    Head and body of ``reply`` to the request with ``head``.

    :param request_id: named in problem bodies.
    :param proxy_status: `proxy_status` of the gateway's name.
    """
    headers = list(reply.headers)
    error = reply.error
    if error is None:
        body = reply.body
    else:
        kind, body = reply.payload(request_id, prefers_html(head.get(b"accept")))
        headers += (
            (b"content-type", kind),
            (b"x-gateway-error", error.code.encode("ascii")),
            (b"proxy-status", proxy_status + error.token.encode("ascii")),
        )
    length = None if reply.status in _NO_LENGTH and not body else len(body)
    return ResponseHead(reply.status, headers, length=length), body


def proxy_status(name: str) -> bytes:
    """
    What ``Proxy-Status`` (RFC 9209) begins with in all error replies of the gateway called ``name``.

    The name is a token if it can be one (RFC 8941 section 3.3.4: it begins with a letter), else a string.
    """
    member = name.encode("ascii")
    return (member if member[:1].isalpha() else b'"%b"' % member) + b"; error="
