"""
What a worker counts: plain integers in slots, and all the metrics code that the hot path sees.

`Tally.record` is called once per exchange. When the supervisor asks, `Tally.snapshot` wraps the live counters (nothing is
copied) together with samples from other parts of the worker, and the bytes of `Snapshot.encode` go over. The supervisor adds
snapshots up with `merged`; of a worker that died it keeps `Snapshot.counters` and merges that like any other.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Hashable, Iterable
from typing import TYPE_CHECKING, Final, TypeVar

import msgspec

from suuupra_gateway import metrics
from suuupra_gateway.errors import Blame, GatewayError
from suuupra_gateway.histogram import DURATIONS, OVERHEADS, Histogram
from suuupra_gateway.interfaces import IExchange

if TYPE_CHECKING:
    from suuupra_gateway.http.outcome import Outcome

NONE: Final = "-"
"""Label of requests that matched no route or asked no upstream; no name may begin with a hyphen."""

OVERFLOW: Final = "overflow"
"""Label of what exceeds a limit on series."""

MOST_PAIRS: Final = 2_000
"""Pairs of route and service that are told apart; further ones are counted as overflow."""

MOST_SERIES: Final = 20_000
"""Series of one family beyond its histograms; further ones are counted as overflow."""

_METHODS: Final = {
    name.encode(): name for name in ("GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "CONNECT", "TRACE")
}
_REQUEST_OVERFLOW: Final = (OVERFLOW, -1, OVERFLOW)
_ERROR_OVERFLOW: Final = (OVERFLOW, OVERFLOW)
_PAIR_OVERFLOW: Final = (OVERFLOW, OVERFLOW)

K = TypeVar("K", bound=Hashable)


class Sample(msgspec.Struct, frozen=True, array_like=True):
    """A value that another part of the worker publishes. Its name tells what it is (`metrics.is_counter`)."""

    name: str
    labels: tuple[tuple[str, str], ...]
    value: float


class RouteTally(msgspec.Struct, array_like=True):
    """What is counted per pair of route and service."""

    requests: dict[tuple[str, int, str], int]
    """By method, status (-1 for overflow) and source."""

    errors: dict[tuple[str, str], int]
    """By error code and blame."""

    attempts: dict[str, int]
    """By outcome."""

    retries: int
    received: int
    sent: int
    duration: Histogram
    upstream: Histogram
    overhead: Histogram

    @classmethod
    def empty(cls) -> RouteTally:
        """All zero."""
        return cls(
            {}, {}, {}, 0, 0, 0, Histogram.empty(DURATIONS), Histogram.empty(DURATIONS), Histogram.empty(OVERHEADS)
        )


class Snapshot(msgspec.Struct):
    """The counters of one worker, or of many after `merge`."""

    durations: tuple[float, ...] = DURATIONS
    """Bounds of the histograms, in seconds: workers of another release may have others."""

    overheads: tuple[float, ...] = OVERHEADS
    routes: dict[tuple[str, str], RouteTally] = {}
    """By route and service."""

    samples: list[Sample] = []

    def encode(self) -> bytes:
        """The snapshot as bytes, some hundred per route."""
        return _ENCODER.encode(self)

    @classmethod
    def decode(cls, data: bytes) -> Snapshot:
        """
        The inverse of `encode`.

        :raises ValueError: if ``data`` is not a snapshot.
        """
        try:
            return _DECODER.decode(data)
        except msgspec.DecodeError as error:
            raise ValueError(f"not a snapshot: {error}") from error

    def counters(self) -> Snapshot:
        """What may outlive the worker: everything but its gauges. Shares its counters with this snapshot."""
        kept = [sample for sample in self.samples if metrics.is_counter(sample.name)]
        return Snapshot(self.durations, self.overheads, self.routes, kept)

    def merge(self, other: Snapshot) -> None:
        """Add ``other`` to this one, within the same limits on series as a worker's."""
        requests = MOST_SERIES - sum(len(route.requests) for route in self.routes.values())
        errors = MOST_SERIES - sum(len(route.errors) for route in self.routes.values())
        for pair, theirs in other.routes.items():
            ours = self.routes.get(pair)
            if ours is None:
                if len(self.routes) >= MOST_PAIRS:
                    pair = _PAIR_OVERFLOW
                ours = self.routes.setdefault(pair, RouteTally.empty())
            requests = _add(ours.requests, theirs.requests, requests, _REQUEST_OVERFLOW)
            errors = _add(ours.errors, theirs.errors, errors, _ERROR_OVERFLOW)
            _add(ours.attempts, theirs.attempts, MOST_SERIES, OVERFLOW)
            ours.retries += theirs.retries
            ours.received += theirs.received
            ours.sent += theirs.sent
            ours.duration.add(theirs.duration, self.durations, other.durations)
            ours.upstream.add(theirs.upstream, self.durations, other.durations)
            ours.overhead.add(theirs.overhead, self.overheads, other.overheads)
        self.samples = _merge_samples(self.samples, other.samples)


_ENCODER: Final = msgspec.msgpack.Encoder()
_DECODER: Final = msgspec.msgpack.Decoder(Snapshot)


def merged(encoded: Iterable[bytes]) -> Snapshot:
    """
    One snapshot out of many encoded ones.

    :raises ValueError: if one of them is not a snapshot.
    """
    whole = Snapshot()
    for data in encoded:
        whole.merge(Snapshot.decode(data))
    return whole


def _add(ours: dict[K, int], theirs: dict[K, int], room: int, overflow: K) -> int:
    """Add counts; keys beyond ``room`` new ones go to ``overflow``. Return what room is left."""
    for key, count in theirs.items():
        if key in ours:
            ours[key] += count
        elif room > 0:
            ours[key] = count
            room -= 1
        else:
            ours[overflow] = ours.get(overflow, 0) + count
    return room


def _merge_samples(ours: list[Sample], theirs: list[Sample]) -> list[Sample]:
    values = {(sample.name, sample.labels): sample.value for sample in ours}
    room = MOST_SERIES - len(values)
    for sample in theirs:
        key = (sample.name, sample.labels)
        present = values.get(key)
        if present is None:
            if room <= 0:
                key = (sample.name, tuple((label, OVERFLOW) for label, _ in sample.labels))
                values[key] = values.get(key, 0.0) + sample.value
                continue
            room -= 1
            values[key] = sample.value
        elif (known := metrics.CATALOGUE.get(sample.name)) is not None and known.merge == "max":
            values[key] = max(present, sample.value)
        else:
            values[key] = present + sample.value
    return [Sample(name, labels, value) for (name, labels), value in values.items()]


class Tally:
    """The counters of one worker. Lives as long as the worker; reloads do not touch it."""

    __slots__ = ("_pairs", "_room", "_error_room", "recorded", "sources")

    recorded: int
    """Exchanges recorded so far."""

    sources: list[Callable[[], Iterable[Sample]]]
    """Called at each snapshot: other parts of the worker publish their gauges and counters here."""

    def __init__(self) -> None:
        self._pairs: dict[tuple[str, str], RouteTally] = {}
        self._room = MOST_SERIES
        self._error_room = MOST_SERIES
        self.recorded = 0
        self.sources = []

    def record(self, exchange: IExchange) -> None:
        """Count a settled exchange. Costs under two microseconds for one that was relayed."""
        outcome = exchange.outcome
        route = exchange.route
        service = outcome.upstream or NONE
        try:
            tally = self._pairs[route.name if route is not None else NONE, service]
        except KeyError:
            tally = self._pair(route.name if route is not None else NONE, service)
        self.recorded += 1

        key = (_METHODS.get(exchange.head.method, "OTHER"), outcome.status, outcome.source)
        requests = tally.requests
        if key in requests:
            requests[key] += 1
        else:
            self._first(tally, key)

        ended = outcome.ended
        total = ended - (exchange.arrived or ended)  # no arrival: refused before its head was complete
        if total < 0.0:
            total = 0.0
        histogram = tally.duration
        histogram.counts[bisect_left(DURATIONS, total)] += 1
        histogram.sum += total

        attempts = outcome.attempts
        if attempts:
            # With one attempt, upstream time begins when its peer was chosen. With more, `chosen` speaks of the last one:
            # the earlier ones, and the pauses between them, began when the filters were done.
            upstream = (outcome.answered or ended) - (outcome.chosen if attempts == 1 else outcome.filtered)
            if upstream > total:
                upstream = total
            elif upstream < 0.0:
                upstream = 0.0
            histogram = tally.upstream
            histogram.counts[bisect_left(DURATIONS, upstream)] += 1
            histogram.sum += upstream
            total -= upstream
            if attempts == 1 and outcome.error is None:
                tally.attempts["answered"] = tally.attempts.get("answered", 0) + 1
            else:
                _count_attempts(tally, outcome)
        histogram = tally.overhead
        histogram.counts[bisect_left(OVERHEADS, total)] += 1
        histogram.sum += total

        tally.sent += outcome.sent
        tally.received += outcome.received
        if outcome.error is not None:
            self._error(tally, outcome.error)

    def snapshot(self) -> Snapshot:
        """All counters and samples as of now. It shares the live counters: encode it before anything else happens."""
        samples: list[Sample] = []
        broken = 0
        for source in self.sources:
            # A bug in one part must not take the other parts' metrics away; the count of such parts is itself a metric.
            try:
                samples.extend(source())
            except Exception:
                broken += 1
        samples.append(Sample(metrics.BROKEN_SOURCES.name, (), broken))
        return Snapshot(routes=self._pairs, samples=samples)

    def _pair(self, route: str, service: str) -> RouteTally:
        if len(self._pairs) >= MOST_PAIRS:
            route, service = _PAIR_OVERFLOW
        return self._pairs.setdefault((route, service), RouteTally.empty())

    def _first(self, tally: RouteTally, key: tuple[str, int, str]) -> None:
        if self._room <= 0:
            key = _REQUEST_OVERFLOW
        else:
            self._room -= 1
        tally.requests[key] = tally.requests.get(key, 0) + 1

    def _error(self, tally: RouteTally, error: GatewayError) -> None:
        key = (error.code, error.blame.value)
        if key not in tally.errors:
            if self._error_room <= 0:
                key = _ERROR_OVERFLOW
            else:
                self._error_room -= 1
        tally.errors[key] = tally.errors.get(key, 0) + 1


def _count_attempts(tally: RouteTally, outcome: Outcome) -> None:
    """
    Tell by the outcome how the attempts went.

    Only the last failure is known by type: the earlier ones of more than two attempts are counted as the same.
    """
    counts = tally.attempts
    failed = outcome.attempts - 1
    tally.retries += failed
    if failed:
        earlier = outcome.upstream_error.code if outcome.upstream_error is not None else "status"
        counts[earlier] = counts.get(earlier, 0) + failed
    error = outcome.error
    if error is None:
        last = "answered"
    elif error.blame is Blame.CLIENT:
        last = "cancelled"
    else:
        last = error.code
    counts[last] = counts.get(last, 0) + 1
