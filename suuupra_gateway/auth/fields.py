"""
How upstreams learn who is calling: from a principal to header fields.

Claims are texts from outside. What is not visible ASCII, and the percent sign, is percent-encoded as UTF-8 (RFC 3986 section
2.1), and so is what separates the members of a list: who decodes gets back exactly what the claim said, and no claim makes a
second field or a second member.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final
from urllib.parse import quote

import msgspec

from suuupra_gateway.auth.principal import Principal
from suuupra_gateway.auth.provider import claim
from suuupra_gateway.config.model import PrincipalHeaders
from suuupra_gateway.http.message import Pair

LONGEST: Final = 8 * 1024
"""Bytes of one field. Beyond, upstreams would refuse the request with a riddle."""

_VISIBLE: Final = "".join(map(chr, range(0x21, 0x7F))).replace("%", "")

Make = Callable[[Principal], str]


class FieldTooLong(Exception):
    """A field would be longer than any upstream takes. The message says which."""


class PrincipalFields:
    """Makes the header fields of principals. Immutable."""

    __slots__ = ("_makers",)

    def __init__(self, spec: PrincipalHeaders) -> None:
        makers: list[tuple[str, Make]] = [
            (spec.subject, lambda principal: text(principal.subject)),
            (spec.roles, lambda principal: joined(principal.roles, ",")),
            (spec.scopes, lambda principal: joined(principal.scopes, " ")),
            (spec.tenant, lambda principal: text(principal.tenant)),
            (spec.key, lambda principal: text(principal.key) if principal.credential == "api-key" else ""),
            (spec.credential, lambda principal: principal.credential),
            *((name, _of_claim(path)) for name, path in spec.claims),
        ]
        self._makers = tuple((name.lower().encode("ascii"), make) for name, make in makers if name)

    def of(self, principal: Principal) -> tuple[Pair, ...]:
        """
        The fields of ``principal``; what it does not say is left out.

        :raises FieldTooLong: one has more than `LONGEST` bytes.
        """
        pairs = [(name, make(principal).encode("ascii")) for name, make in self._makers]
        given = {name for name, _ in principal.fields}
        pairs = [pair for pair in pairs if pair[1] and pair[0] not in given]  # whoever decided knows best
        for name, value in (*pairs, *principal.fields):
            if len(value) > LONGEST:
                raise FieldTooLong(f"{name.decode('latin-1')} would have {len(value)} bytes")
        return (*pairs, *principal.fields)


def text(value: str) -> str:
    """A text as the value of a field."""
    # Spaces at the ends belong to no field's value (RFC 9110 section 5.5): such a text keeps none as it is.
    safe = _VISIBLE + " " if value.strip(" ") == value else _VISIBLE
    return quote(value, safe=safe, errors="surrogatepass")


def joined(values: Iterable[str], separator: str) -> str:
    """Texts as one value, sorted, so that the same set always looks the same."""
    safe = _VISIBLE.replace(separator, "")
    return separator.join(sorted(quote(value, safe=safe, errors="surrogatepass") for value in values))


def _of_claim(path: str) -> Make:
    def make(principal: Principal) -> str:
        return _written(claim(principal.claims, path))

    return make


def _written(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, str):
        return text(value)
    if isinstance(value, list) and all(isinstance(each, str) for each in value):
        return joined(value, ",")
    return text(msgspec.json.encode(value).decode("utf-8"))
