"""
What is asked of request heads, whoever reads them: limits, and which fields are not let in at all.
"""

from __future__ import annotations

from typing import Final, Literal

from suuupra_gateway.config.model import ProcessSpec
from suuupra_gateway.config.names import OwnedNames, folded
from suuupra_gateway.errors import BadRequest
from suuupra_gateway.http.counters import EdgeCounters


def forwarding(name: bytes) -> bool:
    """Whether a field called ``name`` tells for whom a proxy speaks."""
    plain = folded(name)
    return plain.startswith(b"x-forwarded-") or plain in _FORWARDING


_FORWARDING: Final = frozenset({b"forwarded", b"x-real-ip", b"client-cert", b"client-cert-chain"})
"""The latter two tell of the TLS that a proxy has ended (RFC 9440)."""

_OWNED: Final = OwnedNames(ProcessSpec().identity_headers)


class HeadRules:
    """What a listener asks of heads, and what its parsers have learnt. One per listener, shared by its connections."""

    __slots__ = (
        "request_line",
        "head",
        "headers",
        "underscores",
        "merge_slashes",
        "owned",
        "believes",
        "counters",
        "names",
        "hosts",
    )

    names: dict[bytes, bytes]
    """Field names without any meaning for us: as received, to lower-case. Bounded."""

    hosts: dict[bytes, tuple[bytes, bytes]]
    """``Host`` values, to authority and host. Bounded."""

    def __init__(
        self,
        *,
        request_line: int = 8 * 1024,
        head: int = 32 * 1024,
        headers: int = 100,
        underscores: Literal["drop", "reject", "keep"] = "drop",
        merge_slashes: bool = True,
        owned: OwnedNames | None = None,
        believes: bool = True,
        counters: EdgeCounters | None = None,
    ) -> None:
        """
        :param request_line: longest request line, in bytes without its CRLF.
        :param head: most bytes of all field lines together.
        :param headers: most field lines.
        :param underscores: what becomes of fields whose names hold ``_`` or ``.``, trailers included.
        :param owned: names that only the gateway may set; by default those of `ProcessSpec`.
        :param believes: whether the peer is trusted to say for whom it speaks; else its forwarding fields are dropped.
        """
        self.request_line = request_line
        self.head = head
        self.headers = headers
        self.underscores = underscores
        self.merge_slashes = merge_slashes
        self.owned = owned if owned is not None else _OWNED
        self.believes = believes
        self.counters = counters or EdgeCounters()
        self.names = {}
        self.hosts = {}

    def admit(self, lower: bytes) -> bool:
        """
        Whether a field called ``lower`` is kept.

        Identity that the gateway vouches for never comes from outside, so what claims to be that is dropped here, before any
        filter can see it or set the real one. Practice: upstreams that speak WSGI or CGI cannot tell ``X_User_Id`` from
        ``X-User-Id`` (oauth2-proxy CVE-2025-64484), so other names with such characters are not trusted either.

        :raises BadRequest: the name is one that this listener rejects.
        """
        if lower in self.owned:
            self.counters.dropped_headers += 1
            return False
        if not self.believes and forwarding(lower):
            # Here and not only where upstreams are spoken to: routes, filters and mounted resources read them too.
            return False
        if self.underscores == "keep" or (b"_" not in lower and b"." not in lower):
            return True
        if self.underscores == "reject":
            raise BadRequest("a field name holds _ or .", detail="Header names must not contain '_' or '.'.")
        self.counters.dropped_headers += 1
        return False
