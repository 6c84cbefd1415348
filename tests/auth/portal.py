"""
A login with everything around it: a provider in memory that does as it is told, a store if wanted, and browsers.

Nothing waits: `Portal.run` moves time, the store's replies and the provider's answers until something is done.
"""

from __future__ import annotations

from collections.abc import Awaitable
from io import BytesIO
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import msgspec
from twisted.internet.defer import Deferred, ensureDeferred, fail, succeed
from twisted.internet.error import ConnectionRefusedError
from twisted.internet.interfaces import IProtocol
from twisted.internet.testing import MemoryReactorClock
from twisted.python.failure import Failure
from twisted.web.client import ResponseDone
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgent
from zope.interface import implementer

from suuupra_gateway.auth.fetch import Fetch
from suuupra_gateway.auth.login import Login
from suuupra_gateway.auth.principal import Cached, Principal
from suuupra_gateway.auth.provider import Provider
from suuupra_gateway.auth.publication import Published, topic
from suuupra_gateway.auth.revocations import Revocations
from suuupra_gateway.auth.sessioncredential import SessionCredential
from suuupra_gateway.config.model import LoginSpec, ProviderSpec, SessionCredentialSpec, SessionSpec
from suuupra_gateway.config.units import Secret
from suuupra_gateway.http.message import Reply
from suuupra_gateway.memory import MemoryExchange
from suuupra_gateway.targets.login import LoginResource
from suuupra_gateway.testing import request
from tests.auth.desk import Desk
from tests.auth.redisline import RedisLine
from tests.servers.evil_idp import EvilProvider

ISSUER, CLIENT, SECRET = "https://idp.example.org", "shop & co", "the client's secret: 100% +/"
HOME = "https://shop.example.org"
KEY = "a key of sessions with more than thirty-two characters"
PAGE = {"Accept": "text/html,application/xhtml+xml;q=0.9,*/*;q=0.8", "Sec-Fetch-Mode": "navigate"}
WALL = 1.8e9


@implementer(IAgent)
class Wire:
    """The way to the provider, instead of a network."""

    def __init__(self, provider: EvilProvider) -> None:
        self.provider = provider
        self.down = False
        self.held: list[Deferred[Any]] | None = None
        """Answers that wait for `release`; None to answer at once."""

    def request(self, method: bytes, uri: bytes, headers: Headers | None = None, bodyProducer: Any = None) -> Any:
        if self.down:
            return fail(ConnectionRefusedError("down"))
        sent = BytesIO()
        if bodyProducer is not None:
            bodyProducer.startProducing(sent)
        fields = {
            name.decode().lower(): values[0].decode() for name, values in (headers or Headers()).getAllRawHeaders()
        }
        assert uri.startswith(ISSUER.encode())
        if self.held is not None:
            waiting: Deferred[Any] = Deferred()
            self.held.append(waiting)
            return waiting.addCallback(
                lambda _: self._response(self.provider.answer(method.decode(), uri.decode(), fields, sent.getvalue()))
            )
        return succeed(self._response(self.provider.answer(method.decode(), uri.decode(), fields, sent.getvalue())))

    def release(self) -> None:
        """Let those that wait have their answers; again at once from now on."""
        held, self.held = self.held or [], None
        for waiting in held:
            waiting.callback(None)

    def _response(self, answer: Any) -> _Response:
        return _Response(*answer)


class _Response:
    def __init__(self, status: int, fields: list[tuple[str, str]], body: bytes) -> None:
        self.code, self.body = status, body
        self.length = len(body)
        self.headers = Headers({})
        for name, value in fields:
            self.headers.addRawHeader(name.encode(), value.encode())

    def deliverBody(self, protocol: IProtocol) -> None:
        protocol.makeConnection(None)  # type: ignore[arg-type]
        if self.body:
            protocol.dataReceived(self.body)
        protocol.connectionLost(Failure(ResponseDone()))


def login_spec(**more: Any) -> LoginSpec:
    session = {"keys": (Secret(KEY),), **more.pop("session", {})}
    return LoginSpec(
        **{
            "name": "shop",
            "provider": "idp",
            "client_id": CLIENT,
            "client_secret": Secret(SECRET),
            "redirect_uri": f"{HOME}/_login/callback",
            "session": SessionSpec(**session),
            **more,
        }
    )


class Portal:
    """One login in one worker."""

    def __init__(
        self, line: RedisLine | None = None, *, metadata: bool = True, shared: Any = None, **more: Any
    ) -> None:
        self.line = line
        self.reactor = line.reactor if line is not None else MemoryReactorClock()
        self.began = self.reactor.seconds()
        self.board = Desk()
        self.revocations = Revocations(self.board)
        self.idp = EvilProvider(ISSUER, CLIENT, SECRET, self.wall)
        self.wire = Wire(self.idp)
        self.spec = login_spec(**more)
        if self.spec.client_secret is None:
            self.idp.secret = ""
        spec = ProviderSpec(name="idp", issuer=ISSUER)
        self.provider = Provider(spec, self.board, self.revocations, self.reactor, wall=self.wall)
        self.provider.start()
        self.login = Login(
            self.spec,
            self.provider,
            Fetch(self.reactor, agent=self.wire),
            line.redis if line is not None else None,
            shared,
            self.revocations,
            self.reactor,
            wall=self.wall,
            monotonic=self.reactor.seconds,
        )
        self.login.start()
        self.credential = SessionCredential(SessionCredentialSpec(login="shop"), self.login, "shop")
        if metadata:
            self.publish()

    def wall(self) -> float:
        return WALL + self.reactor.seconds() - self.began

    def publish(self) -> None:
        """Let the worker know the provider's metadata and keys as they are now."""
        value = Published(self.idp.metadata, self.idp.keys, self.wall())
        self.board.publish(topic(self.provider.spec), msgspec.json.encode(value))

    def run(self, pending: Any, seconds: float = 60.0) -> Any:
        """What is awaited, by moving time as little as needed."""
        if not isinstance(pending, Deferred):
            if not isinstance(pending, Awaitable):
                return pending
            pending = ensureDeferred(pending)  # type: ignore[arg-type]
        results: list[Any] = []
        pending.addBoth(results.append)
        end = self.reactor.seconds() + seconds
        while not results:
            if self.pump():
                continue
            assert self.reactor.seconds() < end, "it waits for ever"
            self.reactor.advance(0.05)
        if isinstance(results[0], Failure):
            results[0].raiseException()
        return results[0]

    def pump(self) -> bool:
        """Let the store answer whatever it was asked; whether it had anything to say."""
        found = False
        while self.line is not None and self.line.pump():
            found = True
        return found

    def pass_time(self, seconds: float, step: float = 1.0) -> None:
        """Let time go by, and the store answer on the way."""
        self.pump()  # what was asked before is answered before
        while seconds > 0:
            self.reactor.advance(min(step, seconds))
            self.pump()
            seconds -= step

    # -- what browsers get --------------------------------------------------------------------------------------------

    def endpoint(self, suffix: str, exchange: MemoryExchange) -> MemoryExchange:
        """The exchange after an endpoint of ours has answered it."""
        LoginResource(self.login, suffix).render(exchange)
        end = self.reactor.seconds() + 60
        while not exchange.settled:
            if not self.pump():
                assert self.reactor.seconds() < end, "no answer"
                self.reactor.advance(0.05)
        return exchange

    def check(self, exchange: MemoryExchange) -> Any:
        return self.run(self.credential.check(exchange))


class Browser:
    """Keeps cookies as browsers do, and goes where it is sent."""

    def __init__(self, portal: Portal) -> None:
        self.portal = portal
        self.cookies: dict[str, str] = {}
        self.set: list[str] = []
        """All Set-Cookie fields, in order."""

    def request(self, line: str, body: bytes | None = None, **headers: str) -> MemoryExchange:
        fields = {
            "Host": urlsplit(HOME).netloc,
            **PAGE,
            **{name.replace("_", "-"): text for name, text in headers.items()},
        }
        if self.cookies:
            fields["Cookie"] = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        return request(line, headers={name: text for name, text in fields.items() if text}, body=body)

    def take(self, headers: Any) -> None:
        """Heed the cookies of an answer."""
        for name, value in headers:
            if name == b"set-cookie":
                text = value.decode()
                self.set.append(text)
                cookie, _, attributes = text.partition(";")
                key, _, content = cookie.partition("=")
                if key.startswith("__Host-"):
                    assert {"Path=/", "Secure"} <= {each.strip() for each in attributes.split(";")}
                if "Max-Age=0" in attributes:
                    self.cookies.pop(key, None)
                else:
                    self.cookies[key] = content

    def visit(self, path: str = "/orders", **headers: str) -> Any:
        """What the session credential says of a visit to a page; cookies are heeded."""
        found = self.portal.check(self.request(f"GET {path}", **headers))
        if isinstance(found, Reply):
            self.take(found.headers)
        return found

    def who(self, path: str = "/orders", **headers: str) -> str:
        """Who the gateway takes this browser for; empty for nobody."""
        found = self.visit(path, **headers)
        if isinstance(found, Cached):
            found = found.principal
        return found.subject if isinstance(found, Principal) else ""

    def begin(self, path: str = "/orders") -> str:
        """Where the provider is, as a visit to ``path`` is told."""
        found = self.visit(path)
        assert isinstance(found, Reply), found
        return location(found)

    def approve(self, url: str) -> str:
        """What the provider lets the browser come back with: the query of the callback."""
        split = urlsplit(url)
        status, fields, _ = self.portal.idp.answer("GET", f"{split.path}?{split.query}", {}, b"")
        assert status == 302
        return urlsplit(dict(fields)["Location"]).query

    def callback(self, query: str, **headers: str) -> MemoryExchange:
        return self.call("callback", f"GET /_login/callback?{query}", **headers)

    def call(self, suffix: str, line: str, body: bytes | None = None, **headers: str) -> MemoryExchange:
        """Ask an endpoint of ours."""
        exchange = self.portal.endpoint(suffix, self.request(line, body, **headers))
        assert exchange.answer is not None
        self.take(exchange.answer.headers)
        return exchange

    def log_in(self, path: str = "/orders") -> MemoryExchange:
        """The whole way; what the callback was answered."""
        return self.callback(self.approve(self.begin(path)))

    @property
    def session(self) -> str:
        """The session's cookie."""
        return self.cookies.get("__Host-sg_session", "")

    @property
    def attempts(self) -> list[str]:
        return [name for name in self.cookies if name.startswith("__Host-sg_oidc_")]


def location(answer: Any) -> str:
    """Of a reply or an exchange."""
    headers = answer.headers if isinstance(answer, Reply) else answer.answer.headers
    return next(value.decode() for name, value in headers if name == b"location")


def asked(url: str) -> dict[str, str]:
    """The parameters of an authorization request."""
    return dict(parse_qsl(urlsplit(url).query, keep_blank_values=True))
