"""
The instruments: CPU time and memory of a process tree from ``/proc``, and wrk as the load.
"""

from __future__ import annotations

import os
import re
import subprocess
import time
from pathlib import Path

import attrs

TICKS = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")

HEADERS = (
    "Accept: application/json",
    "Accept-Encoding: gzip, deflate, br",
    "Accept-Language: en-GB,en;q=0.9,de;q=0.8",
    "Cache-Control: no-cache",
    "Cookie: theme=dark; consent=1; session=3f2a9c7d5e1b4a6f8c0d2e4f6a8b0c1d",
    "Origin: https://app.example.org",
    "Referer: https://app.example.org/users/list?page=3",
    "User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 Chrome/126.0 Safari/537.36",
    "X-Trace: 4bf92f3577b34da6a3ce929d0e0e4736",
)
"""With ``Host``, the ten header fields of every benchmark request."""


def tree(pid: int) -> list[int]:
    """``pid`` and all its descendants that live now."""
    found = [pid]
    for parent in found:
        for task in Path(f"/proc/{parent}/task").glob("*/children"):
            found += [int(child) for child in task.read_text().split()]
    return found


def cpu(pids: list[int]) -> float:
    """User and system seconds that ``pids`` have used so far; gone processes count nothing."""
    total = 0
    for pid in pids:
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
        except OSError:
            continue
        total += int(fields[11]) + int(fields[12])
    return total / TICKS


def rss(pids: list[int]) -> int:
    """Resident bytes of ``pids`` together."""
    total = 0
    for pid in pids:
        try:
            total += int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE
        except OSError:
            continue
    return total


@attrs.frozen
class Load:
    """What one run of wrk saw. Times in milliseconds."""

    requests: int
    seconds: float
    p50: float
    p99: float
    errors: int
    transferred: float
    """Bytes."""

    @property
    def rate(self) -> float:
        """Requests per second."""
        return self.requests / self.seconds


_UNITS = {"us": 0.001, "ms": 1.0, "s": 1000.0, "m": 60_000.0}
_SIZES = {"B": 1, "KB": 1024, "MB": 1024**2, "GB": 1024**3}


def _milliseconds(text: str) -> float:
    number, unit = re.fullmatch(r"([\d.]+)(\w+)", text).groups()  # type: ignore[union-attr]  # wrk's own format
    return float(number) * _UNITS[unit]


def wrk(url: str, *, seconds: float, connections: int = 64, core: str = "1", script: str = "") -> Load:
    """Run wrk on ``core`` with the ten header fields and read what it prints."""
    command = [
        "taskset",
        "-c",
        core,
        "wrk",
        "-t1",
        f"-c{connections}",
        f"-d{seconds:g}s",
        "--latency",
        "--timeout",
        "10s",
    ]
    for header in HEADERS:
        command += ["-H", header]
    if script:
        command += ["-s", script]
    printed = subprocess.run([*command, url], check=True, capture_output=True, text=True).stdout
    total = re.search(r"(\d+) requests in ([\d.]+\w+), ([\d.]+)(\w+) read", printed)
    assert total is not None, printed
    errors = sum(map(int, re.findall(r"(?:connect|read|write|timeout|responses:) (\d+)", printed)))
    percentile = dict(re.findall(r"(50|99)%\s+([\d.]+\w+)", printed))
    return Load(
        requests=int(total[1]),
        seconds=_milliseconds(total[2]) / 1000,
        p50=_milliseconds(percentile["50"]),
        p99=_milliseconds(percentile["99"]),
        errors=errors,
        transferred=float(total[3]) * _SIZES[total[4]],
    )


def wait_port(port: int, seconds: float = 20.0) -> None:
    """Return when something accepts connections on 127.0.0.1:``port``; TimeoutError if nothing does."""
    import socket

    until = time.monotonic() + seconds
    while time.monotonic() < until:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            time.sleep(0.05)
    raise TimeoutError(f"nothing listens on port {port}")


def free_port() -> int:
    """A port that was free a moment ago."""
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
