"""
Long work done between requests.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from typing import TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime

T = TypeVar("T")

SLICE = 0.002
"""Seconds of work per turn of the reactor: what requests may have to wait longer than else while a plan is compiled."""


def sliced(
    reactor: IReactorTime,
    steps: Generator[object, None, T],
    *,
    budget: float = SLICE,
    clock: Callable[[], float] = time.perf_counter,
) -> Deferred[T]:
    """
    Run ``steps`` to its end, at most ``budget`` seconds (and one step) per turn of the reactor; what it returned.

    Errback with what it raised. Cancelling closes it.
    """
    pending: IDelayedCall | None = None

    def cancel(_: Deferred[T]) -> None:
        if pending is not None:
            pending.cancel()
        steps.close()

    done: Deferred[T] = Deferred(cancel)

    def work() -> None:
        nonlocal pending
        pending = None
        until = clock() + budget
        try:
            while True:
                next(steps)
                if clock() >= until:
                    break
        except StopIteration as end:
            done.callback(end.value)
            return
        except Exception:
            done.errback()
            return
        # As long a rest as the work was: with a delay of zero, timers alone could keep the reactor from its sockets.
        pending = reactor.callLater(budget, work)

    pending = reactor.callLater(0, work)
    return done
