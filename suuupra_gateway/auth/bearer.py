"""
``Authorization: Bearer`` (RFC 6750 section 2.1), and the credential that is a signed token.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable
from typing import TYPE_CHECKING, Final

from suuupra_gateway.auth.principal import UNASKED, Principal, Refused
from suuupra_gateway.auth.provider import is_fetched
from suuupra_gateway.config.model import JwtSpec
from suuupra_gateway.http.message import RequestHead
from suuupra_gateway.interfaces import IExchange

if TYPE_CHECKING:
    from suuupra_gateway.auth.provider import Provider
    from suuupra_gateway.interfaces import Answer

LONGEST: Final = 8 * 1024
"""Bytes of a token."""

_TOKEN: Final = re.compile(rb"[A-Za-z0-9._~+/-]+=*").fullmatch
_AMBIGUOUS: Final = Refused("several_credentials", "more than one Authorization field", "invalid_request", 400)
_TOO_LONG: Final = Refused("too_long", f"more than {LONGEST} bytes")
_MALFORMED: Final = Refused("malformed", "no b64token (RFC 6750 section 2.1)")


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
    if found is None:
        return None
    length = len(scheme)
    if found[:length].lower() != scheme or found[length : length + 1] not in b" ":
        return None
    return found[length + 1 :].strip(b" ")


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
    length = len(scheme)
    headers = head.headers
    for place, (name, value) in enumerate(headers):
        if name == b"authorization" and value[:length].lower() == scheme and value[length : length + 1] in b" ":
            headers[place:] = [
                pair
                for pair in headers[place + 1 :]
                if pair[0] != b"authorization"
                or pair[1][:length].lower() != scheme
                or pair[1][length : length + 1] not in b" "
            ]
            return


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
        token = bearer(exchange.head)
        if token is None or type(token) is not bytes:
            return token  # type: ignore[return-value]  # Refused or None
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
        named = found.claims.get("aud")
        audiences = {named} if isinstance(named, str) else set(named or ())
        return found if audiences & self._audiences else Refused("wrong_audience", "for this route")

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
