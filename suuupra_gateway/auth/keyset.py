"""
The keys that tokens are verified with: JWK sets (RFC 7517), PEM files, shared secrets.

Which algorithms a key may be used with follows from the key alone, never from a token: an RSA key cannot become an HMAC secret.
Sets are read tolerantly, as providers show keys that are not for us: what cannot be used is left out and counted.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable, Mapping
from typing import Any, Final, Protocol

import attrs
import msgspec
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed448 import Ed448PublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key
from cryptography.x509 import load_pem_x509_certificate
from jwt.algorithms import get_default_algorithms
from jwt.exceptions import PyJWTError

MOST_KEYS: Final = 100
LARGEST: Final = 512 * 1024
"""Bytes of a key set."""

_SMALLEST_RSA: Final = 2048  # bits; RFC 7518 section 3.3

_RSA: Final = frozenset({"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"})
_CURVES: Final = {"secp256r1": "ES256", "secp384r1": "ES384", "secp521r1": "ES512"}  # RFC 7518 section 3.4
SECRET_ALGORITHMS: Final = frozenset({"HS256", "HS384", "HS512"})


class Algorithm(Protocol):
    """One of PyJWT's."""

    def verify(self, msg: bytes, key: Any, sig: bytes) -> bool:
        """Whether ``sig`` is the signature of ``msg``."""


ALGORITHMS: Final[Mapping[str, Algorithm]] = {
    name: algorithm for name, algorithm in get_default_algorithms().items() if name != "none"
}


class KeySetError(Exception):
    """What should be a key set is none. The message says why, and holds nothing of it."""


@attrs.frozen(eq=False)
class Key:
    """One key."""

    kid: str
    """Its id; empty for none."""

    algorithms: frozenset[str]
    """What it may verify."""

    material: Any
    """As PyJWT's algorithms take it."""

    identity: object
    """Equal for equal keys, so that a set that was fetched again is known to be the same."""

    def verifies(self, algorithm: str, message: bytes, signature: bytes) -> bool:
        """Whether ``signature`` is good. The algorithm is one of `algorithms`."""
        return ALGORITHMS[algorithm].verify(message, self.material, signature)


class KeySet:
    """Keys by id. Immutable."""

    __slots__ = ("keys", "left_out", "_by_kid")

    def __init__(self, keys: Iterable[Key] = (), left_out: int = 0) -> None:
        self.keys = tuple(keys)
        self.left_out = left_out
        """How many entries of the original could not be used."""
        self._by_kid: dict[str, tuple[Key, ...]] = {}
        for key in self.keys:
            self._by_kid[key.kid] = (*self._by_kid.get(key.kid, ()), key)

    def __bool__(self) -> bool:
        return bool(self.keys)

    def __contains__(self, kid: object) -> bool:
        return kid in self._by_kid

    def find(self, kid: str, algorithm: str) -> list[Key]:
        """
        Keys that may verify a token: those that it names, and those without a name, as in PEM; for one that names no key, all.
        Only such as fit the algorithm (RFC 7515 section 6).
        """
        named = self._by_kid
        candidates = (*named.get(kid, ()), *named.get("", ())) if kid else self.keys
        return [key for key in candidates if algorithm in key.algorithms]

    def identities(self) -> frozenset[object]:
        """What tells this set from another."""
        return frozenset((key.kid, key.identity) for key in self.keys)

    # -- where they come from -----------------------------------------------------------------------------------------

    @classmethod
    def of_secret(cls, secret: str) -> KeySet:
        """The one key of a provider with a shared secret."""
        material = secret.encode("utf-8")
        return cls([Key("", SECRET_ALGORITHMS, material, material)])

    @classmethod
    def of_file(cls, path: str) -> KeySet:
        """
        The keys in a file: a JWK set, or public keys or certificates in PEM.

        :raises OSError: it cannot be read.
        :raises KeySetError: it holds no key that can be used.
        """
        with open(path, "rb") as file:
            content = file.read(LARGEST + 1)
        found = cls.of_pem(content) if b"-----BEGIN" in content else cls.of_json(content)
        if not found:
            raise KeySetError("it holds no key that can be used")
        return found

    @classmethod
    def of_json(cls, content: bytes) -> KeySet:
        """
        The keys of a JWK set.

        :raises KeySetError: it is too large, or no JWK set at all. A set without usable keys is no error here.
        """
        if len(content) > LARGEST:
            raise KeySetError(f"it has more than {LARGEST} bytes")
        try:
            tree = msgspec.json.decode(content)
        except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
            raise KeySetError("it is no JSON") from error
        return cls.of_tree(tree)

    @classmethod
    def of_tree(cls, tree: object) -> KeySet:
        """As `of_json`, decoded already."""
        entries = tree.get("keys") if isinstance(tree, dict) else None
        if not isinstance(entries, list):
            raise KeySetError('it is no key set: there is no list "keys" (RFC 7517 section 5)')
        if len(entries) > MOST_KEYS:
            raise KeySetError(f"it has {len(entries)} keys, {MOST_KEYS} are allowed")
        keys = [key for entry in entries if (key := _of_jwk(entry)) is not None]
        return cls(keys, len(entries) - len(keys))

    @classmethod
    def of_pem(cls, content: bytes) -> KeySet:
        """
        Public keys and certificates in PEM. They have no ids.

        :raises KeySetError: one of them cannot be read or used.
        """
        if len(content) > LARGEST:
            raise KeySetError(f"it has more than {LARGEST} bytes")
        keys = []
        for piece in content.split(b"-----BEGIN ")[1:]:
            block = b"-----BEGIN " + piece
            try:
                public: Any
                if piece.startswith(b"CERTIFICATE-----"):
                    public = load_pem_x509_certificate(block).public_key()
                elif b"PRIVATE KEY" in piece[:40]:
                    raise KeySetError("it holds a private key; the gateway needs the public one only")
                else:
                    public = load_pem_public_key(block)
            except ValueError as error:
                raise KeySetError("it holds PEM that is neither a public key nor a certificate") from error
            algorithms = _algorithms_of(public)
            if not algorithms:
                raise KeySetError(f"it holds a key that no allowed algorithm uses ({type(public).__name__})")
            keys.append(Key("", algorithms, public, _identity(public)))
        return cls(keys)


class KeyFile:
    """A file with keys, which may be replaced while we run. Lives as long as its provider."""

    __slots__ = ("path", "_seen")

    def __init__(self, path: str) -> None:
        self.path = path
        self._seen: tuple[int, ...] = ()

    def news(self) -> KeySet | None:
        """
        What it holds now; None if it is the file that was read before. One that cannot be used is complained of once.

        :raises OSError: as `KeySet.of_file`.
        :raises KeySetError: as `KeySet.of_file`.
        """
        try:
            found = os.stat(self.path)
            seen: tuple[int, ...] = (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns)
        except OSError:
            seen = (0,)
        if seen == self._seen:
            return None
        self._seen = seen
        return KeySet.of_file(self.path)


def _of_jwk(entry: object) -> Key | None:
    """One entry of a set; None if it is not for us."""
    if not isinstance(entry, dict) or entry.get("use", "sig") != "sig":
        return None
    operations = entry.get("key_ops")
    if operations is not None and (not isinstance(operations, list) or "verify" not in operations):
        return None
    kid, algorithm, kind = entry.get("kid", ""), entry.get("alg"), entry.get("kty")
    reader = _READERS.get(kind) if isinstance(kind, str) else None  # no "oct": secrets are never published
    if reader is None or not isinstance(kid, str) or len(kid) > 1024 or not isinstance(algorithm, str | None):
        return None
    wanted = {name: value for name, value in entry.items() if name in ("kty", "n", "e", "crv", "x", "y")}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of short keys, which are left out below
            public: Any = reader(wanted)
    except (PyJWTError, ValueError, TypeError, KeyError, OverflowError, RecursionError):
        return None
    algorithms = _algorithms_of(public)
    if algorithm is not None:
        algorithms &= {algorithm}  # RFC 7517 section 4.4
    return Key(kid, algorithms, public, _identity(public)) if algorithms else None


def _reader(name: str) -> Any:
    algorithm: Any = ALGORITHMS[name]
    return algorithm.from_jwk


_READERS: Final[dict[str, Any]] = {"RSA": _reader("RS256"), "EC": _reader("ES256"), "OKP": _reader("EdDSA")}


def _algorithms_of(public: Any) -> frozenset[str]:
    if isinstance(public, RSAPublicKey):
        return _RSA if public.key_size >= _SMALLEST_RSA else frozenset()
    if isinstance(public, EllipticCurvePublicKey):
        name = _CURVES.get(public.curve.name)
        return frozenset({name}) if name else frozenset()
    if isinstance(public, Ed25519PublicKey | Ed448PublicKey):
        return frozenset({"EdDSA"})
    return frozenset()


def _identity(public: Any) -> object:
    return public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
