"""
A configuration, compiled: names become bound hooks, targets and live things.

Only this module knows both what is configured and what exists. Used in this order: `compiling` (in slices, beside the plan
in effect) or `compile_plan`; ``gateway.plan = plan``, one assignment; ``residents.settle(plan)``. `draft` makes a plan for
looking at, without a reactor: ``check`` and ``explain`` work on one.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Hashable, Iterable, Mapping
from importlib import import_module
from operator import attrgetter
from typing import Any, Final, cast

import attrs
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import Clock
from twisted.web.resource import IResource

from suuupra_gateway.auth.board import QuietBoard
from suuupra_gateway.config.findings import ConfigErrors, Finding, Loc, Mark
from suuupra_gateway.config.model import (
    FixedSpec,
    GatewayConfig,
    MountSpec,
    ProxySpec,
    RedirectSpec,
    RouteSpec,
    UpstreamSpec,
    UpstreamTimeouts,
)
from suuupra_gateway.config.names import OwnedNames
from suuupra_gateway.filters.base import Filter, FilterKind
from suuupra_gateway.http.hygiene import Hygiene
from suuupra_gateway.identity import Identity, register
from suuupra_gateway.interfaces import IResidents
from suuupra_gateway.net.sweep import Sweep
from suuupra_gateway.own import OwnRoute
from suuupra_gateway.residents import Claims, Residents
from suuupra_gateway.routing import overlap
from suuupra_gateway.routing.pattern import Pattern, PatternError
from suuupra_gateway.routing.resource import RouteResource
from suuupra_gateway.routing.table import Entry, RouteTable
from suuupra_gateway.targets.fixed import FixedResource, RedirectResource
from suuupra_gateway.targets.proxy import ProxyResource
from suuupra_gateway.upstreams.upstream import Upstream


@attrs.frozen(eq=False)
class Plan:
    """A compiled configuration. Immutable; in effect from one assignment to the next."""

    generation: int
    """Counts the configurations of a process tree from 1; 0 for a draft."""

    digest: str
    """Of the configuration's document; tells whether two processes run the same one."""

    config: GatewayConfig
    table: RouteTable[RouteResource]
    routes: Mapping[str, RouteResource]
    """By name, in file order; then the gateway's own."""

    upstreams: Mapping[str, Upstream]
    """By name, in file order."""

    claims: tuple[Hashable, ...]
    """Specs of the residents that it uses."""

    own: Mapping[str, Loc]
    """Names of the gateway's own routes, and what in the configuration needs them."""


def compile_plan(
    config: GatewayConfig,
    residents: IResidents,
    *,
    kinds: Mapping[str, FilterKind],
    reactor: IReactorTime,
    sweep: Sweep,
    generation: int = 0,
    digest: str = "",
) -> Plan:
    """As `compiling`, all at once."""
    steps = compiling(
        config, residents, kinds=kinds, reactor=reactor, sweep=sweep, generation=generation, digest=digest
    )
    while True:
        try:
            next(steps)
        except StopIteration as stop:
            plan: Plan = stop.value
            return plan


def compiling(
    config: GatewayConfig,
    residents: IResidents,
    *,
    kinds: Mapping[str, FilterKind],
    reactor: IReactorTime,
    sweep: Sweep,
    generation: int = 0,
    digest: str = "",
) -> Generator[None, None, Plan]:
    """
    Compile ``config``, pausing often; the plan is what the generator returns. Opens no connection.

    :param kinds: all filters that the configuration may name, as by `filters.catalog.kinds`.
    :param reactor: for targets that pause or time out.
    :raises ConfigErrors: with everything that is wrong, without places in files: see `ConfigErrors.located`.
    """
    return (yield from _Compilation(config, residents, kinds, reactor, sweep).steps(generation, digest))


def draft(config: GatewayConfig, kinds: Mapping[str, FilterKind], *, digest: str = "") -> Plan:
    """
    A plan that nobody will serve by: its clocks stand still and its residents never start.

    :raises ConfigErrors: as `compiling`.
    """
    clock = Clock()
    sweep = Sweep(clock, monotonic=clock.seconds, wall=clock.seconds)
    residents = Residents()
    residents.register(UpstreamSpec, lambda spec: Upstream(spec, clock, sweep))
    register(residents, reactor=clock, sweep=sweep, board=QuietBoard())
    return compile_plan(config, residents, kinds=kinds, reactor=clock, sweep=sweep, digest=digest)


class _Compilation:
    """The making of one plan, and what is found wrong on the way. Lives until the plan is made."""

    def __init__(
        self,
        config: GatewayConfig,
        residents: IResidents,
        kinds: Mapping[str, FilterKind],
        reactor: IReactorTime,
        sweep: Sweep,
    ) -> None:
        self._config = config
        self._claims = Claims(residents)
        self._kinds = kinds
        self._reactor = reactor
        self._sweep = sweep
        self._hygiene = Hygiene(config.gateway)
        self._identity = Identity(config, self._claims)
        self._owned = OwnedNames(config.gateway.identity_headers)
        self._upstreams: dict[str, Upstream] = {}
        self._own: dict[str, Loc] = {}
        self._findings: list[Finding] = []

    def steps(self, generation: int, digest: str) -> Generator[None, None, Plan]:
        config = self._config
        for spec in config.upstreams:
            self._claim_upstream(spec)
            yield
        self._open_identity()
        routes: dict[str, RouteResource] = {}
        entries: list[Entry[RouteResource]] = []
        for order, route in enumerate(config.routes):
            made = self._route(route, ("routes", order))
            if made is not None:
                routes[route.name] = made
                entries.append(
                    Entry(route.name, route.match, route.priority, order, made, route.redirect_trailing_slash)
                )
            yield
        for order, own in enumerate(self._own_routes(), len(config.routes)):
            name = own.spec.name
            made = routes[name] = RouteResource(own.spec, (), own.target, total=0.0, sweep=self._sweep)
            entries.append(Entry(name, own.spec.match, own.spec.priority, order, made))
            self._own[name] = own.loc
        table = yield from RouteTable.building(entries)
        allowed = frozenset(route.name for route in config.routes if route.allow_shadowed)
        overlaps = yield from overlap.finding(table, allowed)
        if overlaps:
            self._findings += self._overlapping(overlaps)
        if self._findings:
            raise ConfigErrors.at(_Nowhere(config), self._findings)
        return Plan(generation, digest, config, table, routes, self._upstreams, self._claims.specs, self._own)

    def _open_identity(self) -> None:
        try:
            self._identity.open()
        except (ValueError, OSError) as error:
            self._findings.append(Finding(("identity", "assertion", "keys"), _said(error)))

    def _own_routes(self) -> list[OwnRoute]:
        try:
            return list(self._identity.routes())
        except (ValueError, OSError, LookupError) as error:
            self._findings.append(Finding(("identity", "logins"), _said(error)))
            return []

    def _claim_upstream(self, spec: UpstreamSpec) -> None:
        try:
            self._upstreams[spec.name] = self._claims.claim(spec)
        except (ValueError, OSError) as error:
            self._findings.append(Finding(("upstreams", spec.name), str(error)))

    def _route(self, spec: RouteSpec, loc: Loc) -> RouteResource | None:
        try:
            pattern = Pattern.of(spec.match)
        except PatternError as error:
            self._findings += (Finding((*loc, "match", *key.split(".", 1)), why) for key, why in error.problems)
            return None
        parameters = frozenset(name for name, _ in pattern.path.parameters) | ({pattern.path.rest} - {""})
        filters = self._guard(spec, loc) + self._filters(spec, loc, parameters)
        target = self._target(spec, loc, parameters)
        if target is None:
            return None
        return RouteResource(spec, filters, target, total=self._total(spec), sweep=self._sweep)

    def _guard(self, route: RouteSpec, loc: Loc) -> list[Filter[Any]]:
        """The filter that authenticates, if the route is private."""
        try:
            made = self._identity.filter(route)
        except (ValueError, OSError, LookupError) as error:
            self._findings.append(Finding((*loc, "auth"), _said(error)))
            return []
        return [made] if made is not None else []

    def _filters(self, route: RouteSpec, loc: Loc, parameters: frozenset[str]) -> list[Filter[Any]]:
        filters = []
        for place, entry in enumerate(route.filters):
            here: Loc = (*loc, "filters", place, entry.kind)
            try:
                made = self._kinds[entry.kind].filter(entry.spec, self._claims)
            except Exception as error:  # filters may be anybody's: whatever goes wrong is said where they are named
                self._findings.append(Finding(here, f"the filter cannot be made: {_said(error)}"))
                continue
            made.name = entry.kind
            self._findings += (Finding(here, why) for why in made.problems(route, parameters))
            for inside, name in made.edits():
                if name.encode("latin-1") in self._owned:
                    why = f"{name} tells upstreams who is calling, so only identity may set it"
                    hint = "see identity.headers, or take the name out of gateway.identity-headers"
                    self._findings.append(Finding((*here, *inside), why, hint))
            filters.append(made)
        return filters

    def _target(self, route: RouteSpec, loc: Loc, parameters: frozenset[str]) -> IResource | None:
        spec = route.target.spec
        here: Loc = (*loc, "target", route.target.kind)
        try:
            if isinstance(spec, ProxySpec):
                return self._proxy(spec, here)
            if isinstance(spec, MountSpec):
                return _mounted(spec, self._reactor)
            target: IResource = _TARGETS[type(spec)](spec)
        except Exception as error:  # a mounted resource is anybody's code
            self._findings.append(Finding(here, _said(error)))
            return None
        if isinstance(target, RedirectResource):
            for name in sorted(target.parameters - parameters):
                why = f"{{{name}}} is no parameter of this route's match"
                self._findings.append(Finding((*here, "to"), why))
        return target

    def _proxy(self, spec: ProxySpec, loc: Loc) -> ProxyResource | None:
        configured = {upstream.name for upstream in self._config.upstreams}
        for name in upstream_names(spec):
            if name not in configured:
                self._findings.append(Finding(loc, f"there is no upstream called {name}"))
            if name not in self._upstreams:
                return None  # why is found already
        return ProxyResource(spec, self._upstreams, self._hygiene, self._reactor)

    def _total(self, route: RouteSpec) -> float:
        """Seconds that an exchange on ``route`` may take, 0 for any: the longest that one of its upstreams allows."""
        spec = route.target.proxy
        if spec is None:
            return 0.0
        totals = [float(timeouts_of(spec, self._upstreams[name].spec).total) for name in upstream_names(spec)]
        return max(totals) if all(totals) else 0.0

    def _overlapping(self, overlaps: Iterable[overlap.Overlap]) -> Iterable[Finding]:
        places: dict[str, Loc] = {
            route.name: ("routes", order, "match") for order, route in enumerate(self._config.routes)
        }
        places |= self._own
        for each in overlaps:
            hint = (
                "give one of them a priority"
                if each.flaw is overlap.Flaw.TIE
                else "remove it, give it a priority, or write allow-shadowed: true"
            )
            other = places[each.others[0]]
            yield Finding(places[each.name], each.why, hint, also=other[:2] if other[0] == "routes" else other)


def upstream_names(spec: ProxySpec) -> tuple[str, ...]:
    """The upstreams among which a proxy target chooses."""
    return (spec.upstream,) if spec.upstream is not None else tuple(branch.upstream for branch in spec.split)


def timeouts_of(spec: ProxySpec, upstream: UpstreamSpec) -> UpstreamTimeouts:
    """The timeouts that hold for a proxy target: its own, else the upstream's."""
    return spec.timeouts if spec.timeouts is not None else upstream.timeouts


def _mounted(spec: MountSpec, reactor: IReactorTime) -> IResource:
    """
    The resource tree that ``package.module:name`` names.

    :raises ValueError: it is, or returns, no resource.
    """
    from suuupra_gateway.targets.mount import MountResource  # most configurations do without

    module, _, name = spec.resource.partition(":")
    found = attrgetter(name)(import_module(module))
    if not IResource.providedBy(found) and callable(found):
        found = found()
    if not IResource.providedBy(found):
        raise ValueError(f"{spec.resource} is no resource: {type(found).__name__} does not provide IResource")
    return cast(IResource, MountResource(found, reactor=reactor))


_TARGETS: Final[Mapping[type, Callable[[Any], Any]]] = {
    FixedSpec: FixedResource,
    RedirectSpec: RedirectResource,
}


class _Nowhere:
    """A document without places: only the names of routes are known. See `ConfigErrors.located`."""

    def __init__(self, config: GatewayConfig) -> None:
        self.tree: dict[str, Any] = {"routes": [{"name": route.name} for route in config.routes]}

    def locate(self, loc: Loc, *, key: bool = False) -> Mark:
        return Mark()


def _said(error: Exception) -> str:
    return str(error) if isinstance(error, ValueError) else f"{type(error).__name__}: {error}"
