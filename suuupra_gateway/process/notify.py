"""
Telling the service manager how we are: the datagrams of ``sd_notify(3)``.

A few lines are easier to own than a dependency. Without ``NOTIFY_SOCKET`` everything here does nothing.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Mapping

from twisted.logger import Logger


class Notifier:
    """Sends what the manager should know. Lives as long as the supervisor; never waits and never raises."""

    __slots__ = ("_address", "_socket", "watchdog")

    log = Logger()

    watchdog: float
    """Seconds after which the manager takes us for dead unless `alive` is called; 0.0 for never."""

    def __init__(self, address: str = "", *, watchdog: float = 0.0) -> None:
        """``address`` is a path, or an abstract name that begins with ``@``; empty for nobody."""
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self._socket: socket.socket | None = None
        self.watchdog = watchdog
        if address:
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)

    @classmethod
    def of(cls, environ: Mapping[str, str], pid: int) -> Notifier:
        """As the manager asked by ``NOTIFY_SOCKET``, ``WATCHDOG_USEC`` and ``WATCHDOG_PID`` (``sd_watchdog_enabled(3)``)."""
        watchdog = 0.0
        microseconds = environ.get("WATCHDOG_USEC", "")
        if microseconds.isascii() and microseconds.isdigit() and environ.get("WATCHDOG_PID", str(pid)) == str(pid):
            watchdog = int(microseconds) / 1_000_000
        return cls(environ.get("NOTIFY_SOCKET", ""), watchdog=watchdog)

    def ready(self, status: str) -> None:
        """Started, or done with a reload, whatever came of it: ``status`` says."""
        self._send("READY=1", status=status)

    def reloading(self, status: str) -> None:
        """A reload begins. Without the time stamp ``Type=notify-reload`` never believes the READY that follows."""
        self._send("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}", status=status)

    def stopping(self, status: str) -> None:
        """We have been told to end and are draining."""
        self._send("STOPPING=1", status=status)

    def status(self, status: str) -> None:
        """One line for ``systemctl status``."""
        self._send(status=status)

    def alive(self) -> None:
        """Feed the watchdog; to be called only while everything works."""
        self._send("WATCHDOG=1")

    def extend(self, seconds: float) -> None:
        """Ask for more time for the start, reload or stop that is going on."""
        self._send(f"EXTEND_TIMEOUT_USEC={int(seconds * 1_000_000)}")

    def close(self) -> None:
        """Say no more. Idempotent."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _send(self, *fields: str, status: str = "") -> None:
        if self._socket is None:
            return
        if status:
            fields += ("STATUS=" + " ".join(status.split()),)  # a line feed would begin another field
        try:
            self._socket.sendto("\n".join(fields).encode(), self._address)
        except OSError as reason:
            self.log.warn("The service manager cannot be told {fields}: {reason}", fields=fields, reason=reason)


def without_manager(environ: Mapping[str, str]) -> dict[str, str]:
    """``environ`` for a child: it must neither speak to the service manager in our name nor take our sockets."""
    return {name: value for name, value in environ.items() if name not in _OURS}


_OURS = frozenset({"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES"})


def started_with() -> dict[str, str]:
    """
    The environment that this process was started with.

    Twisted's parser of ``systemd:`` endpoints takes ``LISTEN_FDS`` out of `os.environ` as soon as something imports it
    (``twisted/python/systemd.py``), and twistd's plugins do. The kernel remembers.
    """
    try:
        with open("/proc/self/environ", "rb") as file:
            entries = file.read().split(b"\0")
    except OSError:
        return dict(os.environ)
    pairs = (os.fsdecode(entry).partition("=") for entry in entries if entry)
    return {name: value for name, _, value in pairs}


def environment() -> dict[str, str]:
    """The environment of this process, for those who start children."""
    return without_manager(os.environ)
