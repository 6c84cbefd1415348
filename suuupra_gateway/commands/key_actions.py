"""
What ``suuupra-gateway keys`` does, once there is a store. Each returns an exit status.

Standard output has what was asked for, for people or as JSON; what else there is to say goes to standard error, so that
``KEY=$(suuupra-gateway keys create …)`` is the key.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, BinaryIO

from suuupra_gateway.commands.console import BOLD, DIM, GREEN, RED, YELLOW, Console

if TYPE_CHECKING:
    from suuupra_gateway.auth.issuing import Issued, Issuing
    from suuupra_gateway.auth.keystore import KeyRecord
    from suuupra_gateway.config.model import GatewayConfig

_PIECE = 1024 * 1024

_STYLES = {"active": GREEN, "not-yet": YELLOW, "replaced": DIM, "expired": DIM, "revoked": RED}


async def create(issuing: Issuing, options: argparse.Namespace, console: Console, config: GatewayConfig) -> int:
    """Make a key."""
    from suuupra_gateway.auth.keyorder import KeyOrder

    now = issuing.now()
    order = KeyOrder(
        owner=options.owner,
        name=options.name,
        scopes=tuple(options.scope),
        roles=tuple(options.role),
        tenant=options.tenant,
        routes=tuple(options.route),
        cidrs=tuple(options.cidr),
        not_before=now + options.not_before if options.not_before else 0.0,
        expires_at=now + options.expires if options.expires else 0.0,
        tier=options.tier,
        limits=dict(options.limit),
        notes=dict(options.note),
    )
    issued = await issuing.create(options.actor, order)
    _tell_issued(issued, now, options, console)
    return 0


def _tell_issued(issued: Issued, now: float, options: argparse.Namespace, console: Console) -> None:
    from suuupra_gateway.auth.issuing import shown

    record, text = issued.record, issued.key.text.decode("ascii")
    if options.json:
        console.say_json({**shown(record, now), "key": text})
        return
    console.say(console.styled(text, BOLD))
    console.complain(f"Key {record.id} of {record.owner}, good {_good(record, now)}.")
    console.complain("It is shown this once: what is kept is a hash. Give it to its owner on a safe way.")


async def overview(issuing: Issuing, options: argparse.Namespace, console: Console, config: GatewayConfig) -> int:
    """List keys."""
    from suuupra_gateway.auth.issuing import shown

    now = issuing.now()
    records = [
        record
        for record in await issuing.store.all()
        if (options.owner is None or record.owner == options.owner)
        and (options.all or record.state(now) in ("active", "not-yet"))
    ]
    used = await issuing.store.used(record.id for record in records)
    if options.json:
        console.say_json([shown(record, now, used.get(record.id, 0.0)) for record in records])
        return 0
    if not records:
        console.say("no keys" if options.all else "no keys that are good (--all shows those that are over, too)")
        return 0
    rows = [
        (
            record.id,
            record.owner,
            record.name,
            record.state(now),
            _end(record),
            _ago(used.get(record.id, 0.0), now),
            " ".join(record.scopes),
        )
        for record in records
    ]
    console.say_table(("ID", "OWNER", "NAME", "STATE", "ENDS", "LAST USED", "SCOPES"), rows)
    return 0


async def show(issuing: Issuing, options: argparse.Namespace, console: Console, config: GatewayConfig) -> int:
    """Show a key."""
    import msgspec

    from suuupra_gateway.auth.issuing import shown

    now = issuing.now()
    record = await issuing.record(options.id)
    used = (await issuing.store.used([record.id])).get(record.id, 0.0)
    usage = await issuing.usage(record.id)
    if options.json:
        console.say_json({**shown(record, now, used), "usage": [msgspec.to_builtins(each) for each in usage]})
        return 0
    state = record.state(now)
    lines = [
        ("id", record.id),
        ("owner", record.owner),
        ("name", record.name),
        ("state", console.styled(state, _STYLES[state])),
        ("scopes", " ".join(record.scopes)),
        ("roles", " ".join(record.roles)),
        ("tenant", record.tenant),
        ("routes", " ".join(record.routes) or "all"),
        ("addresses", " ".join(record.cidrs) or "all"),
        ("tier", record.tier),
        ("limits", " ".join(f"{name}={limit}" for name, limit in sorted(record.limits.items()))),
        ("made", f"{_date(record.created_at)} by {record.created_by}"),
        ("good from", _date(record.not_before) if record.not_before else ""),
        ("ends", _end(record)),
        ("replaces", record.rotated_from),
        ("replaced by", record.rotated_to),
        (
            "revoked",
            f"{_date(record.revoked_at)} by {record.revoked_by}: {record.revoked_why}" if record.revoked_at else "",
        ),
        ("last used", _ago(used, now)),
        *((name, text) for name, text in sorted(record.notes.items())),
    ]
    width = max(len(name) for name, text in lines if text)
    for name, text in lines:
        if text:
            console.say(f"{name.ljust(width)}  {text}")
    if usage:
        console.say()
        console.say_table(
            ("USED FROM", "BY", "FIRST", "LAST"),
            [(each.client, each.agent or "-", _date(each.first), _ago(each.last, now)) for each in usage],
        )
    return 0


async def rotate(issuing: Issuing, options: argparse.Namespace, console: Console, config: GatewayConfig) -> int:
    """Replace a key."""
    issued = await issuing.rotate(options.id, options.actor, options.overlap)
    _tell_issued(issued, issuing.now(), options, console)
    if not options.json:
        old = await issuing.record(options.id)
        console.complain(f"Key {old.id} goes on to work until {_date(old.ends())}.")
        console.complain(f"Who still uses it: suuupra-gateway keys show --config {options.config} {old.id}")
    return 0


async def revoke(issuing: Issuing, options: argparse.Namespace, console: Console, config: GatewayConfig) -> int:
    """End a key."""
    from suuupra_gateway.auth.issuing import shown

    record = await issuing.revoke(options.id, options.actor, options.why)
    if options.json:
        console.say_json(shown(record, issuing.now()))
    else:
        console.say(f"Key {record.id} of {record.owner} is revoked.")
    return 0


async def check(issuing: Issuing, options: argparse.Namespace, console: Console, config: GatewayConfig) -> int:
    """Find keys in standard input; 1 if one of them is good."""
    leaks = {leak.key.text: leak for text in _read(sys.stdin.buffer) for leak in await issuing.check(text)}
    results: list[dict[str, object]] = []
    for leak in leaks.values():
        result = leak.shown(issuing.now())
        if options.revoke and leak.real and result["state"] != "revoked":
            await issuing.revoke(leak.key.id, options.actor, "found by keys check")
            result = {**result, "state": "revoked"}
        results.append(result)
    if options.json:
        console.say_json(results)
    elif not results:
        console.say("no keys found")
    else:
        rows = [[str(each[name] or "not ours") for name in ("masked", "id", "state", "owner")] for each in results]
        console.say_table(("KEY", "ID", "STATE", "OWNER"), rows)
    return 1 if any(each["state"] in ("active", "not-yet") for each in results) else 0


def _read(stream: BinaryIO) -> Iterator[bytes]:
    """Standard input in pieces that overlap by more than a key: nobody says how long it is."""
    from suuupra_gateway.auth.apikey import LONGEST

    rest = b""
    while piece := stream.read(_PIECE):
        yield rest + piece
        rest = (rest + piece)[-LONGEST:]


async def audit(issuing: Issuing, options: argparse.Namespace, console: Console, config: GatewayConfig) -> int:
    """Find keys that somebody should look at; 1 if there are any."""
    import attrs
    import msgspec

    if options.log:
        entries = await issuing.store.audit(options.limit)
        if options.json:
            console.say_json([msgspec.to_builtins(entry) for entry in entries])
        else:
            console.say_table(
                ("WHEN", "WHO", "WHAT", "KEY", "DETAIL"),
                [(_date(each.at), each.actor, each.action, each.id, each.detail) for each in entries],
            )
        return 0
    findings = await issuing.audit()
    if options.json:
        console.say_json([attrs.asdict(finding) for finding in findings])
    elif findings:
        console.say_table(
            ("KEY", "OWNER", "FLAW", "WHY"), [(each.id, each.owner, each.flaw, each.why) for each in findings]
        )
    else:
        console.say("nothing to look at")
    return 1 if findings else 0


def _date(at: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%SZ", time.gmtime(at))


def _end(record: KeyRecord) -> str:
    return _date(record.ends()) if record.ends() else "never"


def _good(record: KeyRecord, now: float) -> str:
    start = f"from {_date(record.not_before)} " if record.not_before > now else ""
    return f"{start}until {_date(record.ends())}" if record.ends() else f"{start}for ever"


def _ago(at: float, now: float) -> str:
    if not at:
        return "never"
    seconds = max(0.0, now - at)
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{seconds / length:.0f} {unit} ago"
    return "just now"
