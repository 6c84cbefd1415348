"""
Allow or deny by the client's address.
"""

from __future__ import annotations

from pydantic import model_validator

from suuupra_gateway.config.model import Cidr
from suuupra_gateway.errors import Forbidden
from suuupra_gateway.filters.base import Filter, FilterKind, FilterSpec, Phase
from suuupra_gateway.hooks import Verdict
from suuupra_gateway.http.message import Reply
from suuupra_gateway.interfaces import IExchange, IResidents
from suuupra_gateway.net.networks import Networks


class AccessSpec(FilterSpec):
    """Which addresses may come. ``deny`` goes before ``allow``."""

    allow: tuple[Cidr, ...] = ()
    """Only these; empty for all. Clients of a UNIX listener have no address and are then refused."""

    deny: tuple[Cidr, ...] = ()
    """Not these."""

    @model_validator(mode="after")
    def _some(self) -> AccessSpec:
        if not self.allow and not self.deny:
            raise ValueError("give allow, deny or both")
        return self


_FORBIDDEN = Reply.of(Forbidden())


class Access(Filter[AccessSpec]):
    """Refuse with 403 by the address of the client, trusted proxies taken away."""

    phase = Phase.ACCESS
    on_error = "The request is refused: an address that cannot be read is in no range."

    def __init__(self, spec: AccessSpec, residents: IResidents) -> None:
        super().__init__(spec, residents)
        self._allowed = Networks(spec.allow) if spec.allow else None
        self._denied = Networks(spec.deny)

    def request(self, exchange: IExchange) -> Verdict:
        """Answer 403 or go on."""
        client = exchange.client
        if client in self._denied:
            return _FORBIDDEN
        if self._allowed is not None and client not in self._allowed:
            return _FORBIDDEN
        return None

    def explain(self, exchange: IExchange) -> str:
        """Which of the two lists decides."""
        client = exchange.client
        if client in self._denied:
            return f"{client} is in deny"
        if self._allowed is None:
            return f"{client or 'a client without an address'} is not in deny"
        return f"{client or 'a client without an address'} is {'' if client in self._allowed else 'not '}in allow"


kind = FilterKind("access", AccessSpec, Access)
