"""What processes share, with real processes where there must be more than one."""

import signal
import stat
import subprocess
import sys
import threading
import time

import pytest
from twisted.logger import capturedLogs, formatEvent

from suuupra_gateway.auth import shared as module
from suuupra_gateway.auth.shared import LARGEST, Shared
from suuupra_gateway.auth.tables import EVERYTHING, Record
from suuupra_gateway.policy.clocks import Wishes

NAMESPACE, KEY = b"corp----", b"0123456789abcdef"
OTHER = b"fedcba9876543210"

CHILD = """
import sys, time
from suuupra_gateway.auth.shared import Shared
from suuupra_gateway.auth.tables import Record
from suuupra_gateway.policy.clocks import Wishes
shared = Shared.open(sys.argv[1])
key = b"0123456789abcdef"
def put(value, key=key):
    shared.put(b"corp----", key, Record(True, value, time.monotonic(), 1e12, (), Wishes()), 100)
def hold():
    txn = shared._tables.env.begin(write=True)
    print("held", flush=True)
    time.sleep(60)
exec(sys.argv[2])
"""


def record(decided=10.0, tags=(), value=b"v"):
    return Record(True, value, decided, 1e12, tags, Wishes())


@pytest.fixture
def shared(tmp_path):
    made = Shared.open(str(tmp_path))
    yield made
    made.close()


def child(directory, code):
    return subprocess.Popen([sys.executable, "-c", CHILD, str(directory), code], stdout=subprocess.PIPE)


def put(shared, found, key=KEY):
    shared.put(NAMESPACE, key, found, 100)
    assert shared.flush(10)


def test_what_one_learns_all_know(shared, tmp_path):
    with child(tmp_path, "put(b'theirs'); assert shared.flush(10)") as other:
        assert other.wait(30) == 0
    assert shared.get(NAMESPACE, KEY).value == b"theirs"


def test_all_processes_hash_with_the_same_secret(shared, tmp_path):
    with child(tmp_path, "print(shared.secret.hex())") as other:
        assert other.stdout.read().decode().strip() == shared.secret.hex()


def test_the_files_are_ours_alone(shared, tmp_path):
    found = list(tmp_path.iterdir())
    assert len(found) == 2
    assert {stat.S_IMODE(path.stat().st_mode) for path in found} == {0o600}


def test_a_process_that_is_killed_while_it_writes_takes_nothing_with_it(shared, tmp_path):
    put(shared, record(1.0))
    with child(tmp_path, "hold()") as other:
        assert other.stdout.readline() == b"held\n"
        other.kill()
    put(shared, record(2.0))
    assert shared.get(NAMESPACE, KEY).decided == 2.0


def test_a_process_that_is_stopped_while_it_writes_holds_nobody_up(shared, tmp_path):
    put(shared, record(1.0))
    with child(tmp_path, "hold()") as other:
        assert other.stdout.readline() == b"held\n"
        other.send_signal(signal.SIGSTOP)
        began = time.monotonic()
        shared.put(NAMESPACE, KEY, record(2.0), 100)
        assert shared.get(NAMESPACE, KEY).decided == 1.0
        assert not shared.flush(0.05)
        assert time.monotonic() - began < 5
        other.kill()
    assert shared.flush(10)
    assert shared.get(NAMESPACE, KEY).decided == 2.0


def test_closing_does_not_wait_for_one_that_is_stopped(tmp_path):
    shared = Shared.open(str(tmp_path))
    with child(tmp_path, "hold()") as other:
        assert other.stdout.readline() == b"held\n"
        shared.put(NAMESPACE, KEY, record(), 100)
        began = time.monotonic()
        shared.close()
        assert time.monotonic() - began < 10
        assert shared.get(NAMESPACE, KEY) is None
        other.kill()


def test_a_process_that_was_killed_without_closing_left_everything_behind(tmp_path):
    with child(tmp_path, "put(b'left'); shared.flush(10); import os; os.kill(os.getpid(), 9)") as other:
        assert other.wait(30) == -9
    shared = Shared.open(str(tmp_path))
    assert shared.get(NAMESPACE, KEY).value == b"left"
    shared.close()


def test_who_opens_it_twice_in_a_process_gets_the_same(tmp_path):
    first, second = Shared.open(str(tmp_path)), Shared.open(str(tmp_path / "." / ""))
    assert first is second
    first.close()
    put(second, record())
    assert second.get(NAMESPACE, KEY) == record()
    second.close()
    assert second.get(NAMESPACE, KEY) is None
    second.put(NAMESPACE, KEY, record(), 100)  # late ones do no harm
    third = Shared.open(str(tmp_path))
    assert third is not second
    assert third.get(NAMESPACE, KEY) == record()
    third.close()


def test_what_was_revoked_is_not_found(shared):
    put(shared, record(10.0, ("key:a",)))
    shared.revoke(("key:a",), 10.0)
    assert shared.flush(10)
    assert shared.get(NAMESPACE, KEY) is None


def test_doubt_is_shared(shared):
    put(shared, record(10.0))
    shared.revoke((EVERYTHING,), 11.0)
    assert shared.flush(10)
    assert shared.get(NAMESPACE, KEY).doubted == 11.0


def test_what_is_forgotten_is_not_found(shared):
    put(shared, record())
    shared.forget(NAMESPACE, KEY)
    assert shared.flush(10)
    assert shared.get(NAMESPACE, KEY) is None


def test_what_is_too_large_replaces_and_is_not_there(shared):
    put(shared, record(10.0))
    put(shared, record(11.0, value=b"x" * LARGEST))
    assert shared.get(NAMESPACE, KEY) is None


def test_files_of_other_boots_are_removed(tmp_path):
    for name in ("decisions-1-another.mdb", "decisions-1-another.mdb-lock", "decisions-0-x.mdb"):
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "plan").write_bytes(b"y")
    Shared.open(str(tmp_path)).close()
    left = {path.name for path in tmp_path.iterdir()}
    assert len(left) == 3
    assert "plan" in left
    assert not any("another" in name or "-0-" in name for name in left)


def test_a_spoilt_file_is_made_anew(tmp_path):
    Shared.open(str(tmp_path)).close()
    (path,) = tmp_path.glob("decisions-*.mdb")
    path.write_bytes(b"nonsense" * 4096)
    with capturedLogs() as events:
        shared = Shared.open(str(tmp_path))
    assert "made anew" in formatEvent(events[0])
    put(shared, record())
    assert shared.get(NAMESPACE, KEY) == record()
    shared.close()


def test_without_a_directory_nothing_is_shared(tmp_path):
    with capturedLogs() as events:
        assert Shared.open(str(tmp_path / "missing")) is None
    assert "not shared" in formatEvent(events[0])


def test_without_a_boot_there_is_a_file_too(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_BOOT", tmp_path / "nothing")
    Shared.open(str(tmp_path)).close()
    assert list(tmp_path.glob("decisions-*-unknown.mdb"))


def test_what_cannot_be_read_is_not_there(shared):
    put(shared, record())
    with shared._tables.env.begin(write=True) as txn:
        txn.put(NAMESPACE + OTHER, b"nonsense", db=shared._tables.records)
    assert shared.get(NAMESPACE, OTHER) is None
    assert shared.get(NAMESPACE, KEY) == record()


def test_a_full_file_forgets_everything_and_goes_on(tmp_path):
    shared = Shared.open(str(tmp_path), size=512 * 1024)
    with capturedLogs() as events:
        for number in range(200):
            shared.put(NAMESPACE, b"%016d" % number, record(value=b"x" * 8000), 1000)
        assert shared.flush(10)
        shared.flush(10)
    assert any("forgotten" in formatEvent(event) for event in events)

    def written():
        shared.put(NAMESPACE, KEY, record(), 100)
        return shared.flush(10) and shared.get(NAMESPACE, KEY)

    assert any(written() for _ in range(5))
    shared.close()


def test_changes_that_come_too_fast_leave_nothing_half_written(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "WAITING", 5)
    shared = Shared.open(str(tmp_path))
    put(shared, record(1.0))
    lock = threading.Event()
    shared._changes.put(lambda tables, txn: lock.wait(10))
    while not shared._changes.empty():
        time.sleep(0.001)
    with capturedLogs() as events:
        for number in range(20):
            shared.put(NAMESPACE, OTHER, record(float(number)), 100)
    assert ["faster" in formatEvent(event) for event in events] == [True]
    assert shared.get(NAMESPACE, KEY) is None  # at once
    lock.set()
    assert shared.flush(10)
    put(shared, record(9.0), OTHER)
    assert shared.get(NAMESPACE, KEY) is None
    assert shared.get(NAMESPACE, OTHER) == record(9.0)
    shared.close()


def test_old_ones_are_tidied_away_while_it_is_quiet(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_IDLE", 0.01)
    shared = Shared.open(str(tmp_path), monotonic=lambda: 1e6 + time.monotonic())
    tables = shared._tables
    shared.put(NAMESPACE, KEY, record(1.0), 100)
    end = time.monotonic() + 10
    while time.monotonic() < end:
        shared.flush(1)
        with tables.env.begin() as txn:
            if not txn.stat(tables.records)["entries"]:
                break
    else:
        raise AssertionError("still there")
    shared.close()


def test_many_changes_are_written_in_order(shared):
    lock = threading.Event()
    shared._changes.put(lambda tables, txn: lock.wait(10))
    for number in range(1000):
        shared.put(NAMESPACE, b"%016d" % (number % 50), record(float(number)), 100)
    lock.set()
    assert shared.flush(10)
    assert [shared.get(NAMESPACE, b"%016d" % number).decided for number in range(50)] == list(range(950, 1000))


def test_nothing_happens_while_nothing_is_to_be_done(tmp_path, monkeypatch):
    rounds = []
    monkeypatch.setattr(module, "_IDLE", 0.001)
    shared = Shared.open(str(tmp_path), monotonic=lambda: rounds.append(1) or 0.0)
    while len(rounds) < 10:
        time.sleep(0.001)
    put(shared, record())
    assert shared.get(NAMESPACE, KEY) == record()
    shared.close()


def test_an_error_while_reading_is_nothing_found(shared, monkeypatch):
    put(shared, record())
    shared._tables.env.close()
    assert shared.get(NAMESPACE, KEY) is None
