"""
Upstreams and their peers: who may be asked, who is, and with what success.
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Collection, Iterable
from typing import TYPE_CHECKING, Any

import attrs
from twisted.internet.defer import CancelledError, Deferred, DeferredList
from twisted.internet.interfaces import IAddress, IProtocolFactory
from twisted.python.failure import Failure
from zope.interface import implementer

from suuupra_gateway.errors import Blame, ConnectRefused, GatewayError, NoPeer
from suuupra_gateway.http.connection import UpstreamConnection
from suuupra_gateway.http.hygiene import AnswerNames
from suuupra_gateway.http.pool import Pool
from suuupra_gateway.net import endpoints
from suuupra_gateway.net.tls import ClientTLS, client_tls
from suuupra_gateway.policy.balance import Balancer, LeastRequest, Rendezvous, RoundRobin, WeightedRandom
from suuupra_gateway.upstreams.endpoint import Endpoint
from suuupra_gateway.upstreams.keys import Key, key_of

if TYPE_CHECKING:
    from suuupra_gateway.config.model import UpstreamSpec
    from suuupra_gateway.interfaces import IExchange
    from suuupra_gateway.net.sweep import Sweep

Connect = Callable[..., Deferred[Any]]
"""`net.endpoints.connect` or something like it."""


class Peer:
    """
    An endpoint with a pulse. Lives while its endpoint is one of the upstream's, then until its last connection is closed.

    An attempt takes it in this order: `begin`, ``acquire``, and exactly one `tell`.
    """

    __slots__ = (
        "endpoint",
        "name",
        "authority",
        "active",
        "requests",
        "failures",
        "last_error",
        "pool",
        "acquire",
        "_upstream",
    )

    endpoint: Endpoint

    name: str
    """``host:port`` or ``unix:/path``."""

    authority: bytes
    """For ``Host``."""

    active: int
    """Attempts in flight."""

    requests: int
    """Attempts begun."""

    failures: int
    """Attempts that failed by the peer's fault."""

    last_error: GatewayError | None
    """Of the latest failed attempt, None after a success."""

    def __init__(self, endpoint: Endpoint, upstream: Upstream) -> None:
        self.endpoint = endpoint
        self.name = str(endpoint)
        self.authority = endpoint.authority
        self.active = self.requests = self.failures = 0
        self.last_error = None
        self._upstream = upstream
        self.pool = Pool(self._connect, upstream.spec.pool, float(upstream.spec.timeouts.pool), upstream.sweep)
        self.acquire = self.pool.acquire
        """As `Pool.acquire`."""

    def begin(self) -> None:
        """An attempt begins."""
        self.active += 1
        self.requests += 1

    def tell(self, error: GatewayError | None, status: int, elapsed: float) -> None:
        """
        How an attempt ended.

        :param error: why it failed, which counts only if the peer is to blame (a full pool of our own must not eject it:
            envoy#25487); None for an answer, or if nothing was learnt because the client left.
        :param status: of the answer; 0 if there was none.
        :param elapsed: seconds from choosing the peer to the head of the answer, or to the failure.
        """
        self.active -= 1
        if error is not None and error.blame is Blame.UPSTREAM:
            self.failures += 1
            self.last_error = error
        elif status:
            self.last_error = None

    @property
    def connects(self) -> int:
        """Connections begun."""
        return self.pool.connects

    @property
    def connect_failures(self) -> int:
        """Connections that were not to be had."""
        return self.pool.connect_failures

    @property
    def reuses(self) -> int:
        """Attempts on a connection that had been idle."""
        return self.pool.reuses

    def _connect(self, pool: Pool) -> Deferred[UpstreamConnection]:
        return self._upstream.connect(self.endpoint, pool).addErrback(self._refused)

    def _refused(self, failure: Failure) -> Failure:
        if failure.check(GatewayError, CancelledError):  # type: ignore[no-untyped-call]  # twisted is not typed here
            return failure
        refused = ConnectRefused(f"{self.name}: {failure.getErrorMessage()}")
        refused.__cause__ = failure.value
        return Failure(refused)  # type: ignore[no-untyped-call]

    def snapshot(self) -> dict[str, object]:
        """For people: what it is and does."""
        return {
            "endpoint": self.name,
            "secure": self.endpoint.secure,
            "weight": self.endpoint.weight,
            "active": self.active,
            "requests": self.requests,
            "failures": self.failures,
            "last_error": None if self.last_error is None else self.last_error.code,
            "connections": self.pool.open,
            "idle": len(self.pool.idle),
            "waiting": self.pool.waiting,
            "connects": self.connects,
            "connect_failures": self.connect_failures,
            "reuses": self.reuses,
        }

    def __repr__(self) -> str:
        return f"<Peer {self.name} active={self.active}>"


@implementer(IProtocolFactory)
class _Connector:
    """Builds the protocol of one new connection."""

    __slots__ = ("_make",)

    def __init__(self, make: Callable[[], UpstreamConnection]) -> None:
        self._make = make

    def buildProtocol(self, address: IAddress | None) -> UpstreamConnection:
        """The protocol."""
        return self._make()

    def doStart(self) -> None:
        """Nothing to start."""

    def doStop(self) -> None:
        """Nothing to stop."""


class Upstream:
    """
    A named set of peers. A resident: outlives plans, found by its spec.

    Whoever forwards counts itself in `active`, and in `retrying` from its second attempt on.
    """

    __slots__ = (
        "name",
        "spec",
        "peers",
        "active",
        "retrying",
        "retries",
        "sweep",
        "_reactor",
        "_connect",
        "_random",
        "_tls",
        "_names",
        "_key",
        "_balancer",
        "_only",
        "_leaving",
    )

    name: str
    spec: UpstreamSpec
    peers: tuple[Peer, ...]

    active: int
    """Exchanges in flight."""

    retrying: int
    """Exchanges in flight that are past their first attempt."""

    retries: int
    """Attempts beyond the first, ever."""

    def __init__(
        self,
        spec: UpstreamSpec,
        reactor: Any,
        sweep: Sweep,
        *,
        connect: Connect = endpoints.connect,
        random: Callable[[], float] = random.random,
    ) -> None:
        """
        Opens no connection.

        :param reactor: handed to ``connect``.
        :raises ValueError: if an endpoint is malformed or a file for TLS cannot be used.
        """
        self.name = spec.name
        self.spec = spec
        self.active = self.retrying = self.retries = 0
        self.sweep = sweep
        self._reactor = reactor
        self._connect = connect
        self._random = random
        self._tls: ClientTLS | None = None
        self._names = AnswerNames()
        self._key: Key | None = key_of(spec.balance.key) if spec.balance.policy == "hash" else None
        self._leaving: set[Peer] = set()
        self.peers = ()
        self._set(Endpoint.parse(endpoint) for endpoint in spec.endpoints)

    def start(self) -> None:
        """Nothing to do before the first request."""

    def retire(self) -> Awaitable[None] | None:
        """Close idle connections now, the others after their exchanges."""
        self._set(())
        pending = [gone for peer in tuple(self._leaving) if (gone := peer.pool.close()) is not None]
        if not pending:
            return None
        return DeferredList(pending).addCallback(lambda _: None)

    def update(self, found: frozenset[Endpoint]) -> None:
        """
        Take another set of endpoints; an empty one leaves nobody to ask.

        Peers whose address stayed keep their connections and counters, also when only the weight is another. Those that left
        finish what they have begun.
        """
        self._set(sorted(found, key=str))

    def _set(self, found: Iterable[Endpoint]) -> None:
        known = {(peer.endpoint.address, peer.endpoint.secure): peer for peer in self.peers}
        peers: dict[object, Peer] = {}
        for endpoint in found:
            place = (endpoint.address, endpoint.secure)
            if endpoint.secure and self._tls is None:
                self._tls = client_tls(self.spec.tls, endpoint.address.host)
            peer = known.pop(place, None) or peers.get(place) or Peer(endpoint, self)
            peer.endpoint = endpoint
            peers[place] = peer
        self.peers = tuple(peers.values())
        self._rebuild()
        for peer in known.values():
            gone = peer.pool.close()
            if gone is not None:
                self._leaving.add(peer)
                gone.addCallback(self._left, peer)

    def _left(self, _: None, peer: Peer) -> None:
        self._leaving.discard(peer)

    def _rebuild(self) -> None:
        pairs = [(peer, peer.endpoint.weight) for peer in self.peers]
        eligible = [peer for peer, weight in pairs if weight]
        self._only = eligible[0] if len(eligible) == 1 else None
        policy = self.spec.balance.policy
        balancer: Balancer[Peer]
        if policy == "hash":
            balancer = Rendezvous(pairs, _name)
        elif policy == "round-robin":
            balancer = RoundRobin(pairs, self._random)
        elif policy == "random":
            balancer = WeightedRandom(pairs, self._random)
        else:
            balancer = LeastRequest(pairs, self._random)
        self._balancer = balancer

    def pick(self, exchange: IExchange | None, avoid: Collection[Peer] = ()) -> Peer:
        """
        The peer to ask.

        :param exchange: what to hash, for that policy; None for a caller without one.
        :param avoid: peers to leave out if there is anybody else.
        :raises NoPeer: if there is nobody to ask.
        """
        peer = self._only
        if peer is None:
            key = self._key
            peer = self._balancer.choose(b"" if key is None or exchange is None else key(exchange), avoid)
            if peer is None:
                raise NoPeer(f"upstream {self.name} has no endpoint")
        return peer

    def connect(self, endpoint: Endpoint, pool: Pool) -> Deferred[UpstreamConnection]:
        """Make a connection for ``pool``. Errback as `net.endpoints.connect`."""
        spec = self.spec
        tls = None
        if endpoint.secure:
            assert self._tls is not None
            tls = attrs.evolve(self._tls, server_name=spec.tls.server_name or endpoint.address.host)
        max_head = int(spec.max_head)
        factory = _Connector(lambda: UpstreamConnection(pool, self.sweep, self._names, max_head))
        return self._connect(
            self._reactor,
            endpoint.address,
            factory,
            tls=tls,
            connect_timeout=float(spec.timeouts.connect),
            tls_timeout=float(spec.timeouts.tls),
        )

    def snapshot(self) -> dict[str, object]:
        """For people: what it is and does."""
        return {
            "name": self.name,
            "policy": self.spec.balance.policy,
            "active": self.active,
            "retrying": self.retrying,
            "retries": self.retries,
            "leaving": len(self._leaving),
            "peers": [peer.snapshot() for peer in self.peers],
        }

    def __repr__(self) -> str:
        return f"<Upstream {self.name} peers={len(self.peers)} active={self.active}>"


def _name(peer: Peer) -> str:
    return peer.name
