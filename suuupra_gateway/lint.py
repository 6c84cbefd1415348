"""
What a configuration may say but hardly should: warnings for ``check``, each with what to do about it.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator

from suuupra_gateway.config.checks_identity import is_local
from suuupra_gateway.config.findings import Finding, Loc
from suuupra_gateway.config.model import AuthSpec, CredentialEntry, GatewayConfig, ProviderSpec
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


# -- identity ---------------------------------------------------------------------------------------------------------


def _credentials(config: GatewayConfig) -> Iterator[tuple[Loc, CredentialEntry]]:
    """All that routes let callers in by."""
    for order, route in enumerate(config.routes):
        if isinstance(route.auth, AuthSpec):
            for key, entries in (("any", route.auth.any), ("all", route.auth.all)):
                for place, entry in enumerate(entries):
                    yield ("routes", order, "auth", key, place, entry.kind), entry


def _takes_tokens_for_others(config: GatewayConfig) -> Iterator[Finding]:
    tokens = [entry.jwt for _, entry in _credentials(config) if entry.jwt is not None]
    careless = {jwt.provider for jwt in tokens if not jwt.audiences}
    for provider in config.identity.providers:
        if provider.name in careless and not provider.audiences:
            why = f"tokens that {provider.issuer} issued for any other service are good for this one too"
            yield Finding(("identity", "providers", provider.name), why, "name yours in audiences", key=True)


def _reads_keys_from_queries(config: GatewayConfig) -> Iterator[Finding]:
    for loc, entry in _credentials(config):
        if entry.api_key is not None and entry.api_key.query:
            why = "keys in URLs end in logs, histories and Referer"
            if config.access_log.query and config.access_log.path != "off":
                why += ", and access-log.query writes them down here"
            yield Finding((*loc, "query"), why, f"let callers send {_header(config)}")


def _header(config: GatewayConfig) -> str:
    return config.identity.api_keys.header if config.identity.api_keys is not None else "a header field"


def _shares_signing_secrets(config: GatewayConfig) -> Iterator[Finding]:
    for provider in config.identity.providers:
        if provider.secret is None:
            continue
        loc: Loc = ("identity", "providers", provider.name, "secret")
        wanted = max(int(name.removeprefix("HS")) // 8 for name in provider.algorithms)
        if len(provider.secret.reveal().encode()) < wanted:
            why = f"a secret for HS{wanted * 8} is shorter than its hash of {wanted} bytes (RFC 7518 section 3.2)"
            yield Finding(loc, why, "use a longer one")
        else:
            why = "whoever can check these tokens can make them too"
            yield Finding(loc, why, "let the provider sign with a private key if it can")


def _asks_in_the_clear(config: GatewayConfig) -> Iterator[Finding]:
    identity = config.identity
    asked: list[tuple[Loc, str]] = [
        (("identity", "providers", provider.name, key), url)
        for provider in identity.providers
        for key, url in _fetched(provider)
    ]
    for key, services in (("introspection", identity.introspection), ("forward-auth", identity.forward_auth)):
        asked += [(("identity", key, service.name, "url"), service.url) for service in services]
    for loc, url in asked:
        if url.startswith("http:") and not is_local(url):
            yield Finding(loc, "whoever is on the way can say who is let in", "use https")
    store = config.gateway.store
    if store is not None and store.password and store.url.startswith("redis:") and not is_local(store.url):
        yield Finding(("gateway", "store"), "its password goes over the network in the clear", "use rediss://")


def _fetched(provider: ProviderSpec) -> list[tuple[str, str]]:
    if provider.jwks is not None:
        return [("jwks", provider.jwks)]
    return [] if provider.keys or provider.secret is not None else [("issuer", provider.issuer)]


def _uses_no_identity(config: GatewayConfig) -> Iterator[Finding]:
    identity = config.identity
    used = {(entry.kind, name) for _, entry in _credentials(config) for _, name in entry.spec if isinstance(name, str)}
    used |= {("jwt", login.provider) for login in identity.logins}
    for kind, key, what, things in (
        ("jwt", "providers", "provider", identity.providers),
        ("session", "logins", "login", identity.logins),
        ("introspection", "introspection", "introspection", identity.introspection),
        ("forward-auth", "forward-auth", "forward-auth", identity.forward_auth),
    ):
        for thing in things:
            if (kind, thing.name) not in used:
                yield Finding(("identity", key, thing.name), f"no route uses {what} {thing.name}", key=True)


_RULES = (
    _trusts_everybody,
    _owns_no_names,
    _admin_is_public,
    _keeps_underscores,
    _trusts_no_certificate,
    _gives_no_traffic,
    _uses_no_upstream,
    _takes_tokens_for_others,
    _reads_keys_from_queries,
    _shares_signing_secrets,
    _asks_in_the_clear,
    _uses_no_identity,
)
