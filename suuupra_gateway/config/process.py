"""
``gateway:``, ``admin:`` and ``access-log:``: what concerns the process tree as a whole.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from suuupra_gateway.config.address import admin_address
from suuupra_gateway.config.spec import Cidr, Flag, Name, Spec
from suuupra_gateway.config.units import Duration


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

    query: Flag = False
    """Whether query strings are written; they often hold secrets."""


class AdminSpec(Spec):
    """``admin:``, the supervisor's own listener: metrics, health, API."""

    address: Annotated[str, AfterValidator(admin_address)] = "127.0.0.1:9900"
    """``host:port``, ``[v6]:port`` or ``unix:/path``; or ``off``."""

    hosts: tuple[str, ...] = ("localhost",)
    """Further ``Host`` names that are answered; addresses of the listener always are (DNS rebinding)."""
