"""
What must hold inside ``auth:`` of a route, and between it and ``identity:``.
"""

from __future__ import annotations

from collections.abc import Iterator

import re2

from suuupra_gateway.config.auth import (
    ApiKeySpec,
    AuthSpec,
    CertificateSpec,
    ClaimSpec,
    CredentialEntry,
    ForwardedSpec,
    IntrospectedSpec,
    JwtSpec,
    SessionCredentialSpec,
    Wanted,
)
from suuupra_gateway.config.findings import Finding, Loc
from suuupra_gateway.config.identity import IdentitySpec
from suuupra_gateway.config.parts import Parts, RouteCheck, unknown
from suuupra_gateway.config.route import RouteSpec


def private(parts: Parts, index: int, route: RouteSpec) -> Iterator[Finding]:
    """Routes are private unless they say otherwise, and nobody could use a private one that names no credential."""
    if route.auth is not None:
        return
    loc = ("routes", index, "auth")
    example = _example(parts.identity) if parts.identity is not None else ""
    if not example:
        why = "this route is private, but no identity is configured that could let anybody in"
        yield Finding(loc, why, "write `auth: none` to make it public")
        return
    why = "this route is private, but does not say by what callers prove who they are"
    yield Finding(loc, why, f"write `auth: {{any: [{example}]}}` or the like, or `auth: none` to make it public")


def _example(identity: IdentitySpec) -> str:
    """A credential that could be written on the route as things are; empty if there is none."""
    if identity.providers:
        return f"{{jwt: {{provider: {identity.providers[0].name}}}}}"
    if identity.logins:
        return f"{{session: {{login: {identity.logins[0].name}}}}}"
    if identity.introspection:
        return f"{{introspection: {{by: {identity.introspection[0].name}}}}}"
    if identity.forward_auth:
        return f"{{forward-auth: {{by: {identity.forward_auth[0].name}}}}}"
    if identity.api_keys is not None:
        return "{api-key: {}}"
    return "{client-certificate: {}}" if identity.client_certificates is not None else ""


def credentials(parts: Parts, index: int, route: RouteSpec) -> Iterator[Finding]:
    """Credentials speak of things that exist, and none is there twice."""
    if not isinstance(route.auth, AuthSpec):
        return
    for key, entries in (("any", route.auth.any), ("all", route.auth.all)):
        first: dict[CredentialEntry, int] = {}
        for place, entry in enumerate(entries):
            loc: Loc = ("routes", index, "auth", key, place)
            if first.setdefault(entry, place) != place:
                yield Finding(loc, "this credential is here twice", also=("routes", index, "auth", key, first[entry]))
            yield from _exists(parts, (*loc, entry.kind), entry)


def _exists(parts: Parts, loc: Loc, entry: CredentialEntry) -> Iterator[Finding]:
    spec, names = entry.spec, parts.identity_names
    identity = parts.identity
    match spec:
        case JwtSpec():
            yield from _named((*loc, "provider"), "provider", spec.provider, names.get("providers", ()), "providers")
        case SessionCredentialSpec():
            yield from _named((*loc, "login"), "login", spec.login, names.get("logins", ()), "logins")
        case IntrospectedSpec():
            known = names.get("introspection", ())
            yield from _named((*loc, "by"), "introspection", spec.by, known, "introspection")
        case ForwardedSpec():
            known = names.get("forward-auth", ())
            yield from _named((*loc, "by"), "forward-auth", spec.by, known, "forward-auth")
        case ApiKeySpec() if identity is not None and identity.api_keys is None and "api-keys" not in names:
            yield Finding(loc, "no API keys are configured", "add identity.api-keys", key=True)
        case CertificateSpec() if identity is not None and identity.client_certificates is None:
            if "client-certificates" not in names:
                why = "no client certificates are configured"
                yield Finding(loc, why, "add identity.client-certificates", key=True)


def _named(loc: Loc, what: str, name: str, known: tuple[str, ...], key: str) -> Iterator[Finding]:
    if name in known:
        return
    if known:
        yield unknown(loc, what, name, known, key)
    else:
        yield Finding(loc, f"there is no {what} {name}", f"add it to identity.{key}")


def requirements(parts: Parts, index: int, route: RouteSpec) -> Iterator[Finding]:
    """What is required says something, and can be met."""
    auth = route.auth
    if not isinstance(auth, AuthSpec):
        return
    loc: Loc = ("routes", index, "auth")
    for key, wanted in (("scopes", auth.scopes), ("roles", auth.roles)):
        if key in auth.model_fields_set:
            yield from _wanted((*loc, key), key, wanted)
    for claim in auth.claims:
        yield from _claim((*loc, "claims", claim.name), claim)
    if auth.assertion not in ("", "off") and parts.identity is not None and parts.identity.assertion is None:
        why = "there is nothing to sign statements with"
        yield Finding((*loc, "assertion"), why, "add identity.assertion", key=True)


def _wanted(loc: Loc, what: str, wanted: Wanted) -> Iterator[Finding]:
    if not wanted.any and not wanted.all:
        yield Finding(loc, f"no {what} are named, so nothing is required", "name some, or leave it out", key=True)
    for key, names in (("any", wanted.any), ("all", wanted.all)):
        for place, name in enumerate(names):
            if not name or (what == "scopes" and " " in name):
                yield Finding((*loc, key, place), f"{name!r} is none of the {what} that anybody can have")


def _claim(loc: Loc, claim: ClaimSpec) -> Iterator[Finding]:
    said = claim.equals is not None or bool(claim.in_) or bool(claim.pattern)
    if not said and claim.exists is None:
        yield Finding(loc, "nothing is required of this claim", "add equals, in, exists or pattern")
    if said and claim.exists is False:
        yield Finding((*loc, "exists"), "a claim that is not there is nothing else either", "leave one of them out")
    if not all(claim.name.split(".")):
        yield Finding(loc, "a path is names with dots between them", key=True)
    if claim.pattern:
        options = re2.Options()
        options.log_errors = False
        try:
            re2.compile(claim.pattern.encode(), options)
        except re2.error as error:
            why = error.args[0]
            told = why.decode() if isinstance(why, bytes) else why
            yield Finding((*loc, "pattern"), f"not an RE2 expression: {told}")


AUTH: tuple[RouteCheck, ...] = (private, credentials, requirements)
