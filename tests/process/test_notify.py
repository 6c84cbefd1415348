"""What the service manager hears."""

import socket
import time

import pytest

from suuupra_gateway.process.notify import Notifier, without_manager


@pytest.fixture
def manager(tmp_path):
    """A service manager's end, at a path."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(str(tmp_path / "notify"))
        sock.settimeout(5)
        yield sock


def heard(manager):
    return manager.recv(4096).decode().split("\n")


def test_ready_is_said_with_a_status_on_one_line(manager):
    Notifier(manager.getsockname()).ready("2 workers\nserve")
    assert heard(manager) == ["READY=1", "STATUS=2 workers serve"]


def test_reloading_carries_the_monotonic_time_in_microseconds(manager):
    before = time.monotonic_ns() // 1000
    Notifier(manager.getsockname()).reloading("again")
    first, stamp, status = heard(manager)
    name, _, value = stamp.partition("=")
    assert (first, name, status) == ("RELOADING=1", "MONOTONIC_USEC", "STATUS=again")
    assert before <= int(value) <= time.monotonic_ns() // 1000


def test_the_other_states_are_said_as_sd_notify_names_them(manager):
    notifier = Notifier(manager.getsockname())
    notifier.stopping("bye")
    notifier.status("well")
    notifier.alive()
    notifier.extend(1.5)
    assert [heard(manager) for _ in range(4)] == [
        ["STOPPING=1", "STATUS=bye"],
        ["STATUS=well"],
        ["WATCHDOG=1"],
        ["EXTEND_TIMEOUT_USEC=1500000"],
    ]


def test_an_abstract_address_begins_with_an_at_sign():
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind("")  # the kernel chooses an abstract name
        manager.settimeout(5)
        Notifier("@" + manager.getsockname()[1:].decode()).alive()
        assert heard(manager) == ["WATCHDOG=1"]


def test_nobody_is_told_when_nobody_asked():
    notifier = Notifier.of({}, pid=1)
    notifier.ready("all is well")
    assert notifier.watchdog == 0.0


def test_a_manager_that_is_gone_does_no_harm(tmp_path):
    Notifier(str(tmp_path / "nobody")).ready("all is well")


def test_nothing_is_said_after_the_end(manager):
    notifier = Notifier(manager.getsockname())
    notifier.close()
    notifier.close()
    notifier.alive()
    manager.settimeout(0)
    with pytest.raises(BlockingIOError):
        manager.recv(1)


@pytest.mark.parametrize(
    ("environ", "seconds"),
    [
        ({"WATCHDOG_USEC": "30000000"}, 30.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "7"}, 30.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "8"}, 0.0),
        ({"WATCHDOG_USEC": "soon"}, 0.0),
        ({}, 0.0),
    ],
)
def test_the_watchdog_is_ours_only_if_it_names_us(environ, seconds):
    assert Notifier.of(environ, pid=7).watchdog == seconds


def test_children_can_neither_speak_for_us_nor_take_our_sockets():
    environ = {"NOTIFY_SOCKET": "x", "WATCHDOG_USEC": "1", "LISTEN_FDS": "1", "LISTEN_PID": "1", "PATH": "/bin"}
    assert without_manager(environ) == {"PATH": "/bin"}
