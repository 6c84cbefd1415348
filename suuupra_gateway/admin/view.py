"""
The base of what the admin site shows: resources that answer, now or later, with a whole page or an RFC 9457 problem.
"""

from __future__ import annotations

import uuid
from abc import abstractmethod
from typing import Any, Final

import attrs
import msgspec
from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger
from twisted.web.iweb import IRequest
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET

from suuupra_gateway.errors import GatewayError, MethodNotAllowed, NotRouted, wrap
from suuupra_gateway.http.message import Pair, Reply

JSON: Final = b"application/json"
PLAIN: Final = b"text/plain; charset=utf-8"


@attrs.frozen
class Page:
    """A whole answer."""

    kind: bytes
    """``Content-Type``."""

    body: bytes
    status: int = 200
    headers: tuple[Pair, ...] = ()

    @classmethod
    def json(cls, value: object) -> Page:
        """``value`` as indented JSON; what JSON does not know appears as its ``str``."""
        return cls(JSON, msgspec.json.format(msgspec.json.encode(value, enc_hook=str), indent=2) + b"\n")

    @classmethod
    def problem(cls, reply: Reply) -> Page:
        """An error, as RFC 9457 problem."""
        kind, body = reply.payload(uuid.uuid4().hex.encode("ascii"))
        return cls(kind, body, reply.status, reply.headers)

    def send(self, request: IRequest) -> None:
        """Answer ``request`` with this; the body is left out for HEAD."""
        sender: Any = request  # IRequest leaves these methods untyped
        sender.setResponseCode(self.status)
        headers = request.responseHeaders
        headers.setRawHeaders(b"content-type", [self.kind])
        headers.setRawHeaders(b"content-length", [b"%d" % len(self.body)])
        for name, value in self.headers:
            headers.setRawHeaders(name, [value])
        sender.write(self.body)
        sender.finish()


class View(Resource):
    """One page. Subclasses write `page`; what it raises becomes the answer."""

    log = Logger()
    isLeaf = False

    methods: tuple[bytes, ...] = (b"GET", b"HEAD")
    """To what it answers."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # Twisted's

    @abstractmethod
    async def page(self, request: IRequest) -> Page:
        """The answer to a request. It may wait; it must not block. An exception is logged, and the answer a 500."""

    def getChild(self, path: bytes, request: Any) -> Resource:
        """Nothing is below a page."""
        return Problem(NotRouted())

    def render(self, request: Any) -> int:
        """Send `page`, unless the client leaves before it is ready."""
        if request.method not in self.methods:
            return Problem(MethodNotAllowed(headers=((b"allow", b", ".join(self.methods)),))).render(request)
        answering = Deferred.fromCoroutine(self._answer(request))
        request.notifyFinish().addErrback(lambda _: answering.cancel())
        answering.addErrback(lambda failure: self.log.failure("{view} was not sent", failure, view=type(self).__name__))
        return NOT_DONE_YET

    async def _answer(self, request: IRequest) -> None:
        try:
            page = await self.page(request)
        except CancelledError:
            return  # the client left; what the page waited for may be shared and goes on for the others
        except Exception as reason:
            self.log.failure("{view} failed", view=type(self).__name__)
            page = Page.problem(Reply.of(wrap(reason)))
        page.send(request)


class Problem(Resource):
    """An error, whatever the method and whatever the rest of the path."""

    isLeaf = True

    def __init__(self, error: GatewayError) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # Twisted's
        self._page = Page.problem(Reply.of(error))

    def render(self, request: IRequest) -> int:
        """Send it."""
        self._page.send(request)
        return NOT_DONE_YET
