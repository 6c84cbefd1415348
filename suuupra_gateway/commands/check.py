"""Check a configuration: all that would be checked at a start or a reload, its route tests included, and more."""

from __future__ import annotations

import argparse
from typing import Any

from suuupra_gateway.commands.console import GREEN, YELLOW, Console

HELP = "check a configuration and run its route tests"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the command line."""
    parser.add_argument("--json", action="store_true", help="write the findings to standard output as JSON")
    parser.add_argument("file", metavar="FILE", help="the configuration")


def run(options: argparse.Namespace, console: Console) -> int:
    """0, or 1 if there are errors."""
    from suuupra_gateway.config.findings import ConfigError, ConfigErrors, placed
    from suuupra_gateway.config.source import load
    from suuupra_gateway.lint import warnings
    from suuupra_gateway.trace import examine

    errors: tuple[ConfigError, ...] = ()
    cautions: list[ConfigError] = []
    counts: dict[str, Any] = {}
    try:
        document = load(options.file)
        plan = examine(document)
    except ConfigErrors as found:
        errors = found.errors
    else:
        config = plan.config
        cautions = sorted(
            (placed(document, finding) for finding in warnings(config)),
            key=lambda error: (error.where.file, error.where.line, error.where.column),
        )
        counts = {
            "routes": len(config.routes),
            "upstreams": len(config.upstreams),
            "tests": sum(len(route.tests) for route in config.routes),
        }
    if options.json:
        console.say_json(
            {
                "ok": not errors,
                "errors": [error.as_dict() for error in errors],
                "warnings": [caution.as_dict() for caution in cautions],
                **counts,
            }
        )
        return 1 if errors else 0
    for error in errors:
        console.complain_of(error)
    for caution in cautions:
        console.complain_of(caution, "warning", YELLOW)
    if not errors:
        told = ", ".join(f"{count} {name if count != 1 else name[:-1]}" for name, count in counts.items())
        console.say(f"{options.file}: {console.styled('all is well', GREEN)} ({told})")
    return 1 if errors else 0
