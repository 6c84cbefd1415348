"""
What it costs to count and to log one exchange: ``python -m tests.bench.micro_tally``.

Microseconds per call, best of five rounds; the promises are 2 for the tally and 1.5 for encoding a line.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable

from twisted.internet.task import Clock

from suuupra_gateway.admin.exposition import render
from suuupra_gateway.config.model import AccessLogSpec
from suuupra_gateway.logs import AccessLog
from suuupra_gateway.tally import RouteTally, Snapshot, Tally, merged
from tests.exchanges import Settled

ROUNDS = 5
CALLS = 50_000
HEADERS = [(b"host", b"api.example.org"), (b"user-agent", b"curl/8.5.0"), (b"accept", b"*/*")]
HEADERS += [(b"x-header-%d" % number, b"v" * 20) for number in range(7)]


def best(call: Callable[[], object], calls: int = CALLS) -> float:
    """Microseconds per call."""
    times = []
    for _ in range(ROUNDS):
        begun = time.process_time()
        for _ in range(calls):
            call()
        times.append(time.process_time() - begun)
    return min(times) / calls * 1e6


def big_snapshot(routes: int) -> Snapshot:
    """As of a worker whose every route has been used."""
    snapshot = Snapshot()
    for number in range(routes):
        tally = RouteTally.empty()
        for status in (200, 404, 503):
            tally.requests["GET", status, "upstream"] = 1000 + number
        tally.attempts["answered"] = 1000
        for histogram in (tally.duration, tally.upstream, tally.overhead):
            histogram.counts = [1000] * len(histogram.counts)
            histogram.sum = 1.0
        snapshot.routes[f"route-{number}", f"service-{number % 100}"] = tally
    return snapshot


def main() -> None:
    """Print one figure a line."""
    exchange = Settled(headers=HEADERS)
    tally = Tally()
    print(f"Tally.record                      {best(lambda: tally.record(exchange)):8.2f} us")
    with tempfile.TemporaryDirectory() as directory:
        log = AccessLog(AccessLogSpec(path=os.path.join(directory, "log")), Clock())
        print(f"AccessLog.record, writes included {best(lambda: log.record(exchange, 'public')):8.2f} us")
        line, buffer = log._line(exchange, "public"), bytearray()
        print(f"  of which the fields             {best(lambda: log._line(exchange, 'public')):8.2f} us")
        print(f"  of which the encoding           {best(lambda: log._encode_into(line, buffer, 0)):8.2f} us")
        log.close()
    snapshot = big_snapshot(1000)
    encoded = snapshot.encode()
    print("1,000 routes")
    print(f"  Snapshot.encode (worker)        {best(snapshot.encode, 10) / 1000:8.2f} ms, {len(encoded)} bytes")
    print(f"  merged, 4 workers (thread)      {best(lambda: merged([encoded] * 4), 1) / 1000:8.2f} ms")
    print(f"  render (thread)                 {best(lambda: render(snapshot, False), 1) / 1000:8.2f} ms")


if __name__ == "__main__":
    main()
