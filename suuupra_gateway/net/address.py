"""
Where to connect or listen: a host and port, or the path of a UNIX socket.
"""

from __future__ import annotations

import ipaddress
from typing import Self

import attrs


@attrs.frozen
class Address:
    """A place in the network, as configured: nothing is resolved here. Either ``path`` is set, or ``host`` and ``port``."""

    host: str = ""
    """A name or an IP address in text form, without brackets."""

    port: int = 0
    """0 to 65535; 0 lets the kernel choose when listening."""

    path: str = ""
    """File name of a UNIX socket; ``@`` at its start means the abstract namespace of Linux."""

    @classmethod
    def parse(cls, text: str) -> Self:
        """
        Read ``host:port``, ``[v6]:port`` or ``unix:/path``.

        :raises ValueError: with words for the person who wrote it.
        """
        if text.startswith("unix:"):
            path = text[5:]
            if not path.startswith(("/", "@")) or len(path) < 2:
                raise ValueError(
                    f"{text!r}: the path of a UNIX socket must be absolute, such as unix:/run/gateway.sock"
                )
            if "\0" in path or len(path.encode()) > 107:
                raise ValueError(f"{text!r}: the path of a UNIX socket may have at most 107 bytes, none of them NUL")
            return cls(path=path)
        host, colon, digits = text.rpartition(":")
        if not colon or not digits.isascii() or not digits.isdigit():
            raise ValueError(f"{text!r}: expected host:port, [v6]:port or unix:/path")
        port = int(digits)
        if port > 65535:
            raise ValueError(f"{text!r}: a port is at most 65535")
        if host.startswith("[") and host.endswith("]"):
            host = host[1:-1]
            try:
                ipaddress.IPv6Address(host)
            except ValueError as reason:
                raise ValueError(f"{text!r}: {host!r} is no IPv6 address") from reason
        elif ":" in host:
            raise ValueError(f"{text!r}: write IPv6 addresses in brackets, such as [::1]:{port}")
        elif not host or any(char <= " " or char in "/@[]?#" for char in host):
            raise ValueError(f"{text!r}: expected host:port, [v6]:port or unix:/path")
        return cls(host=host, port=port)

    def __str__(self) -> str:
        if self.path:
            return f"unix:{self.path}"
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"
