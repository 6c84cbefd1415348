"""
The credential that is a browser's session. People without one are sent to log in; programs are told so.
"""

from __future__ import annotations

from collections.abc import Awaitable
from typing import TYPE_CHECKING

from suuupra_gateway.auth.answers import Stale, stale_will_do
from suuupra_gateway.auth.login import Login
from suuupra_gateway.auth.principal import UNASKED, Cached, Principal, Refused, Undecided
from suuupra_gateway.config.model import SessionCredentialSpec
from suuupra_gateway.http.message import Pair, Reply, RequestHead
from suuupra_gateway.interfaces import IExchange

if TYPE_CHECKING:
    from suuupra_gateway.auth.sessions import Standing
    from suuupra_gateway.interfaces import Answer


class SessionCredential:
    """The `Credential` of browsers. Lives as long as its plan."""

    __slots__ = ("provider", "challenge", "_login", "_sessions", "_stale")

    kind = "session"

    def __init__(self, spec: SessionCredentialSpec, login: Login, realm: str, *, stale: Stale = "allow") -> None:
        """:param stale: as the route says."""
        self.provider = spec.login
        # Practice: no scheme is registered for cookies; clients must not take this for one that they can answer.
        self.challenge = b'Cookie realm="%b", cookie-name="%b"' % (realm.encode("ascii"), login.cookie)
        self._login = login
        self._sessions = login.sessions
        self._stale: Stale = stale

    def check(self, exchange: IExchange) -> Answer | Awaitable[Answer]:
        """See `Credential`."""
        head = exchange.head
        value = self._sessions.shown(head)
        if value is None:
            return self._instead(head, None)
        standing = self._sessions.check(value, stale_allowed=stale_will_do(self._stale, head.method))
        if isinstance(standing, Principal | Cached | Undecided):
            return standing
        if isinstance(standing, Refused):
            return self._instead(head, standing)
        return self._later(head, standing)

    async def _later(self, head: RequestHead, pending: Awaitable[Standing]) -> Answer:
        standing = await pending
        return self._instead(head, standing) if isinstance(standing, Refused) else standing

    def _instead(self, head: RequestHead, refused: Refused | None) -> Answer:
        """
        What comes instead of a session: a login if somebody went to this page, else nothing.

        Other methods are not repeated after a login, so that a form is not lost in a redirect: they are told the truth.
        """
        if not is_navigation(head):
            return refused
        target = head.path if head.query is None else b"%b?%b" % (head.path, head.query)
        return self._login.begin(head, target.decode("latin-1"), self._login.forget(head))

    def glance(self, exchange: IExchange) -> Answer:
        """What can be said without asking. No login is begun for it: the redirect leads nowhere."""
        if self.presented(exchange.head):
            return UNASKED
        return Reply(302) if is_navigation(exchange.head) else None

    def conceal(self, head: RequestHead) -> None:
        """See `Credential`."""
        self._login.conceal(head)

    def presented(self, head: RequestHead) -> bool:
        """See `Credential`."""
        return self._sessions.shown(head) is not None

    def renewal(self, head: RequestHead) -> tuple[Pair, ...]:
        """The fields that the answer must carry so that the session goes on; nothing for most."""
        return self._sessions.renewal(head)


def is_navigation(head: RequestHead) -> bool:
    """
    Whether somebody goes to a page, so that a redirect to another site makes sense.

    Browsers say so by Fetch Metadata; of all others, only those do that name HTML in ``Accept``.
    """
    if head.method != b"GET":
        return False
    html = False
    mode: bytes | None = None
    for name, value in head.headers:
        if name == b"accept":
            html = html or b"text/html" in value.lower()
        elif name == b"sec-fetch-mode":
            mode = value
        elif name in (b"x-requested-with", b"upgrade") or (name == b"sec-purpose" and b"prefetch" in value):
            return False
    return mode == b"navigate" if mode is not None else html
