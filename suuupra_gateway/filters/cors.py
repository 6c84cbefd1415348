"""
Cross-origin requests from browsers: preflights answered by the gateway, fields put on all other answers.

The protocol is that of https://fetch.spec.whatwg.org/#http-cors-protocol. A preflight comes as OPTIONS, but it asks about
another method: the gateway looks for the route of *that* method, and this filter answers before any authentication, as
browsers send preflights without credentials.
"""

from __future__ import annotations

import re
from typing import Annotated, Final

from pydantic import AfterValidator, Field, model_validator

from suuupra_gateway.config.model import HeaderName
from suuupra_gateway.config.spec import METHOD, Flag
from suuupra_gateway.config.units import Duration
from suuupra_gateway.filters.base import Filter, FilterKind, FilterSpec, Phase
from suuupra_gateway.hooks import Verdict
from suuupra_gateway.http.hygiene import tokens
from suuupra_gateway.http.message import Pair, Reply, ResponseHead, values
from suuupra_gateway.interfaces import IExchange, IResidents

_ORIGIN: Final = re.compile(r"\*|null|[a-z][a-z0-9+.-]*://(?:(?:\*\.)?[a-z0-9._-]+|\[[0-9a-f:.]+\])(?::[0-9]{1,5})?")
_TOKENS: Final = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+(?:[ \t]*,[ \t]*[!#$%&'*+.^_`|~0-9A-Za-z-]+)*")
_LABELS: Final = re.compile(rb"[a-z0-9_-]+(?:\.[a-z0-9_-]+)*")

_PREFLIGHT_VARY: Final = b"origin, access-control-request-method, access-control-request-headers"
_OWN: Final = frozenset(
    {b"access-control-allow-origin", b"access-control-allow-credentials", b"access-control-expose-headers"}
)
"""Fields that an upstream may have set too: two policies on one answer make browsers refuse it."""


def _origin(text: str) -> str:
    text = text.lower()
    if not _ORIGIN.fullmatch(text):
        raise ValueError("write scheme://host[:port] without a path, scheme://*.domain, null, or * for any origin")
    return text


class CorsSpec(FilterSpec):
    """Which origins may do what."""

    origins: Annotated[tuple[Annotated[str, AfterValidator(_origin)], ...], Field(min_length=1)]
    """``https://app.example.org``, ``https://*.example.org`` (one or more labels), ``null``, or ``*`` for any."""

    methods: tuple[Annotated[str, Field(pattern=METHOD)], ...] = ("GET", "HEAD", "POST")
    """Methods that preflights allow."""

    headers: tuple[HeaderName, ...] = ()
    """Request fields that preflights allow; ``*`` for whatever is asked for."""

    expose: tuple[HeaderName, ...] = ()
    """Answer fields that scripts may read."""

    credentials: Flag = False
    """Whether cookies and ``Authorization`` may come along."""

    max_age: Duration = Duration(600.0)
    """How long browsers may remember a preflight; they cap it themselves at two hours or a day."""

    @model_validator(mode="after")
    def _safe(self) -> CorsSpec:
        if self.credentials and "*" in self.origins:
            raise ValueError("credentials for any origin would let every web site act as its visitor: name the origins")
        if self.credentials and "null" in self.origins:
            raise ValueError(
                "every web site can be the origin null (in a sandboxed frame): leave it out, or credentials"
            )
        return self


class Cors(Filter[CorsSpec]):
    """Answer preflights with 204, or 403 for origins that are not allowed; tell browsers what they may read elsewhere."""

    phase = Phase.PREFLIGHT
    answers_preflight = True
    on_error = "It cannot fail; an origin that cannot be read is not allowed."

    def __init__(self, spec: CorsSpec, residents: IResidents) -> None:
        super().__init__(spec, residents)
        self._any = "*" in spec.origins
        self._exact = frozenset(origin.encode("ascii") for origin in spec.origins if "*" not in origin)
        self._wild = tuple(
            (scheme.encode("ascii") + b"://", b"." + domain.encode("ascii"))
            for scheme, star, domain in (origin.partition("://*.") for origin in spec.origins)
            if star
        )
        self._granted = self._grants()
        self._answer_fields = self._after_origin(
            (b"access-control-expose-headers", ", ".join(spec.expose).encode("ascii"))
        )

    def _after_origin(self, *pairs: Pair) -> tuple[Pair, ...]:
        credentials = ((b"access-control-allow-credentials", b"true"),) if self.spec.credentials else ()
        return (*credentials, *(pair for pair in pairs if pair[1]))

    def _grants(self) -> tuple[Pair, ...]:
        """What every preflight of an allowed origin is told, but for the fields that are echoed."""
        named = ", ".join(self.spec.headers).encode("ascii") if "*" not in self.spec.headers else b""
        return self._after_origin(
            (b"access-control-allow-methods", ", ".join(self.spec.methods).encode("ascii")),
            (b"access-control-allow-headers", named),
            (b"access-control-max-age", b"%d" % self.spec.max_age),
            (b"vary", _PREFLIGHT_VARY),
        )

    def _allowed(self, origin: bytes) -> bool:
        origin = origin.lower()
        if self._any or origin in self._exact:
            return True
        return any(
            origin.startswith(scheme)
            and origin.endswith(domain)
            and _LABELS.fullmatch(origin, len(scheme), max(len(scheme), len(origin) - len(domain))) is not None
            for scheme, domain in self._wild
        )

    def request(self, exchange: IExchange) -> Verdict:
        """Answer a preflight; let everything else pass."""
        head = exchange.head
        if not head.preflight:
            return None
        origin = head.get(b"origin")
        assert origin is not None
        if not self._allowed(origin):
            return _REFUSED
        fields = (self._origin_field(origin), *self._granted)
        if "*" in self.spec.headers:
            asked = b", ".join(values(head.headers, b"access-control-request-headers"))
            if _TOKENS.fullmatch(asked):
                fields = (*fields, (b"access-control-allow-headers", asked))
        return Reply(204, fields)

    def _origin_field(self, origin: bytes) -> Pair:
        return b"access-control-allow-origin", b"*" if self._any else origin

    def response(self, exchange: IExchange, head: ResponseHead) -> Verdict:
        """Put our policy on the upstream's answer, in place of its own."""
        head.headers[:] = [pair for pair in head.headers if pair[0] not in _OWN]
        self._add_policy(exchange, head)
        return None

    def reply(self, exchange: IExchange, head: ResponseHead) -> None:
        """Put our policy on the gateway's own answers too, so that scripts can read its errors."""
        if head.get(b"access-control-allow-origin") is None:
            self._add_policy(exchange, head)

    def _add_policy(self, exchange: IExchange, head: ResponseHead) -> None:
        if not self._any and b"origin" not in tokens(values(head.headers, b"vary")):
            head.headers.append((b"vary", b"origin"))  # also without Origin: the next client of a cache may have one
        origin = exchange.head.get(b"origin")
        if origin is not None and self._allowed(origin):
            head.headers.append(self._origin_field(origin))
            head.headers += self._answer_fields

    def explain(self, exchange: IExchange) -> str:
        """Whether the origin is allowed."""
        origin = exchange.head.get(b"origin")
        if origin is None:
            return "no Origin: not a cross-origin request"
        return f"origin {origin.decode('latin-1')} is {'' if self._allowed(origin) else 'not '}allowed"


_REFUSED: Final = Reply.problem(
    403,
    code="origin_not_allowed",
    detail="This origin may not call this resource from a browser.",
    headers=((b"vary", _PREFLIGHT_VARY),),
)


kind = FilterKind("cors", CorsSpec, Cors)
