"""
From a file to something that workers can serve by.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterable

import attrs

import suuupra_gateway
from suuupra_gateway.config import source
from suuupra_gateway.config.model import GatewayConfig
from suuupra_gateway.config.source import Document
from suuupra_gateway.process.sockets import BoundListener
from suuupra_gateway.trace import examine


@attrs.frozen(eq=False)
class Loaded:
    """A configuration that was read, decoded, compiled and tested; nobody serves by it yet."""

    document: Document
    config: GatewayConfig


@attrs.frozen(eq=False)
class Generation:
    """What workers are to serve by."""

    number: int
    """From 1, never twice in the life of a supervisor."""

    digest: str
    config: GatewayConfig
    path: str
    """Where its document lies for workers, as JSON."""

    bound: tuple[BoundListener, ...]
    """The sockets of its listeners."""

    since: float = attrs.field(factory=time.time)
    """UNIX time."""

    def rests_on(self, other: GatewayConfig) -> bool:
        """Whether a worker that serves by this can take ``other`` without being replaced."""
        mine = self.config
        return (mine.gateway, mine.listeners, mine.access_log) == (other.gateway, other.listeners, other.access_log)


def load(path: str) -> Loaded:
    """
    Read the configuration at ``path`` and check all that can be checked without serving. Takes a while, waits for nobody.

    :raises ConfigErrors: with everything that is wrong.
    """
    document = source.load(path)
    gc.disable()  # see process/collector.py; this process collects again when all is read
    try:
        return Loaded(document, examine(document).config)
    finally:
        gc.enable()


_PRIVATE = "suuupra-gateway-"


class PlanFiles:
    """
    The directory in which workers find plans. They hold secrets in clear, so only its owner may read it.

    Lives as long as the supervisor.
    """

    __slots__ = ("directory", "_private")

    directory: str

    def __init__(self, configured: str, environ: os._Environ[str] | dict[str, str] = os.environ) -> None:
        """
        In ``configured``, else in ``$RUNTIME_DIRECTORY``, else in a private temporary directory that `close` removes.

        :raises OSError: if it cannot be made.
        """
        # systemd separates several with colons
        self.directory = configured or environ.get("RUNTIME_DIRECTORY", "").partition(":")[0]
        self._private = not self.directory
        if self._private:
            self.directory = tempfile.mkdtemp(prefix=_PRIVATE)
        else:
            os.makedirs(self.directory, mode=0o700, exist_ok=True)

    def write(self, number: int, document: Document) -> str:
        """
        Write what workers compile as generation ``number``; its path.

        :raises OSError: if that fails; nothing is left behind.
        """
        path = os.path.join(self.directory, f"plan-{number}.json")
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            with open(descriptor, "w", encoding="utf-8") as file:
                json.dump(document.tree, file, ensure_ascii=False)
        except BaseException:
            os.unlink(path)
            raise
        return path

    def keep(self, paths: Iterable[str]) -> None:
        """Remove all plans but these."""
        kept = set(paths)
        with contextlib.suppress(OSError):
            for name in os.listdir(self.directory):
                path = os.path.join(self.directory, name)
                if re.fullmatch(r"plan-\d+\.json", name) and path not in kept:
                    os.unlink(path)

    def close(self) -> None:
        """Remove what was written."""
        self.keep(())
        if self._private:
            shutil.rmtree(self.directory, ignore_errors=True)


def remove_orphan(path: str) -> None:
    """Remove the plan at ``path``, and its directory if that was made for us alone: its supervisor died without doing so."""
    directory = os.path.dirname(path)
    with contextlib.suppress(OSError):
        os.unlink(path)
    if os.path.basename(directory).startswith(_PRIVATE):
        shutil.rmtree(directory, ignore_errors=True)


def installed_release() -> str:
    """The version that a process started now would run, which an upgrade may have made another than ours."""
    with contextlib.suppress(OSError):
        with open(suuupra_gateway.__file__, encoding="utf-8") as file:
            found = re.search(r"""^__version__\s*=\s*["']([^"']+)["']""", file.read(), re.MULTILINE)
        if found:
            return found.group(1)
    return suuupra_gateway.__version__


def workers(config: GatewayConfig) -> int:
    """Worker processes that the configuration asks for; 0 to serve from the supervisor."""
    count = config.gateway.workers
    return len(os.sched_getaffinity(0)) if count == "auto" else count


def slots(config: GatewayConfig) -> int:
    """Workers of either kind."""
    return workers(config) or 1
