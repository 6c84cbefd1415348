"""
Counting exchanges, and adding up what several workers counted.
"""

from __future__ import annotations

import copy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from suuupra_gateway import tally as module
from suuupra_gateway.errors import AnswerTimeout, ClientGone, ConnectRefused, NoPeer, NotRouted, PoolFull
from suuupra_gateway.histogram import DURATIONS, OVERHEADS, Histogram
from suuupra_gateway.tally import RouteTally, Sample, Snapshot, Tally, merged
from tests.exchanges import ARRIVED, Settled


def recorded(*exchanges: Settled) -> Snapshot:
    tally = Tally()
    for exchange in exchanges:
        tally.record(exchange)  # type: ignore[arg-type]
    return tally.snapshot()


def only(snapshot: Snapshot) -> RouteTally:
    (route,) = snapshot.routes.values()
    return route


def bucket(histogram: Histogram) -> int:
    """Index of the only bucket with anything in it."""
    (index,) = [index for index, count in enumerate(histogram.counts) if count]
    return index


# -- one exchange -----------------------------------------------------------------------------------------------------


def test_a_relayed_exchange_is_counted_by_route_service_method_status_and_source():
    snapshot = recorded(Settled(), Settled(), Settled(method=b"POST", status=503))

    assert list(snapshot.routes) == [("users", "users")]
    assert only(snapshot).requests == {("GET", 200, "upstream"): 2, ("POST", 503, "upstream"): 1}
    assert only(snapshot).errors == {}


def test_what_matched_no_route_and_asked_no_upstream_is_counted_under_a_name_nobody_can_have():
    snapshot = recorded(Settled(route=None, attempts=0, status=404, source="gateway", error=NotRouted()))

    assert list(snapshot.routes) == [("-", "-")]
    assert only(snapshot).errors == {("not_routed", "client"): 1}


def test_methods_that_nobody_knows_are_counted_as_one():
    snapshot = recorded(*(Settled(method=b"X%d" % number) for number in range(50)))

    assert only(snapshot).requests == {("OTHER", 200, "upstream"): 50}


def test_time_is_split_between_upstream_and_gateway():
    route = only(recorded(Settled(total=0.152, waited=0.150, filters=0.0015)))

    assert route.duration.sum == pytest.approx(0.152)
    assert route.upstream.sum == pytest.approx(0.150)
    assert route.overhead.sum == pytest.approx(0.002)
    assert DURATIONS[bucket(route.duration)] == 0.175
    assert OVERHEADS[bucket(route.overhead)] in (0.002, 0.003)  # 2 ms, as exact as floats are


def test_an_answer_of_the_gateways_own_is_all_overhead():
    route = only(recorded(Settled(attempts=0, source="gateway", total=0.0004)))

    assert route.upstream.count == 0
    assert route.overhead.sum == route.duration.sum == pytest.approx(0.0004)


def test_the_bound_of_a_bucket_belongs_to_it():
    histogram = Histogram.empty(DURATIONS)

    histogram.observe(DURATIONS, 0.15)

    assert DURATIONS[bucket(histogram)] == 0.15


def test_upstream_time_of_a_retried_request_includes_the_failed_attempts():
    exchange = Settled(attempts=2, total=0.030, filters=0.001, upstream_error=ConnectRefused())
    exchange.outcome.chosen = ARRIVED + 0.020
    exchange.outcome.answered = ARRIVED + 0.029

    route = only(recorded(exchange))

    assert route.upstream.sum == pytest.approx(0.028)
    assert route.retries == 1


def test_upstream_time_of_an_attempt_that_failed_ends_with_the_exchange():
    exchange = Settled(status=504, source="gateway", error=AnswerTimeout(), total=10.001, filters=0.001)
    exchange.outcome.answered = 0.0

    assert only(recorded(exchange)).upstream.sum == pytest.approx(10.0)


def test_times_that_contradict_each_other_never_count_below_zero_or_above_the_total():
    late, early = Settled(total=0.010), Settled(total=0.010)
    late.outcome.chosen = 0.0
    early.outcome.answered = ARRIVED - 5.0
    unarrived, backwards = Settled(attempts=0), Settled(attempts=0, total=-1.0)
    unarrived.arrived = 0.0

    route = only(recorded(late, early))
    other = recorded(unarrived, backwards).routes["users", "-"]

    assert route.upstream.sum == pytest.approx(0.010)
    assert route.overhead.sum == pytest.approx(0.010)
    assert other.duration.sum == 0.0


def test_bytes_of_bodies_are_added_up_both_ways():
    route = only(recorded(Settled(received=10, sent=20), Settled(received=1, sent=2)))

    assert (route.received, route.sent) == (11, 22)


@pytest.mark.parametrize(
    ("exchange", "attempts", "retries"),
    [
        (Settled(), {"answered": 1}, 0),
        (Settled(attempts=0, source="gateway"), {}, 0),
        (Settled(attempts=2, upstream_error=ConnectRefused()), {"upstream_refused": 1, "answered": 1}, 1),
        (Settled(attempts=3), {"status": 2, "answered": 1}, 2),
        (
            Settled(attempts=2, status=504, source="gateway", error=AnswerTimeout(), upstream_error=AnswerTimeout()),
            {"upstream_timeout": 2},
            1,
        ),
        (Settled(status=499, error=ClientGone()), {"cancelled": 1}, 0),
        (Settled(status=503, source="gateway", error=PoolFull()), {"pool_full": 1}, 0),
    ],
)
def test_attempts_are_counted_by_how_they_ended(exchange, attempts, retries):
    route = only(recorded(exchange))

    assert route.attempts == attempts
    assert route.retries == retries


# -- limits -----------------------------------------------------------------------------------------------------------


def test_pairs_beyond_the_limit_are_counted_as_overflow(monkeypatch):
    monkeypatch.setattr(module, "MOST_PAIRS", 3)

    snapshot = recorded(*(Settled(route=f"r{number}") for number in range(5)), Settled(route="r0"))

    assert list(snapshot.routes) == [("r0", "users"), ("r1", "users"), ("r2", "users"), ("overflow", "overflow")]
    assert snapshot.routes["overflow", "overflow"].requests == {("GET", 200, "upstream"): 2}
    assert snapshot.routes["r0", "users"].requests == {("GET", 200, "upstream"): 2}


def test_series_beyond_the_limit_are_counted_as_overflow(monkeypatch):
    monkeypatch.setattr(module, "MOST_SERIES", 2)

    route = only(recorded(*(Settled(status=status) for status in (200, 201, 202, 203, 200))))

    assert route.requests == {
        ("GET", 200, "upstream"): 2,
        ("GET", 201, "upstream"): 1,
        ("overflow", -1, "overflow"): 2,
    }


def test_errors_beyond_the_limit_are_counted_as_overflow(monkeypatch):
    monkeypatch.setattr(module, "MOST_SERIES", 1)
    errors = [NotRouted(), NoPeer(), NoPeer(), NotRouted()]

    route = only(recorded(*(Settled(error=error) for error in errors)))

    assert route.errors == {("not_routed", "client"): 2, ("overflow", "overflow"): 2}


# -- snapshots --------------------------------------------------------------------------------------------------------


def test_a_snapshot_survives_its_encoding():
    tally = Tally()
    tally.record(Settled(error=NoPeer()))  # type: ignore[arg-type]
    tally.sources.append(lambda: [Sample("suuupra_connections", (("listener", "public"),), 4)])

    snapshot = tally.snapshot()

    assert Snapshot.decode(snapshot.encode()) == snapshot


@pytest.mark.parametrize("data", [b"", b"\x00", b"\xff" * 40, b"\x81\xa6routes\x01"])
def test_what_is_not_a_snapshot_is_a_value_error(data):
    with pytest.raises(ValueError, match="not a snapshot"):
        Snapshot.decode(data)


def test_a_source_that_fails_takes_no_other_metric_away():
    tally = Tally()
    tally.sources += [lambda: 1 / 0, lambda: [Sample("suuupra_connections", (("listener", "public"),), 4)]]

    samples = {sample.name: sample.value for sample in tally.snapshot().samples}

    assert samples == {"suuupra_connections": 4, "suuupra_metric_sources_broken": 1}


def test_merging_adds_counters_and_gauges_and_keeps_the_worst_lag():
    def worker(lag: float) -> bytes:
        tally = Tally()
        tally.record(Settled(sent=5, error=NoPeer(), attempts=2))  # type: ignore[arg-type]
        tally.sources.append(
            lambda: [
                Sample("suuupra_connections", (("listener", "public"),), 4),
                Sample("suuupra_endpoints", (("service", "users"), ("state", "active")), 3),
                Sample("suuupra_loop_lag_seconds", (("worker", "0"),), lag),
                Sample("acme_things_total", (), 1),
            ]
        )
        return tally.snapshot().encode()

    whole = merged([worker(0.25), worker(0.5), Snapshot().encode()])

    route = only(whole)
    assert route.requests == {("GET", 200, "upstream"): 2}
    assert route.errors == {("no_peer", "upstream"): 2}
    assert route.sent == 10
    assert route.retries == 2
    assert route.duration.count == 2
    assert {sample.name: sample.value for sample in whole.samples} == {
        "suuupra_connections": 8,
        "suuupra_endpoints": 3,
        "suuupra_loop_lag_seconds": 0.5,
        "acme_things_total": 2,
        "suuupra_metric_sources_broken": 0,
    }


def test_of_a_dead_worker_the_counters_stay_and_the_gauges_go():
    dead = recorded(Settled())
    dead.samples = [Sample("suuupra_connections", (), 4), Sample("suuupra_connections_accepted_total", (), 9)]

    left = dead.counters()

    assert left.routes == dead.routes
    assert left.samples == [Sample("suuupra_connections_accepted_total", (), 9)]


def test_merging_does_not_touch_what_was_merged():
    other = recorded(Settled())
    before = copy.deepcopy(other)
    whole = Snapshot()

    whole.merge(other)
    whole.merge(other)

    assert other == before


def test_limits_hold_when_workers_are_merged(monkeypatch):
    monkeypatch.setattr(module, "MOST_PAIRS", 2)
    monkeypatch.setattr(module, "MOST_SERIES", 2)
    whole = Snapshot()

    for number in range(4):
        other = recorded(Settled(route=f"r{number}", status=200 + number))
        other.samples = [Sample("acme_things", (("thing", str(number)),), 1)]
        whole.merge(other)

    assert list(whole.routes) == [("r0", "users"), ("r1", "users"), ("overflow", "overflow")]
    assert whole.routes["overflow", "overflow"].requests == {("overflow", -1, "overflow"): 2}
    assert [(sample.labels, sample.value) for sample in whole.samples] == [
        ((("thing", "0"),), 1),
        ((("thing", "1"),), 1),
        ((("thing", "overflow"),), 2),
    ]


def test_buckets_of_another_release_go_where_they_are_not_made_faster():
    theirs = Snapshot(durations=(0.1, 1.0), overheads=(0.001,))
    route = RouteTally.empty()
    route.duration = Histogram([3, 2, 1], 2.5)
    route.upstream = Histogram([0, 0, 0], 0.0)
    route.overhead = Histogram([0, 6], 0.1)
    theirs.routes["users", "users"] = route
    whole = Snapshot()

    whole.merge(Snapshot.decode(theirs.encode()))

    ours = only(whole)
    assert ours.duration.counts[DURATIONS.index(0.1)] == 3
    assert ours.duration.counts[DURATIONS.index(1.0)] == 2
    assert ours.duration.counts[-1] == 1
    assert ours.overhead.counts[-1] == 6
    assert ours.duration.sum == 2.5


SETTLED = st.builds(
    Settled,
    route=st.sampled_from(["a", "b", None]),
    upstream=st.sampled_from(["x", "y"]),
    status=st.integers(100, 599),
    attempts=st.integers(0, 3),
    error=st.sampled_from([None, NoPeer(), ClientGone()]),
    total=st.floats(0, 100),
    sent=st.integers(0, 2**40),
)


@given(st.lists(st.tuples(st.integers(0, 2), SETTLED), max_size=30))
def test_spreading_exchanges_over_workers_counts_the_same_as_one_worker(spread):
    """And killing a worker in between changes nothing."""
    one = Tally()
    many = [Tally(), Tally(), Tally()]
    for worker, exchange in spread:
        one.record(exchange)
        many[worker].record(exchange)

    whole = merged([many[0].snapshot().counters().encode(), *(tally.snapshot().encode() for tally in many[1:])])
    expected = merged([one.snapshot().encode()])

    assert whole.routes.keys() == expected.routes.keys()
    for pair, route in whole.routes.items():
        other = expected.routes[pair]
        assert (route.requests, route.errors, route.attempts) == (other.requests, other.errors, other.attempts)
        assert (route.retries, route.received, route.sent) == (other.retries, other.received, other.sent)
        for name in ("duration", "upstream", "overhead"):
            assert getattr(route, name).counts == getattr(other, name).counts
            assert getattr(route, name).sum == pytest.approx(getattr(other, name).sum)
