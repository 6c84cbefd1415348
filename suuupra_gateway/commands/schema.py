"""
Write the JSON Schema of configuration files, for editors that complete and check while one types, such as those that use
yaml-language-server: write it to gateway.schema.json, and begin the configuration with the line
``# yaml-language-server: $schema=gateway.schema.json``.
"""

from __future__ import annotations

import argparse

from suuupra_gateway.commands.console import Console

HELP = "write the JSON Schema of configuration files"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the command line."""
    parser.add_argument(
        "--plugin", dest="plugins", metavar="PATH", action="append", default=[],
        help="a Python file with filters of your own, as under plugins: in the configuration; may be repeated",
    )  # fmt: skip


def run(options: argparse.Namespace, console: Console) -> int:
    """0, or 1 if a plugin cannot be loaded."""
    from suuupra_gateway.config.reference import schema
    from suuupra_gateway.filters.catalog import PluginError, kinds

    try:
        known = kinds(options.plugins)
    except PluginError as error:
        console.complain(str(error))
        return 1
    console.say_json(schema(known))
    return 0
