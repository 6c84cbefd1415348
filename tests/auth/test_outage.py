import attrs
import pytest
from twisted.logger import capturedLogs, formatEvent

from suuupra_gateway.auth.outage import ACTIVE, Outage, Survivors


@attrs.define
class Remembered:
    used: float
    ends: float


def test_survivors_are_counted_by_how_long_they_would_last():
    now = 10_000.0
    entries = [
        Remembered(now, now + 30),
        Remembered(now - ACTIVE, now + 60),
        Remembered(now, now + 899),
        Remembered(now, now + 3600),
        Remembered(now - ACTIVE - 1, now + 3600),
    ]
    assert Survivors.of(entries, now) == Survivors(4, (3, 2, 1, 1))


def test_callers_of_whom_nothing_may_be_kept_are_active_and_survive_nothing():
    assert Survivors.of([], 1000.0, [1000.0, 999.0, 1000.0 - ACTIVE - 1]) == Survivors(2, (0, 0, 0, 0))


def test_of_many_only_some_are_looked_at():
    looked = []

    class Counted:
        used = 0.0

        @property
        def ends(self):
            looked.append(self)
            return 1e9

    found = Survivors.of([Counted() for _ in range(50_000)], 0.0)
    assert len(looked) <= 5_000
    assert found.active == pytest.approx(50_000, rel=0.01)
    assert found.surviving == (found.active,) * 4


def said(act):
    with capturedLogs() as events:
        act()
    return [formatEvent(event) for event in events]


def test_one_question_without_an_answer_is_no_outage():
    outage = Outage("corp")
    assert said(lambda: (outage.failed("timeout", 10.0, lost=False), outage.answered(11.0))) == []


def test_an_outage_is_told_once():
    outage = Outage("corp")
    assert said(lambda: [outage.failed("timeout", 10.0 + each, lost=each >= 2) for each in range(5)]) == [
        "corp does not answer (timeout): earlier decisions are used as long as they may be"
    ]


def test_its_report_says_what_became_of_callers():
    outage = Outage("corp")
    outage.failed("timeout", 10.0, lost=True)
    for key in (b"a", b"b", b"a"):
        outage.served(key)
    outage.refused()
    assert said(lambda: outage.answered(30.0)) == [
        "corp answers again after 20.0 s: 3 requests of 2 callers got by on earlier decisions, 1 could not be decided"
    ]
    assert said(lambda: outage.answered(31.0)) == []


def test_whoever_was_affected_by_a_short_one_is_reported_too():
    outage = Outage("corp")
    outage.failed("timeout", 10.0, lost=False)
    outage.served(b"a")
    assert len(said(lambda: outage.answered(11.0))) == 1
    outage.failed("timeout", 20.0, lost=False)
    outage.refused()
    (report,) = said(lambda: outage.answered(21.0))
    assert "0 requests of 0 callers" in report
    assert "1 could not be decided" in report


def test_an_outage_lasts_from_its_first_failure_to_the_next_answer():
    outage = Outage("corp")
    assert outage.seconds(5.0) == 0.0
    outage.failed("timeout", 10.0, lost=False)
    outage.failed("timeout", 12.0, lost=True)
    assert outage.seconds(15.0) == 5.0
    outage.answered(16.0)
    assert outage.seconds(17.0) == 0.0


def test_callers_are_told_apart_up_to_a_limit(monkeypatch):
    monkeypatch.setattr("suuupra_gateway.auth.outage._IDENTITIES", 2)
    outage = Outage("corp")
    outage.failed("timeout", 10.0, lost=True)
    for key in (b"a", b"b", b"c"):
        outage.served(key)
    (report,) = said(lambda: outage.answered(11.0))
    assert "3 requests of 2 callers" in report
