"""
An open-loop load: requests leave at fixed times whatever the answers do, and latency counts from the time a request was due.

(wrk is closed-loop: a server that stalls slows its own load down and so hides the stall; Gil Tene's "coordinated omission".)
It runs in a process of its own on core 1.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections import deque

from tests.bench.measure import HEADERS

CONNECTIONS = 32


def paced(port: int, *, rate: float, seconds: float) -> dict[str, float]:
    """``p50``, ``p99`` (ms), ``rate`` reached (requests/s), ``failed`` of GETs to 127.0.0.1:``port`` at ``rate`` per second."""
    done = subprocess.run(
        ["taskset", "-c", "1", sys.executable, "-m", "tests.bench.paced", str(port), str(rate), str(seconds)],
        check=True,
        capture_output=True,
        text=True,
    )
    figures: dict[str, float] = json.loads(done.stdout)
    return figures


class _Client(asyncio.Protocol):
    """One keep-alive connection; answers are matched to due times in order."""

    def __init__(self, due: deque[float], took: list[float], free: deque[_Client]) -> None:
        self.waiting = deque[float]()
        self.due, self.took, self.free = due, took, free
        self.buffer = b""
        self.refused = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def send(self, request: bytes, due: float) -> None:
        self.waiting.append(due)
        self.transport.write(request)  # type: ignore[attr-defined]  # a stream transport

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        now = asyncio.get_running_loop().time()
        while (end := self.buffer.find(b"\r\n\r\n")) >= 0:
            head = self.buffer[:end].lower()
            at = head.find(b"content-length: ")
            length = int(head[at + 16 :].split(b"\r\n", 1)[0])
            if len(self.buffer) < end + 4 + length:
                return
            if not head.startswith(b"http/1.1 200"):
                self.refused += 1
            self.buffer = self.buffer[end + 4 + length :]
            self.took.append(now - self.waiting.popleft())
            self.free.append(self)


async def _drive(port: int, rate: float, seconds: float) -> dict[str, float]:
    loop = asyncio.get_running_loop()
    took: list[float] = []
    due: deque[float] = deque()
    free: deque[_Client] = deque()
    clients = []
    for _ in range(CONNECTIONS):
        _, client = await loop.create_connection(lambda: _Client(due, took, free), "127.0.0.1", port)
        clients.append(client)
        free.append(client)
    request = (
        "GET /v1/users/7 HTTP/1.1\r\nHost: bench\r\n" + "".join(f"{line}\r\n" for line in HEADERS) + "\r\n"
    ).encode()
    start = loop.time() + 0.05
    sent = 0
    total = int(rate * seconds)
    while sent < total:
        now = loop.time()
        while sent < total and start + sent / rate <= now:
            moment = start + sent / rate
            client = free.popleft() if free else min(clients, key=lambda one: len(one.waiting))
            client.send(request, moment)
            sent += 1
        await asyncio.sleep(max(0.0, start + sent / rate - loop.time()))
    for _ in range(100):  # answers still under way have ten seconds
        if len(took) == sent:
            break
        await asyncio.sleep(0.1)
    spent = loop.time() - start
    answered = sorted(took)
    failed = sent - len(took) + sum(client.refused for client in clients)
    for client in clients:
        client.transport.abort()  # type: ignore[attr-defined]
    return {
        "p50": answered[len(answered) // 2] * 1000,
        "p99": answered[int(len(answered) * 0.99)] * 1000,
        "max": answered[-1] * 1000,
        "rate": len(answered) / spent,
        "failed": failed,
    }


if __name__ == "__main__":
    import uvloop

    print(json.dumps(uvloop.run(_drive(int(sys.argv[1]), float(sys.argv[2]), float(sys.argv[3])))))
