"""
The answer that users of `UpstreamAgent` get.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from twisted.internet.interfaces import IProtocol, IPushProducer
from twisted.python.failure import Failure
from twisted.web.client import ResponseDone, ResponseFailed
from twisted.web.http import PotentialDataLoss
from twisted.web.http_headers import Headers
from twisted.web.iweb import UNKNOWN_LENGTH, IClientRequest, IResponse
from zope.interface import implementer

if TYPE_CHECKING:
    from suuupra_gateway.http.message import ResponseHead


class Source(Protocol):
    """Where the body comes from."""

    def pause(self) -> None:
        """Stop reading."""

    def resume(self) -> None:
        """Read on."""

    def give_up(self) -> None:
        """Close: nobody wants the rest. `AgentResponse.broken` follows."""


@implementer(IResponse)
class AgentResponse:
    """
    A response whose body waits for somebody to take it: what has come is kept (no more than one read of the connection), the
    connection is paused. Lives as long as its user likes.

    States: waiting for `deliverBody`, delivering, over.
    """

    request: Any = None
    previousResponse: Any = None

    def __init__(
        self, head: ResponseHead, version: bytes, request: IClientRequest, source: Source, *, head_only: bool
    ) -> None:
        major, _, minor = version.partition(b".")
        self.version = (b"HTTP", int(major), int(minor))
        self.code = head.status
        self.phrase = head.reason
        self.headers = Headers()
        for name, value in head.headers:
            self.headers.addRawHeader(name, value)
        bodiless = head_only or head.status in (204, 304)
        self.length: Any = 0 if bodiless else UNKNOWN_LENGTH if head.length is None else head.length
        self.request = request
        self._source = source
        self._protocol: IProtocol | None = None
        self._pieces: list[bytes] = []
        self._reason: Failure | None = None
        self._paused = False

    def setPreviousResponse(self, response: IResponse) -> None:
        """See `IResponse`."""
        self.previousResponse = response

    def deliverBody(self, protocol: IProtocol) -> None:
        """
        See `IResponse`. ``connectionLost`` gets `ResponseDone`, `PotentialDataLoss` if only the end of the connection ended the
        body, or `ResponseFailed` around the reason if it is not whole.

        :raises RuntimeError: the body was, or is being, delivered to another one.
        """
        if self._protocol is not None:
            raise RuntimeError(f"the body is delivered to {self._protocol!r} already")
        self._protocol = protocol
        protocol.makeConnection(_Transport(self))  # type: ignore[arg-type]  # as much of a transport as an answer has
        pieces, self._pieces = self._pieces, []
        for piece in pieces:
            protocol.dataReceived(piece)
        if self._reason is not None:
            protocol.connectionLost(self._reason)
        elif not self._paused:
            self._source.resume()

    def data(self, data: bytes) -> None:
        """A piece of the body came."""
        if self._protocol is None:
            self._pieces.append(data)
        else:
            self._protocol.dataReceived(data)

    def ended(self, until_close: bool) -> None:
        """The body is complete, for all that is known."""
        self._over(PotentialDataLoss() if until_close else ResponseDone("Response body fully received"))

    def broken(self, error: BaseException) -> None:
        """The body will not be complete."""
        self._over(ResponseFailed([Failure(error)]))  # type: ignore[no-untyped-call]  # twisted is not typed here

    def _over(self, reason: Exception) -> None:
        self._reason = Failure(reason)  # type: ignore[no-untyped-call]
        if self._protocol is not None:
            self._protocol.connectionLost(self._reason)

    def pause(self) -> None:
        """The receiver takes nothing at the moment."""
        self._paused = True
        self._source.pause()

    def resume(self) -> None:
        """It goes on."""
        self._paused = False
        self._source.resume()

    def stop(self) -> None:
        """It wants nothing more."""
        self._source.give_up()


@implementer(IPushProducer)
class _Transport:
    """What a body's protocol may do with its "transport"."""

    disconnecting = False

    def __init__(self, response: AgentResponse) -> None:
        self._response = response

    def pauseProducing(self) -> None:
        """Stop reading."""
        self._response.pause()

    def resumeProducing(self) -> None:
        """Read on."""
        self._response.resume()

    def stopProducing(self) -> None:
        """Close."""
        self._response.stop()

    def loseConnection(self) -> None:
        """Close."""
        self._response.stop()

    def abortConnection(self) -> None:
        """Close."""
        self._response.stop()
