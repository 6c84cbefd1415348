"""
The body of a forwarded request on its way to the peer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from suuupra_gateway.errors import GatewayError
from suuupra_gateway.http.connection import UpstreamConnection
from suuupra_gateway.http.message import Pairs

if TYPE_CHECKING:
    from suuupra_gateway.interfaces import IExchange
    from suuupra_gateway.upstreams.forward import Forwarding
    from suuupra_gateway.upstreams.terms import Terms


class Upload:
    """
    The `BodySink` of one exchange that has a body, over all attempts: passes pieces on as they come and keeps them as long as a
    retry may need them and `RetryPolicy.buffer` allows.

    States: unread (nothing was asked of the client yet), flowing, `complete`; and in each of the last two, attached to a
    connection or between attempts. Lives as long as its `Forwarding`.
    """

    __slots__ = ("complete", "_exchange", "_forwarding", "_terms", "_connection", "_prelude", "_kept", "_size", "_last")

    complete: bool
    """Whether the client has sent all of it."""

    def __init__(self, exchange: IExchange, forwarding: Forwarding, terms: Terms) -> None:
        self.complete = False
        self._exchange = exchange
        self._forwarding = forwarding
        self._terms = terms
        self._connection: UpstreamConnection | None = None
        self._prelude: bytes | None = None
        head, retry = exchange.head, terms.retry
        short = head.content_length is None or head.content_length <= retry.buffer
        keep = short and retry.attempts > 1 and retry.repeatable(head.method, head.headers)
        self._kept: list[bytes] | None = [] if keep else None
        self._size = -1
        self._last = b"0\r\n\r\n"

    @property
    def replayable(self) -> bool:
        """Whether another attempt could send all of the body."""
        return self._size < 0 or self._kept is not None

    def send(self, connection: UpstreamConnection, raw: bytes) -> None:
        """
        Send the head ``raw``, together with as much of the body as there is; the rest follows as it comes.

        :raises BodyTooLarge: nothing was sent.
        """
        self._connection = connection
        self._prelude = raw
        if self._size < 0:
            self._size = 0
            self._exchange.body.subscribe(self)
            if self._prelude is not None and self._connection is not None:
                self._begin(b"", False)
            return
        assert self._kept is not None
        kept = b"".join(self._kept)
        if self._exchange.head.chunked:
            kept = (b"%x\r\n%b\r\n" % (len(kept), kept) if kept else b"") + (self._last if self.complete else b"")
        self._begin(kept, self.complete)
        if not self.complete:
            self._exchange.body.resume()

    def leave(self, again: bool) -> None:
        """The connection is of no more use. Between attempts the client has to wait."""
        self._connection = None
        if again and self._size >= 0 and not self.complete:
            self._exchange.body.pause()

    def _begin(self, data: bytes, whole: bool) -> None:
        connection, raw = self._connection, self._prelude
        assert connection is not None
        assert raw is not None
        self._prelude = None
        self._forwarding.send_request(connection, raw + data, whole)

    def feed(self, data: bytes) -> None:
        """A piece of the body."""
        kept = self._kept
        if kept is not None:
            self._size += len(data)
            if self._size > self._terms.retry.buffer:
                self._kept = None
            else:
                kept.append(data)
        connection = self._connection
        if connection is None:
            return
        head = self._exchange.head
        if self._prelude is not None:
            if head.chunked:
                self._begin(b"%x\r\n%b\r\n" % (len(data), data), False)
            else:
                self._begin(data, len(data) == head.content_length)
        elif head.chunked:
            connection.more((b"%x\r\n" % len(data), data, b"\r\n"))
        else:
            connection.transport.write(data)

    def end(self, trailers: Pairs) -> None:
        """The body is complete."""
        self.complete = True
        chunked = self._exchange.head.chunked
        if trailers and chunked:
            passed = self._terms.hygiene.clean_trailers(trailers)
            self._last = b"0\r\n%b\r\n" % b"".join([b"%b: %b\r\n" % pair for pair in passed])
        connection = self._connection
        if connection is None:
            return
        if self._prelude is not None:
            self._begin(self._last if chunked else b"", True)
        elif not connection.sent:
            if chunked:
                connection.transport.write(self._last)
            connection.uploaded()
            self._forwarding.request_sent(connection)

    def cut(self, error: GatewayError) -> None:
        """The body will never be complete, so that the upstream must not take it for that; the client is to blame."""
        self._forwarding.cut(error)
