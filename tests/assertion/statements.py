"""What the tests of services share: a gateway that signs, and its key set over a network that can be cut."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import jwt
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from suuupra_gateway.assertion.guard import GatewayKeys, Guard
from suuupra_gateway.auth.assertion import Signer
from suuupra_gateway.auth.principal import Principal
from suuupra_gateway.config.model import AssertionSpec

ISSUER = "https://gw.example"
HEADER = "x-suuupra-identity"


class Signing:
    """A gateway, as far as it signs."""

    def __init__(self, directory: Path, *, wall=None) -> None:
        self._directory = directory
        self._wall = {} if wall is None else {"wall": wall}
        self.renew()

    def renew(self) -> None:
        """Sign with a new key, and forget the old one."""
        self.key = ec.generate_private_key(ec.SECP256R1())
        path = self._directory / "key.pem"
        path.write_bytes(self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        self._signer = Signer(AssertionSpec(issuer=ISSUER, keys=(str(path),)), **self._wall)

    @property
    def jwks(self) -> bytes:
        return self._signer.jwks

    @property
    def kid(self) -> str:
        return json.loads(self.jwks)["keys"][0]["kid"]

    def token(self, subject="alice", audience="orders", **more) -> str:
        return self._signer.sign(Principal(subject, "jwt", **more), (audience,))[1].decode("ascii")

    def forged(self, *, key=None, algorithm="ES256", header=None, **claims) -> str:
        """As the gateway would sign it, but for what is given; a claim that is None is left out."""
        genuine = self.token()
        told = jwt.decode(genuine, options={"verify_signature": False}) | claims
        fields = jwt.get_unverified_header(genuine) | {"alg": algorithm} | (header or {})
        return jwt.encode(
            {name: value for name, value in told.items() if value is not None}, key or self.key, algorithm, fields
        )


class Network:
    """Where the key set is fetched from."""

    def __init__(self, signing: Signing) -> None:
        self._signing = signing
        self.fetches = 0
        self.up = True
        self.hold: threading.Event | None = None
        self.answer: bytes | None = None

    def __call__(self, url: str) -> bytes:
        self.fetches += 1
        if self.hold is not None:
            self.hold.wait(30)
        if not self.up:
            raise OSError("no route to host")
        return self._signing.jwks if self.answer is None else self.answer


def guarding(network: Network, *, open_paths=("/healthz",), **settings) -> Guard:
    return Guard(
        GatewayKeys("http://gw/keys", fetch=network, **settings),
        issuer=ISSUER,
        audience="orders",
        open_paths=open_paths,
    )
