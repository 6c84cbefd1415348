"""
Make, look at, replace and revoke API keys. Works on the store itself: a gateway need not run, and those that do hear of it at
once.
"""

from __future__ import annotations

import argparse
import contextlib
import getpass
import re
from collections.abc import Awaitable, Callable, Coroutine
from typing import TYPE_CHECKING, Any

from suuupra_gateway.commands import key_actions
from suuupra_gateway.commands.console import Console

if TYPE_CHECKING:
    from suuupra_gateway.auth.issuing import Issuing
    from suuupra_gateway.config.model import GatewayConfig

STATUS = """\
exit status:
  0  it was done
  1  it was not; or `check` has found a key that is good, or `audit` one that somebody should look at
  2  the command line is wrong
"""

PATIENCE = 3.0
"""Seconds for a store to be there."""

HELP = "make, look at, replace and revoke API keys"


def _period(text: str) -> float:
    from suuupra_gateway.config.units import Duration

    try:
        return float(Duration.parse(text))
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _pair(text: str) -> tuple[str, str]:
    name, separator, value = text.partition("=")
    if not separator or not name:
        raise argparse.ArgumentTypeError(f"{text!r} is no NAME=VALUE")
    return name, value


def _range(text: str) -> str:
    import ipaddress

    try:
        return str(ipaddress.ip_network(text))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no address range such as 10.0.0.0/8") from None


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the command line."""
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True, dest="action")

    def action(name: str, about: str, run: Callable[..., Any], *, id: bool = False) -> argparse.ArgumentParser:
        made = actions.add_parser(
            name,
            help=about,
            description=about[0].upper() + about[1:] + ".",
            epilog=STATUS,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        made.add_argument("--config", metavar="FILE", required=True, help="the gateway's configuration")
        made.add_argument("--json", action="store_true", help="write JSON")
        made.add_argument(
            "--as",
            dest="actor",
            metavar="WHO",
            type=_visible,
            default="",
            help="who does it, for the audit log (default: you)",
        )
        if id:
            made.add_argument("id", metavar="ID", type=_id, help="id of the key, as `keys list` shows it")
        made.set_defaults(act=run)
        return made

    create = action("create", "make a key", key_actions.create)
    create.add_argument("--owner", metavar="WHO", required=True, help="whose it is; upstreams are told")
    create.add_argument("--name", metavar="TEXT", default="", help="what it is for")
    create.add_argument("--scope", metavar="SCOPE", action="append", default=[], help="what it may do; may be repeated")
    create.add_argument(
        "--role", metavar="ROLE", action="append", default=[], help="what its owner is; may be repeated"
    )
    create.add_argument("--tenant", metavar="TENANT", default="", help="for whom")
    create.add_argument(
        "--route",
        metavar="ROUTE",
        action="append",
        default=[],
        help="the only routes where it is good; may be repeated",
    )
    create.add_argument(
        "--cidr",
        metavar="RANGE",
        type=_range,
        action="append",
        default=[],
        help="the only addresses from which it may come; may be repeated",
    )
    create.add_argument(
        "--expires", metavar="PERIOD", type=_period, help="how long it is good, such as 90d (default: for ever)"
    )
    create.add_argument(
        "--not-before",
        metavar="PERIOD",
        type=_period,
        help="in how long it begins to be good, such as 1h (default: now)",
    )
    create.add_argument("--tier", metavar="TIER", default="", help="which tier of limits holds")
    create.add_argument(
        "--limit",
        metavar="POLICY=LIMIT",
        type=_pair,
        action="append",
        default=[],
        help="a limit of its own; may be repeated",
    )
    create.add_argument(
        "--note", metavar="NAME=TEXT", type=_pair, action="append", default=[], help="anything else; may be repeated"
    )

    every = action("list", "list keys", key_actions.overview)
    every.add_argument("--owner", metavar="WHO", help="only of this owner")
    every.add_argument("--all", action="store_true", help="those that are over too")

    action("show", "show what is known of a key, and who uses it", key_actions.show, id=True)

    rotate = action("rotate", "replace a key by a new one that may do the same", key_actions.rotate, id=True)
    rotate.add_argument(
        "--overlap",
        metavar="PERIOD",
        type=_period,
        default=86400.0,
        help="how long the old one goes on to work: at most 7d (default: 1d)",
    )

    revoke = action("revoke", "end a key at once, on all gateways", key_actions.revoke, id=True)
    revoke.add_argument("--why", metavar="TEXT", default="", help="for the audit log")

    check = action(
        "check", "find keys in what is read from standard input, and say whether they are real", key_actions.check
    )
    check.add_argument(
        "--stdin", action="store_true", help="read standard input (the default; keys never belong on a command line)"
    )
    check.add_argument("--revoke", action="store_true", help="revoke those that are")

    audit = action("audit", "find keys that somebody should look at", key_actions.audit)
    audit.add_argument("--log", action="store_true", help="show what was done with keys instead")
    audit.add_argument(
        "--limit", metavar="N", type=_count, default=50, help="how many entries of the log (default: 50)"
    )


def _visible(text: str) -> str:
    from suuupra_gateway.auth.keyorder import plain

    if not plain(text):
        raise argparse.ArgumentTypeError(f"{text!r} is not of at most 200 visible characters")
    return text


def _id(text: str) -> str:
    # Somebody who has only the key in hand may paste it: then it is in their shell's history, and most likely to be revoked.
    found = re.fullmatch(r"(?:sgk_[a-z0-9]{1,12}_)?([0-9A-Za-z]{12})(?:_.*)?", text)
    if found is None:
        raise argparse.ArgumentTypeError(f"{text!r} is no id of a key: these have 12 letters and digits")
    return found[1]


def _count(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 0 < int(text[:9]) <= 10_000):
        raise argparse.ArgumentTypeError(f"{text!r} is no number from 1 to 10000")
    return int(text)


def run(options: argparse.Namespace, console: Console) -> int:
    """See `STATUS`."""
    from suuupra_gateway.config.decode import decode
    from suuupra_gateway.config.findings import ConfigErrors
    from suuupra_gateway.config.source import load
    from suuupra_gateway.filters.catalog import known

    try:
        document = load(options.config)
        config = decode(document, known(document))
    except ConfigErrors as errors:
        for error in errors.errors:
            console.complain_of(error)
        return 1
    if config.identity.api_keys is None:
        console.complain(f"{options.config}: identity: there are no API keys here: add api-keys with peppers")
        return 1
    options.actor = options.actor or _whoami()
    return _in_reactor(lambda reactor: _with_store(reactor, config, options, console))


def _whoami() -> str:
    try:
        return f"cli:{getpass.getuser()}"
    except (KeyError, OSError):
        return "cli"


def _in_reactor(work: Callable[[Any], Coroutine[Any, Any, int]]) -> int:
    """Run ``work`` in a reactor of its own, and return what it returns."""
    from twisted.internet.defer import Deferred
    from twisted.internet.task import react
    from twisted.python.failure import Failure

    status: list[int] = []

    def main(reactor: Any) -> Deferred[None]:
        return Deferred.fromCoroutine(work(reactor)).addCallback(status.append)

    failures: list[Failure] = []
    with contextlib.suppress(SystemExit):  # that is how it ends always
        react(lambda reactor: main(reactor).addErrback(failures.append))
    if failures:
        failures[0].raiseException()
    return status[0]


async def _with_store(reactor: Any, config: GatewayConfig, options: argparse.Namespace, console: Console) -> int:
    from suuupra_gateway.auth.issuing import Issuing, NoSuchKey, NotPossible
    from suuupra_gateway.auth.keyorder import BadOrder
    from suuupra_gateway.auth.stores import lasting, ready
    from suuupra_gateway.net.redis import StoreError, StoreUnavailable
    from suuupra_gateway.state import keys_file

    keys = config.identity.api_keys
    assert keys is not None
    file = keys_file(keys, config.gateway)
    assert config.gateway.store is not None or file, "decoding sees to that"
    store, close = lasting(config.gateway.store, file, reactor)
    try:
        await ready(store, reactor, PATIENCE)
        act: Callable[[Issuing, argparse.Namespace, Console, GatewayConfig], Awaitable[int]] = options.act
        issuing = Issuing.of(config, store)
        assert issuing is not None
        return await act(issuing, options, console, config)
    except NoSuchKey as error:
        console.complain(
            f"there is no key {error}; which there are: suuupra-gateway keys list --all --config {options.config}"
        )
    except (NotPossible, BadOrder) as error:
        console.complain(str(error))
    except (StoreUnavailable, StoreError) as error:
        console.complain(f"the store of API keys does not answer: {error}")
    finally:
        await close()
    return 1
