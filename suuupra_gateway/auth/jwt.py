"""
Verifying signed tokens (RFC 7515, 7519, 8725): everything about a token but who keeps the keys.

What may be in a signature's header was decided by the configuration before the token came: it chooses among the allowed
algorithms and the keys that fit them, and says nothing else. Signatures are checked by PyJWT's algorithms.
"""

from __future__ import annotations

import re
from binascii import Error, a2b_base64, b2a_base64
from collections.abc import Mapping
from typing import Any, Final

import attrs
import msgspec

from suuupra_gateway.auth.keyset import KeySet
from suuupra_gateway.config.model import ProviderSpec

LONGEST: Final = 8 * 1024
"""Bytes of a token."""

_MOST_TRIES: Final = 8
"""Keys that are tried for a token that names none: each try costs as much CPU as a request."""

_HEADERS: Final = 256
"""Headers whose meaning is kept."""

_COMPACT: Final = re.compile(rb"([A-Za-z0-9_-]{2,})\.([A-Za-z0-9_-]{2,})\.([A-Za-z0-9_-]{2,})").fullmatch
_STANDARD: Final = bytes.maketrans(b"-_", b"+/")

_OTHER_TYPES: Final = frozenset({"logout+jwt", "dpop+jwt", "secevent+jwt", "entity-statement+jwt", "jwk-set+jwt"})
"""Signed by the same keys, and no access tokens (RFC 8725 section 3.11)."""

_decode: Final = msgspec.json.Decoder().decode


class TokenError(Exception):
    """A token is no good. ``reason`` is a stable word; the message never holds the token."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(detail or reason)
        self.reason = reason
        self.detail = detail


class UnknownKey(TokenError):
    """No key of the set verifies the token, which is of this issuer; a newer set may have one that does."""

    def __init__(self, kid: str, tried: bool) -> None:
        if tried:
            super().__init__("bad_signature", "of none of the keys that it may be of")
        else:
            super().__init__("unknown_key", f"no key {kid[:64]!r} for it" if kid else "no key fits it")
        self.kid = kid


@attrs.frozen
class Header:
    """What is believed of a token's header."""

    algorithm: str
    kid: str
    type: str


class Verifier:
    """Verifies the tokens of one provider. Remembers a few headers; lives as long as its provider."""

    __slots__ = ("_spec", "_algorithms", "_audiences", "_type", "_required", "_headers")

    def __init__(self, spec: ProviderSpec) -> None:
        self._spec = spec
        self._algorithms = frozenset(spec.algorithms)
        self._audiences = frozenset(spec.audiences)
        self._type = _media_type(spec.type)
        self._required = spec.required
        self._headers: dict[bytes, Header] = {}

    def verify(self, token: bytes, keys: KeySet, now: float) -> dict[str, Any]:
        """
        The claims of an access token.

        :param now: UNIX time.
        :raises UnknownKey: another key set may verify it.
        :raises TokenError: it is no good.
        """
        claims, header = self._signed(token, keys)
        self._check_type(header)
        self._check_claims(claims, now, self._audiences)
        self._check_access(claims)
        return claims

    def verify_other(
        self, token: bytes, keys: KeySet, now: float, *, audience: str, types: frozenset[str], required: bool = True
    ) -> dict[str, Any]:
        """
        The claims of another kind of token: an ID token (OIDC Core section 2) or a logout token.

        :param types: media types that it may have, lower-case; an empty one for none.
        :param required: whether it must expire; logout tokens of older providers do not.
        :raises TokenError: as `verify`.
        """
        claims, header = self._signed(token, keys)
        if header.type not in types:
            raise TokenError("wrong_type", f"typ is {header.type[:64]!r}")
        self._check_claims(claims, now, frozenset({audience}), required)
        return claims

    # -- the signature ------------------------------------------------------------------------------------------------

    def _signed(self, token: bytes, keys: KeySet) -> tuple[dict[str, Any], Header]:
        if len(token) > LONGEST:
            raise TokenError("too_long", f"more than {LONGEST} bytes")
        parts = _COMPACT(token)
        if parts is None:
            raise TokenError("malformed", "not three parts in base64url (RFC 7515 section 7.1)")
        first, second, third = parts.groups()
        header = self._headers.get(first)
        if header is None:
            header = self._header(first)
        candidates = keys.find(header.kid, header.algorithm)
        signature = _bytes(third)
        message = token[: parts.end(2)]
        for key in candidates[:_MOST_TRIES]:
            if key.verifies(header.algorithm, message, signature):
                return _object(second, "the claims"), header
        if header.kid and header.kid in keys and candidates:
            raise TokenError("bad_signature")
        unknown = UnknownKey(header.kid, bool(candidates))
        # Nothing here is proven, but a token of somebody else's, or none at all, is no reason to ask this issuer for newer keys.
        try:
            claims = _object(second, "the claims")
        except TokenError:
            raise TokenError(unknown.reason, unknown.detail) from None
        self._check_issuer(claims)
        raise unknown

    def _header(self, segment: bytes) -> Header:
        tree = _object(segment, "its headers")
        algorithm, kid, kind = tree.get("alg"), tree.get("kid", ""), tree.get("typ", "")
        if not isinstance(algorithm, str):
            raise TokenError("malformed", "alg is no text")
        if algorithm not in self._algorithms:
            raise TokenError("algorithm_not_allowed", f"alg is {algorithm[:32]!r}")
        # RFC 7515 section 4.1.11: what must be understood and is not, refuses. `b64` of RFC 7797 comes with `crit`, or should.
        for name in ("crit", "b64", "zip", "enc"):
            if name in tree:
                raise TokenError("header_not_supported", f"{name} is not understood")
        if not isinstance(kid, str) or len(kid) > 1024:
            raise TokenError("malformed", "kid is no text of at most 1024 characters")
        if not isinstance(kind, str):
            raise TokenError("malformed", "typ is no text")
        if tree.get("cty") is not None:
            raise TokenError("header_not_supported", "tokens inside of tokens are not understood")
        # jku, x5u, jwk, x5c: whoever made the token cannot say with what it is verified. They are not even looked at.
        header = Header(algorithm, kid, _media_type(kind))
        if len(self._headers) >= _HEADERS:
            self._headers.clear()
        if len(segment) <= 1024:
            self._headers[segment] = header
        return header

    # -- the claims ---------------------------------------------------------------------------------------------------

    def _check_type(self, header: Header) -> None:
        if self._type:
            if header.type != self._type:
                raise TokenError("wrong_type", f"typ is {header.type[:64]!r}")
        elif header.type in _OTHER_TYPES:
            raise TokenError("wrong_type", f"typ is {header.type!r}")

    def _check_issuer(self, claims: Mapping[str, Any]) -> None:
        if claims.get("iss") != self._spec.issuer:
            raise TokenError("wrong_issuer")

    def _check_claims(
        self, claims: Mapping[str, Any], now: float, audiences: frozenset[str], must_expire: bool = True
    ) -> None:
        spec = self._spec
        leeway = float(spec.leeway)
        expires, begins, issued = _time(claims, "exp"), _time(claims, "nbf"), _time(claims, "iat")
        if expires is None and must_expire:
            raise TokenError("missing_claim", "there is no exp")
        if expires is not None and expires + leeway <= now:
            raise TokenError("expired", f"{now - expires:.0f} s ago")
        if begins is not None and begins - leeway > now:
            raise TokenError("not_yet_valid", f"nbf is {begins - now:.0f} s ahead")
        if issued is not None and issued - leeway > now:
            raise TokenError("not_yet_valid", f"iat is {issued - now:.0f} s ahead")
        self._check_issuer(claims)
        if audiences and not names_one(claims, audiences):
            raise TokenError("wrong_audience")

    def _check_access(self, claims: Mapping[str, Any]) -> None:
        """What is asked of access tokens beyond that. ID tokens and logout tokens say other things, and live for other times."""
        if self._spec.max_lifetime:
            expires, issued = _time(claims, "exp"), _time(claims, "iat")
            if issued is None:
                raise TokenError("missing_claim", "there is no iat")
            if expires is None or expires - issued > self._spec.max_lifetime:
                raise TokenError("lives_too_long", f"longer than {self._spec.max_lifetime}")
        for name in self._required:
            if claims.get(name) is None:
                raise TokenError("missing_claim", f"there is no {name}")


def names_one(claims: Mapping[str, Any], audiences: frozenset[str]) -> bool:
    """Whether ``aud``, a text or a list of them (RFC 7519 section 4.1.3), names one of ``audiences``."""
    named = claims.get("aud")
    if isinstance(named, str):
        return named in audiences
    return isinstance(named, list) and any(isinstance(each, str) and each in audiences for each in named)


def _time(claims: Mapping[str, Any], name: str) -> float | None:
    """A NumericDate (RFC 7519 section 2)."""
    value = claims.get(name)
    if value is None and name not in claims:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not -1e12 < value < 1e12:
        raise TokenError("malformed", f"{name} is no time")
    return float(value)


def _object(segment: bytes, what: str) -> dict[str, Any]:
    try:
        tree = _decode(_bytes(segment))
    except (
        ValueError,
        RecursionError,
    ) as error:  # msgspec's own is a ValueError; so is Python's for numbers without end
        raise TokenError("malformed", f"{what} are no JSON") from error
    if type(tree) is not dict:
        raise TokenError("malformed", f"{what} are no object")
    return tree


def _bytes(segment: bytes) -> bytes:
    """What base64url without padding stands for, in its one canonical form (RFC 4648 section 3.5)."""
    standard = segment.translate(_STANDARD)
    try:
        decoded = a2b_base64(standard + b"=" * (-len(standard) % 4))
    except Error as error:
        raise TokenError("malformed", "a part is no base64url") from error
    if b2a_base64(decoded, newline=False).rstrip(b"=") != standard:
        raise TokenError("malformed", "a part is not in canonical base64url")
    return decoded


def _media_type(value: str) -> str:
    """Lower-case and without ``application/`` (RFC 7515 section 4.1.9)."""
    return value.lower().removeprefix("application/")
