"""
``listeners:``, the sockets that clients connect to.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from suuupra_gateway.config.address import listener_address
from suuupra_gateway.config.spec import Flag, Name, Positive, Spec
from suuupra_gateway.config.units import Duration, Size


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

    head: Positive = Duration(10.0)
    """From the first byte of a request to the end of its head; 408."""

    idle: Positive = Duration(75.0)
    """Between requests of a connection."""

    body: Positive = Duration(30.0)
    """Between two pieces of a request's body; 408."""

    write: Positive = Duration(60.0)
    """How long a client may take nothing of an answer that waits for it."""

    min_body_rate: Size = Size(100)
    """Bytes per second that a body must reach on average after its first ``body`` seconds; 408. 0 turns it off."""


class ListenerSpec(Spec):
    """A bound socket and how to speak on it."""

    name: Name
    """Unique; in log and metrics."""

    address: Annotated[str, AfterValidator(listener_address)]
    """``host:port``, ``[v6]:port``, ``unix:/path``, or ``systemd:NAME`` (a socket unit's ``FileDescriptorName``)."""

    share: Literal["auto", "inherit", "reuseport"] = "auto"
    """How workers share it: one inherited socket, or one ``SO_REUSEPORT`` socket each, kept by the supervisor."""

    backlog: Annotated[int, Field(ge=1, le=65535)] = 4096
    """Connections that the kernel queues."""

    proxy_protocol: Flag = False
    """Expect a PROXY protocol header (v1 or v2) from ``trusted-proxies``, and refuse connections without one."""

    underscores: Literal["drop", "reject", "keep"] = "drop"
    """What to do with header names that hold ``_`` or ``.``: WSGI turns ``X_User_Id`` into ``X-User-Id``."""

    merge_slashes: Flag = True
    """Whether ``//`` in a path is taken as ``/``."""

    limits: ListenerLimits = ListenerLimits()
    """Sizes and counts."""

    timeouts: ListenerTimeouts = ListenerTimeouts()
    """How long a client may take."""
