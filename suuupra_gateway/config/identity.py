"""
``identity:``, by what callers prove who they are, and how they are known to the services behind.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from suuupra_gateway.config.spec import (
    FilePath,
    Flag,
    HeaderName,
    HeaderPairs,
    Name,
    Named,
    Pairs,
    Positive,
    Spec,
    absolute_path,
    web_url,
)
from suuupra_gateway.config.units import Duration, Secret

WebURL = Annotated[str, AfterValidator(web_url)]
"""``https://host[:port]/path``; ``http`` for tests and private networks."""

Algorithm = Literal[
    "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA", "HS256", "HS384", "HS512"
]
"""What a token may be signed with; there is no ``none``."""


class CacheSpec(Spec):
    """How long a decision of somebody else is good for: the three clocks of RFC 5861, and one for refusals."""

    fresh: Duration = Duration(30.0)
    """Used without asking again."""

    revalidate: Duration = Duration(30.0)
    """After that: used at once, and asked again behind the request."""

    stale_if_error: Annotated[Duration, Field(le=3600)] = Duration(300.0)
    """After that: used only while whoever decides cannot be reached or fails; at most 1h."""

    deny: Duration = Duration(5.0)
    """A refusal is remembered for so long; never longer, and never as anything else."""

    entries: Annotated[int, Field(ge=1, le=10_000_000)] = 100_000
    """Most decisions that one host remembers; the oldest go first."""


class ClaimNames(Spec):
    """Where tokens and answers of a provider say what. Dots lead into objects: ``realm_access.roles``."""

    subject: Annotated[str, Field(min_length=1)] = "sub"
    """Who it is."""

    scopes: str = "scope"
    """What was granted: a text with spaces, or a list. ``scp`` is read too when this is ``scope``."""

    roles: str = "roles"
    """A list, or a text with spaces."""

    tenant: str = "tenant"
    """For whom."""


class ProviderSpec(Spec):
    """Who issues tokens. Its keys come from ``jwks``, ``keys`` or ``secret``; without any of these by OIDC discovery."""

    name: Name = ""
    """The key under ``providers``."""

    issuer: Annotated[str, Field(min_length=1)]
    """Exactly what ``iss`` must be; with discovery also the URL below which its metadata lies."""

    audiences: tuple[str, ...] = ()
    """``aud`` must name one of these. Empty accepts tokens made for anybody, and ``check`` warns."""

    jwks: WebURL | None = None
    """The URL of its key set (RFC 7517)."""

    keys: FilePath = ""
    """A file with its key set or with public keys in PEM; looked at every 5s."""

    secret: Secret | None = None
    """The secret shared with it, for HS256, HS384 and HS512 only."""

    algorithms: Annotated[tuple[Algorithm, ...], Field(min_length=1)] = ("RS256", "PS256", "ES256", "EdDSA")
    """What signatures may be made with; a token's own header never widens this. HS* needs ``secret``."""

    leeway: Annotated[Duration, Field(le=300)] = Duration(30.0)
    """By how much clocks may differ."""

    max_lifetime: Duration = Duration(0.0)
    """Longest time from ``iat`` to ``exp``; 0 for any."""

    type: str = ""
    """What ``typ`` must be, such as ``at+jwt`` (RFC 9068); empty for anything but what is known to be no access token."""

    required: tuple[str, ...] = ()
    """Claims that must be there beside ``exp``, ``iss`` and the subject."""

    claims: ClaimNames = ClaimNames()
    """Where its tokens say what."""

    refresh: Positive = Duration(900.0)
    """How often the key set is fetched at least; its ``Cache-Control: max-age`` may ask for more."""

    cooldown: Positive = Duration(30.0)
    """Between two fetches because of unknown keys."""

    max_stale: Duration = Duration(86400.0)
    """How long keys are good for while they cannot be fetched."""

    ca_file: FilePath = ""
    """Who vouches for the provider's certificate; empty for the system's authorities."""


class ApiKeysSpec(Spec):
    """API keys that this gateway issues and checks."""

    environment: Annotated[str, Field(pattern=r"^[a-z0-9]{1,12}$")] = "live"
    """Part of every key: ``sgk_live_…``. Keys of another environment are refused without a look-up."""

    peppers: Annotated[tuple[Secret, ...], Field(min_length=1)]
    """Secrets that go into every stored hash, at least 32 characters each. The first is used for new keys, all for checks."""

    file: FilePath = ""
    """Where records are kept when there is no ``gateway.store``; by default ``api-keys.sqlite`` in ``gateway.state-dir``."""

    header: HeaderName = "X-API-Key"
    """Where callers put their key; ``Authorization: ApiKey …`` is read too."""

    cache: CacheSpec = CacheSpec()
    """How long records are good for."""


class IntrospectionSpec(Spec):
    """An endpoint that tells about opaque tokens (RFC 7662)."""

    name: Name = ""
    """The key under ``introspection``."""

    url: WebURL
    """Where to ask."""

    client_id: str = ""
    """Who asks, by HTTP Basic; empty for no authentication."""

    client_secret: Secret = Secret("")
    """Its secret."""

    issuer: str = ""
    """What ``iss`` must be if it is told; empty for anything."""

    audiences: tuple[str, ...] = ()
    """``aud`` must name one of these; empty for anything."""

    claims: ClaimNames = ClaimNames()
    """Where answers say what."""

    timeout: Positive = Duration(2.0)
    """For one question, connecting included."""

    cache: CacheSpec = CacheSpec()
    """How long answers are good for; never beyond the token's ``exp``."""

    ca_file: FilePath = ""
    """Who vouches for its certificate; empty for the system's authorities."""


class ForwardAuthSpec(Spec):
    """A service that decides about requests by being asked with their heads."""

    name: Name = ""
    """The key under ``forward-auth``."""

    url: WebURL
    """Where to ask, by GET. 2xx lets in; 401, 403 and redirects are passed on to the client; all else is a failure."""

    request_headers: tuple[HeaderName, ...] = ("Authorization", "Cookie")
    """Fields of the request that are shown to it, beside ``X-Forwarded-Method``, ``-Host``, ``-Uri``, ``-Proto`` and ``-For``."""

    response_headers: tuple[HeaderName, ...] = ()
    """Fields of its answer that upstreams get. Names must be under ``gateway.identity-headers``."""

    subject_header: HeaderName = "X-User-Id"
    """The field of its answer that says who it is; may be missing."""

    vary: tuple[HeaderName, ...] = ()
    """Fields beside ``request-headers`` on which the decision depends; they are shown to it too."""

    by_path: Flag = True
    """Whether the decision depends on host and path too."""

    timeout: Positive = Duration(2.0)
    """For one question, connecting included."""

    cache: CacheSpec = CacheSpec()
    """How long decisions are good for; ``Cache-Control`` goes first. Nothing is kept for requests without credentials."""

    ca_file: FilePath = ""
    """Who vouches for its certificate; empty for the system's authorities."""


class SessionSpec(Spec):
    """What stays between logins."""

    idle: Positive = Duration(3600.0)
    """A session that is not used for so long is over."""

    absolute: Positive = Duration(43200.0)
    """And in any case after so long."""

    keys: Annotated[tuple[Secret, ...], Field(min_length=1)]
    """Secrets of at least 32 characters that seal cookies and stored sessions. The first seals, all open."""

    store: Literal["auto", "redis", "cookie"] = "auto"
    """
    Where: ``redis`` (needs ``gateway.store``), or sealed in the ``cookie`` itself, without tokens; ``auto`` by whether there is
    a store.
    """

    cache: CacheSpec = CacheSpec(fresh=Duration(5.0), revalidate=Duration(10.0))
    """How long a worker goes on with a session that it has read."""


class LoginSpec(Spec):
    """A login by OIDC's authorization code flow (with PKCE, state and nonce)."""

    name: Name = ""
    """The key under ``logins``."""

    provider: Name
    """Which provider; it must support discovery."""

    client_id: Annotated[str, Field(min_length=1)]
    """As what we are registered there."""

    client_secret: Secret | None = None
    """Our secret; none for a public client."""

    client_auth: Literal["client_secret_basic", "client_secret_post", "none"] = "client_secret_basic"
    """How we prove who we are at its token endpoint."""

    redirect_uri: WebURL
    """The whole URL to which it sends browsers back, as registered; host and path get a route of their own."""

    scopes: tuple[str, ...] = ("openid", "profile", "email", "offline_access")
    """What is asked for."""

    parameters: Pairs = ()
    """Further parameters of the authorization request, such as ``prompt`` or ``audience``."""

    logout_path: Annotated[str, AfterValidator(absolute_path)] = "/_login/logout"
    """On the same host: POST with the CSRF token ends the session, GET shows a page that asks; empty for nowhere."""

    backchannel_path: Annotated[str, AfterValidator(absolute_path)] = "/_login/backchannel-logout"
    """On the same host: where the provider tells of logouts elsewhere (OIDC Back-Channel Logout 1.0); empty for nowhere."""

    after_logout: Annotated[str, Field(min_length=1)] = "/"
    """Where browsers end up after logging out: a path, or a URL registered with the provider."""

    return_to: tuple[str, ...] = ()
    """Origins beside our own to which browsers may be sent after a login, such as ``https://app.example.org``."""

    cookie: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,40}$")] = "sg_session"
    """Name of the session's cookie, after its prefix ``__Host-``. Over plain HTTP (development) there is no prefix."""

    timeout: Positive = Duration(5.0)
    """For one call of the provider."""

    session: SessionSpec
    """What stays between logins."""


class ClientCertificateSpec(Spec):
    """Client certificates as identity."""

    header: HeaderName | Literal[""] = ""
    """
    The field by which trusted proxies that end TLS tell the certificate (RFC 9440), such as ``Client-Cert``; empty for none.
    """

    subject: Literal["common-name", "san-dns", "san-uri", "san-email", "fingerprint"] = "common-name"
    """Which part of the certificate is the caller's name."""

    ca_file: FilePath = ""
    """Who must have signed it; for certificates told by ``header`` this is checked again when it is given."""

    roles: Pairs = ()
    """Subject to roles, separated by spaces."""


class PrincipalHeaders(Spec):
    """By which fields upstreams learn who is calling; an empty name leaves one out."""

    subject: HeaderName | Literal[""] = "X-User-Id"
    """The caller."""

    roles: HeaderName | Literal[""] = "X-User-Roles"
    """Roles, separated by commas."""

    scopes: HeaderName | Literal[""] = "X-Auth-Scopes"
    """Scopes, separated by spaces."""

    tenant: HeaderName | Literal[""] = "X-Tenant-Id"
    """For whom."""

    key: HeaderName | Literal[""] = "X-Consumer-Key-Id"
    """Id of the API key, if it was one."""

    credential: HeaderName | Literal[""] = "X-Auth-Method"
    """By what: ``jwt``, ``api-key``, ``session``, …"""

    claims: HeaderPairs = ()
    """Further fields, by name: the path of the claim to put there."""


class AssertionSpec(Spec):
    """A signed statement for upstreams of who is calling, as a JWT that lives for a minute."""

    issuer: Annotated[str, Field(min_length=1)]
    """Its ``iss``."""

    keys: Annotated[tuple[FilePath, ...], Field(min_length=1)]
    """Private P-256 keys in PEM. The first signs; the public halves of all are shown."""

    header: HeaderName = "X-Suuupra-Identity"
    """The field that carries it."""

    lifetime: Annotated[Positive, Field(ge=10, le=3600)] = Duration(60.0)
    """How long each is good for."""

    jwks_path: Annotated[str, AfterValidator(absolute_path)] = "/.well-known/suuupra-identity.json"
    """Where services fetch the public keys, on any host; empty for nowhere."""


class IdentitySpec(Spec):
    """``identity:``, all of it."""

    providers: Annotated[tuple[ProviderSpec, ...], Named(ProviderSpec)] = ()
    """By name: who issues tokens."""

    api_keys: ApiKeysSpec | None = None
    """Keys of our own."""

    introspection: Annotated[tuple[IntrospectionSpec, ...], Named(IntrospectionSpec)] = ()
    """By name: whom to ask about opaque tokens."""

    forward_auth: Annotated[tuple[ForwardAuthSpec, ...], Named(ForwardAuthSpec)] = ()
    """By name: whom to ask about requests."""

    logins: Annotated[tuple[LoginSpec, ...], Named(LoginSpec)] = ()
    """By name: logins for browsers."""

    client_certificates: ClientCertificateSpec | None = None
    """Certificates of clients."""

    headers: PrincipalHeaders = PrincipalHeaders()
    """How upstreams learn who is calling."""

    assertion: AssertionSpec | None = None
    """How upstreams can be sure of it."""

    realm: Annotated[str, Field(pattern=r"^[ !#-\[\]-~]{1,100}$")] = "suuupra"
    """What ``WWW-Authenticate`` calls us."""

    revocation_poll: Positive = Duration(0.5)
    """How often a file of API keys is looked at for changes; with a store, changes are told at once."""
