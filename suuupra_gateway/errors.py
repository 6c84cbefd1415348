"""
What can go wrong with one request, as types.

The type says which status the client sees, which RFC 9209 proxy error type names it in ``Proxy-Status``, metrics and the
access log, who is to blame (for SLOs, breakers and alarms) and whether another attempt is safe. The message says the rest
and is for logs only: clients never see it unless it is passed as ``detail``.

`ConfigErrors` is not one of these: it ends a start or a reload, not a request.
"""

from __future__ import annotations

import enum
from typing import ClassVar


class Blame(enum.Enum):
    """Who caused the failure."""

    CLIENT = "client"
    UPSTREAM = "upstream"
    GATEWAY = "gateway"


class Retry(enum.IntEnum):
    """When another attempt at the same request is safe, from never to nearly always."""

    NEVER = 0
    """The request must not be sent again."""

    IDEMPOTENT = 1
    """Bytes may have been acted upon: only idempotent methods (RFC 9110 section 9.2.2) may try again."""

    REUSED = 2
    """A reused connection closed before any byte of the answer: as IDEMPOTENT, and needs no retry budget."""

    UNSENT = 3
    """No byte of the request was written: any method may try again."""


class GatewayError(Exception):
    """The base of all errors that end an exchange or an attempt."""

    status: ClassVar[int] = 500
    """The status of the reply, if none was sent yet."""

    token: ClassVar[str] = "proxy_internal_error"
    """The proxy error type of RFC 9209 section 2.3."""

    blame: ClassVar[Blame] = Blame.GATEWAY
    retry: ClassVar[Retry] = Retry.NEVER

    code: ClassVar[str] = "internal_error"
    """The stable name that clients and alerts may rely on (``X-Gateway-Error``, problem member ``code``)."""

    title: ClassVar[str] = "Internal error"
    """One line for people; constant per type (RFC 9457 section 3.1.3)."""

    detail: str | None
    """What a client may know about this occurrence; None for nothing."""

    headers: tuple[tuple[bytes, bytes], ...]
    """Header fields that the reply must carry (``Allow``, ``Retry-After``, …)."""

    def __init__(
        self, message: str = "", *, detail: str | None = None, headers: tuple[tuple[bytes, bytes], ...] = ()
    ) -> None:
        super().__init__(message or self.title)
        self.detail = detail
        self.headers = headers


class _ClientError(GatewayError):
    blame = Blame.CLIENT
    token = "http_request_error"


class BadRequest(_ClientError):
    """The request is malformed or ambiguous; the connection is closed after the reply (RFC 9112 section 11.2)."""

    status, code, title = 400, "bad_request", "Bad request"


class TargetTooLong(_ClientError):
    """The request line is longer than the listener allows (RFC 9110 section 15.5.15)."""

    status, code, title = 414, "target_too_long", "Request target too long"


class HeadTooLarge(_ClientError):
    """Header fields are too many or too long (RFC 6585 section 5)."""

    status, code, title = 431, "head_too_large", "Request header fields too large"


class BodyTooLarge(_ClientError):
    """The request body exceeds the limit of the listener or the route."""

    status, code, title = 413, "body_too_large", "Request body too large"


class RequestTimeout(_ClientError):
    """The client did not send its head, or its body, fast enough (RFC 9110 section 15.5.9)."""

    status, code, title = 408, "request_timeout", "Request timeout"


class VersionNotSupported(_ClientError):
    """Neither HTTP/1.0 nor HTTP/1.1 (RFC 9110 section 15.6.6)."""

    status, code, title = 505, "version_not_supported", "HTTP version not supported"


class ExpectationFailed(_ClientError):
    """``Expect`` holds something other than ``100-continue`` (RFC 9110 section 10.1.1)."""

    status, code, title = 417, "expectation_failed", "Expectation failed"


class NotImplementedMethod(_ClientError):
    """A method or transfer coding that this gateway does not know, CONNECT among them (RFC 9110 section 15.6.2)."""

    status, code, title = 501, "not_implemented", "Not implemented"


class _Denied(GatewayError):
    blame = Blame.CLIENT
    token = "http_request_denied"


class Unauthorized(_Denied):
    """No credential was accepted; the reply carries ``WWW-Authenticate``."""

    status, code, title = 401, "unauthorized", "Unauthorized"


class AuthUnavailable(GatewayError):
    """Whoever decides about a credential cannot be asked, and there is no earlier decision; the reply carries ``Retry-After``."""

    status, code, title = 503, "auth_unavailable", "Authentication is unavailable"
    token = "destination_unavailable"


class Forbidden(_Denied):
    """The caller is known, or need not be, but may not do this."""

    status, code, title = 403, "forbidden", "Forbidden"


class LimitExceeded(_Denied):
    """A rate, quota or concurrency limit refused the request."""

    status, code, title = 429, "limit_exceeded", "Too many requests"


class NotRouted(_ClientError):
    """No route matches."""

    status, code, title, token = 404, "not_routed", "Not found", "destination_not_found"


class MethodNotAllowed(_ClientError):
    """Routes match, but none for this method; the reply carries ``Allow`` (RFC 9110 section 15.5.6)."""

    status, code, title = 405, "method_not_allowed", "Method not allowed"


class MisdirectedRequest(_ClientError):
    """The connection is not meant for this host (RFC 9110 section 15.5.20)."""

    status, code, title = 421, "misdirected_request", "Misdirected request"


class ClientGone(_ClientError):
    """The client closed the connection before the answer was complete. Practice: nginx logs these as 499."""

    status, code, title = 499, "client_gone", "Client closed request"


class UpstreamError(GatewayError):
    """The base of what an upstream did wrong."""

    status, code, title = 502, "bad_gateway", "Bad gateway"
    blame = Blame.UPSTREAM
    token = "destination_unavailable"


class CircuitOpen(UpstreamError):
    """The upstream's breaker is open."""

    status, code, title = 503, "circuit_open", "Service unavailable"


class NoPeer(UpstreamError):
    """The upstream has no endpoint that may be tried."""

    status, code, title = 503, "no_peer", "Service unavailable"
    retry = Retry.UNSENT


class NameNotFound(UpstreamError):
    """The endpoint's host name does not resolve."""

    status, code, title, token = 502, "upstream_name_not_found", "Bad gateway", "dns_error"
    retry = Retry.UNSENT


class ConnectRefused(UpstreamError):
    """The connection to the peer was refused or could not be made."""

    status, code, title, token = 502, "upstream_refused", "Bad gateway", "connection_refused"
    retry = Retry.UNSENT


class ConnectTimeout(UpstreamError):
    """The peer did not accept a connection in time."""

    status, code, title, token = 504, "upstream_connect_timeout", "Gateway timeout", "connection_timeout"
    retry = Retry.UNSENT


class TLSFailed(UpstreamError):
    """The TLS handshake with the peer failed."""

    status, code, title, token = 502, "upstream_tls_failed", "Bad gateway", "tls_protocol_error"
    retry = Retry.UNSENT


class TLSCertificateRefused(TLSFailed):
    """The peer's certificate is not trusted, expired, or for another name."""

    code, token = "upstream_certificate_refused", "tls_certificate_error"


class PoolFull(GatewayError):
    """All connections to the peer are in use and none became free in time."""

    status, code, title, token = 503, "pool_full", "Service unavailable", "connection_limit_reached"
    retry = Retry.UNSENT


class UpstreamClosed(UpstreamError):
    """The peer closed the connection before the first byte of its answer."""

    status, code, title, token = 502, "upstream_closed", "Bad gateway", "connection_terminated"
    retry = Retry.IDEMPOTENT


class ReusedClosed(UpstreamClosed):
    """As `UpstreamClosed`, on a connection that had been idle: most likely the peer's own idle timeout."""

    retry = Retry.REUSED


class WriteFailed(UpstreamClosed):
    """The connection was found closed before any byte of the request was written."""

    retry = Retry.UNSENT


class AnswerTimeout(UpstreamError):
    """The head of the answer did not come in time."""

    status, code, title, token = 504, "upstream_timeout", "Gateway timeout", "http_response_timeout"
    retry = Retry.IDEMPOTENT


class ReadTimeout(UpstreamError):
    """The answer began and then stalled."""

    status, code, title, token = 504, "upstream_stalled", "Gateway timeout", "connection_read_timeout"
    retry = Retry.IDEMPOTENT


class DeadlineExceeded(UpstreamError):
    """The exchange's total time is over."""

    status, code, title, token = 504, "deadline_exceeded", "Gateway timeout", "http_response_timeout"


class BadResponse(UpstreamError):
    """The answer is malformed, ambiguous or over a limit."""

    status, code, title, token = 502, "bad_response", "Bad gateway", "http_protocol_error"
    retry = Retry.IDEMPOTENT


class ResponseCut(UpstreamError):
    """The connection closed in the middle of the answer."""

    status, code, title, token = 502, "response_cut", "Bad gateway", "http_response_incomplete"
    retry = Retry.IDEMPOTENT


class UpgradeRefused(UpstreamError):
    """The upstream did not accept the upgrade, or upgraded without being asked."""

    status, code, title, token = 502, "upgrade_refused", "Bad gateway", "http_upgrade_failed"


class LoopDetected(GatewayError):
    """The request has passed this gateway before (``Via``)."""

    status, code, title, token = 502, "loop_detected", "Loop detected", "proxy_loop_detected"


class Overloaded(GatewayError):
    """The gateway itself has no capacity for this request."""

    status, code, title, token = 503, "overloaded", "Service unavailable", "proxy_internal_response"


class Draining(GatewayError):
    """The gateway is shutting down and did not begin with this request."""

    status, code, title, token = 503, "draining", "Service unavailable", "proxy_internal_response"
    retry = Retry.UNSENT


class Bug(GatewayError):
    """Anything else: an unexpected exception in a filter, a target or the gateway itself."""


def wrap(reason: BaseException) -> GatewayError:
    """``reason`` itself if it is a `GatewayError`, else a `Bug` that keeps it as its cause."""
    if isinstance(reason, GatewayError):
        return reason
    bug = Bug(f"{type(reason).__name__}: {reason}")
    bug.__cause__ = reason
    return bug
