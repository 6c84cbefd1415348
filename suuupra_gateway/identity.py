"""
What a plan's routes authenticate by: from ``identity:`` in the configuration to live credentials.

Two halves. `register` tells the residents of a process how the live things are made, once. `Identity` is made with each plan:
it claims what the plan needs and puts it together, so that what lives on (keys, decisions, connections) survives reloads and
what is only put together does not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

import attrs

from suuupra_gateway import metrics
from suuupra_gateway.auth.bearer import JwtCredential
from suuupra_gateway.auth.certificate import ClientCertificate
from suuupra_gateway.auth.fields import PrincipalFields
from suuupra_gateway.auth.keycredential import KeyCredential
from suuupra_gateway.auth.keyring import KeyRing
from suuupra_gateway.auth.keystore_redis import RedisKeyStore
from suuupra_gateway.auth.keystore_sqlite import SqliteKeyStore
from suuupra_gateway.auth.provider import Provider
from suuupra_gateway.auth.revocations import Revocations
from suuupra_gateway.auth.shared import Shared
from suuupra_gateway.config.model import ApiKeysSpec, AuthSpec, GatewayConfig, ProviderSpec, RouteSpec, StoreSpec
from suuupra_gateway.filters.auth import Auth, AuthCounts
from suuupra_gateway.interfaces import Board, Credential, IResidents
from suuupra_gateway.net.networks import Networks
from suuupra_gateway.net.redis import Redis
from suuupra_gateway.net.sweep import Sweep
from suuupra_gateway.residents import Residents
from suuupra_gateway.state import keys_file
from suuupra_gateway.tally import Sample


@attrs.frozen
class Counting:
    """The spec of `Counts`: there is one per process."""


class Counts(AuthCounts):
    """As a resident: counters outlive plans."""

    def start(self) -> None:
        """See `Resident`."""

    def retire(self) -> None:
        """See `Resident`."""

    def samples(self) -> Iterator[Sample]:
        """For metrics."""
        for (provider, result, source), count in self.counts.items():
            labels = (("provider", provider), ("result", result), ("source", source))
            yield Sample(metrics.AUTH_DECISIONS.name, labels, count)


@attrs.frozen
class KeyRingSpec:
    """What makes one `KeyRing` another."""

    keys: ApiKeysSpec
    store: StoreSpec | None
    file: str
    """Where records lie if there is no store."""


def register(
    residents: Residents,
    *,
    reactor: Any,
    sweep: Sweep,
    board: Board,
    run_dir: Callable[[], str] = str,
) -> None:
    """
    Tell ``residents`` how to make what identity rests on.

    :param reactor: of the process; for drafts, a clock is enough.
    :param board: what the supervisor knows.
    :param run_dir: where the processes of this host share decisions; empty for nowhere.
    """
    revocations = Revocations(board)

    def shared() -> Shared | None:
        directory = run_dir()
        return Shared.open(directory) if directory else None

    def ring(spec: KeyRingSpec) -> KeyRing:
        if spec.store is not None:
            redis = residents.claim(spec.store)
            assert isinstance(redis, Redis)
            return KeyRing(spec.keys, RedisKeyStore(redis), revocations, shared(), meaning=spec.store.url)
        kept = SqliteKeyStore(spec.file, reactor)
        return KeyRing(spec.keys, kept, revocations, shared(), meaning=spec.file, close=kept.close)

    residents.register(StoreSpec, lambda spec: Redis(spec, reactor))
    residents.register(KeyRingSpec, ring)
    counts = Counts()
    residents.register(Counting, lambda spec: counts)
    residents.register(ProviderSpec, lambda spec: Provider(spec, board, revocations, reactor))


class Identity:
    """Makes the auth filters of one plan. Lives while that is compiled."""

    def __init__(self, config: GatewayConfig, claims: IResidents) -> None:
        self._config = config
        self._spec = config.identity
        self._claims = claims
        self._fields = PrincipalFields(self._spec.headers)
        self._trusted = Networks(config.gateway.trusted_proxies)
        self._providers = {spec.name: spec for spec in self._spec.providers}

    def filter(self, route: RouteSpec) -> Auth | None:
        """
        Who guards ``route``; None if it is public.

        :raises ValueError: it cannot be guarded as it says.
        :raises OSError: a file that it needs cannot be read.
        """
        spec = route.auth
        if not isinstance(spec, AuthSpec):
            return None
        counts = self._claims.claim(Counting())
        assert isinstance(counts, AuthCounts)
        return Auth(
            spec,
            [_CREDENTIALS[entry.kind](self, entry.spec, route) for entry in spec.any or spec.all],
            fields=self._fields if spec.headers else None,
            counts=counts,
            realm=self._spec.realm,
        )

    def _jwt(self, spec: Any, route: RouteSpec) -> Credential:
        provider = self._claims.claim(self._providers[spec.provider])
        assert isinstance(provider, Provider)
        return JwtCredential(spec, provider, self._spec.realm)

    def _api_key(self, spec: Any, route: RouteSpec) -> Credential:
        keys = self._spec.api_keys
        if keys is None:
            raise ValueError("identity.api-keys says nothing of keys")
        store = self._config.gateway.store
        if store is not None:
            self._claims.claim(store)
        ring = self._claims.claim(
            KeyRingSpec(keys, store, keys_file(keys, self._config.gateway) if store is None else "")
        )
        assert isinstance(ring, KeyRing)
        return KeyCredential(spec, ring, self._spec.realm, route.name)

    def _certificate(self, spec: Any, route: RouteSpec) -> Credential:
        config = self._spec.client_certificates
        if config is None:
            raise ValueError("identity.client-certificates says nothing of certificates")
        return ClientCertificate(spec, config, self._trusted)


_CREDENTIALS: Final[Mapping[str, Callable[[Identity, Any, RouteSpec], Credential]]] = {
    "jwt": Identity._jwt,
    "api-key": Identity._api_key,
    "client-certificate": Identity._certificate,
}
