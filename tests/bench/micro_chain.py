"""
What routing and filters cost per request, in memory: ``python -m tests.bench.micro_chain``.

From `GatewayResource.render` to the target's ``render``, on the real `Exchange`, with routes of the shipped filters. The price of
making the exchange is measured apart and taken off. CPU time, medians of several turns, in microseconds.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

from twisted.internet.address import IPv4Address
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.web.resource import Resource

from suuupra_gateway.config.model import ListenerSpec, ProcessSpec
from suuupra_gateway.config.source import Document
from suuupra_gateway.http.channel import EdgeChannel
from suuupra_gateway.http.cycle import RECEIVED
from suuupra_gateway.http.exchange import Exchange
from suuupra_gateway.http.message import Pairs, RequestHead
from suuupra_gateway.http.site import GatewaySite
from suuupra_gateway.net.sweep import Sweep
from suuupra_gateway.routing.resource import GatewayResource
from suuupra_gateway.trace import examine

TURNS, REQUESTS = 9, 20_000

HEADERS: Pairs = [
    (b"host", b"api.example.org"),
    (b"user-agent", b"Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0"),
    (b"accept", b"application/json"),
    (b"accept-encoding", b"gzip, deflate, br"),
    (b"accept-language", b"en-GB,en;q=0.5"),
    (b"authorization", b"Bearer " + b"x" * 300),
    (b"cookie", b"sid=0123456789abcdef; theme=dark"),
    (b"referer", b"https://app.example.org/users"),
    (b"x-requested-with", b"XMLHttpRequest"),
    (b"cache-control", b"no-cache"),
]

FILTERS: dict[str, list[dict[str, object]]] = {
    "no filters": [],
    "three filters that do nothing here": [
        {"cors": {"origins": ["https://app.example.org"]}},
        {"access": {"deny": ["10.0.0.0/8"]}},
        {"rewrite": {"strip-prefix": "/other"}},
    ],
    "three filters that edit": [
        {"access": {"deny": ["10.0.0.0/8"]}},
        {"headers": {"request": {"set": {"X-Team": "platform"}}}},
        {"rewrite": {"strip-prefix": "/v1"}},
    ],
}


class Target(Resource):
    """Where the measured way ends."""

    isLeaf = True

    def render(self, exchange: object) -> None:
        """Do nothing."""


def per_request(work: Callable[[], object]) -> float:
    """Microseconds per call of ``work``; median of the turns."""
    turns = []
    for _ in range(TURNS):
        began = time.process_time()
        for _ in range(REQUESTS):
            work()
        turns.append((time.process_time() - began) / REQUESTS * 1e6)
    return statistics.median(turns)


def main() -> None:
    """Measure and print."""
    clock = Clock()
    site = GatewaySite(
        GatewayResource(),
        listener=ListenerSpec(name="bench", address="127.0.0.1:0"),
        process=ProcessSpec(),
        sweep=Sweep(clock),
    )
    channel = EdgeChannel(site)
    channel.makeConnection(StringTransport(peerAddress=IPv4Address("TCP", "192.0.2.1", 40000)))

    def exchange() -> Exchange:
        head = RequestHead(b"GET", b"/v1/users/7", list(HEADERS), authority=b"api.example.org", host=b"api.example.org")
        return Exchange(channel, head, RECEIVED, 0.0, b"0")

    alone = per_request(exchange)
    print(f"{'exchange alone':40} {alone:6.2f} us")
    for name, filters in FILTERS.items():
        route = {
            "name": "users",
            "match": {"host": "api.example.org", "path": "/v1/users/{id}"},
            "auth": "none",
            "filters": filters,
            "target": {"proxy": {"upstream": "users"}},
        }
        others = [
            {"name": f"r{n}", "match": {"path": f"/r{n}/{{x}}"}, "auth": "none", "target": {"fixed": {}}}
            for n in range(100)
        ]
        tree = {
            "listeners": [{"name": "bench", "address": "127.0.0.1:0"}],
            "upstreams": {"users": {"endpoints": ["http://127.0.0.1:9001"]}},
            "routes": [route, *others],
        }
        plan = examine(Document.from_tree(tree))
        plan.routes["users"].target = Target()
        match, head = plan.table.match, exchange().head
        matching = per_request(lambda match=match, head=head: match(head))
        render = GatewayResource(plan).render
        whole = per_request(lambda render=render: render(exchange()))
        print(f"{name:40} {whole - alone:6.2f} us, of which {matching:.2f} match the route")


if __name__ == "__main__":
    main()
