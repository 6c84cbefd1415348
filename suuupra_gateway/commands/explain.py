"""
Explain what would become of a request, without sending anything: the route that gets it and why the others do not, what each
filter would do, where it would go and how, and the head that the upstream would see.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from typing import TYPE_CHECKING

from suuupra_gateway.commands.console import BOLD, DIM, GREEN, RED, Console, examined

if TYPE_CHECKING:
    from suuupra_gateway.auth.principal import Principal
    from suuupra_gateway.steps import Branch, Step, Trace

HELP = "explain what would become of a request"


def _header(text: str) -> tuple[str, str]:
    name, colon, value = text.partition(":")
    if not colon or not name.strip():
        raise argparse.ArgumentTypeError(f"{text!r} is no header: write 'Name: value'")
    return name.strip(), value.strip()


def _address(text: str) -> str:
    import ipaddress

    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no IP address") from None


def _principal(text: str) -> Principal:
    import json

    from pydantic import ValidationError

    from suuupra_gateway.config.model import PrincipalSpec
    from suuupra_gateway.memory import pretended

    try:
        return pretended(PrincipalSpec.model_validate(json.loads(text) if text.lstrip().startswith("{") else text))
    except ValidationError as error:
        wrong = error.errors(include_url=False)[0]
        place = ".".join(map(str, wrong["loc"])) or "principal"
        raise argparse.ArgumentTypeError(f"{place}: {wrong['msg']}") from None
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"not JSON: {error}") from None


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the command line."""
    parser.add_argument("method", metavar="METHOD", type=str.upper, help="such as GET")
    parser.add_argument(
        "url", metavar="URL", help="https://host/path?query, or /path?query for the host of -H 'Host: …'"
    )
    parser.add_argument("file", metavar="FILE", help="the configuration")
    parser.add_argument(
        "-H", "--header", dest="headers", metavar="HEADER", type=_header, action="append", default=[],
        help="a header field, 'Name: value'; may be repeated",
    )  # fmt: skip
    parser.add_argument(
        "--client", metavar="ADDRESS", type=_address, default="192.0.2.1",
        help="the client's address (default %(default)s, which belongs to nobody)",
    )  # fmt: skip
    parser.add_argument(
        "--principal", metavar="PRINCIPAL", type=_principal,
        help="who is calling, whatever credentials there are: a name, or JSON such as "
        '{"subject": "alice", "scopes": ["read"], "roles": [], "tenant": "", "claims": {}}',
    )  # fmt: skip
    parser.add_argument("--json", action="store_true", help="write JSON")


def run(options: argparse.Namespace, console: Console) -> int:
    """0, or 1 if the configuration is refused. What becomes of the request does not matter."""
    from suuupra_gateway.memory import Probe
    from suuupra_gateway.trace import trace

    found = examined(options.file, console)
    if found is None:
        return 1
    _, plan = found
    probe = Probe(options.method, options.url, tuple(options.headers), options.client, options.principal)
    result = trace(plan, probe)
    if options.json:
        console.say_json(result.as_dict())
    else:
        _Page(console, result).write()
    return 0


class _Page:
    """A trace as text: a label on the left, what it is about beside it."""

    _INDENT = 11

    def __init__(self, console: Console, trace: Trace) -> None:
        self._console = console
        self._trace = trace

    def write(self) -> None:
        trace = self._trace
        host = f" of {trace.host}" if trace.host else ""
        self._section("request", [f"{trace.method} {trace.path or trace.url}{host}, from {trace.client}"])
        self._section("route", self._route())
        self._section("not", [f"{miss.route}: {miss.why}" for miss in trace.misses])
        if trace.more_misses:
            self._section("", [f"and {trace.more_misses} more, less near"])
        self._section(
            "filters", [line for place, step in enumerate(trace.steps, 1) for line in self._step(place, step)]
        )
        self._section("caller", self._caller())
        self._section("target", [trace.target] if trace.target is not None else [])
        for branch in trace.branches:
            self._section("upstream", _branch(branch, branch.upstream == trace.upstream))
        if trace.forwarded is not None:
            first = f"{trace.forwarded.method} {trace.forwarded.target}"
            self._section("it sees", [first, *_fields(trace.forwarded.headers)])
        if trace.answer is not None:
            style = GREEN if trace.answer.status < 400 else RED
            status = self._console.styled(str(trace.answer.status), style)
            code = f" {trace.answer.code}" if trace.answer.code else ""
            first = f"{status}{code}, by {trace.answer.by}"
            self._section("answer", [first, *_fields(trace.answer.headers)])

    def _route(self) -> list[str]:
        trace = self._trace
        if trace.route is None:
            return ["none"]
        return [
            f"{self._console.styled(trace.route, BOLD)} (auth {trace.auth})",
            *(f"{name} = {value}" for name, value in trace.params),
        ]

    def _caller(self) -> list[str]:
        caller, trace = self._trace.caller, self._trace
        if trace.asks:
            return [f"whoever {trace.asks} says it is; what follows is for those who are let in"]
        if caller is None:
            return []
        by = f"{caller.credential} ({caller.provider})" if caller.provider else caller.credential
        told = [
            (f"key {caller.key}", caller.key),
            (f"scopes {' '.join(caller.scopes)}", caller.scopes),
            (f"roles {' '.join(caller.roles)}", caller.roles),
            (f"tenant {caller.tenant}", caller.tenant),
        ]
        who = self._console.styled(_printable(caller.subject), BOLD)
        return [", ".join([f"{who} by {by}", *(_printable(text) for text, said in told if said)])]

    def _step(self, place: int, step: Step) -> Iterable[str]:
        says = f" ({_printable(step.says)})" if step.says else ""
        yield f"{place}. {step.filter} [{step.phase}]: {step.verdict}{says}"
        for change in step.changes:
            yield f"   {change.part}: {_shown(change.before)} -> {_shown(change.after)}"
        if step.verdict != "not reached":
            yield self._console.styled(f"   if it fails: {step.on_error}", DIM)

    def _section(self, label: str, lines: list[str]) -> None:
        for number, line in enumerate(lines):
            shown = self._console.styled(label.ljust(self._INDENT), DIM) if number == 0 else " " * self._INDENT
            self._console.say(f"{shown}{line}")


def _printable(text: str) -> str:
    """What messages and tokens say comes from elsewhere, and must not command a terminal."""
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)


def _fields(headers: Iterable[tuple[str, str]]) -> list[str]:
    return [_printable(f"{name}: {value}") for name, value in headers]


def _shown(value: str | None) -> str:
    return "(none)" if value is None else _printable(value) or "(empty)"


def _branch(branch: Branch, chosen: bool) -> list[str]:
    share = ""
    if branch.share != 1:
        share = f", {branch.share:.3%} of the route's requests".replace(".000", "") + ", this request's" * chosen
    return [
        f"{branch.upstream}{share}: {branch.balance} among {', '.join(branch.endpoints)}",
        "timeouts: " + ", ".join(f"{name} {value}" for name, value in branch.timeouts),
        f"attempts: {branch.attempts}; repeated: {branch.retried}",
    ]
