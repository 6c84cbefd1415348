"""
What the filter that authenticates costs per request, in memory: ``python -m tests.bench.micro_auth``.

From a head with a credential to a head that tells the upstream who it is, on real credentials and a real plan; the price of
copying the head is measured apart and taken off. CPU time, medians of several turns, in microseconds.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from suuupra_gateway.config.source import Document
from suuupra_gateway.filters.auth import Auth
from suuupra_gateway.http.message import Pairs, RequestHead
from suuupra_gateway.memory import MemoryExchange
from suuupra_gateway.trace import examine

TURNS, REQUESTS = 9, 20_000
ISSUER, AUDIENCE = "https://id.example.org", "https://api.example.org"

AUTH: dict[str, dict[str, object]] = {
    "cached token": {"any": [{"jwt": {"provider": "corp"}}]},
    "the same, second of two credentials": {"any": [{"api-key": {}}, {"jwt": {"provider": "corp"}}]},
    "the same, with requirements": {
        "any": [{"jwt": {"provider": "corp"}}],
        "scopes": {"all": ["orders.read"]},
        "roles": {"any": ["clerk"]},
        "claims": {"department": {"equals": "sales"}},
    },
    "the same, telling upstreams nothing": {"any": [{"jwt": {"provider": "corp"}}], "headers": False},
    "cached token and a signed statement": {"any": [{"jwt": {"provider": "corp"}}], "assertion": "orders"},
}


def headers(token: str) -> Pairs:
    """What a browser sends, and a token."""
    return [
        (b"host", b"api.example.org"),
        (b"user-agent", b"Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0"),
        (b"accept", b"application/json"),
        (b"accept-encoding", b"gzip, deflate, br"),
        (b"accept-language", b"en-GB,en;q=0.5"),
        (b"authorization", b"Bearer " + token.encode("ascii")),
        (b"referer", b"https://app.example.org/users"),
        (b"x-requested-with", b"XMLHttpRequest"),
        (b"cache-control", b"no-cache"),
    ]


def per_request(work: Callable[[], object]) -> float:
    """Microseconds per call of ``work``; median of the turns."""
    turns = []
    for _ in range(TURNS):
        began = time.process_time()
        for _ in range(REQUESTS):
            work()
        turns.append((time.process_time() - began) / REQUESTS * 1e6)
    return statistics.median(turns)


def main() -> None:
    """Measure and print."""
    key = rsa.generate_private_key(65537, 2048)
    now = int(time.time())
    claims = {"iss": ISSUER, "aud": AUDIENCE, "sub": "alice", "iat": now, "exp": now + 3600, "roles": ["clerk"]}
    token = jwt.encode(claims | {"scope": "orders.read profile", "department": "sales"}, key, "RS256")
    with tempfile.TemporaryDirectory() as directory:
        public = Path(directory, "corp.pem")
        public.write_bytes(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
        private = Path(directory, "signer.pem")
        signer = ec.generate_private_key(ec.SECP256R1())
        private.write_bytes(signer.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        for name, auth in AUTH.items():
            plan = examine(
                Document.from_tree(
                    {
                        "listeners": [{"name": "bench", "address": "127.0.0.1:0"}],
                        "identity": {
                            "providers": {"corp": {"issuer": ISSUER, "audiences": [AUDIENCE], "keys": str(public)}},
                            "api-keys": {"peppers": ["p" * 32], "file": f"{directory}/keys.sqlite"},
                            "assertion": {"issuer": "https://gw.example.org", "keys": [str(private)]},
                        },
                        "upstreams": {"orders": {"endpoints": ["http://127.0.0.1:9001"]}},
                        "routes": [
                            {
                                "name": "orders",
                                "auth": {"assertion": "off"} | auth,
                                "target": {"proxy": {"upstream": "orders"}},
                            }
                        ],
                    }
                )
            )
            (guard,) = plan.routes["orders"].filters
            assert isinstance(guard, Auth)
            measure(name, guard, headers(token))


def measure(name: str, guard: Auth, sent: Pairs) -> None:
    """One line."""
    exchange = MemoryExchange(RequestHead(b"GET", b"/orders/7", [], host=b"api.example.org"))
    head = exchange.head

    def copy() -> None:
        head.headers = sent[:]

    def guarded() -> None:
        head.headers = sent[:]
        guard.request(exchange)

    guarded()
    assert exchange.principal is not None
    alone = per_request(copy)
    print(f"{name:40} {per_request(guarded) - alone:6.2f} us")


if __name__ == "__main__":
    main()
