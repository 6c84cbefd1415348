"""
The gateway's own log as JSON lines: an observer for ``twisted.logger``.

One event is one line of ASCII with ``time``, ``level``, ``logger``, ``message`` and the event's own fields, and ``traceback`` for
failures. ``twistd --logger suuupra_gateway.events.journal`` writes to standard error with the priority prefix that journald reads
(sd-daemon(3)); ``suuupra_gateway.events.lines`` writes without it.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from typing import Final

from twisted.logger import ILogObserver, LogEvent, LogLevel, formatEvent
from twisted.python.failure import Failure
from zope.interface import implementer

_PRIORITIES: Final = {
    LogLevel.critical: 2,
    LogLevel.error: 3,
    LogLevel.warn: 4,
    LogLevel.info: 6,
    LogLevel.debug: 7,
}
_LONGEST: Final = 4096
"""Characters of one text; a traceback beyond is cut in the middle."""

_OWN: Final = frozenset(("time", "level", "logger", "message", "pid", "traceback"))


@implementer(ILogObserver)
class JSONObserver:
    """Writes each event as one line. Never raises: what cannot be shown is named instead."""

    __slots__ = ("_write", "_prefix")

    def __init__(self, write: Callable[[bytes], object], *, prefix: bool) -> None:
        """
        :param write: takes a whole line.
        :param prefix: whether a line begins with ``<priority>``.
        """
        self._write = write
        self._prefix = prefix

    def __call__(self, event: LogEvent) -> None:
        level = event.get("log_level") or LogLevel.info
        line: dict[str, object] = {
            "time": _time(event.get("log_time", 0.0)),
            "level": level.name,
            "logger": str(event.get("log_namespace", "")),
            "message": _short(formatEvent(event)),
            "pid": os.getpid(),
        }
        for name, value in event.items():
            if name not in _OWN and not name.startswith("log_") and name not in _LEGACY:
                line[name] = _plain(value)
        failure = event.get("log_failure")
        if isinstance(failure, Failure):
            line["traceback"] = _short(failure.getTraceback())
        # json and not msgspec: fields may hold lone surrogates (file names), which only escaping can carry.
        text = json.dumps(line, ensure_ascii=True, separators=(",", ":"))
        prefix = f"<{_PRIORITIES.get(level, 6)}>" if self._prefix else ""
        self._write(f"{prefix}{text}\n".encode("ascii"))


_LEGACY: Final = frozenset(("isError", "failure", "why", "format", "system", "printed"))
"""Keys that ``twisted.python.log`` adds to every event."""


def journal() -> JSONObserver:
    """For ``twistd --logger``: standard error, with priorities."""
    return JSONObserver(_to_stderr, prefix=True)


def lines() -> JSONObserver:
    """For ``twistd --logger``: standard error, JSON alone."""
    return JSONObserver(_to_stderr, prefix=False)


def _to_stderr(line: bytes) -> None:
    # A log that nobody reads any more is no reason to stop; there is nowhere left to say so.
    try:
        os.write(2, line)
    except OSError:
        return


def _time(seconds: float) -> str:
    whole = int(seconds)
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(whole)) + f".{int((seconds - whole) * 1000):03d}Z"


def _plain(value: object) -> object:
    if value is None or isinstance(value, bool):
        return value
    # What every JSON reader can hold: no infinities (RFC 8259 section 6), no integers past 64 bits.
    if isinstance(value, int | float) and abs(value) < 2**63:
        return value
    try:
        return _short(value if isinstance(value, str) else repr(value))
    except Exception as reason:
        return f"unprintable value: {type(reason).__name__}"


def _short(text: str) -> str:
    if len(text) <= _LONGEST:
        return text
    half = _LONGEST // 2
    return f"{text[:half]} … {text[-half:]}"
