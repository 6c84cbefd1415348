"""
The reactor of a process that carries traffic: Twisted's asyncio reactor on a uvloop loop.
"""

from __future__ import annotations

import asyncio
from typing import Any

from twisted.logger import Logger
from twisted.python.failure import Failure

_log = Logger()


def install() -> str:
    """
    Install the reactor. Call it before anything imports ``twisted.internet.reactor``.

    :return: ``"uvloop"``, or ``"default"`` where uvloop is not installed and Twisted's default reactor took its place.
    :raises twisted.internet.error.ReactorAlreadyInstalledError: if it is too late.
    """
    try:
        import uvloop
    except ImportError:
        from twisted.internet import default

        default.install()
        return "default"
    from twisted.internet import asyncioreactor

    loop = uvloop.new_event_loop()
    loop.set_exception_handler(_failed)
    asyncioreactor.install(loop)  # type: ignore[no-untyped-call]  # Twisted's
    return "uvloop"


def _failed(loop: asyncio.AbstractEventLoop, report: dict[str, Any]) -> None:
    """
    Log what nobody caught, as Twisted logs it for its own transports: a protocol raised, mostly; its connection is closed.

    The loop would tell the standard library's `logging`, where nobody listens.
    """
    words = report.get("message") or "Unhandled in the event loop"
    reason = report.get("exception")
    if reason is None:
        _log.error("{words}", words=words)
    else:
        _log.failure("{words}", Failure(reason), words=words)  # type: ignore[no-untyped-call]  # Twisted's


def loop_of(reactor: object) -> asyncio.AbstractEventLoop | None:
    """The asyncio loop that ``reactor`` runs on, or None if it runs on none."""
    # Twisted has no public name for it; test_reactor.py notices should it change.
    loop: asyncio.AbstractEventLoop | None = getattr(reactor, "_asyncioEventloop", None)
    return loop
