"""
Connections of which it is known which worker serves them.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import re
from pathlib import Path

from tests.live.harness import PATIENCE, Gateway, Reply, until


class Pinned:
    """One connection to one worker, kept open."""

    def __init__(self, port: int) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
        self._connection.connect()
        self.pid = 0

    @property
    def local(self) -> int:
        number: int = self._connection.sock.getsockname()[1]
        return number

    def fetch(self, target: str = "/echo", method: str = "GET", headers: dict[str, str] | None = None) -> Reply:
        self._connection.request(method, target, headers=headers or {})
        answer = self._connection.getresponse()
        return Reply(answer.status, answer.headers, answer.read())

    def close(self) -> None:
        self._connection.close()


def owner(port: int, client: int, pids: set[int]) -> int:
    """Which of ``pids`` has accepted the connection from port ``client`` to ``port``; 0 for none."""
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        if int(fields[1][-4:], 16) == port and int(fields[2][-4:], 16) == client:
            for pid in pids:
                with contextlib.suppress(OSError):
                    if any(os.readlink(path) == f"socket:[{fields[9]}]" for path in Path(f"/proc/{pid}/fd").iterdir()):
                        return pid
    return 0


def pinned(gw: Gateway, listener: str = "public") -> dict[int, Pinned]:
    """A connection to every worker that serves, by pid."""
    port, pids = gw.port(listener), gw.pids()
    found: dict[int, Pinned] = {}
    spare: list[Pinned] = []

    def another() -> bool:
        made = Pinned(port)
        made.fetch("/json")  # answered, so accepted
        made.pid = owner(port, made.local, pids)
        if made.pid in found or not made.pid:
            spare.append(made)
        else:
            found[made.pid] = made
        return set(found) == pids

    until(another, "a connection to every worker")
    for each in spare:
        each.close()
    return found


def stale_age(reply: Reply) -> int | None:
    """What the upstream was told of the age of a stale decision, by an echoed request."""
    for name, value in reply.json["headers"]:
        if name.lower() == "x-suuupra-auth":
            matched = re.fullmatch(r"stale;age=(\d+)", value)
            assert matched, value
            return int(matched[1])
    return None
