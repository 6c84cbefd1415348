"""
``python -m tests.bench [--only NAME ...] [--turns N] [--seconds S] [--json FILE]``: run the benchmarks and print a table.

Peers take turns (A B C A B C …), so that a change of the machine's speed hits all alike; what counts is the median of the
CPU time per request and its ratio to nginx's of the same run.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.bench import identity, scenarios

SCENARIOS: dict[str, Callable[[scenarios.Run], dict[str, Any]]] = {
    "relay": scenarios.relay,
    "varying": scenarios.varying,
    "workers": scenarios.workers,
    "latency": scenarios.latency,
    "bodies": scenarios.bodies,
    "routes": scenarios.routes,
    "idle": scenarios.idle,
    "reload": scenarios.reload,
    "identity": identity.identity,
}


def main() -> int:
    """Run what is asked for; 0 unless a scenario could not run at all."""
    parser = argparse.ArgumentParser(
        prog="make bench", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--only", nargs="*", choices=SCENARIOS, help="scenarios to run (default: all)")
    parser.add_argument("--turns", type=int, default=5, help="turns of each peer (default: 5)")
    parser.add_argument("--seconds", type=float, default=4.0, help="seconds of load per turn (default: 4)")
    parser.add_argument("--peers", nargs="*", help="peers of `relay` (default: all that can be installed)")
    parser.add_argument(
        "--json", type=Path, default=Path("bench-results/latest.json"), help="where the figures are written"
    )
    options = parser.parse_args()

    results: dict[str, Any] = {
        "machine": {
            "python": platform.python_version(),
            "kernel": platform.release(),
            "cores": os.cpu_count(),
            "cpu": next(
                (
                    line.partition(":")[2].strip()
                    for line in Path("/proc/cpuinfo").read_text().splitlines()
                    if line.startswith("model name")
                ),
                "",
            ),
        },
        "method": {"turns": options.turns, "seconds": options.seconds, "connections": 64, "header fields": 10},
    }
    failed = 0
    for name in options.only or SCENARIOS:
        print(f"\n== {name}: {(SCENARIOS[name].__doc__ or '').strip().splitlines()[0]}", flush=True)
        with tempfile.TemporaryDirectory(prefix="suuupra-bench-") as folder:
            run = scenarios.Run(Path(folder), options.turns, options.seconds, tuple(options.peers or ()))
            try:
                results[name] = SCENARIOS[name](run)
            except Exception as reason:
                failed += 1
                results[name] = {"failed": f"{type(reason).__name__}: {reason}"}
                print(f"   failed: {reason}", file=sys.stderr, flush=True)
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(results, indent=1))
    print(f"\nfigures: {options.json}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
