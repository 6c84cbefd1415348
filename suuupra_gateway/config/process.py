"""
``gateway:``, ``admin:`` and ``access-log:``: what concerns the process tree as a whole.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from suuupra_gateway.config.address import admin_address
from suuupra_gateway.config.spec import NAMES, Cidr, Flag, Name, Named, Spec
from suuupra_gateway.config.store import StoreSpec
from suuupra_gateway.config.units import Duration, Secret

AdminScope = Literal["keys.read", "keys.write", "revoke"]
"""What a token of the admin API may be allowed: to read about API keys, to change them, to revoke sessions and tokens."""


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

    state_dir: str = ""
    """What must outlive restarts (key sets, API keys); by default ``$STATE_DIRECTORY``, else nothing does."""

    store: StoreSpec | None = None
    """The Redis that all machines share. Without one this host is alone, and keeps what it must in files of its own."""

    restart_backoff: tuple[Duration, Duration] = (Duration(0.1), Duration(10.0))
    """First and longest pause before a worker that died is started again; doubled each time it dies young."""

    trusted_proxies: tuple[Cidr, ...] = ()
    """Peers whose ``X-Forwarded-*``, ``Forwarded`` and ``X-Request-Id`` are believed."""

    identity_headers: tuple[Annotated[str, Field(pattern=NAMES)], ...] = (
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

    query: Flag = False
    """Whether query strings are written; they often hold secrets."""


class AdminTokenSpec(Spec):
    """A bearer token for the admin API."""

    name: Name = ""
    """The key under ``tokens``; in the audit log."""

    secret: Secret
    """At least 32 characters."""

    scopes: Annotated[tuple[AdminScope, ...], Field(min_length=1)]
    """What it may do."""


class AdminSpec(Spec):
    """``admin:``, the supervisor's own listener: metrics, health, API."""

    address: Annotated[str, AfterValidator(admin_address)] = "127.0.0.1:9900"
    """``host:port``, ``[v6]:port`` or ``unix:/path``; or ``off``."""

    tokens: Annotated[tuple[AdminTokenSpec, ...], Named(AdminTokenSpec)] = ()
    """By name: who may do more than look at the state. On a UNIX socket its permissions decide, and everything is allowed."""

    hosts: tuple[str, ...] = ("localhost",)
    """Further ``Host`` names that are answered; addresses of the listener always are (DNS rebinding)."""
