"""
The body of a request on its way from the client to whoever subscribes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred, fail
from zope.interface import implementer

from suuupra_gateway.errors import BodyTooLarge, GatewayError
from suuupra_gateway.http.cycle import BROKEN, RECEIVED, RECEIVING
from suuupra_gateway.http.message import Pairs
from suuupra_gateway.interfaces import BodySink, IBody

if TYPE_CHECKING:
    from suuupra_gateway.http.exchange import Exchange


@implementer(IBody)
class Body:
    """
    One request's body. Nothing is decoded before somebody subscribes; until then it waits, unread but for one transport read.

    States: waiting, delivering, paused; then complete, or cut. Lives as long as its exchange.
    """

    __slots__ = ("limit", "received", "paused", "forsaken", "error", "spent", "since", "heard", "_exchange", "_sink")

    limit: int
    """Most bytes that may come; filters may change it before anybody subscribes."""

    received: int
    """Bytes delivered so far."""

    paused: bool
    """Whether the subscriber wants to wait."""

    forsaken: bool
    """Whether the gateway answers by itself, so that the rest is of no use to whoever has subscribed."""

    error: GatewayError | None
    """Why the body was cut, if it was."""

    spent: float
    """Seconds that the client has had so far to send what was wanted, without those since `since`."""

    since: float
    """When delivery began or went on, on `Sweep`'s clock; meaningless while it does not run."""

    heard: float
    """When the last byte came, or delivery went on."""

    def __init__(self, exchange: Exchange, limit: int) -> None:
        self.limit = limit
        self.received = 0
        self.paused = self.forsaken = False
        self.error = None
        self.spent = self.since = self.heard = 0.0
        self._exchange = exchange
        self._sink: BodySink | None = None

    @property
    def complete(self) -> bool:
        """Whether the last byte has been received."""
        return self._exchange.request == RECEIVED

    @property
    def taken(self) -> bool:
        """Whether anybody takes the body, and will do so to its end."""
        return self._sink is not None and not self.forsaken

    @property
    def running(self) -> bool:
        """Whether bytes are wanted now."""
        return self._sink is not None and not self.paused and self._exchange.request == RECEIVING

    def subscribe(self, sink: BodySink) -> None:
        """
        Deliver the body to ``sink``, starting now. Once per exchange.

        :raises BodyTooLarge: at once, when the declared length exceeds `limit`.
        :raises RuntimeError: there is a subscriber already.
        """
        exchange = self._exchange
        if self._sink is not None:
            raise RuntimeError("the body has a subscriber already")
        declared = exchange.head.content_length
        if declared is not None and declared > self.limit:
            raise BodyTooLarge(f"{declared} bytes announced, {self.limit} allowed")
        self._sink = sink
        if exchange.request == RECEIVING:
            exchange.channel.body_wanted(self)
        elif exchange.request == BROKEN:
            sink.cut(self._why())
        else:
            sink.end([])

    def pause(self) -> None:
        """Stop delivery and reading (back-pressure). Idempotent."""
        if not self.paused:
            was_running = self.running
            self.paused = True
            if was_running:
                self._exchange.channel.body_unwanted(self)

    def resume(self) -> None:
        """Go on. Idempotent."""
        if self.paused:
            self.paused = False
            if self.running:
                self._exchange.channel.body_wanted(self)

    def collect(self, limit: int) -> Deferred[bytes]:
        """
        The whole body, for those who must see it at once.

        Errback `BodyTooLarge` past ``limit`` bytes, `ClientGone`, `RequestTimeout` or `BadRequest` if it is cut. Cancelling
        it stops the collection, and with it the reading.
        """
        self.limit = min(self.limit, limit)
        collector = _Collector(self)
        try:
            self.subscribe(collector)
        except BodyTooLarge as error:
            return fail(error)
        return collector.result

    # -- called by the channel --------------------------------------------------------------------------------------

    def deliver(self, data: bytes) -> bool:
        """
        Pass on a piece.

        :return: whether there may be more; False when it was one too many, and the body is to be cut.
        """
        received = self.received + len(data)
        if received > self.limit:
            return False
        self.received = self._exchange.outcome.received = received
        assert self._sink is not None
        self._sink.feed(data)
        return True

    def end(self, trailers: Pairs) -> None:
        """The last byte has been delivered."""
        assert self._sink is not None
        self._sink.end(trailers)

    def cut(self, error: GatewayError) -> None:
        """There will be no more."""
        if self.error is None:
            self.error = error
            if self._sink is not None:
                self._sink.cut(error)

    def _why(self) -> GatewayError:
        assert self.error is not None
        return self.error


class _Collector:
    """The subscriber behind `Body.collect`."""

    __slots__ = ("result", "_body", "_pieces")

    def __init__(self, body: Body) -> None:
        self._body = body
        self._pieces: list[bytes] | None = []
        self.result: Deferred[bytes] = Deferred(self._cancelled)

    def _cancelled(self, _: Deferred[bytes]) -> None:
        self._pieces = None
        self._body.pause()

    def feed(self, data: bytes) -> None:
        if self._pieces is not None:
            self._pieces.append(data)

    def end(self, trailers: Pairs) -> None:
        if self._pieces is not None:
            self.result.callback(b"".join(self._pieces))

    def cut(self, error: GatewayError) -> None:
        if self._pieces is not None:
            self._pieces = None
            self.result.errback(error)
