"""
The public API for people who write filters, as they would use it. Type-checked by mypy --strict, never run.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import assert_type

from twisted.internet.defer import Deferred

from suuupra_gateway.config.model import RouteSpec
from suuupra_gateway.config.units import Duration, Size
from suuupra_gateway.filters.base import Filter, FilterKind, FilterSpec, Phase, Verdict
from suuupra_gateway.http.message import Reply, ResponseHead
from suuupra_gateway.interfaces import IExchange, IResidents, Transform
from suuupra_gateway.memory import MemoryExchange, Probe
from suuupra_gateway.plan import Plan
from suuupra_gateway.steps import Trace
from suuupra_gateway.testing import Answer, Gateway, Seen, make_filter, request, run_filter, run_response_filter
from suuupra_gateway.trace import TestFailure, run_tests, trace


class PassSpec(FilterSpec):
    """Options."""

    header: str = "x-pass"
    patience: Duration = Duration(1.0)
    most: Size = Size(1024)


class Doubling:
    """A codec."""

    def feed(self, data: bytes) -> bytes:
        return data * 2

    def finish(self) -> bytes:
        return b""


class Pass(Filter[PassSpec]):
    """Every hook there is."""

    phase = Phase.ACCESS
    on_error = "It says so."
    wants_slot = True

    def __init__(self, spec: PassSpec, residents: IResidents) -> None:
        super().__init__(spec, residents)
        self._name = spec.header.encode()

    def request(self, exchange: IExchange) -> Verdict | Deferred[Verdict]:
        exchange.slots[self.slot] = exchange.client
        if exchange.head.get(self._name) is not None:
            return None
        if exchange.head.has_body:
            return self._look(exchange)
        return Reply.problem(403, retry_after=self.spec.patience)

    def _look(self, exchange: IExchange) -> Deferred[Verdict]:
        def decide(body: bytes) -> Verdict:
            return None if body == b"please" else Reply(403, ((b"x-a", b"1"),), b"no")

        return exchange.body.collect(self.spec.most).addCallback(decide)

    async def response(self, exchange: IExchange, head: ResponseHead) -> Verdict:
        head.headers.append((b"x-passed", b"1"))
        return None

    def transform(self, exchange: IExchange, head: ResponseHead) -> Transform | None:
        return Doubling() if head.status == 200 else None

    def reply(self, exchange: IExchange, head: ResponseHead) -> None:
        head.headers.append((b"x-passed", b"0"))

    def done(self, exchange: IExchange) -> None:
        print(exchange.outcome.status, exchange.slots[self.slot])

    def explain(self, exchange: IExchange) -> str:
        return "looks for the pass"

    def problems(self, route: RouteSpec, parameters: frozenset[str]) -> Iterable[str]:
        if "id" not in parameters:
            yield "needs an id"


kind = FilterKind("pass", PassSpec, Pass)


def test_one_filter() -> None:
    exchange = request("GET /", headers={"X-Pass": "1"}, client="10.0.0.1")
    assert_type(exchange, MemoryExchange)
    assert_type(run_filter(kind, exchange, {"header": "x-pass"}), Reply | None | Deferred[Reply | None])
    run_response_filter(kind, exchange, ResponseHead(200, []))
    print(make_filter(kind).name, exchange.reply, exchange.sent)


def test_a_configuration() -> None:
    def answer(seen: Seen) -> Answer:
        return Answer(200, ((b"x-a", b"1"),), seen.body)

    gateway = Gateway(Path("gateway.yaml"), upstreams={"users": answer})
    assert_type(gateway.ask("POST /", body=b"x").status, int)
    assert_type(gateway.seen, list[Seen])
    assert_type(gateway.plan, Plan)
    assert_type(trace(gateway.plan, Probe("GET", "/")), Trace)
    assert_type(run_tests(gateway.plan), list[TestFailure])
