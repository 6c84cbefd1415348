"""
The gateway's own log as JSON lines.
"""

from __future__ import annotations

import json
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.logger import ILogObserver, Logger, LogLevel, LogPublisher
from twisted.python.failure import Failure
from zope.interface.verify import verifyObject

from suuupra_gateway import events
from suuupra_gateway.events import JSONObserver


class Sick:
    """Has no representation."""

    def __repr__(self):
        raise RuntimeError("sick")

    __str__ = __repr__


def observed(act, *, prefix=False):
    written = []
    observer = JSONObserver(written.append, prefix=prefix)
    assert verifyObject(ILogObserver, observer)
    act(Logger(namespace="acme", observer=LogPublisher(observer)))
    return written


def line(act):
    (raw,) = observed(act)
    assert raw.isascii()
    assert raw.index(b"\n") == len(raw) - 1
    return json.loads(raw)


def test_an_event_is_a_line_with_its_own_fields():
    shown = line(lambda log: log.warn("{peer} ejected after {failures} failures", peer="10.0.0.1:80", failures=3))

    assert shown["message"] == "10.0.0.1:80 ejected after 3 failures"
    assert shown["level"] == "warn"
    assert shown["logger"] == "acme"
    assert shown["peer"] == "10.0.0.1:80"
    assert shown["failures"] == 3
    assert shown["pid"] == os.getpid()
    assert shown["time"].endswith("Z")


def test_a_failure_comes_with_its_traceback_in_the_same_line():
    shown = line(lambda log: log.failure("it broke", Failure(ValueError("bad\nvalue"))))

    assert shown["level"] == "critical"
    assert "ValueError: bad\nvalue" in shown["traceback"]


@pytest.mark.parametrize(
    ("level", "prefix"),
    [("critical", b"<2>"), ("error", b"<3>"), ("warn", b"<4>"), ("info", b"<6>"), ("debug", b"<7>")],
)
def test_journald_is_told_the_priority(level, prefix):
    (raw,) = observed(lambda log: log.emit(LogLevel.lookupByName(level), "x"), prefix=True)

    assert raw.startswith(prefix + b"{")


def test_events_of_the_old_log_are_lines_too():
    written = []

    JSONObserver(written.append, prefix=False)({"log_time": 1.5, "message": ("old",), "isError": 0, "log_text": "old"})

    assert json.loads(written[0])["time"] == "1970-01-01T00:00:01.500Z"


def test_what_cannot_be_shown_is_named_instead():
    shown = line(
        lambda log: log.info("{thing}", thing=Sick(), other=object(), endless=float("inf"), huge=10**30, flag=True)
    )

    assert shown["thing"] == "unprintable value: RuntimeError"
    assert shown["other"].startswith("<object object")
    assert shown["endless"] == "inf"
    assert shown["flag"] is True
    assert shown["huge"] == str(10**30)


def test_what_cannot_be_formatted_is_no_reason_to_fail():
    written = []

    JSONObserver(written.append, prefix=False)(
        {"log_format": Sick(), "log_failure": Failure(ValueError()), "log_time": 0.0}
    )

    assert json.loads(written[0])["level"] == "info"


def test_long_texts_are_cut_in_the_middle():
    shown = line(lambda log: log.info("x", body="a" * 5000 + "b" * 5000))

    assert len(shown["body"]) < 4200
    assert shown["body"].startswith("aaa")
    assert shown["body"].endswith("bbb")


@given(st.text(), st.text())
def test_any_text_is_one_line_of_ascii(message, field):
    shown = line(lambda log: log.info("{message_}", message_=message, field=field))

    assert shown["field"] == field[:4096]


def test_observers_for_twistd_write_to_standard_error(monkeypatch):
    reading, writing = os.pipe()
    monkeypatch.setattr(os, "write", lambda fd, data, real=os.write: real(writing if fd == 2 else fd, data))
    for make in (events.journal, events.lines):
        make()({"log_time": 0.0, "log_format": "hello"})
    os.close(writing)
    raw = os.read(reading, 10_000)
    os.close(reading)

    journal, plain = raw.splitlines()
    assert journal.startswith(b"<6>{")
    assert json.loads(plain)["message"] == "hello"


def test_nobody_reading_standard_error_is_no_reason_to_fail(monkeypatch):
    def broken(fd, data):
        raise BrokenPipeError

    monkeypatch.setattr(os, "write", broken)

    events.lines()({"log_time": 0.0, "log_format": "nobody reads this"})


def test_a_failure_that_is_none_is_no_traceback():
    written = []

    JSONObserver(written.append, prefix=False)({"log_time": 0.0, "log_format": "x", "log_failure": "no failure"})

    assert "traceback" not in json.loads(written[0])
