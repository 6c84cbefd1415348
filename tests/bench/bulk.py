"""
One gibibyte up and down, and how much memory that takes.
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
from collections.abc import Iterator

from tests.bench.measure import rss

_PIECE = os.urandom(65536)


@contextlib.contextmanager
def sink_and_source() -> Iterator[int]:
    """An upstream on a thread of this process: ``GET /big/N`` sends N bytes, ``PUT`` swallows; its port."""
    server = socket.create_server(("127.0.0.1", 0), backlog=256)

    def serve(client: socket.socket) -> None:
        with contextlib.suppress(ConnectionError), client, client.makefile("rb") as lines:
            while line := lines.readline():
                method, target, _ = line.split(b" ", 2)
                length = 0
                while (field := lines.readline()) not in (b"\r\n", b""):
                    name, _, value = field.partition(b":")
                    if name.lower() == b"content-length":
                        length = int(value)
                remaining = length
                while remaining:
                    piece = lines.read(min(remaining, 262144))
                    if not piece:
                        return
                    remaining -= len(piece)
                size = int(target.rsplit(b"/", 1)[1]) if method == b"GET" and target.startswith(b"/big/") else 0
                client.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
                while size:
                    client.sendall(_PIECE[: min(size, 65536)])
                    size -= min(size, 65536)

    def accept() -> None:
        while True:
            try:
                client, _ = server.accept()
            except OSError:
                return
            threading.Thread(target=serve, args=(client,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield server.getsockname()[1]
    finally:
        server.close()


class _Watch(threading.Thread):
    """Keeps the highest memory that was seen."""

    def __init__(self, pids: list[int]) -> None:
        super().__init__(daemon=True)
        self.pids, self.most, self.over = pids, 0, threading.Event()

    def run(self) -> None:
        while not self.over.wait(0.02):
            self.most = max(self.most, rss(self.pids))


def _measured(pids: list[int], size: int, move: object) -> dict[str, float]:
    before = rss(pids)
    watch = _Watch(pids)
    watch.start()
    start = time.monotonic()
    assert callable(move)
    move()
    spent = time.monotonic() - start
    watch.over.set()
    watch.join()
    return {
        "growth_mib": round((max(watch.most, rss(pids)) - before) / 2**20, 1),
        "mib_per_second": round(size / spent / 2**20),
    }


def download(port: int, pids: list[int], size: int) -> dict[str, float]:
    """Fetch ``size`` bytes through the gateway, with pauses so that back-pressure has to work."""

    def move() -> None:
        with socket.create_connection(("127.0.0.1", port)) as client:
            client.sendall(b"GET /big/%d HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n" % size)
            got = 0
            buffer = bytearray(1 << 20)
            pause = True
            while count := client.recv_into(buffer):
                got += count
                if pause and got > size // 2:
                    pause = False
                    time.sleep(2)
            if got < size:
                raise RuntimeError(f"only {got} of {size} bytes came")

    return _measured(pids, size, move)


def upload(port: int, pids: list[int], size: int) -> dict[str, float]:
    """Send ``size`` bytes through the gateway."""

    def move() -> None:
        with socket.create_connection(("127.0.0.1", port)) as client:
            client.sendall(
                b"PUT /sink HTTP/1.1\r\nHost: bench\r\nContent-Length: %d\r\nConnection: close\r\n\r\n" % size
            )
            sent = 0
            piece = _PIECE * 16
            while sent < size:
                count = min(len(piece), size - sent)
                client.sendall(piece[:count])
                sent += count
            if not client.recv(65536).startswith(b"HTTP/1.1 200"):
                raise RuntimeError("the upload was not accepted")

    return _measured(pids, size, move)
