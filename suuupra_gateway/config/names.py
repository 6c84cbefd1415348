"""
Which header fields belong to the gateway: what only it may set, because upstreams believe it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

OURS: Final = b"x-suuupra-*"
"""By these the gateway itself speaks to upstreams: of stale decisions, and who is calling."""


class OwnedNames:
    """
    Names that only the gateway may set, some with a wildcard at their end: ``b"X_User_Id" in names``. Immutable.

    Compared without case and with ``_`` and ``.`` as ``-``, since WSGI and its kin cannot tell these apart (CVE-2025-64484).
    """

    __slots__ = ("_exact", "_starts")

    def __init__(self, patterns: Iterable[str]) -> None:
        """:param patterns: names such as ``X-User-Id`` or ``X-Auth-*``. What begins with ``X-Suuupra-`` is always ours."""
        plain = [OURS, *(folded(pattern.encode("latin-1")) for pattern in patterns)]
        self._exact = frozenset(name for name in plain if not name.endswith(b"*"))
        self._starts = tuple(name[:-1] for name in plain if name.endswith(b"*"))

    def __contains__(self, name: bytes) -> bool:
        plain = folded(name)
        return plain in self._exact or plain.startswith(self._starts)


def folded(name: bytes) -> bytes:
    """``name`` as WSGI and its kin would see it: without case, and with ``-`` for ``_`` and ``.``."""
    return name.lower().replace(b"_", b"-").replace(b".", b"-")
