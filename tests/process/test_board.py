"""What the supervisor lets workers know, and what they ask: both ends of the real conversation."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred, fail, succeed

from suuupra_gateway.interfaces import NoAnswer
from suuupra_gateway.process.board import LARGEST, LONGEST, PATIENCE, PIECE, Board, WorkerBoard, pieces
from suuupra_gateway.process.child import Child
from suuupra_gateway.process.control import End, Unanswered
from tests.process.rig import Yard


class Stage:
    """A supervisor's board and workers that are connected to it."""

    def __init__(self):
        self.yard = Yard()
        self.board = Board()
        self.children = []

    def worker(self, *, up=True):
        """A new one; its end of the board."""
        child = Child(self.yard.clock, len(self.children))
        child.board = self.board
        self.children.append(child)
        worker = self.yard.launch(child)
        if up:
            Deferred.fromCoroutine(child.bring_up(self.yard.current)).addErrback(lambda _: None)
            self.yard.settle()
        return worker

    def settle(self):
        self.yard.settle()


@pytest.fixture
def stage():
    return Stage()


def watched(worker, topic="t"):
    seen = []
    worker.end.board.watch(topic, seen.append)
    return seen


def outcome(deferred):
    found = []
    deferred.addBoth(found.append)
    return found


# -- values -----------------------------------------------------------------------------------------------------------


def test_a_worker_has_all_values_before_it_prepares_its_first_plan(stage):
    stage.board.publish("a", b"1")
    stage.board.publish("b", b"2" * (3 * PIECE))
    stage.board.compose("c", lambda: b"3")
    known = {}
    worker = stage.worker(up=False)

    class Curious(type(worker.serving)):
        async def prepare(self, generation, digest, path):
            for topic in "abc":
                worker.end.board.watch(topic, lambda value, topic=topic: known.setdefault(topic, value))
            known["plan"] = generation
            await super().prepare(generation, digest, path)

    worker.serving.__class__ = Curious
    Deferred.fromCoroutine(stage.children[0].bring_up(stage.yard.current))
    stage.settle()
    assert known == {"a": b"1", "b": b"2" * (3 * PIECE), "c": b"3", "plan": 1}
    assert list(known)[-1] == "plan"


def test_a_worker_that_was_killed_is_followed_by_one_that_knows_the_same(stage):
    first = stage.worker()
    stage.board.publish("t", b"old")
    stage.board.publish("t", b"new")
    stage.settle()
    assert watched(first) == [b"new"]
    first.kill()
    stage.settle()
    assert watched(stage.worker()) == [b"new"]


def test_what_changes_while_a_worker_starts_is_not_lost(stage):
    stage.board.publish("t", b"before")
    worker = stage.worker(up=False)  # launched, but has not said anything yet
    stage.board.publish("t", b"meanwhile")
    stage.board.publish("new", b"topic")
    bringing = Deferred.fromCoroutine(stage.children[0].bring_up(stage.yard.current))
    worker.flush()
    stage.board.publish("t", b"at the last moment")
    stage.settle()
    assert outcome(bringing) == [None]
    assert watched(worker) == [b"at the last moment"]
    assert watched(worker, "new") == [b"topic"]


def test_everybody_hears_of_a_change_and_only_then(stage):
    workers = [stage.worker(), stage.worker()]
    seen = [watched(worker) for worker in workers]
    assert seen == [[], []]
    stage.board.publish("t", b"")
    stage.board.publish("other", b"x")
    stage.board.publish("t", b"2")
    stage.settle()
    assert seen == [[b"", b"2"]] * 2


@pytest.mark.parametrize("size", [0, 1, PIECE - 1, PIECE, PIECE + 1, LARGEST])
def test_values_of_any_size_arrive_whole(stage, size):
    worker = stage.worker()
    value = (b"0123456789abcdef" * (size // 16 + 1))[:size]
    seen = watched(worker)
    stage.board.publish("t", value)
    stage.settle()
    assert seen == [value]


def test_a_value_that_is_too_large_is_refused_and_the_last_one_stays(stage):
    worker = stage.worker()
    stage.board.publish("t", b"good")
    with pytest.raises(ValueError, match="4194305 bytes for t"):
        stage.board.publish("t", b"x" * (LARGEST + 1))
    stage.settle()
    assert watched(worker) == [b"good"]
    assert watched(stage.worker()) == [b"good"]


@given(st.binary(max_size=200), st.integers(1, 70))
def test_pieces_are_the_value_and_only_the_last_is_the_last(value, size):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("suuupra_gateway.process.board.PIECE", size)
        found = list(pieces(value))
    assert b"".join(piece for _, _, piece in found) == value
    assert [number for number, _, _ in found] == list(range(len(found)))
    assert [last for _, last, _ in found] == [False] * (len(found) - 1) + [True]
    assert all(len(piece) <= size for _, _, piece in found)


def test_who_no_longer_watches_is_called_no_more(stage):
    worker = stage.worker()
    seen, others = [], watched(worker)
    end = worker.end.board.watch("t", seen.append)
    end()
    end()
    stage.board.publish("t", b"1")
    stage.settle()
    assert (seen, others) == ([], [b"1"])


def test_a_topic_that_is_retracted_is_known_to_nobody_who_comes_later(stage):
    worker = stage.worker()
    seen = watched(worker)
    stage.board.publish("t", b"1")
    stage.board.answer("t", lambda question: succeed(b"yes"))
    stage.settle()
    stage.board.retract("t")
    stage.board.retract("t")
    stage.settle()
    assert seen == [b"1"], "who watches keeps what it has"
    assert watched(worker) == []
    assert watched(stage.worker()) == []
    assert outcome(stage.board.asked("t", b"?"))[0].check(Unanswered)
    stage.board.publish("t", b"2")
    stage.settle()
    assert seen == [b"1", b"2"]


def test_one_that_cannot_read_a_value_does_not_keep_others_from_it(stage):
    worker = stage.worker()
    failures = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(WorkerBoard, "log", Witness(failures))
        worker.end.board.watch("t", lambda value: 1 / 0)
        seen = watched(worker)
        stage.board.publish("t", b"1")
        stage.settle()
    assert seen == [b"1"]
    assert failures == ["t"]


class Witness:
    """In place of a log: which topics failed."""

    def __init__(self, failures):
        self.failures = failures

    def failure(self, text, topic):
        self.failures.append(topic)


# -- values that are composed -----------------------------------------------------------------------------------------


def test_what_is_composed_is_told_to_those_who_come_later_and_when_renewed(stage):
    known = ["a"]
    first = stage.worker()
    stage.board.compose("t", lambda: "".join(known).encode())
    seen = watched(first)
    known.append("b")
    stage.settle()
    assert seen == []
    assert watched(stage.worker()) == [b"ab"]
    renewed = outcome(stage.board.renew("t"))
    assert renewed == []
    stage.settle()
    assert (seen, renewed) == ([b"ab"], [None])


@pytest.mark.parametrize("composing", [lambda: 1 / 0, lambda: b"x" * (LARGEST + 1)])
def test_what_cannot_be_composed_keeps_nobody_from_the_rest(stage, composing):
    failures = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Board, "log", Witness(failures))
        stage.board.compose("bad", composing)
        stage.board.compose("t", lambda: b"good")
        worker = stage.worker()
        assert outcome(stage.board.renew("bad")) == [None]
    assert watched(worker) == [b"good"]
    assert stage.children[0].state == "ready"
    assert failures == ["bad", "bad"]


# -- events -----------------------------------------------------------------------------------------------------------


def test_events_reach_who_listens_and_are_not_repeated(stage):
    first = stage.worker()
    heard = []
    end = first.end.board.listen("t", heard.append)
    told = outcome(stage.board.announce("t", b"1"))
    stage.settle()
    assert (heard, told) == ([b"1"], [None])
    later = stage.worker()
    late = []
    later.end.board.listen("t", late.append)
    stage.settle()
    end()
    stage.board.announce("t", b"2")
    stage.settle()
    assert (heard, late) == ([b"1"], [b"2"])


def test_telling_everybody_waits_for_those_who_are_there_and_not_for_the_dead(stage):
    stage.worker()
    slow = stage.worker()
    stage.yard.frozen = 1
    told = outcome(stage.board.announce("t", b"1"))
    stage.settle()
    assert told == []
    slow.kill()
    stage.settle()
    assert told == [None]
    assert outcome(Board().announce("t", b"1")) == [None], "nobody is there"


def test_what_a_worker_tells_reaches_the_supervisor(stage):
    worker = stage.worker()
    told = []
    stage.board.listen("t", told.append)
    worker.end.board.tell("t", b"1")
    worker.end.board.tell("unheard", b"2")
    stage.settle()
    assert told == [b"1"]


def test_what_a_worker_tells_and_nobody_can_read_harms_nobody(stage):
    worker = stage.worker()
    failures = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Board, "log", Witness(failures))
        stage.board.listen("t", lambda event: 1 / 0)
        worker.end.board.tell("t", b"1")
        stage.settle()
    assert failures == ["t"]
    assert stage.children[0].state == "ready"


def test_events_that_are_too_long_are_refused_where_they_begin(stage):
    worker = stage.worker()
    with pytest.raises(ValueError, match="8193 bytes"):
        stage.board.announce("t", b"x" * (LONGEST + 1))
    with pytest.raises(ValueError, match="8193 bytes"):
        worker.end.board.tell("t", b"x" * (LONGEST + 1))


# -- questions --------------------------------------------------------------------------------------------------------


def test_a_question_is_answered(stage):
    worker = stage.worker()
    later = Deferred()
    questions = []

    def answering(question):
        questions.append(question)
        return later

    stage.board.answer("t", answering)
    answered = outcome(worker.end.board.ask("t", b"?"))
    stage.settle()
    assert (questions, answered) == ([b"?"], [])
    later.callback(b"!")
    stage.settle()
    assert answered == [b"!"]


def raising(question):
    raise RuntimeError("no idea")


@pytest.mark.parametrize(
    ("answering", "why"),
    [
        (None, "nobody here knows of t"),
        (lambda question: fail(RuntimeError("not today")), "not today"),
        (lambda question: fail(RuntimeError("x" * 100_000)), "x" * 500),
        (lambda question: succeed(b"x" * (LONGEST + 1)), "an answer of 8193 bytes"),
        (raising, "RuntimeError: no idea"),
    ],
)
def test_a_question_without_an_answer_fails_and_the_worker_goes_on(stage, answering, why):
    worker = stage.worker()
    if answering is not None:
        stage.board.answer("t", answering)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Board, "log", Witness([]))
        (failure,) = settled(stage, worker.end.board.ask("t", b"?"))
    assert failure.check(NoAnswer)
    assert why in failure.getErrorMessage()
    assert len(failure.getErrorMessage()) < 1000
    assert stage.children[0].state == "ready"


def settled(stage, deferred):
    found = outcome(deferred)
    stage.settle()
    return found


def test_a_question_that_is_too_long_is_not_sent(stage):
    worker = stage.worker()
    (failure,) = outcome(worker.end.board.ask("t", b"x" * (LONGEST + 1)))
    assert failure.check(NoAnswer)


def test_an_answer_is_waited_for_only_so_long(stage):
    worker = stage.worker()
    later = Deferred()
    stage.board.answer("t", lambda question: later)
    answered = outcome(worker.end.board.ask("t", b"?"))
    stage.yard.advance(PATIENCE - 1)
    assert answered == []
    stage.yard.advance(1.5)
    assert answered[0].check(NoAnswer)
    later.callback(b"too late")
    stage.settle()
    assert len(answered) == 1


def test_without_a_supervisor_nothing_is_answered_and_nothing_told(stage):
    board = WorkerBoard(End(), stage.yard.clock)
    assert outcome(board.ask("t", b"?"))[0].check(NoAnswer)
    board.tell("t", b"1")


def test_a_question_that_waits_fails_when_the_supervisor_goes(stage):
    worker = stage.worker()
    stage.board.answer("t", lambda question: Deferred())
    answered = outcome(worker.end.board.ask("t", b"?"))
    stage.settle()
    worker.pump.clientIO.loseConnection()
    worker.end.connectionLost()
    assert answered[0].check(NoAnswer)
