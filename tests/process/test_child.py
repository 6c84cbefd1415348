"""One worker as its supervisor sees it, and the worker's own end of the conversation."""

import os
import socket

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from suuupra_gateway.process import control
from suuupra_gateway.process.child import Child, WorkerLost
from suuupra_gateway.process.collector import Collector, Untouched
from suuupra_gateway.process.worker import WorkerEnd, inherited
from tests.process.rig import Yard, generation


@pytest.fixture
def yard():
    return Yard()


def brought_up(yard):
    child = Child(yard.clock, 0)
    yard.launch(child)
    result = []
    Deferred.fromCoroutine(child.bring_up(yard.current)).addBoth(result.append)
    yard.settle()
    return child, result


def test_it_is_ready_when_it_has_committed(yard):
    child, result = brought_up(yard)
    assert (result, child.state, child.generation) == ([None], "ready", 1)


def test_one_that_speaks_another_version_is_refused_with_advice(yard, monkeypatch):
    child = Child(yard.clock, 0)
    worker = yard.launch(child)
    result = []
    with pytest.raises(control.VersionMismatch, match="restart the service"):
        child.greeted(control.VERSION + 1, "9.9")
    Deferred.fromCoroutine(child.bring_up(yard.current)).addBoth(result.append)
    assert result[0].check(control.VersionMismatch)
    assert child.release == "9.9"
    assert not worker.gone, "whoever launched it ends it"


def test_nothing_can_be_asked_of_one_that_is_not_connected(yard):
    child = Child(yard.clock, 0)
    failures = []
    child.ping().addErrback(failures.append)
    assert failures[0].check(WorkerLost)


def test_an_answer_that_does_not_come_is_a_loss(yard):
    child, _ = brought_up(yard)
    yard.frozen = 0
    failures = []
    child.ping().addErrback(failures.append)
    yard.advance(20)
    assert failures[0].check(WorkerLost)
    assert "worker 0 did not answer Ping" in str(failures[0].value)


def test_a_bug_in_the_worker_is_a_loss_and_not_a_crash(yard):
    child, _ = brought_up(yard)

    def broken():
        raise ZeroDivisionError

    yard.workers[0].serving.reopen = broken
    failures = []
    child.reopen().addErrback(failures.append)
    yard.settle()
    assert failures[0].check(WorkerLost)


def test_whoever_waits_for_its_end_hears_of_it_before_or_after(yard):
    child, _ = brought_up(yard)
    heard = []
    child.when_gone().addCallback(heard.append)
    cancelled = child.when_gone()
    cancelled.addErrback(lambda _: None)
    cancelled.cancel()
    child.kill()
    yard.settle()
    child.when_gone().addCallback(heard.append)
    child.kill()
    assert heard == [None, None]


def test_its_last_words_are_what_it_counted(yard):
    child, _ = brought_up(yard)
    length = yard.workers[0].serving.write_tally()
    yard.workers[0].end.say_farewell(length)
    yard.settle()
    assert child.left_behind() is not None


def test_what_nobody_can_read_is_not_counted(yard):
    child, _ = brought_up(yard)
    assert child.left_behind() is None
    os.pwrite(child.memory, b"rubbish", 0)
    child.read_tally(7)
    assert child.left_behind() is None


def test_half_a_tally_is_not_taken(yard):
    child, _ = brought_up(yard)
    child.read_tally(10**6)
    assert child.counted == b""


def test_a_worker_whose_supervisor_is_gone_drains(yard):
    brought_up(yard)
    worker = yard.workers[0]
    worker.pump.serverIO.loseConnection()
    yard.settle()
    assert worker.serving.asked[-2:] == ["orphaned", "drain 30"]
    assert worker.gone


def test_a_supervisor_whose_worker_hung_up_no_longer_counts_on_it(yard):
    child, _ = brought_up(yard)
    worker = yard.workers[0]
    worker.busy = True
    worker.pump.clientIO.loseConnection()
    yard.settle()
    assert child.state == "draining"


def test_the_last_words_of_one_that_nobody_hears_are_over_at_once():
    said = []
    end = WorkerEnd(0, Untouched(), Clock())
    end.say_farewell(1).addCallback(said.append)
    assert said == [None]


def test_a_long_list_of_problems_is_cut_at_a_line():
    why = "\n".join(f"problem {number}" for number in range(10_000))
    text = str(control.PlanRefused(why))
    assert len(text) < 60_000
    assert text.endswith("\n…")
    assert text.splitlines()[-2].startswith("problem ")


def test_inherited_sockets_are_told_apart_by_listener_and_slot():
    socks = [socket.create_server(("127.0.0.1", 0)) for _ in range(3)]
    a, b, c = (sock.detach() for sock in socks)
    found = inherited([f"public:0:{a}", f"public:1:{b}", f"local:-:{c}"])
    assert [sock.fileno() for sock in found["public"][1]] == [a, b]
    assert [sock.fileno() for sock in found["local"][0]] == [c]
    for shared, slots in found.values():
        for sock in shared + slots:
            assert not sock.get_inheritable()
            sock.close()


def test_the_collector_rests_while_a_plan_is_compiled():
    import gc

    yard = Yard()
    child, _ = brought_up(yard)
    before = gc.get_threshold()
    yard.workers[0].end._collector = Collector()
    try:
        child.prepare(generation(2)).addErrback(lambda _: None)
        yard.settle()
        assert not gc.isenabled()
        child.commit(2)
        yard.settle()
        assert gc.isenabled()
        for end in ("discard", "refuse"):
            yard.refuses = 3 if end == "refuse" else None
            child.prepare(generation(3)).addErrback(lambda _: None)
            yard.settle()
            if end == "discard":
                assert not gc.isenabled()
                child.discard(3)
                yard.settle()
            assert gc.isenabled(), end
        assert gc.get_freeze_count() > 0
        Collector().begin()
        assert gc.get_threshold() != before
    finally:
        gc.enable()
        gc.unfreeze()
        gc.set_threshold(*before)
