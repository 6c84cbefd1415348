"""
Refuse to brew coffee (RFC 2324 section 2.3.2).
"""

from suuupra_gateway.filters.base import Filter, FilterKind, FilterSpec, Verdict
from suuupra_gateway.http.message import Reply
from suuupra_gateway.interfaces import IExchange


class TeapotSpec(FilterSpec):
    """What counts as coffee."""

    word: str = "coffee"
    """Paths that hold this word are refused."""


class Teapot(Filter[TeapotSpec]):
    """Answer 418 to requests for coffee."""

    on_error = "It cannot fail."

    def request(self, exchange: IExchange) -> Verdict:
        """Answer 418, or go on."""
        if self.spec.word.encode() in exchange.head.path:
            return Reply.problem(418, code="teapot", title="I'm a teapot")
        return None


kind = FilterKind("teapot", TeapotSpec, Teapot)
