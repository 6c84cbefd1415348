"""
Who is calling, and the ways a credential can turn out.

A credential (`suuupra_gateway.interfaces.Credential`) answers with one of: a `Principal` (yes, and it was decided here and now);
`Cached` (yes, by an earlier decision of somebody else); None (nothing of mine in this request); `Refused` (it is mine, and no
good); `Undecided` (whoever decides cannot be asked, and there is no decision to go by); or a `Reply`, which is the answer.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import inf
from typing import Any, Final, Literal

import attrs

Source = Literal["live", "fresh", "revalidate", "stale"]
"""Where a decision came from: made for this request, or an earlier one in the first, second or third of its clocks."""

_NOTHING: Final[Mapping[str, Any]] = {}


@attrs.frozen(eq=False, slots=True)
class Principal:
    """
    Who is calling. Shared between all requests that show the same credential, so compare by identity; never edited.

    ``claims`` is what the credential says, as JSON values; texts in it come from outside.
    """

    subject: str
    """Who, as the provider calls them; never empty."""

    credential: str
    """By what kind: ``jwt``, ``api-key``, ``session``, ``introspection``, ``forward-auth`` or ``client-certificate``."""

    provider: str = ""
    """Name of the provider, login, introspection or forward-auth that vouches."""

    scopes: frozenset[str] = frozenset()
    roles: frozenset[str] = frozenset()
    tenant: str = ""
    claims: Mapping[str, Any] = _NOTHING

    key: str = ""
    """Id of the API key, if it was one; of the session, if it was one of those."""

    tier: str = ""
    """Which tier of limits holds; empty for the usual one."""

    limits: tuple[tuple[str, str], ...] = ()
    """Limits of this caller's own that go before those of the route, by policy: for the limiter."""

    expires: float = inf
    """UNIX time after which this must not be used any more; WebSockets close then."""

    fields: tuple[tuple[bytes, bytes], ...] = ()
    """Header fields for upstreams that whoever decided has given; names lower-case."""

    tags: tuple[str, ...] = ()
    """By what it can be revoked: ``key:ID``, ``session:ID``, ``subject:PROVIDER:SUBJECT``, ``token:HASH``."""

    admissions: dict[object, object] = attrs.field(factory=dict, init=False, repr=False)
    """What routes have made of it, by route filter: computed once per principal. For `filters.auth` only."""


@attrs.frozen(slots=True)
class Cached:
    """A principal that was accepted before."""

    principal: Principal
    source: Source
    age: float
    """Seconds since it was decided."""


@attrs.frozen(slots=True)
class Refused:
    """A credential was shown, and it is no good."""

    reason: str
    """A stable word for log, metrics and ``explain``, such as ``expired``; the client is not told."""

    detail: str = ""
    """The rest, for the log; never the credential itself."""

    error: str = "invalid_token"
    """The error code of RFC 6750 section 3.1 for ``WWW-Authenticate``."""

    status: Literal[400, 401, 403] = 401
    """403 for what no other credential of the same kind would help, such as an address from which a key may not come."""

    source: Source = "live"


@attrs.frozen(slots=True)
class Undecided:
    """Whoever decides cannot be asked now, and there is no decision to go by."""

    reason: str
    """As `Refused.reason`."""

    detail: str = ""
    retry_after: float = 5.0
    """Seconds after which asking again makes sense."""


UNASKED: Final = Undecided("unasked", "somebody would have to be asked")
"""What credentials answer to a glance (see `filters.rehearsal`) where only asking would tell."""
