"""
What a configuration may say, whole: frozen, hashable pydantic models, one per noun, and the names to import them by.

A new section is a field of `GatewayConfig`; what must hold between sections is a function of `config/checks.py`.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import ConfigDict, Field

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
from suuupra_gateway.config.identity import (
    ApiKeysSpec,
    AssertionSpec,
    CacheSpec,
    ClaimNames,
    ClientCertificateSpec,
    ForwardAuthSpec,
    IdentitySpec,
    IntrospectionSpec,
    LoginSpec,
    PrincipalHeaders,
    ProviderSpec,
    SessionSpec,
)
from suuupra_gateway.config.listener import ListenerLimits, ListenerSpec, ListenerTimeouts
from suuupra_gateway.config.process import AccessLogSpec, AdminSpec, AdminTokenSpec, ProcessSpec
from suuupra_gateway.config.route import (
    FilterEntry,
    MatchSpec,
    PrincipalSpec,
    RouteSpec,
    RouteTestExpect,
    RouteTestRequest,
    RouteTestSpec,
)
from suuupra_gateway.config.spec import (
    Cidr,
    FilePath,
    Flag,
    HeaderName,
    HeaderPairs,
    JsonObject,
    Name,
    Named,
    OneOf,
    Pairs,
    Positive,
    Shorthand,
    Spec,
)
from suuupra_gateway.config.store import StoreSpec
from suuupra_gateway.config.target import (
    FixedSpec,
    MountSpec,
    ProxySpec,
    RedirectSpec,
    SplitSpec,
    TargetSpec,
)
from suuupra_gateway.config.upstream import (
    BalanceSpec,
    EndpointSpec,
    PoolSpec,
    RetrySpec,
    UpstreamSpec,
    UpstreamTimeouts,
    UpstreamTLS,
)

__all__ = [
    "AccessLogSpec",
    "AdminSpec",
    "AdminTokenSpec",
    "ApiKeySpec",
    "ApiKeysSpec",
    "AssertionSpec",
    "AuthSpec",
    "BalanceSpec",
    "CacheSpec",
    "CertificateSpec",
    "Cidr",
    "ClaimNames",
    "ClaimSpec",
    "ClientCertificateSpec",
    "CredentialEntry",
    "EndpointSpec",
    "FilePath",
    "FilterEntry",
    "FixedSpec",
    "Flag",
    "ForwardAuthSpec",
    "ForwardedSpec",
    "GatewayConfig",
    "HeaderName",
    "HeaderPairs",
    "IdentitySpec",
    "IntrospectedSpec",
    "IntrospectionSpec",
    "JsonObject",
    "JwtSpec",
    "ListenerLimits",
    "ListenerSpec",
    "ListenerTimeouts",
    "LoginSpec",
    "MatchSpec",
    "MountSpec",
    "Name",
    "OneOf",
    "Pairs",
    "PoolSpec",
    "Positive",
    "PrincipalHeaders",
    "PrincipalSpec",
    "ProcessSpec",
    "ProviderSpec",
    "ProxySpec",
    "RedirectSpec",
    "RetrySpec",
    "RouteSpec",
    "RouteTestExpect",
    "RouteTestRequest",
    "RouteTestSpec",
    "SessionCredentialSpec",
    "SessionSpec",
    "Shorthand",
    "Spec",
    "SplitSpec",
    "StoreSpec",
    "TargetSpec",
    "UpstreamSpec",
    "UpstreamTLS",
    "UpstreamTimeouts",
    "Wanted",
]


def _file_keys(schema: dict[str, Any]) -> None:
    """What a file may hold beside the model's own keys; `source.load` takes it away."""
    patterns = {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]}
    about = "Further files, by name or pattern, relative to this one: lists are joined, mappings too."
    schema["properties"]["include"] = {**patterns, "description": about}
    schema["patternProperties"] = {"^x-": {"description": "Ignored; a place for YAML anchors."}}


class GatewayConfig(Spec):
    """A whole configuration."""

    model_config = ConfigDict(json_schema_extra=_file_keys)

    gateway: ProcessSpec = ProcessSpec()
    """The process tree."""

    admin: AdminSpec = AdminSpec()
    """The supervisor's own listener: metrics, health, API."""

    access_log: AccessLogSpec = AccessLogSpec()
    """One JSON line per request."""

    listeners: Annotated[tuple[ListenerSpec, ...], Field(min_length=1)]
    """The sockets that clients connect to; at least one."""

    identity: IdentitySpec = IdentitySpec()
    """By what callers prove who they are."""

    upstreams: Annotated[tuple[UpstreamSpec, ...], Named(UpstreamSpec)] = ()
    """By name: sets of endpoints and how to choose among them."""

    routes: tuple[RouteSpec, ...] = ()
    """Which requests go where."""

    plugins: tuple[FilePath, ...] = ()
    """Python files with filters of your own, loaded by path; installed packages are found by entry point."""
