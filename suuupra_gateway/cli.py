"""
The ``suuupra-gateway`` command: everything about a configuration that needs no running gateway.

Each subcommand is a module of `suuupra_gateway.commands` with ``HELP`` (None: not listed), ``add_arguments`` and ``run``.
These modules import what they need when they run, so that ``--help`` and mistyped commands are quick.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from importlib import import_module

import suuupra_gateway
from suuupra_gateway.commands.console import Console

COMMANDS = ("check", "explain", "routes", "keys", "dump", "schema", "reference")

EXIT_CODES = """\
exit status:
  0  all is well; warnings do not count
  1  the configuration is refused, one of its route tests failed, or something could not be done
  2  the command line is wrong
"""


def parser() -> argparse.ArgumentParser:
    """The whole command line."""
    command = argparse.ArgumentParser(
        prog="suuupra-gateway",
        description="Everything about suuupra-gateway beside serving. The gateway itself: twistd suuupra-gateway.",
        epilog=EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.add_argument("--version", action="version", version=f"%(prog)s {suuupra_gateway.__version__}")
    subcommands = command.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for name in COMMANDS:
        module = import_module(f"suuupra_gateway.commands.{name}")
        listed = {"help": module.HELP} if module.HELP is not None else {}
        subcommand = subcommands.add_parser(
            name,
            **listed,
            description=module.__doc__,
            epilog=EXIT_CODES,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        module.add_arguments(subcommand)
        subcommand.set_defaults(run=module.run)
    return command


def main(arguments: Sequence[str] | None = None) -> int:
    """
    Run the command line; the exit status.

    :param arguments: without the program's name; None for those of the process.
    """
    options = parser().parse_args(arguments)
    try:
        status: int = options.run(options, Console.of_process())
        sys.stdout.flush()
    except BrokenPipeError:
        # Whoever read the output has seen enough, as `head` does. The interpreter must not try to flush it once more.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    return status


if __name__ == "__main__":
    sys.exit(main())
