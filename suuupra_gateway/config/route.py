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


class RouteTestRequest(Shorthand):
    """A request to try: ``GET /path`` or the long form."""

    short_form = "Method and URL, as in ``GET /path``."

    method: Annotated[str, Field(pattern=METHOD)] = "GET"
    """Its method."""

    url: Annotated[str, Field(min_length=1)]
    """Absolute, or a path with or without query."""

    headers: HeaderPairs = ()
    """Its header fields."""

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
    """Whether the route is public."""


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
