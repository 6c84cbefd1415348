"""
Latency histograms.
"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from suuupra_gateway.histogram import DURATIONS, OVERHEADS, Histogram


@pytest.mark.parametrize("bounds", [DURATIONS, OVERHEADS])
def test_bounds_ascend(bounds):
    assert list(bounds) == sorted(set(bounds))


def test_the_promises_are_bounds_with_others_close_by():
    """A quantile is exact at a bound, and uncertain by the width of a bucket elsewhere."""
    promise = DURATIONS.index(0.150)
    assert DURATIONS[promise - 1] >= 0.8 * 0.150
    assert DURATIONS[promise + 1] <= 1.2 * 0.150
    millisecond = OVERHEADS.index(0.001)
    assert OVERHEADS[millisecond - 1] == 0.00075
    assert OVERHEADS[millisecond + 1] == 0.0015


def test_an_empty_histogram_has_no_quantiles():
    assert Histogram.empty(DURATIONS).quantile(DURATIONS, 0.5) is None


def test_a_quantile_beyond_the_last_bound_is_that_bound():
    histogram = Histogram.empty(DURATIONS)
    histogram.observe(DURATIONS, 1e6)

    assert histogram.quantile(DURATIONS, 0.99) == DURATIONS[-1]


@given(st.lists(st.floats(0, 29.9), min_size=1, max_size=200), st.sampled_from([0.0, 0.5, 0.95, 0.99, 1.0]))
def test_a_quantile_is_in_the_bucket_of_the_true_one(values, q):
    histogram = Histogram.empty(DURATIONS)
    for value in values:
        histogram.observe(DURATIONS, value)

    estimate = histogram.quantile(DURATIONS, q)

    true = sorted(values)[max(0, -int(-q * len(values) // 1) - 1)]
    upper = next(bound for bound in DURATIONS if true <= bound)
    lower = max((bound for bound in DURATIONS if bound < true), default=0.0)
    assert lower <= estimate <= upper
