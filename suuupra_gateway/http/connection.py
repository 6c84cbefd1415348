"""
A connection to a peer: the lean client protocol, one exchange at a time.

In order, for each request: `send`, and for what was not sent with it ``transport.write`` or `more`, then `uploaded`. Then
the `AnswerSink` hears ``answer_begun``, ``answer_data`` any number of times, and ``answer_ended``; or ``answer_failed`` at any
time. When it has heard one of the last two, or has called `abandon`, the connection is no longer its own.
"""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, Protocol

from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IProtocol, IPushProducer
from zope.interface import implementer

from suuupra_gateway.errors import GatewayError, ResponseCut, ReusedClosed, UpstreamClosed
from suuupra_gateway.http.answer import ResponseParser

if TYPE_CHECKING:
    from typing import Any

    from twisted.python.failure import Failure

    from suuupra_gateway.http.hygiene import AnswerNames
    from suuupra_gateway.http.message import Pairs, ResponseHead
    from suuupra_gateway.http.pool import Pool
    from suuupra_gateway.net.sweep import Sweep


class AnswerSink(Protocol):
    """Who sent the request, and gets the answer."""

    def answer_begun(self, head: ResponseHead) -> None:
        """The head of the final answer. May call `UpstreamConnection.abandon`."""

    def answer_data(self, data: bytes) -> None:
        """A piece of the body; an empty one says that the head came alone, and should not be kept waiting for company."""

    def answer_ended(self, trailers: Pairs) -> None:
        """The answer is complete and the connection already back in its pool, or closed."""

    def answer_failed(self, error: GatewayError) -> None:
        """There will be no (complete) answer; the connection is closed."""

    def answer_overdue(self, now: float) -> None:
        """The connection's ``deadline`` has passed. The sink decides what that means and calls `abandon`."""

    def pause_request(self) -> None:
        """The peer does not take the request's body fast enough."""

    def resume_request(self) -> None:
        """It does again."""


@implementer(IProtocol, IPushProducer)
class UpstreamConnection:
    """
    Lives from connect to close, in its pool's care.

    States: idle (``receiver`` is None), busy, lost. While idle its deadline is the end of the idle time; while busy that of
    the next byte, or of the exchange.
    """

    __slots__ = (
        "transport",
        "receiver",
        "deadline",
        "limit",
        "requests",
        "reused",
        "sent",
        "parser",
        "_patience",
        "_paused",
        "_pool",
        "_sweep",
    )

    transport: Any
    """What it writes to: only what `ITransport`, `IConsumer` and `IPushProducer` offer, plus ``abortConnection``."""

    receiver: AnswerSink | None
    """Whose answer is awaited, None while idle."""

    deadline: float
    """For `Sweep`."""

    limit: float
    """`deadline` is never later than this while an answer is awaited: the exchange's own end."""

    requests: int
    """Sent on this connection so far."""

    reused: bool
    """Whether it has been idle, so that the peer may have closed it before the current request came."""

    sent: bool
    """Whether the current request was sent as a whole."""

    def __init__(self, pool: Pool, sweep: Sweep, names: AnswerNames, max_head: int) -> None:
        self.transport = None
        self.receiver = None
        self.deadline = self.limit = inf
        self.requests = 0
        self.reused = False
        self.sent = True
        self.parser = ResponseParser(names, max_head)
        self._patience = inf
        self._paused = False
        self._pool = pool
        self._sweep = sweep

    # -- what the owner of the exchange calls -------------------------------------------------------------------------

    def send(
        self,
        receiver: AnswerSink,
        data: bytes,
        head_only: bool,
        whole: bool,
        deadline: float,
        limit: float,
        patience: float,
    ) -> None:
        """
        Begin a request.

        :param data: its head, and as much of its body as there is.
        :param head_only: for HEAD.
        :param whole: nothing of it follows; otherwise the connection becomes the transport's producer until `uploaded`.
        :param deadline: monotonic time by which the first byte of the answer must come.
        :param limit: monotonic time when the exchange ends.
        :param patience: seconds between two pieces of the answer.
        """
        self.receiver = receiver
        self.requests += 1
        self.sent = whole
        self.deadline = deadline
        self.limit = limit
        self._patience = patience
        self.parser.expect(head_only)
        if not whole:
            self.transport.registerProducer(self, True)
        self.transport.write(data)

    def more(self, pieces: tuple[bytes, ...]) -> None:
        """Send pieces of the body as they are, framing being the caller's, without joining them if the transport need not."""
        self.transport.writeSequence(pieces)

    def uploaded(self) -> None:
        """The request is complete."""
        self.sent = True
        self.transport.unregisterProducer()

    def pause(self) -> None:
        """Stop reading the answer: whoever takes it is slower than the peer, and has a timeout of his own."""
        self._paused = True
        self.deadline = self.limit
        self.transport.pauseProducing()

    def resume(self) -> None:
        """Go on."""
        self._paused = False
        self._wait()
        self.transport.resumeProducing()

    def abandon(self) -> None:
        """
        The receiver wants nothing more: closes the connection, unless all of the answer has already come.

        To be called when nothing is awaited any more, too: it is harmless then.
        """
        if self.receiver is not None:
            self.receiver = None
            if self.parser.complete:
                self._settle()
            else:
                self.abort()

    def give_back(self) -> None:
        """Nothing was sent after all."""
        self._pool.release(self)

    def close(self) -> None:
        """Close in order."""
        self.deadline = inf
        if not self.sent:
            self.transport.unregisterProducer()
        self.transport.loseConnection()

    def abort(self) -> None:
        """Close now."""
        self.deadline = inf
        self.transport.abortConnection()

    def _settle(self) -> None:
        """The answer is complete: what becomes of the connection?"""
        if self._paused:
            self._paused = False
            self.transport.resumeProducing()
        if self.parser.persistent and self.sent:
            self._pool.release(self)
        else:
            self.close()

    def _wait(self) -> None:
        soon = self._sweep.now + self._patience
        limit = self.limit
        self.deadline = soon if soon < limit else limit

    # -- IProtocol ----------------------------------------------------------------------------------------------------

    def makeConnection(self, transport: Any) -> None:
        """The connection is there."""
        self.transport = transport
        self._sweep.watch(self)

    def connectionMade(self) -> None:
        """Part of `IProtocol`; `makeConnection` does it all."""

    def dataReceived(self, data: bytes) -> None:
        """Bytes of the answer."""
        receiver = self.receiver
        if receiver is None:
            # Nobody asked: surplus, or the 408 of a server that closes an idle connection. Never take it for an answer.
            self._pool.discard(self)
            self.abort()
            return
        parser = self.parser
        try:
            parser.feed(data)
        except GatewayError as error:
            self.receiver = None
            self.abort()
            receiver.answer_failed(error)
            return
        head = parser.head
        if head is not None:
            parser.head = None
            receiver.answer_begun(head)
            if self.receiver is not receiver:
                return
        body = parser.body()
        if parser.complete:
            self.receiver = None
            trailers = parser.trailers
            self._settle()
            if body:
                receiver.answer_data(body)
            receiver.answer_ended(trailers)
            return
        if not parser.in_head and not self._paused:
            self._wait()
        if body or head is not None:
            receiver.answer_data(body)

    def connectionLost(self, reason: Failure) -> None:
        """The connection is gone."""
        self._sweep.unwatch(self)
        self._pool.lost(self)
        receiver = self.receiver
        if receiver is None:
            return
        self.receiver = None
        parser = self.parser
        if not parser.started:
            kind = ReusedClosed if self.reused else UpstreamClosed
            receiver.answer_failed(kind(f"no answer: {reason.getErrorMessage()}"))
            return
        try:
            if not reason.check(ConnectionDone):  # type: ignore[no-untyped-call]  # twisted is not typed here
                raise ResponseCut(f"in the middle of the answer: {reason.getErrorMessage()}")
            parser.eof()
        except ResponseCut as error:
            receiver.answer_failed(error)
        else:
            receiver.answer_ended(parser.trailers)

    # -- of the transport, as producer of the request's body ----------------------------------------------------------

    def pauseProducing(self) -> None:
        """The transport's buffer is full."""
        if self.receiver is not None:
            self._wait()
            self.receiver.pause_request()

    def resumeProducing(self) -> None:
        """The transport's buffer has room."""
        if self.receiver is not None:
            self.deadline = self.limit
            self.receiver.resume_request()

    def stopProducing(self) -> None:
        """The transport is closing; `connectionLost` says so too."""

    # -- of the sweep -------------------------------------------------------------------------------------------------

    def expired(self, now: float) -> None:
        """Idle for too long, or no answer in time."""
        self.deadline = inf
        if self.receiver is None:
            self._pool.discard(self)
            self.close()
        else:
            self.receiver.answer_overdue(now)
