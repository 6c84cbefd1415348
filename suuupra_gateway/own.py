"""
Routes that nobody has written: the gateway makes them, because something else that is configured needs them.

They go before all others, and are shown wherever routes are shown.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import attrs
from twisted.web.resource import IResource

from suuupra_gateway.config.findings import Loc
from suuupra_gateway.config.model import AssertionSpec, FixedSpec, MatchSpec, RouteSpec, TargetSpec
from suuupra_gateway.config.spec import Name, Spec
from suuupra_gateway.targets.fixed import FixedResource

FIRST: Final = 1000
"""Their priority: nothing that is configured may get what they must get."""

KEYS_LIVE: Final = 300
"""Seconds for which the key set may be cached."""


@attrs.frozen(eq=False)
class OwnRoute:
    """One of them."""

    spec: RouteSpec
    target: IResource
    loc: Loc
    """What needs it."""


class LoginTargetSpec(Spec):
    """One endpoint of a login."""

    name: Name
    """Of which."""

    endpoint: str
    """``callback``, ``logout`` or ``backchannel-logout``."""


class OwnTargetSpec(TargetSpec):
    """Targets that cannot be written."""

    login: LoginTargetSpec | None = None
    """An endpoint of a login."""


def key_set(assertion: AssertionSpec, jwks: bytes) -> Iterator[OwnRoute]:
    """Where services fetch the keys that statements of who is calling are signed with."""
    if not assertion.jwks_path:
        return
    fixed = FixedSpec(
        body=jwks.decode("ascii"),
        content_type="application/jwk-set+json",
        headers=(("Cache-Control", f"public, max-age={KEYS_LIVE}"),),
    )
    match = MatchSpec(path=assertion.jwks_path, methods=("GET",))
    spec = _public("identity:keys", match, TargetSpec(fixed=fixed))
    yield OwnRoute(spec, FixedResource(fixed), ("identity", "assertion", "jwks-path"))


def login_endpoint(name: str, suffix: str, match: MatchSpec, target: IResource) -> OwnRoute:
    """Where browsers come back from logging in, and where they log out."""
    to = OwnTargetSpec(login=LoginTargetSpec(name=name, endpoint=suffix))
    return OwnRoute(_public(f"login:{name}:{suffix}", match, to), target, ("identity", "logins", name))


def _public(name: str, match: MatchSpec, target: TargetSpec) -> RouteSpec:
    """Its name holds a colon, which no name in a configuration can."""
    made = RouteSpec(name="own", match=match, priority=FIRST, auth="none", target=target)
    return made.model_copy(update={"name": name})
