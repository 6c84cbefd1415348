"""
What checking signed tokens costs, in memory: ``python -m tests.bench.micro_jwt``.

A token that is known already, and the first sight of one beside PyJWT's own ``jwt.decode`` with the same checks. CPU time, in
microseconds; the turns of what is compared alternate, and the quotient is that of the best turns, so that a busy machine does
not decide.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from typing import Any

import attrs
import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from jwt.algorithms import get_default_algorithms
from twisted.internet.task import Clock

from suuupra_gateway.auth.bearer import JwtCredential
from suuupra_gateway.auth.board import QuietBoard
from suuupra_gateway.auth.jwt import Verifier
from suuupra_gateway.auth.keyset import KeySet
from suuupra_gateway.auth.principal import Principal
from suuupra_gateway.auth.provider import Provider
from suuupra_gateway.auth.revocations import Revocations
from suuupra_gateway.config.model import JwtSpec, ProviderSpec
from suuupra_gateway.config.units import Secret
from suuupra_gateway.http.message import RequestHead
from suuupra_gateway.memory import MemoryExchange

TURNS = 15
ISSUER, AUDIENCE = "https://login.example.org/", "https://api.example.org"
SECRET = "a secret of the bench that has more than sixty-four characters, for HS512"

KEYS: dict[str, Any] = {
    "RS256": rsa.generate_private_key(65537, 2048),
    "ES256": ec.generate_private_key(ec.SECP256R1()),
    "EdDSA": ed25519.Ed25519PrivateKey.generate(),
    "HS256": SECRET,
}
KEYS["PS256"] = KEYS["RS256"]


def claims(size: int) -> dict[str, Any]:
    """Of a token as providers issue them, with about ``size`` bytes of groups."""
    now = int(time.time())
    return {
        "iss": ISSUER,
        "aud": [AUDIENCE, "https://login.example.org/userinfo"],
        "sub": "auth0|5f7c8ec7c33c6c004bbafe82",
        "iat": now,
        "exp": now + 3600,
        "azp": "my_client_id",
        "scope": "openid profile orders.read orders.write",
        "roles": [f"group-{number:05}" for number in range(size // 14)],
    }


def cost(work: Callable[[], object], times: int) -> float:
    """Microseconds of CPU per call."""
    began = time.process_time()
    for _ in range(times):
        work()
    return (time.process_time() - began) / times * 1e6


def best(*works: Callable[[], object], times: int) -> list[float]:
    """Of each work the best turn."""
    turns = [[cost(work, times) for work in works] for _ in range(TURNS)]
    return [min(column) for column in zip(*turns, strict=True)]


def first_sight(algorithm: str, size: int) -> tuple[int, float, float]:
    """Bytes of the token; microseconds that we take, and PyJWT."""
    key = KEYS[algorithm]
    token = jwt.encode(claims(size), key, algorithm, {"kid": "2026-01"}).encode()
    if algorithm.startswith("HS"):
        spec = ProviderSpec(issuer=ISSUER, audiences=(AUDIENCE,), algorithms=(algorithm,), secret=Secret(SECRET))
        keys = KeySet(attrs.evolve(each, kid="2026-01") for each in KeySet.of_secret(SECRET).keys)
        public: Any = SECRET
    else:
        spec = ProviderSpec(issuer=ISSUER, audiences=(AUDIENCE,), algorithms=(algorithm,))
        entry = get_default_algorithms()[algorithm].to_jwk(key.public_key(), as_dict=True)
        public = jwt.PyJWK({**entry, "kid": "2026-01"}, algorithm)
        keys = KeySet.of_tree({"keys": [{**entry, "kid": "2026-01"}]})
    verifier = Verifier(spec)
    required = {"require": ["exp", "iss", "aud", "sub"]}

    def ours() -> object:
        return verifier.verify(token, keys, time.time())

    def theirs() -> object:
        return jwt.decode(
            token, public, algorithms=[algorithm], audience=[AUDIENCE], issuer=ISSUER, leeway=30, options=required
        )

    assert ours() == theirs()
    return len(token), *best(ours, theirs, times=200)


def cached() -> tuple[float, float]:
    """Microseconds for a known token of 1.5 KB: at the provider, and from the head of the request on."""
    key = KEYS["RS256"]
    board = QuietBoard()
    with tempfile.NamedTemporaryFile() as file:
        file.write(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
        file.flush()
        spec = ProviderSpec(name="bench", issuer=ISSUER, audiences=(AUDIENCE,), keys=file.name)
        provider = Provider(spec, board, Revocations(board), Clock())
    token = jwt.encode(claims(700), key, "RS256").encode()
    assert isinstance(provider.check(token), Principal)
    names = (b"host", b"user-agent", b"accept", b"accept-encoding", b"accept-language", b"cookie", b"referer")
    head = RequestHead(b"GET", b"/", [*((name, b"x") for name in names), (b"authorization", b"Bearer " + token)])
    credential, exchange = JwtCredential(JwtSpec(provider="bench"), provider, "bench"), MemoryExchange(head)
    assert isinstance(credential.check(exchange), Principal)
    known, whole = best(lambda: provider.check(token), lambda: credential.check(exchange), times=20_000)
    return known, whole


def main() -> None:
    """Measure and print."""
    known, whole = cached()
    print(f"a known token: {known:.2f} us at the provider, {whole:.2f} us from the request's head on (target: 3)")
    for algorithm in ("RS256", "PS256", "ES256", "EdDSA", "HS256"):
        for size in (0, 700):
            length, ours, theirs = first_sight(algorithm, size)
            print(
                f"{algorithm}, {length:5} bytes: {ours:6.1f} us at first sight, {theirs:6.1f} us with PyJWT:"
                f" {ours / theirs:.2f} of it (target: 1.2)"
            )


if __name__ == "__main__":
    main()
