"""
The figures of a run as a page: ``python -m tests.bench.report docs/benchmarks.json`` writes docs/performance.rst's tables.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

MARK = ".. figures\n"
"""In docs/performance.rst: what follows is replaced."""


def table(heads: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A simple table of reStructuredText."""
    texts = [list(heads), *([str(cell) for cell in row] for row in rows)]
    widths = [max(len(row[column]) for row in texts) for column in range(len(heads))]
    rule = "  ".join("=" * width for width in widths)
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in texts]
    return "\n".join([rule, lines[0], rule, *lines[1:], rule]) + "\n"


def _peers(peers: dict[str, Any], base: str) -> str:
    rows = [
        (
            name,
            f"{row['cpu_us']['median']} ({row['cpu_us']['min']} to {row['cpu_us']['max']})",
            f"{row['ratio'].get(base, '')}",
            f"{row['rate']['median']:.0f}",
            row["p50_ms"]["median"],
            row["p99_ms"]["median"],
        )
        for name, row in peers.items()
    ]
    return table(("", "CPU us/request (min to max)", f"x {base}", "requests/s", "p50 ms", "p99 ms"), rows)


def page(results: dict[str, Any]) -> str:
    """All tables, with what each of them measures."""
    machine, method = results["machine"], results["method"]
    parts = [
        f"Python {machine['python']}, Linux {machine['kernel']}, {machine['cores']} cores ({machine['cpu']}); "
        f"{method['turns']} turns of {method['seconds']:g} s each, medians.\n"
    ]
    if "relay" in results:
        parts += [
            "Plain relay, 90-byte answer, ten request header fields, 64 connections:\n",
            _peers(results["relay"]["peers"], "nginx"),
        ]
    if "varying" in results:
        parts += [
            "The same with a header field that differs in every request, as a trace id does:\n",
            _peers(results["varying"]["peers"], "nginx"),
        ]
    if "identity" in results:
        parts += [
            "What it costs to know who is calling: the gateway's own public route, a cached RS256 token of 0.7 KB, an API key, a"
            " session in Redis; nginx relays plainly, Envoy checks the token (``jwt_authn`` with its cache):\n",
            _peers(results["identity"]["peers"], "public"),
        ]
    if "workers" in results:
        found = results["workers"]
        parts += [
            f"Two workers: by CPU per request they carry {found['speedup_of_two_by_cpu']} times what one does "
            f"({found['requests_per_cpu_second']['two']} requests per CPU second, one alone "
            f"{found['requests_per_cpu_second']['one']}).\n"
        ]
    if "latency" in results:
        found = results["latency"]
        rows = [(name, row["p50"]["median"], row["p99"]["median"]) for name, row in found["table"].items()]
        parts += [
            f"Latency at half load ({found['full'] // 2} requests/s, sent at fixed times whatever the answers do); "
            f"the gateway adds {found['added_p99_ms']} ms at p99:\n",
            table(("", "p50 ms", "p99 ms"), rows),
        ]
    if "bodies" in results:
        found = results["bodies"]
        rate = {name: value["median"] for name, value in found["mib_per_second"].items()}
        gib = found["gib"]
        parts += [
            f"Answers of 1 MiB: {rate['suuupra']:.0f} MiB/s, nginx {rate['nginx']:.0f} MiB/s ({found['ratio']} x). "
            f"While 1 GiB passes, memory grows by {gib['down']['growth_mib']} MiB (down, with a client that pauses) "
            f"and {gib['up']['growth_mib']} MiB (up).\n"
        ]
    if "routes" in results:
        parts += ["By number of routes:\n", _peers(results["routes"]["peers"], "routes10")]
    if "idle" in results:
        found = results["idle"]
        parts += [
            f"{found['connections']} idle keep-alive connections: {found['bytes_each']} bytes each, "
            f"{found['cpu_share_while_idle'] * 100:.1f} % of a core.\n"
        ]
    if "reload" in results:
        found = results["reload"]
        parts += [
            f"Reloads of 1,000 routes at {found['rate']} requests/s: {found['failed']} failed requests in "
            f"{found['reloads']} reloads, p99 {found['p99_during_ms']['median']} ms in the seconds around one and "
            f"{found['p99_before_ms']['median']} ms before ({found['ratio']} x).\n"
        ]
    return "\n".join(parts)


def main(source: str, target: str = "docs/performance.rst") -> None:
    """Write the page's tables anew."""
    path = Path(target)
    head, _, _ = path.read_text().partition(MARK)
    path.write_text(head + MARK + "\n" + page(json.loads(Path(source).read_text())))


if __name__ == "__main__":
    main(*sys.argv[1:])
