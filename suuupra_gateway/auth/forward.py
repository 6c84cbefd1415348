"""
A service of the user's own that decides about requests by being asked with their heads (forward-auth).
"""

from __future__ import annotations

import re
import time
from collections.abc import Awaitable, Callable, Iterable
from typing import TYPE_CHECKING, Any, Final

import msgspec

from suuupra_gateway.auth.answers import Stale, answer, stale_will_do
from suuupra_gateway.auth.asked import Asked
from suuupra_gateway.auth.decisions import AskFailed, Decision, Wishes, is_alone
from suuupra_gateway.auth.fetch import Fetch, Fetched, FetchFailed
from suuupra_gateway.auth.principal import UNASKED, Principal, Refused
from suuupra_gateway.auth.revocations import Revocations
from suuupra_gateway.auth.shared import Shared
from suuupra_gateway.config.model import ForwardAuthSpec, ForwardedSpec
from suuupra_gateway.http.message import Pair, Reply, RequestHead, remove
from suuupra_gateway.interfaces import IExchange

if TYPE_CHECKING:
    from suuupra_gateway.interfaces import Answer

_LARGEST: Final = 64 * 1024
"""Bytes of an answer's body."""

_KEPT: Final = 2 * 1024
"""Bytes of the body of a refusal that is remembered; longer ones are asked for each time."""

_LONGEST: Final = 1024
"""Bytes of a subject."""

_PASSED_ON: Final = frozenset({b"www-authenticate", b"location", b"set-cookie", b"content-type"})
"""Fields of a refusal that clients get."""

_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})

_CONTROL: Final = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]").search


class ForwardAuth(Asked):
    """One auth service, and what it has decided. A `Resident`."""

    def __init__(
        self,
        spec: ForwardAuthSpec,
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
        asked = _names(spec.request_headers)
        self.credentials = tuple(name for name in asked if name not in _OURS)
        """Fields that hold them."""
        vary = dict.fromkeys((*asked, *_names(spec.vary)))
        self._shown = tuple(name for name in vary if name not in _OURS)
        self._shown_ours = tuple(name for name in vary if name in _OURS)
        self._told = _names(spec.response_headers)
        (self._subject,) = _names((spec.subject_header,))
        super().__init__(
            spec.name,
            spec.cache,
            fetch,
            shared,
            revocations,
            decode=self._made,
            meaning=repr(
                ("forward-auth", spec.name, spec.url, tuple(vary), self._told, self._subject, bool(spec.by_path))
            ),
            wall=wall,
            monotonic=monotonic,
        )

    def check(self, exchange: IExchange, *, stale_allowed: bool) -> Answer | Awaitable[Answer]:
        """What a request is worth; waits only while the service is asked."""
        head = exchange.head
        shown = [(name, value) for wanted in self._shown for name, value in head.headers if name == wanted]
        ours = _ours(exchange)
        fields = (*shown, *((name, value) for name, value in ours.items() if value))

        def ask() -> Awaitable[Decision]:
            return self._ask(fields)

        if not any(name in self.credentials for name, _ in shown):
            # Everybody without credentials would be one and the same caller, and would get each other's login attempts.
            return answer(self._decisions.once(ask))
        # A decision must depend on nothing that the service sees and the key does not hold, unless the configuration says so.
        parts = [head.method]  # HEAD is not GET: the service is told which, and may let in the one and not the other
        for pair in shown:
            parts += pair
        parts.append(b"")
        parts += [ours[name] for name in (_PLACE if self.spec.by_path else ())]
        parts += [ours[name] for name in self._shown_ours]
        return answer(self._decisions.look(self._decisions.key(*parts), ask, stale_allowed=stale_allowed))

    async def _ask(self, fields: tuple[Pair, ...]) -> Decision:
        try:
            fetched = await self._fetch.request(
                "GET", self.spec.url, headers=fields, timeout=float(self.spec.timeout), limit=_LARGEST
            )
        except FetchFailed as error:
            raise AskFailed(str(error)) from error
        return self._decision(fetched)

    def _decision(self, fetched: Fetched) -> Decision:
        status = fetched.status
        wishes = Wishes.of((value for name, value in fetched.headers if name == b"cache-control"), fetched.get(b"age"))
        if 200 <= status < 300:
            subject = fetched.get(self._subject) or b""
            told = tuple(pair for pair in fetched.headers if pair[0] in self._told)
            if len(subject) > _LONGEST or any(_CONTROL(value) for _, value in ((b"", subject), *told)):
                raise AskFailed("the service's answer has fields that nobody can be told", alone=True)
            value = msgspec.json.encode((_text(subject), [[_text(name), _text(value)] for name, value in told]))
            tag = f"subject:{self.spec.name}:{self._name(_text(subject))}"
            return Decision(True, value, tags=(tag,), wishes=wishes)
        redirect = status in _REDIRECTS and fetched.get(b"location") is not None
        if status not in (401, 403) and not redirect:
            raise AskFailed(f"the service answers {status}", alone=is_alone(status))
        passed_on = [[_text(name), _text(value)] for name, value in fetched.headers if name in _PASSED_ON]
        # What begins a login is for one request alone.
        once = redirect or fetched.get(b"set-cookie") is not None or len(fetched.body) > _KEPT
        value = msgspec.json.encode((status, passed_on, fetched.body.decode("latin-1")))
        return Decision(False, value, wishes=Wishes(keep=False) if once else wishes)

    def _made(self, decision: Decision) -> Principal | Refused | Reply:
        """See `Decisions`: raises `ValueError`."""
        found: Any = msgspec.json.decode(decision.value)
        if not decision.allow:
            status, passed_on, body = found
            return Reply(status, tuple((_bytes(name), _bytes(value)) for name, value in passed_on), _bytes(body))
        subject, told = found
        fields = tuple((_bytes(name), _bytes(value)) for name, value in told)
        return Principal(
            self._name(subject),
            "forward-auth",
            self.spec.name,
            claims={name: _readable(value) for name, value in reversed(told)},
            fields=fields,
            tags=decision.tags,
        )

    def _name(self, subject: str) -> str:
        """Who it is; if the service does not say, everybody whom it lets in is the same."""
        return _readable(subject) or f"forward-auth:{self.spec.name}"


class ForwardAuthCredential:
    """The `Credential` of callers about whom an auth service decides. Lives as long as its plan."""

    __slots__ = ("provider", "challenge", "_forward", "_stale")

    kind = "forward-auth"

    def __init__(self, spec: ForwardedSpec, forward: ForwardAuth, *, stale: Stale = "allow") -> None:
        """:param stale: as the route says."""
        self.provider = spec.by
        self.challenge = b""
        self._forward = forward
        self._stale: Stale = stale

    def check(self, exchange: IExchange) -> Answer | Awaitable[Answer]:
        """See `Credential`. Never None: the service decides about requests that show nothing, too."""
        return self._forward.check(exchange, stale_allowed=stale_will_do(self._stale, exchange.head.method))

    def glance(self, exchange: IExchange) -> Answer:
        """Nothing can be said without asking."""
        return UNASKED

    def conceal(self, head: RequestHead) -> None:
        """See `Credential`. All of ``request-headers``, as only the service knows which part of them it goes by."""
        for name in self._forward.credentials:
            remove(head.headers, name)

    def presented(self, head: RequestHead) -> bool:
        """See `Credential`."""
        return any(head.get(name) is not None for name in self._forward.credentials)


_PLACE: Final = (b"x-forwarded-proto", b"x-forwarded-host", b"x-forwarded-uri")
_OURS: Final = frozenset({*_PLACE, b"x-forwarded-method", b"x-forwarded-for"})
"""What the service is told by us, whatever the request says."""


def _ours(exchange: IExchange) -> dict[bytes, bytes]:
    head = exchange.head
    return {
        b"x-forwarded-method": head.method,
        b"x-forwarded-proto": b"https" if exchange.secure else b"http",
        b"x-forwarded-host": head.authority,
        b"x-forwarded-uri": head.path if head.query is None else b"%b?%b" % (head.path, head.query),
        b"x-forwarded-for": exchange.client.encode("ascii"),
    }


def _names(names: Iterable[str]) -> tuple[bytes, ...]:
    return tuple(name.lower().encode("ascii") for name in names)


def _text(value: bytes) -> str:
    """Any bytes, as `_bytes` gives them back."""
    return value.decode("latin-1")


def _bytes(value: str) -> bytes:
    return value.encode("latin-1")


def _readable(value: str) -> str:
    """A field's value as its sender most likely meant it."""
    try:
        return _bytes(value).decode("utf-8")
    except UnicodeDecodeError:
        return value
