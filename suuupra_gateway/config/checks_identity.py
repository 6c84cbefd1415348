"""
What must hold inside ``identity:``, and between it and the rest, whatever routes make of it.
"""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Iterator
from typing import Final
from urllib.parse import urlsplit

from suuupra_gateway.config.auth import AuthSpec
from suuupra_gateway.config.findings import Finding, Loc
from suuupra_gateway.config.identity import IdentitySpec, LoginSpec, ProviderSpec
from suuupra_gateway.config.names import OwnedNames
from suuupra_gateway.config.parts import Check, Parts, long_enough, readable, unknown
from suuupra_gateway.config.spec import web_url

_FLOW: Final = frozenset(
    {
        "client_id",
        "code_challenge",
        "code_challenge_method",
        "nonce",
        "redirect_uri",
        "request",
        "request_uri",
        "response_mode",
        "response_type",
        "scope",
        "state",
    }
)
"""Parameters of an authorization request that the flow itself depends on."""

_DEFAULT: Final = LoginSpec.model_construct()
"""By what is not written, nothing is meant: a dump writes it down too."""

_ORIGIN: Final = re.compile(r"https?://[^/?#]+")


def is_local(url: str) -> bool:
    """Whether a URL leads to this very host, so that nobody is in between. ``localhost`` never leaves it (RFC 6761)."""
    host = (urlsplit(url).hostname or "").rstrip(".")
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def providers(parts: Parts) -> Iterator[Finding]:
    """Each provider has one source of keys, and its algorithms are of the kind that these keys are for."""
    for provider in _identity(parts).providers:
        loc: Loc = ("identity", "providers", provider.name)
        given = [key for key in ("jwks", "keys", "secret") if getattr(provider, key)]
        for key in given[1:]:
            why = f"{given[0]} is given already"
            yield Finding((*loc, key), why, "keys come from one place: jwks, keys, secret or discovery", key=True)
        if not given and not _is_url(provider.issuer):
            hint = "make it one, or say where its keys come from: jwks, keys or secret"
            yield Finding((*loc, "issuer"), "keys cannot be discovered below what is no URL", hint)
        yield from _algorithms(loc, provider)


def _algorithms(loc: Loc, provider: ProviderSpec) -> Iterator[Finding]:
    shared = [name for name in provider.algorithms if name.startswith("HS")]
    here: Loc = (*loc, "algorithms")
    if provider.secret is not None:
        yield from long_enough((*loc, "secret"), provider.secret, "a secret that signs tokens")
        if not shared:
            yield Finding((*loc, "secret"), "none of its algorithms takes a secret", "write `algorithms: [HS256]`")
        elif len(shared) < len(provider.algorithms):
            # A public key must never be mistaken for a secret, so there is no provider with both (RFC 8725 section 3.1).
            yield Finding(here, "with a secret there is HS256, HS384 and HS512 only", "make two providers of it")
    elif shared:
        why = f"{shared[0]} needs a secret: public keys are known to everybody"
        yield Finding(here, why, "add secret, or leave it out")


def api_keys(parts: Parts) -> Iterator[Finding]:
    """Peppers cannot be guessed, there is somewhere to keep records, and the field with the key arrives."""
    keys = _identity(parts).api_keys
    if keys is None:
        return
    loc: Loc = ("identity", "api-keys")
    for place, pepper in enumerate(keys.peppers):
        yield from long_enough((*loc, "peppers", place), pepper, "a pepper")
    # systemd gives the directory to the service only, not to whoever runs `check`; both must say the same of a file.
    if parts.gateway is not None and not (parts.gateway.store or keys.file or parts.gateway.state_dir):
        hint = "add gateway.store (Redis), gateway.state-dir (such as /var/lib/suuupra-gateway), or file here"
        yield Finding(loc, "there is nowhere to keep API keys", hint, key=True)
    if keys.file:
        directory = os.path.dirname(os.path.abspath(keys.file))
        if not os.path.isdir(directory):
            yield Finding((*loc, "file"), f"there is no directory {directory}")
    yield from _arrives(parts, (*loc, "header"), keys.header)


def forward_auth(parts: Parts) -> Iterator[Finding]:
    """What an auth service is shown arrives, and what it may tell upstreams cannot be told by clients."""
    for service in _identity(parts).forward_auth:
        loc: Loc = ("identity", "forward-auth", service.name)
        for key, names in (("request-headers", service.request_headers), ("vary", service.vary)):
            for place, name in enumerate(names):
                yield from _arrives(parts, (*loc, key, place), name)
        for place, name in enumerate(service.response_headers):
            yield from _covered(parts, (*loc, "response-headers", place), name)


def introspection(parts: Parts) -> Iterator[Finding]:
    """Who asks with a secret says who it is."""
    for service in _identity(parts).introspection:
        if service.client_secret and not service.client_id:
            loc = ("identity", "introspection", service.name, "client-secret")
            yield Finding(loc, "nobody has this secret", "add client-id", key=True)


def logins(parts: Parts) -> Iterator[Finding]:
    """Each login can work, and none is in another's way."""
    identity = _identity(parts)
    taken: dict[tuple[str, str], Loc] = {}
    cookies: dict[tuple[str, str], Loc] = {}
    for login in identity.logins:
        loc: Loc = ("identity", "logins", login.name)
        yield from _provider_of(parts, loc, login)
        yield from _flow(loc, login)
        yield from _session(parts, loc, login)
        yield from _returning(loc, login)
        split = urlsplit(login.redirect_uri)
        host = split.hostname or ""
        paths = (("redirect-uri", split.path or "/"), ("logout-path", login.logout_path))
        for key, path in (*paths, ("backchannel-path", login.backchannel_path)):
            here: Loc = (*loc, key)
            if path and taken.setdefault((host, path), here) != here:
                yield Finding(here, f"{path} is taken on {host}", "give each a path of its own", also=taken[host, path])
        here = (*loc, "cookie")
        if cookies.setdefault((host, login.cookie), here) != here:
            why = f"another login on {host} has a cookie of this name, so one session would end the other"
            yield Finding(here, why, "give each a name of its own", also=cookies[host, login.cookie])


def _provider_of(parts: Parts, loc: Loc, login: LoginSpec) -> Iterator[Finding]:
    known = parts.identity_names.get("providers", ())
    if login.provider not in known:
        yield unknown((*loc, "provider"), "provider", login.provider, known)
    for provider in _identity(parts).providers:
        if provider.name == login.provider and (provider.jwks or provider.keys or provider.secret):
            why = f"a login needs discovery, and the keys of {provider.name} come from elsewhere"
            yield Finding((*loc, "provider"), why, "take jwks, keys and secret away there")


def _flow(loc: Loc, login: LoginSpec) -> Iterator[Finding]:
    if login.redirect_uri.startswith("http:") and not is_local(login.redirect_uri):
        why = "over plain HTTP everybody on the way could take the code and the session"
        yield Finding((*loc, "redirect-uri"), why, "use https; http is for localhost only")
    if "?" in login.redirect_uri:
        yield Finding((*loc, "redirect-uri"), "it must have no query", "return_to and the like are kept in a cookie")
    if "openid" not in login.scopes:
        yield Finding((*loc, "scopes"), "without openid there is no ID token, so nobody knows who has logged in")
    for name, _ in login.parameters:
        if name.lower() in _FLOW:
            yield Finding((*loc, "parameters", name), f"{name} is the flow's own to set", key=True)
    if login.client_auth == "none":
        if login.client_secret is not None:
            yield Finding(
                (*loc, "client-secret"), "client-auth none sends no secret", "leave one of them out", key=True
            )
    elif login.client_secret is None and login.client_auth != _DEFAULT.client_auth:
        yield Finding((*loc, "client-auth"), f"{login.client_auth} needs a secret", "add client-secret")


def _session(parts: Parts, loc: Loc, login: LoginSpec) -> Iterator[Finding]:
    session, here = login.session, (*loc, "session")
    for place, key in enumerate(session.keys):
        yield from long_enough((*here, "keys", place), key, "a key of sessions")
    if session.idle > session.absolute:
        why = f"idle ({session.idle}) is longer than absolute ({session.absolute})"
        yield Finding((*here, "idle" if "idle" in session.model_fields_set else "absolute"), why)
    if parts.gateway is None:
        return
    if session.store == "redis" and parts.gateway.store is None:
        yield Finding((*here, "store"), "there is no Redis to keep sessions in", "add gateway.store")
    in_cookies = session.store == "cookie" or parts.gateway.store is None
    if in_cookies and login.backchannel_path not in ("", _DEFAULT.backchannel_path):
        why = "sessions that live in cookies alone cannot be ended from elsewhere"
        yield Finding((*loc, "backchannel-path"), why, "keep sessions in Redis: add gateway.store")


def _returning(loc: Loc, login: LoginSpec) -> Iterator[Finding]:
    if not (login.after_logout.startswith("/") or _is_url(login.after_logout)):
        yield Finding((*loc, "after-logout"), "it is neither a path nor a URL")
    elif login.after_logout.startswith(("//", "/\\")):
        yield Finding((*loc, "after-logout"), "browsers take this for another host", "write the whole URL")
    for place, origin in enumerate(login.return_to):
        if not _is_url(origin) or not _ORIGIN.fullmatch(origin):
            yield Finding((*loc, "return-to", place), "it is no origin", "write one such as https://app.example.org")


def certificates(parts: Parts) -> Iterator[Finding]:
    """A certificate that is told by a field is told by somebody who is believed."""
    certificate = _identity(parts).client_certificates
    if certificate is None or not certificate.header:
        return
    loc: Loc = ("identity", "client-certificates", "header")
    if parts.gateway is not None and not parts.gateway.trusted_proxies:
        why = f"nobody may send {certificate.header}, so nobody would have a certificate"
        yield Finding(loc, why, "name the proxies that end TLS in gateway.trusted-proxies")
    yield from _arrives(parts, loc, certificate.header)


def principal_headers(parts: Parts) -> Iterator[Finding]:
    """What tells upstreams who is calling cannot be told by clients, and each field tells one thing."""
    identity = _identity(parts)
    loc: Loc = ("identity", "headers")
    # The usual names need no owner while no upstream is told anything.
    told = any(isinstance(route.auth, AuthSpec) and route.auth.headers for route in parts.routes.values())
    named: list[tuple[Loc, str, bool]] = []
    for attribute, field in type(identity.headers).model_fields.items():
        if attribute != "claims":
            name = getattr(identity.headers, attribute)
            named.append(((*loc, str(field.alias)), name, told or name != field.default))
    named += [((*loc, "claims", name), name, True) for name, _ in identity.headers.claims]
    if identity.assertion is not None:
        named.append((("identity", "assertion", "header"), identity.assertion.header, True))
    first: dict[str, Loc] = {}
    for here, name, matters in named:
        if not name:
            continue
        if matters:
            yield from _covered(parts, here, name)
        if first.setdefault(name.lower(), here) != here:
            yield Finding(here, f"{name} tells something else already", "give it a name of its own")


def assertion(parts: Parts) -> Iterator[Finding]:
    """Statements are signed by keys that their algorithm (ES256) is for."""
    stated = _identity(parts).assertion
    for place, path in enumerate(stated.keys if stated is not None else ()):
        loc = ("identity", "assertion", "keys", place)
        unreadable = list(readable(loc, path))
        yield from unreadable
        if not unreadable and not _is_p256(path):
            hint = "make one with: openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256"
            yield Finding(loc, f"{path} holds no private P-256 key in PEM, without password", hint)


def identity_files(parts: Parts) -> Iterator[Finding]:
    """Files that ``identity`` and the store name can be read."""
    identity = _identity(parts)
    named: list[tuple[Loc, str]] = []
    for provider in identity.providers:
        named.append((("identity", "providers", provider.name, "keys"), provider.keys))
    for key, things in (
        ("providers", identity.providers),
        ("introspection", identity.introspection),
        ("forward-auth", identity.forward_auth),
    ):
        named += [(("identity", key, thing.name, "ca-file"), thing.ca_file) for thing in things]
    if identity.client_certificates is not None:
        named.append((("identity", "client-certificates", "ca-file"), identity.client_certificates.ca_file))
    if parts.gateway is not None and parts.gateway.store is not None:
        named.append((("gateway", "store", "ca-file"), parts.gateway.store.ca_file))
    for loc, path in named:
        if path:
            yield from readable(loc, path)


def admin_tokens(parts: Parts) -> Iterator[Finding]:
    """Tokens of the admin API cannot be guessed, and each tells one bearer."""
    tokens = parts.admin.tokens if parts.admin is not None else ()
    for place, token in enumerate(tokens):
        loc = ("admin", "tokens", token.name, "secret")
        yield from long_enough(loc, token.secret, "a token")
        for other in tokens[:place]:
            if other.secret == token.secret:
                also = ("admin", "tokens", other.name, "secret")
                yield Finding(loc, f"{other.name} has this secret already", "give each its own", also=also)


IDENTITY: tuple[Check, ...] = (
    providers,
    api_keys,
    forward_auth,
    introspection,
    logins,
    certificates,
    principal_headers,
    assertion,
    identity_files,
    admin_tokens,
)


# -- what they share --------------------------------------------------------------------------------------------------


def _identity(parts: Parts) -> IdentitySpec:
    return parts.identity if parts.identity is not None else IdentitySpec()


def _is_url(text: str) -> bool:
    try:
        return bool(web_url(text))
    except ValueError:
        return False


def _owned(parts: Parts) -> OwnedNames | None:
    return OwnedNames(parts.gateway.identity_headers) if parts.gateway is not None else None


def _covered(parts: Parts, loc: Loc, name: str) -> Iterator[Finding]:
    """``name`` is removed from what clients send."""
    owned = _owned(parts)
    if owned is not None and name.encode("latin-1") not in owned:
        hint = f"add {name} to gateway.identity-headers"
        yield Finding(loc, f"clients could send {name} themselves, and upstreams would believe it", hint)


def _arrives(parts: Parts, loc: Loc, name: str) -> Iterator[Finding]:
    """``name`` is not removed from what clients send."""
    owned = _owned(parts)
    if owned is not None and name.encode("latin-1") in owned:
        why = f"{name} is removed from every request, as gateway.identity-headers says"
        yield Finding(loc, why, "use another name")


def _is_p256(path: str) -> bool:
    from cryptography.exceptions import UnsupportedAlgorithm  # most configurations do without
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        with open(path, "rb") as file:
            key = load_pem_private_key(file.read(64 * 1024), None)
    except (ValueError, TypeError, OSError, UnsupportedAlgorithm):  # TypeError: there is a password
        return False
    return isinstance(key, ec.EllipticCurvePrivateKey) and isinstance(key.curve, ec.SECP256R1)
