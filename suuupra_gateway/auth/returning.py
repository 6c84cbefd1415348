"""
Where browsers may be sent after a login: to a path of our own, or to an origin that the configuration names. Nowhere else.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final
from urllib.parse import unquote, urlsplit

LONGEST: Final = 2048
"""Characters; what is longer is not worth a cookie."""

_PORTS: Final = {"http": "80", "https": "443"}

# What may be in a URL at all (RFC 3986 section 2), and percent-encoded whatever else was.
_PLAIN: Final = re.compile(r"(?:[A-Za-z0-9._~:/?#\[\]@!$&'()*+,;=-]|%[0-9A-Fa-f]{2})*").fullmatch

# Neither user nor password, which hide the host from those who look: a@evil@corp.
_ABSOLUTE: Final = re.compile(
    r"(?P<scheme>https?)://(?P<host>[A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\])(?::(?P<port>[0-9]{1,5}))?(?P<rest>(?:[/?#].*)?)"
).fullmatch


def origin_of(url: str) -> str | None:
    """``scheme://host[:port]`` of an absolute URL in its one usual form; None if it is no plain http URL."""
    found = _ABSOLUTE(url)
    if found is None:
        return None
    scheme, host, port = found["scheme"], found["host"].lower(), found["port"]
    return f"{scheme}://{host}" if port is None or port == _PORTS[scheme] else f"{scheme}://{host}:{int(port)}"


class Returns:
    """Where a login may send browsers to. Immutable."""

    __slots__ = ("origin", "_allowed")

    origin: str
    """Our own: of the redirect URI."""

    def __init__(self, redirect_uri: str, others: Iterable[str] = ()) -> None:
        """:param others: origins beside our own; a path behind one is not looked at."""
        split = urlsplit(redirect_uri)
        self.origin = origin_of(redirect_uri) or f"{split.scheme}://{split.netloc}"
        self._allowed = frozenset(
            {self.origin, *(origin for each in others if (origin := origin_of(each)) is not None)}
        )

    def safe(self, target: str) -> str | None:
        """``target`` if browsers may be sent there, else None. What is our own becomes a path."""
        if not target or len(target) > LONGEST or _PLAIN(target) is None:
            return (
                None  # also control characters, white space and backslashes, which browsers drop or turn into slashes
            )
        if target.startswith("/"):
            return target if _local(target) else None
        origin, found = origin_of(target), _ABSOLUTE(target)
        if origin is None or found is None or origin not in self._allowed:
            return None
        rest = found["rest"]
        path = rest if rest.startswith("/") else "/" + rest
        if not _local(path):
            return None
        return path if origin == self.origin else origin + path


def _local(path: str) -> bool:
    """Whether a path stays one however often somebody on the way decodes it."""
    plain = path.partition("?")[0].partition("#")[0]
    for _ in range(4):
        if plain.startswith(("//", "/\\")) or any(ord(each) < 0x21 or ord(each) == 0x7F for each in plain[:2]):
            return False
        decoded = unquote(plain, errors="replace")
        if decoded == plain:
            return True
        plain = decoded
    return False  # encoded more often than anybody needs
