"""
The root of the resource tree, and the routes below it.

`GatewayResource` takes any `IRequest`: the gateway's own exchanges as they are, those of a stock Twisted Web `Site` through
`IExchange`. It finds the route and lets it run; `RouteResource` runs the filters and hands over to the target. Nothing here
waits unless a filter does.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from math import inf
from typing import Any, Final, Protocol

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.iweb import IRequest
from twisted.web.resource import IResource, Resource
from twisted.web.server import NOT_DONE_YET

from suuupra_gateway.config.model import RouteSpec
from suuupra_gateway.errors import (
    BadRequest,
    BodyTooLarge,
    DeadlineExceeded,
    GatewayError,
    MethodNotAllowed,
    NotRouted,
    Overloaded,
    wrap,
)
from suuupra_gateway.filters.base import DoneHook, Filter, ReplyHook, TransformHook
from suuupra_gateway.hooks import Hook, ResponseHook, Verdict, run
from suuupra_gateway.http.exchange import Exchange
from suuupra_gateway.http.message import Reply, RequestHead
from suuupra_gateway.http.target import decode_escapes
from suuupra_gateway.interfaces import IExchange
from suuupra_gateway.net.sweep import Sweep
from suuupra_gateway.routing.table import Refusal

AnyFilter = Filter[Any]

_BAD_ESCAPES: Final = Reply.of(
    BadRequest("escaped slash, backslash or NUL", detail="The path holds %2F, %5C or %00, which this route refuses.")
)
_BAD_DOTS: Final = Reply.of(
    BadRequest("dot segments between escaped slashes", detail="The path holds dot segments next to %2F or %5C.")
)
_HIDDEN_DOTS: Final = re.compile(rb"(?:/|%2F|%5C)\.\.?(?:/|%2F|%5C|;|%3B|\Z)").search
"""Paths are without plain dot segments, so what is found would become one in an upstream that decodes the slashes."""

_NOT_ROUTED: Final = Reply.of(NotRouted())
_TOO_LARGE: Final = Reply.of(BodyTooLarge())


class Table(Protocol):
    """What `GatewayResource` asks of a route table."""

    def match(self, head: RequestHead) -> RouteResource | Refusal:
        """The route for ``head``, whose ``params`` are set, or why there is none."""


class Planned(Protocol):
    """What `GatewayResource` asks of a plan."""

    @property
    def table(self) -> Table:
        """All routes."""


class _NoTable:
    def match(self, head: RequestHead) -> RouteResource | Refusal:
        raise Overloaded("no plan is in effect yet")


class _NoPlan:
    table: Table = _NoTable()


class GatewayResource(Resource):
    """The root of every listener. Lives as long as the process; `plan` changes under it."""

    isLeaf = True
    log = Logger()

    plan: Planned
    """What requests are matched against: swapped by one assignment; exchanges in flight keep their route."""

    def __init__(self, plan: Planned | None = None) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # twisted is not typed here
        self.plan = plan if plan is not None else _NoPlan()

    def render(self, request: IRequest | IExchange) -> int:
        """Answer ``request``, now or later."""
        exchange: IExchange
        if type(request) is Exchange:
            exchange = request
        else:
            exchange = _adapted(request)
            if exchange.outcome.status:
                return NOT_DONE_YET  # the adapter has refused it
        try:
            found = select(self.plan.table, exchange.head)
            if isinstance(found, RouteResource):
                found.render(exchange)
            else:
                exchange.respond(refusal_reply(found, exchange.head))
        except Exception as reason:
            if not isinstance(reason, GatewayError):
                self.log.failure("request {request} failed", request=exchange.id.decode("latin-1"))
            exchange.abort(wrap(reason))
        return NOT_DONE_YET


def _adapted(request: object) -> IExchange:
    """
    Anything else than our own exchanges as one.

    :raises TypeError: it is no request at all.
    """
    # Registers the adapter; gateways that only serve their own connections never need it.
    import suuupra_gateway.http.stock  # noqa: F401

    return IExchange(request)


def select(table: Table, head: RequestHead) -> RouteResource | Refusal:
    """
    The route for ``head``.

    A CORS preflight belongs to the route of the request that it asks about, if that one has a filter to answer it.
    """
    if head.method == b"OPTIONS" and head.preflight:
        head.method = head.get(b"access-control-request-method") or b"OPTIONS"
        try:
            found = table.match(head)
        finally:
            head.method = b"OPTIONS"
        if type(found) is RouteResource and found.answers_preflight:
            return found
    return table.match(head)


def refusal_reply(refusal: Refusal, head: RequestHead) -> Reply:
    """What the client is told when no route takes its request: 404, 405 with ``Allow``, or a redirect."""
    if refusal.redirect is not None:
        return _redirect(refusal.redirect, head.query)
    if refusal.allow:
        return Reply.of(MethodNotAllowed(headers=((b"allow", b", ".join(refusal.allow)),)))
    return _NOT_ROUTED


def _redirect(path: bytes, query: bytes | None) -> Reply:
    # 308 (RFC 9110 section 15.4.9) so that the method and the body stay what they were.
    return Reply(308, ((b"location", path if query is None else path + b"?" + query),))


class RouteResource(Resource):
    """A route with its filters and its target. Lives as long as its plan, and as the exchanges pinned to it."""

    isLeaf = True
    log = Logger()

    spec: RouteSpec
    filters: tuple[AnyFilter, ...]
    """In the order in which their request hooks run: by phase, then as in the file."""

    target: IResource
    """The leaf that answers when no filter does; renders an `IExchange`."""

    answers_preflight: bool
    """Whether a filter answers CORS preflights for the methods of this route."""

    request_hooks: Sequence[Hook]
    response_hooks: Sequence[ResponseHook]
    """In reverse order: the filter that saw the request last sees the answer first."""

    transform_hooks: Sequence[TransformHook]
    """In reverse order too."""

    reply_hooks: Sequence[ReplyHook]
    done_hooks: Sequence[DoneHook]

    def __init__(
        self, spec: RouteSpec, filters: Iterable[AnyFilter], target: IResource, *, total: float, sweep: Sweep
    ) -> None:
        """
        :param filters: in file order; those that want a slot get one.
        :param total: seconds that an exchange may take; 0 for as long as it likes.
        """
        super().__init__()  # type: ignore[no-untyped-call]  # twisted is not typed here
        self.spec = spec
        self.name = spec.name
        self.target = target
        self.filters = tuple(sorted(filters, key=lambda each: each.phase))  # stable: keeps file order
        self.answers_preflight = any(each.answers_preflight for each in self.filters)
        self.request_hooks = _overridden(self.filters, "request")
        self.response_hooks = _overridden(self.filters[::-1], "response")
        self.transform_hooks = _overridden(self.filters[::-1], "transform")
        self.reply_hooks = _overridden(self.filters, "reply")
        self.done_hooks = _overridden(self.filters, "done")
        self.slots = 0
        for each in self.filters:
            if each.wants_slot:
                each.slot = self.slots
                self.slots += 1
        self._total = total
        self._sweep = sweep
        self._monotonic = sweep.monotonic

    def render(self, exchange: IExchange) -> None:  # routes render exchanges
        """Pin ``exchange`` to this route, run the filters, then the target."""
        exchange.route = self
        if self.slots:
            exchange.slots = [None] * self.slots
        if self._total:
            exchange.deadline = exchange.arrived + self._total
        if exchange.head.escaped:
            refused = escapes_reply(self.spec, exchange.head)
            if refused is not None:
                exchange.respond(refused)
                return
        verdict = run(iter(self.request_hooks), exchange)
        if verdict is None or type(verdict) is Reply:
            self.conclude(exchange, verdict)
        else:
            _Waiting(self, exchange, verdict, self._sweep)  # type: ignore[arg-type]  # else a Deferred

    def conclude(self, exchange: IExchange, verdict: Verdict) -> None:
        """The filters are done: answer with their ``verdict``, or go on to the target."""
        exchange.outcome.filtered = self._monotonic()
        if verdict is not None:
            exchange.respond(verdict)
            return
        length = exchange.head.content_length
        # Only now, as a filter may have raised the limit. Bodies of unknown length are counted while they stream.
        if length and length > exchange.body.limit:
            exchange.respond(_TOO_LARGE)
            return
        self.target.render(exchange)  # type: ignore[no-untyped-call]  # our leaves render exchanges


def escapes_reply(spec: RouteSpec, head: RequestHead) -> Reply | None:
    """
    What a route answers to a path with ``%2F``, ``%5C`` or ``%00``; None if it takes it as it is.

    Not even ``escapes: keep`` lets dot segments through that hide behind such slashes: upstreams that decode them would leave
    the route's prefix.
    """
    if spec.escapes == "keep":
        return _BAD_DOTS if _HIDDEN_DOTS(head.path) else None
    if spec.escapes == "redirect":
        try:
            return _redirect(decode_escapes(head.path), head.query)
        except BadRequest as error:
            return Reply.of(error)
    return _BAD_ESCAPES


def _overridden(filters: Iterable[AnyFilter], hook: str) -> tuple[Any, ...]:
    """The bound method ``hook`` of those filters that do not merely inherit it from `Filter`."""
    return tuple(getattr(each, hook) for each in filters if getattr(type(each), hook) is not getattr(Filter, hook))


class _Waiting:
    """
    An exchange whose filters wait. Lives until they have decided, the client leaves, or the deadline passes.

    Whichever comes first ends it; the others then mean nothing any more.
    """

    __slots__ = ("deadline", "_route", "_exchange", "_pending", "_sweep", "_over")

    log = Logger()

    def __init__(self, route: RouteResource, exchange: IExchange, pending: Deferred[Verdict], sweep: Sweep) -> None:
        self.deadline = exchange.deadline
        self._route = route
        self._exchange = exchange
        self._pending = pending
        self._sweep = sweep
        self._over = False
        if self.deadline != inf:
            sweep.watch(self)
        exchange.on_gone(self._gone)  # at once, if the client has left already
        pending.addCallbacks(self._decided, self._failed)

    def _end(self) -> bool:
        """Whether this call is the one that ends the wait."""
        if self._over:
            return False
        self._over = True
        self._sweep.unwatch(self)
        self._exchange.on_gone(None)
        return True

    def _decided(self, verdict: Verdict) -> None:
        if self._end():
            try:
                self._route.conclude(self._exchange, verdict)
            except Exception:
                self._failed_in(Failure())  # type: ignore[no-untyped-call]  # twisted is not typed here

    def _failed(self, failure: Failure) -> None:
        # Hooks do not fail but by being cancelled: if not by us, then by the filter itself, which is a bug of it.
        if self._end():
            self._failed_in(failure)

    def _failed_in(self, failure: Failure) -> None:
        assert failure.value is not None
        if not isinstance(failure.value, GatewayError):
            self.log.failure(
                "request {request} failed on route {route}",
                failure,
                request=self._exchange.id.decode("latin-1"),
                route=self._route.name,
            )
        self._exchange.abort(wrap(failure.value))

    def _gone(self, error: GatewayError) -> None:
        self._end()
        self._pending.cancel()

    def expired(self, now: float) -> None:
        """The deadline passed while a filter waited."""
        self._end()
        self._pending.cancel()
        self._exchange.abort(DeadlineExceeded("filters took all of the time", detail="The time limit was reached."))
