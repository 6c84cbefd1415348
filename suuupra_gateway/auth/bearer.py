"""
``Authorization: Bearer`` (RFC 6750 section 2.1), and the credential that is a signed token.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable
from typing import TYPE_CHECKING, Final

from suuupra_gateway.auth.jwt import LONGEST, names_one
from suuupra_gateway.auth.principal import UNASKED, Principal, Refused
from suuupra_gateway.auth.publication import is_fetched
from suuupra_gateway.config.model import JwtSpec
from suuupra_gateway.http.message import RequestHead
from suuupra_gateway.interfaces import IExchange

if TYPE_CHECKING:
    from suuupra_gateway.auth.provider import Provider
    from suuupra_gateway.interfaces import Answer

_TOKEN: Final = re.compile(rb"[A-Za-z0-9._~+/-]+=*").fullmatch
_AMBIGUOUS: Final = Refused("several_credentials", "more than one Authorization field", "invalid_request", 400)
_TOO_LONG: Final = Refused("too_long", f"more than {LONGEST} bytes")
_MALFORMED: Final = Refused("malformed", "no b64token (RFC 6750 section 2.1)")
_OTHER_AUDIENCE: Final = Refused("wrong_audience", "for this route")
_SEPARATORS: Final = (b" ", b"\t", b"")


def authorization(head: RequestHead, scheme: bytes) -> bytes | Refused | None:
    """
    What follows ``scheme`` (lower-case) in ``Authorization``; None if it is of another scheme or there is none.

    Two such fields are refused: the upstream might believe the other one.
    """
    found: bytes | None = None
    for name, value in head.headers:
        if name == b"authorization":
            if found is not None:
                return _AMBIGUOUS
            found = value
    if found is None or not _is_of(found, scheme):
        return None
    return found[len(scheme) :].strip(b" ")


def bearer(head: RequestHead) -> bytes | Refused | None:
    """The bearer token of a request."""
    token = authorization(head, b"bearer")
    if token is None or type(token) is not bytes:
        return token
    if len(token) > LONGEST:
        return _TOO_LONG
    return token if _TOKEN(token) else _MALFORMED


def conceal_authorization(head: RequestHead, scheme: bytes) -> None:
    """Take ``Authorization`` fields of ``scheme`` (lower-case) out of a head."""
    headers = head.headers
    for name, value in headers:
        if name == b"authorization" and _is_of(value, scheme):
            headers[:] = [pair for pair in headers if pair[0] != b"authorization" or not _is_of(pair[1], scheme)]
            return


def _is_of(value: bytes, scheme: bytes) -> bool:
    # A tab is no separator (RFC 9110 section 11.4), but some upstream will take it for one: then it is ours to refuse.
    length = len(scheme)
    return value[:length].lower() == scheme and value[length : length + 1] in _SEPARATORS


class JwtCredential:
    """The `Credential` of callers with a signed token. Lives as long as its plan."""

    __slots__ = ("provider", "challenge", "_provider", "_audiences")

    kind = "jwt"

    def __init__(self, spec: JwtSpec, provider: Provider, realm: str) -> None:
        self.provider = spec.provider
        self.challenge = b'Bearer realm="%b"' % realm.encode("ascii")
        self._provider = provider
        self._audiences = frozenset(spec.audiences)

    def check(self, exchange: IExchange) -> Answer | Awaitable[Answer]:
        """See `Credential`."""
        # Not by `bearer`: what a token is made of is looked at once, when it is first seen, and that takes longer than all this.
        token = authorization(exchange.head, b"bearer")
        if token is None or type(token) is not bytes:
            return token  # type: ignore[return-value]  # Refused or None
        if len(token) > LONGEST:
            return _TOO_LONG
        found = self._provider.check(token)
        if not self._audiences:
            return found
        if isinstance(found, Awaitable):
            return self._later(found)
        return self._narrowed(found)

    async def _later(self, pending: Awaitable[Answer]) -> Answer:
        return self._narrowed(await pending)

    def _narrowed(self, found: Answer) -> Answer:
        if not isinstance(found, Principal):
            return found
        return found if names_one(found.claims, self._audiences) else _OTHER_AUDIENCE

    def glance(self, exchange: IExchange) -> Answer:
        """All of it where the keys are at hand; else whether it is a bearer token at all. See `filters.rehearsal.Glancing`."""
        if is_fetched(self._provider.spec):
            token = bearer(exchange.head)
            return UNASKED if type(token) is bytes else token  # type: ignore[return-value]  # Refused or None
        found = self.check(exchange)
        assert not isinstance(found, Awaitable)
        return found

    def conceal(self, head: RequestHead) -> None:
        """See `Credential`."""
        conceal_authorization(head, b"bearer")

    def presented(self, head: RequestHead) -> bool:
        """See `Credential`."""
        return authorization(head, b"bearer") is not None
