"""
What a filter is made of: a spec, a class with hooks, and the `FilterKind` that ties them to a name.

A filter's file ends with ``kind = FilterKind("name", Spec, Class)``; nothing else has to be edited. Compiling a route keeps
only the hooks that a filter overrides, so a hook that is absent costs nothing.
"""

from __future__ import annotations

import enum
from collections.abc import Awaitable, Callable, Iterable
from typing import ClassVar, Generic, TypeVar

import attrs

from suuupra_gateway.config.findings import Loc
from suuupra_gateway.config.model import RouteSpec, Spec
from suuupra_gateway.hooks import Verdict
from suuupra_gateway.http.message import ResponseHead
from suuupra_gateway.interfaces import IExchange, IResidents, Transform

__all__ = ["DoneHook", "Filter", "FilterKind", "FilterSpec", "Phase", "ReplyHook", "TransformHook", "Verdict"]

TransformHook = Callable[[IExchange, ResponseHead], Transform | None]
ReplyHook = Callable[[IExchange, ResponseHead], None]
DoneHook = Callable[[IExchange], None]


class FilterSpec(Spec):
    """The base of every filter's spec: a frozen pydantic model; unknown keys are refused, docstrings become the reference."""


class Phase(enum.IntEnum):
    """When a filter runs; inside a phase, in file order."""

    PREFLIGHT = 10
    ACCESS = 20
    GLOBAL_LIMIT = 30
    AUTHENTICATE = 40
    AUTHORIZE = 50
    LIMIT = 60
    REQUEST = 70
    CACHE = 80
    BREAK = 90


S = TypeVar("S", bound=Spec)


class Filter(Generic[S]):
    """
    One step of a route. Lives as long as its plan.

    Override any of the hooks. ``request`` and ``response`` return None (go on), a `Reply` (this is the answer) or an awaitable
    of those; write ``def`` and return a coroutine only on the branch that has to wait. Raising a `GatewayError` refuses
    the request with it; any other exception is a bug of the filter: the client gets a 500 problem (so a filter fails
    closed unless it catches), the log the traceback.
    """

    phase: ClassVar[Phase] = Phase.REQUEST

    on_error: ClassVar[str] = "The request is refused with 500."
    """What the filter does when it fails, for ``explain`` and the reference."""

    pure: ClassVar[bool] = True
    """Whether ``request`` depends on head and client alone and has no effects elsewhere: ``explain`` then just runs it."""

    answers_preflight: ClassVar[bool] = False
    """
    Whether ``request`` answers every CORS preflight. Routes with such a filter get the preflights for the methods they
    take, though OPTIONS is not among these.
    """

    name: str = ""
    """The name of its kind; the plan sets it."""

    spec: S
    slot: int = -1
    """Place of this filter's own value in ``exchange.slots``; the plan sets it if `wants_slot`."""

    wants_slot: ClassVar[bool] = False

    def __init__(self, spec: S, residents: IResidents) -> None:
        self.spec = spec

    def request(self, exchange: IExchange) -> Verdict | Awaitable[Verdict]:
        """The head is parsed, nothing chosen: may answer, edit ``exchange.head``, set ``principal``."""
        return None

    def response(self, exchange: IExchange, head: ResponseHead) -> Verdict | Awaitable[Verdict]:
        """The upstream's head came, nothing is sent; called in reverse order. May edit the head or replace the answer."""
        return None

    def reply(self, exchange: IExchange, head: ResponseHead) -> None:
        """The gateway's own answer (a `Reply`) is about to be sent: may edit its head; must not wait."""

    def transform(self, exchange: IExchange, head: ResponseHead) -> Transform | None:
        """Same moment as ``response``: a codec for the answer's body, or None."""
        return None

    def done(self, exchange: IExchange) -> None:
        """Exactly once, after the last byte or the abort. Must not wait and must not raise."""

    def explain(self, exchange: IExchange) -> str:
        """
        What the filter would do, in words, without side effects.

        Called before ``request`` is tried. Filters that are not `pure` should override it, as nothing else can tell;
        pure ones need it only for what ``request`` does not show, such as changes of the answer.
        """
        return ""

    def problems(self, route: RouteSpec, parameters: frozenset[str]) -> Iterable[str]:
        """
        What is wrong with this filter on ``route``, a sentence each; a plan with any is refused.

        :param parameters: names of the route's template parameters.
        """
        return ()

    def edits(self) -> Iterable[tuple[Loc, str]]:
        """
        Fields of the request that it is configured to change: where its spec says so, and the name.

        A plan is refused if one belongs to the gateway (``gateway.identity-headers``): upstreams believe these.
        """
        return ()


F = TypeVar("F", bound=Filter)  # type: ignore[type-arg]  # any spec


@attrs.frozen
class FilterKind:
    """A filter's name in configuration files, its spec and its class."""

    name: str
    spec: type[Spec]
    filter: type[Filter]  # type: ignore[type-arg]  # any spec
