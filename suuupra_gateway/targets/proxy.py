"""
The target that forwards: to an upstream, or to one of several by weight.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from typing import Any

import attrs
from twisted.internet.interfaces import IReactorTime
from twisted.web.resource import Resource

from suuupra_gateway.config.model import ProxySpec
from suuupra_gateway.errors import GatewayError
from suuupra_gateway.http.hygiene import Hygiene, head_fields
from suuupra_gateway.http.message import Pairs
from suuupra_gateway.interfaces import IExchange
from suuupra_gateway.policy.balance import Rendezvous, WeightedRandom
from suuupra_gateway.upstreams.forward import Forwarding
from suuupra_gateway.upstreams.keys import key_of
from suuupra_gateway.upstreams.terms import Terms
from suuupra_gateway.upstreams.upstream import Upstream


@attrs.frozen(eq=False)
class _Branch:
    """One of the upstreams and the terms on which it is asked."""

    upstream: Upstream
    terms: Terms


class ProxyResource(Resource):
    """Forwards every exchange. Lives as long as its plan, and as the exchanges that it forwards."""

    isLeaf = True

    def __init__(
        self,
        spec: ProxySpec,
        upstreams: Mapping[str, Upstream],
        hygiene: Hygiene,
        reactor: IReactorTime,
        *,
        random: Callable[[], float] = random.random,
    ) -> None:
        """
        :param upstreams: at least those that ``spec`` names.
        :param reactor: for the pauses between attempts.
        :param random: chance, for splits that are not sticky.
        """
        super().__init__()  # type: ignore[no-untyped-call]  # twisted is not typed here
        self.spec = spec
        self._hygiene = hygiene
        names = [spec.upstream] if spec.upstream is not None else [branch.upstream for branch in spec.split]
        self._branches = {
            str(name).encode("ascii"): _branch(spec, upstreams[str(name)], hygiene, reactor) for name in names
        }
        self._only = next(iter(self._branches.values())) if spec.upstream is not None else None
        weights = [(self._branches[each.upstream.encode("ascii")], each.weight) for each in spec.split]
        self._by_chance = WeightedRandom(weights, random)
        self._by_key = Rendezvous(weights, _name)
        self._key = key_of(spec.sticky) if spec.sticky else None
        self._override = spec.override_header.lower().encode("ascii")

    def render(self, exchange: IExchange) -> None:  # our leaves render exchanges
        """Forward ``exchange``; the answer comes now or later."""
        branch = self._only
        if branch is None:
            branch = self._split(exchange)
        Forwarding(exchange, branch.upstream, branch.terms).begin()

    def choose(self, exchange: IExchange) -> Upstream:
        """Which upstream gets ``exchange``: the one that it asks for if it may, that of its key, or one by chance."""
        branch = self._only if self._only is not None else self._split(exchange)
        return branch.upstream

    def _split(self, exchange: IExchange) -> _Branch:
        if self._override:
            wanted = self._branches.get(exchange.head.get(self._override) or b"")
            if wanted is not None:
                return wanted
        key = self._key(exchange) if self._key is not None else b""
        chosen = self._by_key.choose(key) if key else self._by_chance.choose(b"")
        assert chosen is not None  # the configuration asks for a weight above 0
        return chosen

    def preview(self, exchange: IExchange) -> Pairs:
        """
        The header fields that an upstream would see on the first attempt; nothing is sent. For people.

        The first branch stands for all of a split. Empty if the request would be refused here.
        """
        branch = next(iter(self._branches.values()))
        peers = branch.upstream.peers
        authority = peers[0].authority if peers else b""
        head = exchange.head
        total = branch.terms.total
        try:
            raw = self._hygiene.request_head(
                exchange,
                b"" if branch.terms.keep_host and head.authority else authority,
                1,
                None if total == float("inf") else total,
            )
        except GatewayError:
            return []
        return head_fields(raw)[1:]


def _branch(spec: ProxySpec, upstream: Upstream, hygiene: Hygiene, reactor: IReactorTime) -> _Branch:
    own = upstream.spec
    terms = Terms.of(
        hygiene,
        spec.timeouts if spec.timeouts is not None else own.timeouts,
        spec.retry if spec.retry is not None else own.retry,
        reactor,
        keep_host=spec.host == "keep",
    )
    return _Branch(upstream, terms)


def _name(branch: Any) -> str:
    name: str = branch.upstream.name
    return name
