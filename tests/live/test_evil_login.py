"""Logins at a provider that does as it is told, over three workers of the shipped gateway and a real Redis."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from pathlib import Path

import pytest

from tests.live.harness import gateway, until
from tests.live.visitor import Visitor
from tests.servers.redis import RedisServer

pytestmark = pytest.mark.needs("redis-server")

CLIENT, SECRET = "shop", "the secret of the shop, for tests"
LIFETIME = 8
"""Seconds that access tokens live."""

SLOW = 11.0
"""Seconds that an exchange may take: longer than a lock holds that is not renewed."""


class Evil:
    """The provider as a process."""

    def __init__(self) -> None:
        words = [sys.executable, "-m", "tests.servers.evil_idp", CLIENT, SECRET]
        root = Path(__file__).parents[2]
        self.process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True, cwd=root)
        assert self.process.stdout is not None
        self.issuer = self.process.stdout.readline().strip()

    def tell(self, path: str, body: object = None) -> dict:
        data = json.dumps(body).encode() if body is not None else None
        with urllib.request.urlopen(self.issuer + path, data, timeout=60) as answer:
            return json.loads(answer.read())

    def script(self, **script: object) -> None:
        self.tell("/script", {"lifetime": LIFETIME, **script})

    @property
    def seen(self) -> list[dict]:
        return self.tell("/seen")["seen"]

    def close(self) -> None:
        self.process.kill()
        self.process.wait()


@pytest.fixture(scope="module")
def evil():
    made = Evil()
    made.script()
    yield made
    made.close()


@pytest.fixture(scope="module")
def base(tmp_path_factory, origin, evil):
    directory = tmp_path_factory.mktemp("evil")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with RedisServer(directory) as redis, gateway(directory) as made:
        made.write(f"""
gateway: {{workers: 3, store: "unix:{redis.path}", state-dir: {directory}/state, drain: 5s}}
admin: {{address: 127.0.0.1:0}}
access-log: {{path: "off"}}
listeners:
  - {{name: public, address: "127.0.0.1:{port}"}}
identity:
  providers:
    evil: {{issuer: "{evil.issuer}", audiences: [{CLIENT}]}}
  logins:
    shop:
      provider: evil
      client-id: {CLIENT}
      client-secret: "{SECRET}"
      redirect-uri: http://127.0.0.1:{port}/_login/callback
      timeout: 30s
      session: {{keys: [a-key-of-the-tests-that-is-long-enough]}}
upstreams:
  origin: {{endpoints: ["http://{origin}"], timeouts: {{total: 60s}}}}
routes:
  - name: app
    match: {{path: /echo}}
    auth: {{any: [{{session: {{login: shop}}}}]}}
    target: {{proxy: {{upstream: origin}}}}
""")
        made.start()
        base = f"http://127.0.0.1:{port}"
        until(lambda: Visitor().ask(f"{base}/echo").status == 302, "the provider's metadata")
        yield base
        print(made.log[-20_000:])


@pytest.fixture
def visitor(evil):
    evil.script()
    return Visitor()


def at_once(base: str, cookie: str, count: int) -> list[bytes]:
    """The status lines of so many requests, all of which are sent before any answer is read."""
    host, _, port = base.removeprefix("http://").partition(":")
    request = f"GET /echo HTTP/1.1\r\nHost: {host}:{port}\r\nCookie: {cookie}\r\nConnection: close\r\n\r\n".encode()
    waiting = []
    for _ in range(count):
        client = socket.create_connection((host, int(port)), timeout=60)
        client.sendall(request)
        waiting.append(client)
    lines = []
    for client in waiting:
        with client:
            lines.append(client.makefile("rb").readline().strip())
    return lines


def test_a_thousand_requests_over_all_workers_cause_one_exchange(base, evil, visitor):
    """Though it takes longer than a lock holds, and the provider throws out whoever uses a refresh token twice."""
    assert visitor.ask(f"{base}/echo", follow=5).status == 200
    cookie = "; ".join(f"{name}={value}" for name, value in visitor.cookies().items())
    before = evil.tell("/seen")
    time.sleep(LIFETIME + 1)
    evil.script(delay=SLOW, lifetime=60)
    lines = at_once(base, cookie, 1000)
    assert set(lines) == {b"HTTP/1.1 200 OK"}
    after = evil.tell("/seen")
    assert after["exchanges"] == before["exchanges"] + 1
    assert after["reused"] == 0


def test_a_forged_callback_causes_no_exchange(base, evil, visitor):
    """The attacker's own code and state, in the browser of somebody else."""
    attacker = Visitor()
    begun = attacker.ask(f"{base}/echo")
    with_code = Visitor().ask(begun.location).location
    before = len(evil.seen)
    visitor.ask(f"{base}/echo")
    page = visitor.ask(with_code)
    assert page.status == 400
    assert "sg_session" not in visitor.cookies()
    assert len(evil.seen) == before


def test_a_replayed_callback_causes_no_second_exchange_on_any_worker(base, evil, visitor):
    begun = visitor.ask(f"{base}/echo")
    cookies = dict(visitor.cookies())
    with_code = Visitor().ask(begun.location).location
    assert visitor.ask(with_code).status == 303
    before = len(evil.seen)
    for _ in range(12):
        cookie = "; ".join(f"{name}={value}" for name, value in cookies.items())
        assert Visitor().ask(with_code, Cookie=cookie).status == 400
    assert len(evil.seen) == before


@pytest.mark.parametrize(
    "script",
    [{"back": {"iss": "https://other.example"}}, {"claims": {"nonce": "x"}}, {"sign": "none"}, {"sign": "secret"}],
    ids=repr,
)
def test_a_lying_provider_lets_nobody_in(base, evil, visitor, script):
    evil.script(**script)
    page = visitor.ask(f"{base}/echo", follow=5)
    assert page.status in (400, 403)
    assert "sg_session" not in visitor.cookies()


def test_nobody_is_sent_elsewhere(base, visitor):
    for target in ("//evil.example", "/\\evil.example", "https://evil.example/", "https:evil.example"):
        page = visitor.ask(f"{base}/_login/callback?" + urllib.parse.urlencode({"return_to": target}))
        assert (page.status, page.headers["Location"]) == (400, None)


def test_the_host_that_is_asked_for_is_not_where_the_provider_sends_people(base, visitor):
    page = visitor.ask(f"{base}/echo", Host="evil.example", X_Forwarded_Host="evil.example")
    query = urllib.parse.parse_qs(urllib.parse.urlsplit(page.headers["Location"]).query)
    assert query["redirect_uri"] == [f"{base}/_login/callback"]


def test_the_provider_ends_sessions_on_all_workers(base, evil, visitor):
    assert visitor.ask(f"{base}/echo", follow=5).status == 200
    cookie = "; ".join(f"{name}={value}" for name, value in visitor.cookies().items())
    assert set(at_once(base, cookie, 30)) == {b"HTTP/1.1 200 OK"}
    token = evil.tell("/logout-token", {})["logout_token"]
    page = Visitor().ask(f"{base}/_login/backchannel-logout", {"logout_token": token})
    assert page.status == 200
    time.sleep(1)  # what revocations may take
    assert set(at_once(base, cookie, 30)) == {b"HTTP/1.1 401 Unauthorized"}


def test_logging_out_ends_the_session_on_all_workers(base, evil, visitor):
    assert visitor.ask(f"{base}/echo", follow=5).status == 200
    cookie = "; ".join(f"{name}={value}" for name, value in visitor.cookies().items())
    assert set(at_once(base, cookie, 30)) == {b"HTTP/1.1 200 OK"}
    page = visitor.ask(f"{base}/_login/logout")
    csrf = re.search(r'name="csrf" value="([^"]+)"', page.text)[1]
    left = visitor.ask(f"{base}/_login/logout", {"csrf": csrf}, Origin=base)
    assert left.location.startswith(f"{evil.issuer}/end?")
    time.sleep(1)
    assert set(at_once(base, cookie, 30)) == {b"HTTP/1.1 401 Unauthorized"}
