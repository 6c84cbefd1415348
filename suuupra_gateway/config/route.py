"""
``routes:``, each a match, its filters, its target, and its tests.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field

from suuupra_gateway.config.auth import AuthSpec
from suuupra_gateway.config.spec import (
    METHOD,
    Flag,
    HeaderPairs,
    JsonObject,
    Name,
    OneOf,
    Pairs,
    Shorthand,
    Spec,
    absolute_path,
    host_pattern,
)
from suuupra_gateway.config.target import TargetSpec


class MatchSpec(Spec):
    """Which requests a route takes. Everything named must match."""

    host: Annotated[str, AfterValidator(host_pattern)] = ""
    """``api.example.org`` or ``*.example.org`` (one or more labels); empty for any."""

    path: Annotated[str, AfterValidator(absolute_path)] = ""
    """Exact path, or a template: ``/users/{id}`` one segment, ``/files/{rest*}`` the rest, which may be empty."""

    prefix: Annotated[str, AfterValidator(absolute_path)] = ""
    """Path prefix of whole segments: ``/v1`` takes ``/v1`` and ``/v1/x``, not ``/v1x``."""

    regex: str = ""
    """RE2 expression for the whole path (linear time)."""

    methods: tuple[Annotated[str, Field(pattern=METHOD)], ...] = ()
    """Upper-case; empty for any. HEAD follows GET."""

    headers: HeaderPairs = ()
    """Name to value; ``*`` for any value, ``~`` and an RE2 expression for a pattern."""

    query: Pairs = ()
    """Parameter to value, as for headers."""


class PrincipalSpec(Shorthand):
    """Somebody who is let in, whatever credential was shown: for tests and ``explain``. A plain string is who it is."""

    short_form = "Who it is."

    subject: Annotated[str, Field(min_length=1)] = "somebody"
    """Who it is."""

    credential: Literal["jwt", "api-key", "session", "introspection", "forward-auth", "client-certificate"] | None = (
        None
    )
    """By what; by default the first that the route takes."""

    provider: str = ""
    """Who vouches; by default whoever does for that credential of the route."""

    scopes: tuple[str, ...] = ()
    """What was granted."""

    roles: tuple[str, ...] = ()
    """What the caller is."""

    tenant: str = ""
    """For whom."""

    key: str = ""
    """Id of the API key."""

    claims: JsonObject = "{}"
    """What else is known: claims by name, as a token would have them."""

    @classmethod
    def unfold(cls, value: str) -> dict[str, Any]:
        """Who it is."""
        return {"subject": value}


class RouteTestRequest(Shorthand):
    """A request to try: ``GET /path`` or the long form."""

    short_form = "Method and URL, as in ``GET /path``."

    method: Annotated[str, Field(pattern=METHOD)] = "GET"
    """Its method."""

    url: Annotated[str, Field(min_length=1)]
    """Absolute, or a path with or without query."""

    headers: HeaderPairs = ()
    """Its header fields. Tokens that can be checked without asking anybody are."""

    principal: PrincipalSpec | None = None
    """Who sends it, as if a credential of the route had said so. Without one only what ``headers`` hold counts."""

    @classmethod
    def unfold(cls, value: str) -> dict[str, Any]:
        """Method and URL; without a method it is GET."""
        method, _, url = value.strip().partition(" ")
        return {"method": method, "url": url.strip()} if url else {"url": method}


class RouteTestExpect(Spec):
    """What must come of it; what is left out is not compared."""

    route: str | None = None
    """Name of the route; ``none`` for no route."""

    status: int | None = None
    """Status of the gateway's own answer, if it makes one."""

    upstream: str | None = None
    """Name of the upstream, for routes with a single one."""

    path: str | None = None
    """Path and query that the upstream would see."""

    auth: Literal["none", "required"] | None = None
    """Whether the route is public. ``required``: it is private; whether the caller gets in is seen by ``status``."""


class RouteTestSpec(Spec):
    """A test of the configuration, run by ``check`` and by every worker before it accepts a plan."""

    request: RouteTestRequest
    """What is asked."""

    expect: RouteTestExpect
    """What must come of it."""


class FilterEntry(OneOf):
    """
    One filter of a route: exactly one key, the filter's kind.

    The real model has one optional field per known kind; `gateway_model` makes it.
    """


class RouteSpec(Spec):
    """A match, its filters, its target."""

    name: Name
    """Unique; in log, metrics and ``explain``."""

    match: MatchSpec = MatchSpec()
    """Which requests it takes; all of them by default."""

    priority: Annotated[int, Field(ge=-1000, le=1000)] = 0
    """Above all other rules of precedence; higher goes first."""

    auth: Literal["none"] | AuthSpec | None = None
    """Who may use it. Routes are private unless ``none`` is written."""

    filters: tuple[FilterEntry, ...] = ()
    """What is done on the way, in this order inside each phase."""

    target: TargetSpec
    """Who answers."""

    escapes: Literal["reject", "keep", "redirect"] = "reject"
    """What to do with ``%2F``, ``%5C`` and ``%00`` in the path: refuse, forward as they are, or redirect to the decoded path."""

    redirect_trailing_slash: Flag = False
    """Redirect (308) between ``/x`` and ``/x/`` when only the other one matches."""

    allow_shadowed: Flag = False
    """Accept that other routes take all of this one's requests."""

    tests: tuple[RouteTestSpec, ...] = ()
    """Requests with what must come of them; run before a configuration is accepted."""
