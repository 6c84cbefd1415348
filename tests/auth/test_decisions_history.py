"""
Decisions under any history: two processes of one host, a provider that comes and goes, changes its mind and answers late,
revocations and time. What must hold always is checked on every answer, against a plain account of what happened.
"""

from __future__ import annotations

import shutil
import tempfile

import attrs
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from twisted.internet.defer import Deferred

from suuupra_gateway.auth.decisions import EVERYTHING, AskFailed, Decision, Decisions, Found
from suuupra_gateway.auth.principal import Undecided
from suuupra_gateway.auth.shared import Shared
from suuupra_gateway.config.model import CacheSpec
from suuupra_gateway.config.units import Duration
from tests.auth.clock import Time

SPEC = CacheSpec(
    fresh=Duration(30.0), revalidate=Duration(20.0), stale_if_error=Duration(100.0), deny=Duration(5.0), entries=100
)
LIFE = 150.0
CALLERS = (b"ada", b"bob")

callers = st.sampled_from(CALLERS)
workers = st.integers(0, 1)


@attrs.define(eq=False)
class Answer:
    """One answer of the provider that reached a worker."""

    allow: bool
    asked: float
    expires: float
    worker: int
    believed: bool
    """Whether it was not overtaken by a revocation while it was on its way."""


@attrs.define(eq=False)
class Question:
    """One on its way."""

    caller: bytes
    worker: int
    asked: float
    reply: Deferred


@attrs.define(eq=False)
class Worker:
    decisions: Decisions
    failed: bool = False
    """Whether the last question it asked got no answer."""
    told_off: bool = False


class History(RuleBasedStateMachine):
    """See above."""

    def __init__(self):
        super().__init__()
        self.directory = tempfile.mkdtemp()
        self.shared = Shared.open(self.directory)
        self.time = Time()
        self.workers = [self.worker(), self.worker()]
        self.up = True
        self.rude = False
        """Whether it tells us off instead of answering."""
        self.hanging = False
        self.allowed = dict.fromkeys(CALLERS, True)
        self.lifetime = dict.fromkeys(CALLERS, 1e9)
        self.answers = {caller: [] for caller in CALLERS}
        self.revoked = dict.fromkeys(CALLERS, -1.0)
        self.doubted = -1.0
        self.questions = []
        self.waiting = []

    def worker(self):
        return Worker(
            Decisions(
                "corp",
                SPEC,
                self.shared,
                decode=lambda decision: decision.value,
                wall=self.time.wall,
                monotonic=self.time.monotonic,
            )
        )

    def teardown(self):
        self.shared.close()
        shutil.rmtree(self.directory)

    # -- the provider ---------------------------------------------------------------------------------------------------------

    def ask(self, caller, worker):
        question = Question(caller, worker, self.time.now, Deferred())
        if self.hanging:
            self.questions.append(question)
        else:
            self.reply(question)
        return question.reply

    def reply(self, question):
        worker = self.workers[question.worker]
        if not self.up:
            worker.failed, worker.told_off = True, self.rude
            question.reply.errback(AskFailed("down", stale=not self.rude))
            return
        caller = question.caller
        believed = question.asked > max(self.doubted, self.revoked[caller])  # else it is asked again
        if believed:
            worker.failed = worker.told_off = False
        expires = self.time.wall() + self.lifetime[caller]
        answer = Answer(self.allowed[caller], question.asked, expires, question.worker, believed)
        self.answers[caller].append(answer)
        value = b"%d" % len(self.answers[caller])
        question.reply.callback(Decision(answer.allow, value, expires, (caller.decode(),) if answer.allow else ()))

    @rule(up=st.booleans(), hanging=st.booleans(), rude=st.sampled_from([False, False, True]))
    def comes_or_goes(self, up, hanging, rude):
        self.up, self.hanging, self.rude = up, hanging, rude

    @precondition(lambda self: self.questions)
    @rule(place=st.integers(0, 5))
    def answers_a_late_question(self, place):
        self.reply(self.questions.pop(place % len(self.questions)))
        self.shared.flush(10)

    @rule(caller=callers, allow=st.booleans())
    def changes_its_mind(self, caller, allow):
        self.allowed[caller] = allow

    @rule(caller=callers, seconds=st.sampled_from([3.0, 40.0, 1e9]))
    def makes_others_last(self, caller, seconds):
        self.lifetime[caller] = seconds

    # -- the world ------------------------------------------------------------------------------------------------------------

    @rule(seconds=st.sampled_from([0.25, 1.0, 4.0, 12.0, 31.0, 70.0]))
    def time_passes(self, seconds):
        self.time.advance(seconds)

    @rule(caller=callers)
    def somebody_is_revoked(self, caller):
        self.revoked[caller] = self.time.now
        for worker in self.workers:
            worker.decisions.revoke(frozenset({caller.decode()}))
        self.shared.flush(10)
        self.time.advance(0.001)

    @rule()
    def news_may_have_been_missed(self):
        self.doubted = self.time.now
        for worker in self.workers:
            worker.decisions.revoke(frozenset({EVERYTHING}))
        self.shared.flush(10)
        self.time.advance(0.001)

    @rule(number=workers)
    def a_worker_is_killed_and_started_again(self, number):
        self.workers[number] = self.worker()
        self.questions = [question for question in self.questions if question.worker != number]
        self.waiting = [each for each in self.waiting if each[1] != number]

    # -- requests -------------------------------------------------------------------------------------------------------------

    @rule(caller=callers, number=workers, stale_allowed=st.booleans(), times=st.integers(1, 4))
    def requests(self, caller, number, stale_allowed, times):
        for _ in range(times):
            self.request(caller, number, stale_allowed)

    @rule(number=workers, stale_allowed=st.booleans())
    def everybody_comes(self, number, stale_allowed):
        for caller in CALLERS:
            self.request(caller, number, stale_allowed)

    def request(self, caller, number, stale_allowed):
        decisions = self.workers[number].decisions
        # Who was told off when a request came does not use old decisions for it, whatever asking then brings.
        live = self.live(caller)
        will_do = stale_allowed and not self.workers[number].told_off
        found = decisions.look(decisions.key(caller), lambda: self.ask(caller, number), stale_allowed=stale_allowed)
        self.shared.flush(10)
        if isinstance(found, Deferred):
            if not found.called:
                self.waiting.append((found, number, caller, will_do, self.workers[number]))
                return
            found = found.result
        self.check(found, caller, number, will_do, live)

    @invariant()
    def who_waited_got_a_right_answer(self):
        for each in [each for each in self.waiting if each[0].called]:
            self.waiting.remove(each)
            found, number, caller, stale_allowed, _ = each
            self.check(found.result, caller, number, stale_allowed, self.live(caller))
        assert not self.waiting or self.questions, "somebody waits for nothing"

    # -- what must hold -------------------------------------------------------------------------------------------------------

    def live(self, caller):
        """Whether the host's latest decision lets the caller in, for a while yet."""
        believed = [answer for answer in self.answers[caller] if answer.believed]
        answers = sorted(believed, key=lambda answer: answer.asked)
        if not answers:
            return False
        last = [answer for answer in answers if answer.asked == answers[-1].asked]
        return all(self.holds(caller, answer) for answer in last)

    def holds(self, caller, answer):
        return (
            answer.allow
            and answer.asked > self.revoked[caller]
            and self.time.now < answer.asked + LIFE
            and self.time.wall() < answer.expires
        )

    def check(self, found, caller, number, stale_allowed, live):
        worker = self.workers[number]
        if isinstance(found, Undecided):
            if "faster than it is decided" in found.detail:
                return
            # Only who fails to answer, or has not answered lately, keeps anybody out; and nobody with a live decision.
            assert worker.failed or not self.up
            assert not (live and stale_allowed and not worker.told_off), "somebody with a live decision was refused"
            return
        assert isinstance(found, Found)
        if not found.decision.allow:
            if found.source != "live":
                assert found.source == "fresh"
                assert found.age < 5.0
            return
        answer = self.answers[caller][int(found.made) - 1]
        assert answer.allow, "somebody was let in who never was"
        assert answer.asked > self.revoked[caller], "a revoked decision was used"
        assert self.time.wall() <= answer.expires, "an expired decision was used"
        if found.source == "live":
            return
        age = self.time.now - answer.asked
        assert abs(found.age - age) < 1e-6
        doubted = self.doubted >= answer.asked
        if found.source == "fresh":
            assert age < 30.0
            assert not doubted
        elif found.source == "revalidate":
            assert 30.0 <= age < 50.0
            assert not doubted
        else:
            assert found.source == "stale"
            assert age < LIFE
            assert stale_allowed, "somebody got a stale decision who must not"
            assert not worker.told_off, "a stale decision was used that is not ours to use"
            assert age >= 50.0 or doubted
            assert worker.failed or not self.up, "a stale decision was used though there are answers"


TestHistory = History.TestCase
TestHistory.settings = settings(max_examples=400, stateful_step_count=50, deadline=None)
