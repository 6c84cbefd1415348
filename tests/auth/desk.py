"""A board whose values, events and answers a test gives by hand."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import Deferred

Listener = Callable[[bytes], None]


class Desk:
    """See `suuupra_gateway.interfaces.Board`."""

    def __init__(self) -> None:
        self.values: dict[str, bytes] = {}
        self.watching: dict[str, list[Listener]] = {}
        self.listening: dict[str, list[Listener]] = {}
        self.asked: list[tuple[str, bytes, Deferred[bytes]]] = []
        """What was asked and not answered yet."""

        self.questions = 0

    def watch(self, topic: str, callback: Listener) -> Callable[[], None]:
        if topic in self.values:
            callback(self.values[topic])
        self.watching.setdefault(topic, []).append(callback)
        return lambda: self.watching[topic].remove(callback)

    def listen(self, topic: str, callback: Listener) -> Callable[[], None]:
        self.listening.setdefault(topic, []).append(callback)
        return lambda: self.listening[topic].remove(callback)

    def ask(self, topic: str, question: bytes) -> Deferred[bytes]:
        answer: Deferred[bytes] = Deferred()
        self.asked.append((topic, question, answer))
        self.questions += 1
        return answer

    def tell(self, topic: str, event: bytes) -> None:
        for callback in tuple(self.listening.get(topic, ())):
            callback(event)

    # -- what the test does -------------------------------------------------------------------------------------------

    def publish(self, topic: str, value: bytes) -> None:
        self.values[topic] = value
        for callback in tuple(self.watching.get(topic, ())):
            callback(value)

    def answer(self, result: object = b"") -> None:
        """Answer all that is asked: with bytes, or an exception."""
        asked, self.asked = self.asked, []
        for _, _, answer in asked:
            if isinstance(result, bytes):
                answer.callback(result)
            else:
                answer.errback(result)  # type: ignore[arg-type]
