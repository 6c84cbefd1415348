"""
On what terms exchanges are forwarded: the frozen policies of one route to one upstream.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from math import inf
from typing import TYPE_CHECKING

import attrs
from twisted.internet.interfaces import IReactorTime

from suuupra_gateway.http.hygiene import Hygiene
from suuupra_gateway.policy.retry import RetryPolicy

if TYPE_CHECKING:
    from suuupra_gateway.config.model import RetrySpec, UpstreamTimeouts


@attrs.frozen(eq=False)
class Terms:
    """Compiled once per route and upstream. Durations in seconds, ``inf`` for none."""

    hygiene: Hygiene
    retry: RetryPolicy
    first_byte: float
    idle: float
    total: float

    keep_host: bool
    """Whether the upstream sees the ``Host`` that the client asked for."""

    reactor: IReactorTime
    """For the pauses between attempts."""

    uniform: Callable[[float, float], float] = random.uniform
    """Chance, for jitter."""

    @classmethod
    def of(
        cls,
        hygiene: Hygiene,
        timeouts: UpstreamTimeouts,
        retry: RetrySpec,
        reactor: IReactorTime,
        *,
        keep_host: bool = True,
    ) -> Terms:
        """The terms that ``timeouts`` and ``retry`` configure."""
        return cls(
            hygiene,
            RetryPolicy.of(retry),
            float(timeouts.first_byte),
            float(timeouts.idle),
            float(timeouts.total) or inf,
            keep_host,
            reactor,
        )
