"""Who is asked when, and what becomes of those who wait; any history at all is in `test_decisions_history`."""

import pytest
from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import capturedLogs, formatEvent

from suuupra_gateway import metrics
from suuupra_gateway.auth import decisions as module
from suuupra_gateway.auth.decisions import EVERYTHING, AskFailed, Decision, Decisions, Found, Wishes
from suuupra_gateway.auth.principal import Undecided
from suuupra_gateway.auth.shared import Shared
from suuupra_gateway.config.model import CacheSpec
from tests.auth.clock import Time

YES = Decision(True, b"yes", tags=("subject:ada",))
NO = Decision(False, b"no")


class Provider:
    """Is asked, and answers when a test says so."""

    def __init__(self):
        self.questions = []
        self.asked = 0
        self.answer = None

    def __call__(self):
        self.asked += 1
        question = Deferred()
        if self.answer is None:
            self.questions.append(question)
        elif isinstance(self.answer, Exception):
            question.errback(self.answer)
        else:
            question.callback(self.answer)
        return question

    def say(self, answer):
        question = self.questions.pop(0)
        if isinstance(answer, Exception):
            question.errback(answer)
        else:
            question.callback(answer)


@pytest.fixture
def time():
    return Time()


@pytest.fixture
def provider():
    return Provider()


@pytest.fixture
def decisions(time):
    return Decisions(
        "corp", CacheSpec(), None, decode=lambda decision: [decision.value], wall=time.wall, monotonic=time.monotonic
    )


KEY = b"k" * 16
ANOTHER = b"a" * 16
DOWN = AskFailed("connection refused")


def look(decisions, provider, key=KEY, **more):
    """Source and value, the reason why there is none, or what is waited for."""
    found = decisions.look(key, provider, **more)
    return outcome(found)


def outcome(found):
    if isinstance(found, Deferred):
        if not found.called:
            return found
        found = found.result
    if isinstance(found, Found):
        return found.source, found.made[0]
    assert isinstance(found, Undecided)
    return found.reason


def lose(decisions, provider, key=b"somebody else..."):
    """Let questions fail until there is a pause."""
    before, provider.answer = provider.answer, DOWN
    for _ in range(3):
        look(decisions, provider, key)
    provider.answer = before


def sample(decisions, metric, **labels):
    wanted = (("provider", "corp"), *labels.items())
    (found,) = [each.value for each in decisions.samples() if each.name == metric.name and each.labels == wanted]
    return found


def test_the_first_look_asks_and_further_ones_remember(decisions, provider, time):
    provider.answer = YES
    assert look(decisions, provider) == ("live", b"yes")
    time.advance(29)
    found = decisions.look(KEY, provider)
    assert (found.source, found.age, found.made) == ("fresh", 29.0, [b"yes"])
    assert provider.asked == 1


def test_what_is_made_of_a_decision_is_the_same_thing_for_all(decisions, provider):
    provider.answer = YES
    live = decisions.look(KEY, provider).result
    assert decisions.look(KEY, provider).made is live.made
    assert decisions.look(KEY, provider).decision is live.decision


def test_many_who_wait_ask_once(decisions, provider):
    waiting = [look(decisions, provider) for _ in range(50)]
    assert provider.asked == 1
    provider.say(YES)
    assert {outcome(each) for each in waiting} == {("live", b"yes")}


def test_one_who_leaves_takes_nobody_along(decisions, provider):
    one, two = look(decisions, provider), look(decisions, provider)
    left = []
    one.addErrback(lambda failure: left.append(failure.type))
    one.cancel()
    assert left == [CancelledError]
    provider.say(YES)
    assert outcome(two) == ("live", b"yes")
    assert look(decisions, provider) == ("fresh", b"yes")


def test_in_the_second_clock_nobody_waits_and_one_asks(decisions, provider, time):
    provider.answer = YES
    look(decisions, provider)
    provider.answer = None
    time.advance(30)
    assert [look(decisions, provider) for _ in range(5)] == [("revalidate", b"yes")] * 5
    assert provider.asked == 2
    provider.say(Decision(True, b"newer"))
    assert look(decisions, provider) == ("fresh", b"newer")


def test_in_the_third_clock_everybody_waits_while_asking_may_succeed(decisions, provider, time):
    provider.answer = YES
    look(decisions, provider)
    provider.answer = None
    time.advance(61)
    one, two = look(decisions, provider), look(decisions, provider)
    assert not one.called
    provider.say(DOWN)
    assert outcome(one) == outcome(two) == ("stale", b"yes")
    waiting = look(decisions, provider)
    provider.say(NO)
    assert outcome(waiting) == ("live", b"no")
    assert look(decisions, provider) == ("fresh", b"no")


def test_stale_decisions_are_for_those_who_may_have_them(decisions, provider, time):
    provider.answer = YES
    look(decisions, provider)
    provider.answer = None
    time.advance(61)
    strict, lenient = look(decisions, provider, stale_allowed=False), look(decisions, provider)
    provider.say(DOWN)
    assert outcome(strict) == "provider_unavailable"
    assert outcome(lenient) == ("stale", b"yes")


def test_whoever_tells_us_off_is_no_reason_for_stale_decisions(decisions, provider, time):
    provider.answer = YES
    look(decisions, provider)
    time.advance(61)
    provider.answer = AskFailed("401", stale=False)
    assert look(decisions, provider) == "provider_unavailable"


def test_without_a_decision_nobody_gets_in_while_nobody_can_be_asked(decisions, provider):
    provider.answer = DOWN
    found = decisions.look(KEY, provider).result
    assert found == Undecided("provider_unavailable", "corp: connection refused", 1.0)


def test_whoever_tells_us_off_keeps_doing_so_while_asking_pauses(decisions, provider, time):
    provider.answer = YES
    look(decisions, provider)
    time.advance(61)
    provider.answer = AskFailed("401", stale=False)
    assert {look(decisions, provider) for _ in range(5)} == {"provider_unavailable"}
    assert provider.asked == 4
    time.advance(1)
    provider.answer = DOWN
    assert look(decisions, provider) == "provider_unavailable"
    assert look(decisions, provider) == ("stale", b"yes")


def test_a_refusal_is_remembered_shortly_and_never_stale(decisions, provider, time):
    provider.answer = NO
    assert look(decisions, provider) == ("live", b"no")
    time.advance(4.9)
    assert look(decisions, provider) == ("fresh", b"no")
    time.advance(0.1)
    provider.answer = DOWN
    assert look(decisions, provider) == "provider_unavailable"
    assert provider.asked == 2


def test_after_some_failures_asking_pauses(decisions, provider, time):
    lose(decisions, provider)
    assert provider.asked == 3
    found = decisions.look(KEY, provider)
    assert found == Undecided("provider_unavailable", "corp: no answer lately", 1.0)
    assert provider.asked == 3
    time.advance(1)
    provider.answer = YES
    assert look(decisions, provider) == ("live", b"yes")


def test_questions_that_are_at_fault_themselves_begin_no_pause(decisions, provider, time):
    """Else whoever knows such a question could keep everybody else out."""
    provider.answer = AskFailed("400", alone=True)
    for number in range(20):
        look(decisions, provider, decisions.key(b"%d" % number))
    provider.answer = YES
    assert look(decisions, provider) == ("live", b"yes")


def test_one_at_a_time_tries_again(decisions, provider, time):
    lose(decisions, provider)
    time.advance(1)
    trying = look(decisions, provider)
    assert look(decisions, provider, ANOTHER) == "provider_unavailable"
    assert provider.asked == 4
    joined = look(decisions, provider)
    provider.say(DOWN)
    assert outcome(trying) == outcome(joined) == "provider_unavailable"
    found = decisions.look(KEY, provider)
    assert found.retry_after == 2.0
    time.advance(2)
    trying = look(decisions, provider)
    provider.say(YES)
    assert outcome(trying) == ("live", b"yes")
    look(decisions, provider, ANOTHER)
    look(decisions, provider, b"third")
    assert provider.asked == 7


def test_during_an_outage_nobody_with_a_decision_waits(decisions, provider, time):
    provider.answer = YES
    look(decisions, provider)
    provider.answer = None
    time.advance(61)
    lose(decisions, provider)
    assert look(decisions, provider) == ("stale", b"yes")
    assert provider.asked == 4
    time.advance(1)
    # One tries again, behind a request that has its answer.
    assert [look(decisions, provider) for _ in range(3)] == [("stale", b"yes")] * 3
    assert provider.asked == 5
    provider.say(Decision(True, b"newer"))
    assert look(decisions, provider) == ("fresh", b"newer")


def test_whoever_may_not_have_it_stale_waits_for_the_attempt_or_is_told(decisions, provider, time):
    provider.answer = YES
    look(decisions, provider)
    provider.answer = None
    time.advance(61)
    lose(decisions, provider)
    assert look(decisions, provider, stale_allowed=False) == "provider_unavailable"
    time.advance(1)
    strict = look(decisions, provider, stale_allowed=False)
    assert look(decisions, provider) == ("stale", b"yes")
    provider.say(YES)
    assert outcome(strict) == ("live", b"yes")


def test_questions_have_a_bound(decisions, provider, time, monkeypatch):
    monkeypatch.setattr(module, "MOST_ASKED", 2)
    provider.answer = YES
    look(decisions, provider)
    provider.answer = None
    look(decisions, provider, b"1")
    joined = look(decisions, provider, b"2")
    assert decisions.look(b"3", provider).detail == "corp: too many questions at once"
    assert decisions.once(provider).detail == "corp: too many questions at once"
    assert not look(decisions, provider, b"2").called
    time.advance(30)
    assert look(decisions, provider) == ("revalidate", b"yes")
    time.advance(31)
    assert look(decisions, provider) == ("stale", b"yes")
    assert look(decisions, provider, stale_allowed=False) == "provider_unavailable"
    assert provider.asked == 3
    provider.say(NO)
    provider.say(NO)
    assert outcome(joined) == ("live", b"no")
    assert not look(decisions, provider, b"3").called


def test_a_bug_is_everybodys(decisions, provider, time):
    waiting = [look(decisions, provider) for _ in range(2)]
    waiting[0].addErrback(lambda failure: None)
    waiting[0].cancel()
    with capturedLogs() as events:
        provider.say(ZeroDivisionError())
    assert waiting[1].result.type is ZeroDivisionError
    waiting[1].addErrback(lambda failure: None)
    assert formatEvent(events[0]) == "corp could not be asked"
    provider.answer = YES
    assert look(decisions, provider) == ("live", b"yes")


def test_a_bug_of_the_one_who_tries_again_does_not_stop_further_attempts(decisions, provider, time):
    lose(decisions, provider)
    time.advance(1)
    look(decisions, provider).addErrback(lambda failure: None)
    provider.say(ZeroDivisionError())
    provider.answer = YES
    assert look(decisions, provider) == ("live", b"yes")


# -- revocation -------------------------------------------------------------------------------------------------------


def test_what_is_revoked_is_asked_anew(decisions, provider):
    provider.answer = YES
    look(decisions, provider)
    decisions.revoke(frozenset({"subject:ada"}))
    provider.answer = NO
    assert look(decisions, provider) == ("live", b"no")


def test_what_is_revoked_while_it_is_asked_is_asked_again(decisions, provider, time):
    waiting = look(decisions, provider)
    time.advance(1)
    decisions.revoke(frozenset({"subject:ada"}))
    time.advance(1)
    provider.say(YES)
    assert not waiting.called
    assert provider.asked == 2
    time.advance(1)
    provider.say(NO)
    assert outcome(waiting) == ("live", b"no")


def test_what_is_revoked_all_the_time_is_no_decision(decisions, provider, time):
    waiting = look(decisions, provider)
    for _ in range(3):
        decisions.revoke(frozenset({"subject:ada"}))
        provider.say(YES)
        time.advance(1)
    assert waiting.result.detail == "corp: it is revoked faster than it is decided"
    assert not look(decisions, provider).called


def test_who_answers_another_process_answers_again(tmp_path, provider, time):
    shared = Shared.open(str(tmp_path))
    one, two = (
        Decisions(
            "corp", CacheSpec(), shared, decode=lambda each: [each.value], wall=time.wall, monotonic=time.monotonic
        )
        for _ in range(2)
    )
    lose(one, provider)
    time.advance(0.1)
    provider.answer = YES
    assert look(two, provider) == ("live", b"yes")
    assert shared.flush(10)
    assert look(one, provider, ANOTHER) == "provider_unavailable"
    assert look(one, provider) == ("fresh", b"yes")
    assert sample(one, metrics.AUTH_OUTAGE) == 0.0
    assert look(one, provider, ANOTHER) == ("live", b"yes")
    shared.close()


def test_after_missing_news_everybody_is_asked_about_anew(decisions, provider, time):
    provider.answer = YES
    look(decisions, provider)
    decisions.revoke(frozenset({EVERYTHING}))
    time.advance(1)
    provider.answer = DOWN
    assert look(decisions, provider) == ("stale", b"yes")
    provider.answer = NO
    assert look(decisions, provider) == ("live", b"no")


# -- once -------------------------------------------------------------------------------------------------------------


def test_what_is_for_one_request_is_asked_for_each(decisions, provider):
    one, two = decisions.once(provider), decisions.once(provider)
    provider.say(YES)
    provider.say(NO)
    assert outcome(one) == ("live", b"yes")
    assert outcome(two) == ("live", b"no")
    assert sample(decisions, metrics.AUTH_REMEMBERED) == 0


def test_what_is_for_one_request_has_no_other_decision(decisions, provider):
    found = decisions.once(provider)
    provider.say(DOWN)
    assert outcome(found) == "provider_unavailable"
    lose(decisions, provider)
    assert outcome(decisions.once(provider)) == "provider_unavailable"
    assert provider.asked == 3


# -- what is told -----------------------------------------------------------------------------------------------------


def test_samples_say_how_asking_went_and_who_would_get_by(decisions, provider, time):
    provider.answer = YES
    look(decisions, provider)
    look(decisions, provider, b"2")
    look(decisions, provider, b"once", stale_allowed=True)
    provider.answer = Decision(True, wishes=Wishes(keep=False))
    look(decisions, provider, b"3")
    provider.answer = DOWN
    look(decisions, provider, b"4")
    time.advance(7)
    assert sample(decisions, metrics.AUTH_ASKED, outcome="answered") == 4
    assert sample(decisions, metrics.AUTH_ASKED, outcome="failed") == 1
    assert sample(decisions, metrics.AUTH_REMEMBERED) == 3
    assert sample(decisions, metrics.AUTH_OUTAGE) == 7.0
    assert sample(decisions, metrics.AUTH_ACTIVE) == 4
    surviving = [sample(decisions, metrics.AUTH_SURVIVING, minutes=minutes) for minutes in ("1", "5", "15", "60")]
    assert surviving == [3, 3, 0, 0]
    assert {each.name for each in decisions.samples()} <= set(metrics.CATALOGUE)


def test_an_outage_is_reported_when_it_is_over(decisions, provider, time):
    provider.answer = YES
    look(decisions, provider)
    time.advance(61)
    lose(decisions, provider)
    for _ in range(3):
        look(decisions, provider)
    look(decisions, provider, b"stranger")
    time.advance(4)
    provider.answer = YES
    with capturedLogs() as events:
        look(decisions, provider)
    # Before, the three who tried in vain were told that there is no decision.
    assert formatEvent(events[0]) == (
        "corp answers again after 4.0 s: 3 requests of 1 callers got by on earlier decisions, 4 could not be decided"
    )
    assert sample(decisions, metrics.AUTH_OUTAGE) == 0.0


def test_keys_are_hashes_of_everything(decisions):
    assert decisions.key(b"a", b"b") != decisions.key(b"ab")
    assert b"secret" not in decisions.key(b"secret")
