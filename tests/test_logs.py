"""
The access log: what a line says, that nothing breaks it, and that nobody who does not read it holds anybody up.
"""

from __future__ import annotations

import errno
import json
import os
import re
import stat

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.logger import globalLogPublisher

from suuupra_gateway import logs
from suuupra_gateway.auth.principal import Principal
from suuupra_gateway.config.model import AccessLogSpec
from suuupra_gateway.errors import BadRequest, ConnectRefused, NoPeer
from suuupra_gateway.logs import BATCH, LONGEST, PAUSE, AccessLog
from tests.exchanges import Settled

WALL = 1_795_417_262.25  # 2026-11-23T07:01:02.250Z


class Journal:
    """An access log in a file, and the lines in it."""

    def __init__(self, path, **options):
        self.path = str(path)
        self.clock = Clock()
        spec = AccessLogSpec(path=self.path, **options)
        self.log = AccessLog(spec, self.clock, worker=3, wall=lambda: WALL)

    def write(self, *exchanges, listener="public"):
        for exchange in exchanges:
            self.log.record(exchange, listener)
        self.log.flush()
        return self.lines()

    def raw(self):
        with open(self.path, "rb") as file:
            return file.read()

    def lines(self):
        raw = self.raw()
        assert raw == b"" or raw.endswith(b"\n")
        return [json.loads(line) for line in raw.split(b"\n")[:-1]]


@pytest.fixture
def journal(tmp_path):
    journal = Journal(tmp_path / "access.log")
    yield journal
    journal.log.close()


def one(journal, exchange):
    (line,) = journal.write(exchange)
    return line


# -- what a line says -------------------------------------------------------------------------------------------------


def test_a_line_tells_all_about_a_relayed_request(journal):
    journal.log.generation = 12
    trace = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"

    line = one(
        journal,
        Settled(
            headers=[(b"user-agent", b"curl/8"), (b"accept", b"*/*"), (b"traceparent", trace)],
            received=3,
            sent=90,
            attempts=2,
            upstream_error=ConnectRefused(),
        ),
    )

    assert line == {
        "time": "2026-11-23T07:01:02.250Z",
        "request_id": "0190a2b4-7c7d-7a11-9f00-000000000000",
        "trace_id": "4bf92f3577b34da6a3ce929d0e0e4736",
        "client_ip": "192.0.2.1",
        "method": "GET",
        "host": "api.example.org",
        "path": "/v1/users/7",
        "protocol": "HTTP/1.1",
        "user_agent": "curl/8",
        "route": "users",
        "identity": None,
        "key": None,
        "auth": None,
        "status": 200,
        "source": "upstream",
        "code": None,
        "message": None,
        "bytes_in": 3,
        "bytes_out": 90,
        "filters_ms": 1.0,
        "queue_ms": 0.0,
        "connect_ms": 0.5,
        "ttfb_ms": 2.0,
        "total_ms": 12.0,
        "attempts": 2,
        "upstream": "users",
        "peer": "127.0.0.1:9001",
        "upstream_error": "upstream_refused",
        "listener": "public",
        "worker": 3,
        "generation": 12,
    }


def test_a_line_tells_who_called_and_how_that_was_decided(journal):
    caller = Principal("zo\u00eb\r\n" + "x" * 400, "api-key", key="k0123456789A")

    known, refused, public = journal.write(
        Settled(principal=caller, auth="stale"), Settled(auth="expired", status=401), Settled()
    )

    assert known["identity"] == "zo\\xeb\r\n" + "x" * 251
    assert (known["key"], known["auth"]) == ("k0123456789A", "stale")
    assert (refused["identity"], refused["key"], refused["auth"]) == (None, None, "expired")
    assert (public["identity"], public["key"], public["auth"]) == (None, None, None)


def test_a_caller_without_a_key_has_none(journal):
    line = one(journal, Settled(principal=Principal("alice", "jwt", "corp")))

    assert (line["identity"], line["key"], line["auth"]) == ("alice", None, None)


def test_what_did_not_happen_is_null(journal):
    exchange = Settled(route=None, attempts=0, status=400, source="gateway", error=BadRequest("two Host fields"))
    exchange.outcome.filtered = 0.0
    exchange.arrived = 0.0

    line = one(journal, exchange)

    assert line["code"] == "bad_request"
    assert line["message"] == "two Host fields"
    assert line["total_ms"] == 0.0
    for name in (
        "trace_id",
        "user_agent",
        "route",
        "filters_ms",
        "queue_ms",
        "connect_ms",
        "ttfb_ms",
        "upstream",
        "peer",
    ):
        assert line[name] is None


def test_a_query_is_written_only_if_it_was_asked_for(tmp_path):
    exchange = Settled(target=b"/a?token=secret")
    quiet, open_ = Journal(tmp_path / "quiet"), Journal(tmp_path / "open", query=True)

    assert "query" not in one(quiet, exchange)
    assert b"secret" not in quiet.raw()
    assert one(open_, exchange)["query"] == "token=secret"
    assert open_.write(Settled(target=b"/a"))[1]["query"] is None


def test_what_comes_back_from_a_login_is_never_written(tmp_path):
    journal = Journal(tmp_path / "open", query=True)
    line = journal.write(Settled(target=b"/_login/callback?code=secret&state=s", route="login:web:callback"))[0]
    assert line["query"] == "..."
    assert b"secret" not in journal.raw()


def test_the_path_is_the_one_that_routes_saw_and_not_what_filters_made_of_it(journal):
    rewritten = Settled(target=b"/api/%7Euser//a/../b?x=1", path=b"/elsewhere")

    assert one(journal, rewritten)["path"] == "/api/~user/b"


def test_a_target_that_has_no_normal_form_is_written_as_it_came(journal):
    assert one(journal, Settled(target=b"nonsense#1", path=b""))["path"] == "nonsense#1"


@pytest.mark.parametrize("value", [b"00-xyz-1-2", b"", b'00-"}-', b"00-" + b"A" * 32 + b"-" + b"0" * 16 + b"-01"])
def test_a_malformed_traceparent_is_no_trace(journal, value):
    assert one(journal, Settled(headers=[(b"traceparent", value)]))["trace_id"] is None


def test_old_and_unknown_protocol_versions_are_named(journal):
    written = journal.write(Settled(version=b"1.0"), Settled(version=b"2"), Settled(version=b"9.9"))

    assert [line["protocol"] for line in written] == ["HTTP/1.0", "HTTP/2", "unknown"]


def test_the_time_is_right_over_the_turn_of_a_second(tmp_path):
    now = [0.9996]
    log = AccessLog(AccessLogSpec(path=str(tmp_path / "log")), Clock(), wall=lambda: now[0])
    log.record(Settled())
    now[0] = 1.0
    log.record(Settled())
    log.close()

    lines = (tmp_path / "log").read_text().splitlines()
    assert [json.loads(line)["time"] for line in lines] == ["1970-01-01T00:00:00.999Z", "1970-01-01T00:00:01.000Z"]


# -- that nothing breaks it -------------------------------------------------------------------------------------------

NASTY = b'\x1b[31m"\r\n{"forged":true}\n\x00\x9b\xc2\x85\xe2\x80\xa8\\n\x7f\xff'


@pytest.mark.parametrize("place", ["method", "target", "host", "headers", "id", "error"])
def test_nothing_that_a_client_sends_makes_a_second_line_or_reaches_a_terminal(journal, place):
    exchange = {
        "method": lambda: Settled(method=NASTY),
        "target": lambda: Settled(target=b"/" + NASTY),
        "host": lambda: Settled(host=NASTY),
        "headers": lambda: Settled(headers=[(b"user-agent", NASTY)]),
        "id": lambda: Settled(id=NASTY),
        "error": lambda: Settled(error=NoPeer(NASTY.decode("latin-1"))),
    }[place]()

    assert one(journal, exchange)["status"] == 200

    raw = journal.raw()
    assert raw.count(b"\n") == 1
    assert not re.search(rb"[^\x20-\x7f]", raw[:-1])
    assert "forged" not in json.loads(raw)


@settings(max_examples=200)
@example(NASTY)
@given(st.binary(max_size=8000))
def test_any_bytes_make_one_short_line_of_ascii_json(text):
    log = AccessLog(AccessLogSpec(path="/dev/null", query=True), Clock(), wall=lambda: WALL)
    try:
        log.record(
            Settled(method=text[:64], target=b"/" + text, path=b"/" + text, host=text, headers=[(b"user-agent", text)]),
            "public",
        )
        raw = bytes(log._buffer)
    finally:
        log.close()

    assert raw.isascii()
    assert raw.index(b"\n") == len(raw) - 1
    assert len(raw) <= LONGEST
    line = json.loads(raw)
    assert line["status"] == 200
    assert line["listener"] == "public"


def test_a_line_that_is_too_long_is_cut_and_says_so(journal):
    short, long = journal.write(Settled(), Settled(target=b"/" + b"x" * 8000, sent=77))

    assert "truncated" not in short
    assert long["truncated"] is True
    assert long["bytes_out"] == 77
    assert long["path"] == "/" + "x" * 95


# -- when it is written -----------------------------------------------------------------------------------------------


def test_lines_are_written_together_after_a_while(journal):
    journal.log.record(Settled())
    journal.clock.advance(PAUSE / 2)
    journal.log.record(Settled())
    assert journal.raw() == b""

    journal.clock.advance(PAUSE / 2)

    assert len(journal.lines()) == 2
    assert journal.log.written == 2
    assert journal.clock.getDelayedCalls() == []


def test_a_full_batch_does_not_wait(journal):
    while journal.raw() == b"":
        journal.log.record(Settled())

    assert len(journal.raw()) >= BATCH


def test_closing_writes_what_is_left_and_leaves_no_timer(tmp_path):
    journal = Journal(tmp_path / "log")
    journal.log.record(Settled())

    journal.log.close()
    journal.log.close()

    assert len(journal.lines()) == 1
    assert journal.clock.getDelayedCalls() == []


def test_a_log_that_is_off_does_nothing():
    clock = Clock()
    log = AccessLog(AccessLogSpec(path="off"), clock)

    log.record(Settled())
    log.flush()
    log.reopen()
    log.close()

    assert not log.enabled
    assert clock.getDelayedCalls() == []


# -- files ------------------------------------------------------------------------------------------------------------


def test_a_file_is_made_for_its_owner_and_group_and_appended_to(tmp_path):
    path = tmp_path / "log"
    path.write_bytes(b"{}\n")
    Journal(path).write(Settled())
    assert len(path.read_bytes().splitlines()) == 2

    fresh = tmp_path / "fresh"
    Journal(fresh)
    assert stat.S_IMODE(os.stat(fresh).st_mode) & 0o027 == 0


def test_a_file_that_cannot_be_opened_is_an_error_at_once(tmp_path):
    with pytest.raises(FileNotFoundError):
        Journal(tmp_path / "missing" / "log")


def test_two_workers_append_to_one_file_line_by_line(tmp_path):
    first, second = Journal(tmp_path / "log"), Journal(tmp_path / "log")

    for _ in range(5):
        first.write(Settled())
        second.write(Settled())

    assert len(first.lines()) == 10


def test_reopening_goes_on_in_a_new_file_and_loses_nothing(journal, tmp_path):
    journal.write(Settled())
    journal.log.record(Settled())
    os.rename(journal.path, tmp_path / "access.log.1")

    journal.log.reopen()

    assert (tmp_path / "access.log.1").read_bytes().count(b"\n") == 2
    assert len(journal.write(Settled())) == 1


def test_a_failing_reopen_keeps_the_old_file(tmp_path):
    os.mkdir(tmp_path / "logs")
    journal = Journal(tmp_path / "logs" / "log")
    os.rename(tmp_path / "logs", tmp_path / "moved")

    journal.log.reopen()
    journal.log.record(Settled())
    journal.log.flush()

    assert (tmp_path / "moved" / "log").read_bytes().count(b"\n") == 1


# -- readers that sleep, disks that are full --------------------------------------------------------------------------


class Scripted:
    """A sink that does what it is told: a number of bytes to take, or an error to raise; then it takes everything."""

    piece = 1 << 20

    def __init__(self, *script):
        self.script = list(script)
        self.taken = bytearray()

    def write(self, data):
        step = self.script.pop(0) if self.script else len(data)
        if isinstance(step, OSError):
            raise step
        self.taken += data[:step]
        return min(step, len(data))

    def reopen(self):
        pass

    def close(self):
        pass


def scripted(monkeypatch, *script):
    sink = Scripted(*script)
    monkeypatch.setattr(logs, "open_sink", lambda path: sink)
    clock = Clock()
    return sink, clock, AccessLog(AccessLogSpec(), clock, wall=lambda: WALL)


def test_a_sleeping_reader_gets_everything_when_it_wakes(monkeypatch):
    sink, clock, log = scripted(monkeypatch, BlockingIOError(), BlockingIOError(), 100, BlockingIOError())
    log.record(Settled())
    log.record(Settled())

    clock.pump([PAUSE] * 4)

    assert [json.loads(line)["status"] for line in sink.taken.splitlines()] == [200, 200]
    assert (log.written, log.dropped) == (2, 0)
    assert clock.getDelayedCalls() == []


def test_a_reader_that_sleeps_for_long_costs_lines_and_not_memory(monkeypatch):
    sink, clock, log = scripted(monkeypatch, *[BlockingIOError()] * 10_000)
    for _ in range(5_000):
        log.record(Settled())

    assert len(log._buffer) < logs.BACKLOG + LONGEST
    assert log.dropped > 0

    sink.script.clear()
    clock.advance(PAUSE)
    assert log.written + log.dropped == 5_000
    assert sink.taken.count(b"\n") == log.written


def test_a_full_disk_costs_lines_and_is_told_once(monkeypatch):
    full = OSError(errno.ENOSPC, "No space left on device")
    sink, clock, log = scripted(monkeypatch, full, full)
    events = []
    globalLogPublisher.addObserver(events.append)
    try:
        for _ in range(3):
            log.record(Settled())
            clock.advance(PAUSE)
    finally:
        globalLogPublisher.removeObserver(events.append)

    assert (log.written, log.dropped) == (1, 2)
    assert sink.taken.count(b"\n") == 1
    assert [event["log_level"].name for event in events if event["log_namespace"].endswith("AccessLog")] == [
        "error",
        "info",
    ]


def test_a_line_torn_by_a_full_disk_is_ended_so_that_the_next_one_is_whole(monkeypatch):
    full = OSError(errno.ENOSPC, "No space left on device")
    sink, clock, log = scripted(monkeypatch, 100, full, full)
    log.record(Settled())
    log.record(Settled())
    clock.advance(PAUSE)

    clock.advance(PAUSE)
    log.record(Settled())
    clock.advance(PAUSE)

    torn, whole = sink.taken.splitlines()
    assert len(torn) == 100
    assert json.loads(whole)["status"] == 200
    assert log.written + log.dropped == 3


def test_samples_tell_what_was_written_and_lost(monkeypatch):
    _, clock, log = scripted(monkeypatch, OSError(errno.EPIPE, "Broken pipe"))
    log.record(Settled())
    clock.advance(PAUSE)
    log.record(Settled())
    clock.advance(PAUSE)

    assert {sample.labels: sample.value for sample in log.samples()} == {
        (("outcome", "written"),): 1,
        (("outcome", "dropped"),): 1,
    }


def test_a_disk_that_really_is_full_stops_nothing():
    log = AccessLog(AccessLogSpec(path="/dev/full"), Clock())

    log.record(Settled())
    log.flush()
    log.close()

    assert (log.written, log.dropped) == (0, 1)
