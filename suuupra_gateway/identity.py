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
from suuupra_gateway.auth.assertion import Signer
from suuupra_gateway.auth.bearer import JwtCredential
from suuupra_gateway.auth.certificate import ClientCertificate
from suuupra_gateway.auth.fetch import Fetch
from suuupra_gateway.auth.fields import PrincipalFields
from suuupra_gateway.auth.forward import ForwardAuth, ForwardAuthCredential
from suuupra_gateway.auth.introspection import Introspection, IntrospectionCredential
from suuupra_gateway.auth.keycredential import KeyCredential
from suuupra_gateway.auth.keyring import KeyRing
from suuupra_gateway.auth.keystore_sqlite import SqliteKeyStore
from suuupra_gateway.auth.provider import Provider
from suuupra_gateway.auth.revocations import Revocations
from suuupra_gateway.auth.shared import Shared
from suuupra_gateway.config.model import (
    ApiKeysSpec,
    AuthSpec,
    ForwardAuthSpec,
    GatewayConfig,
    IntrospectionSpec,
    LoginSpec,
    MatchSpec,
    ProviderSpec,
    RouteSpec,
    StoreSpec,
)
from suuupra_gateway.filters.auth import Auth, AuthCounts
from suuupra_gateway.filters.renewal import RenewingAuth
from suuupra_gateway.interfaces import Board, Credential, IResidents, Resident
from suuupra_gateway.net.networks import Networks
from suuupra_gateway.net.sweep import Sweep
from suuupra_gateway.own import OwnRoute, key_set, login_endpoint
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
class Sharing:
    """The spec of `Shares`: there is one per process."""


class Shares:
    """What the processes of this host share of decisions, as long as somebody decides; a resident."""

    def __init__(self, directory: str) -> None:
        """:param directory: empty for none."""
        self.shared = Shared.open(directory) if directory else None

    def start(self) -> None:
        """See `Resident`."""

    def retire(self) -> None:
        """See `Resident`."""
        if self.shared is not None:
            self.shared.close()


@attrs.frozen
class KeyRingSpec:
    """What makes one `KeyRing` another."""

    keys: ApiKeysSpec
    store: StoreSpec | None
    file: str
    """Where records lie if there is no store."""


@attrs.frozen
class LoginParts:
    """What makes one `Login` another."""

    login: LoginSpec
    provider: ProviderSpec
    store: StoreSpec | None


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
        shares = residents.claim(Sharing())
        assert isinstance(shares, Shares)
        return shares.shared

    def redis(spec: StoreSpec) -> Resident:
        from suuupra_gateway.net.redis import Redis  # its library reaches for the global reactor

        return Redis(spec, reactor)

    def ring(spec: KeyRingSpec) -> KeyRing:
        if spec.store is not None:
            from suuupra_gateway.auth.keystore_redis import RedisKeyStore

            store: Any = residents.claim(spec.store)
            return KeyRing(spec.keys, RedisKeyStore(store), revocations, shared(), meaning=spec.store.place)
        kept = SqliteKeyStore(spec.file, reactor)
        return KeyRing(spec.keys, kept, revocations, shared(), meaning=spec.file, close=kept.close)

    def introspection(spec: IntrospectionSpec) -> Introspection:
        return Introspection(spec, Fetch(reactor, ca_file=spec.ca_file), shared(), revocations)

    def forward_auth(spec: ForwardAuthSpec) -> ForwardAuth:
        return ForwardAuth(spec, Fetch(reactor, ca_file=spec.ca_file), shared(), revocations)

    def login(spec: LoginParts) -> Resident:
        from suuupra_gateway.auth.login import Login

        provider: Any = residents.claim(spec.provider)
        store: Any = residents.claim(spec.store) if spec.store is not None else None
        fetch = Fetch(reactor, ca_file=spec.provider.ca_file)
        return Login(spec.login, provider, fetch, store, shared(), revocations, reactor)

    counts = Counts()
    residents.register(Counting, lambda spec: counts)
    residents.register(Sharing, lambda spec: Shares(run_dir()))
    residents.register(StoreSpec, redis)
    residents.register(KeyRingSpec, ring)
    residents.register(ProviderSpec, lambda spec: Provider(spec, board, revocations, reactor))
    residents.register(IntrospectionSpec, introspection)
    residents.register(ForwardAuthSpec, forward_auth)
    residents.register(LoginParts, login)


class Identity:
    """Makes the auth filters of one plan. Lives while that is compiled."""

    def __init__(self, config: GatewayConfig, claims: IResidents) -> None:
        self._config = config
        self._spec = config.identity
        self._claims = claims
        self._fields = PrincipalFields(self._spec.headers)
        self._trusted = Networks(config.gateway.trusted_proxies)
        self._providers = {spec.name: spec for spec in self._spec.providers}
        self._introspection = {spec.name: spec for spec in self._spec.introspection}
        self._forward_auth = {spec.name: spec for spec in self._spec.forward_auth}
        self._logins = {spec.name: spec for spec in self._spec.logins}
        self._signer: Signer | None = None

    def open(self) -> None:
        """
        Read the keys that statements of who is calling are signed with. Before all else.

        :raises ValueError: a file holds no such key.
        :raises OSError: it cannot be read.
        """
        if self._spec.assertion is not None:
            self._signer = Signer(self._spec.assertion)

    def routes(self) -> Iterator[OwnRoute]:
        """
        The gateway's own routes.

        :raises ValueError: a login cannot be made.
        :raises OSError: a file that it needs cannot be read.
        """
        assertion = self._spec.assertion
        if assertion is not None and self._signer is not None:
            yield from key_set(assertion, self._signer.jwks)
        for spec in self._spec.logins:
            from suuupra_gateway.auth.login import endpoints
            from suuupra_gateway.targets.login import LoginResource

            login = self._login(spec)
            for endpoint in endpoints(spec):
                host = f"[{endpoint.host}]" if ":" in endpoint.host else endpoint.host
                match = MatchSpec(host=host, path=endpoint.path, methods=endpoint.methods)
                yield login_endpoint(spec.name, endpoint.suffix, match, LoginResource(login, endpoint.suffix))

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
        audience = _audience(spec, route)
        entries = spec.any or spec.all
        return (RenewingAuth if any(entry.session for entry in entries) else Auth)(
            spec,
            [_CREDENTIALS[entry.kind](self, entry.spec, route, spec) for entry in entries],
            fields=self._fields if spec.headers else None,
            counts=counts,
            realm=self._spec.realm,
            signer=self._signer if audience else None,
            audience=audience,
        )

    def _jwt(self, spec: Any, route: RouteSpec, auth: AuthSpec) -> Credential:
        provider = self._claims.claim(self._providers[spec.provider])
        assert isinstance(provider, Provider)
        return JwtCredential(spec, provider, self._spec.realm)

    def _api_key(self, spec: Any, route: RouteSpec, auth: AuthSpec) -> Credential:
        keys = self._spec.api_keys
        if keys is None:
            raise ValueError("identity.api-keys says nothing of keys")
        store = self._config.gateway.store
        if store is not None:
            self._claims.claim(store)
        self._claims.claim(Sharing())
        ring = self._claims.claim(
            KeyRingSpec(keys, store, keys_file(keys, self._config.gateway) if store is None else "")
        )
        assert isinstance(ring, KeyRing)
        return KeyCredential(spec, ring, self._spec.realm, route.name, stale=auth.stale)

    def _introspected(self, spec: Any, route: RouteSpec, auth: AuthSpec) -> Credential:
        self._claims.claim(Sharing())
        asked = self._claims.claim(self._introspection[spec.by])
        assert isinstance(asked, Introspection)
        return IntrospectionCredential(spec, asked, self._spec.realm, stale=auth.stale)

    def _forwarded(self, spec: Any, route: RouteSpec, auth: AuthSpec) -> Credential:
        self._claims.claim(Sharing())
        asked = self._claims.claim(self._forward_auth[spec.by])
        assert isinstance(asked, ForwardAuth)
        return ForwardAuthCredential(spec, asked, stale=auth.stale)

    def _session(self, spec: Any, route: RouteSpec, auth: AuthSpec) -> Credential:
        from suuupra_gateway.auth.sessioncredential import SessionCredential

        return SessionCredential(spec, self._login(self._logins[spec.login]), self._spec.realm, stale=auth.stale)

    def _login(self, spec: LoginSpec) -> Any:
        provider, store = self._providers[spec.provider], self._config.gateway.store
        for part in (Sharing(), provider, *((store,) if store is not None else ())):
            self._claims.claim(part)
        return self._claims.claim(LoginParts(spec, provider, store))

    def _certificate(self, spec: Any, route: RouteSpec, auth: AuthSpec) -> Credential:
        config = self._spec.client_certificates
        if config is None:
            raise ValueError("identity.client-certificates says nothing of certificates")
        return ClientCertificate(spec, config, self._trusted)


_CREDENTIALS: Final[Mapping[str, Callable[[Identity, Any, RouteSpec, AuthSpec], Credential]]] = {
    "jwt": Identity._jwt,
    "api-key": Identity._api_key,
    "introspection": Identity._introspected,
    "forward-auth": Identity._forwarded,
    "client-certificate": Identity._certificate,
    "session": Identity._session,
}


def _audience(auth: AuthSpec, route: RouteSpec) -> tuple[str, ...]:
    """For whom a statement of who is calling is meant: all among whom the target chooses; empty for nobody."""
    if auth.assertion:
        return () if auth.assertion == "off" else (auth.assertion,)
    proxy = route.target.proxy
    if proxy is None:
        return ()
    return (proxy.upstream,) if proxy.upstream is not None else tuple(branch.upstream for branch in proxy.split)
