"""
``upstreams:``, named sets of endpoints and how to choose among them.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field

from suuupra_gateway.config.address import endpoint_url
from suuupra_gateway.config.spec import KEY, FilePath, Flag, HeaderName, Name, Positive, Shorthand, Spec
from suuupra_gateway.config.units import Duration, Percent, Size


class EndpointSpec(Shorthand):
    """An endpoint with a weight. A plain string is the address alone."""

    short_form = "The address alone."

    url: Annotated[str, AfterValidator(endpoint_url)]
    """``http://host:port``, ``https://host:port`` or ``unix:/path``."""

    weight: Annotated[int, Field(ge=0, le=1000)] = 1
    """Share of the traffic relative to the others; 0 gets none."""

    @classmethod
    def unfold(cls, value: str) -> dict[str, Any]:
        """The address alone."""
        return {"url": value}


class UpstreamTimeouts(Spec):
    """How long an upstream may take."""

    connect: Positive = Duration(1.0)
    """TCP handshake."""

    tls: Positive = Duration(2.0)
    """TLS handshake."""

    first_byte: Positive = Duration(10.0)
    """Per attempt, from the whole request sent to the head of the answer."""

    idle: Positive = Duration(30.0)
    """Between two pieces of the answer."""

    total: Duration = Duration(15.0)
    """Everything, all attempts included; 0 for streams without an end."""

    pool: Positive = Duration(1.0)
    """Waiting for a connection while the peer's pool is full."""


class RetrySpec(Spec):
    """When a failed attempt is repeated on another peer."""

    attempts: Annotated[int, Field(ge=1, le=10)] = 2
    """Attempts in all; 1 turns retries off."""

    budget: Percent = Percent(0.2)
    """Most retries as a share of the upstream's active requests, with a floor of 3."""

    statuses: tuple[Annotated[int, Field(ge=500, le=599)], ...] = (502, 503, 504)
    """Answers that are worth another attempt for idempotent methods."""

    idempotency_key: HeaderName | Literal[""] = ""
    """Header (such as ``Idempotency-Key``) whose presence makes POST and PATCH repeatable; empty for none."""

    buffer: Size = Size(64 * 1024)
    """Bodies up to this size are kept for replay; longer ones are sent once."""

    pause: tuple[Duration, Duration] = (Duration(0.025), Duration(0.25))
    """First and longest pause between attempts; the actual one is random between zero and that (full jitter)."""


class BalanceSpec(Shorthand):
    """How to choose among peers. A plain string is the policy alone."""

    short_form = "The policy alone."

    policy: Literal["least-request", "round-robin", "random", "hash"] = "least-request"
    """``least-request`` takes the better of two random peers; ``hash`` keeps a key on a peer (rendezvous)."""

    key: Annotated[str, Field(pattern=KEY)] = "client"
    """For ``hash``: ``client``, ``path``, ``header:NAME`` or ``cookie:NAME``."""

    @classmethod
    def unfold(cls, value: str) -> dict[str, Any]:
        """The policy alone."""
        return {"policy": value}


class UpstreamTLS(Spec):
    """How to trust ``https://`` endpoints."""

    ca_file: FilePath = ""
    """PEM bundle of trusted authorities; empty for the system's."""

    server_name: str = ""
    """Name for SNI and for the certificate; empty for the endpoint's host."""

    certificate: FilePath = ""
    """PEM file with our client certificate chain; may hold the key too."""

    key: FilePath = ""
    """PEM file with the client certificate's key."""

    verify: Flag = True
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
    """Where it is; at least one."""

    balance: BalanceSpec = BalanceSpec()
    """How to choose among peers."""

    timeouts: UpstreamTimeouts = UpstreamTimeouts()
    """How long it may take."""

    retry: RetrySpec = RetrySpec()
    """When a failed attempt is repeated."""

    pool: PoolSpec = PoolSpec()
    """Connections to one peer."""

    tls: UpstreamTLS = UpstreamTLS()
    """How to trust ``https://`` endpoints."""

    """How to trust ``https://`` endpoints."""

    max_head: Size = Size(64 * 1024)
    """Longest head of an answer; 502."""
