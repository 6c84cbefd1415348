"""Long work between requests."""

import pytest
from twisted.internet.defer import CancelledError
from twisted.internet.task import Clock

from suuupra_gateway.process.slices import sliced


class Work:
    """Steps that take one millisecond of a clock that nobody else moves."""

    def __init__(self, count, fails=None):
        self.now = 0.0
        self.count = count
        self.fails = fails
        self.closed = False

    def seconds(self):
        return self.now

    def steps(self):
        try:
            for step in range(self.count):
                self.now += 0.001
                if step == self.fails:
                    raise ValueError("bad step")
                yield
            return "done"
        finally:
            self.closed = True


def test_nothing_happens_before_the_next_turn():
    clock, work = Clock(), Work(3)
    sliced(clock, work.steps(), clock=work.seconds)
    assert work.now == 0.0


def test_a_slice_ends_when_its_budget_is_used_up():
    clock, work = Clock(), Work(10)
    result = sliced(clock, work.steps(), budget=0.002, clock=work.seconds)
    clock.advance(0)
    assert work.now == pytest.approx(0.002)
    clock.advance(0.001)
    assert work.now == pytest.approx(0.002)  # rests as long as it worked
    while not result.called:
        clock.advance(0.002)
    assert result.result == "done"
    assert clock.getDelayedCalls() == []


def test_an_error_comes_as_it_was_raised():
    clock, work = Clock(), Work(3, fails=1)
    result = sliced(clock, work.steps(), budget=1.0, clock=work.seconds)
    clock.advance(0)
    failures = []
    result.addErrback(failures.append)
    assert failures[0].check(ValueError)


def test_cancelling_closes_the_work():
    clock, work = Clock(), Work(10)
    result = sliced(clock, work.steps(), budget=0.001, clock=work.seconds)
    clock.advance(0)
    failures = []
    result.addErrback(failures.append)
    result.cancel()
    assert failures[0].check(CancelledError)
    assert work.closed
    assert clock.getDelayedCalls() == []
