"""
A login by OIDC's authorization code flow, from the first redirect to the session (OIDC Core section 3.1, RFC 9700).

In order: `Login.begin` answers a browser that has no session; the provider sends it back, and `Login.callback` exchanges the code
and begins a session; `Login.sessions` says what that is worth with each request; `auth.logout` ends it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any, Final
from urllib.parse import urlsplit

import attrs
import msgspec
from twisted.internet.defer import Deferred, DeferredList, succeed
from twisted.logger import Logger

from suuupra_gateway.auth.attempt import LASTS, PREFIX, Attempt, Attempts
from suuupra_gateway.auth.backchannel import Backchannel
from suuupra_gateway.auth.cookies import CookieJar, conceal, names_of
from suuupra_gateway.auth.fetch import Fetch, FetchFailed
from suuupra_gateway.auth.keystore_redis import RedisKeyStore
from suuupra_gateway.auth.oauth2 import BadAnswer, Callback, GrantRefused, ProtocolError, Unusable, form
from suuupra_gateway.auth.pages import PRIVATE, failed
from suuupra_gateway.auth.principal import Undecided
from suuupra_gateway.auth.provider import Provider, ProviderUnavailable
from suuupra_gateway.auth.returning import Returns
from suuupra_gateway.auth.revocations import Revocations
from suuupra_gateway.auth.seal import Ring
from suuupra_gateway.auth.sealedsessions import SealedSessions
from suuupra_gateway.auth.session import Session
from suuupra_gateway.auth.sessions import Sessions, StoredSessions, Unkept
from suuupra_gateway.auth.sessionstore import CookieSessions, RedisSessions
from suuupra_gateway.auth.shared import Shared
from suuupra_gateway.config.model import LoginSpec
from suuupra_gateway.http.message import Pair, Reply, RequestHead
from suuupra_gateway.interfaces import IExchange
from suuupra_gateway.net.redis import Redis, StoreError, StoreUnavailable
from suuupra_gateway.tally import Sample


@attrs.frozen
class Endpoint:
    """A path of our own that a login needs."""

    suffix: str
    """``callback``, ``logout`` or ``backchannel-logout``; also what `targets.login.LoginResource` wants to know."""

    host: str
    """Where it is, without a port."""

    path: str
    methods: tuple[str, ...]


def endpoints(spec: LoginSpec) -> tuple[Endpoint, ...]:
    """Where the routes of a login lie; those without a path nowhere."""
    split = urlsplit(spec.redirect_uri)
    host = split.hostname or ""
    made = (
        Endpoint("callback", host, split.path or "/", ("GET",)),
        Endpoint("logout", host, spec.logout_path, ("GET", "POST")),
        Endpoint("backchannel-logout", host, spec.backchannel_path, ("POST",)),
    )
    return tuple(each for each in made if each.path)


class Login:
    """One login in one worker; a resident."""

    log = Logger()

    def __init__(
        self,
        spec: LoginSpec,
        provider: Provider,
        fetch: Fetch,
        redis: Redis | None,
        shared: Shared | None,
        revocations: Revocations,
        reactor: Any,
        *,
        wall: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """
        :param fetch: speaks with the provider; closed when this is retired.
        :param redis: where sessions are kept, unless the configuration wants them in cookies; None for no store.
        :param shared: what all workers know.
        :raises ValueError: sessions are to be kept in Redis, and there is none.
        """
        self.spec = spec
        self.provider = provider
        self.revocations = revocations
        self.redis = redis
        self.wall = wall
        self.returns = Returns(spec.redirect_uri, spec.return_to)
        self.backchannel = Backchannel(spec, provider, fetch, wall=wall)
        self.jar = CookieJar(spec.redirect_uri.startswith("https:"))
        self.cookie = self.jar.name(spec.cookie)
        keys = spec.session.keys
        self.marks = Ring(keys, f"marks {spec.name}")
        self._fetch = fetch
        self._attempts = Attempts(Ring(keys, "attempts"), self.jar, spec.name, wall)
        self._cookies = frozenset(names_of(self.cookie))
        self._attempt_prefix = self.jar.name(PREFIX)
        self.sessions: Sessions
        """All that is known of sessions."""
        names = provider.spec.claims
        if spec.session.store == "cookie" or (spec.session.store == "auto" and redis is None):
            sealed = CookieSessions(Ring(keys, "cookies"), spec.name, spec.session, wall=wall)
            self.sessions = SealedSessions(spec, names, sealed, self.jar, revocations, wall=wall)
        elif redis is None:
            raise ValueError(f"login {spec.name} keeps sessions in Redis, and there is no gateway.store")
        else:
            self.sessions = StoredSessions(
                spec,
                names,
                RedisSessions(redis, Ring(keys, "sessions"), spec.name, spec.session, wall=wall),
                self.jar,
                self.marks,
                self.backchannel,
                shared,
                revocations,
                reactor,
                meaning=redis.spec.place,
                wall=wall,
                monotonic=monotonic,
            )
        self._giving_back: set[Deferred[None]] = set()

    def start(self) -> None:
        """See `Resident`."""
        self.sessions.start()

    def retire(self) -> Deferred[None]:
        """See `Resident`."""
        stopped: Deferred[Any] = self.sessions.stop() or succeed(None)
        last = DeferredList([stopped, *self._giving_back])
        return last.addCallback(lambda _: self._fetch.close()).addCallback(lambda _: None)

    def samples(self) -> Iterator[Sample]:
        """For metrics."""
        return self.sessions.samples()

    # -- beginning ----------------------------------------------------------------------------------------------------

    def begin(self, head: RequestHead, return_to: str, fields: tuple[Pair, ...] = ()) -> Reply | Undecided:
        """
        Send a browser to the provider.

        :param return_to: where it wants to go after that; checked here.
        :param fields: of the reply, beside those of the attempt.
        """
        try:
            client = self.backchannel.client
        except Unusable as error:
            return Undecided("provider_unavailable", str(error))
        attempt, cookies = self._attempts.begin(head, self.returns.safe(return_to) or "/")
        location = client.authorization_url(attempt).encode("ascii")
        return Reply(302, ((b"location", location), *PRIVATE, *fields, *cookies))

    def conceal(self, head: RequestHead) -> None:
        """Take all cookies of ours out of a head."""
        conceal(head, self._cookies, self._attempt_prefix)

    def forget(self, head: RequestHead) -> tuple[Pair, ...]:
        """The fields that take the session's cookies away, if the browser has any."""
        return self.jar.clear_all(self.cookie) if self.sessions.shown(head) is not None else ()

    # -- the way back -------------------------------------------------------------------------------------------------

    async def callback(self, exchange: IExchange) -> Reply:
        """Answer a browser that comes back from the provider, or that is sent here to log in (``?return_to=``)."""
        head = exchange.head
        try:
            found = form(head.query or b"")
            if "return_to" in found and not {"state", "code", "error"} & found.keys():
                return self._asked_for(head, found["return_to"])
            callback = Callback.of(head.query)
        except ProtocolError as error:
            return self._refused(exchange, head, error, 400, _BROKEN)
        attempt = self._attempts.find(head, callback.state)
        if attempt is None:
            # Somebody else's attempt, or none (RFC 6749 section 10.12): nothing leaves this gateway.
            return self._refused(exchange, head, ProtocolError("unknown_attempt"), 400, _UNKNOWN)
        try:
            self._check_issuer(callback)
            if not await self.sessions.first(f"state:{callback.state}", LASTS):
                raise ProtocolError("attempt_over")
        except ProtocolError as error:
            return self._refused(exchange, head, error, 400, _UNKNOWN, attempt)
        except (StoreUnavailable, StoreError, Unusable) as error:
            return self._unavailable(head, error, None)  # the attempt is as good as before: reload
        if callback.error:
            return self._denied(exchange, head, callback.error, attempt)
        return await self._redeem(exchange, head, callback.code, attempt)

    def _asked_for(self, head: RequestHead, return_to: str) -> Reply:
        if self.returns.safe(return_to) is None:
            return failed(
                head, 400, "bad_return_to", "This link leads nowhere", "The address in it is not one of ours."
            )
        begun = self.begin(head, return_to)
        return begun if isinstance(begun, Reply) else self._unavailable(head, Unusable(begun.detail), None)

    def _check_issuer(self, callback: Callback) -> None:
        """Another provider's code must not come to ours (mix-up; RFC 9207 section 2.4)."""
        if callback.issuer is None:
            if self.backchannel.client.tells_issuer:
                raise ProtocolError("wrong_issuer", "the callback does not say from whom it is")
        elif callback.issuer != self.provider.spec.issuer:
            raise ProtocolError("wrong_issuer", "the callback is from another provider")

    async def _redeem(self, exchange: IExchange, head: RequestHead, code: str, attempt: Attempt) -> Reply:
        try:
            session = await self.backchannel.redeem(code, attempt)
            return await self._let_in(head, session, attempt)
        except (FetchFailed, BadAnswer, ProviderUnavailable, Unusable, StoreUnavailable, StoreError) as error:
            return self._unavailable(head, error, attempt)
        except GrantRefused as error:
            if error.reason == "invalid_grant":
                return self._refused(exchange, head, error, 400, _UNKNOWN, attempt)
            self.log.error("The provider refuses {login} itself: {why}", login=self.spec.name, why=str(error))
            return self._refused(exchange, head, error, 502, _MISCONFIGURED, attempt)
        except ProtocolError as error:
            return self._refused(exchange, head, error, 403, _DISTRUSTED, attempt)
        except Unkept as error:
            self.log.error("A session of {login} cannot be kept: {why}", login=self.spec.name, why=str(error))
            return self._refused(exchange, head, error, 502, _MISCONFIGURED, attempt)

    async def _let_in(self, head: RequestHead, session: Session, attempt: Attempt) -> Reply:
        """A session under an id that nobody has seen before (fixation); whatever was in this browser is over."""
        kept = msgspec.structs.replace(session, ends=self.wall() + float(self.spec.session.absolute))
        cookies = await self.sessions.begin(kept)
        former = self.sessions.shown(head)
        if former:
            await self.end(former)
        location = (self.returns.safe(attempt.return_to) or "/").encode("ascii")
        return Reply(303, ((b"location", location), *PRIVATE, *cookies, self._attempts.end(attempt.state)))

    async def end(self, value: bytes) -> Session | None:
        """
        End the session of a cookie, everywhere, and give its tokens back; what it was.

        :raises StoreUnavailable: nothing is over, or not everybody knows.
        :raises StoreError: as that.
        """
        session = await self.sessions.end(value)
        if session is not None:
            self.give_back(session)
            await self.revoke((f"session:{session.id}",))
        return session

    async def revoke(self, tags: tuple[str, ...]) -> None:
        """Let everybody know that ``tags`` hold no more."""
        now = self.wall()
        self.revocations.revoke(tags, now)
        if self.redis is not None:
            await RedisKeyStore(self.redis).revoke(tags, now)

    def give_back(self, session: Session) -> None:
        """Let the provider forget the refresh token of a session, behind whatever is going on."""
        giving = self.backchannel.give_back(session)
        if giving is not None:
            self._giving_back.add(giving)
            giving.addBoth(lambda _: self._giving_back.discard(giving))

    # -- when it does not work ----------------------------------------------------------------------------------------

    def _denied(self, exchange: IExchange, head: RequestHead, code: str, attempt: Attempt) -> Reply:
        """The provider has not let somebody log in."""
        status, text = (403, _DENIED) if code in _BY_PEOPLE else (502, _MISCONFIGURED)
        return self._refused(exchange, head, ProtocolError(code), status, text, attempt)

    def _refused(
        self,
        exchange: IExchange,
        head: RequestHead,
        error: Exception,
        status: int,
        text: tuple[str, str],
        attempt: Attempt | None = None,
    ) -> Reply:
        reason = error.reason if isinstance(error, ProtocolError) else "session_too_large"
        exchange.outcome.auth = reason
        self.log.warn("A login by {login} was refused: {why}", login=self.spec.name, why=str(error))
        fields = (self._attempts.end(attempt.state),) if attempt is not None else ()
        again = self.returns.safe(attempt.return_to) if attempt is not None else None
        return failed(head, status, f"login_{reason}", *text, again=again or "", fields=fields)

    def _unavailable(self, head: RequestHead, error: Exception, attempt: Attempt | None) -> Reply:
        """:param attempt: if it is over."""
        self.log.warn("A login by {login} did not work: {why}", login=self.spec.name, why=str(error))
        fields = (self._attempts.end(attempt.state),) if attempt is not None else ()
        again = self.returns.safe(attempt.return_to) if attempt is not None else None
        return failed(
            head, 503, "login_unavailable", *_UNAVAILABLE, again=again or "", fields=fields, retry_after=_SOON
        )


_SOON: Final = 5.0

_BY_PEOPLE: Final = frozenset({"access_denied", "login_required", "interaction_required", "consent_required"})

_BROKEN: Final = ("This is no login", "The address is incomplete or broken. Please begin again.")
_UNKNOWN: Final = (
    "This login has expired",
    "It was begun too long ago, or in another browser, or it was used already. Please begin again.",
)
_DENIED: Final = ("You were not logged in", "The login was cancelled, or is not allowed for you.")
_MISCONFIGURED: Final = ("Logging in does not work", "Whoever looks after this site has to set it right.")
_DISTRUSTED: Final = ("You were not logged in", "What came back from the login could not be verified.")
_UNAVAILABLE: Final = ("Logging in does not work right now", "Please try again in a moment.")
