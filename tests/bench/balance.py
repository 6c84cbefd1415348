"""
How evenly workers share a listener: ``python -m tests.bench.balance [--workers N]``.

Starts the gateway in both modes of ``share``, with four workers, and counts the connections that each worker accepted: one
after the other, in a burst, and under a closed loop of short connections, with the CPU time that all workers used for those.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import socket
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from tests.live.harness import Gateway, gateway
from tests.servers.load import Load

CONFIG = """
gateway: {{workers: {workers}}}
admin: {{address: "127.0.0.1:0"}}
access-log: {{path: "off"}}
listeners: [{{name: public, address: "127.0.0.1:0", share: {share}}}]
routes: [{{name: status, match: {{path: /status}}, auth: none, target: {{fixed: {{body: ok}}}}}}]
"""


def established(pid: int, port: int) -> int:
    """Connections to ``port`` that process ``pid`` has accepted and holds."""
    inodes = set()
    for name in os.listdir(f"/proc/{pid}/fd"):
        try:
            target = os.readlink(f"/proc/{pid}/fd/{name}")
        except FileNotFoundError:
            continue
        if target.startswith("socket:["):
            inodes.add(target[8:-1])
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return sum(row[9] in inodes and row[3] == "01" and int(row[1].split(":")[1], 16) == port for row in rows)


def cpu(pid: int) -> float:
    """Seconds of CPU time that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def spread(counts: list[int]) -> str:
    share = statistics.pstdev(counts) / (statistics.mean(counts) or 1)
    return f"{'/'.join(map(str, counts)):24} deviation {share:4.0%}"


def open_many(port: int, count: int, pause: float) -> list[socket.socket]:
    made = []
    for _ in range(count):
        sock = socket.socket()
        sock.setblocking(pause > 0)
        with contextlib.suppress(BlockingIOError):
            sock.connect(("127.0.0.1", port))
        made.append(sock)
        time.sleep(pause)
    time.sleep(1)
    return made


def measure(gw: Gateway, seconds: float) -> dict[str, Any]:
    port, pids = gw.port(), sorted(gw.pids())
    result: dict[str, Any] = {}
    for name, pause in (("one by one", 0.002), ("burst", 0.0)):
        made = open_many(port, 200, pause)
        result[name] = spread([established(pid, port) for pid in pids])
        for sock in made:
            sock.close()
        time.sleep(0.5)
    before = {pid: cpu(pid) for pid in pids}
    with Load("127.0.0.1", port, "/status", connections=32, keep=False) as load:
        time.sleep(seconds)
    used = [cpu(pid) - before[pid] for pid in pids]
    report = load.report
    result["short connections"] = (
        f"{report.good / seconds:6.0f}/s, {sum(used) / report.good * 1e6:4.0f} us CPU each, "
        f"CPU per worker {'/'.join(f'{each:.2f}' for each in used)} s, failed {report.failed}"
    )
    return result


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=4)
    parser.add_argument("--turns", type=int, default=3)
    options = parser.parse_args()
    for turn in range(options.turns):
        for share in ("inherit", "reuseport"):
            with tempfile.TemporaryDirectory() as directory, gateway(Path(directory)) as gw:
                gw.write(CONFIG.format(workers=options.workers, share=share))
                gw.start()
                for name, text in measure(gw, options.seconds).items():
                    print(f"turn {turn + 1}  {share:10} {name:18} {text}", flush=True)


if __name__ == "__main__":
    main()
