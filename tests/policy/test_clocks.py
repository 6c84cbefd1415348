from math import inf

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from suuupra_gateway.config.model import CacheSpec
from suuupra_gateway.policy.clocks import ATTEMPTS, LONGEST, PAUSES, Clocks, Lifetime, Patience, Phase, Wishes

CLOCKS = Clocks.of(CacheSpec())


def life(allow=True, wishes=None, left=inf, clocks=CLOCKS):
    """Lengths of the three clocks."""
    found = clocks.lifetime(allow, 100.0, wishes or Wishes(), left)
    return found.fresh - 100.0, found.revalidate - found.fresh, found.stale - found.revalidate


def test_the_clocks_are_what_the_configuration_says():
    assert Clocks(30.0, 30.0, 300.0, 5.0) == CLOCKS
    assert life() == (30.0, 30.0, 300.0)


def test_a_refusal_has_one_short_clock():
    assert life(allow=False) == (5.0, 0.0, 0.0)


def test_nothing_outlives_what_was_shown():
    assert life(left=10.0) == (10.0, 0.0, 0.0)
    assert life(left=40.0) == (30.0, 10.0, 0.0)
    assert life(left=100.0) == (30.0, 30.0, 40.0)
    assert life(left=-5.0) == (0.0, 0.0, 0.0)
    assert life(allow=False, left=2.0) == (2.0, 0.0, 0.0)


@pytest.mark.parametrize(
    ("header", "clocks"),
    [
        (b"max-age=10", (10.0, 10.0, 300.0)),
        (b"max-age=600", (600.0, 30.0, 300.0)),
        (b"max-age=0", (0.0, 0.0, 300.0)),
        (b"s-maxage=7, max-age=600", (7.0, 7.0, 300.0)),
        (b"max-age=10, stale-while-revalidate=40, stale-if-error=50", (10.0, 40.0, 50.0)),
        (b'Max-Age="10"', (10.0, 10.0, 300.0)),
        (b"max-age=10, max-age=90", (10.0, 10.0, 300.0)),
        (b"no-store", (0.0, 0.0, 0.0)),
        (b"max-age=60, no-cache", (0.0, 0.0, 0.0)),
        (b"max-age=60, must-revalidate", (60.0, 0.0, 0.0)),
        (b"proxy-revalidate", (30.0, 0.0, 0.0)),
        (b"max-age=-1", (0.0, 0.0, 300.0)),
        (b"max-age=soon", (0.0, 0.0, 300.0)),
        (b"max-age=" + b"9" * 500, (LONGEST, 30.0, 300.0)),
        (b"stale-if-error=" + b"9" * 500, (30.0, 30.0, LONGEST)),
        (b"private", (30.0, 30.0, 300.0)),
        (b"", (30.0, 30.0, 300.0)),
    ],
)
def test_whoever_decided_goes_before_the_configuration(header, clocks):
    assert life(wishes=Wishes.of([header])) == clocks


def test_directives_may_be_spread_over_fields():
    assert Wishes.of([b"max-age=10", b"stale-if-error=5"]) == Wishes(True, 10.0, None, 5.0)


@pytest.mark.parametrize(("age", "fresh"), [(b"0", 60.0), (b"50", 10.0), (b"70", 0.0), (b"x", 0.0), (b"", 0.0)])
def test_what_was_in_another_cache_before_is_older(age, fresh):
    assert Wishes.of([b"max-age=60"], age).fresh == fresh


def test_an_age_alone_says_nothing():
    assert Wishes.of([], b"50") == Wishes()


def test_a_refusal_is_remembered_for_less_but_never_for_longer():
    assert life(allow=False, wishes=Wishes(fresh=2.0)) == (2.0, 0.0, 0.0)
    assert life(allow=False, wishes=Wishes(fresh=600.0, revalidate=600.0, stale=600.0)) == (5.0, 0.0, 0.0)


def test_each_clock_is_followed_by_the_next():
    found = CLOCKS.lifetime(True, 100.0)
    assert [found.phase(now) for now in (100.0, 129.9, 130.0, 159.9, 160.0, 459.9, 460.0, 9999.0)] == [
        *[Phase.FRESH] * 2,
        *[Phase.REVALIDATE] * 2,
        *[Phase.STALE] * 2,
        *[Phase.OVER] * 2,
    ]


def test_a_decision_of_the_future_is_none():
    assert CLOCKS.lifetime(True, 100.0).phase(99.9) is Phase.OVER


def test_a_doubted_decision_is_used_only_if_asking_fails():
    found = CLOCKS.lifetime(True, 100.0).doubted(110.0)
    assert found.phase(109.0) is Phase.FRESH
    assert found.phase(110.0) is Phase.STALE
    assert found.phase(459.0) is Phase.STALE
    assert found.phase(460.0) is Phase.OVER
    assert found.doubted(200.0) == found


seconds = st.floats(0.0, 1e7)
wishes = st.builds(Wishes, st.booleans(), *[st.none() | seconds] * 3)


@given(
    st.builds(Clocks, *[st.floats(0.0, 7200.0)] * 4),
    st.booleans(),
    wishes,
    st.floats(-100.0, 1e6) | st.just(inf),
    st.floats(0.0, 20_000.0),
)
def test_clocks_never_run_backwards_nor_beyond_any_limit(clocks, allow, wishes, left, now):
    found = clocks.lifetime(allow, 0.0, wishes, left)
    assert 0.0 <= found.fresh <= found.revalidate <= found.stale <= max(0.0, left)
    assert found.stale <= 3 * max(LONGEST, clocks.deny)
    if not allow:
        assert found.stale <= clocks.deny
    if not wishes.keep:
        assert found.phase(now) is Phase.OVER
    doubted = found.doubted(now)
    assert doubted.phase(now) in (Phase.STALE, Phase.OVER)
    assert (doubted.phase(now) is Phase.OVER) == (found.phase(now) is Phase.OVER)


def test_somebody_who_failed_is_asked_again_at_once_a_few_times():
    patience = Patience()
    for _ in range(ATTEMPTS - 1):
        patience = patience.failed(50.0)
        assert patience.asks(50.0)
        assert not patience.lost
    patience = patience.failed(50.0)
    assert patience.lost
    assert not patience.asks(50.9)
    assert patience.asks(51.0)


def test_pauses_double_up_to_their_bound():
    patience, now, pauses = Patience(), 0.0, []
    for _ in range(ATTEMPTS + 40):
        before, patience = now, patience.failed(now)
        now = max(now, patience.until)
        pauses.append(now - before)
    assert pauses[: ATTEMPTS + 5] == [0.0] * (ATTEMPTS - 1) + [1.0, 2.0, 4.0, 8.0, 10.0, 10.0]
    assert pauses[-1] == PAUSES[1]


def test_those_who_asked_at_the_same_time_prolong_no_pause():
    patience = Patience()
    for _ in range(100):
        patience = patience.failed(50.0)
    assert patience == attrs.evolve(patience, failures=ATTEMPTS, until=51.0)


def test_a_lifetime_is_a_value():
    assert Lifetime(1.0, 2.0, 3.0, 4.0) == Lifetime(1.0, 2.0, 3.0, 4.0)
