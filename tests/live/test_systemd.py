"""systemd's side, played: sockets that it passes, what it hears, and its watchdog."""

import itertools
import os
import signal
import socket
import sys
import threading
import time

import pytest

from tests.live.harness import fetch, until
from tests.servers.load import Load

ACTIVATE = (sys.executable, os.path.abspath("tests/servers/activate.py"))


class Manager:
    """Hears what a service says."""

    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(str(path))
        self.environ = {"NOTIFY_SOCKET": str(path)}
        self.said = []
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def _listen(self):
        while data := self.socket.recv(8192):
            fields = dict(line.split("=", 1) for line in data.decode().split("\n"))
            self.said.append((time.monotonic(), fields))

    def close(self):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            sock.sendto(b"", self.environ["NOTIFY_SOCKET"])
        self._thread.join(5)
        self.socket.close()

    def times(self, field):
        return [when for when, fields in self.said if field in fields]

    def wait(self, field, count=1):
        until(lambda: len(self.times(field)) >= count, lambda: f"{count} x {field} in {self.said}")
        return [fields for _, fields in self.said if field in fields][count - 1]


@pytest.fixture
def manager(tmp_path):
    made = Manager(tmp_path / "notify")
    yield made
    made.close()


@pytest.fixture
def passed():
    """A listening socket that the manager holds."""
    with socket.create_server(("127.0.0.1", 0), backlog=512) as sock:
        yield sock


PUBLIC = "- {name: public, address: 'systemd:public'}"


def test_the_manager_hears_ready_reloading_and_stopping(gw, config, manager):
    gw.write(config())
    gw.start(environ=manager.environ)
    assert manager.wait("READY")["STATUS"] == "2 of 2 workers serve generation 1"

    gw.signal(signal.SIGHUP)
    reloading = manager.wait("RELOADING")
    assert abs(int(reloading["MONOTONIC_USEC"]) / 1e6 - time.monotonic()) < 60
    assert manager.wait("READY", 2)["STATUS"] == "2 of 2 workers serve generation 2"

    gw.write("nonsense: true\n")
    gw.signal(signal.SIGHUP)
    status = manager.wait("READY", 3)["STATUS"]
    assert status.startswith("2 of 2 workers serve generation 2; last reload refused: ")
    assert "gateway.yaml:1:1" in status

    gw.signal(signal.SIGTERM)
    manager.wait("STOPPING")
    gw.wait()


def test_the_manager_is_asked_for_time_while_requests_finish(gw, config, manager):
    gw.write(config())
    gw.start(environ=manager.environ)
    port = gw.port()
    slow = threading.Thread(target=lambda: fetch(f"127.0.0.1:{port}", "/slow?seconds=3"))
    slow.start()
    time.sleep(0.3)
    gw.signal(signal.SIGTERM)
    assert int(manager.wait("EXTEND_TIMEOUT_USEC", 2)["EXTEND_TIMEOUT_USEC"]) >= 2_000_000
    slow.join(10)
    gw.wait()


def test_workers_are_not_told_of_the_manager(gw, config, manager, passed):
    gw.write(config(listeners=PUBLIC))
    gw.start(
        environ={**manager.environ, "WATCHDOG_USEC": "30000000"},
        wrapper=[*ACTIVATE, f"public={passed.fileno()}", "--"],
        fds=(passed.fileno(),),
    )
    for pid in gw.pids():
        with open(f"/proc/{pid}/environ", encoding="utf-8") as file:
            names = {line.partition("=")[0] for line in file.read().split("\0")}
        assert not names & {
            "NOTIFY_SOCKET",
            "WATCHDOG_USEC",
            "WATCHDOG_PID",
            "LISTEN_FDS",
            "LISTEN_PID",
            "LISTEN_FDNAMES",
        }


def test_sockets_that_are_passed_refuse_nobody_while_the_gateway_restarts(gw, config, passed):
    gw.write(config(listeners=PUBLIC))
    how = {"wrapper": [*ACTIVATE, f"public={passed.fileno()}", "--"], "fds": (passed.fileno(),)}
    gw.start(**how)
    port = passed.getsockname()[1]
    assert gw.fetch("/json", listener="public").status == 200
    with Load("127.0.0.1", port, connections=8, keep=False) as load:
        load.wait(50)
        for count in (2, 3):
            assert gw.stop() == 0
            gw.start(wait=False, **how)
            gw.wait_log("Ready: ", count)
            load.wait(50)
    assert load.report.failed == 0, load.report


def test_a_name_that_was_not_passed_ends_the_start(gw, config, passed):
    gw.write(config(listeners=PUBLIC))
    gw.start(wait=False, wrapper=[*ACTIVATE, f"other={passed.fileno()}", "--"], fds=(passed.fileno(),))
    assert gw.wait() == 1
    assert "no socket named 'public' was passed (names that were: other)" in gw.log


def test_the_watchdog_is_fed_only_while_all_workers_answer(gw, config, manager):
    gw.write(config())
    gw.start(environ={**manager.environ, "WATCHDOG_USEC": "2000000"})
    manager.wait("WATCHDOG", 4)
    fed = manager.times("WATCHDOG")
    assert max(later - earlier for earlier, later in itertools.pairwise(fed)) < 2

    victim = min(gw.pids())
    os.kill(victim, signal.SIGSTOP)
    time.sleep(1.5)  # two polls that it has not answered
    starved = len(manager.times("WATCHDOG"))
    time.sleep(3)
    assert len(manager.times("WATCHDOG")) == starved
    os.kill(victim, signal.SIGCONT)
    manager.wait("WATCHDOG", starved + 2)
