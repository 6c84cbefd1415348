"""
What `make run` runs: every route of the quickstart, through the gateway, and an orderly end.
"""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest

from suuupra_gateway import quickstart
from tests.live.harness import PATIENCE, fetch

ROOT = pathlib.Path(__file__).parent.parent.parent


def free_address() -> str:
    """An address that nobody listens on at the moment."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{sock.getsockname()[1]}"


class Running:
    """The quickstart in a process of its own."""

    def __init__(self, **environ: str) -> None:
        self.address = environ.setdefault(quickstart.ADDRESS, free_address())
        self.admin = environ.setdefault(quickstart.ADMIN, free_address())
        self.process = subprocess.Popen(
            [sys.executable, "-m", "suuupra_gateway.quickstart"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd=ROOT,
            env={**os.environ, **environ},
            text=True,
        )
        self.output: list[str] = []
        self.invited = threading.Event()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.output.append(line)
            if "Ctrl-C stops it" in line:
                self.invited.set()
        self.invited.set()

    def end(self, number: int = signal.SIGINT) -> int:
        """Interrupt it and wait; its exit status."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        status = self.process.wait(PATIENCE)
        self._reader.join(PATIENCE)
        assert self.process.stdout is not None
        self.process.stdout.close()
        return status

    def children(self) -> set[int]:
        """All processes below it."""
        found, fresh = set(), {self.process.pid}
        while fresh:
            found |= fresh
            fresh = {
                int(child)
                for pid in fresh
                for task in pathlib.Path(f"/proc/{pid}/task").glob("*/children")
                for child in task.read_text().split()
            } - found
        return found - {self.process.pid}


@pytest.fixture(scope="module")
def running() -> Iterator[Running]:
    running = Running()
    try:
        assert running.invited.wait(2 * PATIENCE)
        assert running.process.poll() is None, "".join(running.output)
        yield running
    finally:
        running.end()


def test_it_says_what_to_try(running):
    text = "".join(running.output)

    assert f"curl -i http://{running.address}/status" in text
    assert f"http://{running.admin}/metrics" in text


@pytest.mark.parametrize(
    ("request_line", "headers", "status", "shown"),
    [
        ("GET /status", {}, 200, b"ok"),
        ("GET /users", {}, 200, b"Barbara"),
        ("GET /users/7", {}, 200, b'"service": "one"'),
        ("GET /users/7", {"X-Beta": "yes"}, 200, b'"service": "two"'),
        ("POST /users/7", {}, 405, b"method_not_allowed"),
        ("GET /v3/users", {}, 200, b"Barbara"),
        ("GET /api/users/1", {}, 200, b'"service": "two"'),
        ("GET /hello", {"X-Branch": "two"}, 200, b'"service": "two"'),
        ("GET /hello", {"X-Branch": "one"}, 200, b'"service": "one"'),
        ("GET /old/a", {}, 301, b""),
        ("GET /board/form", {}, 200, b"<form"),
        ("POST /upload", {}, 200, b'"bytes": 5'),
        ("GET /bytes?size=5", {}, 200, b"01234"),
        ("GET /stream?events=2&pause=0", {}, 200, b"id: 2"),
        ("GET /slow?seconds=0", {}, 200, b"slept"),
        ("GET /slow?seconds=5", {}, 504, b"upstream_timeout"),
        ("GET /flaky", {}, 200, b"turn"),
        ("GET /flaky?again=1", {}, 200, b"turn"),
        ("GET /inside/x", {}, 403, b"forbidden"),
        ("GET /nothing", {}, 404, b"not_routed"),
    ],
)
def test_every_route_does_what_its_file_says(running, request_line, headers, status, shown):
    method, _, target = request_line.partition(" ")

    reply = fetch(running.address, target, method, b"hello" if method == "POST" else None, headers)

    assert reply.status == status
    assert shown in reply.body


def test_header_filters_work_both_ways(running):
    reply = fetch(running.address, "/echo/a%20b?c=d", "POST", b"hello", {"Cookie": "secret", "X-User-Id": "root"})

    seen = {name.lower(): value for name, value in reply.json["headers"]}
    assert reply.json["uri"] == "/echo/a%20b?c=d"
    assert reply.json["body"] == "hello"
    assert seen["x-team"] == "platform"
    assert "cookie" not in seen
    assert "x-user-id" not in seen
    assert reply.headers["X-Served-By"] == "quickstart"
    assert reply.headers["Server"] is None


def test_everything_was_counted_and_logged(running):
    fetch(running.address, "/users/2")

    metrics = fetch(running.admin, "/metrics").body.decode()
    routes = {route["name"]: route["traffic"] for route in fetch(running.admin, "/api/routes").json["routes"]}

    assert 'suuupra_requests_total{code="200",method="GET",route="users",service="one",source="upstream"}' in metrics
    assert 'suuupra_upstream_retries_total{service="one"}' in metrics
    assert "suuupra_metric_sources_broken 0.0" in metrics
    assert routes["users"]["codes"]["2xx"] >= 1
    assert fetch(running.admin, "/readyz").status == 200


def test_every_metric_of_a_live_gateway_is_in_the_catalogue(running):
    from prometheus_client.parser import text_string_to_metric_families

    from suuupra_gateway import metrics

    catalogue = {name.removesuffix("_total"): metric for name, metric in metrics.CATALOGUE.items()}
    for family in text_string_to_metric_families(fetch(running.admin, "/metrics").body.decode()):
        metric = catalogue[family.name]
        assert family.type == metric.kind
        for sample in family.samples:
            assert set(sample.labels) - {"le"} == set(metric.labels), sample.name


def test_it_ends_in_order_and_leaves_nobody_behind():
    running = Running()
    assert running.invited.wait(2 * PATIENCE)
    below = running.children()
    fetch(running.address, "/users/7")

    status = running.end()

    assert status == 0
    assert len(below) >= 5  # the gateway, its two workers, the two services
    for pid in below:
        with contextlib.suppress(FileNotFoundError):
            assert pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    lines = [json.loads(line) for line in running.output if line.startswith('{"time"')]
    assert any(line["route"] == "users" and line["status"] == 200 for line in lines)


def test_a_port_that_is_taken_is_said_and_nothing_is_left_running():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        running = Running(**{quickstart.ADDRESS: f"127.0.0.1:{taken.getsockname()[1]}"})

        status = running.process.wait(2 * PATIENCE)
        running.end()

    assert status == 1
    assert "in use" in "".join(running.output)
