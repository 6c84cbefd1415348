"""When another attempt is made, and when not."""

from __future__ import annotations

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from suuupra_gateway import errors
from suuupra_gateway.config.model import RetrySpec
from suuupra_gateway.errors import Retry
from suuupra_gateway.policy.retry import BUDGET_FLOOR, Attempt, RetryPolicy, decide

POLICY = RetryPolicy.of(RetrySpec())
FIRST = Attempt(Retry.IDEMPOTENT, 1, repeatable=True, replayable=True)


def longest(low, high):
    return high


def verdict(attempt=FIRST, policy=POLICY, uniform=longest, **changes):
    return decide(policy, attrs.evolve(attempt, **changes), uniform)


def test_the_policy_is_what_the_configuration_says():
    spec = RetrySpec.model_validate({"attempts": 3, "idempotency_key": "Idempotency-Key", "pause": ("10ms", "1s")})
    policy = RetryPolicy.of(spec)
    assert (policy.attempts, policy.key, policy.pause, policy.buffer) == (3, b"idempotency-key", (0.01, 1.0), 65536)
    assert policy.statuses == {502, 503, 504}
    assert policy.budget == pytest.approx(0.2)


def test_statuses_mean_nothing_when_retries_are_off():
    assert RetryPolicy.of(RetrySpec(attempts=1)).statuses == frozenset()


@pytest.mark.parametrize("method", [b"GET", b"HEAD", b"OPTIONS", b"PUT", b"DELETE", b"TRACE"])
def test_idempotent_methods_are_repeatable(method):
    assert POLICY.repeatable(method, [])


@pytest.mark.parametrize("method", [b"POST", b"PATCH", b"LOCK"])
def test_others_are_not(method):
    assert not POLICY.repeatable(method, [(b"idempotency-key", b"1")])


def test_an_idempotency_key_makes_post_and_patch_repeatable_where_the_route_says_so():
    policy = RetryPolicy.of(RetrySpec(idempotency_key="Idempotency-Key"))
    keyed = [(b"accept", b"*/*"), (b"idempotency-key", b"1")]
    assert policy.repeatable(b"POST", keyed)
    assert policy.repeatable(b"PATCH", keyed)
    assert not policy.repeatable(b"LOCK", keyed)
    assert not policy.repeatable(b"POST", [(b"accept", b"*/*")])


def test_one_retry_by_default():
    assert verdict().again
    assert not verdict(number=2).again


def test_one_attempt_means_none_at_all():
    policy = RetryPolicy.of(RetrySpec(attempts=1))
    for safety in Retry:
        assert not verdict(policy=policy, safety=safety).again


@pytest.mark.parametrize(
    ("safety", "repeatable", "again"),
    [
        (Retry.NEVER, True, False),
        (Retry.IDEMPOTENT, True, True),
        (Retry.IDEMPOTENT, False, False),
        (Retry.REUSED, True, True),
        (Retry.REUSED, False, False),
        (Retry.UNSENT, True, True),
        (Retry.UNSENT, False, True),
    ],
)
def test_what_may_have_been_acted_upon_is_repeated_only_if_that_does_no_harm(safety, repeatable, again):
    assert verdict(safety=safety, repeatable=repeatable).again is again


@pytest.mark.parametrize(
    ("error", "get", "post"),
    [
        (errors.ConnectRefused, True, True),
        (errors.ConnectTimeout, True, True),
        (errors.TLSFailed, True, True),
        (errors.NameNotFound, True, True),
        (errors.PoolFull, True, True),
        (errors.UpstreamClosed, True, False),
        (errors.AnswerTimeout, True, False),
        (errors.BadResponse, True, False),
        (errors.DeadlineExceeded, False, False),
        (errors.UpgradeRefused, False, False),
        (errors.LoopDetected, False, False),
    ],
)
def test_each_error_says_how_safe_another_attempt_is(error, get, post):
    assert verdict(safety=error.retry).again is get
    assert verdict(safety=error.retry, repeatable=False).again is post


def test_a_body_that_was_not_kept_cannot_be_sent_again():
    assert not verdict(replayable=False).again


def test_a_gateway_before_us_that_has_retried_stops_us():
    assert not verdict(elsewhere=True).again
    assert not verdict(elsewhere=True, safety=Retry.REUSED).again


def test_a_stale_connection_costs_neither_budget_nor_attempt_but_only_once():
    stale = attrs.evolve(FIRST, safety=Retry.REUSED, retrying=100, number=2)
    assert verdict(stale).again
    assert verdict(stale).free
    assert verdict(stale).pause == 0.0
    assert not verdict(stale, stale_before=True).again
    assert verdict(stale, stale_before=True, retrying=0, number=1).again
    assert not verdict(stale, stale_before=True, retrying=0, number=1).free


@pytest.mark.parametrize(
    ("active", "retrying", "again"),
    [
        (1, 0, True),
        (1, BUDGET_FLOOR - 1, True),
        (1, BUDGET_FLOOR, False),
        (100, 19, True),
        (100, 20, False),
        (15, 3, False),
    ],
)
def test_retries_are_a_share_of_what_is_active_but_a_few_are_always_allowed(active, retrying, again):
    assert verdict(active=active, retrying=retrying).again is again


@pytest.mark.parametrize(
    ("value", "again", "pause"),
    [
        (None, True, 0.025),
        (b"0", True, 0.025),
        (b"1", True, 1.0),
        (b" 1 ", True, 1.0),
        (b"2", False, 0.0),
        (b"120", False, 0.0),
        (b"Mon, 23 Nov 2026 07:00:00 GMT", False, 0.0),
        (b"-1", False, 0.0),
        (b"1" * 40, False, 0.0),
    ],
)
def test_retry_after_is_honoured_up_to_a_second_and_otherwise_ends_it(value, again, pause):
    found = verdict(retry_after=value)
    assert found.again is again
    if again:
        assert found.pause == pause


def test_the_pause_doubles_up_to_its_bound():
    policy = RetryPolicy.of(RetrySpec(attempts=10))
    pauses = [verdict(policy=policy, number=number).pause for number in range(1, 7)]
    assert pauses == [0.025, 0.05, 0.1, 0.2, 0.25, 0.25]


def test_the_pause_has_full_jitter():
    asked = []
    verdict(uniform=lambda low, high: asked.append((low, high)) or 0.0)
    assert asked == [(0.0, 0.025)]


@pytest.mark.parametrize(("remaining", "again"), [(None, True), (1.0, True), (0.025, False), (-1.0, False)])
def test_no_attempt_is_made_that_the_deadline_would_end_before_it_begins(remaining, again):
    assert verdict(remaining=remaining).again is again


@given(
    st.builds(
        Attempt,
        safety=st.sampled_from(Retry),
        number=st.integers(1, 12),
        repeatable=st.booleans(),
        replayable=st.booleans(),
        stale_before=st.booleans(),
        elsewhere=st.booleans(),
        active=st.integers(1, 1000),
        retrying=st.integers(0, 1000),
        remaining=st.none() | st.floats(-5, 100),
        retry_after=st.none() | st.sampled_from([b"0", b"1", b"5", b"x"]),
    ),
    st.integers(1, 10),
    st.floats(0, 1),
)
def test_whatever_happens_no_unsafe_request_is_sent_twice_and_all_ends(attempt, attempts, chance):
    policy = RetryPolicy.of(RetrySpec(attempts=attempts))
    found = decide(policy, attempt, lambda low, high: low + chance * (high - low))
    assert found.reason
    if found.again:
        assert attempt.replayable
        assert attempt.repeatable or attempt.safety is Retry.UNSENT
        assert attempt.safety is not Retry.NEVER
        assert found.free or attempt.number < attempts
        assert 0.0 <= found.pause <= 1.0
        assert attempt.remaining is None or found.free or found.pause < attempt.remaining
