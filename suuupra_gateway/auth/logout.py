"""
The end of sessions: by whom they belong to (OIDC RP-Initiated Logout 1.0), or by the provider (OIDC Back-Channel Logout 1.0).
"""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import quote

import msgspec
from twisted.logger import Logger

from suuupra_gateway.auth.idtoken import LogoutToken
from suuupra_gateway.auth.jwt import TokenError
from suuupra_gateway.auth.login import Login
from suuupra_gateway.auth.oauth2 import ProtocolError, Unusable, form
from suuupra_gateway.auth.pages import PRIVATE, ask_logout, failed, logged_out
from suuupra_gateway.auth.provider import ProviderUnavailable
from suuupra_gateway.http.grammar import prefers_html
from suuupra_gateway.http.message import Reply, RequestHead
from suuupra_gateway.interfaces import IExchange
from suuupra_gateway.net.redis import StoreError, StoreUnavailable

LARGEST: Final = 16 * 1024
"""Bytes of a form."""

_TYPES: Final = frozenset({"logout+jwt", "jwt", ""})
_AGAIN: Final = 3600.0
"""Seconds in which a logout token counts once."""

_FORM: Final = re.compile(rb"application/x-www-form-urlencoded(?:[ \t]*;.*)?", re.IGNORECASE | re.DOTALL).fullmatch
_CSRF: Final = b"logout"
_AS_IT_IS: Final = "%:/?#[]@!$&'()*+,;="
"""What a URL may hold beside letters and digits (RFC 3986 section 2.2)."""


class Logout:
    """The logouts of one login. Lives as long as a plan."""

    log = Logger()

    __slots__ = ("_login", "_after", "_then")

    def __init__(self, login: Login) -> None:
        self._login = login
        self._after = quote(login.spec.after_logout, safe=_AS_IT_IS)
        self._then = self._after if not self._after.startswith("/") else login.returns.origin + self._after

    # -- by people ----------------------------------------------------------------------------------------------------

    async def asked(self, exchange: IExchange) -> Reply:
        """Answer GET and POST of the logout path."""
        if exchange.head.method == b"POST":
            return await self._end(exchange)
        return self._ask(exchange.head)

    def _ask(self, head: RequestHead) -> Reply:
        """A page with a button, as links and images must not log anybody out; for programs, what a POST needs."""
        login = self._login
        token = self._token(head)
        if prefers_html(head.get(b"accept")):
            if token is None:
                return logged_out(login.forget(head))
            end = self._provider_end()
            return ask_logout(login.spec.logout_path, token, (self._then, *((end,) if end else ())))
        body = {"csrf": token.decode("ascii") if token is not None else None}
        fields = ((b"content-type", b"application/json"), *PRIVATE, (b"x-content-type-options", b"nosniff"))
        return Reply(200, fields, msgspec.json.encode(body))

    def _provider_end(self) -> str | None:
        try:
            return self._login.backchannel.client.endpoint("end_session_endpoint")
        except Unusable:
            return None

    def _token(self, head: RequestHead) -> bytes | None:
        login = self._login
        value = login.sessions.shown(head)
        about = login.sessions.mark(value) if value else None
        return login.marks.mark(about, _CSRF) if about is not None else None

    async def _end(self, exchange: IExchange) -> Reply:
        login, head = self._login, exchange.head
        body = await _body(exchange)
        value = login.sessions.shown(head)
        about = login.sessions.mark(value) if value else None
        if value is None or about is None:
            return self._leave(login.forget(head), None)
        token = head.get(b"x-csrf-token") or _field(head, body, "csrf")
        if not self._same_origin(head) or not login.marks.marked(about, _CSRF, token):
            exchange.outcome.auth = "csrf"
            self.log.warn("A logout of {login} was not asked for by its own page", login=login.spec.name)
            return failed(
                head,
                403,
                "logout_forged",
                "You are still logged in",
                "This did not come from our own page. To log out, please confirm it there.",
                again=login.spec.logout_path,
            )
        try:
            session = await login.end(value)
        except (StoreUnavailable, StoreError) as error:
            self.log.warn("A logout of {login} did not work: {why}", login=login.spec.name, why=str(error))
            return failed(
                head,
                503,
                "logout_unavailable",
                "You are still logged in",
                "Logging out does not work right now. Please try again in a moment.",
                again=login.spec.logout_path,
                retry_after=5.0,
            )
        tokens = session.tokens if session is not None else None
        url = None
        if session is not None:
            try:
                url = login.backchannel.client.logout_url(tokens.id if tokens is not None else "", self._then)
            except Unusable:
                url = None  # the provider's own session goes on
        return self._leave(login.forget(head), url)

    def _leave(self, fields: tuple[tuple[bytes, bytes], ...], url: str | None) -> Reply:
        return Reply(303, ((b"location", (url or self._after).encode("ascii")), *PRIVATE, *fields))

    def _same_origin(self, head: RequestHead) -> bool:
        """Whether the request comes from a page of ours, as far as the browser tells."""
        site = head.get(b"sec-fetch-site")
        if site is not None and site not in (b"same-origin", b"none"):
            return False
        origin = head.get(b"origin")
        return origin is None or origin == self._login.returns.origin.encode("ascii")

    # -- by the provider ----------------------------------------------------------------------------------------------

    async def told(self, exchange: IExchange) -> Reply:
        """Answer the provider, which says that somebody has logged out elsewhere (section 2.5)."""
        login = self._login
        body = await _body(exchange)
        text = _field(exchange.head, body, "logout_token")
        try:
            claims = await login.provider.claims_of(text, audience=login.spec.client_id, types=_TYPES, required=False)
            token = LogoutToken.of(claims, login.wall())
            done = f"logout:{token.id}"
            if not await login.sessions.seen(done):
                ids = await login.sessions.end_all(token.subject, token.sid)
                await login.revoke(self._tags(token, ids))
                # Only now: what failed half-way is told again, and must not be taken for done.
                await login.sessions.first(done, _AGAIN)
        except (TokenError, ProtocolError) as error:
            exchange.outcome.auth = error.reason
            self.log.warn("A logout told to {login} was refused: {why}", login=login.spec.name, why=str(error))
            return _told(400, {"error": "invalid_request", "error_description": error.reason})
        except (ProviderUnavailable, StoreUnavailable, StoreError) as error:
            self.log.warn("A logout told to {login} did not work: {why}", login=login.spec.name, why=str(error))
            # Practice: section 2.8 says 400 for this too; with 503, providers that can will say it again.
            return _told(503, {"error": "temporarily_unavailable"})
        return Reply(200, PRIVATE)

    def _tags(self, token: LogoutToken, ids: tuple[str, ...]) -> tuple[str, ...]:
        """What is over. A session of the provider's is meant if it is named, else everybody of that name."""
        name = self._login.spec.name
        more = (f"sid:{name}:{token.sid}",) if token.sid else (f"subject:{name}:{token.subject}",)
        return (*more, *(f"session:{id}" for id in ids))


def _told(status: int, body: dict[str, str]) -> Reply:
    return Reply(status, ((b"content-type", b"application/json"), *PRIVATE), msgspec.json.encode(body))


async def _body(exchange: IExchange) -> bytes:
    """
    The whole body, if there is any.

    :raises GatewayError: it is too large, or does not come.
    """
    if not exchange.head.has_body:
        return b""
    return await exchange.body.collect(LARGEST)


def _field(head: RequestHead, body: bytes, name: str) -> bytes:
    """One field of a form; empty if there is no such thing."""
    if not _FORM(head.get(b"content-type") or b""):
        return b""
    try:
        return form(body).get(name, "").encode("ascii", "replace")
    except ProtocolError:
        return b""
