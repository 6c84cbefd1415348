"""Signed tokens through the shipped ``twistd``: attacks, and the life of a key set over two workers and restarts."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from tests.auth.tokens import AUDIENCE, claims, encoded, jwk, pem, private, signature, token
from tests.live.harness import fetch, gateway, until
from tests.live.wire import Wire

DISCOVERY = "/.well-known/openid-configuration"


class KeyServer:
    """A provider's web site. What it shows can be changed, and how often it was asked is counted."""

    def __init__(self) -> None:
        outer = self
        self.keys: list[object] = [jwk(kid="first")]
        self.status = 200
        self.pause = 0.0
        self.issuer_shown = ""
        self.asked: list[str] = []

        class Answer(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.asked.append(self.path)
                time.sleep(outer.pause)
                shown = outer.issuer_shown or outer.issuer
                page = (
                    {"issuer": shown, "jwks_uri": f"{outer.issuer}/keys"}
                    if self.path == DISCOVERY
                    else {"keys": outer.keys}
                )
                body = json.dumps(page).encode()
                with contextlib.suppress(OSError):
                    self.send_response(outer.status)
                    self.send_header("Content-Length", str(len(body)))
                    self.end_headers()
                    self.wfile.write(body)

            def log_message(self, *arguments: object) -> None:
                """Tests are quiet."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
        self._server.daemon_threads = True
        self.issuer = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    @property
    def fetches(self) -> int:
        return self.asked.count("/keys")

    def claims(self, **more: object) -> dict[str, object]:
        now = time.time()
        return claims(**{"iss": self.issuer, "iat": int(now), "exp": int(now) + 600, **more})

    def token(self, number: int = 0, kid: str = "first", **more: object) -> bytes:
        return token(self.claims(**more), key=private("RS256", number), kid=kid)

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def idp():
    made = KeyServer()
    yield made
    made.stop()


def written(gw, origin: str, provider: str, state: str = "", gateway_more: str = "") -> None:
    gw.write(f"""
gateway: {{workers: 2, {f"state-dir: {state}," if state else ""} {gateway_more}}}
admin: {{address: 127.0.0.1:0}}
access-log: {{path: {gw.directory}/access.log}}
listeners: [{{name: public, address: 127.0.0.1:0}}]
identity:
  providers:
    idp: {{{provider}, audiences: ["{AUDIENCE}"]}}
upstreams:
  origin: {{endpoints: ["http://{origin}"]}}
routes:
  - {{name: private, match: {{prefix: /}}, auth: {{any: [{{jwt: {{provider: idp}}}}]}}, target: {{proxy: {{upstream: origin}}}}}}
""")


def get(gw, shown: bytes | str, target: str = "/json"):
    text = shown if isinstance(shown, str) else shown.decode("latin-1")
    return gw.fetch(target, headers={"Authorization": f"Bearer {text}"})


def statuses(gw, shown: bytes, count: int = 8) -> set[int]:
    """Of several requests on connections of their own, so that both workers get some."""
    return {get(gw, shown).status for _ in range(count)}


# -- attacks ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def known(tmp_path_factory, origin):
    """A gateway and its provider, which stay."""
    idp = KeyServer()
    directory = tmp_path_factory.mktemp("jwt")
    idp.keys = [jwk(kid="first"), jwk("ES256", kid="ec"), jwk("EdDSA", kid="ed")]
    with gateway(directory) as gw:
        algorithms = 'algorithms: ["RS256", "ES256", "EdDSA", "PS256"]'
        written(gw, origin, f'issuer: "{idp.issuer}", {algorithms}')
        gw.start()
        yield gw, idp
    idp.stop()


def attacks(idp: KeyServer) -> dict[str, bytes]:
    """Tokens, each of which must be refused."""
    good = idp.token()
    message = good.rpartition(b".")[0]
    ec = token(idp.claims(), "ES256", kid="ec")
    ed = token(idp.claims(), "EdDSA", kid="ed")
    other = private("RS256", 1)

    def forged(**header: object) -> bytes:
        return token(idp.claims(), key=other, **header)

    def of(content: object) -> bytes:
        return token(content, kid="first")

    def header(content: bytes) -> bytes:
        head = encoded(content) + b"." + encoded(idp.claims())
        return head + b"." + encoded(signature(head, "RS256"))

    made = {
        f"alg {name}": token(idp.claims(), name, sign_as="RS256") for name in ("none", "None", "NONE", "HS512", "RS384")
    }
    made |= {
        f"unsigned {name}": encoded({"alg": name}) + b"." + encoded(idp.claims()) + b"." for name in ("none", "nOnE")
    }
    made |= {
        "PEM as secret": token(idp.claims(), "HS256", pem(), kid="first"),
        "JWK as secret": token(idp.claims(), "HS256", json.dumps(jwk(kid="first")).encode(), kid="first"),
        "modulus as secret": token(idp.claims(), "HS256", base64.urlsafe_b64decode(jwk()["n"] + "=="), kid="first"),
        "embedded jwk": forged(kid="first", jwk=jwk(number=1, kid="first")),
        "jku": forged(kid="first", jku=f"{idp.issuer}/evil"),
        "x5u": forged(kid="first", x5u=f"{idp.issuer}/evil"),
        "x5c": forged(kid="first", x5c=["MIIB"]),
        "kid of a file": forged(kid="../../../../dev/null"),
        "kid of SQL": forged(kid="' OR '1'='1"),
        "crit": token(idp.claims(), kid="first", crit=["exp"]),
        "b64": token(idp.claims(), kid="first", crit=["b64"], b64=False),
        "zip": token(idp.claims(), kid="first", zip="DEF"),
        "nested": token(idp.token(), kid="first", cty="JWT"),
        "logout token": token(idp.claims(), kid="first", typ="logout+jwt"),
        "expired": of(idp.claims(exp=int(time.time()) - 60)),
        "no end": of(idp.claims(exp=None)),
        "not yet": of(idp.claims(nbf=int(time.time()) + 600)),
        "issued in future": of(idp.claims(iat=int(time.time()) + 1e6, exp=int(time.time()) + 2e6)),
        "end is text": of(idp.claims(exp="never")),
        "no issuer": of(idp.claims(iss=None)),
        "issuer in part": of(idp.claims(iss=idp.issuer[:-1])),
        "issuer and more": of(idp.claims(iss=idp.issuer + "/")),
        "issuer in list": of(idp.claims(iss=[idp.issuer])),
        "no audience": of(idp.claims(aud=None)),
        "audience in part": of(idp.claims(aud=AUDIENCE[:-1])),
        "other audiences": of(idp.claims(aud=["a", [AUDIENCE]])),
        "no subject": of(idp.claims(sub=None)),
        "zeros of ECDSA": ec.rpartition(b".")[0] + b"." + encoded(bytes(64)),
        "psychic": ec.rpartition(b".")[0] + b"." + encoded(bytes(31) + b"\x01" + bytes(32)),
        "short EdDSA": ed[:-2],
        "long EdDSA": ed.rpartition(b".")[0] + b"." + encoded(bytes(65)),
        "no signature": message + b".",
        "two parts": message,
        "four parts": good + b".AAAA",
        "encrypted": good + b".AAAA.AAAA",
        "several signatures": json.dumps({"payload": "e30", "signatures": [{"signature": "AAAA"}] * 2}).encode(),
        "too long": of(idp.claims(x="y" * 6200)),
        "claims no JSON": of(b"{"),
        "claims NaN": of(json.dumps(idp.claims())[:-1] + ', "x": NaN}'),
        "claims deep": of(b"[" * 5000),
        "claims huge number": of(json.dumps(idp.claims())[:-1] + ', "x": ' + "9" * 5000 + "}"),
        "claims lone surrogate": of(json.dumps(idp.claims())[:-1] + ', "x": "\\ud800"}'),
        "claims UTF-16": of(json.dumps(idp.claims()).encode("utf-16")),
        "header UTF-16": header('{"alg": "RS256"}'.encode("utf-16")),
        "header deep": header(b'{"alg": ' + b"[" * 900 + b"]" * 900 + b"}"),
        "header alg twice": header(b'{"alg": "RS256", "alg": "none"}'),
        "header list": header(b"[]"),
        "no base64": b"!.!.!",
        "dots": b"..",
        "opaque": b"2YotnFZFEjr1zCsicMWpAA",
    }
    return made


def test_tokens_that_are_no_good_get_one_and_the_same_answer(known):
    gw, idp = known
    good = {
        "RS256": idp.token(),
        "ES256": token(idp.claims(), "ES256", kid="ec"),
        "EdDSA": token(idp.claims(), "EdDSA", kid="ed"),
    }
    for name, shown in good.items():
        assert get(gw, shown).status == 200, name

    for name, shown in attacks(idp).items():
        reply = get(gw, shown)
        assert reply.status == 401, name
        assert reply.headers["WWW-Authenticate"] == 'Bearer realm="suuupra", error="invalid_token"', name
        told = json.dumps(dict(reply.headers)) + reply.body.decode()
        assert not any(word in told for word in ("signature", "expired", "kid", "issuer", "audience", "algorithm")), (
            name
        )
    for name, shown in good.items():
        assert get(gw, shown).status == 200, name
    assert idp.asked.count("/evil") == 0
    gw.check()
    assert "Traceback" not in gw.log


def test_the_log_knows_why_and_holds_no_token(known):
    gw, idp = known
    shown = token(idp.claims(exp=int(time.time()) - 60), kid="first")
    get(gw, shown, "/why")

    def lines():
        text = (gw.directory / "access.log").read_text()
        return [json.loads(line) for line in text.splitlines() if '"/why"' in line]

    (line,) = until(lines, "a line of the access log")
    assert line["auth"] == "expired"
    text = (gw.directory / "access.log").read_text() + gw.log
    assert shown.decode() not in text
    assert shown.rpartition(b".")[2].decode() not in text


@pytest.mark.parametrize("second", ["Bearer x", "Basic eDp5", ""])
def test_a_second_authorization_is_a_bad_request(known, second):
    gw, idp = known
    good = f"Authorization: Bearer {idp.token().decode()}"
    for pair in ((good, f"Authorization: {second}"), (f"Authorization: {second}", good)):
        with Wire(gw.address()) as wire:
            assert wire.get("/json", *pair).status == 400


def test_no_token_is_no_error(known):
    gw, _ = known
    reply = gw.fetch("/json")

    assert reply.status == 401
    assert reply.headers["WWW-Authenticate"] == 'Bearer realm="suuupra"'


# -- key sets ---------------------------------------------------------------------------------------------------------


def test_fifty_unknown_keys_at_once_are_one_fetch(tmp_path, origin, idp):
    with gateway(tmp_path) as gw:
        written(gw, origin, f'issuer: "{idp.issuer}"')
        gw.start()
        assert statuses(gw, idp.token()) == {200}
        assert idp.fetches == 1

        idp.pause = 0.2
        shown = [idp.token(kid=f"unknown-{number}", sub=f"s{number}") for number in range(50)]
        with ThreadPoolExecutor(50) as pool:
            found = list(pool.map(lambda each: get(gw, each).status, shown))
        assert idp.fetches == 2
        assert set(found) <= {401, 503}
        idp.pause = 0.0
        for each in shown:
            assert get(gw, each).status == 401
        assert idp.fetches == 2
        assert statuses(gw, idp.token()) == {200}


def test_a_rotation_refuses_nobody_and_what_is_gone_is_gone(tmp_path, origin, idp):
    with gateway(tmp_path) as gw:
        written(gw, origin, f'issuer: "{idp.issuer}", cooldown: 1s')
        gw.start()
        old = idp.token()
        assert statuses(gw, old) == {200}

        idp.keys = [jwk(number=1, kid="second"), jwk(kid="first")]
        assert statuses(gw, idp.token(1, "second")) == {200}
        assert statuses(gw, old) == {200}

        idp.keys = [jwk(number=2, kid="third")]
        time.sleep(1.1)
        assert statuses(gw, idp.token(2, "third")) == {200}
        until(lambda: statuses(gw, old) == {401}, "the old key to be gone from all workers")
        assert statuses(gw, idp.token(1, "second")) == {401}


def test_a_provider_that_is_down_hurts_nobody_with_a_known_key(tmp_path, origin, idp):
    state = tmp_path / "state"
    with gateway(tmp_path) as gw:
        written(gw, origin, f'issuer: "{idp.issuer}", refresh: 1s', str(state))
        gw.start()
        assert statuses(gw, idp.token()) == {200}

        idp.status = 500
        asked = idp.fetches + idp.asked.count(DISCOVERY)
        until(lambda: len(idp.asked) > asked + 1, "failing fetches")
        assert statuses(gw, idp.token(sub="bob")) == {200}
        reply = get(gw, idp.token(1, "unknown"))
        assert (reply.status, reply.headers["Retry-After"] is not None) == (503, True)

        os.kill(next(iter(gw.pids())), signal.SIGKILL)
        until(lambda: len(gw.pids()) == 2, "another worker")
        assert statuses(gw, idp.token(sub="carol"), 20) == {200}

        gw.stop()
    again = tmp_path / "again"
    again.mkdir()
    with gateway(again) as gw:
        written(gw, origin, f'issuer: "{idp.issuer}", refresh: 1s', str(state))
        gw.start()
        assert statuses(gw, idp.token(sub="dave"), 20) == {200}
        assert {path.stat().st_mode & 0o777 for path in state.iterdir()} == {0o600}
        assert state.stat().st_mode & 0o777 == 0o700
        metrics = gw.admin("/metrics").body.decode()
        assert 'suuupra_jwks_age_seconds{provider="idp"}' in metrics
        assert 'suuupra_jwks_fetches_total{provider="idp",result="failed"}' in metrics

        idp.status, idp.keys = 200, [jwk(number=1, kid="unknown")]
        until(lambda: statuses(gw, idp.token(1, "unknown")) == {200}, "the provider to be believed again")


def test_without_any_keys_nobody_is_let_in_and_nobody_is_sent_away_for_good(tmp_path, origin, idp):
    idp.status = 500
    with gateway(tmp_path) as gw:
        written(gw, origin, f'issuer: "{idp.issuer}"')
        gw.start()
        good, bad = idp.token(), idp.token(1)
        for shown in (good, bad):
            reply = get(gw, shown)
            assert reply.status == 503
            assert int(reply.headers["Retry-After"]) > 0
            assert "WWW-Authenticate" not in reply.headers
            assert reply.json["code"] == "auth_unavailable"
        assert get(gw, b"opaque").status == 401
        assert get(gw, token(claims(iss="https://other.example"))).status == 401

        idp.status = 200
        until(lambda: statuses(gw, good) == {200}, "the provider to be heard")
        assert statuses(gw, bad) == {401}


def test_a_provider_that_hangs_keeps_nobody_for_long(tmp_path, origin, idp):
    idp.pause = 30.0
    with gateway(tmp_path) as gw:
        written(gw, origin, f'issuer: "{idp.issuer}"')
        gw.start()
        began = time.monotonic()
        assert get(gw, idp.token()).status == 503
        assert time.monotonic() - began < 5.0


def test_metadata_of_another_issuer_is_not_believed(tmp_path, origin, idp):
    idp.issuer_shown = idp.issuer + "/other"
    with gateway(tmp_path) as gw:
        written(gw, origin, f'issuer: "{idp.issuer}"')
        gw.start()
        assert get(gw, idp.token()).status == 503
        assert idp.fetches == 0
        gw.wait_log("the metadata is of another issuer")


def test_a_key_file_that_is_replaced_is_taken_without_a_reload(tmp_path, origin, idp):
    file = tmp_path / "keys.pem"
    file.write_bytes(pem())
    with gateway(tmp_path) as gw:
        written(gw, origin, f'issuer: "{idp.issuer}", keys: keys.pem')
        gw.start()
        assert statuses(gw, idp.token()) == {200}

        file.with_suffix(".new").write_bytes(pem(number=1))
        file.with_suffix(".new").rename(file)
        until(lambda: statuses(gw, idp.token(1)) == {200}, "the new key")
        until(lambda: statuses(gw, idp.token()) == {401}, "the old key to be gone")
        assert idp.asked == []


def test_workers_that_come_later_have_the_keys_too(tmp_path, origin, idp):
    with gateway(tmp_path) as gw:
        written(gw, origin, f'issuer: "{idp.issuer}"')
        gw.start()
        assert statuses(gw, idp.token()) == {200}
        idp.status = 500
        for pid in gw.pids():
            os.kill(pid, signal.SIGKILL)
        until(lambda: len(gw.pids()) == 2, "other workers")

        assert statuses(gw, idp.token(sub="bob"), 20) == {200}
        assert fetch(gw.address(), "/json").status == 401
