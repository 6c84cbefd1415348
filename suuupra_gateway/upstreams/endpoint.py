"""
Where an upstream can be reached: a value, found by configuration or discovery.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import attrs

from suuupra_gateway.net.address import Address

if TYPE_CHECKING:
    from suuupra_gateway.config.model import EndpointSpec


@attrs.frozen
class Endpoint:
    """An address, whether to speak TLS there, and a share of the traffic. Immutable; equal endpoints are the same."""

    address: Address
    secure: bool = False
    weight: int = 1
    """0 gets no traffic."""

    @classmethod
    def parse(cls, spec: EndpointSpec) -> Endpoint:
        """
        The endpoint of ``http://host[:port]``, ``https://host[:port]`` or ``unix:/path``.

        :raises ValueError: with words for the person who wrote it.
        """
        url = spec.url
        if url.startswith("unix:"):
            return cls(Address.parse(url), False, spec.weight)
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"{url!r}: expected http://host:port, https://host:port or unix:/path")
        if parts.path not in ("", "/") or parts.query or parts.fragment or "@" in parts.netloc:
            raise ValueError(
                f"{url!r}: an endpoint has no path, query, fragment or user; a rewrite filter changes paths"
            )
        secure = parts.scheme == "https"
        port = parts.port or (443 if secure else 80)  # ValueError for rubbish
        host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
        return cls(Address.parse(f"{host}:{port}"), secure, spec.weight)

    @property
    def authority(self) -> bytes:
        """What to send as ``Host``: without the scheme's own port; a UNIX socket is ``localhost``."""
        address = self.address
        if address.path:
            return b"localhost"
        host = f"[{address.host}]" if ":" in address.host else address.host
        if address.port == (443 if self.secure else 80):
            return host.encode("idna" if not host.isascii() else "ascii")
        return f"{host}:{address.port}".encode("ascii")

    def __str__(self) -> str:
        return str(self.address)
