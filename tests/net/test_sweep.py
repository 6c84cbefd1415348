"""One timer for all timeouts."""

import math

import pytest
from twisted.internet.task import Clock
from twisted.logger import globalLogPublisher

from suuupra_gateway.net.sweep import Sweep


class Thing:
    def __init__(self, deadline, action=None):
        self.deadline = deadline
        self.calls = []
        self.action = action

    def expired(self, now):
        self.calls.append(now)
        if self.action is not None:
            self.action(self)


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def sweep(clock):
    sweep = Sweep(clock, monotonic=clock.seconds, wall=lambda: 784111777 + clock.seconds(), interval=0.5)
    sweep.start()
    return sweep


def test_expired_is_called_in_the_first_scan_after_the_deadline(clock, sweep):
    thing = Thing(0.75)
    sweep.watch(thing)
    clock.advance(0.5)
    assert thing.calls == []
    clock.advance(0.5)
    assert thing.calls == [1.0]


def test_a_deadline_that_moves_on_never_expires(clock, sweep):
    thing = Thing(0.75)
    sweep.watch(thing)
    for _ in range(10):
        clock.advance(0.5)
        thing.deadline = sweep.now + 0.75
    assert thing.calls == []


def test_an_infinite_deadline_never_expires(clock, sweep):
    thing = Thing(math.inf)
    sweep.watch(thing)
    clock.pump([0.5] * 100)
    assert thing.calls == []


def test_expired_is_called_again_until_the_deadline_moves(clock, sweep):
    thing = Thing(0.1)
    sweep.watch(thing)
    clock.pump([0.5, 0.5])
    assert thing.calls == [0.5, 1.0]


def test_a_thing_may_unwatch_itself_and_others(clock, sweep):
    first, second = Thing(0.1), Thing(0.1)

    def end_both(_):
        sweep.unwatch(first)
        sweep.unwatch(second)

    first.action = second.action = end_both
    sweep.watch(first)
    sweep.watch(second)
    clock.pump([0.5, 0.5])
    assert len(first.calls) + len(second.calls) == 1


def test_a_thing_that_another_one_saved_in_the_same_scan_does_not_expire(clock, sweep):
    first, second = Thing(0.1), Thing(0.1)

    def save_the_other(thing):
        other = second if thing is first else first
        other.deadline = math.inf
        thing.deadline = math.inf

    first.action = second.action = save_the_other
    sweep.watch(first)
    sweep.watch(second)
    clock.advance(0.5)
    assert len(first.calls) + len(second.calls) == 1


def test_things_watched_during_a_scan_are_seen_by_the_next_one(clock, sweep):
    late = Thing(0.0)
    first = Thing(0.1, lambda thing: (sweep.unwatch(thing), sweep.watch(late)))
    sweep.watch(first)
    clock.advance(0.5)
    assert late.calls == []
    clock.advance(0.5)
    assert late.calls == [1.0]


def test_an_exception_is_logged_and_spares_the_others(clock, sweep):
    events = []
    globalLogPublisher.addObserver(events.append)
    try:
        things = [Thing(0.1, lambda _: 1 / 0) for _ in range(3)]
        for thing in things:
            sweep.watch(thing)
        clock.advance(0.5)
    finally:
        globalLogPublisher.removeObserver(events.append)
    assert [len(thing.calls) for thing in things] == [1, 1, 1]
    assert [event["log_failure"].type for event in events] == [ZeroDivisionError] * 3
    clock.advance(0.5)
    assert [len(thing.calls) for thing in things] == [2, 2, 2]


def test_unwatching_what_is_not_watched_is_fine(sweep):
    sweep.unwatch(Thing(0.0))


def test_stop_leaves_no_timer_behind_and_start_goes_on(clock, sweep):
    thing = Thing(0.1)
    sweep.watch(thing)
    sweep.stop()
    sweep.stop()
    assert clock.getDelayedCalls() == []
    clock.advance(1.0)
    assert thing.calls == []
    sweep.start()
    sweep.start()
    assert len(clock.getDelayedCalls()) == 1
    clock.advance(0.5)
    assert thing.calls == [1.5]


def test_stop_works_from_inside_of_expired(clock, sweep):
    sweep.watch(Thing(0.1, lambda _: sweep.stop()))
    clock.advance(0.5)
    assert clock.getDelayedCalls() == []


def test_now_is_the_time_of_the_last_scan(clock, sweep):
    assert sweep.now == 0.0
    clock.advance(0.25)
    assert sweep.now == 0.0
    clock.advance(0.25)
    assert sweep.now == 0.5
    assert sweep.monotonic() == 0.5


def test_date_is_an_imf_fixdate_renewed_each_second(clock, sweep):
    assert sweep.date == b"Sun, 06 Nov 1994 08:49:37 GMT"
    clock.advance(0.5)
    assert sweep.date == b"Sun, 06 Nov 1994 08:49:37 GMT"
    clock.advance(0.5)
    assert sweep.date == b"Sun, 06 Nov 1994 08:49:38 GMT"


def test_now_and_date_are_there_before_start(clock):
    clock.advance(3)
    sweep = Sweep(clock, monotonic=clock.seconds, wall=lambda: 784111777.9)
    assert sweep.now == 3.0
    assert sweep.date == b"Sun, 06 Nov 1994 08:49:37 GMT"
    assert clock.getDelayedCalls() == []
