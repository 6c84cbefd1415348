"""
What is measured: one function per question, each returns figures and prints a table as it goes.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import statistics
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs

from tests.bench import peers
from tests.bench.measure import Load, cpu, free_port, rss, wrk
from tests.bench.peers import Place, Running


@attrs.frozen
class Run:
    """The circumstances of a run."""

    folder: Path
    turns: int
    seconds: float
    only_peers: tuple[str, ...] = ()


def spread(values: list[float], digits: int = 1) -> dict[str, float]:
    """Minimum, median and maximum."""
    return {
        "min": round(min(values), digits),
        "median": round(statistics.median(values), digits),
        "max": round(max(values), digits),
    }


@contextlib.contextmanager
def upstream(run: Run) -> Iterator[int]:
    """The upstream of a scenario, on core 1; its port."""
    port = free_port()
    folder = run.folder / "upstream"
    folder.mkdir()
    running = peers.nginx_upstream(Place(folder, port, core="1"))
    try:
        yield port
    finally:
        running.stop()


def place(run: Run, name: str, port: int, **more: Any) -> Place:
    folder = run.folder / name
    folder.mkdir(exist_ok=True)
    return Place(folder, port, **more)


def turn(
    running: Running, run: Run, path: str = "/v1/users/7", *, connections: int = 64, script: str = ""
) -> tuple[float, Load]:
    """One turn of one peer: CPU microseconds per request, and what wrk saw."""
    pids = running.pids()
    before = cpu(pids)
    load = wrk(f"http://127.0.0.1:{running.port}{path}", seconds=run.seconds, connections=connections, script=script)
    used = cpu(pids) - before
    return used / max(load.requests, 1) * 1e6, load


def rows(samples: dict[str, list[tuple[float, Load]]], base: str = "nginx") -> dict[str, Any]:
    """The table: printed and returned."""
    medians = {name: statistics.median(cost for cost, _ in taken) for name, taken in samples.items() if taken}
    table: dict[str, Any] = {}
    print(
        f"   {'peer':12} {'CPU us/request':>24} {'requests/s':>11} {'p50 ms':>7} {'p99 ms':>7} {'errors':>6}  ratio to {base}"
    )
    for name, taken in samples.items():
        if not taken:
            continue
        costs = spread([cost for cost, _ in taken])
        row = {
            "cpu_us": costs,
            "rate": spread([load.rate for _, load in taken], 0),
            "p50_ms": spread([load.p50 for _, load in taken], 2),
            "p99_ms": spread([load.p99 for _, load in taken], 2),
            "errors": sum(load.errors for _, load in taken),
            "ratio": {other: round(medians[name] / medians[other], 2) for other in (base, "envoy") if other in medians},
        }
        table[name] = row
        text = f"{costs['median']:.1f} ({costs['min']:.1f}..{costs['max']:.1f})"
        ratio = "  ".join(f"{value:.2f} x {other}" for other, value in row["ratio"].items())
        print(
            f"   {name:12} {text:>24} {row['rate']['median']:>11.0f} {row['p50_ms']['median']:>7.2f} "
            f"{row['p99_ms']['median']:>7.2f} {row['errors']:>6}  {ratio}",
            flush=True,
        )
    return table


def _turns(run: Run, started: dict[str, Running], **how: Any) -> dict[str, list[tuple[float, Load]]]:
    samples: dict[str, list[tuple[float, Load]]] = {name: [] for name in started}
    for name, running in started.items():  # warm up: connections, caches, adaptive interpreter
        wrk(f"http://127.0.0.1:{running.port}/", seconds=1.0)
        print(f"   warm: {name}", flush=True)
    for number in range(run.turns):
        for name, running in started.items():
            samples[name].append(turn(running, run, **how))
        print(
            f"   turn {number + 1}/{run.turns}: "
            + ", ".join(f"{name} {taken[-1][0]:.1f}" for name, taken in samples.items()),
            flush=True,
        )
    return samples


def relay(run: Run) -> dict[str, Any]:
    """Plain relay of a 90-byte answer, ten request headers, 64 keep-alive connections (target 1)."""
    with upstream(run) as port:
        started: dict[str, Running] = {}
        missing = {}
        try:
            for name, start in peers.PEERS.items():
                if run.only_peers and name not in run.only_peers:
                    continue
                try:
                    started[name] = start(place(run, name, port))
                except (OSError, RuntimeError, subprocess.CalledProcessError) as reason:
                    missing[name] = str(reason)
                    print(f"   left out: {name}: {reason}", flush=True)
            table = rows(_turns(run, started))
        finally:
            for running in started.values():
                running.stop()
    return {"peers": table, "missing": missing}


def varying(run: Run) -> dict[str, Any]:
    """As `relay`, but with a trace id that differs in every request: nothing that is remembered of a head helps."""
    script = run.folder / "trace.lua"
    script.write_text(
        """
local number = 0
request = function()
  number = number + 1
  wrk.headers["X-Trace"] = string.format("%032x", number)
  return wrk.format(nil, nil)
end
"""
    )
    with upstream(run) as port:
        started: dict[str, Running] = {}
        try:
            for name in ("nginx", "suuupra", "envoy"):
                try:
                    started[name] = peers.PEERS[name](place(run, name, port))
                except (OSError, RuntimeError, subprocess.CalledProcessError) as reason:
                    print(f"   left out: {name}: {reason}", flush=True)
            table = rows(_turns(run, started, script=str(script)))
        finally:
            for running in started.values():
                running.stop()
    return {"peers": table}


def workers(run: Run) -> dict[str, Any]:
    """CPU per request with one worker and with two: what sharing costs (target 4)."""
    with upstream(run) as port:
        one = peers.gateway(place(run, "one", port), name="one")
        two = peers.gateway(place(run, "two", port, workers=2, core="0,1"), name="two")
        try:
            samples = _turns(run, {"one": one, "two": two})
            table = rows(samples, base="one")
        finally:
            one.stop()
            two.stop()
    capacity = {name: round(1e6 / row["cpu_us"]["median"]) for name, row in table.items()}
    speedup = round(2 * table["one"]["cpu_us"]["median"] / table["two"]["cpu_us"]["median"], 2)
    print(f"   requests per CPU second: {capacity}; two cores would carry {speedup} x one")
    return {"peers": table, "requests_per_cpu_second": capacity, "speedup_of_two_by_cpu": speedup}


def latency(run: Run) -> dict[str, Any]:
    """What the gateway adds at half load: paced requests to the upstream and through the gateway (target 5)."""
    from tests.bench.paced import paced

    with upstream(run) as port:
        running = peers.gateway(place(run, "gateway", port))
        rival = peers.nginx(place(run, "nginx", port))
        try:
            wrk(f"http://127.0.0.1:{running.port}/", seconds=2.0)
            full = wrk(f"http://127.0.0.1:{running.port}/", seconds=run.seconds).rate
            rate = full / 2
            ports = {"upstream": port, "suuupra": running.port, "nginx": rival.port}
            taken: dict[str, list[dict[str, float]]] = {name: [] for name in ports}
            for _ in range(run.turns):
                for name, number in ports.items():
                    taken[name].append(paced(number, rate=rate, seconds=run.seconds))
        finally:
            running.stop()
            rival.stop()
    table = {
        name: {key: spread([sample[key] for sample in samples], 3) for key in ("p50", "p99", "rate")}
        for name, samples in taken.items()
    }
    for name, row in table.items():
        print(
            f"   {name:9} p50 {row['p50']['median']:.3f} ms  p99 {row['p99']['median']:.3f} ms  at {row['rate']['median']:.0f}/s"
        )
    added = round(table["suuupra"]["p99"]["median"] - table["upstream"]["p99"]["median"], 3)
    print(f"   full load {full:.0f}/s, half of it offered; the gateway adds {added} ms at p99")
    return {"full": round(full), "table": table, "added_p99_ms": added}


def bodies(run: Run) -> dict[str, Any]:
    """1 MiB answers beside nginx, and the growth of memory while 1 GiB passes up and down (target 6)."""
    from tests.bench.bulk import download, sink_and_source, upload

    with upstream(run) as port:
        started = {
            "nginx": peers.nginx(place(run, "nginx", port)),
            "suuupra": peers.gateway(place(run, "gateway", port), name="suuupra"),
        }
        try:
            samples = _turns(run, started, path="/big", connections=8)
            table = rows(samples)
            throughput = {
                name: spread([load.transferred / load.seconds / 2**20 for _, load in taken])
                for name, taken in samples.items()
            }
        finally:
            for running in started.values():
                running.stop()
    ratio = round(throughput["suuupra"]["median"] / throughput["nginx"]["median"], 2)
    print(f"   MiB/s: { ({name: value['median'] for name, value in throughput.items()}) }; suuupra / nginx = {ratio}")
    growth = {}
    with sink_and_source() as port:
        running = peers.gateway(place(run, "bulk", port), name="bulk")
        try:
            wrk(f"http://127.0.0.1:{running.port}/small", seconds=1.0)
            for name, move in (("down", download), ("up", upload)):
                growth[name] = move(running.port, running.pids(), 2**30)
        finally:
            running.stop()
    for name, figures in growth.items():
        print(f"   1 GiB {name}: memory grew by {figures['growth_mib']} MiB, {figures['mib_per_second']} MiB/s")
    return {"peers": table, "mib_per_second": throughput, "ratio": ratio, "gib": growth}


def _many_routes(count: int) -> str:
    lines = [
        f'  - {{name: r{n}, auth: none, match: {{host: h{n % 50}.example.org, path: "/v{n}/users/{{id}}"}}, '
        f"target: {{proxy: {{upstream: u}}}}}}"
        for n in range(count - 1)
    ]
    lines.append('  - {name: all, auth: none, match: {path: "/v1/users/{id}"}, target: {proxy: {upstream: u}}}')
    return "\n".join(lines) + "\n"


def routes(run: Run) -> dict[str, Any]:
    """CPU per request with 10, 1,000 and 10,000 routes (target 7)."""
    with upstream(run) as port:
        started = {}
        try:
            for count in (10, 1000, 10_000):
                name = f"routes{count}"
                started[name] = peers.gateway(place(run, name, port), name=name, routes=_many_routes(count))
            table = rows(_turns(run, started), base="routes10")
        finally:
            for running in started.values():
                running.stop()
    return {"peers": table}


def idle(run: Run) -> dict[str, Any]:
    """Memory of 10,000 idle keep-alive connections (target 7)."""
    count = 10_000
    with upstream(run) as port:
        running = peers.gateway(place(run, "gateway", port))
        held: list[socket.socket] = []
        try:
            wrk(f"http://127.0.0.1:{running.port}/", seconds=2.0)
            pids = running.pids()
            before = rss(pids)
            request = b"GET /v1/users/7 HTTP/1.1\r\nHost: bench\r\n\r\n"
            for _ in range(count):
                client = socket.create_connection(("127.0.0.1", running.port))
                for _ in range(3):  # what is remembered of a connection is remembered from the second request on
                    client.sendall(request)
                    if not client.recv(65536).startswith(b"HTTP/1.1 200"):
                        raise RuntimeError("a request on a new connection failed")
                held.append(client)
            time.sleep(2)
            grown = rss(pids) - before
            start = cpu(pids)
            time.sleep(5)
            share = (cpu(pids) - start) / 5
        finally:
            for client in held:
                client.close()
            running.stop()
    figures = {"connections": count, "bytes_each": round(grown / count), "cpu_share_while_idle": round(share, 4)}
    print(f"   {figures}")
    return figures


def reload(run: Run) -> dict[str, Any]:
    """SIGHUP with 1,000 routes under load: failed requests and p99 during it, against p99 before (target 8)."""
    from tests.bench.paced import paced

    with upstream(run) as port:
        where = place(run, "gateway", port)
        running = peers.gateway(where, routes=_many_routes(1000))
        try:
            url = f"http://127.0.0.1:{running.port}/v1/users/7"
            wrk(url, seconds=2.0)
            rate = wrk(url, seconds=run.seconds).rate / 2
            quiet, busy = [], []
            path = where.folder / "suuupra.yaml"
            text = path.read_text()
            for number in range(run.turns):
                quiet.append(paced(running.port, rate=rate, seconds=run.seconds))
                path.write_text(text + f"# {number}\n" + _changed(number))
                os.kill(running.process.pid, signal.SIGHUP)
                busy.append(paced(running.port, rate=rate, seconds=run.seconds))
        finally:
            running.stop()
    figures = {
        "rate": round(rate),
        "p99_before_ms": spread([sample["p99"] for sample in quiet], 2),
        "p99_during_ms": spread([sample["p99"] for sample in busy], 2),
        "failed": sum(int(sample["failed"]) for sample in busy),
        "reloads": len(busy),
    }
    figures["ratio"] = round(figures["p99_during_ms"]["median"] / figures["p99_before_ms"]["median"], 2)
    print(f"   {figures}")
    return figures


def _changed(number: int) -> str:
    """A route more, so that every reload has something to do."""
    match = f'{{path: "/extra/{number}"}}'
    return f'  - {{name: extra{number}, auth: none, match: {match}, target: {{fixed: {{body: "{number}"}}}}}}\n'


__all__ = ["Run", "bodies", "idle", "latency", "relay", "reload", "routes", "varying", "workers"]
