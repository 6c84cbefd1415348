"""
A certified OpenID provider (npm ``oidc-provider``) as a process: started, killed, frozen and given new keys.

What it knows lies in a file, so a provider that was killed goes on where it stopped.
"""

from __future__ import annotations

import base64
import json
import os
import select
import shutil
import signal
import subprocess
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

from joserfc.jwk import RSAKey

PLACE = Path(__file__).with_name("oidc")
PATIENCE = 60.0
MACHINE = ("machine", "the secret of a program, for tests")
"""Client id and secret of a program that may have tokens of its own."""


class Provider:
    """One provider. ``stop`` it, or use it in a ``with``."""

    def __init__(self, directory: Path, *, clients: list[dict[str, Any]] | None = None, **options: Any) -> None:
        """
        :param directory: for its options and its memory.
        :param clients: beside `MACHINE`, as of OpenID Connect Dynamic Client Registration.
        :param options: see ``server.mjs``.
        """
        self._options = directory / "provider.json"
        self._log = directory / "provider.log"
        machine = {
            "client_id": MACHINE[0],
            "client_secret": MACHINE[1],
            "grant_types": ["client_credentials"],
            "redirect_uris": [],
            "response_types": [],
        }
        self.options: dict[str, Any] = {
            "port": 0,
            "state": str(directory / "provider-state.json"),
            "keys": {"keys": [_key("first")]},
            "clients": [machine, *(clients or [])],
            **options,
        }
        self.issuer = ""
        self.process: subprocess.Popen[str] | None = None
        self.start()

    def __enter__(self) -> Provider:
        return self

    def __exit__(self, *reason: object) -> None:
        self.stop()

    # -- its life -----------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start it, or start it again on the same port."""
        node = shutil.which("node") or shutil.which("nodejs")
        assert node is not None, "these tests need node: apt-get install nodejs npm"
        assert (PLACE / "node_modules").is_dir(), f"these tests need: npm ci --prefix {PLACE}"
        self._options.write_text(json.dumps(self.options))
        with self._log.open("a") as log:
            self.process = subprocess.Popen(
                [node, "server.mjs", str(self._options)], cwd=PLACE, stdout=subprocess.PIPE, stderr=log, text=True
            )
        assert self.process.stdout is not None
        ready, _, _ = select.select([self.process.stdout], [], [], PATIENCE)
        self.issuer = self.process.stdout.readline().strip() if ready else ""
        assert self.issuer, f"the provider did not start: {self._log.read_text()}"
        self.options["port"] = int(self.issuer.rpartition(":")[2])

    def stop(self) -> None:
        """Kill it. Idempotent."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            assert self.process.stdout is not None
            self.process.stdout.close()
            self.process = None

    def freeze(self) -> None:
        """Let it accept connections and answer nothing."""
        assert self.process is not None
        os.kill(self.process.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        assert self.process is not None
        os.kill(self.process.pid, signal.SIGCONT)

    def rotate(self, kid: str, *, forget: bool = False) -> None:
        """Sign with a new key from now on; ``forget`` the old ones, else they are still shown."""
        self.stop()
        old = [] if forget else self.options["keys"]["keys"]
        self.options["keys"] = {"keys": [_key(kid), *old]}
        self.start()

    # -- what is asked of it ------------------------------------------------------------------------------------------

    def token(self, scope: str = "orders.read") -> str:
        """An access token for `MACHINE`, for the audience ``api``."""
        answer = self.ask("/token", {"grant_type": "client_credentials", "scope": scope, "resource": "urn:api"})
        token: str = json.loads(answer)["access_token"]
        return token

    def exchanges(self) -> int:
        """How many tokens it has granted since it was started."""
        return int(self.ask("/test/exchanges"))

    def ask(self, path: str, form: dict[str, str] | None = None) -> bytes:
        """The body of its answer; forms are sent as `MACHINE`."""
        request = urllib.request.Request(self.issuer + path)
        if form is not None:
            request.data = urllib.parse.urlencode(form).encode()
            pair = ":".join(map(urllib.parse.quote, MACHINE))
            request.add_header("Authorization", "Basic " + base64.b64encode(pair.encode()).decode())
        with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
            body: bytes = answer.read()
            return body


def _key(kid: str) -> dict[str, Any]:
    made = RSAKey.generate_key(2048, {"use": "sig", "kid": kid, "alg": "RS256"}, private=True)
    return dict(made.as_dict(private=True))
