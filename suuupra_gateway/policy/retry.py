"""
Whether a failed attempt is repeated: is it safe, is there budget, how long to wait.

Pure: what is known of the attempt comes in as `Attempt`, the verdict goes out as `Decision`; time and chance are arguments.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

import attrs

from suuupra_gateway.errors import Retry

if TYPE_CHECKING:
    from suuupra_gateway.config.model import RetrySpec

IDEMPOTENT: Final = frozenset({b"GET", b"HEAD", b"OPTIONS", b"PUT", b"DELETE", b"TRACE"})
"""Methods that may be repeated without asking anybody (RFC 9110 section 9.2.2)."""

LONGEST_RETRY_AFTER: Final = 1.0
"""Seconds; an upstream that wants us to stay away for longer gets no second attempt."""

BUDGET_FLOOR: Final = 3
"""Retries that are always allowed at once per upstream, so that quiet ones can retry at all. Practice: Envoy's."""


@attrs.frozen
class RetryPolicy:
    """When to repeat; compiled from a `RetrySpec`. Durations in seconds, sizes in bytes, ``budget`` a share of 1."""

    attempts: int
    budget: float
    statuses: frozenset[int]
    key: bytes
    """Lower-case name of the header that makes POST and PATCH repeatable; empty for none."""

    buffer: int
    pause: tuple[float, float]

    @classmethod
    def of(cls, spec: RetrySpec) -> RetryPolicy:
        """The policy that ``spec`` configures."""
        return cls(
            spec.attempts,
            float(spec.budget),
            frozenset(spec.statuses) if spec.attempts > 1 else frozenset(),
            spec.idempotency_key.lower().encode("ascii"),
            int(spec.buffer),
            (float(spec.pause[0]), float(spec.pause[1])),
        )

    def repeatable(self, method: bytes, headers: list[tuple[bytes, bytes]]) -> bool:
        """Whether a request may be sent again though the first may have been acted upon."""
        if method in IDEMPOTENT:
            return True
        return bool(self.key) and method in (b"POST", b"PATCH") and any(name == self.key for name, _ in headers)


@attrs.frozen
class Attempt:
    """What is known of an attempt that came to nothing, and of its surroundings."""

    safety: Retry
    """That of the error, or IDEMPOTENT for an answer that is worth another attempt."""

    number: int
    """1 for the first."""

    repeatable: bool
    """By `RetryPolicy.repeatable`."""

    replayable: bool
    """Whether all bytes of the request's body are still there, or none was needed yet."""

    stale_before: bool = False
    """Whether an earlier attempt met a connection that the peer had closed while it was idle."""

    elsewhere: bool = False
    """Whether a trusted gateway before us has retried already."""

    active: int = 1
    """Requests of the upstream in flight, this one included."""

    retrying: int = 0
    """How many of these are retries."""

    remaining: float | None = None
    """Seconds until the exchange's deadline; None for no deadline."""

    retry_after: bytes | None = None
    """The answer's ``Retry-After``."""


@attrs.frozen
class Decision:
    """To try again after ``pause`` seconds, or why not."""

    again: bool
    reason: str
    pause: float = 0.0
    free: bool = False
    """Whether it counts neither as an attempt nor against the budget, and goes to the same peer: a connection was stale."""


def decide(policy: RetryPolicy, attempt: Attempt, uniform: Callable[[float, float], float]) -> Decision:
    """
    The verdict on ``attempt``.

    :param uniform: `random.uniform` or something like it.
    """
    if policy.attempts < 2:
        return Decision(False, "retries are off")
    if attempt.safety is Retry.NEVER:
        return Decision(False, "this failure is final")
    if attempt.elsewhere:
        return Decision(False, "a gateway before this one has retried already")
    if attempt.safety is not Retry.UNSENT and not attempt.repeatable:
        return Decision(False, "the method is not idempotent and the upstream may have acted")
    if not attempt.replayable:
        return Decision(False, "the request's body is too long to be kept")
    if attempt.safety is Retry.REUSED and not attempt.stale_before:
        return Decision(True, "the connection was stale", free=True)
    if attempt.number >= policy.attempts:
        return Decision(False, f"{attempt.number} attempts were made")
    if attempt.retrying >= max(BUDGET_FLOOR, policy.budget * attempt.active):
        return Decision(False, "the retry budget is spent")
    first, longest = policy.pause
    pause = uniform(0.0, min(longest, first * 2.0 ** (attempt.number - 1)))
    if attempt.retry_after is not None:
        wanted = _seconds(attempt.retry_after)
        if wanted is None or wanted > LONGEST_RETRY_AFTER:
            return Decision(False, "the upstream asks to stay away for longer")
        pause = max(pause, wanted)
    if attempt.remaining is not None and pause >= attempt.remaining:
        return Decision(False, "the deadline is too near")
    return Decision(True, "repeatable", pause)


def _seconds(retry_after: bytes) -> float | None:
    """``Retry-After`` in seconds; None for a date or rubbish (RFC 9110 section 10.2.3), which is taken as too long."""
    text = retry_after.strip(b" \t")
    return float(text) if text.isdigit() and len(text) <= 9 else None
