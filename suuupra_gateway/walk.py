"""
A request's way through a plan, without a connection: what `trace.py` is made of.

Nothing is sent, nothing is counted, no clock is read: pure filters are simply run on an exchange in memory, and what they
changed of its head is noted; of the others only what they say about themselves is known.
"""

from __future__ import annotations

import inspect
from typing import Any, Final

import attrs

from suuupra_gateway.config.model import GatewayConfig, ProxySpec, RetrySpec, UpstreamSpec
from suuupra_gateway.config.names import OwnedNames
from suuupra_gateway.errors import BodyTooLarge, GatewayError, wrap
from suuupra_gateway.filters.base import Filter
from suuupra_gateway.filters.rehearsal import Rehearsing
from suuupra_gateway.http.message import Pairs, Reply, RequestHead
from suuupra_gateway.http.rules import HeadRules
from suuupra_gateway.masks import Masks
from suuupra_gateway.memory import MemoryBody, MemoryExchange, Probe
from suuupra_gateway.net.networks import Networks
from suuupra_gateway.plan import Plan, timeouts_of, upstream_names
from suuupra_gateway.policy.retry import RetryPolicy
from suuupra_gateway.routing.near import NearMiss
from suuupra_gateway.routing.resource import RouteResource, escapes_reply, refusal_reply, select
from suuupra_gateway.steps import Answer, Branch, Caller, Change, Forwarded, Miss, Step, Trace
from suuupra_gateway.targets.fixed import FixedResource, RedirectResource
from suuupra_gateway.targets.proxy import ProxyResource
from suuupra_gateway.upstreams.keys import key_of

NEAREST: Final = 10
"""How many routes that lost a trace names."""


_Part = tuple[str, str | None]
"""Name and value of a part of a head."""


class Walk:
    """One request's way through a plan. Lives until its trace is made."""

    def __init__(self, plan: Plan, probe: Probe) -> None:
        self.plan = plan
        self.probe = probe
        self.head: RequestHead | None = None
        self.path = ""
        self.route: RouteResource | None = None
        self.steps: list[Step] = []
        self.target: str | None = None
        self.forwarded: Forwarded | None = None
        self.answer: Answer | None = None
        self.exchange: MemoryExchange | None = None
        self.asks = ""
        self.masks = Masks(plan.config)
        try:
            self.head = probe.head(rules_of(plan.config, probe.client))
        except GatewayError as error:
            self.answer = self._answer(Reply.of(error), "edge")
            return
        self.path = _text(self.head.path)
        self._enter(self.head)

    def _enter(self, head: RequestHead) -> None:
        limit = self.plan.config.listeners[0].limits.body
        body = MemoryBody(declared=head.content_length, limit=limit)
        exchange = MemoryExchange(
            head,
            client=self.probe.client,
            secure=self.probe.secure,
            body=body,
            gateway=self.plan.config.gateway.name,
        )
        self.exchange = exchange
        found = select(self.plan.table, head)
        if not isinstance(found, RouteResource):
            self._respond(refusal_reply(found, head), "routing")
            return
        self.route = exchange.route = found
        exchange.slots = [None] * found.slots
        refused = escapes_reply(found.spec, head) if head.escaped else None
        if refused is not None:
            self._respond(refused, "routing")
        for each in found.filters:
            self.steps.append(self._step(each, exchange))
        if self.answer is not None:
            return
        if head.content_length and head.content_length > exchange.body.limit:
            self._respond(Reply.of(BodyTooLarge()), "routing")
            return
        self._arrive(found, exchange)

    def _step(self, each: Filter[Any], exchange: MemoryExchange) -> Step:
        if self.answer is not None:
            return Step(each.name, each.phase.name.lower(), "not reached", "", (), each.on_error)
        before = _parts(exchange.head)
        try:
            if isinstance(each, Rehearsing):
                verdict, says = self._rehearse(each, exchange)
            else:
                says = each.explain(exchange)
                verdict = self._try(each, exchange)
        except Exception as error:
            says = f"{type(error).__name__}: {error}"
            verdict = self._respond(Reply.of(wrap(error)), f"filter {each.name}")
        changes = self._changes(before, _parts(exchange.head))
        return Step(each.name, each.phase.name.lower(), verdict, says, changes, each.on_error)

    def _try(self, each: Filter[Any], exchange: MemoryExchange) -> str:
        if type(each).request is Filter.request:
            return "answer only"
        if not each.pure:
            return "not evaluated"
        verdict = each.request(exchange)
        if verdict is None:
            return "goes on"
        if isinstance(verdict, Reply):
            return self._respond(verdict, f"filter {each.name}")
        if inspect.iscoroutine(verdict):
            verdict.close()
        return "would wait"

    def _rehearse(self, each: Rehearsing, exchange: MemoryExchange) -> tuple[str, str]:
        found = each.rehearse(exchange, self.probe.principal)
        if isinstance(found.verdict, Reply):
            return self._respond(found.verdict, f"filter {each.name}"), found.says
        self.asks = found.asks
        return f"would ask {found.asks}" if found.asks else "goes on", found.says

    def _respond(self, reply: Reply, by: str) -> str:
        assert self.exchange is not None
        self.exchange.respond(reply)
        assert self.exchange.answer is not None
        self.answer = self._answer(reply, by, self.exchange.answer.headers)
        return f"answers {reply.status} {reply.code}".rstrip()

    def _arrive(self, route: RouteResource, exchange: MemoryExchange) -> None:
        self.target = route.spec.target.kind
        target = route.target
        if isinstance(target, FixedResource | RedirectResource):
            target.render(exchange)
            assert exchange.reply is not None
            assert exchange.answer is not None
            self.answer = self._answer(exchange.reply, "target", exchange.answer.headers)
        elif isinstance(target, ProxyResource):
            head = exchange.head
            path = head.path if head.query is None else head.path + b"?" + head.query
            self.forwarded = Forwarded(_text(head.method), _text(path), self._pairs(target.preview(exchange)))

    # -- what is read off the walk ------------------------------------------------------------------------------------

    def branches(self) -> tuple[Branch, ...]:
        if self.route is None or self.forwarded is None or self.head is None:
            return ()
        spec = self.route.spec.target.proxy
        assert spec is not None
        weights = {branch.upstream: branch.weight for branch in spec.split} or {str(spec.upstream): 1}
        total = sum(weights.values())
        return tuple(
            _branch(spec, self.plan.upstreams[name].spec, weights[name] / total, self.head)
            for name in upstream_names(spec)
        )

    @property
    def private(self) -> bool:
        """Whether the request came to a route that is private."""
        return self.route is not None and self.route.spec.auth != "none"

    def upstream(self) -> str | None:
        """Name of the upstream that would be asked; None if there is none, or if chance decides."""
        if self.route is None or self.forwarded is None or self.exchange is None:
            return None
        spec = self.route.spec.target.proxy
        assert spec is not None
        names = upstream_names(spec)
        if len(names) > 1:
            wanted = self.exchange.head.get(spec.override_header.lower().encode()) if spec.override_header else None
            sticky = bool(spec.sticky) and bool(key_of(spec.sticky)(self.exchange))
            if not sticky and (wanted is None or _text(wanted) not in names):
                return None
        target = self.route.target
        assert isinstance(target, ProxyResource)
        return target.choose(self.exchange).name

    def misses(self) -> tuple[tuple[Miss, ...], int]:
        """The nearest routes that lost, and how many more there are."""
        if self.head is None or self.exchange is None:
            return (), 0
        winner = self.route.name if self.route is not None else ""
        lost = sorted(
            (_nearness(each), place, _miss(each, winner))
            for place, each in enumerate(self._candidates())
            if each.name != winner
        )
        return tuple(miss for _, _, miss in lost[:NEAREST]), max(0, len(lost) - NEAREST)

    def _candidates(self) -> list[NearMiss]:
        # Filters have edited the head that was matched: ask with a fresh one.
        return self.plan.table.candidates(self.probe.head(rules_of(self.plan.config, self.probe.client)))

    def why_not(self, name: str) -> str:
        """Why the route called ``name`` did not get the request."""
        if self.head is None:
            return "the request is refused before routing"
        winner = self.route.name if self.route is not None else ""
        for each in self._candidates():
            if each.name == name:
                return _miss(each, winner).why
        return f"there is no route called {name}"

    def _answer(self, reply: Reply, by: str, headers: Pairs | None = None) -> Answer:
        return Answer(reply.status, reply.code, self._pairs(list(reply.headers) if headers is None else headers), by)

    def _pairs(self, pairs: Pairs) -> tuple[tuple[str, str], ...]:
        return tuple((_text(name), self.masks.field(_text(name), _text(value))) for name, value in pairs)

    def _changes(self, before: list[_Part], after: list[_Part]) -> tuple[Change, ...]:
        """What differs, by name; several fields of one name are compared as one list of values."""
        old, new = _joined(before), _joined(after)
        return tuple(
            Change(name, self._shown(name, old.get(name)), self._shown(name, new.get(name)))
            for name in {**old, **new}
            if old.get(name) != new.get(name)
        )

    def _shown(self, part: str, value: str | None) -> str | None:
        if value is None:
            return None
        return self.masks.query(value) if part == "query" else self.masks.field(part, value)

    def trace(self, misses: tuple[Miss, ...], more: int) -> Trace:
        head, route = self.head, self.route
        principal = self.exchange.principal if self.exchange is not None else None
        return Trace(
            method=self.probe.method,
            url=self.masks.query(self.probe.url),
            client=self.probe.client,
            host=_text(head.host) if head is not None else "",
            path=self.path,
            route=route.name if route is not None else None,
            auth=("required" if self.private else "none") if route is not None else None,
            params=tuple((name, _text(value)) for name, value in ((head and head.params) or {}).items()),
            misses=misses,
            more_misses=more,
            steps=tuple(self.steps),
            caller=Caller.of(principal) if principal is not None else None,
            asks=self.asks,
            target=self.target,
            branches=self.branches(),
            upstream=self.upstream(),
            forwarded=attrs.evolve(self.forwarded, target=self.masks.query(self.forwarded.target))
            if self.forwarded is not None
            else None,
            answer=self.answer,
        )


def rules_of(config: GatewayConfig, peer: str) -> HeadRules:
    """What the first listener asks of heads that ``peer`` sends."""
    listener = config.listeners[0]
    return HeadRules(
        request_line=listener.limits.request_line,
        head=listener.limits.head,
        headers=listener.limits.headers,
        underscores=listener.underscores,
        merge_slashes=listener.merge_slashes,
        owned=OwnedNames(config.gateway.identity_headers),
        believes=peer in Networks(config.gateway.trusted_proxies),
    )


def _branch(spec: ProxySpec, upstream: UpstreamSpec, share: float, head: RequestHead) -> Branch:
    timeouts = timeouts_of(spec, upstream)
    retry = spec.retry if spec.retry is not None else upstream.retry
    balance = upstream.balance
    weighted = len({endpoint.weight for endpoint in upstream.endpoints}) > 1
    return Branch(
        upstream=upstream.name,
        share=share,
        endpoints=tuple(
            f"{endpoint.url} (weight {endpoint.weight})" if weighted else endpoint.url
            for endpoint in upstream.endpoints
        ),
        balance=f"{balance.policy} by {balance.key}" if balance.policy == "hash" else balance.policy,
        timeouts=tuple(
            (str(field.alias), str(getattr(timeouts, name))) for name, field in type(timeouts).model_fields.items()
        ),
        attempts=retry.attempts,
        retried=_retried(retry, head),
    )


def _retried(spec: RetrySpec, head: RequestHead) -> str:
    if spec.attempts < 2:
        return "never: retries are off"
    method = _text(head.method)
    if not RetryPolicy.of(spec).repeatable(head.method, head.headers):
        return f"only while no byte was sent: {method} is not idempotent"
    statuses = ", ".join(map(str, spec.statuses))
    replay = f", if its body is at most {spec.buffer}" if head.has_body else ""
    answers = f" and answers {statuses}" if statuses else ""
    return f"{method} is, on failures before the answer{answers}, within a budget of {spec.budget}{replay}"


def _parts(head: RequestHead) -> list[_Part]:
    return [
        ("method", _text(head.method)),
        ("path", _text(head.path)),
        ("query", None if head.query is None else _text(head.query)),
        *((_text(name), _text(value)) for name, value in head.headers),
    ]


def _joined(parts: list[_Part]) -> dict[str, str | None]:
    found: dict[str, str | None] = {}
    for name, value in parts:
        earlier = found.get(name)
        found[name] = value if earlier is None or value is None else f"{earlier}, {value}"
    return found


def _nearness(each: NearMiss) -> int:
    """0 for routes that match too, then those that differ in a condition, a slash, the path, the host."""
    if each.why is None:
        return 0
    for rank, start in enumerate(("method", "header", "query", "path differs by a trailing", "path"), 1):
        if each.why.startswith(start):
            return rank
    return 6


def _miss(each: NearMiss, winner: str) -> Miss:
    if each.why is not None:
        return Miss(each.name, each.why)
    return Miss(each.name, f"it matches too, but {winner} goes first" if winner else "it matches")


def _text(value: bytes) -> str:
    return value.decode("latin-1")
