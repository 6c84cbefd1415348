"""List the routes of a configuration in order of precedence: of all that match a request, the first one gets it."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from suuupra_gateway.commands.console import Console, examined

if TYPE_CHECKING:
    from suuupra_gateway.config.findings import Loc
    from suuupra_gateway.config.model import AuthSpec, CredentialEntry, MatchSpec, TargetSpec
    from suuupra_gateway.routing.resource import RouteResource

HELP = "list the routes in order of precedence"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the command line."""
    parser.add_argument("--json", action="store_true", help="write JSON")
    parser.add_argument("file", metavar="FILE", help="the configuration")


def run(options: argparse.Namespace, console: Console) -> int:
    """0, or 1 if the configuration is refused."""
    found = examined(options.file, console)
    if found is None:
        return 1
    document, plan = found
    places: dict[str, Loc] = {route.name: ("routes", order) for order, route in enumerate(plan.config.routes)}
    places |= plan.own
    routes = [candidate.value for candidate in plan.table]
    if options.json:
        console.say_json([_described(route, str(document.locate(places[route.name]))) for route in routes])
        return 0
    rows = [
        (
            route.name,
            str(route.spec.priority),
            route.spec.match.host or "*",
            _path(route.spec.match),
            ",".join(route.spec.match.methods) or "*",
            _conditions(route.spec.match) or "-",
            _auth(route.spec.auth),
            ",".join(each.name for each in route.filters) or "-",
            _target(route.spec.target),
        )
        for route in routes
    ]
    console.say_table(("ROUTE", "PRIORITY", "HOST", "PATH", "METHODS", "IF", "AUTH", "FILTERS", "TARGET"), rows)
    return 0


def _described(route: RouteResource, where: str) -> dict[str, Any]:
    spec = route.spec
    return {
        "route": route.name,
        "where": where,
        "priority": spec.priority,
        "match": spec.match.model_dump(mode="json", by_alias=True, exclude_defaults=True),
        "auth": (spec.auth or "required")
        if spec.auth is None or isinstance(spec.auth, str)
        else spec.auth.model_dump(mode="json", by_alias=True, exclude_defaults=True),
        "filters": [{"filter": each.name, "phase": each.phase.name.lower()} for each in route.filters],
        "target": spec.target.model_dump(mode="json", by_alias=True, exclude_defaults=True),
        "tests": len(spec.tests),
    }


def _auth(auth: AuthSpec | str | None) -> str:
    """By what callers get in, shortly: what else is required is in the file."""
    if auth is None or isinstance(auth, str):
        return auth or "required"
    entries, joint = (auth.any, " | ") if auth.any else (auth.all, " + ")
    return joint.join(" ".join([entry.kind, *(_who(entry))]) for entry in entries)


def _who(entry: CredentialEntry) -> list[str]:
    """Who vouches, if the credential names somebody."""
    return [str(getattr(entry.spec, key)) for key in ("provider", "login", "by") if hasattr(entry.spec, key)]


def _path(match: MatchSpec) -> str:
    if match.prefix:
        return f"{match.prefix} and below"
    return f"~{match.regex}" if match.regex else match.path or "*"


def _conditions(match: MatchSpec) -> str:
    conditions = [f"{name}: {value}" for name, value in match.headers]
    return ", ".join(conditions + [f"?{name}={value}" for name, value in match.query])


def _target(target: TargetSpec) -> str:
    if target.proxy is not None:
        if target.proxy.upstream is not None:
            return f"proxy {target.proxy.upstream}"
        return "proxy " + " | ".join(f"{branch.upstream} {branch.weight}" for branch in target.proxy.split)
    if target.fixed is not None:
        return f"fixed {target.fixed.status}"
    if target.redirect is not None:
        return f"redirect {target.redirect.status} {target.redirect.to}"
    return f"mount {target.mount.resource}" if target.mount is not None else target.kind
