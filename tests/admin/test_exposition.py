"""
What scrapers read.
"""

from __future__ import annotations

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from suuupra_gateway import metrics
from suuupra_gateway.admin.exposition import OPENMETRICS, TEXT, render, wants_openmetrics
from suuupra_gateway.admin.report import merge_all
from suuupra_gateway.errors import NoPeer
from suuupra_gateway.tally import Sample, Snapshot, Tally
from tests.admin.control import Browser, FakeControl
from tests.exchanges import Settled

PARSERS = [(False, parse_text), (True, parse_openmetrics)]


def worker(*, broken: bool = False) -> bytes:
    """All that a worker can publish."""
    tally = Tally()
    for number in range(10):
        tally.record(Settled(total=0.1 * number, waited=0.1 * number - 0.0005, sent=9))  # type: ignore[arg-type]
    tally.record(Settled(status=503, source="gateway", error=NoPeer(), attempts=2, upstream_error=NoPeer()))  # type: ignore[arg-type]
    told = {"suuupra_config_generation", "suuupra_workers", "suuupra_worker_restarts_total", "suuupra_build_info"}
    published = [
        Sample(metric.name, tuple((label, "x") for label in metric.labels), 2)
        for metric in metrics.CATALOGUE.values()
        if metric.kind == "gauge"
        or metric.labels in (("listener",), ("service",), ("worker",), ("outcome",))
        or metric.labels[:1] == ("provider",)
        if metric.name not in told and metric not in (metrics.RETRIES, metrics.BROKEN_SOURCES)
        if not metric.name.startswith("suuupra_config")
    ]
    tally.sources.append(lambda: published)
    if broken:
        tally.sources.append(lambda: 1 / 0)
    return tally.snapshot().encode()


def families(text: str, parse):
    return {family.name: family for family in parse(text)}


def scrape(accept: str = "", encoded: list[bytes] | None = None) -> tuple[str, str]:
    control = FakeControl()
    control.encoded = [worker(), worker()] if encoded is None else encoded
    answer = Browser(control).ask("/metrics", headers={"Accept": accept} if accept else {})
    assert answer.status == 200
    return answer.body.decode(), answer.headers["content-type"]


@pytest.mark.parametrize(("openmetrics", "parse"), PARSERS)
def test_what_is_exposed_is_what_the_catalogue_says(openmetrics, parse):
    text, _ = scrape("application/openmetrics-text;version=1.0.0" if openmetrics else "")

    found = families(text, parse)

    catalogue = {metric.name.removesuffix("_total"): metric for metric in metrics.CATALOGUE.values()}
    assert found.keys() == catalogue.keys()
    for name, family in found.items():
        metric = catalogue[name]
        assert family.type == metric.kind
        assert family.documentation == metric.meaning
        assert family.samples
        for sample in family.samples:
            assert set(sample.labels) - {"le"} == set(metric.labels)


@pytest.mark.parametrize(("openmetrics", "parse"), PARSERS)
def test_histograms_are_cumulative_and_whole(openmetrics, parse):
    text, _ = scrape("application/openmetrics-text" if openmetrics else "")

    family = families(text, parse)["suuupra_request_duration_seconds"]

    buckets = [
        (float(sample.labels["le"]), sample.value) for sample in family.samples if sample.name.endswith("_bucket")
    ]
    values = {sample.name: sample.value for sample in family.samples}
    assert buckets == sorted(buckets)
    assert buckets[-1] == (float("inf"), 22)
    assert dict(buckets)[0.15] == 6  # per worker: 0, 100 ms and the failed one of 12 ms
    assert values["suuupra_request_duration_seconds_count"] == 22
    assert values["suuupra_request_duration_seconds_sum"] == pytest.approx(2 * (4.5 + 0.012))


def test_workers_are_added_up():
    text, _ = scrape()

    assert (
        'suuupra_requests_total{code="200",method="GET",route="users",service="users",source="upstream"} 20.0\n' in text
    )
    assert 'suuupra_errors_total{blame="upstream",error="no_peer",route="users",service="users"} 2.0\n' in text
    assert 'suuupra_upstream_attempts_total{outcome="no_peer",service="users"} 4.0\n' in text
    assert 'suuupra_upstream_retries_total{service="users"} 2.0\n' in text
    assert 'suuupra_response_body_bytes_total{route="users",service="users"} 180.0\n' in text
    assert 'suuupra_connections{listener="x"} 4.0\n' in text
    assert 'suuupra_endpoints{service="x",state="x"} 2.0\n' in text
    assert 'suuupra_worker_restarts_total{worker="0"} 2.0\n' in text
    assert 'suuupra_workers{state="ready"} 2.0\n' in text


def test_a_failed_reload_is_told():
    control = FakeControl()
    assert "suuupra_config_last_reload_successful 1.0" in Browser(control).ask("/metrics").body.decode()

    control.tree["last_reload"] = {"at": 1.0, "successful": False, "why": "nonsense"}

    assert "suuupra_config_last_reload_successful 0.0" in Browser(control).ask("/metrics").body.decode()


def test_a_snapshot_that_cannot_be_read_is_left_out_and_counted():
    text, _ = scrape(encoded=[worker(broken=True), b"nonsense"])

    assert "suuupra_metric_sources_broken 2.0\n" in text
    assert 'route="users",service="users",source="upstream"} 10.0\n' in text


def test_overflow_is_exposed_as_such():
    tally = Tally()
    tally.record(Settled())  # type: ignore[arg-type]
    snapshot = tally.snapshot()
    snapshot.routes["overflow", "overflow"] = snapshot.routes.pop(("users", "users"))
    snapshot.routes["overflow", "overflow"].requests = {("overflow", -1, "overflow"): 3}

    text = render(snapshot, False).decode()

    labels = 'code="overflow",method="overflow",route="overflow",service="overflow",source="overflow"'
    assert f"suuupra_requests_total{{{labels}}} 3.0\n" in text


def test_what_a_filter_of_somebodys_own_publishes_is_exposed_too():
    own = [
        Sample("acme_hits_total", (("color", 'r"ed\n'),), 1),
        Sample("acme_hits_total", (), 2),
        Sample("acme_size", (), 3),
    ]

    text = render(merge_all([], own), False).decode()

    assert 'acme_hits_total{color="r\\"ed\\n"} 1.0\n' in text
    assert 'acme_hits_total{color=""} 2.0\n' in text
    assert "# TYPE acme_size gauge\n" in text


def test_a_gateway_that_has_served_nothing_exposes_no_series_of_requests():
    found = families(render(Snapshot(), True).decode(), parse_openmetrics)

    assert found["suuupra_requests"].samples == []


def test_what_asked_no_upstream_has_no_upstream_histogram():
    tally = Tally()
    tally.record(Settled(attempts=0, source="gateway"))  # type: ignore[arg-type]

    found = families(render(tally.snapshot(), False).decode(), parse_text)

    assert found["suuupra_upstream_duration_seconds"].samples == []
    assert found["suuupra_overhead_seconds"].samples


@pytest.mark.parametrize(
    ("accept", "openmetrics"),
    [
        ("", False),
        ("*/*", False),
        ("text/plain;version=0.0.4", False),
        ("application/openmetrics-text", True),
        ("application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.4,*/*;q=0.1", True),
        ("text/plain, Application/OpenMetrics-Text ; version=1.0.0", True),
        ("application/openmetrics-text;q=0", False),
        ("application/openmetrics-text; q=0.0, text/plain", False),
        (";;,,=", False),
    ],
)
def test_openmetrics_is_for_those_who_ask_for_it(accept, openmetrics):
    assert wants_openmetrics(accept) is openmetrics


def test_the_type_of_the_answer_is_what_was_rendered():
    plain, kind = scrape("text/plain")
    assert kind == TEXT.decode()
    assert "# EOF" not in plain

    openmetrics, kind = scrape("application/openmetrics-text; version=\r\n 99")
    assert kind == OPENMETRICS.decode()
    assert openmetrics.endswith("# EOF\n")
