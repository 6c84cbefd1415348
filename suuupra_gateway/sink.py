"""
Where log lines go: a file, a pipe, a terminal or a socket, none of which may ever hold up the event loop.

Several processes write to the same place. What one `Sink.write` is given is written whole, so that lines never mix: files by
``O_APPEND`` (one ``write`` is atomic to other appenders), pipes by pieces of at most ``PIPE_BUF`` bytes (POSIX.1-2017 ``write``).
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
import stat
from typing import Protocol

_OPEN = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOCTTY | os.O_NONBLOCK
_MODE = 0o640  # addresses of people: not for everybody


class Sink(Protocol):
    """Takes bytes now or not at all."""

    piece: int
    """Most bytes of one `write` that stay together."""

    def write(self, data: bytes) -> int:
        """
        Write ``data``, at most `piece` bytes of it, and return how many bytes were taken.

        :raises BlockingIOError: nothing was taken, because whoever reads the other end is too slow; try again later.
        :raises OSError: nothing was taken: the disk is full, or nobody reads the other end any more.
        """

    def reopen(self) -> None:
        """
        Go on in a new file of the same name, if this is a file.

        :raises OSError: the file cannot be opened; the old one stays in use.
        """

    def close(self) -> None:
        """Give the descriptor back."""


class FileSink:
    """A file that others may move away. It is made if it does not exist, with mode 0640."""

    __slots__ = ("_fd", "_path", "piece")

    def __init__(self, path: str) -> None:
        """:raises OSError: the file cannot be opened for appending."""
        self._path = path
        self._fd = os.open(path, _OPEN, _MODE)
        self.piece = select.PIPE_BUF if stat.S_ISFIFO(os.fstat(self._fd).st_mode) else 1 << 20

    def write(self, data: bytes) -> int:
        return os.write(self._fd, data[: self.piece])

    def reopen(self) -> None:
        fd = os.open(self._path, _OPEN, _MODE)
        os.close(self._fd)
        self._fd = fd

    def close(self) -> None:
        os.close(self._fd)


class StreamSink:
    """
    A descriptor that we inherited, such as standard output.

    It is shared with other processes and so must not be made non-blocking: a pipe or terminal is opened once more by its
    name in ``/proc``, which gives a description of our own; a socket (journald's) is asked per write.
    """

    __slots__ = ("_fd", "_socket", "piece")

    def __init__(self, fd: int) -> None:
        """:raises OSError: there is no such descriptor."""
        mode = os.fstat(fd).st_mode
        self._socket: socket.socket | None = None
        self._fd = -1
        self.piece = 1 << 20
        if stat.S_ISSOCK(mode):
            self._socket = socket.socket(fileno=os.dup(fd))
            return
        if stat.S_ISFIFO(mode) or stat.S_ISCHR(mode):
            self.piece = select.PIPE_BUF
            # Where /proc is not mounted or the terminal is another user's (su), writing may block as it does for everybody.
            with contextlib.suppress(OSError):
                self._fd = os.open(f"/proc/self/fd/{fd}", os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
        if self._fd < 0:
            self._fd = os.dup(fd)

    def write(self, data: bytes) -> int:
        if self._socket is not None:
            return self._socket.send(data, socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
        return os.write(self._fd, data[: self.piece])

    def reopen(self) -> None:
        """Nothing to do: whoever gave us the descriptor rotates."""

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
        else:
            os.close(self._fd)
