"""
What a trace is made of: plain values that become JSON. `walk.py` makes them, `trace.py` is how to get one.
"""

from __future__ import annotations

from typing import Any

import attrs

from suuupra_gateway.auth.principal import Principal


@attrs.frozen
class Miss:
    """A route that does not get the request."""

    route: str
    why: str


@attrs.frozen
class Change:
    """What a filter did to one part of the request's head."""

    part: str
    """``method``, ``path``, ``query``, or the name of a header field."""

    before: str | None
    after: str | None


@attrs.frozen
class Step:
    """One filter."""

    filter: str
    phase: str
    verdict: str
    """
    ``goes on``, ``answers 403 forbidden``, ``not evaluated``, ``would wait``, ``would ask WHOM``, ``not reached``,
    ``answer only``.
    """

    says: str
    """The filter's own words; empty if it has none."""

    changes: tuple[Change, ...]
    on_error: str


@attrs.frozen
class Caller:
    """Who is calling, as far as that is known. Claims are left out: nobody knows what is in them."""

    subject: str
    credential: str
    provider: str
    scopes: tuple[str, ...]
    """In alphabetical order, as are roles."""

    roles: tuple[str, ...]
    tenant: str
    key: str

    @classmethod
    def of(cls, principal: Principal) -> Caller:
        """What of a principal may be shown."""
        return cls(
            principal.subject,
            principal.credential,
            principal.provider,
            tuple(sorted(principal.scopes)),
            tuple(sorted(principal.roles)),
            principal.tenant,
            principal.key,
        )


@attrs.frozen
class Answer:
    """What the gateway would answer by itself."""

    status: int
    code: str
    """Stable error code; empty if it is no error."""

    headers: tuple[tuple[str, str], ...]
    by: str
    """``edge``, ``routing``, ``filter NAME`` or ``target``."""


@attrs.frozen
class Branch:
    """One upstream that the request may go to, and the policy it would be sent by."""

    upstream: str
    share: float
    """Of the route's traffic, 0 to 1."""

    endpoints: tuple[str, ...]
    balance: str
    timeouts: tuple[tuple[str, str], ...]
    """Name and duration."""

    attempts: int
    retried: str
    """Whether this very request would be repeated, and when."""


@attrs.frozen
class Forwarded:
    """The head that the upstream would see."""

    method: str
    target: str
    """Path and query."""

    headers: tuple[tuple[str, str], ...]


@attrs.frozen
class Trace:
    """What would become of one request."""

    method: str
    url: str
    client: str
    host: str
    path: str
    """Normalised; what routes are matched on."""

    route: str | None
    auth: str | None
    """``none`` or ``required``; None without a route."""

    params: tuple[tuple[str, str], ...]
    misses: tuple[Miss, ...]
    """The nearest of the routes that lost, nearest first."""

    more_misses: int
    """How many routes lost besides."""

    steps: tuple[Step, ...]
    caller: Caller | None
    """Who was let in; None on public routes, for those who were not, and while somebody would have to be asked."""

    asks: str
    """Who would have to be asked about the caller; what comes after that is shown as if they said yes. Empty for nobody."""

    target: str | None
    """``proxy``, ``fixed``, ``redirect`` or ``mount``; None if the request does not get that far."""

    branches: tuple[Branch, ...]
    upstream: str | None
    """The one of `branches` that would be asked; None if there is none, or if chance decides."""

    forwarded: Forwarded | None
    answer: Answer | None
    """None if the answer would come from an upstream or a mounted resource."""

    def as_dict(self) -> dict[str, Any]:
        """For JSON; pairs are lists."""
        return attrs.asdict(self)
