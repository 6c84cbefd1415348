"""
Clients that say exactly what a test wants, and see exactly what came back; and what the gateway tells about it afterwards.
"""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from tests.live.harness import PATIENCE, Gateway, until


class Broken(Exception):
    """The connection ended in the middle of an answer, so that nobody can take it for a whole one."""

    head: Answer | None = None
    body = b""


@dataclass
class Answer:
    """What came back."""

    version: str
    status: int
    headers: list[tuple[str, str]]
    body: bytes = b""
    trailers: list[tuple[str, str]] = field(default_factory=list)
    interim: list[int] = field(default_factory=list)

    def all(self, name: str) -> list[str]:
        """The values of the fields of that name."""
        return [value for known, value in self.headers if known.lower() == name]

    def get(self, name: str) -> str | None:
        """The first of them."""
        return next(iter(self.all(name)), None)

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def code(self) -> str | None:
        """Which error the gateway says it is; it must say so twice."""
        code = self.get("x-gateway-error")
        if code is not None:
            assert self.get("content-type") == "application/problem+json", self
            assert (self.json["code"], self.json["status"]) == (code, self.status)
        return code


class Wire:
    """One connection of a client."""

    def __init__(self, address: str, *, source: str = "", receive_buffer: int = 0) -> None:
        """:param address: as the gateway logs it; ``source`` is the address to come from."""
        host, _, port = address.rpartition(":")
        host = host.strip("[]")
        self.sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
        if receive_buffer:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.sock.settimeout(PATIENCE)
        if source:
            self.sock.bind((source, 0))
        self.sock.connect((host, int(port)))
        self._rest = b""

    def __enter__(self) -> Wire:
        return self

    def __exit__(self, *_: object) -> None:
        self.sock.close()

    def send(self, *pieces: bytes) -> None:
        self.sock.sendall(b"".join(pieces))

    def head(self, method: str, target: str, *fields: str, version: str = "1.1", host: str = "a.example") -> None:
        """A request line and fields; ``Host`` is among them."""
        lines = [f"{method} {target} HTTP/{version}", f"Host: {host}", *fields]
        self.send("\r\n".join(lines).encode("latin-1") + b"\r\n\r\n")

    def get(self, target: str, *fields: str, method: str = "GET") -> Answer:
        """Ask, and see what comes."""
        self.head(method, target, *fields)
        return self.answer(method)

    def post(self, target: str, body: bytes, *fields: str, method: str = "POST") -> Answer:
        """The same with a body of known length."""
        self.head(method, target, f"Content-Length: {len(body)}", *fields)
        self.send(body)
        return self.answer(method)

    def answer(self, method: str = "GET", each: Callable[[bytes], object] | None = None) -> Answer:
        """
        The next answer.

        :param each: called with the pieces of the body, which are then not kept.
        :raises Broken: it is not whole.
        """
        interim: list[int] = []
        while True:
            lines = self._until(b"\r\n\r\n").decode("latin-1")[:-4].split("\r\n")
            version, status, *_ = lines[0].split(" ")
            assert version in ("HTTP/1.1", "HTTP/1.0"), lines
            found = Answer(version, int(status), [_field(line) for line in lines[1:]], interim=interim)
            if found.status >= 200:
                break
            interim.append(found.status)
        body = bytearray()
        take = each or body.extend
        try:
            self._body(method, found, take)
        except Broken as broken:
            broken.head, broken.body = found, bytes(body)
            raise
        found.body = bytes(body)
        return found

    def _body(self, method: str, found: Answer, take: Callable[[bytes], object]) -> None:
        lengths = found.all("content-length")
        codings = found.all("transfer-encoding")
        assert len(lengths) + len(codings) <= 1, found
        if method == "HEAD" or found.status in (204, 304):
            return
        if codings:
            assert codings == ["chunked"]
            while size := int(self._until(b"\r\n"), 16):
                self._exactly(size, take)
                end = bytearray()
                self._exactly(2, end.extend)
                assert end == b"\r\n"
            while (line := self._until(b"\r\n")) != b"\r\n":
                found.trailers.append(_field(line.decode("latin-1")[:-2]))
        elif lengths:
            self._exactly(int(lengths[0]), take)
        else:
            while piece := self._more():
                take(piece)

    def end(self) -> bytes:
        """What still came before the connection was closed."""
        data = self._rest
        while True:
            try:
                piece = self.sock.recv(1 << 16)
            except ConnectionError:
                return data
            if not piece:
                return data
            data += piece

    def open(self) -> bool:
        """Whether the other side has neither said anything more nor closed."""
        self.sock.settimeout(0.15)
        try:
            self.sock.recv(1, socket.MSG_PEEK)
        except TimeoutError:
            return True
        except ConnectionError:
            return False
        finally:
            self.sock.settimeout(PATIENCE)
        return False

    def _more(self) -> bytes:
        if self._rest:
            data, self._rest = self._rest, b""
            return data
        try:
            return self.sock.recv(1 << 18)
        except ConnectionError as reason:
            raise Broken(str(reason)) from reason

    def _until(self, mark: bytes) -> bytes:
        data = b""
        while mark not in data:
            piece = self._more()
            if not piece:
                raise Broken(f"ended after {data!r}")
            data += piece
        end = data.index(mark) + len(mark)
        self._rest = data[end:]
        return data[:end]

    def _exactly(self, size: int, take: Callable[[bytes], object]) -> None:
        while size:
            piece = self._more()
            if not piece:
                raise Broken(f"{size} bytes short")
            take(piece[:size])
            self._rest = piece[size:]
            size -= min(size, len(piece))


def _field(line: str) -> tuple[str, str]:
    name, colon, value = line.partition(": ")
    assert colon, line
    return name, value


class Watch:
    """What a running gateway says of itself."""

    def __init__(self, gateway: Gateway, log: Path) -> None:
        self.gateway = gateway
        self._log = log

    def lines(self, path: str) -> list[dict[str, Any]]:
        """The access log's lines about that path."""
        text = self._log.read_text() if self._log.exists() else ""
        lines = [json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines() if path in line]
        return [line for line in lines if line["path"] == path]

    def line(self, path: str, count: int = 1) -> dict[str, Any]:
        """The last of exactly ``count`` lines."""
        found: list[dict[str, Any]] = until(
            lambda: lines if len(lines := self.lines(path)) >= count else None, f"{count} lines about {path}", 5
        )
        assert len(found) == count
        return found[-1]

    def count(self, name: str, **labels: str) -> float:
        """The sum of the samples of that name with these labels."""
        text = self.gateway.admin("/metrics").body.decode()
        return sum(
            sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        )


def memory(pid: int, row: str = "VmRSS") -> int:
    """Bytes that a process holds; ``VmHWM`` for the most since `forget_peak`."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(row + ":"):
            return int(line.split()[1]) * 1024
    raise LookupError(row)


def forget_peak(pid: int) -> None:
    """Begin to look for the peak anew (proc(5), ``clear_refs``)."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")


class Stopwatch:
    """Seconds since it was made."""

    def __init__(self) -> None:
        self._start = time.monotonic()

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._start
