"""
One request and its answer, as filters and targets see it.

The order of calls is that of `cycle.py`: ``respond``, or ``start`` (``write``)* ``finish``; ``abort`` at any time. A call that
cannot be at that point raises `cycle.ImpossibleStep`, except that everything is silently ignored once the client is gone.
"""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from typing import TYPE_CHECKING, Any, Final, cast

from twisted.internet.interfaces import IPushProducer, ITransport
from twisted.logger import Logger
from zope.interface import implementer

from suuupra_gateway.errors import Bug, ClientGone, GatewayError
from suuupra_gateway.http.body import Body
from suuupra_gateway.http.cycle import (
    BREAK,
    CUT,
    DETACH,
    DETACHED,
    FINISH,
    HEADED,
    RECEIVED,
    RECEIVING,
    REPLACE,
    SEND,
    SENDING,
    SENT,
    START,
    STOP,
    WAITING,
    impossible,
)
from suuupra_gateway.http.local import compose
from suuupra_gateway.http.message import Pairs, Reply, RequestHead, ResponseHead
from suuupra_gateway.http.outcome import Outcome
from suuupra_gateway.http.wire import interim_head, last_chunk, response_head
from suuupra_gateway.interfaces import IExchange, IRoute
from suuupra_gateway.net.peer import certificate_of

if TYPE_CHECKING:
    from suuupra_gateway.http.channel import EdgeChannel

_LENGTH: Final = 0
_CHUNKED: Final = 1
_UNTIL_CLOSE: Final = 2
_BODILESS: Final = 3
_JOINED: Final = 16 * 1024
"""First pieces below this are copied behind the head, so that both leave in one write; larger ones are not worth a copy."""

_log = Logger()


@implementer(IExchange)
class Exchange:
    """
    The `IExchange` of an HTTP/1 connection. Lives from the request's head until it is settled.

    ``request`` and ``answer`` are its states, see `cycle`.
    """

    __slots__ = (
        "head",
        "client",
        "peer",
        "secure",
        "id",
        "arrived",
        "deadline",
        "route",
        "principal",
        "body",
        "outcome",
        "slots",
        "request",
        "answer",
        "channel",
        "_response",
        "_framing",
        "_left",
        "_producer",
        "_gone",
        "_settled",
    )

    route: IRoute | None
    principal: Any
    body: Body
    slots: list[object]

    request: int
    """How far the request has come in; only the channel moves it."""

    answer: int
    """How far the answer has gone out."""

    channel: EdgeChannel
    """The connection; for this package only."""

    _response: ResponseHead
    _framing: int
    _left: int

    def __init__(self, channel: EdgeChannel, head: RequestHead, request: int, arrived: float, id: bytes) -> None:
        # `body` and `slots` are made by __getattr__ when somebody asks: most requests have no body and few filters a slot.
        self.channel = channel
        self.head = head
        self.request = request
        self.arrived = arrived
        self.id = id
        self.client = self.peer = channel.peer
        self.secure = channel.secure
        self.deadline = inf
        self.route = None
        self.principal = None
        self.outcome = Outcome()
        self.answer = WAITING
        self._producer: IPushProducer | None = None
        self._gone: Callable[[GatewayError], None] | None = None
        self._settled = False

    def __getattr__(self, name: str) -> Any:
        # Only called for slots that are empty.
        if name == "body":
            self.body = made = Body(self, self.channel.site.limits.body)
            return made
        if name == "slots":
            self.slots = []
            return self.slots
        if name == "certificate":
            return certificate_of(self.channel.transport)
        raise AttributeError(name)

    # -- the answer -------------------------------------------------------------------------------------------------

    def respond(self, reply: Reply) -> None:
        """Answer with a complete reply of our own."""
        after = START[self.answer]
        if after != HEADED:
            if after == CUT:
                return
            raise impossible("respond", self.answer)
        self._reply(reply, self.route)

    def inform(self, head: ResponseHead) -> None:
        """
        Send a 1xx answer ahead of the final one, such as 103 (Early Hints). Clients of HTTP/1.0 get none.

        :raises ImpossibleStep: the final answer has begun.
        :raises ValueError: 101 and statuses that are final.
        """
        after = START[self.answer]
        if after != HEADED:
            if after == CUT:
                return
            raise impossible("inform", self.answer)
        if not 100 <= head.status <= 199 or head.status == 101:
            raise ValueError(f"{head.status} is no interim status")
        if self.head.version != b"1.0":  # RFC 9110 section 15.2
            self.channel.transport.write(interim_head(head))

    def start(self, head: ResponseHead) -> None:
        """
        Begin the answer. Its head is held until the first `write` or `finish`, so that they leave together.

        :raises ValueError: an interim status, or none at all.
        """
        after = START[self.answer]
        if after != HEADED:
            if after == CUT:
                return
            raise impossible("start", self.answer)
        status = head.status
        if not 200 <= status <= 599:
            raise ValueError(f"{status} is no final status")
        self.answer = HEADED
        self._response = head
        self.outcome.status = status
        request = self.head
        if request.method == b"HEAD" or status == 304 or status == 204:
            self._framing = _BODILESS
        elif head.length is not None:
            self._framing = _LENGTH
            self._left = head.length
        elif request.version == b"1.1":
            self._framing = _CHUNKED
        else:
            # RFC 9112 section 6.3: for HTTP/1.0 only the end of the connection can end a body of unknown length.
            self._framing = _UNTIL_CLOSE
            self.channel.keep = False

    def write(self, data: bytes) -> None:
        """
        Send a piece of the answer's body; dropped without a word for HEAD, 204 and 304.

        An empty piece sends the held head: for streams whose first byte may be long in coming. More bytes than announced abort
        the exchange.
        """
        answer = self.answer
        if SEND[answer] != SENDING:
            if answer == CUT:
                return
            raise impossible("write", answer)
        framing = self._framing
        size = len(data)
        if framing == _LENGTH:
            self._left -= size
            if self._left < 0:
                self.abort(Bug("the answer is longer than announced"))
                return
        elif framing == _BODILESS:
            size = 0
            data = b""
        elif framing == _CHUNKED and size:
            data = b"%x\r\n%b\r\n" % (size, data)
        if answer == HEADED:
            try:
                head = self._head_bytes(framing == _CHUNKED)
            except Bug as error:
                self._spoilt(error)
                return
            self.answer = SENDING
            if size < _JOINED:
                data = head + data
            else:
                self.channel.transport.write(head)
        elif not data:
            return
        self.outcome.sent += size
        self.channel.transport.write(data)

    def finish(self, trailers: Pairs | None = None) -> None:
        """
        The answer is complete. Too few bytes for the announced length abort the exchange instead.

        :param trailers: sent with chunked answers only; there is no place for them in others.
        """
        answer = self.answer
        if FINISH[answer] != SENT:
            if answer == CUT:
                return
            raise impossible("finish", answer)
        framing = self._framing
        if framing == _LENGTH and self._left:
            self.abort(Bug("the answer is shorter than announced"))
            return
        try:
            if answer == HEADED:
                if framing == _CHUNKED and not trailers:
                    # Nothing was written, so its length is known after all.
                    self._response.length = 0
                    framing = _LENGTH
                data = self._head_bytes(framing == _CHUNKED)
                if framing == _CHUNKED:
                    data += last_chunk(trailers)
                self.channel.transport.write(data)
            elif framing == _CHUNKED:
                self.channel.transport.write(last_chunk(trailers))
        except Bug as error:
            self._spoilt(error)
            return
        self.answer = SENT
        self._producer = self._gone = None
        self.settle()
        self.channel.finished(self)

    def abort(self, error: GatewayError) -> None:
        """
        End the exchange with an error: a reply if nothing was sent yet, else the connection is cut so that all see it.

        Who was answering may go on with it; that is ignored. Does nothing if the answer is complete.
        """
        self._abort(error, self.route)

    # -- the client -------------------------------------------------------------------------------------------------

    def register(self, producer: object) -> None:
        """Let ``producer`` (an `IPushProducer`) follow the client's pace; None lets go of it. Ends with the answer."""
        self._producer = cast("IPushProducer | None", producer)
        if producer is not None and self.channel.stalled:
            self._producer.pauseProducing()  # type: ignore[union-attr]  # it is what was just set

    def on_gone(self, callback: object) -> None:
        """Call ``callback(error)`` if the client leaves before `finish`, at once if it has; None takes the callback away."""
        gone = cast("Callable[[GatewayError], None] | None", callback)
        if gone is not None and self.answer == CUT:
            gone(self.outcome.error or ClientGone())
        else:
            self._gone = gone

    def detach(self) -> tuple[ITransport, bytes]:
        """
        Hand over the connection: the transport, paused and without a producer, and the bytes read beyond the head.

        Only before an answer has begun and when the request is complete. The new owner makes the transport speak to its
        protocol (``takeover`` or ``transport.protocol``), resumes it, and calls `settle` in the end.
        """
        if DETACH[self.answer] != DETACHED or self.request != RECEIVED:
            raise impossible("detach", self.answer)
        self.answer = DETACHED
        self._producer = self._gone = None
        return self.channel.released()

    def settle(self) -> None:
        """Run done-hooks and accounting now. Only the first call counts."""
        if self._settled:
            return
        self._settled = True
        site = self.channel.site
        self.outcome.ended = site.sweep.monotonic()
        if self.route is not None:
            for hook in self.route.done_hooks:
                try:
                    hook(self)
                except Exception:
                    _log.failure("A done-hook of route {route} failed", route=self.route.name)
        try:
            site.settled(self)
        except Exception:
            _log.failure("An exchange could not be accounted for")

    # -- called by the channel --------------------------------------------------------------------------------------

    def pace(self, full: bool) -> None:
        """The client's side is full, or has room again."""
        producer = self._producer
        if producer is not None:
            if full:
                producer.pauseProducing()
            else:
                producer.resumeProducing()

    def gone(self, error: GatewayError, status: int) -> None:
        """
        The connection is lost, or was cut, before the answer was complete.

        :param status: what the client is said to have seen; 0 leaves that as it is.
        """
        self.answer = STOP[self.answer]
        was_receiving = self.request == RECEIVING
        self.request = BREAK[self.request]
        outcome = self.outcome
        if status:
            outcome.status = status
        if outcome.error is None:
            outcome.error = error
        callback, self._gone = self._gone, None
        self._producer = None
        try:
            if callback is not None:
                callback(error)
            if was_receiving:
                self.body.cut(error)
        except Exception:
            _log.failure("An exchange could not be abandoned in order")
        self.settle()

    # -- details ----------------------------------------------------------------------------------------------------

    def _head_bytes(self, chunked: bool) -> bytes:
        channel = self.channel
        return response_head(self._response, self.head.version, channel.keeps(self), channel.site.sweep.date, chunked)

    def _reply(self, reply: Reply, route: IRoute | None) -> None:
        """Send ``reply``, by way of the reply-hooks of ``route``."""
        response, body = compose(reply, self.head, self.id, self.channel.site.proxy_status)
        if reply.error is not None:
            self.outcome.error = reply.error
        self.outcome.source = "gateway"
        if route is not None:
            for hook in route.reply_hooks:
                try:
                    hook(self, response)
                except Exception:
                    _log.failure("A reply-hook of route {route} failed", route=route.name)
        if self.request == RECEIVING:
            self.body.forsaken = True
        self.start(response)
        if body:
            self.write(body)
        self.finish()

    def _abort(self, error: GatewayError, route: IRoute | None) -> None:
        answer = self.answer
        if answer < SENDING:
            self.answer = WAITING
            self._reply(Reply.of(error), route)
            self.answer = REPLACE[self.answer]
        elif answer == SENDING:
            self._gone = None  # who ends the exchange need not be told
            self.channel.cut(self, error)

    def _spoilt(self, error: Bug) -> None:
        """The head, or a trailer, could have been taken for something else."""
        _log.error("Exchange {id} aborted: {reason}", id=self.id.decode("ascii"), reason=str(error))
        self._abort(error, None)  # without hooks: one of them may have spoilt it
