"""
What has been revoked, as one worker knows it: told by the supervisor, asked by whoever remembers decisions.

A revocation names tags (`auth.principal.Principal.tags`). What was decided before it, under one of its tags, must not be used
any more: those who keep decisions drop them when they are told, and whoever decides about something that was issued earlier, such
as a signed token, asks `revoked`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

import msgspec
from twisted.logger import Logger

from suuupra_gateway.interfaces import Board

TOPIC: Final = "revoked"
"""Of the events, and of the value with everything that was revoked lately."""

EVERYTHING: Final = "*"
"""The tag of everything: news may have been missed, so that all must be asked anew."""

MOST: Final = 50_000
"""Tags that are remembered; the oldest go first."""


class Revocation(msgspec.Struct, frozen=True):
    """Tags that were revoked at a time."""

    tags: tuple[str, ...]
    at: float
    """UNIX time."""


class Recent(msgspec.Struct, frozen=True):
    """All that was revoked lately."""

    tags: dict[str, float]
    """Each with its UNIX time."""


_event: Final = msgspec.json.Decoder(Revocation).decode
_value: Final = msgspec.json.Decoder(Recent).decode

Listener = Callable[[frozenset[str]], None]


class Revocations:
    """The registry of one process. Lives as long as it."""

    log = Logger()

    __slots__ = ("_board", "_marks", "_listeners")

    def __init__(self, board: Board) -> None:
        self._board = board
        self._marks: dict[str, float] = {}
        self._listeners: list[Listener] = []
        board.watch(TOPIC, self._all)
        board.listen(TOPIC, self._some)

    def subscribe(self, listener: Listener) -> Callable[[], None]:
        """
        Call ``listener`` with the tags of each revocation. Call what is returned to end it.

        It is called at once with what was revoked lately: decisions that processes share may be older, if none was there to hear.
        """
        self._listeners.append(listener)
        if self._marks:
            self._call(listener, frozenset(self._marks))

        def end() -> None:
            if listener in self._listeners:
                self._listeners.remove(listener)

        return end

    def revoked(self, tags: Iterable[str], since: float) -> bool:
        """Whether one of ``tags`` was revoked at or after ``since`` (UNIX time)."""
        marks = self._marks
        return any(marks.get(tag, -1.0) >= since for tag in tags) if marks else False

    def revoke(self, tags: Iterable[str], at: float) -> None:
        """Tell all workers of this host, this one at once."""
        revocation = Revocation(tuple(tags), at)
        self._take(revocation)
        self._board.tell(TOPIC, msgspec.json.encode(revocation))

    def _some(self, event: bytes) -> None:
        try:
            revocation = _event(event)
        except ValueError:  # no UTF-8 is one too
            self.log.error("A revocation cannot be read; everything is asked anew")
            revocation = Revocation((EVERYTHING,), 0.0)
        self._take(revocation)

    def _all(self, value: bytes) -> None:
        try:
            recent = _value(value)
        except ValueError:  # no UTF-8 is one too
            self.log.error("The list of revocations cannot be read")
            return
        news = {tag: at for tag, at in recent.tags.items() if self._marks.get(tag, -1.0) < at}
        self._mark(news)
        if news:
            self._tell(frozenset(news))

    def _take(self, revocation: Revocation) -> None:
        self._mark({tag: revocation.at for tag in revocation.tags if tag != EVERYTHING})
        self._tell(frozenset(revocation.tags))

    def _mark(self, news: dict[str, float]) -> None:
        marks = self._marks
        for tag, at in news.items():
            marks[tag] = max(at, marks.pop(tag, at))  # anew at the end: the oldest are at the front
        while len(marks) > MOST:
            del marks[next(iter(marks))]

    def _tell(self, tags: frozenset[str]) -> None:
        for listener in tuple(self._listeners):
            self._call(listener, tags)

    def _call(self, listener: Listener, tags: frozenset[str]) -> None:
        try:
            listener(tags)
        except Exception:  # one that cannot forget must not keep others from it
            self.log.failure("A revocation was not heeded")
