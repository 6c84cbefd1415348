"""
What of a request and its answer is nobody's business: credentials, shown as ``***`` by whatever shows messages to people.
"""

from __future__ import annotations

import re
from typing import Final

from suuupra_gateway.config.model import AuthSpec, GatewayConfig
from suuupra_gateway.config.names import folded
from suuupra_gateway.config.units import MASK

_ALWAYS: Final = ("authorization", "proxy-authorization", "cookie", "set-cookie")
_SCHEME: Final = re.compile(r"([A-Za-z][A-Za-z0-9-]{0,31}) +[^ ]")


class Masks:
    """Masks of one configuration: it knows where credentials are. Immutable."""

    __slots__ = ("_fields", "_parameters")

    def __init__(self, config: GatewayConfig) -> None:
        identity = config.identity
        names = [*_ALWAYS]
        if identity.api_keys is not None:
            names.append(identity.api_keys.header)
        if identity.assertion is not None:
            names.append(identity.assertion.header)
        for service in identity.forward_auth:
            names += service.request_headers
        parameters = [
            entry.api_key.query
            for route in config.routes
            if isinstance(route.auth, AuthSpec)
            for entry in (*route.auth.any, *route.auth.all)
            if entry.api_key is not None and entry.api_key.query
        ]
        self._fields = frozenset(folded(name.encode("latin-1")) for name in names)
        alternatives = "|".join(map(re.escape, sorted(set(parameters))))
        self._parameters = re.compile(rf"(?:^|(?<=[?&]))({alternatives})=[^&#]*") if parameters else None

    def field(self, name: str, value: str) -> str:
        """A field's value, as it may be shown: of credentials only the scheme, or the names of cookies."""
        plain = folded(name.encode("latin-1", "replace"))
        if plain not in self._fields:
            return value
        if plain == b"cookie":
            return "; ".join(_cookie(pair) for pair in value.split(";"))
        if plain == b"set-cookie":
            pair, separator, attributes = value.partition(";")
            return _cookie(pair) + separator + attributes
        scheme = _SCHEME.match(value)
        return f"{scheme[1]} {MASK}" if scheme is not None else MASK

    def query(self, text: str) -> str:
        """A query, a target or a URL, as it may be shown: without API keys."""
        return text if self._parameters is None else self._parameters.sub(rf"\1={MASK}", text)


def _cookie(pair: str) -> str:
    name, separator, _ = pair.strip().partition("=")
    return f"{name}={MASK}" if separator else MASK
