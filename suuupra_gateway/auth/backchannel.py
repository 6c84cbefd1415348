"""
What a login says to its provider directly: exchanging codes and refresh tokens, asking who somebody is, giving tokens back.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from suuupra_gateway.auth.attempt import Attempt
from suuupra_gateway.auth.fetch import Fetch, Fetched, FetchFailed
from suuupra_gateway.auth.idtoken import check_id_token, check_refreshed, check_userinfo
from suuupra_gateway.auth.jwt import TokenError
from suuupra_gateway.auth.oauth2 import Client, Grant, ProtocolError, Request, Unusable
from suuupra_gateway.auth.provider import Provider, ProviderUnavailable
from suuupra_gateway.auth.session import LIFETIME, Session, Tokens, who
from suuupra_gateway.config.model import LoginSpec

_LARGEST: Final = 128 * 1024
"""Bytes of an answer."""


class Backchannel:
    """One login's way to its provider. Lives as long as the login."""

    log = Logger()

    __slots__ = ("spec", "provider", "_fetch", "_wall", "_client", "_metadata")

    def __init__(
        self, spec: LoginSpec, provider: Provider, fetch: Fetch, *, wall: Callable[[], float] = time.time
    ) -> None:
        self.spec = spec
        self.provider = provider
        self._fetch = fetch
        self._wall = wall
        self._client: Client | None = None
        self._metadata: Mapping[str, Any] | None = None

    @property
    def client(self) -> Client:
        """
        What is known of the flow.

        :raises Unusable: the provider's metadata are not there, or not good for a login.
        """
        metadata = self.provider.metadata
        if self._client is None or metadata is not self._metadata:
            if metadata is None:
                raise Unusable(f"the metadata of {self.provider.spec.issuer} are not there yet")
            self._client = Client(self.spec, metadata, self.provider.spec.issuer)
            self._metadata = metadata
        return self._client

    async def redeem(self, code: str, attempt: Attempt) -> Session:
        """
        A session for the code of a callback; without id and times of its own.

        :raises GrantRefused: the code is no good.
        :raises ProtocolError: the answer is no good, or is not about this attempt.
        :raises FetchFailed: there is no answer.
        :raises ProviderUnavailable: the ID token cannot be verified now.
        :raises Unusable: as `client`.
        """
        spec, client = self.spec, self.client
        asked = self._wall()
        grant = await self._grant(client.code_request(code, attempt.verifier))
        if not grant.id:
            raise ProtocolError("bad_id_token", "there is none")
        claims = await self._claims(grant.id)
        check_id_token(
            grant.id,
            claims,
            client_id=spec.client_id,
            nonce=attempt.nonce,
            access=grant.access,
            max_age=dict(spec.parameters).get("max_age", ""),
            now=self._wall(),
        )
        subject, sid = str(claims["sub"]), claims.get("sid", "")
        more = await self._userinfo(client, grant.access, subject)
        return Session(
            "",
            subject,
            {**(more or {}), **who(claims)},
            began=asked,
            ends=0.0,
            sid=sid if isinstance(sid, str) and len(sid) <= 1024 else "",
            scopes=grant.scopes if grant.scopes is not None else " ".join(spec.scopes),
            asks_userinfo=more is not None,
            tokens=_tokens(grant, asked, grant.id),
        )

    async def refresh(self, session: Session) -> Session:
        """
        ``session`` with new tokens, and what the provider now says of whom it is for.

        :raises GrantRefused: the refresh token is no good any more, or we are not.
        :raises BadAnswer: as `FetchFailed`.
        :raises ProtocolError: the answer is about somebody else.
        :raises FetchFailed: there is no answer.
        :raises Unusable: as `client`.
        """
        tokens, client = session.tokens, self.client
        assert tokens is not None
        asked = self._wall()
        grant = await self._grant(client.refresh_request(tokens.refresh))
        claims = session.claims
        if grant.id:
            try:
                news = await self._claims(grant.id)
            except ProviderUnavailable as error:
                # It came over TLS from whom it should; what was known goes on.
                self.log.warn("An ID token of {login} cannot be verified: {why}", login=self.spec.name, why=str(error))
            else:
                check_refreshed(
                    grant.id,
                    news,
                    before=claims,
                    subject=session.subject,
                    client_id=self.spec.client_id,
                    access=grant.access,
                )
                claims = {**claims, **who(news)}
        if session.asks_userinfo:
            claims = {**claims, **(await self._userinfo(client, grant.access, session.subject) or {})}
        return msgspec.structs.replace(
            session,
            claims=claims,
            scopes=grant.scopes if grant.scopes is not None else session.scopes,
            tokens=_tokens(grant, asked, grant.id or tokens.id, tokens.refresh),
        )

    def give_back(self, session: Session) -> Deferred[None] | None:
        """Let the provider forget the refresh token of a session that is over. Best effort; None if there is nothing to do."""
        if session.tokens is None or not session.tokens.refresh:
            return None
        try:
            request = self.client.revocation_request(session.tokens.refresh)
        except Unusable:
            return None
        if request is None:
            return None

        def refused(fetched: Fetched) -> None:
            if fetched.status != 200:
                self.log.warn(
                    "{login} does not take a refresh token back: status {status}",
                    login=self.spec.name,
                    status=fetched.status,
                )

        sent = self._send(request).addCallback(refused)
        sent.addErrback(
            lambda failure: self.log.warn(
                "A refresh token of {login} was not given back: {why}",
                login=self.spec.name,
                why=failure.getErrorMessage(),
            )
        )
        return sent

    # -- one question each --------------------------------------------------------------------------------------------

    async def _grant(self, request: Request) -> Grant:
        fetched = await self._send(request)
        return Grant.of(fetched.status, fetched.body)

    async def _claims(self, token: str) -> dict[str, Any]:
        try:
            encoded = token.encode("ascii")
            return await self.provider.claims_of(encoded, audience=self.spec.client_id)
        except TokenError as error:
            raise ProtocolError("bad_id_token", f"{error.reason} {error.detail}".strip()) from error
        except UnicodeEncodeError as error:
            raise ProtocolError("bad_id_token", "malformed") from error

    async def _userinfo(self, client: Client, access: str, subject: str) -> dict[str, Any] | None:
        """
        What else is known of ``subject``; None if nobody says.

        Practice: no answer is no reason to refuse a login. Many providers put all into the ID token, and some give access tokens
        that are not for this endpoint (RFC 8707).
        """
        request = client.userinfo_request(access)
        if request is None:
            return None
        try:
            fetched = await self._send(request)
        except FetchFailed as error:
            self.log.warn("The userinfo endpoint of {login} fails: {why}", login=self.spec.name, why=str(error))
            return None
        if fetched.status != 200 or not (fetched.get(b"content-type") or b"").startswith(b"application/json"):
            return None
        return who(check_userinfo(fetched.body, subject))

    def _send(self, request: Request) -> Deferred[Fetched]:
        return self._fetch.request(
            "POST" if request.body else "GET",
            request.url,
            headers=request.headers,
            body=request.body,
            timeout=float(self.spec.timeout),
            limit=_LARGEST,
        )


def _tokens(grant: Grant, asked: float, id: str, refresh: str = "") -> Tokens:
    """:param refresh: the one that was used: it stays good if no other came (RFC 6749 section 6)."""
    lifetime = LIFETIME if grant.lifetime is None else grant.lifetime
    return Tokens(grant.access, grant.refresh or refresh, id, asked, asked + lifetime)
