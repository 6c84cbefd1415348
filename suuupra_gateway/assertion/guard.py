"""
Verifying the gateway's signed statement of who is calling. `wsgi`, `asgi` and `resource` put it in front of an application::

    guard = Guard("http://gateway.internal/.well-known/suuupra-identity.json", issuer="https://gw.example.org", audience="orders")
"""

from __future__ import annotations

import json
import logging
import threading
import time
import urllib.request
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from math import inf
from typing import Any, Final

import jwt

TYPE: Final = "suuupra-identity+jwt"
HEADER: Final = "X-Suuupra-Identity"
KEY: Final = "suuupra.call"
"""Under which applications find their `Call`: in WSGI's environ and in ASGI's scope."""

_PAUSE: Final = 5.0  # seconds from a fetch that failed to the next one
_STALE: Final = 86400.0  # seconds for which keys are good while they cannot be fetched

log = logging.getLogger("suuupra_gateway.assertion")

Fields = Mapping[str, list[str]]
"""Header fields by name, lower-case and with ``-`` for ``_``: as frameworks see them, names that differ in no more are one."""


@dataclass(frozen=True)
class Call:
    """Who is calling, as the gateway says, and how the request came through it."""

    subject: str
    credential: str = ""
    """By what: ``jwt``, ``api-key``, ``session``, …"""

    provider: str = ""
    scopes: frozenset[str] = frozenset()
    roles: frozenset[str] = frozenset()
    tenant: str = ""
    key: str = ""
    """Id of the API key, if it was one."""

    deadline: float = inf
    """`time.monotonic` when the gateway gives up waiting."""

    attempt: int = 1
    """Above 1 if the gateway has sent this request before, perhaps to another process."""

    def left(self) -> float:
        """Seconds until nobody waits for the answer any more."""
        return self.deadline - time.monotonic()


class Refused(Exception):
    """The request did not come through the gateway (401), or nobody can tell now (503). The message is for the log."""

    def __init__(self, status: int, why: str) -> None:
        super().__init__(why)
        self.status = status
        self.title = "Unauthorized" if status == 401 else "Service Unavailable"
        self.body = json.dumps({"title": self.title, "status": status}).encode()
        extra = ("WWW-Authenticate", "Suuupra-Identity") if status == 401 else ("Retry-After", "5")
        self.fields = [("Content-Type", "application/problem+json"), ("Content-Length", str(len(self.body))), extra]
        log.warning("refused: %s", why)


class GatewayKeys:
    """The gateway's public keys, fetched when they are needed. Safe in threads; nobody waits for keys that are there."""

    def __init__(
        self, url: str, refresh: float = 300.0, cooldown: float = 30.0, fetch: Callable[[str], bytes] | None = None
    ) -> None:
        """:param cooldown: seconds between two fetches because of unknown keys; ``refresh`` between those of known ones."""
        self._url, self._refresh, self._cooldown = url, refresh, cooldown
        self._fetch = fetch or _fetched
        self._keys: dict[str, Any] = {}
        self._at = self._failed = -inf
        self._lock = threading.Lock()

    @property
    def known(self) -> bool:
        """Whether there are keys to go by."""
        return time.monotonic() - self._at < _STALE

    def find(self, kid: str) -> Any:
        """The key called ``kid``, or None. No I/O."""
        return self._keys.get(kid) if self.known else None

    def due(self, kid: str) -> bool:
        """Whether a fetch may help to find it, or is due anyway."""
        now = time.monotonic()
        return now - self._failed >= _PAUSE and (
            now - self._at >= (self._refresh if kid in self._keys else self._cooldown)
        )

    def update(self, kid: str) -> None:
        """Fetch the set, unless another thread has just done so. Blocks."""
        if self.find(kid) is not None and self._lock.locked():
            return
        with self._lock:
            if self.due(kid):
                try:
                    found = jwt.PyJWKSet.from_json(self._fetch(self._url).decode()).keys
                except Exception as error:  # whatever it is, the keys at hand are better than none
                    self._failed = time.monotonic()
                    log.warning("the gateway's keys cannot be fetched from %s: %s", self._url, error)
                    return
                self._keys = {key.key_id: key for key in found if key.key_id and key.algorithm_name == "ES256"}
                self._at = time.monotonic()


class Guard:
    """Tells who is calling, and refuses what did not come through the gateway. Safe in threads."""

    def __init__(
        self, keys: str | GatewayKeys, issuer: str, audience: str, open_paths: Iterable[str] = (), header: str = HEADER
    ) -> None:
        """
        :param keys: the URL of the gateway's key set.
        :param issuer: ``identity.assertion.issuer`` of the gateway.
        :param audience: what the gateway calls this service: the name of the upstream, or the route's ``auth.assertion``.
        :param open_paths: paths that anybody may ask for, such as ``/healthz``; each exactly as written.
        """
        self.open_paths = frozenset(open_paths)
        self._keys = GatewayKeys(keys) if isinstance(keys, str) else keys
        self._header = header.lower()
        self._expected: Any = {"issuer": issuer, "audience": audience, "leeway": 5.0, "algorithms": ["ES256"]}

    def blocks(self, fields: Fields) -> bool:
        """Whether `admit` would fetch keys."""
        try:
            return self._keys.due(_kid(self._token(fields)))
        except jwt.PyJWTError:
            return False

    def admit(self, fields: Fields) -> Call:
        """
        Who is calling.

        :raises Refused: nobody that the gateway vouches for.
        """
        try:
            token = self._token(fields)
            kid = _kid(token)
            if self._keys.due(kid):
                self._keys.update(kid)
            key = self._keys.find(kid)
            if key is None:
                raise Refused(
                    *((401, "unknown key") if self._keys.known else (503, "the gateway's keys are not known"))
                )
            claims = jwt.decode(token, key, options={"require": ["exp", "iat", "iss", "aud", "sub"]}, **self._expected)
        except jwt.PyJWTError as error:
            raise Refused(401, f"{type(error).__name__}: {error}") from error
        wait = _number(fields, "x-request-timeout-ms", inf)
        texts = {name: str(claims.get(name, "")) for name in ("credential", "provider", "tenant", "key")}
        return Call(
            claims["sub"],
            scopes=frozenset(str(claims.get("scope", "")).split()),
            roles=frozenset(claims.get("roles", [])),
            deadline=time.monotonic() + wait / 1000,
            attempt=int(_number(fields, "x-request-attempt", 1)),
            **texts,
        )

    def _token(self, fields: Fields) -> str:
        found = fields.get(self._header, [])
        if len(found) != 1:
            raise jwt.InvalidTokenError(f"{len(found)} statements of the gateway")
        return found[0]


def _kid(token: str) -> str:
    header = jwt.get_unverified_header(token)
    if header.get("typ") != TYPE:
        raise jwt.InvalidTokenError("a token, but no statement of the gateway")
    return str(header.get("kid"))


def _number(fields: Fields, name: str, otherwise: float) -> float:
    found = fields.get(name, [])
    return int(found[0]) if len(found) == 1 and found[0].isascii() and found[0].isdigit() else otherwise


def _fetched(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=3) as answer:  # noqa: S310 -- the URL is the service's own configuration
        body: bytes = answer.read(64 * 1024)
        return body
