"""
What it costs to know who is calling: the same relay, public and behind each kind of credential, and Envoy's with ``jwt_authn``.
"""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs
import jwt
from cryptography.hazmat.primitives.asymmetric import rsa
from jwt.algorithms import RSAAlgorithm

from tests.bench import peers
from tests.bench.measure import Load, wrk
from tests.bench.peers import Running
from tests.bench.scenarios import Run, place, rows, turn, upstream

ISSUER = "https://id.example.org"
PEPPER = "a pepper of the benchmarks, long enough for check"


@attrs.frozen
class Subject:
    """What is measured: a running proxy, and what is asked of it."""

    running: Running
    path: str
    script: str


def identity(run: Run) -> dict[str, Any]:
    """CPU per request on a public route, and with a cached RS256 token, an API key, a session; Envoy with a token."""
    token, keys = _token()
    (run.folder / "jwks.json").write_text(json.dumps(keys))
    with upstream(run) as port:
        started: list[Running] = []
        try:
            ours = peers.gateway(place(run, "gateway", port), routes=_ROUTES, extra=_identity(run.folder))
            started.append(ours)
            bearer = _script(run.folder, "bearer", {"Authorization": f"Bearer {token}"})
            key = _key(run.folder / "gateway" / "suuupra.yaml")
            subjects = {
                "public": Subject(ours, "/public/users/7", ""),
                "jwt": Subject(ours, "/jwt/users/7", bearer),
                "api-key": Subject(ours, "/key/users/7", _script(run.folder, "key", {"X-API-Key": key})),
            }
            for name, start in (
                ("nginx", lambda: peers.nginx(place(run, "nginx", port))),
                ("envoy", lambda: peers.envoy(place(run, "envoy", port), filters=_jwt_authn(keys))),
            ):
                try:
                    started.append(start())
                except (OSError, RuntimeError, subprocess.CalledProcessError) as reason:
                    print(f"   left out: {name}: {reason}", flush=True)
                    continue
                subjects[name] = Subject(started[-1], "/users/7", bearer if name == "envoy" else "")
            samples = _turns(run, subjects)
        finally:
            for running in started:
                running.stop()
    return {"peers": rows(samples, base="public")}


def _turns(run: Run, subjects: Mapping[str, Subject]) -> dict[str, list[tuple[float, Load]]]:
    samples: dict[str, list[tuple[float, Load]]] = {name: [] for name in subjects}
    for name, subject in subjects.items():
        load = wrk(f"http://127.0.0.1:{subject.running.port}{subject.path}", seconds=1.0, script=subject.script)
        if load.errors:
            raise RuntimeError(f"{name}: {load.errors} of {load.requests} requests failed")
    for number in range(run.turns):
        for name, subject in subjects.items():
            samples[name].append(turn(subject.running, run, subject.path, script=subject.script))
        print(
            f"   turn {number + 1}/{run.turns}: "
            + ", ".join(f"{name} {taken[-1][0]:.1f}" for name, taken in samples.items()),
            flush=True,
        )
    return samples


_ROUTES = """
  - {name: public, auth: none, match: {prefix: /public}, target: {proxy: {upstream: u}}}
  - name: jwt
    match: {prefix: /jwt}
    auth: {any: [{jwt: {provider: bench}}], scopes: {any: [users.read]}}
    target: {proxy: {upstream: u}}
  - name: key
    match: {prefix: /key}
    auth: {any: [{api-key: {}}], scopes: {any: [users.read]}}
    target: {proxy: {upstream: u}}
"""


def _identity(folder: Path) -> str:
    return f"""
identity:
  providers:
    bench: {{issuer: "{ISSUER}", audiences: [api], keys: {folder}/jwks.json}}
  api-keys: {{peppers: ["{PEPPER}"], file: {folder}/keys.sqlite}}
"""


def _token() -> tuple[str, dict[str, Any]]:
    """A token of the usual length that outlives the benchmark, and the key set that verifies it."""
    private = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    key = {**RSAAlgorithm.to_jwk(private.public_key(), as_dict=True), "kid": "bench", "use": "sig", "alg": "RS256"}
    now = int(time.time())
    claims = {
        "iss": ISSUER,
        "aud": "api",
        "sub": "7d1c9c6a-5f0e-4a55-9f0e-0d1c9c6a5f0e",
        "iat": now,
        "exp": now + 86400,
        "scope": "users.read users.write orders.read",
        "roles": ["admin", "author"],
        "email": "ada@example.org",
    }
    return jwt.encode(claims, private, "RS256", headers={"kid": "bench"}), {"keys": [key]}


def _key(config: Path) -> str:
    """A new API key of a configuration, made as its users would."""
    command = ["suuupra-gateway", "keys", "create", "--config", str(config), "--owner", "bench", "--name", "bench"]
    command += ["--scope", "users.read", "--json"]
    made = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    key: str = json.loads(made)["key"]
    return key


def _script(folder: Path, name: str, fields: Mapping[str, str]) -> str:
    """A script for wrk that sends further header fields; its path."""
    path = folder / f"{name}.lua"
    path.write_text("".join(f'wrk.headers["{field}"] = "{value}"\n' for field, value in fields.items()))
    return str(path)


def _jwt_authn(keys: dict[str, Any]) -> str:
    return f"""
          - name: envoy.filters.http.jwt_authn
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication
              providers:
                bench:
                  issuer: {ISSUER}
                  audiences: [api]
                  local_jwks: {{inline_string: '{json.dumps(keys)}'}}
                  claim_to_headers: [{{header_name: x-user-id, claim_name: sub}}]
                  jwt_cache_config: {{jwt_cache_size: 1000}}
              rules: [{{match: {{prefix: "/"}}, requires: {{provider_name: bench}}}}]
"""
