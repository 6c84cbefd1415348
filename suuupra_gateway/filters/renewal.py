"""
Authentication where browsers have sessions: a cookie that is worn gets a new one with the answer, so that the session goes on.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, Protocol, runtime_checkable

from suuupra_gateway.auth.principal import Principal
from suuupra_gateway.filters.auth import Auth
from suuupra_gateway.hooks import Verdict
from suuupra_gateway.http.message import Pair, RequestHead, ResponseHead
from suuupra_gateway.interfaces import IExchange

_PRIVATE: Final = (b"cache-control", b"private")


@runtime_checkable
class Renewing(Protocol):
    """A `Credential` that wears out."""

    def renewal(self, head: RequestHead) -> tuple[Pair, ...]:
        """The fields that the answer must carry so that it goes on; nothing for most."""


class RenewingAuth(Auth):
    """As `Auth`, for routes with such a credential."""

    wants_slot = True

    def __init__(self, *arguments: Any, **more: Any) -> None:
        """As `Auth`."""
        super().__init__(*arguments, **more)
        self._renewals: tuple[Callable[[RequestHead], tuple[Pair, ...]], ...] = tuple(
            each.renewal for each in self.credentials if isinstance(each, Renewing)
        )

    def _admit(self, exchange: IExchange, principal: Principal, place: int, source: str, age: float) -> Verdict:
        # Before the cookie is taken out of the head.
        fields = tuple(field for renewal in self._renewals for field in renewal(exchange.head))
        if fields:
            # Whatever the upstream says of its page: no cache may hand the cookie on (RFC 9111 section 5.2.2.7).
            exchange.slots[self.slot] = (*fields, _PRIVATE)
        return super()._admit(exchange, principal, place, source, age)

    def response(self, exchange: IExchange, head: ResponseHead) -> None:
        """Renew with an upstream's answer."""
        self.reply(exchange, head)

    def reply(self, exchange: IExchange, head: ResponseHead) -> None:
        """Renew with an answer of our own."""
        fields: Any = exchange.slots[self.slot]
        if fields:
            exchange.slots[self.slot] = None
            head.headers += fields
