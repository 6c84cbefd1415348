"""Residents: found by the value of their spec, started and retired as plans come and go."""

import attrs
import pytest
from twisted.internet.defer import Deferred
from twisted.logger import globalLogPublisher
from zope.interface.verify import verifyObject

from suuupra_gateway.interfaces import IResidents
from suuupra_gateway.residents import Claims, Residents


@attrs.frozen
class CacheSpec:
    size: int


@attrs.frozen
class OtherSpec:
    size: int


class Cache:
    def __init__(self, spec):
        self.spec = spec
        self.events = []
        self.pending = None
        self.failing = ()

    def start(self):
        self.events.append("start")
        if "start" in self.failing:
            raise RuntimeError("no start")

    def retire(self):
        self.events.append("retire")
        if "retire" in self.failing:
            raise RuntimeError("no retirement")
        return self.pending


@pytest.fixture
def residents():
    residents = Residents()
    residents.register(CacheSpec, Cache)
    residents.register(OtherSpec, Cache)
    return residents


@pytest.fixture
def logged():
    events = []
    globalLogPublisher.addObserver(events.append)
    yield events
    globalLogPublisher.removeObserver(events.append)


def test_equal_specs_get_the_same_thing(residents):
    assert residents.claim(CacheSpec(1)) is residents.claim(CacheSpec(1))


def test_other_specs_get_other_things(residents):
    assert residents.claim(CacheSpec(1)) is not residents.claim(CacheSpec(2))


def test_specs_of_different_types_never_share(residents):
    assert residents.claim(CacheSpec(1)) is not residents.claim(OtherSpec(1))


def test_a_type_that_nobody_registered_is_refused_by_name(residents):
    with pytest.raises(LookupError, match="int"):
        residents.claim(1)


def test_nothing_starts_before_its_plan_is_in_effect(residents):
    cache = residents.claim(CacheSpec(1))
    assert cache.events == []
    residents.settle([CacheSpec(1)])
    assert cache.events == ["start"]


def test_what_stays_claimed_starts_once_and_is_not_retired(residents):
    cache = residents.claim(CacheSpec(1))
    for _ in range(3):
        residents.settle([CacheSpec(1)])
    assert cache.events == ["start"]


def test_what_nobody_claims_any_more_is_retired(residents):
    cache = residents.claim(CacheSpec(1))
    residents.settle([CacheSpec(1)])
    residents.settle([])
    assert cache.events == ["start", "retire"]


def test_what_is_claimed_again_after_retirement_is_new(residents):
    old = residents.claim(CacheSpec(1))
    residents.settle([CacheSpec(1)])
    old.pending = Deferred()
    residents.settle([])
    assert residents.claim(CacheSpec(1)) is not old


def test_what_a_failed_plan_left_behind_is_forgotten_without_a_start(residents):
    residents.settle([])
    cache = residents.claim(CacheSpec(1))
    residents.settle([])
    assert cache.events == []
    assert residents.claim(CacheSpec(1)) is not cache


def test_close_waits_for_all_that_was_ever_retired(residents):
    caches = [residents.claim(CacheSpec(size)) for size in (1, 2, 3)]
    residents.settle([*(cache.spec for cache in caches)])
    caches[0].pending, caches[1].pending = Deferred(), Deferred()
    residents.settle([CacheSpec(2), CacheSpec(3)])
    fired = []
    residents.close().addCallback(fired.append)
    assert [cache.events[-1] for cache in caches] == ["retire"] * 3
    caches[0].pending.callback(None)
    assert fired == []
    caches[1].pending.callback(None)
    assert fired == [None]


def test_close_with_nothing_to_wait_for_fires_at_once(residents):
    fired = []
    residents.close().addCallback(fired.append)
    assert fired == [None]


def test_a_retirement_that_fails_later_is_logged_and_waited_for_all_the_same(residents, logged):
    cache = residents.claim(CacheSpec(1))
    residents.settle([CacheSpec(1)])
    cache.pending = Deferred()
    fired = []
    residents.close().addCallback(fired.append)
    cache.pending.errback(RuntimeError("stuck"))
    assert fired == [None]
    assert [str(event["log_failure"].value) for event in logged] == ["stuck"]


def test_one_that_fails_to_start_is_logged_and_does_not_keep_the_others(residents, logged):
    bad, good = residents.claim(CacheSpec(1)), residents.claim(CacheSpec(2))
    bad.failing = ("start",)
    residents.settle([CacheSpec(1), CacheSpec(2)])
    assert good.events == ["start"]
    assert [str(event["log_failure"].value) for event in logged] == ["no start"]


def test_one_that_fails_to_retire_is_logged_and_does_not_keep_the_others(residents, logged):
    bad, good = residents.claim(CacheSpec(1)), residents.claim(CacheSpec(2))
    residents.settle([CacheSpec(1), CacheSpec(2)])
    bad.failing = ("retire",)
    residents.settle([])
    assert good.events == ["start", "retire"]
    assert [str(event["log_failure"].value) for event in logged] == ["no retirement"]


def test_claims_remember_what_they_handed_on_once_each_in_order(residents):
    claims = Claims(residents)
    assert claims.claim(CacheSpec(2)) is claims.claim(CacheSpec(2))
    claims.claim(OtherSpec(2))
    claims.claim(CacheSpec(1))
    assert claims.specs == (CacheSpec(2), OtherSpec(2), CacheSpec(1))


def test_both_are_what_filters_are_told_they_get(residents):
    assert verifyObject(IResidents, residents)
    assert verifyObject(IResidents, Claims(residents))
