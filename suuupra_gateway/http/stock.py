"""
Requests of Twisted Web's own stack as exchanges, so that the gateway's resources work in any `Site`: for HTTP/2, in tests, and
below somebody else's tree.

Importing this module registers the adapter: ``IExchange(request)`` for any `IRequest`. It is correct before it is fast. Twisted
buffers request bodies whole before it renders, so limits on them act late, and has no way to send trailers or 1xx answers.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from random import getrandbits
from typing import Any, Final, cast

from twisted.internet.interfaces import IPushProducer, ITransport
from twisted.logger import Logger
from twisted.python.components import registerAdapter
from twisted.web.http_headers import Headers
from twisted.web.iweb import IRequest
from zope.interface import implementer

from suuupra_gateway.config.model import ListenerLimits, ProcessSpec
from suuupra_gateway.errors import (
    BadRequest,
    BodyTooLarge,
    Bug,
    ClientGone,
    GatewayError,
    NotImplementedMethod,
    UpgradeRefused,
    wrap,
)
from suuupra_gateway.http import grammar
from suuupra_gateway.http.body import Body
from suuupra_gateway.http.cycle import BROKEN, CUT, FINISH, HEADED, RECEIVED, RECEIVING, SEND, SENDING, SENT, impossible
from suuupra_gateway.http.exchange import Exchange
from suuupra_gateway.http.hygiene import remove_nominated, tokens
from suuupra_gateway.http.local import proxy_status
from suuupra_gateway.http.message import Pairs, RequestHead, ResponseHead, values
from suuupra_gateway.http.rules import HeadRules
from suuupra_gateway.http.site import GatewaySite, ignore
from suuupra_gateway.http.target import parse_target
from suuupra_gateway.http.trust import believe
from suuupra_gateway.http.wire import response_head
from suuupra_gateway.interfaces import IExchange
from suuupra_gateway.net.networks import Networks, normal

_VERSIONS: Final = {b"HTTP/1.0": b"1.0", b"HTTP/1.1": b"1.1", b"HTTP/2": b"2"}

_PIECE: Final = 64 * 1024
"""Bytes of a buffered body delivered at once."""

_log = Logger()


class _Foreign:
    """What an exchange asks of its site, for requests whose site is not one of ours. Defaults, and nobody is told."""

    __slots__ = ("limits", "rules", "trusting_rules", "trusted", "proxy_status", "settled")

    def __init__(self) -> None:
        self.limits = ListenerLimits()
        self.rules = HeadRules(believes=False)
        self.trusting_rules = HeadRules()
        self.trusted = Networks(())
        self.proxy_status = proxy_status(ProcessSpec().name)
        self.settled: Callable[[IExchange], None] = ignore

    @property
    def sweep(self) -> _Foreign:
        """Itself: the clock is all that is asked for."""
        return self

    def monotonic(self) -> float:
        """As `Sweep.monotonic`."""
        return time.monotonic()

    def next_id(self) -> bytes:
        """A UUID version 7 in text form (RFC 9562 section 5.7)."""
        now = int(time.time() * 1000)
        return b"%08x-%04x-7%03x-%04x-%012x" % (
            now >> 16,
            now & 0xFFFF,
            getrandbits(12),
            0x8000 | getrandbits(14),
            getrandbits(48),
        )


class _RequestChannel:
    """What `Exchange` and `Body` ask of a channel, done by a request of Twisted Web."""

    __slots__ = ("site", "peer", "secure", "keep", "request", "_feeding")

    keep: bool
    """Of no use here: Twisted decides."""

    def __init__(self, request: Any, site: Any) -> None:
        self.request = request
        self.site = site
        host = getattr(request.getClientAddress(), "host", None) or ""
        self.peer = normal(host) or host
        self.secure = bool(request.isSecure())
        self.keep = True
        self._feeding = False

    @property
    def transport(self) -> Any:
        """The connection, if there is one."""
        return getattr(self.request, "transport", None)

    def body_wanted(self, body: Body) -> None:
        """Deliver what was buffered, as long as it is wanted. Never recursive."""
        exchange = body._exchange
        if self._feeding:
            return
        self._feeding = True
        try:
            while body.running:
                data = self.request.content.read(_PIECE)
                if not data:
                    exchange.request = RECEIVED
                    body.end([])
                elif not body.deliver(data):
                    exchange.request = BROKEN
                    body.cut(BodyTooLarge(f"more than {body.limit} bytes"))
        except Exception as error:
            if not isinstance(error, GatewayError):
                _log.failure("Exchange {id} failed", id=exchange.id.decode("ascii"))
            exchange.abort(wrap(error))
        finally:
            self._feeding = False

    def body_unwanted(self, body: Body) -> None:
        """`Body.running` says so already."""

    def cut(self, exchange: Exchange, error: GatewayError) -> None:
        """Drop the connection, or the stream of HTTP/2."""
        request = self.request
        # HTTP/2 streams can be reset alone; a channel of HTTP/1 has only its transport.
        channel = getattr(request, "channel", None)
        abort = getattr(channel, "abortConnection", None) or getattr(request.transport, "abortConnection", None)
        exchange.gone(error, 0)
        if abort is not None:
            abort()


@implementer(IPushProducer)
class _Paced:
    """Passes on the client's pace, and not the end of the connection, which `on_gone` tells."""

    __slots__ = ("pauseProducing", "resumeProducing")

    def __init__(self, producer: Any) -> None:
        self.pauseProducing = producer.pauseProducing
        self.resumeProducing = producer.resumeProducing

    def stopProducing(self) -> None:
        """Nothing."""


class RequestExchange(Exchange):
    """
    The `IExchange` of a request that Twisted Web received. Lives as long as the request.

    A request that the edge would have refused is answered when this is made: then ``outcome.status`` is set, and whatever else
    is done with the exchange has no effect.
    """

    __slots__ = ("_request",)

    def __init__(self, request: Any) -> None:
        self._request = request
        site = getattr(request, "site", None)
        if not isinstance(site, GatewaySite):
            site = _Foreign()
        channel = _RequestChannel(request, site)
        refused: GatewayError | None = None
        try:
            head = _head_of(request, site.trusting_rules if channel.peer in site.trusted else site.rules)
        except GatewayError as error:
            refused = error
            head = RequestHead(request.method, b"", [], target=request.uri)
        super().__init__(
            channel,  # type: ignore[arg-type]  # has what `Exchange` asks of one
            head,
            RECEIVING if head.has_body else RECEIVED,
            site.sweep.monotonic(),
            b"",
        )
        if channel.peer in site.trusted:
            believe(self, site.trusted)
        if not self.id:
            self.id = site.next_id()
        request.notifyFinish().addErrback(self._lost)
        if refused is not None:
            self.abort(refused)

    def inform(self, head: ResponseHead) -> None:
        """Interim answers cannot be sent by way of Twisted Web; nobody may depend on them (RFC 9110 section 15.2)."""

    def write(self, data: bytes) -> None:
        """Send a piece of the answer's body; more bytes than announced abort the exchange."""
        answer = self.answer
        if SEND[answer] != SENDING:
            if answer == CUT:
                return
            raise impossible("write", answer)
        if self._bodiless:
            data = b""
        elif self._response.length is not None:
            self._left -= len(data)
            if self._left < 0:
                self.abort(Bug("the answer is longer than announced"))
                return
        if answer == HEADED:
            if not self._send_head():
                return
        elif not data:
            return
        self.outcome.sent += len(data)
        self._request.write(data)

    def finish(self, trailers: Pairs | None = None) -> None:
        """The answer is complete; there is no way to send ``trailers``. Too few bytes abort the exchange instead."""
        answer = self.answer
        if FINISH[answer] != SENT:
            if answer == CUT:
                return
            raise impossible("finish", answer)
        if not self._bodiless and self._response.length is not None and self._left:
            self.abort(Bug("the answer is shorter than announced"))
            return
        if answer == HEADED:
            if not self._bodiless and self.head.version == b"1.1":
                self._response.length = 0  # nothing was written, so it is known after all
            if not self._send_head():
                return
            self._request.write(b"")
        self.answer = SENT
        self._gone = None
        self.register(None)
        if self.request == RECEIVING:
            self.request = BROKEN
            self.body.cut(GatewayError("answered before the body was complete"))
        self.settle()
        self._request.finish()

    def register(self, producer: object) -> None:
        """Let ``producer`` follow the client's pace; None lets go of it."""
        if self._producer is not None:
            self._producer = None
            self._request.unregisterProducer()
        if producer is not None and self.answer != CUT:
            self._producer = cast("IPushProducer", producer)
            self._request.registerProducer(_Paced(producer), True)

    def detach(self) -> tuple[ITransport, bytes]:
        """
        There is no connection to hand over.

        :raises UpgradeRefused: always.
        """
        raise UpgradeRefused("an upgrade needs a connection of the gateway's own")

    @property
    def _bodiless(self) -> bool:
        return self.head.method == b"HEAD" or self._response.status in (204, 304)

    def _send_head(self) -> bool:
        """
        Give the head to Twisted, which sends it with the next write.

        :return: whether it could be.
        """
        response = self._response
        try:
            response_head(
                response, b"1.1", True, b"", False
            )  # for its refusals: Twisted would repair what may be an attack
        except Bug as error:
            self._spoilt(error)
            return False
        self.answer = SENDING
        request = self._request
        request.setResponseCode(response.status, response.reason or None)
        request.defaultContentType = None
        headers: Headers = request.responseHeaders
        headers.removeHeader(b"server")
        for name in {name for name, _ in response.headers}:
            headers.removeHeader(name)
        for name, value in response.headers:
            headers.addRawHeader(name, value)
        if response.length is not None and response.status != 204:
            headers.setRawHeaders(b"content-length", [b"%d" % response.length])
        return True

    def _lost(self, reason: object) -> None:
        """The client left, or we cut the connection."""
        if self.answer not in (SENT, CUT):
            self.gone(ClientGone(), 499)


def _head_of(request: Any, rules: HeadRules) -> RequestHead:
    """
    The head of ``request``, by the same rules as those of the edge as far as Twisted has kept what they need.

    :raises BadRequest, NotImplementedMethod: as `RequestParser.parse`.
    """
    if request.method not in grammar.METHODS:
        raise NotImplementedMethod(f"method {request.method[:32]!r}")
    headers: Pairs = []
    for name, several in request.requestHeaders.getAllRawHeaders():
        lower = name.lower()
        if rules.admit(lower):
            headers += [(lower, value) for value in several]
    nominated = tokens(values(headers, b"connection"))
    if nominated:
        remove_nominated(headers, nominated)
    path, query, authority, escaped = parse_target(request.uri, request.method, merge_slashes=rules.merge_slashes)
    head = RequestHead(
        request.method,
        path,
        headers,
        target=request.uri,
        query=query,
        version=_VERSIONS.get(request.clientproto, b"1.0"),
        escaped=escaped,
    )
    hosts = values(headers, b"host")
    if len(hosts) > 1:
        raise BadRequest("several Host fields", detail="There must be exactly one Host header.")
    if not hosts and head.version != b"1.0":
        raise BadRequest("no Host field", detail="There must be exactly one Host header.")
    for host in hosts or ([authority] if authority is not None else []):
        found = grammar.parse_host(host)
        if found is None:
            raise BadRequest("malformed Host", detail="The Host header is malformed.")
        head.authority, head.host = found
    if authority is not None and authority.lower() != head.authority:
        raise BadRequest("the target's authority is not that of the Host field")
    length = head.get(b"content-length")
    if length is not None:
        head.content_length = int(length)  # Twisted has refused what is not digits
    else:
        request.content.seek(0, 2)
        head.chunked = request.content.tell() > 0 or head.get(b"transfer-encoding") is not None
    request.content.seek(0)
    return head


registerAdapter(RequestExchange, IRequest, IExchange)  # type: ignore[no-untyped-call]  # Twisted's
