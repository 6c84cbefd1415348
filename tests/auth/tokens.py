"""
Tokens for tests, good and bad: signed here with nothing but primitives, so that anything can be put into them.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import hmac
import json
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

ISSUER, AUDIENCE = "https://login.example.org", "https://api.example.org"
NOW = 1_800_000_000.0
SECRET = "a secret that is shared with the provider and has more than sixty-four characters"

_HASHES: dict[str, Any] = {"256": hashes.SHA256(), "384": hashes.SHA384(), "512": hashes.SHA512()}
_CURVES: dict[str, Any] = {"ES256": ec.SECP256R1(), "ES384": ec.SECP384R1(), "ES512": ec.SECP521R1()}


def encoded(value: bytes | str | object) -> bytes:
    """base64url; what is neither bytes nor text as JSON."""
    if not isinstance(value, bytes | str):
        value = json.dumps(value)
    return base64.urlsafe_b64encode(value.encode() if isinstance(value, str) else value).rstrip(b"=")


def private(algorithm: str, number: int = 0) -> Any:
    """The private key number so-and-so for an algorithm; the same for all of RSA."""
    return _made("RSA" if algorithm[:2] in ("RS", "PS") else algorithm, number)


@functools.cache
def _made(algorithm: str, number: int) -> Any:
    if algorithm in _CURVES:
        return ec.generate_private_key(_CURVES[algorithm])
    if algorithm == "EdDSA":
        return ed25519.Ed25519PrivateKey.generate()
    if algorithm == "Ed448":
        return ed448.Ed448PrivateKey.generate()
    return rsa.generate_private_key(65537, 2048)


def signature(message: bytes, algorithm: str, key: Any = None) -> bytes:
    """Of ``message``, as JWS wants it."""
    hashed = _HASHES.get(algorithm[2:])
    if algorithm.startswith("HS"):
        return hmac.new(key or SECRET.encode(), message, getattr(hashlib, f"sha{algorithm[2:]}")).digest()
    key = key or private(algorithm)
    if algorithm.startswith("RS"):
        return bytes(key.sign(message, padding.PKCS1v15(), hashed))
    if algorithm.startswith("PS"):
        return bytes(key.sign(message, padding.PSS(padding.MGF1(hashed), hashed.digest_size), hashed))
    if algorithm.startswith("ES"):
        size = (_CURVES[algorithm].key_size + 7) // 8
        r, s = decode_dss_signature(key.sign(message, ec.ECDSA(hashed)))
        return r.to_bytes(size, "big") + s.to_bytes(size, "big")
    return bytes(key.sign(message))


def claims(**more: Any) -> dict[str, Any]:
    """Those of a good token; None takes one away."""
    usual: dict[str, Any] = {"iss": ISSUER, "aud": AUDIENCE, "sub": "alice", "iat": NOW - 60, "exp": NOW + 600}
    return {name: value for name, value in {**usual, **more}.items() if value is not None}


def token(
    content: object = None,
    algorithm: str = "RS256",
    key: Any = None,
    *,
    sign_as: str = "",
    header: Any = None,
    **more: Any,
) -> bytes:
    """
    A token.

    :param content: claims, text or bytes; by default those of a good token.
    :param sign_as: another algorithm than the header says.
    :param header: all of it; else ``alg`` and ``more``.
    """
    head = {"alg": algorithm, **more} if header is None else header
    message = encoded(head) + b"." + encoded(claims() if content is None else content)
    return message + b"." + encoded(signature(message, sign_as or algorithm, key))


def jwk(algorithm: str = "RS256", number: int = 0, **more: Any) -> dict[str, Any]:
    """The public half of `private`, as entry of a key set."""
    public = private(algorithm, number).public_key()
    if isinstance(public, rsa.RSAPublicKey):
        numbers = public.public_numbers()
        parts = {"kty": "RSA", "n": _number(numbers.n, 256), "e": _number(numbers.e, 3)}
    elif isinstance(public, ec.EllipticCurvePublicKey):
        point, size = public.public_numbers(), (public.curve.key_size + 7) // 8
        parts = {
            "kty": "EC",
            "crv": f"P-{public.curve.key_size}",
            "x": _number(point.x, size),
            "y": _number(point.y, size),
        }
    else:
        raw = public.public_bytes(Encoding.Raw, PublicFormat.Raw)
        parts = {"kty": "OKP", "crv": "Ed25519" if len(raw) == 32 else "Ed448", "x": encoded(raw).decode()}
    return {**parts, **more}


def pem(algorithm: str = "RS256", number: int = 0) -> bytes:
    """The same in PEM."""
    return bytes(private(algorithm, number).public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))


def _number(value: int, size: int) -> str:
    return encoded(value.to_bytes(size, "big")).decode()
