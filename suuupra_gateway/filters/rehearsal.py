"""
What an authenticating filter would say without asking anybody: for ``explain`` and route tests.

A credential that can tell something by itself has a method ``glance``; of all others it is only known whether they are shown.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, Protocol, runtime_checkable

import attrs

from suuupra_gateway.auth.principal import UNASKED, Cached, Principal, Refused, Undecided
from suuupra_gateway.hooks import Verdict
from suuupra_gateway.http.message import Reply
from suuupra_gateway.interfaces import Credential, IExchange

if TYPE_CHECKING:
    from suuupra_gateway.interfaces import Answer


@attrs.frozen
class Rehearsal:
    """How a request would fare at an authenticating filter."""

    verdict: Verdict
    """As its ``request`` would return; None too while that depends on `asks`."""

    says: str
    """What was found of each credential, and why; no credential itself."""

    asks: str = ""
    """Who would have to be asked; empty if nobody."""


@runtime_checkable
class Rehearsing(Protocol):
    """A filter that can be rehearsed."""

    name: str

    def rehearse(self, exchange: IExchange, principal: Principal | None) -> Rehearsal:
        """
        Do to ``exchange`` what ``request`` would do, without I/O, counting and waiting.

        :param principal: who is to be taken for the caller, whatever the head says; None to go by the head.
        """


@runtime_checkable
class Glancing(Protocol):
    """A `Credential` that knows something by itself."""

    def glance(self, exchange: IExchange) -> Answer:
        """As ``check``, as far as that goes without asking anybody: `UNASKED` where it does not. Called for all requests."""


@attrs.frozen(eq=False)
class Glance:
    """What a look at one credential of a request has shown."""

    found: Answer
    """What it is worth; None if it is not shown, or if `asks`."""

    asks: str
    """Who would have to be asked; empty if nobody."""

    says: str

    @classmethod
    def at(cls, credential: Credential, exchange: IExchange) -> Glance:
        """Look at what ``exchange`` shows of ``credential``."""
        who = named(credential)
        found: Answer = UNASKED if credential.presented(exchange.head) else None
        if isinstance(credential, Glancing):
            found = credential.glance(exchange)
        if found is UNASKED:
            asks = _ASKED.get(credential.kind, "{}").format(credential.provider or credential.kind)
            return cls(None, asks, f"{who}: {asks} would have to be asked")
        return cls(found, "", f"{who}: {_words(found)}")

    @property
    def accepted(self) -> bool:
        """Whether it is good."""
        return isinstance(self.found, Principal | Cached)

    @property
    def ambiguous(self) -> bool:
        """Whether the request ends here, whatever comes behind."""
        return isinstance(self.found, Refused) and self.found.status == 400


def named(credential: Credential) -> str:
    """What a credential is called: kind, and who vouches."""
    return f"{credential.kind} {credential.provider}" if credential.provider else credential.kind


def undecided(glances: Sequence[Glance], every: bool) -> str:
    """
    Who would have to be asked before there is a decision; empty if there is one.

    :param every: whether all credentials have to be good, or one of them, of which the first counts.
    """
    asks = ", ".join(glance.asks for glance in glances if glance.asks)
    if every:
        return asks if all(glance.asks or glance.accepted for glance in glances) else ""
    first = next((glance for glance in glances if glance.asks or glance.accepted or glance.ambiguous), None)
    return asks if first is not None and first.asks else ""


def taken(credentials: Sequence[Credential], principal: Principal) -> tuple[int, Principal] | None:
    """Which of a route's credentials ``principal`` is known by, and the principal as that would say it; None for none."""
    for place, credential in enumerate(credentials):
        if principal.credential in ("", credential.kind) and principal.provider in ("", credential.provider):
            return place, attrs.evolve(principal, credential=credential.kind, provider=credential.provider)
    return None


_ACCEPTED: Final = "accepted"
_ASKED: Final = {
    "jwt": "provider {}",
    "api-key": "the store of API keys",
    "session": "login {}",
    "introspection": "introspection {}",
    "forward-auth": "forward-auth {}",
}
"""By kind of credential: who would have to be asked."""


def _words(found: Answer) -> str:
    if found is None:
        return "not shown"
    if isinstance(found, Refused):
        return f"refused, {_reason(found)}"
    if isinstance(found, Undecided):
        return f"cannot be decided, {_reason(found)}"
    if isinstance(found, Reply):
        return "not shown, would be sent to log in" if found.status in (302, 303) else f"answers {found.status}"
    return _ACCEPTED


def _reason(found: Refused | Undecided) -> str:
    return f"{found.reason}: {found.detail}" if found.detail else found.reason
