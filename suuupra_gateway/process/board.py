"""
What the supervisor knows and all workers should: its two ends.

`Board` is the supervisor's. A worker that connects gets all values before anything else, so it has them before it serves; after
that it gets what changes, in order. `WorkerBoard` is a worker's; see `suuupra_gateway.interfaces.Board` for what it promises.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final

from twisted.internet.defer import Deferred, DeferredList, fail, succeed
from twisted.logger import Logger
from twisted.protocols import amp

from suuupra_gateway.interfaces import NoAnswer
from suuupra_gateway.process import control

PIECE: Final = 60_000
"""Bytes of a value that travel at once: AMP values end at 65 535."""

LARGEST: Final = 4 * 1024 * 1024
"""Bytes of a value."""

LONGEST: Final = 8 * 1024
"""Bytes of an event, a question or an answer."""

PATIENCE: Final = 10.0
"""Seconds for an answer."""

Answering = Callable[[bytes], Deferred[bytes]]
Listener = Callable[[bytes], None]
Composing = Callable[[], bytes]

_REASON: Final = 500
"""Characters that workers are told of why there is no answer."""


class Board:
    """The supervisor's end. Lives as long as the supervisor."""

    log = Logger()

    __slots__ = ("_values", "_composing", "_members", "_answering", "_listeners")

    def __init__(self) -> None:
        self._values: dict[str, bytes] = {}
        self._composing: dict[str, Composing] = {}
        self._members: set[control.End] = set()
        self._answering: dict[str, Answering] = {}
        self._listeners: dict[str, Listener] = {}

    # -- what the supervisor does -------------------------------------------------------------------------------------

    def publish(self, topic: str, value: bytes) -> None:
        """
        Let all workers know ``value``, and all that come later.

        :raises ValueError: it is larger than `LARGEST`.
        """
        if len(value) > LARGEST:
            raise ValueError(f"a value of {len(value)} bytes for {topic}")
        self._values[topic] = value
        for member in tuple(self._members):
            _post(member, topic, value)

    def compose(self, topic: str, composing: Composing) -> None:
        """
        Let workers that come later know what ``composing`` returns then; those that are there hear of it by events.

        For what changes too often to be published as a whole each time. See `renew`.
        """
        self._composing[topic] = composing

    def renew(self, topic: str) -> Deferred[None]:
        """Let all workers know what is composed for ``topic`` now; fires as `announce`."""
        value = self._composed(topic)
        if value is None:
            return succeed(None)
        return _all([_post(member, topic, value) for member in tuple(self._members)])

    def retract(self, topic: str) -> None:
        """Let nobody know of ``topic`` any more; those who watch keep what they were called with. Idempotent."""
        self._composing.pop(topic, None)
        self._answering.pop(topic, None)
        if self._values.pop(topic, None) is not None:
            for member in tuple(self._members):
                _send(member, control.Retract, topic=topic)

    def announce(self, topic: str, event: bytes) -> Deferred[None]:
        """
        Let all workers hear an event. Fires when all that did not go instead have heeded it; never fails.

        :raises ValueError: it is longer than `LONGEST`.
        """
        if len(event) > LONGEST:
            raise ValueError(f"an event of {len(event)} bytes for {topic}")
        return _all([_send(member, control.Event, topic=topic, event=event) for member in tuple(self._members)])

    def answer(self, topic: str, answering: Answering) -> None:
        """Let ``answering`` answer the questions of workers about ``topic``."""
        self._answering[topic] = answering

    def listen(self, topic: str, listener: Listener) -> None:
        """Let ``listener`` hear what workers tell of ``topic``; it announces it, or not."""
        self._listeners[topic] = listener

    # -- what workers do ----------------------------------------------------------------------------------------------

    def join(self, member: control.End) -> None:
        """A worker is there: give it everything."""
        self._members.add(member)
        for topic, value in self._values.items():
            _post(member, topic, value)
        for topic in self._composing:
            composed = self._composed(topic)
            if composed is not None:
                _post(member, topic, composed)

    def leave(self, member: control.End) -> None:
        """It is gone. Idempotent."""
        self._members.discard(member)

    def asked(self, topic: str, question: bytes) -> Deferred[bytes]:
        """A worker asks. Errback `control.Unanswered`."""
        answering = self._answering.get(topic)
        if answering is None:
            return fail(control.Unanswered(f"nobody here knows of {topic}"))
        try:
            answer = answering(question)
        except Exception as error:
            self.log.failure("A question about {topic} failed", topic=topic)
            return fail(_unanswered(f"{type(error).__name__}: {error}"))

        def fits(answered: bytes) -> bytes:
            if len(answered) > LONGEST:
                raise control.Unanswered(f"an answer of {len(answered)} bytes")
            return answered

        return answer.addCallback(fits).addErrback(lambda failure: fail(_unanswered(failure.getErrorMessage())))

    def told(self, topic: str, event: bytes) -> None:
        """A worker tells."""
        listener = self._listeners.get(topic)
        if listener is None:
            return
        try:
            listener(event)
        except Exception:
            self.log.failure("What a worker told of {topic} was not heeded", topic=topic)

    def _composed(self, topic: str) -> bytes | None:
        try:
            value = self._composing[topic]()
            if len(value) > LARGEST:
                raise ValueError(f"a value of {len(value)} bytes for {topic}")
        except Exception:  # what cannot be composed must not keep workers from the rest
            self.log.failure("What is known of {topic} cannot be told", topic=topic)
            return None
        return value


def pieces(value: bytes) -> Iterator[tuple[int, bool, bytes]]:
    """``(number, whether it is the last, piece)`` of a value."""
    places = range(0, len(value), PIECE) or range(1)
    for number, place in enumerate(places):
        yield number, number == len(places) - 1, value[place : place + PIECE]


def _post(member: control.End, topic: str, value: bytes) -> Deferred[None]:
    """Fires when the last piece was heeded: they are, in order."""
    sent: Deferred[None] = succeed(None)
    for number, last, piece in pieces(value):
        sent = _send(member, control.Post, topic=topic, number=number, last=last, piece=piece)
    return sent


def _send(member: control.End, command: type[amp.Command], **arguments: object) -> Deferred[None]:
    """Fires when it was heeded, or when there is nobody any more who could. Never fails."""
    if member.transport is None:
        return succeed(None)
    sent: Deferred[object] = member.callRemote(command, **arguments)
    return sent.addBoth(lambda _: None)  # whoever goes takes what it knew with it


def _all(sent: list[Deferred[None]]) -> Deferred[None]:
    return DeferredList(sent).addCallback(lambda _: None)


def _unanswered(why: str) -> control.Unanswered:
    return control.Unanswered(why[:_REASON])


class WorkerBoard:
    """A worker's end; lives as long as the worker."""

    log = Logger()

    __slots__ = ("_end", "_reactor", "_values", "_partial", "_watching", "_listening")

    def __init__(self, end: control.End, reactor: Any) -> None:
        """:param reactor: for the time that answers may take."""
        self._end = end
        self._reactor = reactor
        self._values: dict[str, bytes] = {}
        self._partial: dict[str, list[bytes]] = {}
        self._watching: dict[str, list[Listener]] = {}
        self._listening: dict[str, list[Listener]] = {}

    # -- for the worker -----------------------------------------------------------------------------------------------

    def watch(self, topic: str, callback: Listener) -> Callable[[], None]:
        """See `suuupra_gateway.interfaces.Board`."""
        value = self._values.get(topic)
        if value is not None:
            self._call(callback, topic, value)
        return _added(self._watching, topic, callback)

    def listen(self, topic: str, callback: Listener) -> Callable[[], None]:
        """See `suuupra_gateway.interfaces.Board`."""
        return _added(self._listening, topic, callback)

    def ask(self, topic: str, question: bytes) -> Deferred[bytes]:
        """See `suuupra_gateway.interfaces.Board`."""
        if self._end.transport is None:
            return fail(NoAnswer("the supervisor is gone"))
        if len(question) > LONGEST:
            return fail(NoAnswer(f"a question of {len(question)} bytes"))
        asked: Deferred[dict[str, bytes]] = self._end.callRemote(control.Ask, topic=topic, question=question)
        asked.addTimeout(PATIENCE, self._reactor)
        return asked.addCallbacks(
            lambda answer: answer["answer"], lambda failure: fail(NoAnswer(failure.getErrorMessage()))
        )

    def tell(self, topic: str, event: bytes) -> None:
        """
        See `suuupra_gateway.interfaces.Board`.

        :raises ValueError: ``event`` is longer than `LONGEST`.
        """
        if len(event) > LONGEST:
            raise ValueError(f"an event of {len(event)} bytes for {topic}")
        _send(self._end, control.Tell, topic=topic, event=event)

    # -- for the control connection -----------------------------------------------------------------------------------

    def posted(self, topic: str, number: int, last: bool, piece: bytes) -> None:
        """A piece of a value came; they come in order."""
        if number == 0:
            self._partial[topic] = []
        parts = self._partial.setdefault(topic, [])
        parts.append(piece)
        if last:
            value = self._values[topic] = b"".join(self._partial.pop(topic))
            for callback in tuple(self._watching.get(topic, ())):
                self._call(callback, topic, value)

    def retracted(self, topic: str) -> None:
        """Nobody knows of a topic any more: whoever watches it from now on waits for a new value."""
        self._values.pop(topic, None)

    def heard(self, topic: str, event: bytes) -> None:
        """An event came."""
        for callback in tuple(self._listening.get(topic, ())):
            self._call(callback, topic, event)

    def _call(self, callback: Listener, topic: str, value: bytes) -> None:
        try:
            callback(value)
        except Exception:  # who cannot read one topic must not keep others from theirs
            self.log.failure("What the supervisor said of {topic} was not heeded", topic=topic)


def _added(table: dict[str, list[Listener]], topic: str, callback: Listener) -> Callable[[], None]:
    table.setdefault(topic, []).append(callback)

    def end() -> None:
        if callback in table.get(topic, ()):
            table[topic].remove(callback)

    return end
