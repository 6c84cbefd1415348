"""
An OpenID provider that does as it is told, right or wrong: ``python -m tests.servers.evil_idp ID SECRET`` prints its issuer.

`EvilProvider` answers requests without sending anything, so tests can have it in memory too. What is in its ``script`` makes it
misbehave; as a process it takes scripts by POST to ``/script``, and tells by GET of ``/seen`` what it was asked.
"""

from __future__ import annotations

import base64
import hashlib
import json
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from typing import Any
from urllib.parse import parse_qs, parse_qsl, unquote_plus, urlencode, urlsplit

from tests.auth.tokens import encoded, jwk, private, signature

LOGOUT = "http://schemas.openid.net/event/backchannel-logout"
FORM = "application/x-www-form-urlencoded"

Answer = tuple[int, list[tuple[str, str]], bytes]


def _json(tree: object, status: int = 200) -> Answer:
    return status, [("Content-Type", "application/json"), ("Cache-Control", "no-store")], json.dumps(tree).encode()


def half_hash(text: str, algorithm: str = "RS256") -> str:
    """``at_hash`` of an access token."""
    digest = getattr(hashlib, f"sha{algorithm[2:]}")(text.encode()).digest()
    return encoded(digest[: len(digest) // 2]).decode()


class EvilProvider:
    """
    One provider with one client.

    The script may hold: ``claims`` (of ID tokens; None takes one away), ``header`` (of ID tokens, more), ``sign`` (``none``,
    ``secret`` or ``other``), ``token`` ([status, type, text] instead of the token endpoint's answer), ``grant`` (members of a
    good answer; None takes one away), ``back`` (parameters of the redirect back; None takes one away), ``metadata``, ``userinfo``
    (claims, or [status, type, text]), ``revocation`` (status), ``lifetime`` (seconds of access tokens), ``delay`` (seconds
    before the token endpoint answers; as a process only).
    """

    def __init__(self, issuer: str, client: str, secret: str, wall=time.time) -> None:
        self.issuer, self.client, self.secret, self.wall = issuer, client, secret, wall
        self.script: dict[str, Any] = {}
        self.subject, self.sid = "alice", "sid-1"
        self.seen: list[dict[str, Any]] = []
        """Requests to the token, userinfo and revocation endpoints, in order."""
        self.codes: dict[str, dict[str, str]] = {}
        self.used: set[str] = set()
        self.refreshing: dict[str, str] = {}
        """Refresh tokens that are good, by whom they are for."""
        self.exchanges = 0
        self.reused = 0
        """Refresh tokens that came again: whoever does so has lost everything."""
        self._numbers = count(1)

    @property
    def metadata(self) -> dict[str, Any]:
        """What discovery tells."""
        names = {
            "authorization_endpoint": "/authorize",
            "token_endpoint": "/token",
            "jwks_uri": "/jwks",
            "userinfo_endpoint": "/userinfo",
            "revocation_endpoint": "/revoke",
            "end_session_endpoint": "/end",
        }
        metadata: dict[str, Any] = {name: self.issuer + path for name, path in names.items()}
        metadata |= {
            "issuer": self.issuer,
            "authorization_response_iss_parameter_supported": True,
            "code_challenge_methods_supported": ["S256"],
            "response_types_supported": ["code"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["RS256"],
        }
        metadata |= self.script.get("metadata", {})
        return {name: value for name, value in metadata.items() if value is not None}

    @property
    def keys(self) -> dict[str, Any]:
        """Its key set."""
        return {"keys": [jwk("RS256", 0, kid="first", use="sig", alg="RS256")]}

    # -- requests -----------------------------------------------------------------------------------------------------

    def answer(self, method: str, target: str, headers: dict[str, str], body: bytes) -> Answer:
        """To one request; header names lower-case."""
        split = urlsplit(target)
        answering = {
            "/.well-known/openid-configuration": lambda: _json(self.metadata),
            "/jwks": lambda: _json(self.keys),
            "/authorize": lambda: self._authorize(split.query),
            "/token": lambda: self._token(headers, body),
            "/userinfo": lambda: self._userinfo(headers),
            "/revoke": lambda: self._revoke(headers, body),
            "/end": lambda: (200, [("Content-Type", "text/plain")], split.query.encode()),
        }.get(split.path)
        return answering() if answering is not None else _json({"error": "not_found"}, 404)

    def _authorize(self, query: str) -> Answer:
        """Lets everybody in without a word."""
        asked = dict(parse_qsl(query))
        code = f"code-{next(self._numbers)}"
        self.codes[code] = asked
        back = {"code": code, "state": asked["state"], "iss": self.issuer, **self.script.get("back", {})}
        location = asked["redirect_uri"] + "?" + urlencode({k: v for k, v in back.items() if v is not None})
        return 302, [("Location", location)], b""

    def _token(self, headers: dict[str, str], body: bytes) -> Answer:
        asked = {name: values[0] for name, values in parse_qs(body.decode()).items()}
        self.seen.append({"endpoint": "token", "form": asked, "headers": headers})
        if "token" in self.script:
            status, kind, text = self.script["token"]
            return status, [("Content-Type", kind)], text.encode()
        if not self._authentic(headers, asked):
            return _json({"error": "invalid_client"}, 401)
        if asked.get("grant_type") == "refresh_token":
            return self._refresh(asked)
        code = asked.get("code", "")
        about = self.codes.get(code)
        if about is None or code in self.used or about["redirect_uri"] != asked.get("redirect_uri"):
            return _json({"error": "invalid_grant"}, 400)
        challenge = encoded(hashlib.sha256(asked.get("code_verifier", "").encode()).digest()).decode()
        if about.get("code_challenge_method") != "S256" or about.get("code_challenge") != challenge:
            return _json({"error": "invalid_grant", "error_description": "<script>alert(1)</script>"}, 400)
        self.used.add(code)
        return self._granted(self.subject, about.get("nonce"), "offline_access" in about.get("scope", "").split())

    def _refresh(self, asked: dict[str, str]) -> Answer:
        subject = self.refreshing.pop(asked.get("refresh_token", ""), None)
        if subject is None:
            self.reused += 1
            self.refreshing.clear()
            return _json({"error": "invalid_grant"}, 400)
        self.exchanges += 1
        return self._granted(subject, None, True)

    def _granted(self, subject: str, nonce: str | None, offline: bool) -> Answer:
        number = next(self._numbers)
        access = f"access-{number}"
        grant: dict[str, Any] = {
            "access_token": access,
            "token_type": "Bearer",
            "expires_in": self.script.get("lifetime", 300),
            "id_token": self.id_token(subject, nonce, access),
            "scope": "openid profile orders.read",
        }
        if offline:
            grant["refresh_token"] = f"refresh-{number}"
            self.refreshing[grant["refresh_token"]] = subject
        grant |= self.script.get("grant", {})
        return _json({name: value for name, value in grant.items() if value is not None})

    def _userinfo(self, headers: dict[str, str]) -> Answer:
        self.seen.append({"endpoint": "userinfo", "headers": headers})
        said = self.script.get("userinfo", {"sub": self.subject, "email": f"{self.subject}@example.org"})
        if isinstance(said, list):
            status, kind, text = said
            return status, [("Content-Type", kind)], text.encode()
        return _json(said)

    def _revoke(self, headers: dict[str, str], body: bytes) -> Answer:
        asked = {name: values[0] for name, values in parse_qs(body.decode()).items()}
        self.seen.append({"endpoint": "revoke", "form": asked, "headers": headers})
        self.refreshing.pop(asked.get("token", ""), None)
        return self.script.get("revocation", 200), [], b""

    def _authentic(self, headers: dict[str, str], asked: dict[str, str]) -> bool:
        found = headers.get("authorization", "")
        if found.startswith("Basic "):
            pair = base64.b64decode(found[6:]).decode().split(":")
            return [unquote_plus(part) for part in pair] == [self.client, self.secret]
        return (asked.get("client_id"), asked.get("client_secret", "")) == (self.client, self.secret)

    # -- tokens -------------------------------------------------------------------------------------------------------

    def id_token(self, subject: str, nonce: str | None, access: str) -> str:
        """As the script wants it."""
        now = int(self.wall())
        claims: dict[str, Any] = {
            "iss": self.issuer,
            "aud": self.client,
            "sub": subject,
            "iat": now,
            "exp": now + 300,
            "nonce": nonce,
            "at_hash": half_hash(access),
            "sid": self.sid,
            "roles": ["clerk"],
            "name": subject.title(),
        }
        return self.signed({**claims, **self.script.get("claims", {})})

    def logout_token(self, **more: Any) -> str:
        """One that ends all sessions of the subject; None takes a claim away."""
        now = int(self.wall())
        claims = {
            "iss": self.issuer,
            "aud": self.client,
            "sub": self.subject,
            "iat": now,
            "exp": now + 120,
            "jti": f"jti-{next(self._numbers)}",
            "events": {LOGOUT: {}},
        }
        return self.signed({**claims, **more}, typ="logout+jwt")

    def signed(self, claims: dict[str, Any], **header: Any) -> str:
        """A token with these claims."""
        how = self.script.get("sign", "")
        algorithm = {"none": "none", "secret": "HS256"}.get(how, "RS256")
        head = {"alg": algorithm, "kid": "first", **header, **self.script.get("header", {})}
        kept = {name: value for name, value in claims.items() if value is not None}
        message = encoded(head) + b"." + encoded(kept)
        if how == "none":
            made = b""
        elif how == "secret":
            made = signature(message, "HS256", self.secret.encode())
        else:
            made = signature(message, "RS256", private("RS256", 1) if how == "other" else None)
        return (message + b"." + encoded(made)).decode()


def main() -> None:
    client, secret = sys.argv[1:3]
    lock = threading.Lock()

    class Asked(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, format: str, *args: Any) -> None:
            """Nothing."""

        def _do(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            headers = {name.lower(): value for name, value in self.headers.items()}
            if self.path == "/token":
                time.sleep(provider.script.get("delay", 0))
            with lock:
                status, fields, data = self._answer(headers, body)
            self.send_response(status)
            for name, value in fields:
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def _answer(self, headers: dict[str, str], body: bytes) -> Answer:
            if self.path == "/script":
                provider.script = json.loads(body)
                return _json({})
            if self.path == "/seen":
                counts = {"exchanges": provider.exchanges, "reused": provider.reused}
                return _json({"seen": provider.seen, **counts})
            if self.path == "/logout-token":
                return _json({"logout_token": provider.logout_token(**json.loads(body or b"{}"))})
            return provider.answer(self.command, self.path, headers, body)

        do_GET = do_POST = _do

    server = ThreadingHTTPServer(("127.0.0.1", 0), Asked)
    provider = EvilProvider(f"http://127.0.0.1:{server.server_address[1]}", client, secret)
    print(provider.issuer, flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
