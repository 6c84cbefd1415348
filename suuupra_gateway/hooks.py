"""
Running the hooks of a route: a loop that costs nothing while nobody waits.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator

from twisted.internet.defer import Deferred

from suuupra_gateway.http.message import Reply, ResponseHead
from suuupra_gateway.interfaces import IExchange

Verdict = Reply | None
Hook = Callable[[IExchange], Verdict | Awaitable[Verdict]]
ResponseHook = Callable[[IExchange, ResponseHead], Verdict | Awaitable[Verdict]]


def run(hooks: Iterator[Hook], exchange: IExchange) -> Verdict | Deferred[Verdict]:
    """
    Call hooks until one answers; return a Deferred only if one has to wait.

    Cancelling that Deferred (the client left) raises `CancelledError` inside the waiting filter.
    """
    for hook in hooks:
        verdict = hook(exchange)
        if verdict is not None:
            if type(verdict) is Reply:
                return verdict
            return Deferred.fromCoroutine(_wait(verdict, hooks, exchange))  # type: ignore[arg-type]  # not a Reply: awaitable
    return None


async def _wait(pending: Awaitable[Verdict], hooks: Iterator[Hook], exchange: IExchange) -> Verdict:
    verdict = await pending
    if verdict is None:
        following = run(hooks, exchange)  # the same iterator: goes on where it stopped
        if isinstance(following, Deferred):
            return await following
        return following
    return verdict


def run_response(hooks: Iterator[ResponseHook], exchange: IExchange, head: ResponseHead) -> Verdict | Deferred[Verdict]:
    """As `run`, for the hooks that see the answer's head."""
    for hook in hooks:
        verdict = hook(exchange, head)
        if verdict is not None:
            if type(verdict) is Reply:
                return verdict
            return Deferred.fromCoroutine(_wait_response(verdict, hooks, exchange, head))  # type: ignore[arg-type]
    return None


async def _wait_response(
    pending: Awaitable[Verdict], hooks: Iterator[ResponseHook], exchange: IExchange, head: ResponseHead
) -> Verdict:
    verdict = await pending
    if verdict is None:
        following = run_response(hooks, exchange, head)
        if isinstance(following, Deferred):
            return await following
        return following
    return verdict
