"""
Any tree of Twisted Web resources below a route: dashboards, klein applications, `static.File`.

The exchange is given a real `server.Request`, whose channel is a facade over the exchange, as Twisted does it for the streams
of HTTP/2. What the resources see is the whole of Twisted Web, its limits included: request bodies are buffered before they
render. Sessions live in the worker that made them.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from twisted.internet.error import ConnectionLost
from twisted.internet.interfaces import IAddress, IPushProducer, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.http_headers import Headers
from twisted.web.resource import IResource, Resource
from twisted.web.server import NOT_DONE_YET, Request, Site
from zope.interface import implementer

from suuupra_gateway.errors import BadRequest, Bug, GatewayError, wrap
from suuupra_gateway.http.message import Pairs, ResponseHead
from suuupra_gateway.interfaces import IExchange
from suuupra_gateway.net.transport import twisted_address

if TYPE_CHECKING:
    from suuupra_gateway.config.model import MatchSpec

_OURS: Final = frozenset({b"connection", b"keep-alive", b"transfer-encoding", b"upgrade", b"content-length", b"date"})
"""Fields of answers that are the edge's to write."""

_PARAMETER: Final = re.compile(r"\{[^}]*\*\}$").search


class _LateReactor:
    """The process's reactor, when it is first needed: plans are also compiled by commands that run none."""

    def __getattr__(self, name: str) -> Any:
        from twisted.internet import reactor

        return getattr(reactor, name)


def depth_of(match: MatchSpec) -> int:
    """
    How many segments of a path belong to the route that matches by ``match``; the resource tree gets the others.

    A prefix and a template up to its ``{rest*}`` belong to the route, an exact path does entirely; without any of them the tree
    begins at the root.
    """
    if match.prefix:
        return _segments(match.prefix)
    if match.path:
        return _segments(match.path[:-1].rpartition("/")[0] if _PARAMETER(match.path) else match.path)
    return 0


def _segments(path: str) -> int:
    return path.strip("/").count("/") + 1 if path.strip("/") else 0


class MountResource(Resource):
    """Serves a resource tree. Lives as long as its plan."""

    isLeaf = True

    def __init__(self, resource: IResource, *, reactor: IReactorTime | None = None) -> None:
        """
        :param resource: the root of the tree.
        :param reactor: for sessions and pull producers; by default the one that the process has when they need it.
        """
        super().__init__()  # type: ignore[no-untyped-call]  # Twisted's
        self._site = _PortlessSite(resource, reactor or _LateReactor())

    def render(self, exchange: IExchange) -> int:  # our leaves render exchanges
        """Let the tree answer."""
        match = getattr(getattr(exchange.route, "spec", None), "match", None)
        _Mounted(exchange, self._site, depth_of(match) if match is not None and not exchange.head.prefix else 0)
        return NOT_DONE_YET


class _PortlessSite(Site):
    """Holds the tree and its sessions, and listens nowhere."""

    def __init__(self, resource: IResource, reactor: Any) -> None:
        super().__init__(resource, reactor=reactor)  # type: ignore[no-untyped-call]  # Twisted's

    def getResourceFor(self, request: Any) -> IResource:
        """Find the resource, as if the tree were the route's child at its place in a larger one."""
        depth = request.channel.depth
        request.prepath += request.postpath[:depth]
        del request.postpath[:depth]
        found: IResource = super().getResourceFor(request)  # type: ignore[no-untyped-call]
        return found


class _Mounted:
    """
    One exchange below a mount: the channel of its request, and the sink of its body. Lives as long as the exchange.

    What `Request` asks of a channel is nowhere written down; this is what `twisted.web._http2.H2Stream` has.
    """

    __slots__ = ("site", "depth", "_exchange", "_request", "_producer", "_over")

    log = Logger()

    transport = None
    """Of no use to a request, as for HTTP/2."""

    factory = None
    """Would log the request; the gateway does."""

    def __init__(self, exchange: IExchange, site: Site, depth: int) -> None:
        self.site = site
        self.depth = depth
        self._exchange = exchange
        self._producer: Any = None
        self._over = False
        self._request: Request = site.requestFactory(self)  # type: ignore[no-untyped-call]  # Twisted's
        head = exchange.head
        for name, value in head.headers:
            self._request.requestHeaders.addRawHeader(name, value)
        self._request.parseCookies()  # type: ignore[no-untyped-call]
        self._request.gotLength(head.content_length if head.has_body else 0)  # type: ignore[no-untyped-call]
        exchange.on_gone(self._gone)
        if head.has_body:
            try:
                exchange.body.subscribe(self)
            except GatewayError as error:
                self._drop(error)
        else:
            self.end([])

    # -- BodySink: what the exchange calls ----------------------------------------------------------------------------

    def feed(self, data: bytes) -> None:
        """A piece of the request's body."""
        self._request.handleContentChunk(data)  # type: ignore[no-untyped-call]

    def end(self, trailers: Pairs) -> None:
        """The request is complete: render it. Trailers have no place in Twisted Web."""
        head = self._exchange.head
        uri = head.path if head.query is None else head.path + b"?" + head.query
        self._request.requestReceived(head.method, uri, b"HTTP/1.1")  # type: ignore[no-untyped-call]

    def cut(self, error: GatewayError) -> None:
        """The request will never be complete."""
        self._drop(error)

    def _drop(self, error: GatewayError) -> None:
        self._exchange.on_gone(None)
        self._gone(error)
        self._exchange.abort(error)

    def _gone(self, error: GatewayError) -> None:
        """The client left: ``notifyFinish`` of the request fails, and its producer stops."""
        if self._over:
            return
        self._over = True
        if self._producer is not None:
            self._producer.stopProducing()
        lost = ConnectionLost(str(error))
        self._request.connectionLost(Failure(lost))  # type: ignore[no-untyped-call]

    # -- the channel: what the request calls --------------------------------------------------------------------------

    def writeHeaders(self, version: bytes, code: bytes, reason: bytes, headers: Headers) -> None:
        """Begin the answer."""
        self._request.chunked = 0  # framing is the edge's to choose
        length = headers.getRawHeaders(b"content-length")
        pairs = [
            (lower, value)
            for name, several in headers.getAllRawHeaders()
            if (lower := name.lower()) not in _OURS
            for value in several
        ]
        self._exchange.start(ResponseHead(int(code), pairs, reason=reason, length=int(length[0]) if length else None))

        if not length:
            # Whoever streams may begin with an empty write, to show the client that something is coming.
            self._exchange.write(b"")

    def write(self, data: bytes) -> None:
        """A piece of the answer's body."""
        self._exchange.write(data)

    def requestDone(self, request: Request) -> None:
        """The answer is complete."""
        self._exchange.finish()

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        """Let ``producer`` follow the client's pace."""
        self._producer = producer if streaming else _Pull(self, producer, self.site.reactor)
        self._exchange.register(self._producer)
        if not streaming:
            self._producer.begin()

    def unregisterProducer(self) -> None:
        """Forget the producer."""
        if isinstance(self._producer, _Pull):
            self._producer.stopped = True
        self._producer = None
        self._exchange.register(None)

    def failed(self, error: Exception) -> None:
        """A pull producer raised ``error``."""
        self.log.failure("A producer of {uri} failed", uri=self._exchange.head.path.decode("ascii"))
        self._drop(wrap(error))

    def loseConnection(self) -> None:
        """The resource wants no more of this client: nothing is left to say, so the answer is cut."""
        self._drop(Bug("the mounted resource closed the connection"))

    abortConnection = loseConnection

    def getPeer(self) -> IAddress:
        """The client, proxies that we trust taken away; its port is not known."""
        client = self._exchange.client
        return twisted_address((client, 0, 0, 0) if ":" in client else (client, 0) if client else None)

    def getHost(self) -> IAddress:
        """The host and port that the client asked for, so that absolute links lead back here."""
        head = self._exchange.head
        _, colon, digits = head.authority.rpartition(b":")
        port = int(digits) if colon and digits.isdigit() else 443 if self._exchange.secure else 80
        return twisted_address((head.host.decode("ascii"), port))

    def isSecure(self) -> bool:
        """Whether the client spoke TLS."""
        return self._exchange.secure

    def _respondToBadRequestAndDisconnect(self) -> None:
        """The request's form is malformed."""
        self._drop(BadRequest("a malformed form"))


@implementer(IPushProducer)
class _Pull:
    """Asks a pull producer for a piece, once per turn of the reactor, as long as the client keeps up."""

    __slots__ = ("stopped", "_channel", "_producer", "_later", "_paused", "_waiting")

    def __init__(self, channel: _Mounted, producer: Any, reactor: IReactorTime) -> None:
        self.stopped = False
        self._channel = channel
        self._producer = producer
        self._later: Callable[..., object] = reactor.callLater
        self._paused = False
        self._waiting = False

    def begin(self) -> None:
        """Ask for the first piece, in a later turn: the producer may not have been told of its registration yet."""
        if not self._paused and not self._waiting:
            self._waiting = True
            self._later(0, self._turn)

    def _turn(self) -> None:
        self._waiting = False
        if self.stopped or self._paused:
            return
        try:
            self._producer.resumeProducing()
        except Exception as error:
            self._channel.failed(error)
        else:
            if not self.stopped:
                self.begin()

    def pauseProducing(self) -> None:
        """The client does not keep up."""
        self._paused = True

    def resumeProducing(self) -> None:
        """It does again."""
        self._paused = False
        self.begin()

    def stopProducing(self) -> None:
        """There is nobody to produce for."""
        self.stopped = True
        self._producer.stopProducing()
