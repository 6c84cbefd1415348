"""Write the effective configuration: includes, variables and all defaults filled in, secrets masked."""

from __future__ import annotations

import argparse

from suuupra_gateway.commands.console import Console

HELP = "write the effective configuration, secrets masked"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the command line."""
    parser.add_argument("--json", action="store_true", help="write JSON instead of YAML")
    parser.add_argument("file", metavar="FILE", help="the configuration")


def run(options: argparse.Namespace, console: Console) -> int:
    """0, or 1 if the configuration is refused. It need not compile: route tests are not run."""
    from suuupra_gateway.config.decode import decode
    from suuupra_gateway.config.dump import dump, dump_yaml
    from suuupra_gateway.config.findings import ConfigErrors
    from suuupra_gateway.config.source import load
    from suuupra_gateway.filters.catalog import known

    try:
        document = load(options.file)
        config = decode(document, known(document))
    except ConfigErrors as errors:
        for error in errors.errors:
            console.complain_of(error)
        return 1
    if options.json:
        console.say_json(dump(config, document))
    else:
        console.say(dump_yaml(config, document).rstrip("\n"))
    return 0
