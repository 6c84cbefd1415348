"""
Addresses as they stand in files: of listeners, of the admin listener, of endpoints.

Only their form is known here, and whether two of them would clash; nothing is resolved and nothing is bound.
"""

from __future__ import annotations

import ipaddress
import re

import attrs

from suuupra_gateway.config.units import expected

_LABEL = r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
_AUTHORITY = re.compile(
    rf"(?:\[(?P<v6>[0-9A-Fa-f:.]+(?:%[A-Za-z0-9_.-]+)?)\]|(?P<name>{_LABEL}(?:\.{_LABEL})*\.?))(?::(?P<port>[0-9]{{1,5}}))?"
)
_DESCRIPTOR = re.compile(r"systemd:[!-9;-~]{1,255}")  # FileDescriptorName=: printable, no colon
_UNIX = re.compile(r"unix:[/@][^\0]+")
_LONGEST_PATH = 107  # sockaddr_un holds 108 bytes with the final NUL

Host = ipaddress.IPv4Address | ipaddress.IPv6Address | str


@attrs.frozen
class Bound:
    """Where a listener binds: host and port; or in ``path`` what is not TCP (``unix:PATH``, ``systemd:NAME``)."""

    host: str = ""
    port: int = 0
    path: str = ""

    @classmethod
    def of(cls, address: str) -> Bound:
        """Take a checked address apart."""
        parts = _authority(address)
        return cls(path=address) if parts is None else cls(*parts)

    def clashes(self, other: Bound) -> bool:
        """Whether both cannot be bound at once. Port 0 is a new port each time; wildcards take all of their family."""
        if self.path or other.path:
            return self.path == other.path
        if self.port != other.port or not self.port:
            return False
        mine, others = _host(self.host), _host(other.host)
        if isinstance(mine, str) or isinstance(others, str):
            return mine == others
        return mine.version == others.version and (mine == others or mine.is_unspecified or others.is_unspecified)


def _host(host: str) -> Host:
    try:
        return ipaddress.ip_address("127.0.0.1" if host == "localhost" else host)
    except ValueError:
        return host


def _authority(text: str, default: int | None = None) -> tuple[str, int] | None:
    """Host and port, or None if this is no authority. Where all is digits at the end, it must be an address (WHATWG URL)."""
    found = _AUTHORITY.fullmatch(text)
    if found is None or (found["port"] is None and default is None):
        return None
    host = found["v6"] or found["name"]
    numeric = found["v6"] is not None or host.rstrip(".").rpartition(".")[2].isdigit()
    port = int(found["port"] or default or 0)
    if port > 65535 or (numeric and isinstance(_host(host), str)):
        return None
    return host, port


def _unix(text: str) -> bool:
    return _UNIX.fullmatch(text) is not None and len(text[5:].encode()) <= _LONGEST_PATH


def listener_address(value: str) -> str:
    """Check ``host:port``, ``[v6]:port``, ``unix:/path`` or ``systemd:NAME``."""
    if not _unix(value) and not _DESCRIPTOR.fullmatch(value) and _authority(value) is None:
        raise expected("an address such as 0.0.0.0:8080, [::]:8080, unix:/run/gateway.sock or systemd:NAME")
    return value


def admin_address(value: str) -> str:
    """Check ``host:port``, ``[v6]:port``, ``unix:/path`` or ``off``."""
    if value != "off" and not _unix(value) and _authority(value) is None:
        raise expected("an address such as 127.0.0.1:9900, [::1]:9900 or unix:/run/admin.sock, or off")
    return value


def endpoint_url(value: str) -> str:
    """
    Check ``http://host:port``, ``https://host:port`` or ``unix:/path``; the port is added where it is left out.

    There is no place for a path: what the upstream sees is the route's business (filter ``rewrite``).
    """
    if _unix(value):
        return value
    scheme, separator, authority = value.partition("://")
    default = {"http": 80, "https": 443}.get(scheme)
    parts = _authority(authority.removesuffix("/"), default) if separator and default else None
    if parts is None or not parts[1]:
        raise expected(
            "an endpoint such as http://10.0.0.5:9001, https://users.internal:443 or unix:/run/users.sock, "
            "without user, path and query"
        )
    host, port = parts
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"


def store_url(value: str) -> str:
    """Check ``redis://host:port/db``, ``rediss://host:port/db`` or ``unix:/path``; port and number may be left out."""
    if _unix(value):
        return value
    scheme, separator, rest = value.partition("://")
    authority, _, number = rest.partition("/")
    sound = separator and scheme in ("redis", "rediss") and re.fullmatch(r"[0-9]{0,3}", number)
    if not sound or _authority(authority, 6379) is None:
        raise expected("a store such as redis://127.0.0.1:6379/0, rediss://redis.internal or unix:/run/redis.sock")
    return value
