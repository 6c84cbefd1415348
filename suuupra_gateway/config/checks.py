"""
What must hold between the parts of a configuration, beyond the form of each.

Each check takes the parts that are well-formed, so that one mistake does not hide another. A new section brings its checks as
functions in `WHOLE`, or in `ROUTE` for what concerns one route; those of identity have modules of their own. What needs the
compiled routing table (routes that tie or can never be reached) is found elsewhere, and gets its places by `ConfigErrors.at`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import combinations

from suuupra_gateway.config.address import Bound
from suuupra_gateway.config.checks_auth import AUTH
from suuupra_gateway.config.checks_identity import IDENTITY
from suuupra_gateway.config.findings import Finding, Loc
from suuupra_gateway.config.parts import Check, Parts, RouteCheck, growing, readable, unknown
from suuupra_gateway.config.route import RouteSpec
from suuupra_gateway.config.target import ProxySpec
from suuupra_gateway.config.upstream import UpstreamTimeouts

# -- the whole --------------------------------------------------------------------------------------------------------


def listener_names(parts: Parts) -> Iterator[Finding]:
    """Listeners are told apart by name."""
    first: dict[str, int] = {}
    for index, listener in parts.listeners.items():
        other = first.setdefault(listener.name, index)
        if other != index:
            why = f"another listener is called {listener.name}"
            yield Finding(("listeners", index, "name"), why, also=("listeners", other, "name"))


def addresses(parts: Parts) -> Iterator[Finding]:
    """No two sockets can be bound to one address."""
    bound: list[tuple[Loc, str, Bound]] = []
    if parts.admin is not None and parts.admin.address != "off":
        bound.append((("admin", "address"), "the admin listener", Bound.of(parts.admin.address)))
    for index, listener in parts.listeners.items():
        bound.append((("listeners", index, "address"), f"listener {listener.name}", Bound.of(listener.address)))
    for (there, name, one), (here, _, other) in combinations(bound, 2):
        if one.clashes(other):
            yield Finding(here, f"{name} has this address already", "give each its own", also=there)


def proxy_protocol(parts: Parts) -> Iterator[Finding]:
    """A PROXY header is believed from trusted peers only; with none, everybody would be refused."""
    for index, listener in parts.listeners.items():
        if listener.proxy_protocol and parts.gateway is not None and not parts.gateway.trusted_proxies:
            why = "nobody may send a PROXY protocol header, so every connection would be refused"
            yield Finding(("listeners", index, "proxy-protocol"), why, "name the senders in gateway.trusted-proxies")


def restart_backoff(parts: Parts) -> Iterator[Finding]:
    """The first pause is the shorter one."""
    if parts.gateway is not None:
        yield from growing(("gateway", "restart-backoff"), parts.gateway.restart_backoff)


def upstreams(parts: Parts) -> Iterator[Finding]:
    """What must hold inside each upstream."""
    for name, upstream in parts.upstreams.items():
        loc = ("upstreams", name)
        if not any(endpoint.weight for endpoint in upstream.endpoints):
            yield Finding((*loc, "endpoints"), "every endpoint has weight 0", "give one of them a weight above 0")
        first: dict[str, int] = {}
        for index, endpoint in enumerate(upstream.endpoints):
            other = first.setdefault(endpoint.url, index)
            if other != index:
                also = (*loc, "endpoints", other)
                why, hint = f"{endpoint.url} is an endpoint twice", "use weight for a bigger share"
                yield Finding((*loc, "endpoints", index), why, hint, also=also)
        yield from _timeouts((*loc, "timeouts"), upstream.timeouts)
        yield from growing((*loc, "retry", "pause"), upstream.retry.pause)
        if upstream.balance.key != "client" and upstream.balance.policy != "hash":
            yield Finding(
                (*loc, "balance", "key"), f"{upstream.balance.policy} takes no key", "only hash does", key=True
            )
        if upstream.tls.key and not upstream.tls.certificate:
            yield Finding((*loc, "tls", "key"), "there is no certificate for this key", "add certificate", key=True)


def files(parts: Parts) -> Iterator[Finding]:
    """Files that are named can be read, directories that will be written to exist."""
    for index, plugin in enumerate(parts.plugins):
        yield from readable(("plugins", index), plugin)
    for name, upstream in parts.upstreams.items():
        tls = upstream.tls
        for key, path in (("ca-file", tls.ca_file), ("certificate", tls.certificate), ("key", tls.key)):
            if path:
                yield from readable(("upstreams", name, "tls", key), path)
    if parts.access_log is not None and parts.access_log.path not in ("-", "journald", "off"):
        directory = os.path.dirname(os.path.abspath(parts.access_log.path))
        if not os.path.isdir(directory):
            yield Finding(("access-log", "path"), f"there is no directory {directory}")


WHOLE: tuple[Check, ...] = (listener_names, addresses, proxy_protocol, restart_backoff, upstreams, files, *IDENTITY)


# -- each route -------------------------------------------------------------------------------------------------------


def route_name(parts: Parts, index: int, route: RouteSpec) -> Iterator[Finding]:
    """Routes are told apart by name."""
    first = parts.route_names.get(route.name, index)
    if first != index:
        loc = ("routes", index, "name")
        yield Finding(loc, f"another route is called {route.name}", also=("routes", first, "name"))


def one_path(parts: Parts, index: int, route: RouteSpec) -> Iterator[Finding]:
    """A match has at most one kind of path."""
    given = [key for key in ("path", "prefix", "regex") if getattr(route.match, key)]
    for key in given[1:]:
        hint = "a route with both is two routes"
        yield Finding(("routes", index, "match", key), f"{given[0]} is given already", hint, key=True)


def target(parts: Parts, index: int, route: RouteSpec) -> Iterator[Finding]:
    """What must hold inside a target."""
    loc = ("routes", index, "target")
    if route.target.proxy is not None:
        yield from _proxy(parts, (*loc, "proxy"), route.target.proxy)
    fixed = route.target.fixed
    if fixed is not None and fixed.status in (204, 205, 304) and fixed.body:
        yield Finding((*loc, "fixed", "body"), f"an answer with status {fixed.status} has no body (RFC 9110)")


def expectations(parts: Parts, index: int, route: RouteSpec) -> Iterator[Finding]:
    """Tests speak of routes, upstreams and providers that exist."""
    vouching = tuple(name for names in parts.identity_names.values() for name in names)
    for number, test in enumerate(route.tests):
        principal = test.request.principal
        if principal is not None and principal.provider and principal.provider not in vouching:
            here = ("routes", index, "tests", number, "request", "principal", "provider")
            yield unknown(here, "provider", principal.provider, vouching)
        loc = ("routes", index, "tests", number, "expect")
        expect = test.expect
        if expect.route not in (None, "none") and expect.route not in parts.route_names:
            yield unknown((*loc, "route"), "route", str(expect.route), tuple(parts.route_names))
        if expect.upstream is not None and expect.upstream not in parts.upstream_names:
            yield unknown((*loc, "upstream"), "upstream", expect.upstream, parts.upstream_names)


ROUTE: tuple[RouteCheck, ...] = (route_name, one_path, *AUTH, target, expectations)


# -- what they share --------------------------------------------------------------------------------------------------


def _proxy(parts: Parts, loc: Loc, proxy: ProxySpec) -> Iterator[Finding]:
    named = [((*loc, "upstream"), proxy.upstream)] if proxy.upstream is not None else []
    named += [((*loc, "split", number, "upstream"), branch.upstream) for number, branch in enumerate(proxy.split)]
    first: dict[str, Loc] = {}
    for here, name in named:
        if name not in parts.upstream_names:
            yield unknown(here, "upstream", name, parts.upstream_names)
        elif first.setdefault(name, here) != here:
            yield Finding(here, f"{name} is a branch twice", "add up the weights", also=first[name])
    if not proxy.split:
        for key, value in (("sticky", proxy.sticky), ("override-header", proxy.override_header)):
            if value:
                yield Finding((*loc, key), f"{key} is for split only", key=True)
    if proxy.timeouts is not None:
        yield from _timeouts((*loc, "timeouts"), proxy.timeouts)
    if proxy.retry is not None:
        yield from growing((*loc, "retry", "pause"), proxy.retry.pause)


def _timeouts(loc: Loc, timeouts: UpstreamTimeouts) -> Iterator[Finding]:
    """
    ``connect < first-byte < total``; ``total`` 0 is none (semantics of deadlines: each contains the one before it).

    Only what somebody wrote can be inverted: a default that exceeds the next one is simply cut short by it.
    """
    order = (("connect", timeouts.connect), ("first-byte", timeouts.first_byte), ("total", timeouts.total))
    written = {name.replace("_", "-") for name in timeouts.model_fields_set}
    for (shorter, short), (longer, long) in combinations(order, 2):
        if short < long or shorter not in written or (longer == "total" and not long):
            continue
        why = f"{shorter} ({short}) must be shorter than {longer} ({long}{'' if longer in written else ' by default'})"
        hint = "total: 0 is for streams without an end" if longer == "total" else ""
        yield Finding((*loc, longer if longer in written else shorter), why, hint)
        break
