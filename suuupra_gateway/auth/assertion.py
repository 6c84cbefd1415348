"""
Signed statements of who is calling, for the services behind: a JWT (RFC 7519) that lives for a minute.

Upstreams that verify it need not believe that whoever reaches them came through the gateway. `suuupra_gateway.assertion` is what
verifies it there.
"""

from __future__ import annotations

import base64
import hashlib
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

import attrs
import msgspec
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from suuupra_gateway.auth.fields import LONGEST, FieldTooLong
from suuupra_gateway.auth.principal import Principal
from suuupra_gateway.config.model import AssertionSpec
from suuupra_gateway.http.message import Pair

TYPE: Final = "suuupra-identity+jwt"
"""Its ``typ``: no token of anybody else may pass for it, nor it for another one (RFC 8725 section 3.11)."""

_SIZE: Final = 32
"""Bytes of a coordinate, and of half a signature (RFC 7518 section 3.4)."""


@attrs.frozen(eq=False)
class _Signed:
    """One that was made."""

    pair: Pair
    renewed: float
    """UNIX time from which on a new one is made."""


class Signer:
    """Makes statements; those of a caller are made anew at half of their life. Lives as long as its plan."""

    __slots__ = ("jwks", "_header", "_issuer", "_lifetime", "_key", "_protected", "_wall")

    jwks: bytes
    """The public keys (RFC 7517), for all who verify."""

    def __init__(self, spec: AssertionSpec, *, wall: Callable[[], float] = time.time) -> None:
        """
        :raises ValueError: a file holds no private P-256 key.
        :raises OSError: it cannot be read.
        """
        keys = [_private_key(path) for path in spec.keys]
        public = [_jwk(key) for key in keys]
        self.jwks = msgspec.json.encode({"keys": list({key["kid"]: key for key in public}.values())})
        self._header = spec.header.lower().encode("ascii")
        self._issuer = spec.issuer
        self._lifetime = float(spec.lifetime)
        self._key = keys[0]
        self._protected = _base64(msgspec.json.encode({"alg": "ES256", "typ": TYPE, "kid": public[0]["kid"]}))
        self._wall = wall

    def sign(self, principal: Principal, audience: tuple[str, ...]) -> Pair:
        """
        The field that says who is calling, to all of ``audience``.

        :raises FieldTooLong: there is too much to say.
        """
        now = self._wall()
        key = (self, audience)
        signed = principal.admissions.get(key)
        if isinstance(signed, _Signed) and signed.renewed > now:
            return signed.pair
        expires = int(min(now + self._lifetime, principal.expires))
        # One member is a text, as not everybody who verifies reads lists (RFC 7519 section 4.1.3).
        meant: object = audience[0] if len(audience) == 1 else audience
        value = self._signed(_claims(principal) | {"aud": meant, "iat": int(now), "exp": expires})
        if len(value) > LONGEST:
            raise FieldTooLong(f"{self._header.decode('ascii')} would have {len(value)} bytes")
        pair = (self._header, value)
        principal.admissions[key] = _Signed(pair, now + max(1.0, (expires - now) / 2))
        return pair

    def _signed(self, claims: dict[str, Any]) -> bytes:
        message = self._protected + b"." + _base64(msgspec.json.encode({"iss": self._issuer, **claims}))
        r, s = decode_dss_signature(self._key.sign(message, ec.ECDSA(SHA256())))
        return message + b"." + _base64(r.to_bytes(_SIZE, "big") + s.to_bytes(_SIZE, "big"))


def _claims(principal: Principal) -> dict[str, Any]:
    """What a principal is, without what it is not."""
    told: Mapping[str, Any] = {
        "sub": principal.subject,
        "credential": principal.credential,
        "provider": principal.provider,
        "scope": " ".join(sorted(principal.scopes)),  # RFC 9068 section 2.2.3
        "roles": sorted(principal.roles),
        "tenant": principal.tenant,
        "key": principal.key if principal.credential == "api-key" else "",
    }
    return {name: value for name, value in told.items() if value}


def _private_key(path: str) -> ec.EllipticCurvePrivateKey:
    with open(path, "rb") as file:
        pem = file.read()
    try:
        key = load_pem_private_key(pem, None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        # The words of the library may quote what it read.
        raise ValueError(f"{path} holds no private key in PEM without a passphrase") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
        raise ValueError(f"{path} holds no P-256 key; make one by: openssl ecparam -genkey -noout -name prime256v1")
    return key


def _jwk(key: ec.EllipticCurvePrivateKey) -> dict[str, str]:
    """The public half, called by its thumbprint (RFC 7638)."""
    numbers = key.public_key().public_numbers()
    point = [_base64(value.to_bytes(_SIZE, "big")).decode("ascii") for value in (numbers.x, numbers.y)]
    bare = {"crv": "P-256", "kty": "EC", "x": point[0], "y": point[1]}
    thumbprint = _base64(hashlib.sha256(msgspec.json.encode(bare)).digest()).decode("ascii")
    return {**bare, "kid": thumbprint, "use": "sig", "alg": "ES256"}


def _base64(raw: bytes) -> bytes:
    return base64.urlsafe_b64encode(raw).rstrip(b"=")
