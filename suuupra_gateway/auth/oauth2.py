"""
OAuth 2.0 and OpenID Connect, without sending anything: what requests say, and what answers mean.

A `Client` is made of a login's configuration and the provider's metadata. In order: `authorization_url`; the browser comes back
with a `Callback`; `code_request` is sent and its answer read by `Grant.of`; its ID token goes to `auth.idtoken`. Now and again a
`refresh_request`; in the end `logout_url` and `revocation_request`.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import parse_qsl, quote_plus, urlencode, urlsplit

import attrs
import msgspec
from authlib.oauth2.rfc6749.parameters import prepare_grant_uri, prepare_token_request
from authlib.oauth2.rfc7009 import prepare_revoke_token_request

from suuupra_gateway.auth.attempt import Attempt
from suuupra_gateway.config.model import LoginSpec
from suuupra_gateway.http.message import Pair

LONGEST_HINT: Final = 4096
"""Characters of an ID token that fits into a URL."""

_MOST_PARAMETERS: Final = 32
_LONGEST_LIFETIME: Final = 31_536_000.0

_SHOWN: Final = frozenset(
    {
        "access_denied",
        "account_selection_required",
        "consent_required",
        "interaction_required",
        "invalid_request",
        "invalid_scope",
        "login_required",
        "server_error",
        "temporarily_unavailable",
        "unauthorized_client",
        "unsupported_response_type",
    }
)
"""Error codes that are repeated to people and in logs (RFC 6749 section 4.1.2.1, OIDC Core section 3.1.2.6). No other text is."""


class ProtocolError(Exception):
    """What came is not what the protocol allows. ``reason`` is a stable word; the message holds no tokens."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason = reason


class GrantRefused(ProtocolError):
    """The token endpoint refused, with the error code in ``reason`` (RFC 6749 section 5.2)."""


class BadAnswer(ProtocolError):
    """The token endpoint said neither yes nor no: it is not itself, and another attempt may do better."""


class Unusable(Exception):
    """The provider's metadata lacks what a login needs, or did not come yet. The message says what."""


@attrs.frozen
class Callback:
    """With what a browser came back."""

    state: str
    code: str = attrs.field(repr=False)
    error: str
    """A known error code, ``error`` for any other; empty if there is none."""

    issuer: str | None
    """``iss`` (RFC 9207 section 2)."""

    @classmethod
    def of(cls, query: bytes | None) -> Callback:
        """
        What the query of a callback says.

        :raises ProtocolError: nothing that a provider would send.
        """
        found = form(query or b"")
        error = found.get("error", "")
        if error and error not in _SHOWN:
            error = "error"
        state = found.get("state", "")
        if not state or not (error or found.get("code")):
            raise ProtocolError("malformed_callback", "state, or both of code and error, are missing")
        if error and found.get("code"):
            raise ProtocolError("malformed_callback", "both code and error")
        return cls(state, found.get("code", ""), error, found.get("iss"))


def form(data: bytes) -> dict[str, str]:
    """
    The fields of a form or query, each of which may be there once (RFC 6749 section 3.1).

    :raises ProtocolError: it cannot be read.
    """
    try:
        pairs = parse_qsl(
            data.decode("ascii"),
            keep_blank_values=True,
            errors="strict",
            max_num_fields=_MOST_PARAMETERS,
        )
    except (UnicodeDecodeError, ValueError) as error:
        raise ProtocolError("malformed_form", "it cannot be read") from error
    found: dict[str, str] = {}
    for name, value in pairs:
        if name in found:
            raise ProtocolError("malformed_form", "a parameter is repeated")
        found[name] = value
    return found


@attrs.frozen
class Request:
    """What is to be sent to the provider, by POST unless there is no body."""

    url: str
    headers: tuple[Pair, ...] = attrs.field(repr=False)
    body: bytes = attrs.field(repr=False)


@attrs.frozen
class Grant:
    """What the token endpoint gave."""

    access: str = attrs.field(repr=False)
    refresh: str = attrs.field(repr=False)
    id: str = attrs.field(repr=False)
    lifetime: float | None
    """Seconds; None if it does not say."""

    scopes: str | None
    """None if they are as asked for (RFC 6749 section 5.1)."""

    @classmethod
    def of(cls, status: int, body: bytes) -> Grant:
        """
        What an answer of the token endpoint means.

        :raises GrantRefused: no, with a reason.
        :raises BadAnswer: neither yes nor no.
        """
        try:
            tree = msgspec.json.decode(body)
        except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
            raise BadAnswer("bad_token_response", f"status {status}, no JSON") from error
        if not isinstance(tree, dict):
            raise BadAnswer("bad_token_response", f"status {status}, no object")
        if status != 200:
            code = tree.get("error")
            if status in (400, 401) and isinstance(code, str) and code.isascii() and code.replace("_", "").isalnum():
                raise GrantRefused(code[:64], f"status {status}")
            raise BadAnswer("bad_token_response", f"status {status}")
        access, kind = tree.get("access_token"), tree.get("token_type")
        refresh, id, scopes = tree.get("refresh_token", ""), tree.get("id_token", ""), tree.get("scope")
        if not isinstance(access, str) or not access:
            raise BadAnswer("bad_token_response", "no access token")
        if not isinstance(kind, str) or kind.lower() != "bearer":
            raise BadAnswer("bad_token_response", "no bearer token")
        if not isinstance(refresh, str) or not isinstance(id, str) or not isinstance(scopes, str | None):
            raise BadAnswer("bad_token_response", "a member is no text")
        lifetime = tree.get("expires_in")
        if isinstance(lifetime, str) and lifetime.isascii() and lifetime.isdigit() and len(lifetime) < 16:
            lifetime = int(lifetime)  # Practice: several providers send it as a text
        if isinstance(lifetime, bool) or not isinstance(lifetime, int | float | None):
            raise BadAnswer("bad_token_response", "expires_in is no number")
        if lifetime is not None:
            lifetime = min(max(float(lifetime), 0.0), _LONGEST_LIFETIME)
        return cls(access, refresh, id, lifetime, scopes)


class Client:
    """One login, as a client of one provider. Immutable; made anew when the provider's metadata change."""

    __slots__ = ("_spec", "_metadata", "_secure", "_secret")

    def __init__(self, spec: LoginSpec, metadata: Mapping[str, Any], issuer: str) -> None:
        """
        :param metadata: of OIDC Discovery section 3.
        :param issuer: as configured.
        :raises Unusable: it lacks an endpoint that a login needs, or one is not to be trusted.
        """
        self._spec = spec
        self._metadata = metadata
        self._secure = issuer.startswith("https:")
        self._secret = spec.client_secret.reveal() if spec.client_secret is not None else ""
        for name in ("authorization_endpoint", "token_endpoint"):
            if self.endpoint(name) is None:
                raise Unusable(f"the metadata of {issuer} has no usable {name}")

    def endpoint(self, name: str) -> str | None:
        """The URL of an endpoint; None if there is none, or it would be spoken to without TLS though the issuer has it."""
        url = self._metadata.get(name)
        if not isinstance(url, str) or any(ord(each) < 0x21 or ord(each) > 0x7E for each in url):
            return None
        split = urlsplit(url)
        schemes = ("https",) if self._secure else ("https", "http")
        return url if split.scheme in schemes and split.hostname and not split.fragment else None

    @property
    def tells_issuer(self) -> bool:
        """Whether callbacks must say who sent them (RFC 9207 section 2.4)."""
        return self._metadata.get("authorization_response_iss_parameter_supported") is True

    def authorization_url(self, attempt: Attempt) -> str:
        """Where the browser goes to log in."""
        spec = self._spec
        url: str = prepare_grant_uri(
            self.endpoint("authorization_endpoint"),
            spec.client_id,
            "code",
            redirect_uri=spec.redirect_uri,
            scope=list(spec.scopes),
            state=attempt.state,
            **{
                **dict(spec.parameters),
                "nonce": attempt.nonce,
                "code_challenge": attempt.challenge,
                "code_challenge_method": "S256",
            },
        )
        return url

    def code_request(self, code: str, verifier: str) -> Request:
        """Exchanges a code (RFC 6749 section 4.1.3, RFC 7636 section 4.5)."""
        body = prepare_token_request(
            "authorization_code", redirect_uri=self._spec.redirect_uri, code=code, code_verifier=verifier
        )
        return self._authenticated("token_endpoint", body)

    def refresh_request(self, refresh: str) -> Request:
        """Exchanges a refresh token (RFC 6749 section 6)."""
        return self._authenticated("token_endpoint", prepare_token_request("refresh_token", refresh_token=refresh))

    def revocation_request(self, token: str) -> Request | None:
        """Gives a refresh token back (RFC 7009 section 2.1); None if the provider does not take it."""
        if self.endpoint("revocation_endpoint") is None:
            return None
        body, _ = prepare_revoke_token_request(token, "refresh_token", "", {})
        return self._authenticated("revocation_endpoint", body)

    def userinfo_request(self, access: str) -> Request | None:
        """Asks who it is (OIDC Core section 5.3); None if there is nobody to ask."""
        url = self.endpoint("userinfo_endpoint")
        if url is None or any(not 0x21 <= ord(each) <= 0x7E for each in access):
            return None
        token = access.encode("ascii")
        return Request(url, ((b"authorization", b"Bearer " + token), (b"accept", b"application/json")), b"")

    def logout_url(self, id_token: str, return_to: str) -> str | None:
        """Where the browser goes to end the provider's session too (OIDC RP-Initiated Logout section 2); None for nowhere."""
        url = self.endpoint("end_session_endpoint")
        if url is None:
            return None
        hint = {"id_token_hint": id_token} if 0 < len(id_token) <= LONGEST_HINT else {}
        query = urlencode({**hint, "client_id": self._spec.client_id, "post_logout_redirect_uri": return_to})
        return f"{url}{'&' if '?' in url else '?'}{query}"

    def _authenticated(self, endpoint: str, body: str) -> Request:
        """A request with our own credentials, which are never in a URL."""
        url = self.endpoint(endpoint)
        assert url is not None
        headers = [(b"content-type", b"application/x-www-form-urlencoded"), (b"accept", b"application/json")]
        spec = self._spec
        if spec.client_secret is None or spec.client_auth == "none":
            body += "&" + urlencode({"client_id": spec.client_id})
        elif spec.client_auth == "client_secret_post":
            body += "&" + urlencode({"client_id": spec.client_id, "client_secret": self._secret})
        else:
            # Both are form-encoded first (RFC 6749 section 2.3.1).
            pair = f"{quote_plus(spec.client_id)}:{quote_plus(self._secret)}"
            headers.append((b"authorization", b"Basic " + base64.b64encode(pair.encode("ascii"))))
        return Request(url, tuple(headers), body.encode("ascii"))
