"""The data half by itself: plans that it takes and refuses. Live tests show it serving."""

import json
import os
import socket

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.testing import MemoryReactorClock

from suuupra_gateway.auth.board import QuietBoard
from suuupra_gateway.process.control import CannotServe, PlanRefused
from suuupra_gateway.process.serving import Serving, Sockets

TREE = {
    "listeners": [{"name": "public", "address": "127.0.0.1:0"}],
    "access-log": {"path": "off"},
    "routes": [{"name": "status", "match": {"path": "/status"}, "auth": "none", "target": {"fixed": {"body": "ok"}}}],
}


class Bench:
    """A `Serving` on a reactor that the test turns, with a real socket and real shared memory."""

    def __init__(self, directory):
        self.directory = directory
        self.reactor = MemoryReactorClock()
        self.memory = os.memfd_create("test")
        self.left = []
        self.sock = socket.create_server(("127.0.0.1", 0))
        self.serving = Serving(
            self.reactor, 0, {"public": Sockets(slots=(self.sock,))}, self.memory, self.left.append, QuietBoard()
        )

    def plan(self, number, tree=TREE):
        path = self.directory / f"plan-{number}.json"
        path.write_text(tree if isinstance(tree, str) else json.dumps(tree))
        return str(path)

    def prepare(self, number, tree=TREE):
        result = []
        preparing = self.serving.prepare(number, "digest", self.plan(number, tree))
        Deferred.fromCoroutine(preparing).addBoth(result.append)
        while not result:
            self.reactor.advance(0.01)
        return result[0]


@pytest.fixture
def bench(tmp_path):
    made = Bench(tmp_path)
    yield made
    made.serving.drain(0.0)
    made.reactor.advance(1)
    assert len(made.left) == 1
    os.close(made.memory)


def changed(**route):
    return {**TREE, "routes": [{**TREE["routes"][0], **route}]}


def test_nothing_is_listened_on_before_the_first_commit(bench):
    assert bench.prepare(1) is None
    assert (bench.reactor.getReaders(), bench.serving.generation) == ([], 0)
    bench.serving.commit(1)
    assert len(bench.reactor.getReaders()) == 1
    assert bench.serving.generation == 1


def test_a_plan_that_cannot_be_read_is_refused(bench):
    assert bench.prepare(1, "{").check(PlanRefused)
    failure = []
    Deferred.fromCoroutine(bench.serving.prepare(1, "", "/nowhere")).addErrback(failure.append)
    assert "No such file" in str(failure[0].value)


def test_a_plan_with_errors_is_refused_with_all_of_them(bench):
    refused = bench.prepare(1, changed(colour="red", target={"fixed": {"boddy": "x"}}))
    assert refused.check(PlanRefused)
    assert len(str(refused.value).splitlines()) == 2


def test_a_plan_whose_tests_fail_is_refused(bench):
    tests = [{"request": "GET /status", "expect": {"status": 204}}]
    assert "expected status 204, got" in str(bench.prepare(1, changed(tests=tests)).value)


def test_only_what_was_prepared_can_be_committed(bench):
    with pytest.raises(PlanRefused):
        bench.serving.commit(1)
    bench.prepare(1)
    with pytest.raises(PlanRefused):
        bench.serving.commit(2)
    bench.serving.discard()
    with pytest.raises(PlanRefused):
        bench.serving.commit(1)


def test_a_discarded_plan_leaves_the_one_in_force(bench):
    bench.prepare(1)
    bench.serving.commit(1)
    bench.prepare(2)
    bench.serving.discard()
    bench.reactor.advance(1)
    assert bench.serving.generation == 1


def test_an_access_log_that_cannot_be_opened_is_no_service(bench, tmp_path):
    bench.prepare(1, {**TREE, "access-log": {"path": str(tmp_path)}})
    with pytest.raises(CannotServe, match="access log"):
        bench.serving.commit(1)


def test_sockets_of_other_slots_are_adopted_and_released(bench):
    bench.prepare(1)
    bench.serving.commit(1)
    with socket.create_server(("127.0.0.1", 0)) as other:
        bench.serving._sockets["public"] = Sockets(slots=(bench.sock, other.dup()))
        bench.serving.adopt(1)
        bench.serving.adopt(1)
        assert len(bench.reactor.getReaders()) == 2
        bench.serving.release(1)
        bench.serving.release(0)
        assert len(bench.reactor.getReaders()) == 1, "its own is never released"


def test_draining_closes_the_sockets_at_once_and_adopts_no_more(bench):
    bench.prepare(1)
    bench.serving.commit(1)
    bench.serving.drain(30.0)
    assert bench.reactor.getReaders() == []
    assert bench.sock.fileno() == -1
    bench.serving.adopt(1)
    assert bench.left == []
    bench.reactor.advance(1)
    assert len(bench.left) == 1, "nobody was connected"


def test_the_length_of_the_last_tally_is_told(bench):
    from suuupra_gateway.tally import Snapshot

    bench.prepare(1)
    bench.serving.commit(1)
    bench.serving.drain(0.0)
    bench.reactor.advance(1)
    snapshot = Snapshot.decode(os.pread(bench.memory, bench.left[0], 0))
    assert any(sample.name == "suuupra_connections" for sample in snapshot.samples)
