"""
What the supervisor tells workers of a provider, and under which topic: the seam between `auth.jwks` and `auth.provider`.
"""

from __future__ import annotations

import hashlib
from typing import Any, Final

import msgspec

from suuupra_gateway.config.model import ProviderSpec


class Published(msgspec.Struct):
    """What the supervisor tells of a provider; see `auth.jwks`."""

    metadata: dict[str, Any] | None = None
    """Its discovery document."""

    keys: dict[str, Any] | None = None
    """Its key set."""

    fetched: float = 0.0
    """UNIX time of the last fetch that succeeded."""

    error: str = ""
    """Why the last one did not; empty if it did."""


read: Final = msgspec.json.Decoder(Published).decode
"""A `Published` from JSON. Raises `ValueError`."""


def topic(spec: ProviderSpec) -> str:
    """Under which the supervisor publishes what it fetched for ``spec``."""
    return f"provider:{spec.name}:{digest(spec)}"


def digest(spec: ProviderSpec) -> str:
    """Tells specs apart that need another fetching."""
    parts = (spec.issuer, spec.jwks, spec.ca_file, spec.refresh, spec.cooldown, spec.max_stale)
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]


def is_fetched(spec: ProviderSpec) -> bool:
    """Whether its keys come over the network."""
    return not spec.keys and spec.secret is None
