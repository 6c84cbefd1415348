"""
Another limit for request bodies than the listener's.
"""

from __future__ import annotations

from typing import Any

from suuupra_gateway.config.model import Shorthand
from suuupra_gateway.config.units import Size
from suuupra_gateway.errors import BodyTooLarge
from suuupra_gateway.filters.base import Filter, FilterKind, Phase
from suuupra_gateway.hooks import Verdict
from suuupra_gateway.http.message import Reply
from suuupra_gateway.interfaces import IExchange


class BodyLimitSpec(Shorthand):
    """How long a body may be."""

    short_form = "``max`` alone."

    max: Size
    """Longest request body, lower or higher than the listener's ``limits.body``; 413."""

    @classmethod
    def unfold(cls, value: str) -> dict[str, Any]:
        """A size is the limit."""
        return {"max": value}


_TOO_LARGE = Reply.of(BodyTooLarge())


class BodyLimit(Filter[BodyLimitSpec]):
    """Refuse by the declared length at once, and otherwise while the body streams."""

    phase = Phase.LIMIT
    on_error = "A body over the limit is refused with 413; if it was already on its way, the upstream's request is cut."

    def request(self, exchange: IExchange) -> Verdict:
        """Set the body's limit; answer 413 if the declared length exceeds it."""
        limit = self.spec.max
        exchange.body.limit = limit
        length = exchange.head.content_length
        return _TOO_LARGE if length is not None and length > limit else None

    def explain(self, exchange: IExchange) -> str:
        """The limit."""
        return f"bodies up to {self.spec.max}"


kind = FilterKind("body-limit", BodyLimitSpec, BodyLimit)
