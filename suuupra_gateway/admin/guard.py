"""
The door of the admin site: which ``Host`` it answers to, and the header fields that every answer carries.

The site listens on a loopback address by default, which keeps other machines out but not the pages that a browser on this machine
shows: a name that an attacker points at 127.0.0.1 makes them our "same origin" (DNS rebinding). So a request must name us by
address or by a configured name.
"""

from __future__ import annotations

import ipaddress
from typing import Any, Final

from twisted.internet.address import UNIXAddress
from twisted.web.resource import IResource, Resource

from suuupra_gateway.admin.view import Problem
from suuupra_gateway.config.model import AdminSpec
from suuupra_gateway.errors import MisdirectedRequest
from suuupra_gateway.http.grammar import parse_host
from suuupra_gateway.net.address import Address

_HEADERS: Final = (
    (b"cache-control", b"no-store"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
)


class Guard(Resource):
    """The root of the admin site; passes what is allowed on to the resource tree within."""

    def __init__(self, inner: IResource, spec: AdminSpec, policy: bytes) -> None:
        """:param policy: the ``Content-Security-Policy`` of every page."""
        super().__init__()  # type: ignore[no-untyped-call]  # Twisted's
        self._inner = inner
        self._headers = (*_HEADERS, (b"content-security-policy", policy))
        self._names = frozenset(name.lower().rstrip(".") for name in spec.hosts)
        address = Address.parse(spec.address) if spec.address != "off" else Address()
        self._own = _ip(address.host)
        if self._own is None and address.host:
            self._names |= {address.host.lower()}

    def getChildWithDefault(self, path: bytes, request: Any) -> IResource:
        """The first step of every request."""
        # RFC 9110 section 10.2.4: a version in `Server` helps attackers more than anybody else.
        request.responseHeaders.removeHeader(b"server")
        for name, value in self._headers:
            request.responseHeaders.setRawHeaders(name, [value])
        if not self._ours(request):
            return Problem(MisdirectedRequest(detail="Ask by address, or add the name to admin.hosts."))
        child: IResource = self._inner.getChildWithDefault(path, request)  # type: ignore[no-untyped-call]  # Twisted's
        return child

    def _ours(self, request: Any) -> bool:
        local = request.getHost()
        if isinstance(local, UNIXAddress):
            return True  # no browser can be made to speak to a UNIX socket
        fields = request.requestHeaders.getRawHeaders(b"host", [])
        if len(fields) != 1:
            return False
        host = _host(fields[0])
        address = _ip(host)
        if address is None:
            return host in self._names
        return address == self._own or address == _ip(local.host) or host in self._names


def _host(field: bytes) -> str:
    """The ``uri-host`` of a ``Host`` field (RFC 9110 section 7.2), lower-case, without brackets and final dot; else empty."""
    found = parse_host(field.strip(b" \t"))
    return "" if found is None else found[1].decode("ascii").strip("[]")


def _ip(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    if address.version == 6 and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address
