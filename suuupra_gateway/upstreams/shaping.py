"""
An answer on its way through the response filters of a route.
"""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from suuupra_gateway.errors import Bug, DeadlineExceeded, GatewayError, wrap
from suuupra_gateway.hooks import Verdict, run_response
from suuupra_gateway.http.message import Pairs, Reply, ResponseHead

if TYPE_CHECKING:
    from suuupra_gateway.interfaces import IExchange, IRoute, Transform
    from suuupra_gateway.upstreams.forward import Forwarding


class Shaping:
    """
    Stands in for the exchange (``start``, ``write``, ``finish``, ``register``) where a route has response hooks or transforms.

    States: fresh, held (a hook waits; what comes is kept, and the upstream paused), open, over. The forwarding may be long over
    when a held answer goes out.
    """

    __slots__ = ("deadline", "_exchange", "_route", "_forwarding", "_pending", "_held", "_over", "_transforms")

    log = Logger()

    deadline: float
    """For `Sweep`, which watches while a hook waits."""

    def __init__(self, exchange: IExchange, route: IRoute, forwarding: Forwarding) -> None:
        self.deadline = inf
        self._exchange = exchange
        self._route = route
        self._forwarding = forwarding
        self._pending: Deferred[Verdict] | None = None
        self._held: _Held | None = None
        self._over = False
        self._transforms: list[Transform] = []

    def start(self, head: ResponseHead) -> None:
        """Let the hooks see the head; then begin the answer, or whatever they put in its place."""
        verdict = run_response(iter(self._route.response_hooks), self._exchange, head)
        if verdict is None:
            self._open(head)
        elif type(verdict) is Reply:
            self._replace(verdict)
        else:
            self._held = _Held(head)
            self._pending = verdict  # type: ignore[assignment]  # no Reply and not None: a Deferred
            self.deadline = self._forwarding.limit
            self._forwarding.upstream.sweep.watch(self)
            self._forwarding.pauseProducing()
            verdict.addCallbacks(self._judged, self._unjudged)  # type: ignore[union-attr]

    def write(self, data: bytes) -> None:
        """A piece of the upstream's body."""
        if self._held is not None:
            self._held.pieces.append(data)
        elif not self._over:
            data = self._transform(data, False)
            if not self._over:
                self._exchange.write(data)  # an empty piece lets the head go

    def finish(self, trailers: Pairs | None = None) -> None:
        """The upstream's answer is complete."""
        if self._held is not None:
            self._held.complete = True
            self._held.trailers = trailers
        elif not self._over:
            rest = self._transform(b"", True)
            if rest:
                self._exchange.write(rest)
            if not self._over:
                self._over = True
                self._exchange.finish(trailers)

    def register(self, producer: object) -> None:
        """Let ``producer`` follow the client's pace, once anything is sent."""
        if self._held is not None:
            self._held.producer = producer
        elif not self._over:
            self._exchange.register(producer)

    def stop(self) -> None:
        """The client left, or the answer broke: stop waiting. Idempotent."""
        self._over = True
        self._held = None
        self._waited(cancel=True)

    def expired(self, now: float) -> None:
        """The exchange's time is over while a hook waits."""
        self._fail(DeadlineExceeded("response filters took all of the time", detail="The time limit was reached."))

    def _waited(self, cancel: bool = False) -> bool:
        """Whether somebody still wants to know what came of the wait."""
        pending, self._pending = self._pending, None
        if pending is None:
            return False
        self._forwarding.upstream.sweep.unwatch(self)
        if cancel:
            pending.cancel()
        return True

    def _judged(self, verdict: Verdict) -> None:
        if not self._waited():
            return
        held, self._held = self._held, None
        assert held is not None
        if verdict is not None:
            self._replace(verdict)
            return
        self._open(held.head)
        for piece in held.pieces:
            self.write(piece)
        if held.complete:
            self.finish(held.trailers)
        else:
            # In this order: registering pauses again if the client takes nothing.
            self._forwarding.resumeProducing()
            if held.producer is not None:
                self.register(held.producer)

    def _unjudged(self, failure: Failure) -> None:
        if self._waited():
            self._fail(wrap(failure.value))  # type: ignore[arg-type]  # a failure has one

    def _open(self, head: ResponseHead) -> None:
        try:
            for hook in self._route.transform_hooks:
                transform = hook(self._exchange, head)
                if transform is not None:
                    self._transforms.append(transform)
        except Exception:
            self._broken()
            return
        if self._transforms:
            head.length = None
        self._exchange.start(head)

    def _transform(self, data: bytes, last: bool) -> bytes:
        try:
            for transform in self._transforms:
                if data:
                    data = transform.feed(data)
                if last:
                    data += transform.finish()
        except Exception:
            self._broken()
            return b""
        return data

    def _broken(self) -> None:
        # A border like that of hooks: what a filter's codec raises must not be lost, nor half a body pass for a whole one.
        self.log.failure("A body transform failed for request {request}", request=self._exchange.id.decode("latin-1"))
        self._fail(Bug("a body transform failed"))

    def _replace(self, reply: Reply) -> None:
        self._over = True
        self._forwarding.let_go()
        self._exchange.respond(reply)

    def _fail(self, error: GatewayError) -> None:
        self.stop()
        self._forwarding.let_go()
        self._exchange.abort(error)


class _Held:
    """What came of an answer while a hook waits: never more than one read of the connection."""

    __slots__ = ("head", "pieces", "complete", "trailers", "producer")

    def __init__(self, head: ResponseHead) -> None:
        self.head = head
        self.pieces: list[bytes] = []
        self.complete = False
        self.trailers: Pairs | None = None
        self.producer: object = None
