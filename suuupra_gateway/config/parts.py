"""
What checks go by: the well-formed parts of a configuration; and the words that checks share.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Final

import attrs

from suuupra_gateway.config.findings import Finding, Loc
from suuupra_gateway.config.identity import IdentitySpec
from suuupra_gateway.config.listener import ListenerSpec
from suuupra_gateway.config.process import AccessLogSpec, AdminSpec, ProcessSpec
from suuupra_gateway.config.route import RouteSpec
from suuupra_gateway.config.units import Duration, Secret
from suuupra_gateway.config.upstream import UpstreamSpec
from suuupra_gateway.config.wording import among, similar

SECRET_LENGTH: Final = 32
"""Characters that a secret has at least: with fewer, trying them all would be worth somebody's while."""


@attrs.frozen(eq=False)
class Parts:
    """The well-formed parts of a configuration. A section that is not is missing here."""

    gateway: ProcessSpec | None
    admin: AdminSpec | None
    access_log: AccessLogSpec | None
    identity: IdentitySpec | None
    plugins: tuple[str, ...]
    listeners: Mapping[int, ListenerSpec]
    upstreams: Mapping[str, UpstreamSpec]
    routes: Mapping[int, RouteSpec]
    upstream_names: tuple[str, ...]
    """Of all that were written, well-formed or not."""

    route_names: Mapping[str, int]
    """Of all that were written, each with the first route that has it."""

    identity_names: Mapping[str, tuple[str, ...]]
    """
    By key of ``identity``: the names of all that were written there, well-formed or not. Keys that hold no names have none.
    """


Check = Callable[[Parts], Iterator[Finding]]
RouteCheck = Callable[[Parts, int, RouteSpec], Iterator[Finding]]


def unknown(loc: Loc, what: str, name: str, known: Iterable[str], plural: str = "") -> Finding:
    """Nothing of this kind has this name."""
    known = tuple(known)
    return Finding(loc, f"there is no {what} {name}", similar(name, known) or among(known, plural or f"{what}s"))


def growing(loc: Loc, pause: tuple[Duration, Duration]) -> Iterator[Finding]:
    """The first pause is the shorter one."""
    if pause[0] > pause[1]:
        yield Finding(loc, f"the first pause ({pause[0]}) is longer than the longest ({pause[1]})")


def readable(loc: Loc, path: str) -> Iterator[Finding]:
    """The file is there and may be read."""
    if not os.path.isfile(path):
        yield Finding(loc, f"there is no file {path}")
    elif not os.access(path, os.R_OK, effective_ids=True):
        yield Finding(loc, f"cannot read {path}", "check its permissions")


def long_enough(loc: Loc, secret: Secret, what: str) -> Iterator[Finding]:
    """The secret is long enough not to be guessed; it is never shown."""
    if len(secret.reveal()) < SECRET_LENGTH:
        yield Finding(loc, f"{what} has at least {SECRET_LENGTH} characters", "make one with: openssl rand -base64 48")
