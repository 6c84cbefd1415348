"""
Opaque tokens, told about by whoever issued them (RFC 7662).
"""

from __future__ import annotations

import base64
import hashlib
import time
from collections.abc import Awaitable, Callable, Mapping
from math import inf
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote_plus, urlencode

import msgspec

from suuupra_gateway.auth.answers import Stale, answer, stale_will_do
from suuupra_gateway.auth.asked import Asked
from suuupra_gateway.auth.bearer import authorization, bearer, conceal_authorization
from suuupra_gateway.auth.decisions import NO_WISHES, AskFailed, Decision, Wishes, is_alone
from suuupra_gateway.auth.fetch import Fetch, Fetched, FetchFailed
from suuupra_gateway.auth.jwt import TokenError
from suuupra_gateway.auth.principal import UNASKED, Principal, Refused
from suuupra_gateway.auth.provider import principal_from, words
from suuupra_gateway.auth.revocations import Revocations
from suuupra_gateway.auth.shared import Shared
from suuupra_gateway.config.model import IntrospectedSpec, IntrospectionSpec
from suuupra_gateway.http.message import Reply, RequestHead
from suuupra_gateway.interfaces import IExchange

if TYPE_CHECKING:
    from suuupra_gateway.interfaces import Answer

_LARGEST: Final = 64 * 1024
"""Bytes of an answer."""

_LEEWAY: Final = 30.0
"""Seconds by which a token may be from the future: clocks differ."""

_REFRESH: Final = frozenset({"refresh_token", "refresh"})
"""What endpoints call tokens that are good for new tokens only. They are active, and no access tokens."""


class Introspection(Asked):
    """One endpoint, and what it has told. A `Resident`."""

    def __init__(
        self,
        spec: IntrospectionSpec,
        fetch: Fetch,
        shared: Shared | None,
        revocations: Revocations,
        *,
        wall: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """
        :param fetch: asks; closed when this is retired.
        :param shared: what all workers know.
        """
        self.spec = spec
        fields = [
            (b"content-type", b"application/x-www-form-urlencoded"),
            (b"accept", b"application/json"),
        ]
        if spec.client_id:
            # Both are form-encoded first (RFC 6749 section 2.3.1).
            pair = f"{quote_plus(spec.client_id)}:{quote_plus(spec.client_secret.reveal())}"
            fields.append((b"authorization", b"Basic " + base64.b64encode(pair.encode("ascii"))))
        self._request_fields = tuple(fields)
        super().__init__(
            spec.name,
            spec.cache,
            fetch,
            shared,
            revocations,
            decode=self._made,
            meaning=repr(("introspection", spec.name, spec.url, spec.client_id, spec.issuer, spec.audiences)),
            wall=wall,
            monotonic=monotonic,
        )

    def check(self, token: bytes, *, stale_allowed: bool) -> Answer | Awaitable[Answer]:
        """What an opaque token is worth; waits only while the endpoint is asked."""
        key = self._decisions.key(token)
        return answer(self._decisions.look(key, lambda: self._ask(token), stale_allowed=stale_allowed))

    async def _ask(self, token: bytes) -> Decision:
        body = urlencode({"token": token.decode("ascii"), "token_type_hint": "access_token"}).encode("ascii")
        try:
            fetched = await self._fetch.request(
                "POST",
                self.spec.url,
                headers=self._request_fields,
                body=body,
                timeout=float(self.spec.timeout),
                limit=_LARGEST,
            )
        except FetchFailed as error:
            raise AskFailed(str(error)) from error
        return self._decision(token, fetched)

    def _decision(self, token: bytes, fetched: Fetched) -> Decision:
        if fetched.status in (401, 403):
            # Not about the token: we are not to know, so earlier answers are not ours to use either.
            raise AskFailed(f"the endpoint refuses our own credentials with {fetched.status}", stale=False)
        if fetched.status != 200:
            raise AskFailed(f"the endpoint answers {fetched.status}", alone=is_alone(fetched.status))
        try:
            claims = msgspec.json.decode(fetched.body)
        except (ValueError, RecursionError) as error:
            raise AskFailed("the endpoint's answer is no JSON") from error
        if not isinstance(claims, dict) or not isinstance(claims.get("active"), bool):
            raise AskFailed('the endpoint\'s answer has no "active" (RFC 7662 section 2.2)')
        wishes = _wishes(fetched)
        expires = _number(claims, "exp", inf)
        tag = f"token:{hashlib.blake2b(token, digest_size=16).hexdigest()}"
        refused = self._refusal(claims, expires, tag)
        if refused is not None:
            return Decision(False, msgspec.json.encode([refused.reason, refused.detail]), wishes=wishes)
        claims.pop("active")
        value = msgspec.json.encode([claims, tag])
        try:
            made = self._principal(claims, tag)
        except TokenError as error:
            return Decision(False, msgspec.json.encode([error.reason, error.detail]), wishes=wishes)
        if self._revocations.revoked(made.tags, _number(claims, "iat", self._wall())):
            return Decision(False, _REVOKED, wishes=wishes)
        return Decision(True, value, expires, made.tags, wishes)

    def _refusal(self, claims: Mapping[str, Any], expires: float, tag: str) -> Refused | None:
        now = self._wall()
        if not claims["active"]:
            return Refused("inactive")
        if expires <= now:
            return Refused("expired")
        if _number(claims, "nbf", now) > now + _LEEWAY:
            return Refused("not_yet_valid")
        if any(str(claims.get(name)).lower() in _REFRESH for name in ("token_type", "token_use", "typ")):
            return Refused("wrong_type", "a refresh token")
        issuer = claims.get("iss")
        if self.spec.issuer and issuer is not None and issuer != self.spec.issuer:
            return Refused("wrong_issuer")
        audiences = claims.get("aud")
        named = {audiences} if isinstance(audiences, str) else words(audiences)
        if self.spec.audiences and named.isdisjoint(self.spec.audiences):
            return Refused("wrong_audience")
        if self._revocations.revoked((tag,), 0.0):
            return Refused("revoked")
        return None

    def _made(self, decision: Decision) -> Principal | Refused | Reply:
        """See `Decisions`: raises `ValueError`."""
        first, second = _pair(decision.value)
        if not decision.allow:
            return Refused(str(first), str(second))
        try:
            return self._principal(first, str(second))
        except TokenError as error:
            raise ValueError(str(error)) from error

    def _principal(self, claims: Mapping[str, Any], tag: str) -> Principal:
        return principal_from(claims, self.spec.claims, self.spec.name, "introspection", tags=(tag,))


class IntrospectionCredential:
    """The `Credential` of callers with an opaque token. Lives as long as its plan."""

    __slots__ = ("provider", "challenge", "_introspection", "_stale")

    kind = "introspection"

    def __init__(
        self, spec: IntrospectedSpec, introspection: Introspection, realm: str, *, stale: Stale = "allow"
    ) -> None:
        """:param stale: as the route says."""
        self.provider = spec.by
        self.challenge = b'Bearer realm="%b"' % realm.encode("ascii")
        self._introspection = introspection
        self._stale: Stale = stale

    def check(self, exchange: IExchange) -> Answer | Awaitable[Answer]:
        """See `Credential`."""
        head = exchange.head
        token = bearer(head)
        if token is None or isinstance(token, Refused):
            return token
        return self._introspection.check(token, stale_allowed=stale_will_do(self._stale, head.method))

    def glance(self, exchange: IExchange) -> Answer:
        """What can be said without asking."""
        token = bearer(exchange.head)
        return token if token is None or isinstance(token, Refused) else UNASKED

    def conceal(self, head: RequestHead) -> None:
        """See `Credential`."""
        conceal_authorization(head, b"bearer")

    def presented(self, head: RequestHead) -> bool:
        """See `Credential`."""
        return authorization(head, b"bearer") is not None


_REVOKED: Final = msgspec.json.encode(["revoked", ""])


def _wishes(fetched: Fetched) -> Wishes:
    """
    Practice: ``no-store`` is not heeded, nor is ``max-age=0``. Authorization servers put these on all that they say (RFC 6749
    section 5.1) to keep tokens out of HTTP caches; how long answers about tokens are used is ours to weigh (RFC 7662 section 4).
    """
    wishes = Wishes.of((value for name, value in fetched.headers if name == b"cache-control"), fetched.get(b"age"))
    return wishes if wishes.keep and wishes.fresh else NO_WISHES


def _number(claims: Mapping[str, Any], name: str, default: float) -> float:
    value = claims.get(name)
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise AskFailed(f"the endpoint's answer has no number in {name}", alone=True)
    try:
        return float(value)
    except OverflowError as error:
        raise AskFailed(f"the endpoint's answer has no sensible number in {name}", alone=True) from error


def _pair(value: bytes) -> tuple[Any, Any]:
    found = msgspec.json.decode(value)
    if not isinstance(found, list) or len(found) != 2:
        raise ValueError("not of this release")
    return found[0], found[1]
