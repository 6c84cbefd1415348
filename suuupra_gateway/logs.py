"""
The access log: one JSON line per exchange.

`AccessLog.record` encodes a line into a buffer; the buffer is written at most every 100 ms, or when it holds 64 KiB. A line is
always one line of ASCII, whatever bytes the client sent: bytes beyond ASCII appear as ``\\xNN`` and control characters as JSON
escapes. A full disk or a reader that sleeps costs lines, which are counted, and never traffic.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from typing import Final

import msgspec
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from suuupra_gateway import metrics
from suuupra_gateway.config.model import AccessLogSpec
from suuupra_gateway.errors import BadRequest
from suuupra_gateway.http.message import RequestHead
from suuupra_gateway.http.target import parse_target
from suuupra_gateway.interfaces import IExchange
from suuupra_gateway.sink import FileSink, Sink, StreamSink
from suuupra_gateway.tally import Sample

PAUSE: Final = 0.1
"""Longest time in seconds that a line waits to be written."""

BATCH: Final = 64 * 1024
"""Bytes that are written at once."""

BACKLOG: Final = 1024 * 1024
"""Bytes that wait for a slow reader; lines beyond are dropped."""

LONGEST: Final = 4096
"""Bytes of the longest line: what a pipe takes in one piece. Longer ones have their texts cut and say ``truncated``."""

_CUT: Final = 96
_MESSAGE: Final = 256
_NEWLINE: Final = 10
_TRACEPARENT: Final = re.compile(rb"[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}")
_MILLISECONDS: Final = tuple(f".{millisecond:03d}Z" for millisecond in range(1000))
_PROTOCOLS: Final = {b"1.1": "HTTP/1.1", b"1.0": "HTTP/1.0", b"2": "HTTP/2"}
_JOURNAL_PRIORITY: Final = b"<6>"  # informational; sd-daemon(3)


class Line(msgspec.Struct, gc=False):
    """One line. The order is the order in the file; docs/access-log.rst explains each field."""

    time: str
    request_id: str
    trace_id: str | None
    client_ip: str
    method: str
    host: str
    path: str
    query: str | msgspec.UnsetType | None
    protocol: str
    user_agent: str | None
    route: str | None
    identity: str | None
    key: str | None
    auth: str | None
    status: int
    source: str
    code: str | None
    message: str | None
    bytes_in: int
    bytes_out: int
    filters_ms: float | None
    queue_ms: float | None
    connect_ms: float | None
    ttfb_ms: float | None
    total_ms: float
    attempts: int
    upstream: str | None
    peer: str | None
    upstream_error: str | None
    listener: str
    worker: int
    generation: int
    truncated: bool | msgspec.UnsetType = msgspec.UNSET


def open_sink(path: str) -> Sink | None:
    """
    What ``access-log.path`` means: None for ``off``.

    :raises OSError: it cannot be opened.
    """
    if path == "off":
        return None
    if path == "-":
        return StreamSink(1)
    if path == "journald":
        return StreamSink(2)
    return FileSink(path)


_LOGINS: Final = "login:"
"""How names of the gateway's own routes for logins begin."""


class AccessLog:
    """The access log of one worker. Lives until the worker ends or its spec changes; the owner calls `close`."""

    log = Logger()

    __slots__ = (
        "generation",
        "written",
        "dropped",
        "_reactor",
        "_worker",
        "_wall",
        "_query",
        "_prefix",
        "_sink",
        "_buffer",
        "_lines",
        "_call",
        "_second",
        "_prefix_of_second",
        "_encode_into",
        "_failing",
        "_torn",
    )

    generation: int
    """Of the plan in force; the owner sets it when a plan takes effect."""

    written: int
    """Lines written so far."""

    dropped: int
    """Lines lost so far."""

    def __init__(
        self, spec: AccessLogSpec, reactor: IReactorTime, *, worker: int = 0, wall: Callable[[], float] = time.time
    ) -> None:
        """:raises OSError: the file cannot be opened."""
        self.generation = 0
        self.written = 0
        self.dropped = 0
        self._reactor = reactor
        self._worker = worker
        self._wall = wall
        self._query = spec.query
        self._prefix = _JOURNAL_PRIORITY if spec.path == "journald" else b""
        self._sink = open_sink(spec.path)
        self._buffer = bytearray()
        self._lines = 0
        self._call: IDelayedCall | None = None
        self._second = -1
        self._prefix_of_second = ""
        self._encode_into = msgspec.json.Encoder().encode_into
        self._failing = False
        self._torn = False

    @property
    def enabled(self) -> bool:
        """False if the log is ``off``: then `record` need not be called."""
        return self._sink is not None

    def record(self, exchange: IExchange, listener: str = "") -> None:
        """Write the line of a settled exchange, soon. ``listener`` is the name of the listener it came by."""
        if self._sink is None:
            return
        buffer = self._buffer
        before = len(buffer)
        if before > BACKLOG:
            self.dropped += 1
            return
        line = self._line(exchange, listener)
        if self._prefix:
            buffer += self._prefix
        self._encode_into(line, buffer, -1)
        if len(buffer) - before >= LONGEST:
            del buffer[before:]
            buffer += self._prefix
            self._encode_into(_shortened(line), buffer, -1)
        buffer += b"\n"
        self._lines += 1
        if self._call is None:
            self._call = self._reactor.callLater(PAUSE, self._due)
        elif before < BATCH <= len(buffer):
            self.flush()

    def flush(self) -> None:
        """Write what is buffered, as far as the reader takes it."""
        sink = self._sink
        if sink is None:
            return
        buffer = self._buffer
        try:
            while buffer:
                piece = len(buffer)
                if piece > sink.piece:
                    piece = buffer.rfind(b"\n", 0, sink.piece) + 1
                # A copy: what an error's traceback still holds of a view would keep the buffer from shrinking.
                taken = sink.write(bytes(buffer[:piece]))
                whole = buffer.count(b"\n", 0, taken)
                self._torn = buffer[taken - 1] != _NEWLINE
                self._lines -= whole
                self.written += whole
                del buffer[:taken]
        except BlockingIOError:
            return
        except OSError as error:
            buffer.clear()
            lost = self._lines
            self._lines = 0
            if self._torn:  # half a line is out: end it, so that the next one is whole
                buffer += b"\n"
                self._lines = 1
                lost -= 1
            self.dropped += lost
            if not self._failing:
                self._failing = True
                self.log.error("access log cannot be written, lines are lost: {error}", error=error)
            return
        if self._failing:
            self._failing = False
            self.log.info("access log is written again after {dropped} lost lines", dropped=self.dropped)

    def reopen(self) -> None:
        """Go on in a new file of the same name: the old one was moved away. If that fails the old one stays in use."""
        if self._sink is None:
            return
        self.flush()
        try:
            self._sink.reopen()
        except OSError as error:
            self.log.error("access log cannot be reopened, the old file stays in use: {error}", error=error)

    def close(self) -> None:
        """Write what is buffered and give the descriptor back. Lines that cannot be written at once are lost."""
        if self._call is not None:
            self._call.cancel()
            self._call = None
        if self._sink is not None:
            self.flush()
            self._sink.close()
            self._sink = None

    def samples(self) -> Iterator[Sample]:
        """How many lines were written and lost; for `Tally.sources`."""
        yield Sample(metrics.LOG_LINES.name, (("outcome", "written"),), self.written)
        yield Sample(metrics.LOG_LINES.name, (("outcome", "dropped"),), self.dropped)

    def _due(self) -> None:
        self._call = None
        self.flush()
        if self._buffer:
            self._call = self._reactor.callLater(PAUSE, self._due)

    def _line(self, exchange: IExchange, listener: str) -> Line:
        head = exchange.head
        outcome = exchange.outcome
        route = exchange.route
        principal = exchange.principal
        error = outcome.error
        upstream_error = outcome.upstream_error
        arrived = exchange.arrived or outcome.ended

        agent = trace = None
        for name, value in head.headers:
            if name == b"user-agent":
                agent = value.decode("ascii", "backslashreplace")
            elif name == b"traceparent":
                match = _TRACEPARENT.fullmatch(value)
                if match is not None:
                    trace = match[1].decode("ascii")

        target = head.target
        path, mark, query = target.partition(b"?")
        if mark and route is not None and route.name.startswith(_LOGINS):
            query = b"..."  # codes and states are as good as credentials for as long as they last
        if path != head.path:
            path = _normalised(head, path)

        wall = self._wall()
        second = int(wall)
        if second != self._second:
            self._second = second
            self._prefix_of_second = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))

        return Line(
            self._prefix_of_second + _MILLISECONDS[int((wall - second) * 1000)],
            exchange.id.decode("ascii", "backslashreplace"),
            trace,
            exchange.client,
            head.method.decode("ascii", "backslashreplace"),
            head.host.decode("ascii", "backslashreplace"),
            path.decode("ascii", "backslashreplace"),
            (query.decode("ascii", "backslashreplace") if mark else None) if self._query else msgspec.UNSET,
            _PROTOCOLS.get(head.version, "unknown"),
            agent,
            None if route is None else route.name,
            None if principal is None else _plain(principal.subject),
            None if principal is None else principal.key or None,
            outcome.auth or None,
            outcome.status,
            outcome.source,
            None if error is None else error.code,
            None if error is None else _plain(str(error)),
            outcome.received,
            outcome.sent,
            int((outcome.filtered - arrived) * 1e6 + 0.5) / 1e3 if outcome.filtered else None,
            int((outcome.chosen - outcome.filtered) * 1e6 + 0.5) / 1e3 if outcome.chosen else None,
            int((outcome.connected - outcome.chosen) * 1e6 + 0.5) / 1e3 if outcome.connected else None,
            int((outcome.first_byte - outcome.connected) * 1e6 + 0.5) / 1e3 if outcome.first_byte else None,
            int((outcome.ended - arrived) * 1e6 + 0.5) / 1e3,
            outcome.attempts,
            outcome.upstream or None,
            outcome.peer or None,
            None if upstream_error is None else upstream_error.code,
            listener,
            self._worker,
            self.generation,
        )


def _plain(text: str) -> str:
    return text[:_MESSAGE].encode("ascii", "backslashreplace").decode("ascii")


def _normalised(head: RequestHead, path: bytes) -> bytes:
    """The path as routes saw it: before filters rewrote it. Computed anew, because few requests come this way."""
    try:
        return parse_target(head.target, head.method, merge_slashes=True).path
    except BadRequest:
        return path


def _shortened(line: Line) -> Line:
    return msgspec.structs.replace(
        line,
        host=line.host[:_CUT],
        path=line.path[:_CUT],
        query=line.query[:_CUT] if isinstance(line.query, str) else line.query,
        method=line.method[:_CUT],
        identity=None if line.identity is None else line.identity[:_CUT],
        user_agent=None if line.user_agent is None else line.user_agent[:_CUT],
        message=None if line.message is None else line.message[:_CUT],
        truncated=True,
    )
