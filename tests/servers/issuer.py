"""
Somebody who signs tokens and shows the keys for it over HTTP, in this very process: counted, slowed down, shut and opened again.
"""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec

AUDIENCE = "https://api.example"


class Issuer:
    """One issuer at a port that stays its own. Use it in a ``with``."""

    def __init__(self) -> None:
        self.fetched: list[float] = []
        """When its keys were fetched."""
        self.asked = 0
        """How often it was asked for anything."""
        self.delay = 0.0
        """Seconds before it answers."""
        self.padding = ""
        """Makes its key set longer."""
        self.keys: dict[str, ec.EllipticCurvePrivateKey] = {}
        """What it shows."""
        self.made("first")
        # Bound by us for ever and listened at only while it is open, so that nobody else gets the port.
        self._held = socket.socket()
        self._held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        self._held.bind(("127.0.0.1", 0))
        self.port: int = self._held.getsockname()[1]
        self._server: ThreadingHTTPServer | None = None
        self.open()

    def __enter__(self) -> Issuer:
        return self

    def __exit__(self, *reason: object) -> None:
        self.shut()
        self._held.close()

    @property
    def name(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def open(self) -> None:
        """Answer."""
        issuer = self

        class Answer(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                issuer.asked += 1
                time.sleep(issuer.delay)
                body = json.dumps(issuer._shown(self.path)).encode()
                with contextlib.suppress(OSError):  # who asked may no longer want to know
                    self.send_response(200)
                    self.send_header("Content-Length", str(len(body)))
                    self.end_headers()
                    self.wfile.write(body)

            def log_message(self, format: str, *arguments: Any) -> None:
                """Quiet."""

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            allow_reuse_address = True

            def server_bind(self) -> None:
                self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
                super().server_bind()

        self._server = Server(("127.0.0.1", self.port), Answer)
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def shut(self) -> None:
        """Refuse connections. Idempotent."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    def made(self, kid: str) -> str:
        """A new key to sign with, shown too."""
        self.keys[kid] = ec.generate_private_key(ec.SECP256R1())
        return kid

    def token(self, kid: str = "first", key: ec.EllipticCurvePrivateKey | None = None, **claims: Any) -> str:
        """Good for ten minutes; ``key`` is that of ``kid`` unless somebody lies."""
        now = int(time.time())
        told = {"iss": self.name, "aud": AUDIENCE, "sub": "alice", "iat": now, "exp": now + 600, **claims}
        return jwt.encode(told, key or self.keys[kid], "ES256", headers={"kid": kid})

    def _shown(self, path: str) -> dict[str, Any]:
        if path == "/.well-known/openid-configuration":
            return {"issuer": self.name, "jwks_uri": f"{self.name}/keys"}
        self.fetched.append(time.monotonic())
        shown = []
        for kid, key in self.keys.items():
            public = json.loads(jwt.algorithms.ECAlgorithm.to_jwk(key.public_key()))
            shown.append({**public, "kid": kid, "use": "sig", "alg": "ES256"})
        return {"keys": shown, "note": self.padding}
