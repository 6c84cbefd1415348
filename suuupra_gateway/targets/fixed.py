"""
Targets that answer by themselves: a constant, or a redirect.
"""

from __future__ import annotations

import re
from typing import Final

from twisted.web.resource import Resource

from suuupra_gateway.config.model import FixedSpec, RedirectSpec
from suuupra_gateway.http.message import Reply
from suuupra_gateway.http.template import Template
from suuupra_gateway.interfaces import IExchange

# RFC 3986 section 3.2: an authority whose text nobody but the configuration and ``Host`` decides.
_AUTHORITY: Final = re.compile(r"(?:[A-Za-z][A-Za-z0-9+.-]*:)?//(?:[^/?#{]|\{host\})+").match


class FixedResource(Resource):
    """Answers every request with the same reply. Lives as long as its plan."""

    isLeaf = True

    def __init__(self, spec: FixedSpec) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # twisted is not typed here
        self.spec = spec
        headers = [(name.lower().encode("ascii"), value.encode("latin-1")) for name, value in spec.headers]
        if spec.body and not any(name == b"content-type" for name, _ in headers):
            headers.append((b"content-type", spec.content_type.encode("ascii")))
        self._reply = Reply(spec.status, tuple(headers), spec.body.encode())

    def render(self, exchange: IExchange) -> None:  # our leaves render exchanges
        """Answer."""
        exchange.respond(self._reply)


class RedirectResource(Resource):
    """Sends every request elsewhere. Lives as long as its plan."""

    isLeaf = True

    def __init__(self, spec: RedirectSpec) -> None:
        """:raises ValueError: ``spec.to`` is no usable template."""
        super().__init__()  # type: ignore[no-untyped-call]  # twisted is not typed here
        self.spec = spec
        self._to = Template(spec.to)
        authority = _AUTHORITY(spec.to)
        self._base = Template(authority[0] if authority else "")
        self._rest = Template(spec.to[authority.end() :] if authority else spec.to)
        # A path from the request that begins with two slashes would name another host (RFC 3986 section 4.2).
        self._local = not spec.to.startswith("//") and "://" not in spec.to.partition("{")[0]

    @property
    def parameters(self) -> frozenset[str]:
        """Names that the route's match must give."""
        return self._to.parameters

    def render(self, exchange: IExchange) -> None:  # our leaves render exchanges
        """Answer with the redirect."""
        exchange.respond(Reply(self.spec.status, ((b"location", self.location(exchange)),)))

    def location(self, exchange: IExchange) -> bytes:
        """Where ``exchange`` is sent: an absolute URL or a path."""
        head = exchange.head
        base, location = self._base.fill(head), self._rest.fill(head)
        if not head.query:
            location = location.replace(b"?#", b"#").removesuffix(b"?")
        if base:
            # What a parameter holds begins with no slash: without one, .evil.org and @evil.org would go on with the host.
            return base + location if location[:1] in b"/?#" else base + b"/" + location
        if self._local and location.startswith(b"//"):
            location = b"/" + location.lstrip(b"/")
        return location
