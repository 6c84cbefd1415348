"""
Metrics as Prometheus and OpenMetrics read them: a collector over merged snapshots, rendered by ``prometheus_client``.

Rendering a thousand routes takes the better part of a second of CPU time, so it happens in a thread (`site.Metrics`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import generate_latest
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics
from prometheus_client.registry import Collector

from suuupra_gateway import metrics
from suuupra_gateway.histogram import Histogram
from suuupra_gateway.tally import OVERFLOW, Sample, Snapshot

TEXT: Final = b"text/plain; version=0.0.4; charset=utf-8"
OPENMETRICS: Final = b"application/openmetrics-text; version=1.0.0; charset=utf-8"


def wants_openmetrics(accept: str) -> bool:
    """Whether a client that sends ``Accept: <accept>`` takes OpenMetrics; the plain format is for everybody else."""
    for part in accept.lower().split(","):
        kind, *parameters = (piece.strip() for piece in part.split(";"))
        if kind == "application/openmetrics-text":
            return not any(parameter.replace(" ", "") in _REFUSALS for parameter in parameters)
    return False


_REFUSALS: Final = {"q=0", "q=0.0", "q=0.00", "q=0.000"}


def render(snapshot: Snapshot, openmetrics: bool) -> bytes:
    """The text of ``snapshot``. Takes long; safe in any thread that alone holds the snapshot."""
    collector = TallyCollector(snapshot)
    if openmetrics:
        return generate_openmetrics(collector)  # type: ignore[no-any-return,no-untyped-call]  # the library's
    return generate_latest(collector)


class TallyCollector(Collector):
    """Families of metrics out of one snapshot. Lives for one scrape."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot

    def collect(self) -> Iterator[Metric]:
        """All families of the catalogue that have values, then those that nobody described."""
        snapshot = self._snapshot
        yield from self._counters()
        yield self._histogram(metrics.DURATION, snapshot.durations, "duration")
        yield self._histogram(metrics.UPSTREAM, snapshot.durations, "upstream")
        yield self._histogram(metrics.OVERHEAD, snapshot.overheads, "overhead")
        yield from self._samples()

    def _counters(self) -> Iterator[Metric]:
        requests, errors = _family(metrics.REQUESTS), _family(metrics.ERRORS)
        received, sent = _family(metrics.RECEIVED), _family(metrics.SENT)
        attempts: dict[tuple[str, str], int] = {}
        retries: dict[str, int] = {}
        for (route, service), tally in self._snapshot.routes.items():
            for (method, status, source), count in tally.requests.items():
                code = OVERFLOW if status < 0 else str(status)
                requests.add_metric((route, service, method, code, source), count)
            for (error, blame), count in tally.errors.items():
                errors.add_metric((route, service, error, blame), count)
            received.add_metric((route, service), tally.received)
            sent.add_metric((route, service), tally.sent)
            for outcome, count in tally.attempts.items():
                attempts[service, outcome] = attempts.get((service, outcome), 0) + count
                retries.setdefault(service, 0)
            if tally.retries:
                retries[service] = retries.get(service, 0) + tally.retries
        yield from (requests, errors, received, sent)
        family = _family(metrics.ATTEMPTS)
        for labels, count in attempts.items():
            family.add_metric(labels, count)
        yield family
        family = _family(metrics.RETRIES)
        for service, count in retries.items():
            family.add_metric((service,), count)
        yield family

    def _histogram(self, metric: metrics.Metric, bounds: tuple[float, ...], name: str) -> Metric:
        family = HistogramMetricFamily(metric.name, metric.meaning, labels=metric.labels)
        texts = [*map(_bound, bounds), "+Inf"]
        for labels, tally in self._snapshot.routes.items():
            histogram: Histogram = getattr(tally, name)
            if histogram.sum or any(histogram.counts):
                family.add_metric(labels, _cumulative(texts, histogram), histogram.sum)
        return family

    def _samples(self) -> Iterator[Metric]:
        by_name: dict[str, list[Sample]] = {}
        for sample in self._snapshot.samples:
            by_name.setdefault(sample.name, []).append(sample)
        order = {name: position for position, name in enumerate(metrics.CATALOGUE)}
        for name in sorted(by_name, key=lambda name: (order.get(name, len(order)), name)):
            samples = by_name[name]
            metric = metrics.CATALOGUE.get(name)
            if metric is None:
                labels = tuple(label for label, _ in samples[0].labels)
                kind = metrics.Metric(
                    name, "gauge", labels, "", "Published by a filter or part that is not the gateway's own."
                )
            else:
                kind = metric
            family = _family(kind)
            for sample in samples:
                values = dict(sample.labels)
                family.add_metric([values.get(label, "") for label in kind.labels], sample.value)
            yield family


def _family(metric: metrics.Metric) -> CounterMetricFamily | GaugeMetricFamily:
    if metrics.is_counter(metric.name):
        return CounterMetricFamily(metric.name, metric.meaning, labels=metric.labels)
    return GaugeMetricFamily(metric.name, metric.meaning, labels=metric.labels)


def _bound(bound: float) -> str:
    return repr(bound)


def _cumulative(texts: Sequence[str], histogram: Histogram) -> Sequence[tuple[str, float]]:
    total = 0
    buckets: list[tuple[str, float]] = []
    for text, count in zip(texts, histogram.counts, strict=True):
        total += count
        buckets.append((text, total))
    return buckets
