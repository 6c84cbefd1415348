"""One worker per slot, whatever happens to them."""

import pytest
from twisted.internet.defer import Deferred

from suuupra_gateway.process.fleet import HUNG, MARGIN, Fleet, RollFailed
from suuupra_gateway.tally import Snapshot
from tests.process.rig import Yard, generation


@pytest.fixture
def yard():
    return Yard()


def fleet_of(yard, size, changed=lambda: None):
    fleet = Fleet(yard.clock, yard.launch, yard.current, changed)
    fleet.resize(size)
    yard.settle()
    return fleet


def start(coroutine):
    """Run a coroutine; where its result or failure will be."""
    result = []
    Deferred.fromCoroutine(coroutine).addBoth(result.append)
    return result


def asked(worker):
    return worker.serving.asked


def test_every_slot_gets_a_worker_that_prepares_and_commits_the_plan(yard):
    fleet = fleet_of(yard, 2)
    assert [asked(worker) for worker in yard.workers] == [["prepare 1", "commit 1"]] * 2
    assert [(child.slot, child.state, child.generation) for child in fleet.slots.values()] == [
        (0, "ready", 1),
        (1, "ready", 1),
    ]


def test_whoever_watches_hears_of_each_that_begins_or_ceases_to_serve(yard):
    heard = []
    fleet_of(yard, 2, lambda: heard.append(1))
    assert len(heard) == 2
    yard.workers[0].exit("signal 11")
    yard.settle()
    assert len(heard) > 2


def test_a_worker_that_dies_is_replaced_after_a_pause_that_doubles(yard):
    fleet = fleet_of(yard, 1)
    for pause in (0.1, 0.2, 0.4):
        yard.workers[-1].exit("signal 9")
        yard.settle()
        before = len(yard.workers)
        yard.clock.advance(pause - 0.01)
        assert len(yard.workers) == before
        yard.clock.advance(0.02)
        yard.settle()
        assert len(yard.workers) == before + 1
    assert fleet.restarts == {0: 3}
    assert [child.state for child in fleet.slots.values()] == ["ready"]


def test_one_that_does_not_come_up_is_tried_again(yard):
    yard.stillborn = True
    fleet = fleet_of(yard, 1)
    assert fleet.ready() == []
    yard.stillborn = False
    yard.advance(1)
    assert len(fleet.ready()) == 1


def test_one_that_says_nothing_is_killed_and_tried_again(yard):
    yard.frozen = 0
    fleet = fleet_of(yard, 1)
    yard.advance(61)
    assert yard.workers[0].killed
    yard.frozen = None
    yard.advance(1)
    assert len(fleet.ready()) == 1


def test_a_plan_that_a_new_worker_refuses_does_not_leave_it_half_alive(yard):
    yard.refuses = 1
    fleet = fleet_of(yard, 1)
    assert yard.workers[0].killed
    assert fleet.ready() == []


def test_a_sibling_accepts_for_a_slot_while_its_worker_is_down():
    yard = Yard(slots=3)
    fleet = fleet_of(yard, 3)
    for worker in yard.workers:
        asked(worker).clear()
    yard.workers[1].exit("signal 9")
    yard.settle()
    assert asked(yard.workers[2]) == ["adopt 1"]
    yard.advance(1)
    assert asked(yard.workers[2]) == ["adopt 1", "release 1"]
    assert len(fleet.ready()) == 3


def test_when_the_sibling_dies_too_another_one_takes_both_slots():
    yard = Yard(slots=3)
    fleet_of(yard, 3)
    for worker in yard.workers:
        asked(worker).clear()
    yard.workers[1].exit("signal 9")
    yard.settle()
    yard.workers[2].exit("signal 9")
    yard.settle()
    assert sorted(asked(yard.workers[0])) == ["adopt 1", "adopt 2"]


def test_a_sibling_that_cannot_accept_is_no_reason_to_stop():
    yard = Yard(slots=2)
    yard.barren = True
    fleet = fleet_of(yard, 2)
    yard.workers[0].exit("signal 9")
    yard.advance(1)
    assert len(fleet.ready()) == 2


def test_fewer_slots_dismiss_the_surplus_and_its_socket_is_adopted():
    yard = Yard(slots=3)
    fleet = fleet_of(yard, 3)
    fleet.resize(2)
    yard.settle()
    assert "drain 30" in asked(yard.workers[2])
    assert yard.workers[2].gone
    assert "adopt 2" in asked(yard.workers[0]) + asked(yard.workers[1])
    yard.advance(30)
    assert len(yard.alive()) == 2, "nobody replaces it"


def test_rolling_replaces_one_after_the_other_and_never_serves_with_fewer(yard):
    fleet = fleet_of(yard, 3)
    fewest = []
    fleet._changed = lambda: fewest.append(len(fleet.ready()))
    old = list(yard.workers)
    result = start(fleet.roll(range(3)))
    yard.settle()
    yard.settle()
    assert result == [None]
    assert all("drain 30" in asked(worker) and worker.gone for worker in old)
    assert [child.body for child in fleet.slots.values()] == yard.workers[3:]
    assert min(fewest) >= 3
    assert fleet.restarts == {}


def test_rolling_stops_at_the_first_that_does_not_come_up_and_says_which_were_done(yard):
    fleet = fleet_of(yard, 3)
    old = list(yard.workers)
    result = start(fleet.roll(range(3)))
    launch, yard_launch = fleet._launch, []

    def fail_second(child):
        yard_launch.append(child)
        yard.stillborn = child.slot == 1
        return launch(child)

    fleet._launch = fail_second
    yard.settle()
    yard.settle()
    failure = result[0]
    assert failure.check(RollFailed)
    assert failure.value.done == (0,)
    assert "slot 1 did not come up" in str(failure.value)
    assert [worker.gone for worker in old] == [True, False, False]
    assert len(fleet.ready()) == 3


def test_rolling_brings_up_new_slots_first(yard):
    fleet = fleet_of(yard, 1)
    result = start(fleet.roll(range(3)))
    yard.settle()
    yard.settle()
    assert result == [None]
    assert [worker.child.slot for worker in yard.workers] == [0, 1, 2, 0]


def test_a_worker_that_starts_during_a_reload_takes_what_is_in_force_then(yard):
    fleet = Fleet(yard.clock, yard.launch, yard.current)
    yard.hangs = 1
    fleet.resize(1)
    yard.settle()
    assert fleet.ready() == []
    yard.generation = generation(2)
    yard.workers[0].exit("signal 9")
    yard.advance(1)
    assert asked(yard.workers[1]) == ["prepare 2", "commit 2"]


def test_stopping_drains_everybody_and_kills_who_stays(yard):
    fleet = fleet_of(yard, 2)
    yard.workers[1].busy = True
    result = start(fleet.stop(5.0))
    yard.settle()
    assert [worker.gone for worker in yard.workers] == [True, False]
    assert "drain 5" in asked(yard.workers[1])
    yard.advance(5.0 + MARGIN - 0.5)
    assert not yard.workers[1].killed
    yard.advance(1)
    assert yard.workers[1].killed
    assert result == [None]
    assert len(yard.workers) == 2, "nobody is replaced any more"


def test_hurrying_ends_those_who_drain(yard):
    fleet = fleet_of(yard, 1)
    yard.workers[0].busy = True
    result = start(fleet.stop(60.0))
    yard.settle()
    fleet.hurry()
    yard.settle()
    assert asked(yard.workers[0])[-1] == "drain 0"
    assert result == [None]


def test_who_is_hurried_before_the_end_begins_does_not_wait_at_all(yard):
    fleet = fleet_of(yard, 1)
    yard.workers[0].busy = True
    fleet.hurry()
    result = start(fleet.stop(60.0))
    yard.settle()
    assert result == [None]


def test_nothing_starts_once_it_stops(yard):
    fleet = fleet_of(yard, 1)
    start(fleet.stop(5.0))
    yard.settle()
    fleet.resize(3)
    result = start(fleet.roll([0]))
    yard.advance(20)
    assert len(yard.workers) == 1
    assert result[0].check(RollFailed)


def test_a_worker_that_hangs_is_killed_in_time(yard):
    fleet = fleet_of(yard, 2)
    yard.frozen = 0
    for _ in range(int(HUNG)):
        fleet.poll()
        yard.advance(1)
    assert not yard.workers[0].killed
    assert not fleet.all_answer(within=2.0)
    yard.advance(1)
    fleet.poll()
    yard.settle()
    assert yard.workers[0].killed
    assert not yard.workers[1].killed


def test_polling_renews_what_is_known_of_workers(yard):
    fleet = fleet_of(yard, 1)
    fleet.poll()
    yard.settle()
    child = fleet.slots[0]
    assert (child.connections, child.lag) == (3, 0.25)
    assert Snapshot.decode(child.counted).samples
    assert fleet.all_answer(within=2.0)


def test_nobody_answers_while_nobody_serves(yard):
    yard.stillborn = True
    assert not fleet_of(yard, 1).all_answer(within=1e9)


def test_a_worker_that_hangs_does_not_hold_up_the_tallies_of_others(yard):
    fleet = fleet_of(yard, 2)
    fleet.poll()
    yard.settle()
    yard.frozen = 0
    result = start(fleet.snapshots())
    yard.settle()
    assert result == []
    yard.advance(1)
    assert len(result[0]) == 3, "of those who are gone, of the one that answered, and the last one of the other"


def test_everybody_reopens_logs(yard):
    fleet = fleet_of(yard, 2)
    fleet.reopen()
    yard.settle()
    assert all("reopen" in asked(worker) for worker in yard.workers)
