"""
Running the hooks of a route: loops that cost nothing while nobody waits.

This is one of the three borders where any exception is caught (the others are the channel and the control commands): a hook
that raises is logged with the name of its filter and never lost. A `GatewayError` raised by a request or response hook is
a refusal like any other; everything else is a bug of the filter, and the client gets a 500 problem.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Iterator

from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger

from suuupra_gateway.errors import GatewayError, wrap
from suuupra_gateway.http.message import Reply, ResponseHead
from suuupra_gateway.interfaces import IExchange

Verdict = Reply | None
Hook = Callable[[IExchange], Verdict | Awaitable[Verdict]]
ResponseHook = Callable[[IExchange, ResponseHead], Verdict | Awaitable[Verdict]]

log = Logger()


def run(hooks: Iterator[Hook], exchange: IExchange) -> Verdict | Deferred[Verdict]:
    """
    Call hooks until one answers; return a Deferred only if one has to wait.

    The Deferred never fails but by being cancelled (the client left): that raises `CancelledError` inside the waiting
    filter. A hook that fails in any other way answers, with `refusal`.
    """
    for hook in hooks:
        try:
            verdict = hook(exchange)
        except Exception as reason:
            return refusal(hook, exchange, reason)
        if verdict is not None:
            if type(verdict) is Reply:
                return verdict
            return Deferred.fromCoroutine(_wait(verdict, hook, hooks, exchange))  # type: ignore[arg-type]  # awaitable
    return None


async def _wait(pending: Awaitable[Verdict], hook: Hook, hooks: Iterator[Hook], exchange: IExchange) -> Verdict:
    try:
        verdict = await pending
    except CancelledError:
        raise
    except Exception as reason:
        return refusal(hook, exchange, reason)
    if verdict is None:
        following = run(hooks, exchange)  # the same iterator: goes on where it stopped
        if isinstance(following, Deferred):
            return await following
        return following
    return verdict


def run_response(hooks: Iterator[ResponseHook], exchange: IExchange, head: ResponseHead) -> Verdict | Deferred[Verdict]:
    """As `run`, for the hooks that see the answer's head. A hook that fails replaces the answer."""
    for hook in hooks:
        try:
            verdict = hook(exchange, head)
        except Exception as reason:
            return refusal(hook, exchange, reason)
        if verdict is not None:
            if type(verdict) is Reply:
                return verdict
            return Deferred.fromCoroutine(_wait_response(verdict, hook, hooks, exchange, head))  # type: ignore[arg-type]
    return None


async def _wait_response(
    pending: Awaitable[Verdict],
    hook: ResponseHook,
    hooks: Iterator[ResponseHook],
    exchange: IExchange,
    head: ResponseHead,
) -> Verdict:
    try:
        verdict = await pending
    except CancelledError:
        raise
    except Exception as reason:
        return refusal(hook, exchange, reason)
    if verdict is None:
        following = run_response(hooks, exchange, head)
        if isinstance(following, Deferred):
            return await following
        return following
    return verdict


def run_reply(
    hooks: Iterable[Callable[[IExchange, ResponseHead], None]], exchange: IExchange, head: ResponseHead
) -> None:
    """Show the head of the gateway's own answer to every hook; one that raises is logged and the next ones still run."""
    for hook in hooks:
        try:
            hook(exchange, head)
        except Exception:
            _log_failure(hook, exchange)


def run_done(hooks: Iterable[Callable[[IExchange], None]], exchange: IExchange) -> None:
    """Tell every hook that the exchange is over; one that raises is logged and the next ones still run."""
    for hook in hooks:
        try:
            hook(exchange)
        except Exception:
            _log_failure(hook, exchange)


def refusal(hook: object, exchange: IExchange, reason: Exception) -> Reply:
    """
    The reply for a hook that raised ``reason``; called while it is being handled.

    It is logged here unless it is a `GatewayError`, said on purpose.
    """
    if not isinstance(reason, GatewayError):
        _log_failure(hook, exchange)
    return Reply.of(wrap(reason))


def _log_failure(hook: object, exchange: IExchange) -> None:
    log.failure(
        "filter {filter} of route {route} failed on request {request}",
        filter=_filter_name(hook),
        route=exchange.route.name if exchange.route is not None else "none",
        request=exchange.id.decode("latin-1"),
    )


def _filter_name(hook: object) -> str:
    """The name of the filter that ``hook`` is a method of; for a plain function, its own."""
    owner = getattr(hook, "__self__", None)
    return getattr(owner, "name", "") or getattr(hook, "__qualname__", repr(hook))
