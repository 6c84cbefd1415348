"""
The credential that is an API key: in a field of its own, as ``Authorization: ApiKey``, or, if a route says so, in the query.
"""

from __future__ import annotations

from collections.abc import Awaitable
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote_to_bytes

from suuupra_gateway.auth.answers import Stale, stale_will_do
from suuupra_gateway.auth.bearer import authorization, conceal_authorization
from suuupra_gateway.auth.keyring import Checked, KeyRing
from suuupra_gateway.auth.principal import UNASKED, Refused, Undecided
from suuupra_gateway.config.model import ApiKeySpec
from suuupra_gateway.http.message import RequestHead, remove
from suuupra_gateway.interfaces import IExchange

if TYPE_CHECKING:
    from suuupra_gateway.interfaces import Answer

_SCHEME: Final = b"apikey"
_SEVERAL: Final = Refused("several_credentials", "more than one API key", "invalid_request", 400)


class KeyCredential:
    """The `Credential` of callers with an API key. Lives as long as its plan."""

    __slots__ = ("challenge", "_ring", "_header", "_parameter", "_route", "_stale")

    kind = "api-key"
    provider = ""

    def __init__(self, spec: ApiKeySpec, ring: KeyRing, realm: str, route: str, *, stale: Stale = "allow") -> None:
        """
        :param route: name of the route that asks for it.
        :param stale: as the route says.
        """
        self.challenge = b'ApiKey realm="%b"' % realm.encode("ascii")
        self._ring = ring
        self._header = ring.spec.header.lower().encode("ascii")
        self._parameter = spec.query.encode("utf-8")
        self._route = route
        self._stale: Stale = stale

    def check(self, exchange: IExchange) -> Answer | Awaitable[Answer]:
        """See `Credential`."""
        text = self._shown(exchange.head)
        if text is None or isinstance(text, Refused):
            return text
        found = self._ring.check(text, stale_allowed=stale_will_do(self._stale, exchange.head.method))
        if isinstance(found, tuple | Refused | Undecided):
            return self._judged(exchange, found)
        return self._later(exchange, found)

    def glance(self, exchange: IExchange) -> Answer:
        """Whether it is a key at all. See `filters.rehearsal.Glancing`."""
        text = self._shown(exchange.head)
        if text is None or isinstance(text, Refused):
            return text
        return self._ring.glance(text) or UNASKED

    async def _later(self, exchange: IExchange, pending: Awaitable[Checked]) -> Answer:
        return self._judged(exchange, await pending)

    def _judged(self, exchange: IExchange, found: Checked) -> Answer:
        if not isinstance(found, tuple):
            return found
        entry, answer = found
        if entry.networks is not None and exchange.client not in entry.networks:
            return Refused("address_not_allowed", f"key {entry.record.id} may not come from here", status=403)
        if entry.routes and self._route not in entry.routes:
            return Refused("route_not_allowed", f"key {entry.record.id} is not for this route", status=403)
        self._ring.note(entry.record, exchange.client, exchange.head.get(b"user-agent"))
        return answer

    def _shown(self, head: RequestHead) -> bytes | Refused | None:
        """The one key of the request. Two, even equal ones, are ambiguous: upstreams might read the other one."""
        header = self._header
        found: bytes | None = None
        for name, value in head.headers:
            if name == header:
                if found is not None:
                    return _SEVERAL
                found = value
        other = authorization(head, _SCHEME)
        if other is not None:
            if isinstance(other, Refused):
                return other
            if found is not None:
                return _SEVERAL
            found = other
        if self._parameter and head.query:
            for value in _values(head.query, self._parameter):
                if found is not None:
                    return _SEVERAL
                found = value
        return found

    def conceal(self, head: RequestHead) -> None:
        """See `Credential`."""
        if head.get(self._header) is not None:
            remove(head.headers, self._header)
        conceal_authorization(head, _SCHEME)
        if self._parameter and head.query:
            kept = [pair for pair in head.query.split(b"&") if _name(pair) != self._parameter]
            head.query = b"&".join(kept) if kept else None

    def presented(self, head: RequestHead) -> bool:
        """See `Credential`."""
        return self._shown(head) is not None


def _name(pair: bytes) -> bytes:
    return unquote_to_bytes(pair.partition(b"=")[0].replace(b"+", b" "))


def _values(query: bytes, parameter: bytes) -> list[bytes]:
    pairs = query.split(b"&")
    return [unquote_to_bytes(pair.partition(b"=")[2].replace(b"+", b" ")) for pair in pairs if _name(pair) == parameter]
