"""
A real redis-server as a process: on a UNIX socket, or on a free port with or without TLS; killed, frozen, started anew.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

PATIENCE = 30.0


class RedisServer:
    """One server. ``stop`` it, or use it in a ``with``. What it holds is gone when it stops, unless ``save`` says otherwise."""

    def __init__(self, directory: Path | str, *options: str, tls: str = "", authority: str = "") -> None:
        """
        :param directory: for its files and its log.
        :param options: as on its command line; ``--tcp`` lets it listen on a free port too, and `url` speak of that.
        :param tls: a file with key and certificate; it then speaks TLS on a free port.
        :param authority: who has signed that.
        """
        self._directory = Path(directory)
        self._options = options
        self._tls = tls
        self._authority = authority
        self._sockets = tempfile.TemporaryDirectory()  # the path of a socket has at most 107 bytes, pytest's are longer
        self.path = os.path.join(self._sockets.name, "redis")
        self.port = _free_port() if tls or "--tcp" in options else 0
        self.process: subprocess.Popen[bytes] | None = None
        try:
            self.start()
        except AssertionError:
            if not self.port:
                raise
            self.port = _free_port(self.port + 1)  # somebody else was faster
            self.start()

    def __enter__(self) -> RedisServer:
        return self

    def __exit__(self, *reason: object) -> None:
        self.close()

    @property
    def url(self) -> str:
        """As for `StoreSpec`."""
        if self._tls:
            return f"rediss://localhost:{self.port}"
        return f"redis://127.0.0.1:{self.port}" if self.port else f"unix:{self.path}"

    # -- its life -----------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start it, or start it again at the same place."""
        program = shutil.which("redis-server")
        assert program is not None, "these tests need redis-server, of Debian's package redis-server: tools/servers"
        words = [program, "--dir", str(self._directory), "--daemonize", "no", "--save", "", "--unixsocket", self.path]
        if self._tls:
            files = ["--tls-cert-file", self._tls, "--tls-key-file", self._tls, "--tls-ca-cert-file", self._authority]
            words += ["--port", "0", "--tls-port", str(self.port), "--tls-auth-clients", "no", *files]
        else:
            words += ["--port", str(self.port)]
        words += ["--bind", "127.0.0.1", *(word for word in self._options if word != "--tcp")]
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.path)  # of one that was killed
        with (self._directory / "redis.log").open("ab") as log:
            self.process = subprocess.Popen(words, stdout=log, stderr=log)
        end = time.monotonic() + PATIENCE
        while not self._answers():
            assert self.process.poll() is None, (self._directory / "redis.log").read_text()
            assert time.monotonic() < end, "redis-server does not answer"
            time.sleep(0.02)

    def stop(self) -> None:
        """Kill it. Idempotent."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def close(self) -> None:
        """Kill it for good. Idempotent."""
        self.stop()
        self._sockets.cleanup()

    def freeze(self) -> None:
        """Let the kernel accept connections, and nobody answer."""
        assert self.process is not None
        os.kill(self.process.pid, signal.SIGSTOP)
        os.waitid(os.P_PID, self.process.pid, os.WSTOPPED)

    def thaw(self) -> None:
        """Let it go on."""
        assert self.process is not None
        os.kill(self.process.pid, signal.SIGCONT)

    # -- what is asked of it, past the code under test -----------------------------------------------------------------

    def ask(self, *words: str) -> bytes:
        """The reply to a command, as it comes over the wire."""
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(PATIENCE)
            connection.connect(self.path)
            command = [f"*{len(words)}\r\n", *(f"${len(word.encode())}\r\n{word}\r\n" for word in words)]
            connection.sendall("".join(command).encode())
            return connection.recv(65536)

    def _answers(self) -> bool:
        try:
            with socket.socket(socket.AF_UNIX) as connection:
                connection.connect(self.path)
                connection.settimeout(PATIENCE)
                connection.sendall(b"PING\r\n")
                return bool(connection.recv(100))
        except OSError:
            return False


def _free_port(first: int = 0) -> int:
    """A port below those that the kernel hands out, so that few others look there; free a moment ago."""
    first = first or 20000 + os.getpid() * 7 % 10000
    for port in range(first, 32000):
        with socket.socket() as attempt, contextlib.suppress(OSError):
            attempt.bind(("127.0.0.1", port))
            return port
    raise AssertionError("no port is free")
