"""
A gateway as its users start it: the installed ``twistd`` in a process of its own, spoken to through sockets only.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

TWISTD = Path(sys.executable).with_name("twistd")
PATIENCE = 60.0
"""Seconds that anything may take on a machine with better things to do."""


def until(what: Callable[[], Any], why: str | Callable[[], str], seconds: float = PATIENCE) -> Any:
    """What ``what`` returns, as soon as that is true."""
    end = time.monotonic() + seconds
    while True:
        value = what()
        if value:
            return value
        assert time.monotonic() < end, f"not within {seconds} s: {why if isinstance(why, str) else why()}"
        time.sleep(0.02)


def alive(pid: int) -> bool:
    """Whether a process is there and no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


class Reply:
    """A whole answer."""

    def __init__(self, status: int, headers: http.client.HTTPMessage, body: bytes) -> None:
        self.status, self.headers, self.body = status, headers, body

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=PATIENCE)
        self.path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(PATIENCE)
        self.sock.connect(self.path)


def fetch(
    address: str,
    target: str = "/json",
    method: str = "GET",
    body: bytes | None = None,
    headers: dict[str, str] | None = None,
) -> Reply:
    """One request on a connection of its own; ``address`` as the gateway logs it."""
    if address.startswith("unix:"):
        connection: http.client.HTTPConnection = UnixConnection(address[5:])
    else:
        host, _, port = address.rpartition(":")
        connection = http.client.HTTPConnection(host.strip("[]"), int(port), timeout=PATIENCE)
    with contextlib.closing(connection):
        connection.request(method, target, body, headers or {})
        answer = connection.getresponse()
        return Reply(answer.status, answer.headers, answer.read())


class Process:
    """A server that prints its address, and ends when its standard input does."""

    def __init__(self, module: str, *arguments: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", module, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self._process.stdout is not None
        self.address = self._process.stdout.readline().strip()
        assert self.address, f"{module} did not start"

    def stop(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(PATIENCE)
        self._process.stdout.close()


class Gateway:
    """One ``twistd -n suuupra-gateway --config FILE``."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.file = directory / "gateway.yaml"
        self._log = directory / "log"
        self._process: subprocess.Popen[bytes] | None = None
        self._pids: set[int] = set()

    def write(self, text: str) -> None:
        """The configuration, replaced as an editor would."""
        temporary = self.directory / "gateway.yaml.new"
        temporary.write_text(text)
        temporary.rename(self.file)

    def start(
        self,
        *,
        wait: bool = True,
        environ: dict[str, str] | None = None,
        wrapper: Sequence[str] = (),
        fds: tuple[int, ...] = (),
        options: Sequence[str] = (),
    ) -> Gateway:
        command = [str(TWISTD), "-n", "--pidfile=", *options, "suuupra-gateway", "--config", str(self.file)]
        with open(self._log, "ab") as log:
            self._process = subprocess.Popen(
                [*wrapper, *command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.directory,
                env={**os.environ, **(environ or {})},
                pass_fds=fds,
            )
        if wait:
            self.wait_ready()
        return self

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def log(self) -> str:
        return self._log.read_text(errors="replace") if self._log.exists() else ""

    def wait_log(self, pattern: str, count: int = 1) -> re.Match[str]:
        """The last of at least ``count`` places in the log where ``pattern`` matches."""

        def found() -> re.Match[str] | None:
            self.check()
            matches = list(re.finditer(pattern, self.log, re.MULTILINE))
            return matches[-1] if len(matches) >= count else None

        result: re.Match[str] = until(found, lambda: f"{count} x {pattern!r} in the log:\n{self.log}")
        return result

    def wait_ready(self) -> None:
        self.wait_log(r"Ready: ")
        self.workers()

    def check(self) -> None:
        assert self._process is not None
        assert self._process.poll() is None, f"the gateway ended with {self._process.returncode}:\n{self.log}"

    def address(self, listener: str = "public") -> str:
        return self.wait_log(rf'Listener {listener} on ([^\s"]+)').group(1)

    def port(self, listener: str = "public") -> int:
        return int(self.address(listener).rpartition(":")[2])

    def fetch(self, target: str = "/json", listener: str = "public", **more: Any) -> Reply:
        return fetch(self.address(listener), target, **more)

    def admin(self, target: str) -> Reply:
        return fetch(self.wait_log(r'Admin on ([^\s"]+)').group(1), target)

    def workers(self) -> list[dict[str, Any]]:
        """As the admin API has them."""
        found: list[dict[str, Any]] = self.admin("/api/workers").json["workers"]
        self._pids.update(worker["pid"] for worker in found if "pid" in worker)
        return found

    def pids(self) -> set[int]:
        """Of the workers that serve."""
        return {worker["pid"] for worker in self.workers() if worker["state"] == "ready"}

    def generation(self) -> int:
        number: int = self.admin("/api/plan").json["generation"]
        return number

    def children(self) -> set[int]:
        """Processes whose parent is the supervisor."""
        text = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text()
        found = set(map(int, text.split()))
        self._pids |= found
        return found

    def signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def wait(self, seconds: float = PATIENCE) -> int:
        """Its exit code."""
        assert self._process is not None
        return self._process.wait(seconds)

    def stop(self) -> int:
        """End it in order."""
        self.signal(signal.SIGTERM)
        return self.wait()

    def clean_up(self) -> None:
        """Leave nothing behind, whatever a test did."""
        if self._process is not None and self._process.poll() is None:
            with contextlib.suppress(OSError):
                self.children()
            try:
                # In order first, for what measures coverage; twice, so that it waits for nobody.
                self.signal(signal.SIGTERM)
                self.signal(signal.SIGTERM)
                self._process.wait(10)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        # A supervisor that was killed leaves workers that drain: they are ours to end, if they still are who they were.
        for pid in self._pids:
            with contextlib.suppress(OSError):
                if b"suuupra_gateway.process.worker" in Path(f"/proc/{pid}/cmdline").read_bytes():
                    os.kill(pid, signal.SIGKILL)


@contextlib.contextmanager
def gateway(directory: Path) -> Iterator[Gateway]:
    """A gateway that is gone afterwards."""
    made = Gateway(directory)
    try:
        yield made
    finally:
        made.clean_up()
