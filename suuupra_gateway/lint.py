"""
What a configuration may say but hardly should: warnings for ``check``, each with what to do about it.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator

from suuupra_gateway.config.findings import Finding, Loc
from suuupra_gateway.config.model import GatewayConfig
from suuupra_gateway.plan import upstream_names


def warnings(config: GatewayConfig) -> list[Finding]:
    """All warnings, in no particular order."""
    return [finding for rule in _RULES for finding in rule(config)]


def _trusts_everybody(config: GatewayConfig) -> Iterator[Finding]:
    for place, cidr in enumerate(config.gateway.trusted_proxies):
        if ipaddress.ip_network(cidr).prefixlen == 0:
            why = f"{cidr} lets every client choose the address that it seems to come from"
            yield Finding(("gateway", "trusted-proxies", place), why, "name the addresses of your proxies")


def _owns_no_names(config: GatewayConfig) -> Iterator[Finding]:
    if not config.gateway.identity_headers:
        why = "clients may send identity headers to upstreams that believe them"
        yield Finding(("gateway", "identity-headers"), why, "name the headers that upstreams trust")


def _admin_is_public(config: GatewayConfig) -> Iterator[Finding]:
    host = config.admin.address.rpartition(":")[0].strip("[]")
    try:
        public = not ipaddress.ip_address(host).is_loopback
    except ValueError:  # off, a UNIX socket, a name
        return
    if public:
        why = f"everybody who can reach {config.admin.address} can read the configuration and all metrics"
        yield Finding(("admin", "address"), why, "bind it to 127.0.0.1 or to a UNIX socket")


def _keeps_underscores(config: GatewayConfig) -> Iterator[Finding]:
    for place, listener in enumerate(config.listeners):
        if listener.underscores == "keep":
            why = "WSGI and CGI upstreams cannot tell X_User_Id from X-User-Id, so clients can forge identity headers"
            yield Finding(("listeners", place, "underscores"), why, "use drop or reject")


def _trusts_no_certificate(config: GatewayConfig) -> Iterator[Finding]:
    for upstream in config.upstreams:
        if not upstream.tls.verify:
            why = "anybody between the gateway and this upstream can read and change everything"
            yield Finding(("upstreams", upstream.name, "tls", "verify"), why, "name the authority in ca-file instead")


def _gives_no_traffic(config: GatewayConfig) -> Iterator[Finding]:
    for upstream in config.upstreams:
        for place, endpoint in enumerate(upstream.endpoints):
            if endpoint.weight == 0:
                here: Loc = ("upstreams", upstream.name, "endpoints", place, "weight")
                yield Finding(here, f"{endpoint.url} gets no requests", "remove it once it is drained")
    for order, route in enumerate(config.routes):
        for place, branch in enumerate(route.target.proxy.split if route.target.proxy is not None else ()):
            if branch.weight == 0:
                loc: Loc = ("routes", order, "target", "proxy", "split", place, "weight")
                yield Finding(loc, f"{branch.upstream} gets no requests but by override-header")


def _uses_no_upstream(config: GatewayConfig) -> Iterator[Finding]:
    proxies = [route.target.proxy for route in config.routes if route.target.proxy is not None]
    used = {name for proxy in proxies for name in upstream_names(proxy)}
    for upstream in config.upstreams:
        if upstream.name not in used:
            yield Finding(("upstreams", upstream.name), f"no route uses upstream {upstream.name}", key=True)


_RULES = (
    _trusts_everybody,
    _owns_no_names,
    _admin_is_public,
    _keeps_underscores,
    _trusts_no_certificate,
    _gives_no_traffic,
    _uses_no_upstream,
)
