"""Write the reference of all options, generated from the models, as reStructuredText. For those who work on the gateway."""

from __future__ import annotations

import argparse

from suuupra_gateway.commands.console import Console

HELP = None


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the command line."""
    parser.add_argument("file", metavar="FILE", nargs="?", help="where to write, such as docs/configuration.rst")


def run(options: argparse.Namespace, console: Console) -> int:
    """0."""
    from suuupra_gateway.config.reference import reference
    from suuupra_gateway.filters.catalog import kinds

    text = reference(kinds())
    if options.file is None:
        console.say(text.rstrip("\n"))
        return 0
    with open(options.file, "w", encoding="utf-8") as file:
        file.write(text)
    return 0
