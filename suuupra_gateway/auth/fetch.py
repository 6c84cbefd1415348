"""
Asking other servers: key sets, token endpoints, introspection, forward-auth.

treq over Twisted's own agent, with what it lacks: a time limit that holds for the body too, a size limit, and neither redirects
nor cookies. Slow paths only.
"""

from __future__ import annotations

from collections.abc import Iterable
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Any, Final

import attrs
import treq.client
from OpenSSL.crypto import Error as CertificateError
from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import ConnectError, ConnectingCancelledError, DNSLookupError, TimeoutError
from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.ssl import Certificate, trustRootFromCertificates
from twisted.python.failure import Failure
from twisted.web.client import (
    Agent,
    BrowserLikePolicyForHTTPS,
    HTTPConnectionPool,
    RequestTransmissionFailed,
    ResponseDone,
    _HTTP11ClientFactory,
)
from twisted.web.error import SchemeNotSupported
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgent, IBodyProducer, IResponse
from zope.interface import implementer

Fields = Iterable[tuple[bytes, bytes]]

LARGEST: Final = 512 * 1024
"""Bytes of an answer's body that are read unless somebody wants more or less."""

_CONNECTIONS: Final = 32
"""Idle connections that are kept per server."""


@attrs.frozen
class Fetched:
    """A whole answer."""

    status: int
    headers: tuple[tuple[bytes, bytes], ...]
    """Names lower-case."""

    body: bytes

    def get(self, name: bytes) -> bytes | None:
        """The first value of header ``name`` (lower-case), or None."""
        return next((value for key, value in self.headers if key == name), None)


class FetchFailed(Exception):
    """No whole answer came in time."""

    def __init__(self, why: str, *, sent: bool) -> None:
        super().__init__(why)
        self.sent = sent
        """Whether the server may have seen the request."""


class _QuietFactory(_HTTP11ClientFactory):
    noisy = False  # two log lines per connection


_UNSENT: Final = (ConnectError, ConnectingCancelledError, DNSLookupError, TimeoutError, SchemeNotSupported, ValueError)
"""What goes wrong before anything is sent."""


class Fetch:
    """A client of other servers. Keeps connections open until `close`."""

    __slots__ = ("_reactor", "_pool", "_client")

    def __init__(self, reactor: Any, *, ca_file: str = "", agent: IAgent | None = None) -> None:
        """
        :param reactor: connects, resolves and tells the time.
        :param ca_file: authorities in PEM that servers' certificates must come from; empty for the system's.
        :param agent: who sends requests instead; the other parameters then matter only for time.
        :raises OSError: ``ca_file`` cannot be read.
        :raises ValueError: it holds no certificates.
        """
        self._reactor = reactor
        self._pool: HTTPConnectionPool | None = None
        if agent is None:
            self._pool = HTTPConnectionPool(reactor)  # type: ignore[no-untyped-call]  # twisted is not typed here
            self._pool.maxPersistentPerHost = _CONNECTIONS
            self._pool._factory = _QuietFactory
            agent = Agent(reactor, contextFactory=_policy(ca_file), pool=self._pool)  # type: ignore[no-untyped-call]  # Twisted's
        # Whatever cookies a server sets, the next request is not sent with them (CVE-2022-23607).
        self._client = treq.client.HTTPClient(_Identity(agent), CookieJar(DefaultCookiePolicy(allowed_domains=())))  # type: ignore[arg-type]

    def request(
        self,
        method: str,
        url: str,
        *,
        headers: Fields = (),
        body: bytes = b"",
        timeout: float,
        limit: int = LARGEST,
    ) -> Deferred[Fetched]:
        """
        One request, whatever the status of its answer.

        :param timeout: seconds for everything: name, connection, TLS, the last byte of the answer.
        :param limit: most bytes of the answer's body.

        Errback `FetchFailed`, also when it is cancelled, which closes the connection.
        """
        fetched: Deferred[Fetched] = Deferred.fromCoroutine(self._fetch(method, url, headers, body, limit))
        late: list[bool] = []

        def expire(result: Any, seconds: float) -> Any:
            late.append(True)
            return result

        fetched.addTimeout(timeout, self._reactor, onTimeoutCancel=expire)

        def failed(failure: Failure) -> Failure:
            if not late:
                return failure
            # What was under way when it was cut off says whether anything had been sent.
            sent = failure.value.sent if isinstance(failure.value, FetchFailed) else True
            return Failure(FetchFailed(f"no answer within {timeout:g} s", sent=sent))  # type: ignore[no-untyped-call]  # Twisted's

        fetched.addErrback(failed)
        return fetched

    async def _fetch(self, method: str, url: str, headers: Fields, body: bytes, limit: int) -> Fetched:
        fields = Headers()
        for name, value in headers:
            fields.addRawHeader(name, value)
        if not fields.hasHeader(b"user-agent"):
            fields.addRawHeader(b"user-agent", b"suuupra-gateway")
        try:
            response: IResponse = await self._client.request(
                method,
                url,
                headers=fields,
                data=_Body(body) if body else None,
                allow_redirects=False,
                unbuffered=True,
            )
            collected = await _collect(response, limit)
        except FetchFailed:
            raise
        except _UNSENT as error:
            raise FetchFailed(_said(error), sent=False) from error
        except Exception as error:
            raise FetchFailed(_said(error), sent=True) from error
        names = tuple((name.lower(), value) for name, values in response.headers.getAllRawHeaders() for value in values)
        return Fetched(response.code, names, collected)

    def close(self) -> Deferred[None]:
        """Close idle connections; fires when they are closed."""
        if self._pool is None:
            return succeed(None)
        closed: Deferred[None] = self._pool.closeCachedConnections()  # type: ignore[no-untyped-call]
        return closed.addBoth(lambda _: None)


@implementer(IAgent)
class _Identity:
    """Takes no compressed answers, whatever treq offers: their size is known only when it is too late."""

    def __init__(self, agent: IAgent) -> None:
        self._agent = agent

    def request(
        self,
        method: bytes,
        uri: bytes,
        headers: Headers | None = None,
        bodyProducer: IBodyProducer | None = None,
    ) -> Deferred[IResponse]:
        assert headers is not None
        headers.removeHeader(b"accept-encoding")
        asked: Deferred[IResponse] = self._agent.request(method, uri, headers, bodyProducer)
        return asked.addCallback(_plain)


def _plain(response: IResponse) -> IResponse:
    for coding in response.headers.getRawHeaders(b"content-encoding", ()):
        if coding.strip().lower() not in (b"", b"identity"):
            unread = _collect(response, 0)
            unread.addErrback(lambda _: None)
            unread.cancel()
            raise FetchFailed("the answer is compressed, which nobody asked for", sent=True)
    return response


@implementer(IBodyProducer)
class _Body:
    """The body of a request, written at once: they are small."""

    def __init__(self, body: bytes) -> None:
        self.length = len(body)
        self._body = body

    def startProducing(self, consumer: Any) -> Deferred[None]:
        consumer.write(self._body)
        return succeed(None)

    def pauseProducing(self) -> None:
        """There is nothing left to hold back."""

    def resumeProducing(self) -> None:
        """As `pauseProducing`."""

    def stopProducing(self) -> None:
        """As `pauseProducing`."""


def _collect(response: IResponse, limit: int) -> Deferred[bytes]:
    collecting = _Collecting(limit)
    response.deliverBody(collecting)  # type: ignore[no-untyped-call]  # Twisted's
    return collecting.whole


class _Collecting(Protocol):
    """Takes a body in, up to a limit. Lives until it is there."""

    def __init__(self, limit: int) -> None:
        self.whole: Deferred[bytes] = Deferred(lambda _: self._abort())
        self._limit = limit
        self._received = 0
        self._pieces: list[bytes] = []

    def dataReceived(self, data: bytes) -> None:
        self._received += len(data)
        if self._received <= self._limit:
            self._pieces.append(data)
        elif not self.whole.called:
            self.whole.errback(FetchFailed(f"the answer has more than {self._limit} bytes", sent=True))
            self._abort()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if self.whole.called:
            return
        if reason.check(ResponseDone):  # type: ignore[no-untyped-call]  # Twisted's
            self.whole.callback(b"".join(self._pieces))
        else:
            # PotentialDataLoss too: an answer that ends with its connection may have been cut (RFC 9112 section 8).
            self.whole.errback(FetchFailed(f"the answer was cut: {reason.getErrorMessage()}", sent=True))

    def _abort(self) -> None:
        transport: Any = self.transport
        getattr(transport, "abortConnection", transport.loseConnection)()


def _policy(ca_file: str) -> BrowserLikePolicyForHTTPS:
    if not ca_file:
        return BrowserLikePolicyForHTTPS()  # type: ignore[no-untyped-call]  # Twisted's
    with open(ca_file, "rb") as file:
        text = file.read()
    end = b"-----END CERTIFICATE-----"
    try:
        found = [Certificate.loadPEM(piece + end) for piece in text.split(end)[:-1]]
    except (CertificateError, ValueError) as error:
        raise ValueError(f"{ca_file} holds a certificate that cannot be read: {error}") from error
    if not found:
        raise ValueError(f"{ca_file} holds no certificates in PEM")
    return BrowserLikePolicyForHTTPS(trustRootFromCertificates(found))  # type: ignore[no-untyped-call]  # Twisted's


def _said(error: Exception) -> str:
    reasons = getattr(error, "reasons", None)
    if isinstance(error, RequestTransmissionFailed) or reasons:
        return "; ".join(sorted({_said(each.value) for each in reasons or ()})) or type(error).__name__
    return str(error) or type(error).__name__
