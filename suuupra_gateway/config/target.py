"""
``target:``, the leaf that answers a route's requests.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from suuupra_gateway.config.spec import FIELD_VALUE, OBJECT, STICKY, HeaderName, HeaderPairs, Name, OneOf, Spec
from suuupra_gateway.config.units import expected
from suuupra_gateway.config.upstream import RetrySpec, UpstreamTimeouts


class SplitSpec(Spec):
    """One branch of a weighted split."""

    upstream: Name
    """Its name."""

    weight: Annotated[int, Field(ge=0, le=100_000)]
    """Share of the requests relative to the other branches; 0 gets none."""


class ProxySpec(Spec):
    """Forward to an upstream, or to one of several by weight."""

    upstream: Name | None = None
    """Name of an upstream."""

    split: tuple[SplitSpec, ...] = ()
    """In place of ``upstream``: several, each with its weight."""

    sticky: Annotated[str, Field(pattern=STICKY)] = ""
    """For ``split``: ``client``, ``header:NAME`` or ``cookie:NAME`` keeps a caller on its branch; empty for random."""

    override_header: HeaderName | Literal[""] = ""
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
            raise expected("either upstream or split")
        if self.split and not any(branch.weight for branch in self.split):
            raise expected("at least one branch of split with a weight above 0")
        return self


class FixedSpec(Spec):
    """Answer with a constant."""

    status: Annotated[int, Field(ge=200, le=599)] = 200
    """The status."""

    body: str = ""
    """The body."""

    content_type: Annotated[str, Field(pattern=FIELD_VALUE)] = "text/plain; charset=utf-8"
    """What the body is."""

    headers: HeaderPairs = ()
    """Further fields of the answer."""


class RedirectSpec(Spec):
    """Send the client elsewhere."""

    to: Annotated[str, Field(min_length=1, pattern=FIELD_VALUE)]
    """Absolute URL or path; ``{name}`` stands for a template parameter, ``{path}``, ``{query}``, ``{host}`` likewise."""

    status: Literal[301, 302, 303, 307, 308] = 308
    """The status; 308 keeps the method."""


class MountSpec(Spec):
    """Serve any Twisted Web resource tree below the route's prefix."""

    resource: Annotated[str, Field(pattern=OBJECT)]
    """``package.module:name`` of an `IResource` or of a callable that returns one."""


class TargetSpec(OneOf):
    """Exactly one target."""

    proxy: ProxySpec | None = None
    """Forward to an upstream."""

    fixed: FixedSpec | None = None
    """Answer with a constant."""

    redirect: RedirectSpec | None = None
    """Send the client elsewhere."""

    mount: MountSpec | None = None
    """Serve a Twisted Web resource tree."""
