"""
What a configuration may say: frozen, hashable pydantic models, one per noun.

A spec is its own identity: equal specs claim the same resident, so a reload keeps what did not change. Everything is
therefore a tuple, never a list or dict. Keys in files are lower-case with hyphens; attribute literals below are the text
of the reference page and of the JSON Schema.
"""

from __future__ import annotations

import ipaddress
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema, model_validator

from suuupra_gateway.config.units import Duration, Percent, Size


def _hyphens(name: str) -> str:
    return name.rstrip("_").replace("_", "-")


class Spec(BaseModel):
    """The base of everything configurable: frozen, hashable, unknown keys refused."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        alias_generator=_hyphens,
        populate_by_name=True,
        use_attribute_docstrings=True,
        validate_default=False,
        arbitrary_types_allowed=False,
    )


def _pairs(value: object) -> object:
    return tuple(value.items()) if isinstance(value, dict) else value


Pairs = Annotated[
    tuple[tuple[str, str], ...],
    BeforeValidator(_pairs),
    WithJsonSchema({"type": "object", "additionalProperties": {"type": "string"}}),
]
"""A mapping of strings, kept as pairs in file order."""


def _cidr(value: str) -> str:
    ipaddress.ip_network(value, strict=True)
    return value


Cidr = Annotated[str, AfterValidator(_cidr)]
"""An address range such as ``10.0.0.0/8`` or ``fd00::/8``; a single address is one too."""

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$")]


# -- the process ------------------------------------------------------------------------------------------------------


class ProcessSpec(Spec):
    """``gateway:``, what concerns the whole process tree."""

    name: Name = "suuupra"
    """The gateway's pseudonym in ``Via`` and ``Proxy-Status``; also how loops are noticed."""

    workers: Literal["auto"] | Annotated[int, Field(ge=0, le=256)] = "auto"
    """Data processes: ``auto`` is one per core that we may use; 0 serves from the supervisor itself (development)."""

    drain: Duration = Duration(30.0)
    """How long exchanges may go on after SIGTERM, and on workers that are being replaced."""

    run_dir: str = ""
    """Where plans are handed to workers; by default ``$RUNTIME_DIRECTORY``, else a private temporary directory."""

    restart_backoff: tuple[Duration, Duration] = (Duration(0.1), Duration(10.0))
    """First and longest pause before a worker that died is started again; doubled each time it dies young."""

    trusted_proxies: tuple[Cidr, ...] = ()
    """Peers whose ``X-Forwarded-*``, ``Forwarded`` and ``X-Request-Id`` are believed."""

    identity_headers: tuple[str, ...] = (
        "X-User-Id",
        "X-User-Roles",
        "X-Tenant-Id",
        "X-Consumer-*",
        "X-Auth-*",
        "X-Suuupra-*",
    )
    """Names that only the gateway may set: removed from every request, compared without case and with ``_`` as ``-``."""

    forwarded: Literal["x-forwarded", "rfc7239", "both"] = "x-forwarded"
    """Which forwarding fields upstreams get."""


class AccessLogSpec(Spec):
    """``access-log:``, one JSON line per request."""

    path: str = "-"
    """A file (reopened on SIGUSR1), ``-`` for standard output, ``journald``, or ``off``."""

    query: bool = False
    """Whether query strings are written; they often hold secrets."""


class AdminSpec(Spec):
    """``admin:``, the supervisor's own listener: metrics, health, API."""

    address: str = "127.0.0.1:9900"
    """``host:port``, ``[v6]:port`` or ``unix:/path``; or ``off``."""

    hosts: tuple[str, ...] = ("localhost",)
    """Further ``Host`` names that are answered; addresses of the listener always are (DNS rebinding)."""


# -- listeners --------------------------------------------------------------------------------------------------------


class ListenerLimits(Spec):
    """Sizes and counts; what exceeds them is refused as semantics demand, never forwarded."""

    request_line: Size = Size(8 * 1024)
    """Longest request line; 414."""

    head: Size = Size(32 * 1024)
    """All header fields together; 431."""

    headers: Annotated[int, Field(ge=1, le=10_000)] = 100
    """Most header fields; 431."""

    body: Size = Size(10 * 1024 * 1024)
    """Longest request body unless a route's ``body-limit`` says otherwise; 413."""

    requests: Annotated[int, Field(ge=1)] = 1000
    """Requests on one connection before it is closed."""

    connections: Annotated[int, Field(ge=1)] = 10_000
    """Open connections per worker; more are closed at once."""

    pipeline: Annotated[int, Field(ge=1, le=1000)] = 16
    """Requests of one connection read ahead while an earlier one is being answered."""


class ListenerTimeouts(Spec):
    """How long a client may take."""

    head: Duration = Duration(10.0)
    """From the first byte of a request to the end of its head; 408."""

    idle: Duration = Duration(75.0)
    """Between requests of a connection."""

    body: Duration = Duration(30.0)
    """Between two pieces of a request's body; 408."""

    write: Duration = Duration(60.0)
    """How long a client may take nothing of an answer that waits for it."""

    min_body_rate: Size = Size(100)
    """Bytes per second that a body must reach on average after its first ``body`` seconds; 408. 0 turns it off."""


class ListenerSpec(Spec):
    """A bound socket and how to speak on it."""

    name: Name
    """Unique; in log and metrics."""

    address: str
    """``host:port``, ``[v6]:port``, ``unix:/path``, or ``systemd:NAME`` (a socket unit's ``FileDescriptorName``)."""

    share: Literal["auto", "inherit", "reuseport"] = "auto"
    """How workers share it: one inherited socket, or one ``SO_REUSEPORT`` socket each, kept by the supervisor."""

    backlog: Annotated[int, Field(ge=1, le=65535)] = 4096
    """Connections that the kernel queues."""

    proxy_protocol: bool = False
    """Expect a PROXY protocol header (v1 or v2) from ``trusted-proxies``, and refuse connections without one."""

    underscores: Literal["drop", "reject", "keep"] = "drop"
    """What to do with header names that hold ``_`` or ``.``: WSGI turns ``X_User_Id`` into ``X-User-Id``."""

    merge_slashes: bool = True
    """Whether ``//`` in a path is taken as ``/``."""

    limits: ListenerLimits = ListenerLimits()
    timeouts: ListenerTimeouts = ListenerTimeouts()


# -- upstreams --------------------------------------------------------------------------------------------------------


class EndpointSpec(Spec):
    """An endpoint with a weight. A plain string is the address alone."""

    url: str
    """``http://host:port``, ``https://host:port`` or ``unix:/path``."""

    weight: Annotated[int, Field(ge=0, le=1000)] = 1
    """Share of the traffic relative to the others; 0 gets none."""

    @model_validator(mode="before")
    @classmethod
    def _from_string(cls, value: Any) -> Any:
        return {"url": value} if isinstance(value, str) else value


class UpstreamTimeouts(Spec):
    """How long an upstream may take."""

    connect: Duration = Duration(1.0)
    """TCP handshake."""

    tls: Duration = Duration(2.0)
    """TLS handshake."""

    first_byte: Duration = Duration(10.0)
    """Per attempt, from the whole request sent to the head of the answer."""

    idle: Duration = Duration(30.0)
    """Between two pieces of the answer."""

    total: Duration = Duration(15.0)
    """Everything, all attempts included; 0 for streams without an end."""

    pool: Duration = Duration(1.0)
    """Waiting for a connection while the peer's pool is full."""


class RetrySpec(Spec):
    """When a failed attempt is repeated on another peer."""

    attempts: Annotated[int, Field(ge=1, le=10)] = 2
    """Attempts in all; 1 turns retries off."""

    budget: Percent = Percent(0.2)
    """Most retries as a share of the upstream's active requests, with a floor of 3."""

    statuses: tuple[Annotated[int, Field(ge=500, le=599)], ...] = (502, 503, 504)
    """Answers that are worth another attempt for idempotent methods."""

    idempotency_key: str = ""
    """Header (such as ``Idempotency-Key``) whose presence makes POST and PATCH repeatable; empty for none."""

    buffer: Size = Size(64 * 1024)
    """Bodies up to this size are kept for replay; longer ones are sent once."""

    pause: tuple[Duration, Duration] = (Duration(0.025), Duration(0.25))
    """First and longest pause between attempts; the actual one is random between zero and that (full jitter)."""


class BalanceSpec(Spec):
    """How to choose among peers. A plain string is the policy alone."""

    policy: Literal["least-request", "round-robin", "random", "hash"] = "least-request"
    """``least-request`` takes the better of two random peers; ``hash`` keeps a key on a peer (rendezvous)."""

    key: str = "client"
    """For ``hash``: ``client``, ``path``, ``header:NAME`` or ``cookie:NAME``."""

    @model_validator(mode="before")
    @classmethod
    def _from_string(cls, value: Any) -> Any:
        return {"policy": value} if isinstance(value, str) else value


class UpstreamTLS(Spec):
    """How to trust ``https://`` endpoints."""

    ca_file: str = ""
    """PEM bundle of trusted authorities; empty for the system's."""

    server_name: str = ""
    """Name for SNI and for the certificate; empty for the endpoint's host."""

    certificate: str = ""
    """PEM file with our client certificate chain; may hold the key too."""

    key: str = ""
    """PEM file with the client certificate's key."""

    verify: bool = True
    """Never turn this off outside of tests."""


class PoolSpec(Spec):
    """Connections to one peer, per worker."""

    idle: Annotated[int, Field(ge=0)] = 64
    """Most idle connections kept."""

    idle_timeout: Duration = Duration(50.0)
    """How long an idle connection is kept; keep it below the upstream's own keep-alive time."""

    connections: Annotated[int, Field(ge=1)] = 1024
    """Most connections in all; more requests wait (``timeouts.pool``), then 503."""

    waiting: Annotated[int, Field(ge=0)] = 1024
    """Most requests that wait for a connection."""

    requests: Annotated[int, Field(ge=1)] = 100_000
    """Requests on one connection before it is closed."""


class UpstreamSpec(Spec):
    """A named set of endpoints and how to choose among them."""

    name: Name = "unnamed"
    """Taken from the key."""

    endpoints: Annotated[tuple[EndpointSpec, ...], Field(min_length=1)]
    balance: BalanceSpec = BalanceSpec()
    timeouts: UpstreamTimeouts = UpstreamTimeouts()
    retry: RetrySpec = RetrySpec()
    pool: PoolSpec = PoolSpec()
    tls: UpstreamTLS = UpstreamTLS()
    max_head: Size = Size(64 * 1024)
    """Longest head of an answer; 502."""


# -- routes -----------------------------------------------------------------------------------------------------------


class MatchSpec(Spec):
    """Which requests a route takes. Everything named must match."""

    host: str = ""
    """``api.example.org`` or ``*.example.org`` (one or more labels); empty for any."""

    path: str = ""
    """Exact path, or a template: ``/users/{id}`` one segment, ``/files/{rest*}`` the rest, which may be empty."""

    prefix: str = ""
    """Path prefix of whole segments: ``/v1`` takes ``/v1`` and ``/v1/x``, not ``/v1x``."""

    regex: str = ""
    """RE2 expression for the whole path (linear time)."""

    methods: tuple[Annotated[str, Field(pattern=r"^[A-Z][A-Z-]*$")], ...] = ()
    """Upper-case; empty for any. HEAD follows GET."""

    headers: Pairs = ()
    """Name to value; ``*`` for any value, ``~`` and an RE2 expression for a pattern."""

    query: Pairs = ()
    """Parameter to value, as for headers."""


class RouteTestRequest(Spec):
    """A request to try: ``GET /path`` or the long form."""

    method: str = "GET"
    url: str
    headers: Pairs = ()

    @model_validator(mode="before")
    @classmethod
    def _from_string(cls, value: Any) -> Any:
        if isinstance(value, str):
            method, _, url = value.strip().partition(" ")
            return {"method": method, "url": url.strip()} if url else {"url": method}
        return value


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


class RouteTestSpec(Spec):
    """A test of the configuration, run by ``check`` and by every worker before it accepts a plan."""

    request: RouteTestRequest
    expect: RouteTestExpect


class SplitSpec(Spec):
    """One branch of a weighted split."""

    upstream: Name
    weight: Annotated[int, Field(ge=0, le=100_000)]


class ProxySpec(Spec):
    """Forward to an upstream, or to one of several by weight."""

    upstream: Name | None = None
    split: tuple[SplitSpec, ...] = ()
    sticky: str = ""
    """For ``split``: ``client``, ``header:NAME`` or ``cookie:NAME`` keeps a caller on its branch; empty for random."""

    override_header: str = ""
    """For ``split``: a header whose value names the branch to take; for testers."""

    host: Literal["keep", "upstream"] = "keep"
    """Which ``Host`` the upstream sees: the client's, or its own address."""

    timeouts: UpstreamTimeouts | None = None
    """In place of the upstream's own."""

    retry: RetrySpec | None = None
    """In place of the upstream's own."""

    @model_validator(mode="after")
    def _one_of(self) -> ProxySpec:
        if (self.upstream is None) == (not self.split):
            raise ValueError("give either upstream or split")
        if self.split and not any(branch.weight for branch in self.split):
            raise ValueError("at least one branch of split needs a weight above 0")
        return self


class FixedSpec(Spec):
    """Answer with a constant."""

    status: Annotated[int, Field(ge=200, le=599)] = 200
    body: str = ""
    content_type: str = "text/plain; charset=utf-8"
    headers: Pairs = ()


class RedirectSpec(Spec):
    """Send the client elsewhere."""

    to: str
    """Absolute URL or path; ``{name}`` stands for a template parameter, ``{path}``, ``{query}``, ``{host}`` likewise."""

    status: Literal[301, 302, 303, 307, 308] = 308


class MountSpec(Spec):
    """Serve any Twisted Web resource tree below the route's prefix."""

    resource: str
    """``package.module:name`` of an `IResource` or of a callable that returns one."""


class TargetSpec(Spec):
    """Exactly one target."""

    proxy: ProxySpec | None = None
    fixed: FixedSpec | None = None
    redirect: RedirectSpec | None = None
    mount: MountSpec | None = None

    @model_validator(mode="after")
    def _exactly_one(self) -> TargetSpec:
        if sum(getattr(self, name) is not None for name in type(self).model_fields) != 1:
            raise ValueError(f"give exactly one of {', '.join(type(self).model_fields)}")
        return self


class FilterEntry(Spec):
    """
    One filter of a route: exactly one key, the filter's kind.

    The real model has one optional field per known kind; `gateway_model` makes it.
    """

    @property
    def kind(self) -> str:
        """Name of the filter's kind."""
        return next(_hyphens(name) for name in type(self).model_fields if getattr(self, name) is not None)

    @property
    def spec(self) -> Spec:
        """The filter's own spec."""
        found: Spec = next(getattr(self, name) for name in type(self).model_fields if getattr(self, name) is not None)
        return found

    @model_validator(mode="after")
    def _exactly_one(self) -> FilterEntry:
        fields = type(self).model_fields
        if sum(getattr(self, name) is not None for name in fields) != 1:
            raise ValueError(f"give exactly one filter per entry: {', '.join(map(_hyphens, fields))}")
        return self


class RouteSpec(Spec):
    """A match, its filters, its target."""

    name: Name
    match: MatchSpec = MatchSpec()
    priority: Annotated[int, Field(ge=-1000, le=1000)] = 0
    """Above all other rules of precedence; higher goes first."""

    auth: Literal["none"] | None = None
    """Routes are private unless ``none`` is written."""

    filters: tuple[FilterEntry, ...] = ()
    target: TargetSpec
    escapes: Literal["reject", "keep", "redirect"] = "reject"
    """What to do with ``%2F``, ``%5C`` and ``%00`` in the path: refuse, forward as they are, or redirect to the decoded path."""

    redirect_trailing_slash: bool = False
    """Redirect (308) between ``/x`` and ``/x/`` when only the other one matches."""

    allow_shadowed: bool = False
    """Accept that other routes take all of this one's requests."""

    tests: tuple[RouteTestSpec, ...] = ()


def _named(value: object) -> object:
    """A mapping of names to specs becomes a tuple of specs that know their name."""
    if isinstance(value, dict):
        return tuple({**spec, "name": name} if isinstance(spec, dict) else spec for name, spec in value.items())
    return value


class GatewayConfig(Spec):
    """A whole configuration."""

    gateway: ProcessSpec = ProcessSpec()
    admin: AdminSpec = AdminSpec()
    access_log: AccessLogSpec = AccessLogSpec()
    listeners: Annotated[tuple[ListenerSpec, ...], Field(min_length=1)]
    upstreams: Annotated[tuple[UpstreamSpec, ...], BeforeValidator(_named)] = ()
    routes: tuple[RouteSpec, ...] = ()
    plugins: tuple[str, ...] = ()
    """Python files with filters of your own, loaded by path; installed packages are found by entry point."""
