"""
Forwarding one exchange to an upstream: attempts, deadlines, retries, bodies both ways.

The life of one: `Forwarding.begin` picks a peer and takes a connection (at once if one is idle); the request goes out, its
body piece by piece as the peer takes it (`upload.py`); the answer comes back by the `AnswerSink` methods and goes to the client
as it takes it, through the response filters if the route has any (`shaping.py`). Until the head of an answer is accepted, a
failure may lead to another attempt (`policy/retry.py`); afterwards it cuts the exchange, so that nobody takes half an answer
for a whole one.
"""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, Final

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.python.failure import Failure

from suuupra_gateway.errors import AnswerTimeout, ClientGone, DeadlineExceeded, GatewayError, ReadTimeout, Retry, wrap
from suuupra_gateway.http.connection import UpstreamConnection
from suuupra_gateway.http.message import Pairs, ResponseHead
from suuupra_gateway.policy.retry import Attempt, decide
from suuupra_gateway.upstreams.shaping import Shaping
from suuupra_gateway.upstreams.upload import Upload

if TYPE_CHECKING:
    from suuupra_gateway.interfaces import IExchange
    from suuupra_gateway.upstreams.terms import Terms
    from suuupra_gateway.upstreams.upstream import Peer, Upstream

_WAITING: Final = 0
_ANSWERING: Final = 1
_OVER: Final = 2


class Forwarding:
    """
    Lives from the target to the end of the upstream's answer. It is the `AnswerSink` of the connection, and the producer that
    follows the client's pace.

    States: waiting (an attempt is under way, or about to be), answering, over.
    """

    __slots__ = (
        "exchange",
        "upstream",
        "terms",
        "peer",
        "connection",
        "deadline",
        "limit",
        "_state",
        "_number",
        "_tried",
        "_stale",
        "_status",
        "_pending",
        "_pause",
        "_upload",
        "_out",
    )

    peer: Peer | None
    """Who is being asked."""

    connection: UpstreamConnection | None
    """Over which the attempt runs, None before and after."""

    deadline: float
    """For `Sweep`, which watches only while there is no connection that it could watch instead."""

    limit: float
    """Monotonic time when the whole exchange ends, all attempts included."""

    def __init__(self, exchange: IExchange, upstream: Upstream, terms: Terms) -> None:
        self.exchange = exchange
        self.upstream = upstream
        self.terms = terms
        self.peer = None
        self.connection = None
        self.deadline = inf
        self._state = _WAITING
        self._number = 1
        self._tried: tuple[Peer, ...] = ()
        self._stale = False
        self._status = 0
        self._pending: Deferred[UpstreamConnection] | None = None
        self._pause: IDelayedCall | None = None
        self._upload: Upload | None = None
        self._out: IExchange | Shaping = exchange

    def begin(self) -> None:
        """Make the first attempt. Every way leads to an end of the exchange, none raises."""
        exchange = self.exchange
        terms = self.terms
        limit = exchange.arrived + terms.total
        if exchange.deadline < limit:
            limit = exchange.deadline
        if terms.hygiene.trusted:
            patience = terms.hygiene.patience(exchange)
            if patience is not None:
                limit = min(limit, exchange.arrived + patience)
        self.limit = limit
        head = exchange.head
        if head.chunked or head.content_length:
            self._upload = Upload(exchange, self, terms)
        upstream = self.upstream
        upstream.active += 1
        exchange.outcome.upstream = upstream.name
        exchange.on_gone(self.gone)
        self._attempt()

    # -- attempts -----------------------------------------------------------------------------------------------------

    def _attempt(self, stale: Peer | None = None) -> None:
        """
        Ask a peer.

        :param stale: ask this one again, on a new connection.
        """
        self._pause = None
        if self._state == _OVER:
            return
        exchange = self.exchange
        upstream = self.upstream
        if stale is None:
            try:
                peer = upstream.pick(exchange, self._tried)
            except GatewayError as error:
                self._abort(error, None)
                return
        else:
            peer = stale
        self.peer = peer
        peer.begin()
        outcome = exchange.outcome
        outcome.attempts += 1
        outcome.peer = peer.name
        outcome.chosen = now = upstream.sweep.monotonic()
        got = peer.acquire(stale is not None)
        if type(got) is UpstreamConnection:
            self._send(got, now)
        else:
            self._pending = got  # type: ignore[assignment]  # else a Deferred
            self.deadline = self.limit
            upstream.sweep.watch(self)
            got.addCallbacks(self._connected, self._unconnected)  # type: ignore[union-attr]

    def _waited(self) -> bool:
        """Whether the connection that was waited for, or its failure, is still wanted."""
        if self._pending is None:
            return False
        self._pending = None
        self.upstream.sweep.unwatch(self)
        return True

    def _connected(self, connection: UpstreamConnection) -> None:
        if self._waited():
            self._send(connection, self.upstream.sweep.monotonic())
        else:
            connection.give_back()

    def _unconnected(self, failure: Failure) -> None:
        if self._waited():
            self._failed(wrap(failure.value))  # type: ignore[arg-type]  # a failure has one

    def _send(self, connection: UpstreamConnection, now: float) -> None:
        exchange = self.exchange
        terms = self.terms
        outcome = exchange.outcome
        outcome.connected = now
        limit = self.limit
        assert self.peer is not None
        self.connection = connection
        try:
            raw = terms.hygiene.request_head(
                exchange,
                b"" if terms.keep_host and exchange.head.authority else self.peer.authority,
                outcome.attempts,
                None if limit == inf else limit - now,
            )
            if self._upload is not None:
                self._upload.send(connection, raw)
                return
        except GatewayError as error:
            self._abort(error, None)
            return
        soon = now + terms.first_byte
        connection.send(
            self, raw, exchange.head.method == b"HEAD", True, soon if soon < limit else limit, limit, terms.idle
        )

    def send_request(self, connection: UpstreamConnection, data: bytes, whole: bool) -> None:
        """Begin a request that has a body with ``data``. For `Upload`."""
        limit = self.limit
        deadline = min(limit, self.upstream.sweep.monotonic() + self.terms.first_byte) if whole else limit
        connection.send(self, data, self.exchange.head.method == b"HEAD", whole, deadline, limit, self.terms.idle)

    def request_sent(self, connection: UpstreamConnection) -> None:
        """From here on the answer is waited for. For `Upload`."""
        if self._state == _WAITING:
            connection.deadline = min(self.limit, self.upstream.sweep.monotonic() + self.terms.first_byte)

    def _again(self, error: GatewayError | None, answer: ResponseHead | None) -> bool:
        """Try once more if that is safe and sensible; False if not."""
        exchange, terms, upstream = self.exchange, self.terms, self.upstream
        remaining = self.limit - upstream.sweep.monotonic()
        decision = decide(
            terms.retry,
            Attempt(
                safety=Retry.IDEMPOTENT if error is None else error.retry,
                number=self._number,
                repeatable=terms.retry.repeatable(exchange.head.method, exchange.head.headers),
                replayable=self._upload is None or self._upload.replayable,
                stale_before=self._stale,
                elsewhere=terms.hygiene.already_retried(exchange),
                active=upstream.active,
                retrying=upstream.retrying,
                remaining=None if remaining == inf else remaining,
                retry_after=None if answer is None else answer.get(b"retry-after"),
            ),
            terms.uniform,
        )
        if not decision.again:
            return False
        peer = self._leave_peer(error)
        if self._upload is not None:
            self._upload.leave(again=True)
        upstream.retries += 1
        if decision.free:
            self._stale = True
            self._attempt(peer)
            return True
        if self._number == 1:
            upstream.retrying += 1
        self._number += 1
        self._tried += (peer,)
        self._pause = terms.reactor.callLater(decision.pause, self._attempt)
        return True

    def _failed(self, error: GatewayError) -> None:
        """The attempt came to nothing, or the answer to an untimely end."""
        self.exchange.outcome.upstream_error = error
        if self._state != _WAITING or not self._again(error, None):
            self._abort(error, error)

    def _abort(self, error: GatewayError, told: GatewayError | None) -> None:
        """
        End the exchange with ``error``.

        :param told: what the peer is told: the same if it is its fault, else None.
        """
        self._end(told)
        self.exchange.abort(error)

    def _leave_peer(self, error: GatewayError | None) -> Peer:
        """Tell the peer how it went, and let go of its connection."""
        connection, self.connection = self.connection, None
        if connection is not None:
            if connection.receiver is self:
                connection.abandon()
            else:
                connection.give_back()  # nothing was sent
        peer, self.peer = self.peer, None
        assert peer is not None
        outcome = self.exchange.outcome
        until = outcome.first_byte
        if until < outcome.chosen:
            until = self.upstream.sweep.monotonic()
        peer.tell(error, self._status, until - outcome.chosen)
        self._status = 0
        return peer

    def _end(self, told: GatewayError | None) -> None:
        """It is over, by whatever end; the exchange's own end is up to the caller."""
        self._state = _OVER
        upstream = self.upstream
        upstream.active -= 1
        if self._number > 1:
            upstream.retrying -= 1
        if self._upload is not None:
            self._upload.leave(again=False)
        if self.peer is not None:
            self._leave_peer(told)
        if self._pending is not None:
            pending = self._pending
            self._waited()
            pending.cancel()
        if self._pause is not None:
            self._pause.cancel()
            self._pause = None

    def let_go(self, status: int | None = None) -> None:
        """Nothing more is wanted of the upstream. For `Shaping`, which answers by itself."""
        if self._state != _OVER:
            self._status = self._status if status is None else status
            self._end(None)

    def gone(self, error: GatewayError) -> None:
        """The client left: nobody is to blame for what is stopped now."""
        if self._out is not self.exchange:
            self._out.stop()  # type: ignore[union-attr]  # else a Shaping
        self.let_go(0)

    def cut(self, error: GatewayError) -> None:
        """The request's body ended too early, by the client's fault. For `Upload`."""
        if self._state != _OVER:
            self._status = 0
            self._abort(error, None)

    def expired(self, now: float) -> None:
        """The exchange's time is over while a connection is waited for."""
        error = DeadlineExceeded("no connection in time", detail="The time limit was reached.")
        self.exchange.outcome.upstream_error = error
        self._abort(error, None)

    # -- the answer: AnswerSink ---------------------------------------------------------------------------------------

    def answer_begun(self, head: ResponseHead) -> None:
        """The head of the answer: repeat the request, or begin to answer."""
        exchange = self.exchange
        outcome = exchange.outcome
        terms = self.terms
        outcome.first_byte = self.upstream.sweep.monotonic()
        self._status = status = head.status
        if status in terms.retry.statuses and self._again(None, head):
            return
        self._state = _ANSWERING
        outcome.source = "upstream"
        parser = self.connection.parser  # type: ignore[union-attr]  # it is what calls
        head.headers.append(terms.hygiene.via[parser.version])
        route = exchange.route
        if route is not None and (route.response_hooks or route.transform_hooks):
            self._out = Shaping(exchange, route, self)
        self._out.start(head)
        if not parser.complete and self._state == _ANSWERING:
            self._out.register(self)

    def answer_data(self, data: bytes) -> None:
        """A piece of the answer's body."""
        if self._state == _ANSWERING:
            self._out.write(data)

    def answer_ended(self, trailers: Pairs) -> None:
        """The answer is complete; the connection is its pool's again."""
        self.connection = None
        self.exchange.outcome.answered = self.upstream.sweep.monotonic()
        if self._state == _ANSWERING:
            self._end(None)
            self._out.finish(self.terms.hygiene.clean_trailers(trailers) if trailers else None)

    def answer_failed(self, error: GatewayError) -> None:
        """The connection broke, or what came over it was no answer."""
        self.connection = None
        if self._out is not self.exchange:
            self._out.stop()  # type: ignore[union-attr]  # else a Shaping
        self._failed(error)

    def answer_overdue(self, now: float) -> None:
        """Nothing came in time."""
        connection = self.connection
        assert connection is not None
        error: GatewayError
        if now >= self.limit:
            error = DeadlineExceeded("no time left", detail="The time limit was reached.")
        elif self._state != _WAITING:
            error = ReadTimeout("the answer stalled")
        elif not connection.sent:
            error = AnswerTimeout("the request's body is not taken")
        else:
            error = AnswerTimeout("no answer")
        connection.abandon()
        self.answer_failed(error)

    def pause_request(self) -> None:
        """The peer is slower than the client."""
        self.exchange.body.pause()

    def resume_request(self) -> None:
        """The peer has caught up."""
        self.exchange.body.resume()

    # -- the client's pace: IPushProducer -----------------------------------------------------------------------------

    def pauseProducing(self) -> None:
        """The client takes nothing at the moment."""
        if self.connection is not None:
            self.connection.pause()

    def resumeProducing(self) -> None:
        """The client goes on."""
        if self.connection is not None:
            self.connection.resume()

    def stopProducing(self) -> None:
        """The client is gone."""
        self.gone(ClientGone())
