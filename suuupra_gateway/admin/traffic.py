"""
What the merged counters say about one route or one upstream, in numbers that people read.
"""

from __future__ import annotations

from collections.abc import Iterable

from suuupra_gateway.histogram import Histogram
from suuupra_gateway.tally import RouteTally, Snapshot

Summary = dict[str, object]


def by_route(snapshot: Snapshot) -> dict[str, Summary]:
    """A summary per route, over all services it went to."""
    return _grouped(snapshot, 0)


def by_service(snapshot: Snapshot) -> dict[str, Summary]:
    """A summary per service, over all routes that went to it."""
    return _grouped(snapshot, 1)


def _grouped(snapshot: Snapshot, position: int) -> dict[str, Summary]:
    groups: dict[str, list[RouteTally]] = {}
    for pair, tally in snapshot.routes.items():
        groups.setdefault(pair[position], []).append(tally)
    return {name: _summary(snapshot, tallies) for name, tallies in groups.items()}


def _summary(snapshot: Snapshot, tallies: list[RouteTally]) -> Summary:
    codes: dict[str, int] = {}
    errors: dict[str, int] = {}
    attempts: dict[str, int] = {}
    for tally in tallies:
        for (_, status, _), count in tally.requests.items():
            code = f"{status // 100}xx" if status > 0 else "none"
            codes[code] = codes.get(code, 0) + count
        for (error, _), count in tally.errors.items():
            errors[error] = errors.get(error, 0) + count
        for outcome, count in tally.attempts.items():
            attempts[outcome] = attempts.get(outcome, 0) + count
    return {
        "requests": sum(codes.values()),
        "codes": codes,
        "errors": errors,
        "attempts": attempts,
        "retries": sum(tally.retries for tally in tallies),
        "bytes_in": sum(tally.received for tally in tallies),
        "bytes_out": sum(tally.sent for tally in tallies),
        "duration_ms": _quantiles((tally.duration for tally in tallies), snapshot.durations),
        "upstream_ms": _quantiles((tally.upstream for tally in tallies), snapshot.durations),
        "overhead_ms": _quantiles((tally.overhead for tally in tallies), snapshot.overheads),
    }


def _quantiles(histograms: Iterable[Histogram], bounds: tuple[float, ...]) -> dict[str, float | None]:
    whole = Histogram.empty(bounds)
    for histogram in histograms:
        whole.add(histogram, bounds, bounds)
    quantiles: dict[str, float | None] = {}
    for name, q in (("p50", 0.5), ("p95", 0.95), ("p99", 0.99)):
        value = whole.quantile(bounds, q)
        quantiles[name] = None if value is None else round(value * 1000, 3)
    return quantiles
