"""What one worker knows of revocations, and whom it tells."""

import msgspec
import pytest
from twisted.logger import globalLogPublisher

from suuupra_gateway.auth import revocations as module
from suuupra_gateway.auth.revocations import EVERYTHING, TOPIC, Recent, Revocation, Revocations
from tests.auth.desk import Desk


class Stage:
    """A registry, its board, and a listener."""

    def __init__(self):
        self.board = Desk()
        self.revocations = Revocations(self.board)
        self.heard = []
        self.end = self.revocations.subscribe(self.heard.append)

    def event(self, *tags, at):
        self.board.tell(TOPIC, msgspec.json.encode(Revocation(tags, at)))

    def value(self, **tags):
        self.board.publish(TOPIC, msgspec.json.encode(Recent(tags)))


@pytest.fixture
def stage():
    return Stage()


@pytest.fixture
def log():
    events = []
    globalLogPublisher.addObserver(events.append)
    yield events
    globalLogPublisher.removeObserver(events.append)


def test_nothing_is_revoked_at_first(stage):
    assert not stage.revocations.revoked(("a",), 0.0)


def test_what_was_issued_before_a_revocation_is_revoked(stage):
    stage.event("a", "b", at=100.0)
    assert stage.revocations.revoked(("x", "b"), 99.0)
    assert stage.revocations.revoked(("a",), 100.0)
    assert not stage.revocations.revoked(("a",), 100.5)
    assert not stage.revocations.revoked(("x",), 0.0)
    assert not stage.revocations.revoked((), 0.0)


def test_listeners_are_told_until_they_end(stage):
    stage.event("a", "b", at=100.0)
    stage.end()
    stage.end()
    stage.event("c", at=100.0)
    assert stage.heard == [frozenset({"a", "b"})]


def test_who_begins_to_listen_hears_what_was_revoked_before(stage):
    stage.event("a", at=100.0)
    late = []
    stage.revocations.subscribe(late.append)
    assert late == [frozenset({"a"})]


def test_one_broken_listener_keeps_no_other_from_hearing(stage, log):
    broken = Revocations(stage.board)
    broken.subscribe(lambda tags: 1 / 0)
    after = []
    broken.subscribe(after.append)
    stage.event("a", at=1.0)
    assert after == [frozenset("a")]
    assert [event["log_format"] for event in log if event["log_level"].name == "critical"] == [
        "A revocation was not heeded"
    ]


def test_everything_is_doubted_but_nothing_is_revoked_by_a_star(stage):
    stage.event(EVERYTHING, at=100.0)
    assert stage.heard == [frozenset({EVERYTHING})]
    assert not stage.revocations.revoked((EVERYTHING, "a"), 0.0)


@pytest.mark.parametrize("event", [b"", b"{", b'{"tags": "a", "at": 1}', b"[]", b'{"tags": ["\xff"], "at": 1}'])
def test_after_an_event_that_nobody_can_read_everything_is_doubted(stage, event):
    stage.board.tell(TOPIC, event)
    assert stage.heard == [frozenset({EVERYTHING})]


def test_of_all_that_is_known_only_news_are_told(stage):
    stage.event("a", at=100.0)
    stage.value(a=100.0, b=50.0)
    stage.value(a=100.0, b=50.0)
    stage.value(a=99.0, b=51.0)
    assert stage.heard == [frozenset({"a"}), frozenset({"b"}), frozenset({"b"})]
    assert stage.revocations.revoked(("a",), 100.0)


def test_a_worker_that_comes_later_knows(stage):
    stage.value(a=100.0)
    late = Revocations(stage.board)
    assert late.revoked(("a",), 100.0)


def test_a_list_that_nobody_can_read_changes_nothing(stage):
    stage.event("a", at=100.0)
    stage.board.publish(TOPIC, b"{")
    assert stage.heard == [frozenset({"a"})]
    assert stage.revocations.revoked(("a",), 100.0)


def test_who_revokes_acts_at_once_and_tells_the_others(stage):
    other = Revocations(stage.board)
    stage.revocations.revoke(["a"], 100.0)
    assert stage.heard[0] == frozenset({"a"})
    assert other.revoked(("a",), 100.0)


def test_an_older_revocation_takes_none_back(stage):
    stage.event("a", at=100.0)
    stage.event("a", at=50.0)
    assert stage.revocations.revoked(("a",), 100.0)


def test_of_too_many_the_ones_told_of_first_are_forgotten(stage, monkeypatch):
    monkeypatch.setattr(module, "MOST", 3)
    for tag in "abc":
        stage.event(tag, at=100.0)
    stage.event("a", at=101.0)
    stage.event("d", at=100.0)
    assert [tag for tag in "abcd" if stage.revocations.revoked((tag,), 0.0)] == ["a", "c", "d"]
