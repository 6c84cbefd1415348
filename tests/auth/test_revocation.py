"""Hearing of revocations by looking at a store; with Redis see ``tests/contract/keystore_scenarios.py``."""

import msgspec
import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import globalLogPublisher

from suuupra_gateway.auth.revocation import RevocationFeed
from suuupra_gateway.auth.revocations import Revocation
from suuupra_gateway.net.redis_errors import StoreUnavailable
from tests.keystores import MemoryKeyStore

NOW = 1_800_000_000.0


class Stage:
    """A feed, its store, and what it has announced; seconds pass on one clock."""

    def __init__(self, store=None, poll=0.5):
        self.clock = Clock()
        self.store = store or MemoryKeyStore()
        self.heard = []
        self.feed = RevocationFeed(self.store, self.clock, self.announce, poll=poll, wall=self.wall)

    def wall(self):
        return NOW + self.clock.seconds()

    def announce(self, event):
        revocation = msgspec.json.decode(event, type=Revocation)
        self.heard += [(tag, revocation.at - NOW) for tag in revocation.tags]

    def revoke(self, *tags, at=None):
        self.store.revoke(tags, self.wall() if at is None else NOW + at)

    def news(self):
        heard, self.heard = self.heard, []
        return heard


@pytest.fixture
def stage():
    made = Stage()
    made.feed.start()
    return made


@pytest.fixture
def log():
    events = []
    globalLogPublisher.addObserver(events.append)
    yield events
    globalLogPublisher.removeObserver(events.append)


def test_what_was_revoked_within_the_last_day_is_told_at_the_start():
    stage = Stage()
    stage.revoke("key:old", at=-86000)
    stage.revoke("key:young", at=-1)
    assert not stage.feed.live
    stage.feed.start()
    assert stage.news() == [("key:old", -86000), ("key:young", -1)]
    assert stage.feed.live


def test_what_is_revoked_is_told_once_and_within_the_poll(stage):
    stage.clock.advance(0.5)
    stage.revoke("key:a", "key:b")
    assert stage.news() == []
    stage.clock.advance(0.5)
    assert stage.news() == [("key:a", 0.5), ("key:b", 0.5)]
    stage.clock.pump([0.5] * 20)
    assert stage.news() == []


def test_what_is_revoked_again_is_told_again(stage):
    for second in (1, 2):
        stage.revoke("key:a", at=second)
        stage.clock.advance(0.5)
        assert stage.news() == [("key:a", second)]


def test_clocks_of_machines_may_differ_by_a_minute(stage):
    stage.revoke("key:fast", at=59)
    stage.clock.advance(0.5)
    stage.revoke("key:slow", at=-59)
    stage.clock.advance(0.5)
    assert stage.news() == [("key:fast", 59), ("key:slow", -59)]


def test_what_is_remembered_of_the_past_does_not_grow(stage):
    for second in range(2000):
        stage.revoke(f"key:{second}", at=second)
        stage.clock.advance(1)
    assert len(stage.news()) == 2000
    assert len(stage.feed._heard) < 250
    assert stage.store.asked < 4 * 2000 + 10


def test_a_store_that_fails_is_asked_again_and_told_of_once(stage, log):
    stage.clock.advance(0.5)
    stage.store.broken = True
    stage.clock.pump([0.5] * 10)
    assert not stage.feed.live
    warned = [event["log_format"] for event in log if event["log_level"].name == "warn"]
    assert warned == ["Revocations cannot be looked for: {why}"]
    stage.store.broken = False
    stage.revoke("key:a", at=2)
    stage.clock.advance(0.5)
    assert stage.feed.live
    assert stage.news() == [("key:a", 2)]


def test_after_more_than_a_day_everything_is_asked_anew(stage):
    stage.store.broken = True
    for _ in range(86390):
        stage.clock.advance(1)
    stage.store.broken = False
    stage.clock.advance(1)
    assert stage.news() == []
    stage.store.broken = True
    for _ in range(86410):
        stage.clock.advance(1)
    stage.store.broken = False
    stage.clock.advance(1)
    assert [tag for tag, _ in stage.news()] == ["*"]


def test_nothing_is_told_after_the_end(stage):
    stage.revoke("key:a", at=1)
    stage.feed.stop()
    stage.clock.advance(10)
    assert stage.news() == []
    assert stage.clock.getDelayedCalls() == []
    stage.feed.stop()


class SlowKeyStore(MemoryKeyStore):
    """Answers about revocations when the test says so."""

    def revocations(self, since):
        self.answer = Deferred()
        return self.answer


@pytest.mark.parametrize("answer", [{"key:a": NOW}, StoreUnavailable()])
def test_an_answer_after_the_end_is_not_heeded(answer):
    stage = Stage(SlowKeyStore())
    stage.feed.start()
    stage.feed.stop()
    stage.store.answer.callback(answer) if isinstance(answer, dict) else stage.store.answer.errback(answer)
    assert stage.news() == []
    assert stage.clock.getDelayedCalls() == []


def test_what_was_not_passed_on_is_tried_again(log):
    stage = Stage()
    stage.revoke("key:a", at=0)
    stage.revoke("key:b", at=0)
    broken = ["key:b"]

    def announce(event):
        if broken and broken[0].encode() in event:
            broken.clear()
            raise ZeroDivisionError
        stage.announce(event)

    stage.feed._announce = announce
    stage.feed.start()
    assert not stage.feed.live
    assert stage.news() == [("key:a", 0)]
    stage.clock.advance(0.5)
    assert stage.feed.live
    assert stage.news() == [("key:b", 0)]
    assert [event["log_format"] for event in log if event["log_level"].name == "critical"] == [
        "Revocations are not passed on"
    ]
