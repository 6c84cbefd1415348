"""
A client's connection: bytes in, exchanges out, one at a time, in order.

In order: ``makeConnection``, ``dataReceived`` any number of times, ``connectionLost``. In between `Sweep` calls ``expired``, the
transport calls ``pauseProducing`` and ``resumeProducing`` (the client does not keep up with the answer), and the exchange at
hand calls what is listed below "called by the exchange".
"""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, Any, Final

from twisted.internet.interfaces import IProtocol, IPushProducer
from twisted.python.failure import Failure
from zope.interface import implementer

from suuupra_gateway.errors import BodyTooLarge, ClientGone, Draining, GatewayError, RequestTimeout, wrap
from suuupra_gateway.http import wire
from suuupra_gateway.http.body import Body
from suuupra_gateway.http.client import BUSY, DRAINING, HEADS, OVER, ClientConnection
from suuupra_gateway.http.cycle import BROKEN, DRAIN, NEXT, RECEIVED, RECEIVING, STEP, WAITING
from suuupra_gateway.http.exchange import Exchange
from suuupra_gateway.http.message import Reply, RequestHead
from suuupra_gateway.http.trust import believe

if TYPE_CHECKING:
    from suuupra_gateway.http.site import GatewaySite

READ_AHEAD: Final = 64 * 1024
"""Bytes beyond the request at hand at which reading stops."""


@implementer(IProtocol, IPushProducer)
class EdgeChannel(ClientConnection):
    """
    The server side of one HTTP/1 connection. Lives as long as the connection, or until an exchange is detached.

    Phases: see `client`. Only in ``BUSY`` there is an `exchange`.
    """

    __slots__ = ("exchange", "_render", "_advancing", "_feeding")

    exchange: Exchange | None
    """The one at hand."""

    def __init__(self, site: GatewaySite) -> None:
        super().__init__(site)
        self.exchange = None
        self._render = site.resource.render
        self._advancing = self._feeding = False

    # -- IProtocol --------------------------------------------------------------------------------------------------

    def makeConnection(self, transport: Any) -> None:
        """The connection is there."""
        self.attach(transport)
        self.connectionMade()

    def connectionMade(self) -> None:
        """Begin."""
        # A client that connects has something to say: it gets the time for a head, not that of an idle connection.
        self.due(self.site.timeouts.head)
        self.site.opened(self)
        self.transport.registerProducer(self, True)

    def dataReceived(self, data: bytes) -> None:
        """Bytes from the client."""
        intake = self.intake
        rest = intake.rest
        intake.rest = rest + data if rest else data
        phase = self.phase
        if phase == HEADS:
            self._advance()
        elif phase == BUSY:
            exchange = self.exchange
            assert exchange is not None
            if exchange.request == RECEIVING and exchange.body.running:
                self._read_body(exchange)
            else:
                self._hold(exchange)
        elif phase == DRAINING:
            self._discard(len(data))
        else:
            intake.rest = b""

    def connectionLost(self, reason: Failure) -> None:
        """The end."""
        self.phase = OVER
        self.site.closed(self)
        exchange, self.exchange = self.exchange, None
        if exchange is not None:
            exchange.gone(ClientGone(), 499)

    # -- IPushProducer: the transport tells whether the client keeps up ---------------------------------------------

    def pauseProducing(self) -> None:
        """The client does not keep up with the answer."""
        self.stalled = True
        self.stall_due = self.site.sweep.now + self.site.timeouts.write
        self.deadline = min(self.deadline, self.stall_due)
        if self.exchange is not None:
            self.exchange.pace(True)

    def resumeProducing(self) -> None:
        """There is room again."""
        self.stalled = False
        self.stall_due = inf
        exchange = self.exchange
        if exchange is not None:
            self._set_body_deadline(exchange)
            exchange.pace(False)
        elif self.phase == HEADS:
            self._go_on()

    def stopProducing(self) -> None:
        """The connection is lost; `connectionLost` does what is to be done."""

    # -- requests ---------------------------------------------------------------------------------------------------

    def _advance(self) -> None:
        """Begin with the next request, and go on as long as they are answered at once."""
        self._advancing = True
        intake = self.intake
        site = self.site
        try:
            while True:
                try:
                    head = intake.head()
                except GatewayError as error:
                    self._refuse(error)
                    return
                if head is None:
                    self._await_head()
                    return
                self.phase = BUSY
                self.in_head = False
                self.deadline = self.stall_due
                self.served = served = self.served + 1
                self.keep = intake.parser.keep and served < site.most_requests
                site.counters.requests += 1
                request = RECEIVING if intake.open else RECEIVED
                exchange = Exchange(self, head, request, site.sweep.monotonic(), site.next_id())
                if self.trusted:
                    believe(exchange, site.trusted)
                self.exchange = exchange
                try:
                    self._render(exchange)
                except Exception as error:
                    self._failed(exchange, error)
                if self.phase != HEADS:
                    if intake.rest and self.exchange is exchange:
                        self._hold(exchange)
                    return
                if not intake.rest or self.stalled:
                    return
        finally:
            self._advancing = False

    def _await_head(self) -> None:
        if self.intake.rest and not self.in_head:
            self.in_head = True
            self.due(self.site.timeouts.head)
        self.listen()

    def _refuse(self, error: GatewayError) -> None:
        """Answer what did not become an exchange, and close: what follows is not to be trusted (RFC 9112 section 11.2)."""
        site = self.site
        site.counters.bad_requests += 1
        method, target = self.intake.glimpse()
        self.intake.rest = b""
        self.phase = BUSY
        self.keep = False
        head = RequestHead(method, b"", [], target=target)
        self.exchange = exchange = Exchange(self, head, BROKEN, site.sweep.monotonic(), site.next_id())
        exchange.respond(Reply.of(error))

    def _failed(self, exchange: Exchange, error: Exception) -> None:
        """Somebody's exception has reached this border."""
        if not isinstance(error, GatewayError):
            self.log.failure("Exchange {id} failed", id=exchange.id.decode("ascii"))
        exchange.abort(wrap(error))

    def _hold(self, exchange: Exchange) -> None:
        """Stop reading when enough is waiting that nobody wants yet."""
        rest = self.intake.rest
        if exchange.request == RECEIVING:
            if not exchange.body.running:
                self.mute()
        elif len(rest) >= READ_AHEAD or rest.count(b"\r\n\r\n") >= self.site.limits.pipeline:
            self.mute()

    def _go_on(self) -> None:
        """Between two requests: take the next, or wait for it."""
        if self.intake.rest:
            if not self._advancing and not self.stalled:
                self._advance()
            return
        self.due(self.site.idle)
        self.listen()

    # -- bodies of requests -----------------------------------------------------------------------------------------

    def _read_body(self, exchange: Exchange) -> None:
        """Deliver what there is of the body, as long as it is wanted. Never recursive."""
        if self._feeding:
            return
        self._feeding = True
        try:
            following: Exchange | None = exchange
            while following is not None and following.request == RECEIVING and following.body.running:
                exchange = following
                try:
                    if not self._feed(exchange):
                        return
                except GatewayError as error:
                    self._break(exchange, error)
                except Exception as error:
                    self._failed(exchange, error)
                # The subscriber may have ended its exchange and so begun the next one.
                following = self.exchange
        finally:
            self._feeding = False

    def _feed(self, exchange: Exchange) -> bool:
        """
        Deliver one piece, or the end.

        :return: whether to look again; False if more has to come first.
        """
        intake = self.intake
        body = exchange.body
        if not intake.open:
            exchange.request = RECEIVED
            self.deadline = self.stall_due
            self._hold(exchange)
            body.end(intake.trailers)
            return True
        if not intake.rest:
            return False
        data = intake.body()
        if data:
            body.heard = self.site.sweep.now
            if not body.deliver(data):
                raise BodyTooLarge(f"more than {body.limit} bytes")
            return True
        return not intake.open

    def _break(self, exchange: Exchange, error: GatewayError) -> None:
        """The body will not become whole; who subscribed answers the client."""
        exchange.request = BROKEN
        self.keep = False
        self.deadline = self.stall_due
        self.intake.rest = b""
        self.mute()
        exchange.body.cut(error)

    def _set_body_deadline(self, exchange: Exchange) -> None:
        if exchange.request == RECEIVING and exchange.body.running:
            self.due(self.site.timeouts.body)
        else:
            self.deadline = self.stall_due

    def _discard(self, size: int) -> None:
        try:
            if not self.discard(size):
                return
        except GatewayError:
            self.lose()
            return
        if self.keep:
            self.phase = HEADS
            self._go_on()
        else:
            self.lose()

    # -- called by the exchange and its body ------------------------------------------------------------------------

    def body_wanted(self, body: Body) -> None:
        """Somebody subscribed to the body, or wants it to go on."""
        exchange = self.exchange
        if exchange is None or exchange.body is not body:
            return
        body.since = body.heard = self.site.sweep.now
        self._set_body_deadline(exchange)
        parser = self.intake.parser
        if parser.expects:
            # RFC 9110 section 10.1.1: not when the body comes already, nor behind the final answer.
            parser.expects = False
            if not self.intake.rest and exchange.answer == WAITING:
                self.transport.write(wire.CONTINUE)
        self.listen()
        self._read_body(exchange)

    def body_unwanted(self, body: Body) -> None:
        """Who takes the body wants to wait."""
        exchange = self.exchange
        if exchange is not None and exchange.body is body:
            body.spent += self.site.sweep.now - body.since
            self.deadline = self.stall_due
            self.mute()

    def keeps(self, exchange: Exchange) -> bool:
        """Whether the answer that is about to begin is not the last one."""
        if self.site.draining or (exchange.request == RECEIVING and not exchange.body.taken and not self.drainable):
            self.keep = False
        return self.keep

    def finished(self, exchange: Exchange) -> None:
        """The answer is complete; the exchange is settled."""
        self.exchange = None
        step = STEP[exchange.request][exchange.answer]
        if step == NEXT:
            if not self.keep:
                self.lose()
            elif self.intake.rest or self.stalled or self.deaf:
                self.phase = HEADS
                self._go_on()
            else:
                site = self.site
                self.phase = HEADS
                self.deadline = site.sweep.now + site.idle
        elif step == DRAIN:
            exchange.request = BROKEN
            exchange.body.cut(GatewayError("answered before the body was complete"))
            if self.drain():
                self._discard(len(self.intake.rest))
        elif isinstance(exchange.body.error, BodyTooLarge | RequestTimeout):
            self.linger()
        else:
            self.lose()

    def cut(self, exchange: Exchange, error: GatewayError) -> None:
        """The client must see that the answer is not whole: no final chunk, no orderly end."""
        self.exchange = None
        self.drop()
        exchange.gone(error, 0)

    def released(self) -> tuple[Any, bytes]:
        """Let go of the connection."""
        self.phase = OVER
        self.exchange = None
        self.site.closed(self)
        self.transport.unregisterProducer()
        self.mute()
        rest, self.intake.rest = self.intake.rest, b""
        return self.transport, rest

    # -- the end ----------------------------------------------------------------------------------------------------

    def abort(self) -> None:
        """Drop the connection and what is going on there, because the gateway ends."""
        if self.exchange is not None:
            self.cut(self.exchange, Draining("the gateway has ended"))
        else:
            self.drop()

    def expired(self, now: float) -> None:
        """`deadline` has passed."""
        exchange = self.exchange
        if self.stall_due <= now:
            self.exchange = None
            self.drop()
            if exchange is not None:
                exchange.gone(ClientGone("the client takes nothing of the answer"), 499)
        elif exchange is not None:
            self._check_body(exchange, now)
        elif self.phase == HEADS and self.in_head:
            self._refuse(RequestTimeout("the head is not complete"))
        elif self.phase == OVER:
            self.drop()
        else:
            self.lose()

    def _check_body(self, exchange: Exchange, now: float) -> None:
        """The body's deadline is looked at again only when it passes, so that pieces need not move it."""
        body = exchange.body
        timeouts = self.site.timeouts
        spent = body.spent + now - body.since
        silent = now - body.heard
        if silent >= timeouts.body or (spent >= timeouts.body and body.received < spent * timeouts.min_body_rate):
            self._break(exchange, RequestTimeout(f"{body.received} bytes of the body in {spent:.0f} seconds"))
        else:
            # The average is looked at when the time of grace is over, and each second from then on.
            self.due(min(timeouts.body - silent, max(1.0, timeouts.body - spent)))
