"""
What it costs to know who is calling: the same relay, public and behind each kind of credential, and Envoy's with ``jwt_authn``.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs
import jwt
from cryptography.hazmat.primitives.asymmetric import rsa
from jwt.algorithms import RSAAlgorithm

from tests.bench import peers
from tests.bench.measure import Load, free_port, wrk
from tests.bench.peers import Running
from tests.bench.scenarios import Run, place, rows, turn, upstream
from tests.live.visitor import Visitor
from tests.servers.provider import Provider

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
    port_of_ours = free_port()
    with upstream(run) as port, contextlib.ExitStack() as around:
        redis = _redis(run.folder, around)
        provider = around.enter_context(_provider(run.folder, port_of_ours))
        routes, extra = _ROUTES, _identity(run.folder, provider.issuer, port_of_ours)
        process = f", store: 'unix:{redis}'"
        ours = peers.gateway(
            place(run, "gateway", port), routes=routes, extra=extra, process=process, port=port_of_ours
        )
        around.callback(ours.stop)
        base = f"http://127.0.0.1:{ours.port}"
        visitor = Visitor()
        entered = visitor.log_in(f"{base}/session/users/7")
        if entered.status != 200:
            raise RuntimeError(f"nobody can log in: {entered.status} at {entered.url}: {entered.text[:200]}")
        cookie = "; ".join(f"{name}={value}" for name, value in visitor.cookies().items() if "sg_" in name)
        bearer = _script(run.folder, "bearer", {"Authorization": f"Bearer {token}"})
        key = _key(run.folder / "gateway" / "suuupra.yaml")
        subjects = {
            "public": Subject(ours, "/public/users/7", ""),
            "jwt": Subject(ours, "/jwt/users/7", bearer),
            "api-key": Subject(ours, "/key/users/7", _script(run.folder, "key", {"X-API-Key": key})),
            "session": Subject(ours, "/session/users/7", _script(run.folder, "session", {"Cookie": cookie})),
        }
        for name, start in (
            ("nginx", lambda: peers.nginx(place(run, "nginx", port))),
            ("envoy", lambda: peers.envoy(place(run, "envoy", port), filters=_jwt_authn(keys))),
        ):
            try:
                rival = start()
            except (OSError, RuntimeError, subprocess.CalledProcessError) as reason:
                print(f"   left out: {name}: {reason}", flush=True)
                continue
            around.callback(rival.stop)
            subjects[name] = Subject(rival, "/users/7", bearer if name == "envoy" else "")
        samples = _turns(run, subjects)
    return {"peers": rows(samples, base="public")}


def _redis(folder: Path, around: contextlib.ExitStack) -> Path:
    """A Redis on core 1; its socket."""
    path = folder / "redis.sock"
    words = ["taskset", "-c", "1", "redis-server", "--port", "0", "--unixsocket", str(path), "--save", ""]
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL)
    around.callback(process.wait)
    around.callback(process.terminate)
    while not path.exists():
        if process.poll() is not None:
            raise RuntimeError("redis-server does not start")
        time.sleep(0.05)
    return path


def _provider(folder: Path, port: int) -> Provider:
    web = {
        "client_id": "web",
        "client_secret": SECRET,
        "grant_types": ["authorization_code"],
        "response_types": ["code"],
        "redirect_uris": [f"http://127.0.0.1:{port}/_login/callback"],
    }
    (folder / "provider").mkdir()
    return Provider(folder / "provider", clients=[web], issuer_host="localhost")


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


SECRET = "a secret of the benchmarks, long enough"

_ROUTES = """
  - name: session
    match: {prefix: /session}
    auth: {any: [{session: {login: web}}]}
    target: {proxy: {upstream: u}}
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


def _identity(folder: Path, issuer: str, port: int) -> str:
    return f"""
identity:
  providers:
    bench: {{issuer: "{ISSUER}", audiences: [api], keys: {folder}/jwks.json}}
    login: {{issuer: "{issuer}", audiences: [web]}}
  api-keys: {{peppers: ["{PEPPER}"]}}
  logins:
    web:
      provider: login
      client-id: web
      client-secret: "{SECRET}"
      scopes: [openid]
      redirect-uri: http://127.0.0.1:{port}/_login/callback
      session: {{keys: ["{SECRET}"]}}
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
    command = [
        str(Path(sys.executable).with_name("suuupra-gateway")),
        "keys",
        "create",
        "--config",
        str(config),
        "--owner",
        "bench",
        "--name",
        "bench",
    ]
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
