"""
``auth:`` of a route: by what callers must prove who they are, and what they must be allowed.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from suuupra_gateway.config.spec import Flag, Name, Named, OneOf, Spec
from suuupra_gateway.config.units import expected


class JwtSpec(Spec):
    """``Authorization: Bearer`` with a signed token."""

    provider: Name
    """Who must have issued it."""

    audiences: tuple[str, ...] = ()
    """``aud`` must name one of these too."""


class ApiKeySpec(Spec):
    """A key of our own."""

    query: str = ""
    """The query parameter that may hold it too. Such keys end in logs and browser histories, so there is none by default."""


class SessionCredentialSpec(Spec):
    """The session of a browser that has logged in; one that has not is sent to log in, programs get 401."""

    login: Name
    """By which login."""


class IntrospectedSpec(Spec):
    """``Authorization: Bearer`` with an opaque token."""

    by: Name
    """Whom to ask about it, under ``identity.introspection``."""


class ForwardedSpec(Spec):
    """Whatever a service of yours takes as proof."""

    by: Name
    """Whom to ask, under ``identity.forward-auth``."""


class CertificateSpec(Spec):
    """The certificate of the client."""

    subjects: tuple[str, ...] = ()
    """Who may come; empty for everybody with a valid one."""


class CredentialEntry(OneOf):
    """One way to prove who one is: exactly one key."""

    jwt: JwtSpec | None = None
    """A signed token."""

    api_key: ApiKeySpec | None = None
    """An API key."""

    session: SessionCredentialSpec | None = None
    """A browser's session."""

    introspection: IntrospectedSpec | None = None
    """An opaque token."""

    forward_auth: ForwardedSpec | None = None
    """A decision of another service."""

    client_certificate: CertificateSpec | None = None
    """A client certificate."""


class Wanted(Spec):
    """Some of these, all of these, or both."""

    any: tuple[str, ...] = ()
    """At least one of them."""

    all: tuple[str, ...] = ()
    """Every one of them."""


Scalar = str | int | float | bool


class ClaimSpec(Spec):
    """What a claim must be. Everything named must hold; of a list, for one of its members."""

    name: str = ""
    """Path of the claim; dots lead into objects."""

    equals: Scalar | None = None
    """Exactly this."""

    in_: Annotated[tuple[Scalar, ...], Field(alias="in")] = ()
    """One of these."""

    exists: Flag | None = None
    """Whether it must be there, or must not."""

    pattern: str = ""
    """An RE2 expression for the whole of a text."""


class AuthSpec(Spec):
    """Who may use a route."""

    any: tuple[CredentialEntry, ...] = ()
    """One of these must be shown. In this order; the first that is accepted counts."""

    all: tuple[CredentialEntry, ...] = ()
    """Every one of these must be shown; the first says who it is."""

    scopes: Wanted = Wanted()
    """What must have been granted."""

    roles: Wanted = Wanted()
    """What the caller must be."""

    claims: Annotated[tuple[ClaimSpec, ...], Named(ClaimSpec, key=None)] = ()
    """By path: what must be known of the caller."""

    forward_credentials: Flag = False
    """Whether upstreams get the credentials that the gateway has used; by default they are taken out."""

    headers: Flag = True
    """Whether upstreams are told who is calling, by ``identity.headers``."""

    assertion: str = ""
    """For whom (``aud``) a signed statement of who is calling is added; by default the upstream's name. ``off`` for none."""

    stale: Literal["allow", "read-only", "never"] = "allow"
    """Whether old decisions will do while nobody can be asked: for all requests, for GET and HEAD only, or for none."""

    @model_serializer(mode="wrap")
    def _written(self, whole: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Without requirements that are none: written down, they would look like a mistake."""
        empty = {key for key in ("any", "all", "scopes", "roles", "claims") if getattr(self, key) in ((), Wanted())}
        return {key: value for key, value in whole(self).items() if key not in empty}

    @model_validator(mode="after")
    def _credentials(self) -> AuthSpec:
        if bool(self.any) == bool(self.all):
            raise expected("either any or all with at least one credential")
        return self
