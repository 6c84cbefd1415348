"""
An origin of plain blocking sockets and threads that does, byte for byte, what a test scripts, and keeps every byte it gets.

In order::

    with RawOrigin() as origin:
        path = origin.at(lambda talk, request: talk.send(b"HTTP/1.1 200 OK\\r\\n..."))
        ...                                  # let somebody ask for that path
        origin.requests[path]                # what came
"""

from __future__ import annotations

import contextlib
import itertools
import json
import socket
import ssl
import struct
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

PATIENCE = 30.0
_numbers = itertools.count(1)


@dataclass
class Request:
    """One request as it came."""

    method: str
    target: str
    headers: list[tuple[str, str]]
    raw: bytes
    """Its head."""

    talk: Talk
    body: bytes = b""
    trailers: list[tuple[str, str]] = field(default_factory=list)

    @property
    def path(self) -> str:
        return self.target.partition("?")[0]

    @property
    def followed(self) -> bytes:
        """Every byte that came on the connection behind the head, as far as it has been read."""
        seen = bytes(self.talk.seen)
        return seen[seen.rindex(self.raw) + len(self.raw) :]

    def all(self, name: str) -> list[str]:
        """The values of the fields of that name."""
        return [value for known, value in self.headers if known.lower() == name.lower()]

    def get(self, name: str) -> str | None:
        """The first of them."""
        return next(iter(self.all(name)), None)


Script = Callable[["Talk", Request], Any]


class Talk:
    """One accepted connection, in a thread of its own."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        sock.settimeout(PATIENCE)
        if sock.family != socket.AF_UNIX:
            # What is sent has arrived: nothing waits for the acknowledgement of what was sent before (Nagle).
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.seen = bytearray()
        """Every byte that came while `keeps` was true."""

        self.keeps = True
        self.ended: float | None = None
        """Monotonic time when the other side was gone."""

        self.took = 0
        """How much of a flood the other side has taken, once that is over."""

        self._rest = b""

    def read(self, size: int = 1 << 16) -> bytes:
        """What there is; nothing at the end."""
        if self._rest:
            data, self._rest = self._rest[:size], self._rest[size:]
            return data
        try:
            data = self.sock.recv(size)
        except (ConnectionError, ssl.SSLError):
            data = b""
        if not data:
            self.ended = self.ended or time.monotonic()
        if self.keeps:
            self.seen += data
        return data

    def until(self, mark: bytes) -> bytes:
        """All up to and with ``mark``."""
        data = b""
        while mark not in data:
            piece = self.read()
            if not piece:
                raise EOFError
            data += piece
        end = data.index(mark) + len(mark)
        self._rest = data[end:] + self._rest
        return data[:end]

    def exactly(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            piece = self.read(size - len(data))
            if not piece:
                raise EOFError
            data += piece
        return data

    def request(self) -> Request:
        """The next head."""
        raw = self.until(b"\r\n\r\n")
        line, *fields = raw.decode("latin-1")[:-4].split("\r\n")
        method, target, _ = line.split(" ")
        headers = [(name, value.strip(" \t")) for name, _, value in (text.partition(":") for text in fields)]
        return Request(method, target, headers, raw, self)

    def body(self, request: Request) -> None:
        """The rest of that request."""
        if request.get("transfer-encoding") == "chunked":
            while size := int(self.until(b"\r\n").split(b";")[0], 16):
                request.body += self.exactly(size)
                assert self.exactly(2) == b"\r\n"
            while (line := self.until(b"\r\n")) != b"\r\n":
                name, _, value = line.decode("latin-1").strip().partition(":")
                request.trailers.append((name, value.strip()))
        else:
            request.body = self.exactly(int(request.get("content-length") or 0))

    def send(self, data: bytes) -> None:
        self.sock.sendall(data)

    def answer(self, body: bytes = b"ok", *fields: bytes, status: int = 200) -> None:
        """An ordinary answer; the connection stays open."""
        lines = [b"HTTP/1.1 %d x" % status, b"content-length: %d" % len(body), *fields]
        self.send(b"\r\n".join(lines) + b"\r\n\r\n" + body)

    def flood(self, piece: bytes, most: int = 1 << 28) -> int:
        """Send ``piece`` again and again until the other side has had enough; how many bytes it took."""
        sent = 0
        with contextlib.suppress(OSError):
            while sent < most:
                sent += self.sock.send(piece)
        return sent

    def wait(self) -> None:
        """Until the other side is gone."""
        while self.read():
            pass

    def reset(self) -> None:
        """Close with a reset."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()

    def close(self) -> None:
        """Close in order, whatever is unread."""
        with contextlib.suppress(OSError):
            self.sock.shutdown(socket.SHUT_WR)


def echo(talk: Talk, request: Request) -> None:
    """The script of paths that have none: says what came, and that it was whole."""
    talk.body(request)
    talk.answer(
        json.dumps({"method": request.method, "target": request.target, "headers": request.headers}).encode()
        if request.method != "HEAD"
        else b"",
        b"content-type: application/json",
    )


class RawOrigin:
    """Listens on a port of its own, or on ``path``, as a UNIX socket. ``first`` is called with each new connection."""

    def __init__(
        self,
        *,
        path: str = "",
        tls: ssl.SSLContext | None = None,
        first: Callable[[Talk], Any] | None = None,
        receive_buffer: int = 0,
    ) -> None:
        self._scripts: dict[str, Script] = {}
        self._tls = tls
        self._first = first
        self.requests: dict[str, list[Request]] = defaultdict(list)
        self.talks: list[Talk] = []
        self.handshakes: list[str] = []
        """How each TLS handshake ended: the SNI name, or what went wrong."""

        if path:
            self._listener = socket.socket(socket.AF_UNIX)
            self._listener.bind(path)
            self.url = f"unix:{path}"
        else:
            self._listener = socket.socket()
            if receive_buffer:
                self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
            self._listener.bind(("127.0.0.1", 0))
            self.port = self._listener.getsockname()[1]
            self.url = f"http{'s' if tls else ''}://127.0.0.1:{self.port}"
        self._listener.listen(128)
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> RawOrigin:
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for talk in self.talks:
            with contextlib.suppress(OSError):
                talk.sock.shutdown(socket.SHUT_RDWR)

    def at(self, script: Script, path: str = "") -> str:
        """A path that nobody had before, and what happens there; after the script the next request is read."""
        path = path or f"/raw/{next(_numbers)}"
        self._scripts[path] = script
        return path

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                sock, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(sock,), daemon=True).start()

    def _serve(self, sock: socket.socket) -> None:
        talk = Talk(sock)
        with contextlib.suppress(OSError, EOFError), contextlib.closing(sock):
            if self._first is not None:
                self._first(talk)
            if self._tls is not None:
                try:
                    talk.sock = self._tls.wrap_socket(sock, server_side=True)
                except OSError as reason:
                    self.handshakes.append(f"failed: {reason}")
                    raise
                self.handshakes.append("done")
            self.talks.append(talk)
            with contextlib.closing(talk.sock):
                for request in self._requests(talk):
                    self._scripts.get(request.path, echo)(talk, request)

    def _requests(self, talk: Talk) -> Iterator[Request]:
        while talk.sock.fileno() >= 0:
            request = talk.request()
            self.requests[request.path].append(request)
            yield request
