"""
The target of the routes that a login needs for itself: where the provider sends browsers back, and where sessions end.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, Final

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.resource import Resource

from suuupra_gateway.auth.login import Login
from suuupra_gateway.auth.logout import Logout
from suuupra_gateway.errors import GatewayError, wrap
from suuupra_gateway.http.message import Reply
from suuupra_gateway.interfaces import IExchange


class LoginResource(Resource):
    """One endpoint of a login. Lives as long as its plan."""

    log = Logger()

    isLeaf = True

    def __init__(self, login: Login, suffix: str) -> None:
        """:param suffix: which endpoint; see `auth.login.endpoints`."""
        super().__init__()  # type: ignore[no-untyped-call]  # twisted is not typed here
        self._answer = _ENDPOINTS[suffix](login)

    def render(self, exchange: IExchange) -> None:  # our leaves render exchanges
        """Answer, as soon as that can be."""
        answering = Deferred.fromCoroutine(self._answer(exchange))
        # What has begun comes to its end: a code that was exchanged cannot be exchanged again.
        gone: list[GatewayError] = []
        exchange.on_gone(gone.append)

        def failed(failure: Failure) -> Reply:
            error: Any = failure.value
            if not isinstance(error, GatewayError):
                self.log.failure("a login failed on request {request}", failure, request=exchange.id.decode("latin-1"))
            return Reply.of(wrap(error))

        def answer(reply: Reply) -> None:
            exchange.on_gone(None)
            if not gone:
                exchange.respond(reply)

        answering.addErrback(failed).addCallback(answer)


Answering = Callable[[IExchange], Coroutine[Deferred[Any], Any, Reply]]

_ENDPOINTS: Final[dict[str, Callable[[Login], Answering]]] = {
    "callback": lambda login: login.callback,
    "logout": lambda login: Logout(login).asked,
    "backchannel-logout": lambda login: Logout(login).told,
}
