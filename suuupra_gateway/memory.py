"""
Exchanges without a connection: requests that were never sent, and what would be answered.

``explain``, route tests and tests of filters run on these. `Probe` describes a request; its head goes through the very parser
of the edge, so that what the edge would refuse is refused here. `MemoryExchange` keeps what it is told.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from math import inf
from typing import Any
from urllib.parse import urlsplit

import attrs
from twisted.internet.defer import Deferred, fail
from zope.interface import implementer

from suuupra_gateway.auth.principal import Principal
from suuupra_gateway.config.model import PrincipalSpec
from suuupra_gateway.errors import BodyTooLarge, Bug, ClientGone, GatewayError
from suuupra_gateway.hooks import run_done, run_reply
from suuupra_gateway.http.local import compose, proxy_status
from suuupra_gateway.http.message import Pairs, Reply, RequestHead, ResponseHead
from suuupra_gateway.http.outcome import Outcome
from suuupra_gateway.http.parser import RequestParser
from suuupra_gateway.http.rules import HeadRules
from suuupra_gateway.interfaces import BodySink, IBody, IExchange, IRoute


@attrs.frozen
class Probe:
    """A request to try."""

    method: str
    url: str
    """``http://host/path?query`` or ``/path?query`` (then for the host of the ``Host`` field, else ``localhost``)."""

    headers: tuple[tuple[str, str], ...] = ()
    client: str = "192.0.2.1"
    """Address of the client. The default belongs to nobody (RFC 5737)."""

    principal: Principal | None = None
    """Who sends it, on private routes, whatever credentials there are; None to go by these."""

    @property
    def secure(self) -> bool:
        """Whether the URL says https."""
        return self.url.lower().startswith("https:")

    def head(self, rules: HeadRules) -> RequestHead:
        """
        The head as the edge would understand it.

        :raises GatewayError: as `RequestParser.parse`.
        """
        target, fields = self.url, list(self.headers)
        names = {name.lower() for name, _ in fields}
        if "://" in target.partition("?")[0]:
            split = urlsplit(target)
            target = target.partition("://")[2][len(split.netloc) :] or "/"
            target = target if target.startswith("/") else f"/{target}"
            if "host" not in names:
                fields.insert(0, ("Host", split.netloc))
        elif "host" not in names:
            fields.insert(0, ("Host", "localhost"))
        line = f"{self.method} {target} HTTP/1.1\r\n".encode()
        lines = b"".join(f"{name}: {value}\r\n".encode() for name, value in fields)
        return RequestParser(rules).parse(line + lines + b"\r\n", len(line) - 2)


def pretended(spec: PrincipalSpec) -> Principal:
    """The principal that a configuration or a command line describes; without ``credential`` where it names none."""
    return Principal(
        spec.subject,
        spec.credential or "",
        spec.provider,
        scopes=frozenset(spec.scopes),
        roles=frozenset(spec.roles),
        tenant=spec.tenant,
        claims=json.loads(spec.claims),
        key=spec.key,
    )


@implementer(IBody)
class MemoryBody:
    """A request's body that is there already, or comes by `feed`, `end` and `cut`. Lives as long as its exchange."""

    __slots__ = ("limit", "received", "complete", "_declared", "_pending", "_ended", "_error", "_sink", "_paused")

    def __init__(self, data: bytes = b"", *, declared: int | None = None, limit: int = 10 * 1024 * 1024) -> None:
        """
        :param data: the first bytes of it.
        :param declared: ``Content-Length``; None if it is not known.
        """
        self.limit = limit
        self.received = 0
        self.complete = False
        self._declared = declared
        self._pending = [data] if data else []
        self._ended = False
        self._error: GatewayError | None = None
        self._sink: BodySink | None = None
        self._paused = False

    def feed(self, data: bytes) -> None:
        """More of it came."""
        self._pending.append(data)
        self._deliver()

    def end(self) -> None:
        """That was all of it."""
        self._ended = True
        self._deliver()

    def cut(self, error: GatewayError) -> None:
        """It will never be complete."""
        self._error = error
        self._deliver()

    def subscribe(self, sink: BodySink) -> None:
        """See `IBody`."""
        if self._declared is not None and self._declared > self.limit:
            raise BodyTooLarge(f"{self._declared} bytes declared, {self.limit} allowed")
        self._sink = sink
        self._deliver()

    def pause(self) -> None:
        """See `IBody`."""
        self._paused = True

    def resume(self) -> None:
        """See `IBody`."""
        self._paused = False
        self._deliver()

    def _deliver(self) -> None:
        while self._sink is not None and not self._paused:
            sink = self._sink
            if self._pending:
                data = self._pending.pop(0)
                self.received += len(data)
                if self.received <= self.limit:
                    sink.feed(data)
                    continue
                self._error = BodyTooLarge(f"more than {self.limit} bytes")
            if self._error is not None:
                self._sink = None
                sink.cut(self._error)
            elif self._ended:
                self._sink = None
                self.complete = True
                sink.end([])
            return

    def collect(self, limit: int) -> Deferred[bytes]:
        """See `IBody`."""
        self.limit = min(self.limit, limit)
        collecting = _Collecting()
        try:
            self.subscribe(collecting)
        except BodyTooLarge as error:
            return fail(error)
        return collecting.whole


class _Collecting:
    """The sink of `MemoryBody.collect`."""

    def __init__(self) -> None:
        self.whole: Deferred[bytes] = Deferred()
        self._pieces: list[bytes] = []

    def feed(self, data: bytes) -> None:
        self._pieces.append(data)

    def end(self, trailers: list[tuple[bytes, bytes]]) -> None:
        self.whole.callback(b"".join(self._pieces))

    def cut(self, error: GatewayError) -> None:
        self.whole.errback(error)


@implementer(IExchange)
class MemoryExchange:
    """An exchange that keeps the answer it is given. Lives as long as somebody wants to look at it."""

    answer: ResponseHead | None
    """Head of the answer; None as long as there is none."""

    sent: bytes
    """Body of the answer so far."""

    reply: Reply | None
    """What the gateway answered by itself, if it did."""

    finished: bool
    """Whether the answer is complete."""

    broken: bool
    """Whether the connection is no more: the client left, or the answer was broken off after it began."""

    settled: bool
    """Whether the exchange is over, one way or another."""

    producer: Any
    """Whoever follows the client's pace; None for nobody."""

    def __init__(
        self,
        head: RequestHead,
        *,
        client: str = "192.0.2.1",
        secure: bool = False,
        body: MemoryBody | None = None,
        id: bytes = b"0",
        gateway: str = "suuupra",
    ) -> None:
        """:param gateway: the gateway's name, for ``Proxy-Status``."""
        self.head = head
        self.client = client
        self.peer = client
        self.secure = secure
        self.id = id
        self.arrived = 0.0
        self.deadline = inf
        self.route: IRoute | None = None
        self.principal: Principal | None = None
        self.certificate: bytes | None = None
        self.body: IBody = body if body is not None else MemoryBody(declared=head.content_length)
        self.outcome = Outcome()
        self.slots: list[object] = []
        self.answer = None
        self.sent = b""
        self.trailers: Pairs = []
        self.reply = None
        self.finished = self.broken = self.settled = False
        self.producer = None
        self._begun = False
        self._gone: Callable[[GatewayError], object] | None = None
        self._proxy_status = proxy_status(gateway)

    def respond(self, reply: Reply) -> None:
        """See `IExchange`."""
        if self.broken:
            return
        if self.answer is not None:
            raise RuntimeError("the answer has begun already")
        head, body = compose(reply, self.head, self.id, self._proxy_status)
        self.outcome.source = "gateway"
        self.outcome.error = reply.error
        self.reply = reply
        if self.route is not None:
            run_reply(self.route.reply_hooks, self, head)
        self.start(head)
        if body:
            self.write(body)
        self.finish()

    def start(self, head: ResponseHead) -> None:
        """See `IExchange`."""
        if self.broken:
            return
        if self.answer is not None:
            raise RuntimeError("the answer has begun already")
        self.answer = head
        self.outcome.status = head.status

    @property
    def _bodiless(self) -> bool:
        assert self.answer is not None
        return self.head.method == b"HEAD" or self.answer.status in (204, 304)

    def write(self, data: bytes) -> None:
        """See `IExchange`."""
        if self.broken:
            return
        if self.answer is None or self.finished:
            raise RuntimeError("there is no answer to write to")
        self._begun = True
        if self._bodiless:
            return
        self.sent += data
        self.outcome.sent = len(self.sent)
        if self.answer.length is not None and len(self.sent) > self.answer.length:
            self.abort(Bug("the answer is longer than announced"))

    def finish(self, trailers: Pairs | None = None) -> None:
        """See `IExchange`."""
        if self.broken:
            return
        if self.answer is None or self.finished:
            raise RuntimeError("there is no answer to finish")
        if self.answer.length is not None and len(self.sent) < self.answer.length and not self._bodiless:
            self.abort(Bug("the answer is shorter than announced"))
            return
        self.trailers = trailers or []
        self.finished = True
        self.settle()

    def abort(self, error: GatewayError) -> None:
        """See `IExchange`."""
        if self.finished or self.broken:
            return
        if not self._begun:
            self.answer = None
            self.respond(Reply.of(error))
            return
        self.broken = True
        self.outcome.error = error
        self.settle()

    def register(self, producer: object) -> None:
        """See `IExchange`."""
        self.producer = producer

    def on_gone(self, callback: Any) -> None:
        """See `IExchange`."""
        if callback is not None and self.broken:
            callback(self.outcome.error or ClientGone())
        else:
            self._gone = callback

    def leave(self) -> None:
        """Do as if the client closed the connection."""
        if self.finished or self.broken:
            return
        error = ClientGone()
        self.broken = True
        self.outcome.status, self.outcome.error = error.status, error
        callback, self._gone = self._gone, None
        if callback is not None:
            callback(error)
        self.settle()

    def detach(self) -> Any:
        """See `IExchange`; the transport keeps what is written to it."""
        from twisted.internet.testing import StringTransport

        if self.answer is not None or self.broken:
            raise RuntimeError("the answer has begun already")
        self.broken = True
        return StringTransport(), b""  # type: ignore[no-untyped-call]  # twisted is not typed here

    def settle(self) -> None:
        """See `IExchange`."""
        if self.settled:
            return
        self.settled = True
        self._gone = self.producer = None
        if self.route is not None:
            run_done(self.route.done_hooks, self)
