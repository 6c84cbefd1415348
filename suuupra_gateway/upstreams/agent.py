"""
An upstream as a Twisted Web agent, so that treq and any other user of `IAgent` speak through its peers and pools.

``treq.client.HTTPClient(UpstreamAgent(upstream))`` is how the slow paths of a worker fetch things. The URL says what to ask for
and as which host; *where* is the upstream's affair.
"""

from __future__ import annotations

import re
from math import inf
from typing import TYPE_CHECKING, Any, Final

import attrs
from twisted.internet.defer import CancelledError, Deferred, fail
from twisted.internet.interfaces import IConsumer
from twisted.python.failure import Failure
from twisted.web.client import URI, RequestGenerationFailed, ResponseNeverReceived
from twisted.web.error import SchemeNotSupported
from twisted.web.http_headers import Headers
from twisted.web.iweb import UNKNOWN_LENGTH, IAgent, IBodyProducer, IClientRequest, IResponse
from zope.interface import implementer

from suuupra_gateway.errors import AnswerTimeout, DeadlineExceeded, GatewayError, ReadTimeout, ReusedClosed
from suuupra_gateway.http.connection import UpstreamConnection
from suuupra_gateway.http.hygiene import CONNECTION_FIELDS
from suuupra_gateway.http.message import Pairs, ResponseHead
from suuupra_gateway.policy.retry import IDEMPOTENT
from suuupra_gateway.upstreams.response import AgentResponse

if TYPE_CHECKING:
    from suuupra_gateway.upstreams.upstream import Peer, Upstream

_METHOD: Final = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+").fullmatch
_URI: Final = re.compile(rb"[\x21-\x7e]+").fullmatch
_OURS: Final = CONNECTION_FIELDS | {b"content-length", b"host", b"expect"}


@implementer(IClientRequest)
@attrs.frozen
class AgentRequest:
    """What was asked for."""

    method: bytes
    absoluteURI: bytes | None
    headers: Headers


@implementer(IAgent)
class UpstreamAgent:
    """Sends requests to the peers of an upstream. Holds nothing; as many as one likes may share an upstream."""

    def __init__(self, upstream: Upstream) -> None:
        self._upstream = upstream

    def request(
        self,
        method: bytes,
        uri: bytes,
        headers: Headers | None = None,
        bodyProducer: IBodyProducer | None = None,
    ) -> Deferred[IResponse]:
        """
        See `IAgent`. Cancelling the result closes the connection.

        Nothing is retried but a request without a body, with an idempotent method, on a connection that turned out to be stale.

        Errback: a `GatewayError` if nothing was sent; `ResponseNeverReceived` around one if no answer came;
        `RequestGenerationFailed` if the body could not be produced; `SchemeNotSupported`.

        :raises ValueError: a method or URI that HTTP does not allow.
        """
        if not _METHOD(method):
            raise ValueError(f"Invalid method {method!r}")
        uri = uri.strip()
        if not _URI(uri):
            raise ValueError(f"Invalid URI {uri!r}")
        parsed: URI = URI.fromBytes(uri)  # type: ignore[no-untyped-call]  # twisted is not typed here
        if parsed.scheme not in (b"http", b"https"):
            return fail(SchemeNotSupported(f"Unsupported scheme: {parsed.scheme!r}"))
        headers = Headers() if headers is None else headers
        return _Call(self._upstream, AgentRequest(method, uri, headers), parsed, bodyProducer).begin()


def _head(request: AgentRequest, uri: URI, length: Any) -> bytes:
    fields = [
        (name.lower(), value) for name, values in request.headers.getAllRawHeaders() for value in values
    ]  # getAllRawHeaders: line breaks are taken out already
    hosts = [value for name, value in fields if name == b"host"]
    lines = [
        b"%b %b HTTP/1.1" % (request.method, uri.originForm),
        b"host: " + (hosts[0] if hosts else uri.netloc),
        *(b"%b: %b" % field for field in fields if field[0] not in _OURS),
    ]
    if length is UNKNOWN_LENGTH:
        lines.append(b"transfer-encoding: chunked")
    elif length is not None:
        lines.append(b"content-length: %d" % length)
    elif request.method in (b"POST", b"PUT", b"PATCH"):
        lines.append(b"content-length: 0")
    return b"\r\n".join(lines) + b"\r\n\r\n"


@implementer(IConsumer)
class _Call:
    """
    One request by an agent: the `AnswerSink` of its connection and the consumer of its body.

    States: connecting, asked (the result has not fired), answered, over.
    """

    __slots__ = (
        "deadline",
        "_upstream",
        "_request",
        "_uri",
        "_producer",
        "_length",
        "_left",
        "_result",
        "_limit",
        "_peer",
        "_connection",
        "_pending",
        "_chosen",
        "_status",
        "_stale",
        "_producing",
        "_response",
    )

    def __init__(self, upstream: Upstream, request: AgentRequest, uri: URI, producer: IBodyProducer | None) -> None:
        self.deadline = inf
        self._upstream = upstream
        self._request = request
        self._uri = uri
        self._producer = producer
        self._length: Any = None if producer is None else producer.length
        self._left: Any = self._length
        self._result: Deferred[IResponse] | None = Deferred(self._cancelled)
        self._limit = upstream.sweep.monotonic() + (float(upstream.spec.timeouts.total) or inf)
        self._peer: Peer | None = None
        self._connection: UpstreamConnection | None = None
        self._pending: Deferred[UpstreamConnection] | None = None
        self._chosen = 0.0
        self._status = 0
        self._stale = False
        self._producing = False
        self._response: AgentResponse | None = None

    def begin(self) -> Deferred[IResponse]:
        result = self._result
        assert result is not None
        self._upstream.active += 1
        try:
            peer = self._upstream.pick(None)
        except GatewayError as error:
            self._fail(error)
        else:
            self._ask(peer, False)
        return result

    def _ask(self, peer: Peer, fresh: bool) -> None:
        sweep = self._upstream.sweep
        self._peer = peer
        peer.begin()
        self._chosen = sweep.monotonic()
        got = peer.acquire(fresh)
        if isinstance(got, Deferred):
            self._pending = got
            self.deadline = self._limit
            sweep.watch(self)
            got.addCallbacks(self._connected, self._unconnected)
        else:
            self._send(got)

    def _waited(self) -> bool:
        if self._pending is None:
            return False
        self._pending = None
        self._upstream.sweep.unwatch(self)
        return True

    def _connected(self, connection: UpstreamConnection) -> None:
        if self._waited():
            self._send(connection)
        else:
            connection.give_back()

    def _unconnected(self, failure: Failure) -> None:
        if self._waited():
            self._fail(failure.value)

    def _send(self, connection: UpstreamConnection) -> None:
        self._connection = connection
        request = self._request
        timeouts = self._upstream.spec.timeouts
        producer = self._producer
        limit = self._limit
        soon = min(limit, self._upstream.sweep.monotonic() + float(timeouts.first_byte))
        connection.send(
            self,
            _head(request, self._uri, self._length),
            request.method == b"HEAD",
            producer is None,
            soon if producer is None else limit,
            limit,
            float(timeouts.idle),
        )
        if producer is not None:
            self._producing = True
            produced: Deferred[None] = producer.startProducing(self)  # type: ignore[no-untyped-call]
            produced.addCallbacks(self._produced, self._not_produced)

    def _end(self, error: BaseException | None) -> None:
        """It is over: tell the peer, let go of everything."""
        self._upstream.active -= 1
        self._stop_producing()
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.abandon()
        peer, self._peer = self._peer, None
        if peer is not None:
            peer.tell(
                error if isinstance(error, GatewayError) else None,
                self._status,
                self._upstream.sweep.monotonic() - self._chosen,
            )
        pending = self._pending
        if self._waited():
            assert pending is not None
            pending.cancel()

    def _fail(self, error: BaseException | None, wrapped: BaseException | None = None) -> None:
        """There will be no answer, or no whole one."""
        self._end(error)
        result, self._result = self._result, None
        if result is not None:
            result.errback(Failure(wrapped or error))  # type: ignore[no-untyped-call]  # twisted is not typed here
        elif self._response is not None:
            assert error is not None
            self._response.broken(error)

    def _cancelled(self, result: Deferred[IResponse]) -> None:
        self._result = None
        self._end(None)
        result.errback(Failure(ResponseNeverReceived([Failure(CancelledError())])))  # type: ignore[no-untyped-call]

    def expired(self, now: float) -> None:
        """No connection in time. For `Sweep`."""
        self._fail(DeadlineExceeded("no connection in time"))

    # -- the request's body: IConsumer --------------------------------------------------------------------------------

    def registerProducer(self, producer: object, streaming: bool) -> None:
        """Part of `IConsumer`: an `IBodyProducer` is a push producer, and known already."""

    def unregisterProducer(self) -> None:
        """Part of `IConsumer`."""

    def write(self, data: bytes) -> None:
        """A piece of the request's body."""
        if not self._producing or not data:
            return
        connection = self._connection
        assert connection is not None
        if self._length is UNKNOWN_LENGTH:
            connection.more((b"%x\r\n" % len(data), data, b"\r\n"))
            return
        self._left -= len(data)
        if self._left < 0:
            self._misproduced(ValueError("the body is longer than announced"))
            return
        connection.transport.write(data)

    def _produced(self, _: object) -> None:
        if not self._producing:
            return
        connection = self._connection
        assert connection is not None
        if self._length is UNKNOWN_LENGTH:
            connection.transport.write(b"0\r\n\r\n")
        elif self._left:
            self._misproduced(ValueError("the body is shorter than announced"))
            return
        self._producing = False
        connection.uploaded()
        if self._result is not None:
            first_byte = float(self._upstream.spec.timeouts.first_byte)
            connection.deadline = min(self._limit, self._upstream.sweep.monotonic() + first_byte)

    def _not_produced(self, failure: Failure) -> None:
        if self._producing:
            self._producing = False
            self._misproduced(failure.value)

    def _misproduced(self, error: BaseException | None) -> None:
        failed = RequestGenerationFailed([Failure(error)])  # type: ignore[no-untyped-call]
        self._fail(failed)

    def _stop_producing(self) -> None:
        if self._producing:
            self._producing = False
            assert self._producer is not None
            self._producer.stopProducing()  # type: ignore[no-untyped-call]

    def pause_request(self) -> None:
        """See `AnswerSink`."""
        if self._producing:
            assert self._producer is not None
            self._producer.pauseProducing()

    def resume_request(self) -> None:
        """See `AnswerSink`."""
        if self._producing:
            assert self._producer is not None
            self._producer.resumeProducing()

    # -- the answer: AnswerSink ---------------------------------------------------------------------------------------

    def answer_begun(self, head: ResponseHead) -> None:
        """See `AnswerSink`."""
        connection = self._connection
        assert connection is not None
        self._status = head.status
        parser = connection.parser
        response = AgentResponse(head, parser.version, self._request, self, head_only=self._request.method == b"HEAD")
        self._response = response
        if not parser.complete:
            connection.pause()
        result, self._result = self._result, None
        assert result is not None
        result.callback(response)

    def answer_data(self, data: bytes) -> None:
        """See `AnswerSink`."""
        assert self._response is not None
        if data:
            self._response.data(data)

    def answer_ended(self, trailers: Pairs) -> None:
        """See `AnswerSink`."""
        connection, self._connection = self._connection, None
        assert connection is not None
        until_close = connection.parser.until_close
        self._end(None)
        assert self._response is not None
        self._response.ended(until_close)

    def answer_failed(self, error: GatewayError) -> None:
        """See `AnswerSink`."""
        self._connection = None
        if (
            isinstance(error, ReusedClosed)
            and not self._stale
            and self._producer is None
            and self._request.method in IDEMPOTENT
            and self._peer is not None
        ):
            self._stale = True
            peer = self._peer
            peer.tell(error, 0, 0.0)
            self._ask(peer, True)
            return
        self._fail(error, ResponseNeverReceived([Failure(error)]))  # type: ignore[no-untyped-call]

    def answer_overdue(self, now: float) -> None:
        """See `AnswerSink`."""
        connection = self._connection
        assert connection is not None
        error: GatewayError
        if now >= self._limit:
            error = DeadlineExceeded("no time left")
        elif self._response is not None:
            error = ReadTimeout("the answer stalled")
        else:
            error = AnswerTimeout("no answer")
        connection.abandon()
        self.answer_failed(error)

    # -- of the response ----------------------------------------------------------------------------------------------

    def pause(self) -> None:
        """Stop reading."""
        if self._connection is not None:
            self._connection.pause()

    def resume(self) -> None:
        """Read on."""
        if self._connection is not None:
            self._connection.resume()

    def give_up(self) -> None:
        """Nobody wants the rest."""
        if self._connection is not None:
            self._fail(CancelledError("given up by the receiver"))
