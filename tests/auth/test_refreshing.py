"""Refreshing: one exchange, whoever wants it and whatever happens meanwhile."""

import msgspec
import pytest
from twisted.internet.defer import Deferred
from twisted.logger import LogLevel, globalLogPublisher

from suuupra_gateway.auth.fetch import FetchFailed
from suuupra_gateway.auth.oauth2 import BadAnswer, GrantRefused, ProtocolError, Unusable
from suuupra_gateway.auth.refreshing import COOL, Refresher, RefreshFailed
from suuupra_gateway.auth.seal import Ring
from suuupra_gateway.auth.session import Session, Ticket, Tokens
from suuupra_gateway.auth.sessionstore import LOCK, RedisSessions
from suuupra_gateway.config.model import SessionSpec
from suuupra_gateway.config.units import Secret
from suuupra_gateway.net.redis import StoreUnavailable
from tests.auth.portal import KEY, Portal


@pytest.fixture
def logged():
    found = []

    def observe(event):
        if event["log_level"] >= LogLevel.warn:
            found.append(event["log_format"].format(**event))

    globalLogPublisher.addObserver(observe)
    yield found
    globalLogPublisher.removeObserver(observe)


class Worker:
    """One process that refreshes; what its provider answers is in the test's hands."""

    def __init__(self, line):
        self.line = line
        self.portal = Portal(line)
        self.run = self.portal.run
        spec = SessionSpec(keys=(Secret(KEY),))
        self.store = RedisSessions(line.redis, Ring(spec.keys, "sessions"), "shop", spec, wall=self.portal.wall)
        self.ended = []
        self.asked: list[tuple[Session, Deferred]] = []
        self.refresher = Refresher(
            "shop", self.store, self.exchange, line.reactor, patience=10.0, ended=self.ended.append
        )

    def exchange(self, session):
        answer = Deferred()
        self.asked.append((session, answer))
        return answer

    def make(self, age=90.0, **more):
        """A session whose access token lives for 100 seconds."""
        ticket = Ticket.new()
        began = self.portal.wall() - age
        tokens = Tokens("a0", "r0", "i0", began, began + 100, **more)
        session = Session(ticket.id, "alice", {"sub": "alice"}, began, began + 9000, tokens=tokens)
        self.run(self.store.create(session, ticket))
        return session, ticket

    def refresh(self, ticket):
        """What comes of it, as soon as that is known."""
        results = []
        self.refresher.refresh(ticket).addBoth(results.append)
        return results

    def until(self, what):
        for _ in range(200):
            if what():
                return
            if not self.portal.pump():
                self.line.reactor.advance(0.05)
        raise AssertionError("it does not happen")

    def fresh(self, session):
        now = self.portal.wall()
        return msgspec.structs.replace(session, tokens=Tokens("a1", "r1", "i1", now, now + 100))

    def answer(self, with_):
        """Answer the oldest question."""
        self.until(lambda: self.asked)
        session, answer = self.asked.pop(0)
        if isinstance(with_, Exception):
            answer.errback(with_)
        else:
            answer.callback(self.fresh(session))


def test_a_session_that_is_due_is_refreshed_and_stored(lines):
    worker = Worker(lines())
    session, ticket = worker.make()
    results = worker.refresh(ticket)
    worker.answer("well")
    worker.until(lambda: results)
    assert results[0].tokens.access == "a1"
    assert worker.run(worker.store.read(ticket)) == results[0]
    assert worker.run(worker.store.lock(session.id)) is not None, "the lock was let go"


def test_a_thousand_who_want_it_cause_one_exchange(lines):
    worker = Worker(lines())
    _, ticket = worker.make()
    results = [worker.refresh(ticket) for _ in range(1000)]
    worker.answer("well")
    worker.until(lambda: all(results))
    assert {result[0].tokens.access for result in results} == {"a1"}
    assert worker.asked == []


def test_of_two_workers_one_exchanges_and_the_other_waits_for_it(lines):
    one, two = Worker(lines()), Worker(lines())
    _, ticket = one.make()
    first = one.refresh(ticket)
    one.until(lambda: one.asked)
    second = two.refresh(ticket)
    two.portal.pass_time(0.5, step=0.1)
    assert (two.asked, second) == ([], [])
    one.answer("well")
    one.until(lambda: first)
    two.until(lambda: second)
    assert first[0] == second[0]
    assert two.asked == []


def test_who_comes_too_late_exchanges_nothing(lines):
    """Between finding it due and having the lock, somebody else was faster."""
    worker = Worker(lines())
    session, ticket = worker.make()
    worker.run(worker.store.write(worker.fresh(session), ticket))
    results = worker.refresh(ticket)
    worker.until(lambda: results)
    assert results[0].tokens.access == "a1"
    assert worker.asked == []
    assert worker.run(worker.store.lock(session.id)) is not None


@pytest.mark.parametrize("tokens", [None, Tokens("a", "", "i", 1.0, 2.0)])
def test_what_cannot_be_refreshed_is_left_as_it_is(lines, tokens):
    worker = Worker(lines())
    session, ticket = worker.make()
    worker.run(worker.store.write(msgspec.structs.replace(session, tokens=tokens), ticket))
    results = worker.refresh(ticket)
    worker.until(lambda: results)
    assert results[0].tokens == tokens
    assert worker.asked == []


def test_the_lock_is_renewed_for_as_long_as_the_exchange_takes(lines, server):
    """The lock of others ends after ten seconds; a provider may take longer."""
    worker, other = Worker(lines()), Worker(lines())
    session, ticket = worker.make()
    results = worker.refresh(ticket)
    worker.until(lambda: worker.asked)
    key = f"t:lock:shop:{session.id}"
    for _ in range(5):
        server.ask("PEXPIRE", key, "3500")
        worker.portal.pass_time(3.0)
        assert int(server.ask("PTTL", key)[1:]) > (LOCK - 1) * 1000
    assert other.run(other.store.lock(session.id)) is None
    worker.answer("well")
    worker.until(lambda: results)
    assert results[0].tokens.access == "a1"
    assert not [call for call in worker.line.reactor.getDelayedCalls() if "LoopingCall" in str(call)]


def test_a_lock_that_could_not_be_renewed_does_not_undo_the_exchange(lines):
    worker = Worker(lines())
    _, ticket = worker.make()
    results = worker.refresh(ticket)
    worker.until(lambda: worker.asked)
    worker.line.cut()
    worker.portal.pass_time(0.2, step=0.1)
    worker.line.connect()
    worker.portal.pass_time(4.0)
    worker.answer("well")
    worker.until(lambda: results)
    assert results[0].tokens.access == "a1"


# -- no ---------------------------------------------------------------------------------------------------------------


def test_a_refused_refresh_token_ends_the_session(lines):
    worker = Worker(lines())
    session, ticket = worker.make()
    results = worker.refresh(ticket)
    worker.answer(GrantRefused("invalid_grant"))
    worker.until(lambda: results)
    assert results == [None]
    assert worker.ended == [session]
    assert worker.run(worker.store.read(ticket)) is None


def test_unless_somebody_else_has_refreshed_it_meanwhile(lines):
    """The lock was lost, and whoever had it next was faster."""
    worker = Worker(lines())
    session, ticket = worker.make()
    results = worker.refresh(ticket)
    worker.until(lambda: worker.asked)
    other = worker.fresh(session)
    worker.run(worker.store.write(other, ticket))
    worker.answer(GrantRefused("invalid_grant"))
    worker.until(lambda: results)
    assert results == [other]
    assert worker.ended == []


def test_an_answer_about_somebody_else_ends_the_session(lines, logged):
    worker = Worker(lines())
    _, ticket = worker.make()
    results = worker.refresh(ticket)
    worker.answer(ProtocolError("bad_id_token", "another sub after a refresh"))
    worker.until(lambda: results)
    assert results == [None]
    assert any("another sub" in line for line in logged)


def test_a_session_that_was_ended_meanwhile_stays_ended(lines):
    """Somebody logs out while the provider is asked: the new tokens are of no use to anybody."""
    worker = Worker(lines())
    session, ticket = worker.make()
    results = worker.refresh(ticket)
    worker.until(lambda: worker.asked)
    worker.run(worker.store.delete(session))
    worker.answer("well")
    worker.until(lambda: results)
    assert results == [None]
    assert [each.tokens.refresh for each in worker.ended] == ["r1"]
    assert worker.run(worker.store.read(ticket)) is None


def test_a_session_that_is_gone_is_not_refreshed(lines):
    worker = Worker(lines())
    results = worker.refresh(Ticket.new())
    worker.until(lambda: results)
    assert results == [None]
    assert worker.asked == []


def test_nor_one_that_ended_while_somebody_else_refreshed_it(lines):
    worker = Worker(lines())
    session, ticket = worker.make()
    assert worker.run(worker.store.lock(session.id)) is not None
    worker.run(worker.store.delete(session))
    results = worker.refresh(ticket)
    worker.until(lambda: results)
    assert results == [None]


# -- perhaps ----------------------------------------------------------------------------------------------------------

FAILURES = [FetchFailed("no answer", sent=True), BadAnswer("bad_token_response"), Unusable("no metadata")]


def failure_of(results):
    return results[0].value


@pytest.mark.parametrize("why", FAILURES, ids=repr)
def test_a_provider_that_fails_leaves_the_session_as_it_was(lines, why):
    worker = Worker(lines())
    session, ticket = worker.make()
    results = worker.refresh(ticket)
    worker.answer(why)
    worker.until(lambda: results)
    assert isinstance(failure_of(results), RefreshFailed)
    assert worker.run(worker.store.read(ticket)) == session
    assert worker.ended == []


def test_nobody_tries_again_at_once_neither_here_nor_elsewhere(lines, server):
    worker, other = Worker(lines()), Worker(lines())
    session, ticket = worker.make()
    results = worker.refresh(ticket)
    worker.answer(FAILURES[0])
    worker.until(lambda: results)
    assert isinstance(failure_of(worker.refresh(ticket)), RefreshFailed)
    elsewhere = other.refresh(ticket)
    other.until(lambda: elsewhere)
    assert isinstance(failure_of(elsewhere), RefreshFailed)
    assert (worker.asked, other.asked) == ([], [])
    server.ask("DEL", f"t:lock:shop:{session.id}")
    worker.portal.pass_time(COOL)
    again = worker.refresh(ticket)
    worker.answer("well")
    worker.until(lambda: again)
    assert again[0].tokens.access == "a1"


def test_a_provider_that_refuses_us_is_said_aloud_and_nobody_loses_a_session(lines, logged):
    worker = Worker(lines())
    session, ticket = worker.make()
    results = worker.refresh(ticket)
    worker.answer(GrantRefused("invalid_client"))
    worker.until(lambda: results)
    assert isinstance(failure_of(results), RefreshFailed)
    assert any("invalid_client" in line for line in logged)
    assert worker.run(worker.store.read(ticket)) == session


def test_a_provider_that_fails_often_is_asked_by_one_at_a_time(lines):
    worker = Worker(lines())
    tickets = [worker.make()[1] for _ in range(12)]
    while not worker.refresher.lost:
        results = worker.refresh(tickets.pop())
        worker.answer(FAILURES[0])
        worker.until(lambda results=results: results)
    assert isinstance(failure_of(worker.refresh(tickets.pop())), RefreshFailed), "not yet"
    worker.portal.pass_time(2.0)
    probe = worker.refresh(tickets.pop())
    worker.until(lambda: worker.asked)
    assert isinstance(failure_of(worker.refresh(tickets.pop())), RefreshFailed), "one is enough"
    worker.answer("well")
    worker.until(lambda: probe)
    assert not worker.refresher.lost
    last = worker.refresh(tickets.pop())
    worker.answer("well")
    worker.until(lambda: last)
    assert last[0].tokens.access == "a1"


def test_somebody_who_does_not_come_to_an_end_is_not_waited_for(lines):
    worker, other = Worker(lines()), Worker(lines())
    _, ticket = worker.make()
    worker.refresh(ticket)
    worker.until(lambda: worker.asked)
    results = other.refresh(ticket)
    other.portal.pass_time(11.0, step=0.1)
    other.until(lambda: results)
    assert isinstance(failure_of(results), RefreshFailed)


def test_without_a_store_nothing_is_refreshed(lines):
    worker = Worker(lines())
    _, ticket = worker.make()
    worker.line.cut()
    results = worker.refresh(ticket)
    worker.until(lambda: results)
    assert isinstance(failure_of(results), StoreUnavailable)


def test_only_so_many_failures_are_remembered(lines, monkeypatch):
    monkeypatch.setattr("suuupra_gateway.auth.refreshing._RESTING", 2)
    worker = Worker(lines())
    worker.line.cut()
    first = Ticket.new()
    for ticket in (first, Ticket.new(), Ticket.new()):
        results = worker.refresh(ticket)
        worker.until(lambda results=results: results)
    again = worker.refresh(first)
    worker.until(lambda: again)
    assert isinstance(failure_of(again), StoreUnavailable), "it was forgotten"


# -- a store that goes away at the worst moment -----------------------------------------------------------------------


def test_what_was_exchanged_is_stored_as_soon_as_that_can_be(lines, logged):
    """The old refresh token is no good any more, so the new one must not be lost."""
    worker = Worker(lines())
    _, ticket = worker.make()
    results = worker.refresh(ticket)
    worker.until(lambda: worker.asked)
    worker.line.cut()
    worker.answer("well")
    worker.until(lambda: results)
    assert results[0].tokens.access == "a1", "nobody waits for the store"
    assert any("not stored yet" in line for line in logged)
    worker.portal.pass_time(5.0)
    worker.line.connect()
    worker.portal.pass_time(2.0)
    assert worker.run(worker.store.read(ticket)) == results[0]


def test_but_not_for_ever(lines, logged):
    worker = Worker(lines())
    _, ticket = worker.make()
    results = worker.refresh(ticket)
    worker.until(lambda: worker.asked)
    worker.line.cut()
    worker.answer("well")
    worker.until(lambda: results)
    worker.portal.pass_time(70.0)
    assert any("is lost" in line for line in logged)
    worker.run(worker.refresher.stop())


def test_a_lock_that_cannot_be_let_go_ends_by_itself(lines):
    worker = Worker(lines())
    _, ticket = worker.make()
    results = worker.refresh(ticket)
    worker.until(lambda: worker.asked)
    worker.line.cut()
    worker.answer(FAILURES[0])
    worker.until(lambda: results)
    assert isinstance(failure_of(results), RefreshFailed)


def test_stopping_waits_for_what_is_on_its_way(lines):
    worker = Worker(lines())
    _, ticket = worker.make()
    results = worker.refresh(ticket)
    worker.until(lambda: worker.asked)
    over = []
    worker.refresher.stop().addCallback(over.append)
    assert over == []
    worker.answer("well")
    worker.until(lambda: over)
    assert results[0].tokens.access == "a1"


def test_one_who_does_not_wait_any_more_disturbs_nobody(lines):
    worker = Worker(lines())
    _, ticket = worker.make()
    gone = worker.refresher.refresh(ticket)
    gone.addErrback(lambda failure: None)
    results = worker.refresh(ticket)
    gone.cancel()
    worker.answer("well")
    worker.until(lambda: results)
    assert results[0].tokens.access == "a1"
