"""
Load on a gateway, from a thread with an asyncio loop of its own: closed loop, keep-alive, every failure told apart.

A client that finds a reused connection closed before the first byte of an answer may send the request again on a new one
(RFC 9112 section 9.3.1); this one does, and counts it.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter
from dataclasses import dataclass, field


@dataclass
class Report:
    answers: Counter[int] = field(default_factory=Counter)
    """By status."""

    failures: list[str] = field(default_factory=list)
    """Requests that got no whole answer."""

    refusals: list[str] = field(default_factory=list)
    """Bodies of answers other than 200."""

    repeated: int = 0
    """Requests sent again because their reused connection had been closed."""

    connects: int = 0
    longest: float = 0.0
    """Seconds of the slowest answer."""

    @property
    def good(self) -> int:
        return self.answers[200]

    @property
    def failed(self) -> int:
        """Requests that went wrong in any way."""
        return len(self.failures) + sum(count for status, count in self.answers.items() if status != 200)


class Load:
    """``with Load(host, port, path, connections=8) as load: …``; then `report`."""

    def __init__(
        self, host: str, port: int, path: str = "/json", *, connections: int = 8, pause: float = 0.0, keep: bool = True
    ) -> None:
        self.report = Report()
        self._host, self._port = host, port
        self._request = (
            f"GET {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: load\r\n{'' if keep else 'Connection: close'}"
        ).rstrip().encode() + b"\r\n\r\n"
        self._keep = keep
        self._connections = connections
        self._pause = pause
        self._stop = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), daemon=True)

    def __enter__(self) -> Load:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(30)
        assert not self._thread.is_alive(), "the load did not end: a request hangs"

    def wait(self, answers: int, seconds: float = 20.0) -> None:
        """Until so many more good answers have come."""
        goal = self.report.good + answers
        until = time.monotonic() + seconds
        while self.report.good < goal:
            assert time.monotonic() < until, f"too few answers: {self.report}"
            time.sleep(0.01)

    async def _run(self) -> None:
        await asyncio.gather(*(self._client() for _ in range(self._connections)))

    async def _client(self) -> None:
        connection: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        while not self._stop.is_set():
            started = time.monotonic()
            try:
                async with asyncio.timeout(20):
                    connection = await self._exchange(connection)
            except (OSError, EOFError, TimeoutError, ValueError) as reason:
                self.report.failures.append(f"{type(reason).__name__}: {reason}")
                connection = None
                await asyncio.sleep(0.01)
            self.report.longest = max(self.report.longest, time.monotonic() - started)
            if self._pause:
                await asyncio.sleep(self._pause)
        if connection is not None:
            connection[1].close()

    async def _exchange(
        self, connection: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter] | None:
        if connection is not None:
            reader, writer = connection
            try:
                writer.write(self._request)
                first = await reader.read(1)
            except OSError:
                first = b""
            if first:
                return await self._answer(reader, writer, first)
            writer.close()
            self.report.repeated += 1
        self.report.connects += 1
        reader, writer = await asyncio.open_connection(self._host, self._port)
        writer.write(self._request)
        first = await reader.readexactly(1)
        return await self._answer(reader, writer, first)

    async def _answer(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, first: bytes
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter] | None:
        head = (first + await reader.readuntil(b"\r\n\r\n")).lower()
        status = int(head.split(b" ", 2)[1])
        fields = dict(line.split(b":", 1) for line in head.split(b"\r\n")[1:] if b":" in line)
        if fields.get(b"transfer-encoding", b"").strip() == b"chunked":
            while size := int(await reader.readline(), 16):
                await reader.readexactly(size + 2)
            await reader.readline()
        else:
            body = await reader.readexactly(int(fields[b"content-length"]))
            if status != 200:
                self.report.refusals.append(body.decode())
        self.report.answers[status] += 1
        if fields.get(b"connection", b"").strip() == b"close" or not self._keep:
            writer.close()
            return None
        return reader, writer
