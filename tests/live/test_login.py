"""Logins at a certified provider, by a program and by a real browser, with two workers and a real Redis."""

from __future__ import annotations

import concurrent.futures
import json
import re
import socket
import subprocess
import time
import urllib.parse
from pathlib import Path

import pytest

from tests.live.browser import Browser
from tests.live.harness import gateway, until
from tests.live.visitor import Visitor
from tests.servers.provider import Provider

pytestmark = pytest.mark.needs("redis-server", "node", "chromium")

SECRET = "the secret of the web client, for tests"
TTL = 8
"""Seconds that access tokens live: refreshes are due all the time."""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        number: int = probe.getsockname()[1]
        return number


class Redis:
    """A server that can be killed and comes back with nothing lost."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.path = directory / "redis.sock"
        self.process: subprocess.Popen[bytes] | None = None
        self.start()

    def start(self) -> None:
        words = ["redis-server", "--port", "0", "--unixsocket", str(self.path), "--dir", str(self.directory)]
        words += ["--appendonly", "yes", "--appendfsync", "always", "--save", ""]
        self.process = subprocess.Popen(words, stdout=subprocess.DEVNULL)
        until(self.answers, "redis-server to answer")

    def answers(self) -> bool:
        return self.command("PING") == "PONG"

    def command(self, *words: str) -> str:
        """One command, by a connection of its own; empty if there is no server."""
        try:
            with socket.socket(socket.AF_UNIX) as client:
                client.settimeout(5)
                client.connect(str(self.path))
                client.sendall(
                    b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%b\r\n" % (len(w), w.encode()) for w in words)
                )
                return client.recv(65536).decode().lstrip("+:$").strip()
        except OSError:
            return ""

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None


@pytest.fixture(scope="module")
def port():
    return free_port()


@pytest.fixture(scope="module")
def provider(tmp_path_factory, port):
    base = f"http://127.0.0.1:{port}"
    web = {
        "client_id": "web",
        "client_secret": SECRET,
        "grant_types": ["authorization_code", "refresh_token"],
        "response_types": ["code"],
        "redirect_uris": [f"{base}/_login/callback"],
        "post_logout_redirect_uris": [f"{base}/goodbye"],
        "backchannel_logout_uri": f"{base}/_login/backchannel-logout",
        "backchannel_logout_session_required": True,
    }
    directory = tmp_path_factory.mktemp("provider")
    # By another name than the gateway: cookies do not tell ports apart.
    with Provider(directory, clients=[web], ttl={"AccessToken": TTL}, issuer_host="localhost") as made:
        yield made


@pytest.fixture(scope="module")
def redis(tmp_path_factory):
    made = Redis(tmp_path_factory.mktemp("redis"))
    yield made
    made.kill()


@pytest.fixture(scope="module")
def gw(tmp_path_factory, origin, provider, redis, port):
    directory = tmp_path_factory.mktemp("login")
    with gateway(directory) as made:
        made.write(f"""
gateway: {{workers: 2, store: "unix:{redis.path}", state-dir: {directory}/state, drain: 5s}}
admin: {{address: 127.0.0.1:0}}
access-log: {{path: {directory}/access.log}}
listeners:
  - {{name: public, address: "127.0.0.1:{port}"}}
identity:
  providers:
    id: {{issuer: "{provider.issuer}", audiences: [api], cooldown: 2s}}
  logins:
    web:
      provider: id
      client-id: web
      client-secret: "{SECRET}"
      redirect-uri: http://127.0.0.1:{port}/_login/callback
      after-logout: http://127.0.0.1:{port}/goodbye
      parameters: {{resource: "urn:api", prompt: consent}}
      session:
        keys: [a-key-of-the-tests-that-is-long-enough]
        cache: {{fresh: 1s, revalidate: 1s, stale-if-error: 5m}}
upstreams:
  origin: {{endpoints: ["http://{origin}"]}}
routes:
  - name: app
    match: {{path: /echo}}
    auth: {{any: [{{session: {{login: web}}}}]}}
    target: {{proxy: {{upstream: origin}}}}
  - name: api
    match: {{prefix: /api}}
    auth: {{any: [{{jwt: {{provider: id}}}}], scopes: {{any: [orders.read]}}}}
    filters: [{{rewrite: {{path: /echo}}}}]
    target: {{proxy: {{upstream: origin}}}}
  - {{name: goodbye, match: {{path: /goodbye}}, auth: none, target: {{fixed: {{body: goodbye}}}}}}
""")
        made.start()
        yield made
        print(made.log[-30_000:])


@pytest.fixture
def base(gw, port):
    return f"http://127.0.0.1:{port}"


def fields_of(page) -> dict[str, str]:
    """What the upstream saw."""
    assert page.status == 200, (page.status, page.url, page.text[:1000])
    return {name.lower(): value for name, value in json.loads(page.text)["headers"]}


def session_of(visitor: Visitor) -> str:
    """Our cookies, as a browser sends them."""
    return "; ".join(f"{name}={value}" for name, value in visitor.cookies().items() if "sg_" in name)


def test_a_person_logs_in_and_the_upstream_learns_who_it_is(base):
    visitor = Visitor()
    seen = fields_of(visitor.log_in(f"{base}/echo?a=b%20c", "alice"))
    assert seen["x-user-id"] == "alice"
    assert seen["x-auth-method"] == "session"
    assert "cookie" not in seen
    assert "authorization" not in seen
    again = visitor.ask(f"{base}/echo?a=b%20c")
    assert fields_of(again)["x-user-id"] == "alice"
    assert json.loads(again.text)["target"] == "/echo?a=b%20c"


def test_cookies_of_the_application_reach_it_and_ours_do_not(base):
    visitor = Visitor()
    visitor.log_in(f"{base}/echo")
    ours = session_of(visitor)
    seen = fields_of(Visitor().ask(f"{base}/echo", Cookie=f"theme=dark; {ours}; b=2"))
    assert seen["cookie"] == "theme=dark; b=2"


def test_attempts_leave_nothing_behind(base):
    visitor = Visitor()
    visitor.log_in(f"{base}/echo")
    ours = [name for name in visitor.cookies() if "sg_" in name]
    assert len(ours) == 1, ours


@pytest.mark.parametrize(
    "fields",
    [
        {"Accept": "application/json", "Sec_Fetch_Mode": "cors"},
        {"Accept": "*/*", "Sec_Fetch_Mode": "no-cors"},
        {"Accept": "application/json, text/html", "X_Requested_With": "XMLHttpRequest"},
    ],
)
def test_programs_are_told_401_and_not_sent_to_log_in(base, fields):
    page = Visitor().ask(f"{base}/echo", **fields)
    assert page.status == 401
    assert json.loads(page.text)["code"] == "unauthorized"
    assert "Location" not in page.headers
    assert "Set-Cookie" not in page.headers


def test_what_is_asked_of_the_provider(base, provider):
    page = Visitor().ask(f"{base}/echo")
    assert page.status in (302, 303)
    split = urllib.parse.urlsplit(page.location)
    query = dict(urllib.parse.parse_qsl(split.query))
    assert page.location.startswith(provider.issuer + "/auth?")
    assert (query["response_type"], query["client_id"], query["code_challenge_method"]) == ("code", "web", "S256")
    assert len(query["state"]) >= 22
    assert len(query["nonce"]) >= 22
    assert len(query["code_challenge"]) == 43
    assert query["redirect_uri"] == f"{base}/_login/callback"
    assert SECRET not in page.location


def test_a_callback_that_nobody_asked_for_is_refused(base, provider):
    before = provider.exchanges()
    for query in ("", "?code=x", "?code=x&state=y", "?error=%3Cscript%3E&state=y", "?code=x&state=y&state=z"):
        page = Visitor().ask(f"{base}/_login/callback{query}")
        assert page.status in (400, 403), query
        assert "<script>" not in page.text
        assert not [name for name in page.headers.get_all("Set-Cookie", []) if "sg_session=" in name]
    assert provider.exchanges() == before


def test_the_answer_for_one_browser_is_of_no_use_to_another(base):
    """CSRF on the login itself: Mallory's code must not log Alice in as Mallory."""
    mallory, alice = Visitor(), Visitor()
    page = mallory.ask(f"{base}/echo", follow=10)
    while "/interaction/" in page.url:
        action, fields = page.form()
        if "login" in fields:
            fields |= {"login": "mallory", "password": "any"}
        page = mallory.ask(action, fields)
        while page.status in (302, 303) and not page.location.startswith(f"{base}/_login/callback"):
            page = mallory.ask(page.location)
        if page.status in (302, 303):
            break
    callback = page.location
    assert callback.startswith(f"{base}/_login/callback?")
    alice.ask(f"{base}/echo")  # she has begun a login of her own
    assert alice.ask(callback).status in (400, 403)
    assert alice.ask(f"{base}/echo").status in (302, 303)
    assert fields_of(mallory.ask(callback, follow=5))["x-user-id"] == "mallory"
    assert Visitor().ask(callback).status in (400, 403)
    assert mallory.ask(callback).status in (400, 403)  # a code is used once


def test_several_tabs_may_log_in_at_once(base):
    visitor = Visitor()
    first = visitor.ask(f"{base}/echo?tab=1")
    second = visitor.ask(f"{base}/echo?tab=2")
    assert first.location != second.location
    one = visitor.log_in(first.location)
    assert json.loads(one.text)["target"] == "/echo?tab=1"
    two = visitor.ask(second.location, follow=10)
    while "/interaction/" in two.url:
        two = visitor.ask(*two.form(), follow=10)
    assert json.loads(two.text)["target"] == "/echo?tab=2"


def test_tokens_are_refreshed_once_however_many_ask(base, provider):
    visitor = Visitor()
    fields_of(visitor.log_in(f"{base}/echo"))
    cookie = session_of(visitor)
    before = provider.exchanges()
    time.sleep(TTL * 0.85)  # refreshes are due at 80 %, before the token has expired
    with concurrent.futures.ThreadPoolExecutor(25) as threads:
        answers = list(threads.map(lambda _: Visitor().ask(f"{base}/echo", Cookie=cookie).status, range(100)))
    assert set(answers) == {200}
    until(lambda: provider.exchanges() > before, "a refresh")
    assert provider.exchanges() == before + 1


def test_expired_tokens_are_refreshed_before_the_answer(base, provider):
    visitor = Visitor()
    fields_of(visitor.log_in(f"{base}/echo"))
    cookie = session_of(visitor)
    before = provider.exchanges()
    time.sleep(TTL + 2)
    with concurrent.futures.ThreadPoolExecutor(25) as threads:
        answers = list(threads.map(lambda _: Visitor().ask(f"{base}/echo", Cookie=cookie).status, range(50)))
    assert set(answers) == {200}
    assert provider.exchanges() == before + 1


def test_a_browser_logs_in_and_out(base, tmp_path):
    with Browser() as browser:
        browser.open(f"{base}/echo?from=browser")
        browser.fill("input[name=login]", "bob")
        browser.fill("input[name=password]", "any")
        browser.click("[type=submit]")
        while "/interaction/" in browser.url:
            browser.click("[type=submit]")
        assert browser.url == f"{base}/echo?from=browser"
        seen = {name.lower(): value for name, value in json.loads(browser.text)["headers"]}
        assert seen["x-user-id"] == "bob"
        (cookie,) = [cookie for name, cookie in browser.cookies().items() if name.endswith("sg_session")]
        assert cookie["httpOnly"]
        assert cookie["sameSite"] == "Lax"
        assert cookie["path"] == "/"
        assert browser.evaluate("document.cookie.includes('sg_session')") is False

        browser.open(f"{base}/_login/logout")
        assert "log out" in browser.text.lower()
        browser.picture(tmp_path / "logout.png")
        browser.click("[type=submit]")
        while "/session/end" in browser.url:
            browser.click("[type=submit]")
        assert browser.url == f"{base}/goodbye"
        assert not [name for name in browser.cookies() if name.endswith("sg_session")]
        browser.open(f"{base}/echo")
        assert "/interaction/" in browser.url


def test_a_page_elsewhere_cannot_log_anybody_out(base):
    visitor = Visitor()
    visitor.log_in(f"{base}/echo")
    page = visitor.ask(f"{base}/_login/logout", {"csrf": "guessed"}, Origin="https://evil.example")
    assert page.status in (400, 403)
    assert fields_of(visitor.ask(f"{base}/echo"))["x-user-id"] == "alice"


def test_logging_out_at_the_provider_ends_the_session_here(base, provider):
    visitor = Visitor()
    fields_of(visitor.log_in(f"{base}/echo", "carol"))
    page = visitor.ask(f"{provider.issuer}/session/end", follow=5)
    action, form = page.form(logout="yes")
    assert visitor.ask(action, form, follow=5).status == 200
    until(lambda: visitor.ask(f"{base}/echo").status in (302, 303), "the session to end on both workers", 5)
    for _ in range(10):
        assert visitor.ask(f"{base}/echo").status in (302, 303)


def test_keys_are_rotated_and_fifty_unknown_ones_cause_one_fetch(base, gw, provider):
    def call(token: str) -> int:
        return Visitor().ask(f"{base}/api/x", Authorization=f"Bearer {token}").status

    old = provider.token()
    assert call(old) == 200
    provider.rotate("second")
    new = provider.token()
    time.sleep(2.1)  # the cool-down after whatever was fetched last
    before = fetches(gw)
    with concurrent.futures.ThreadPoolExecutor(25) as threads:
        assert set(threads.map(call, [new] * 50)) == {200}
    assert fetches(gw) == before + 1
    assert call(old) == 200  # both keys are shown
    assert call(provider.token("orders.write")) == 403
    assert fields_of(Visitor().log_in(f"{base}/echo", "dave"))["x-user-id"] == "dave"
    provider.rotate("third", forget=True)
    time.sleep(2.1)
    assert call(provider.token()) == 200
    until(lambda: call(old) == 401, "the old key to be forgotten")


def fetches(gw) -> int:
    """How often the supervisor has fetched the keys."""
    found = re.search(
        r'suuupra_jwks_fetches_total\{provider="id",result="ok"\} (\d+)', gw.admin("/metrics").body.decode()
    )
    assert found is not None
    return int(found[1])


def test_nobody_is_thrown_out_or_let_in_while_provider_and_store_are_down(base, gw, provider, redis):
    visitor = Visitor()
    fields_of(visitor.log_in(f"{base}/echo", "erin"))
    cookie = session_of(visitor)
    token = provider.token()

    def session() -> int:
        return Visitor().ask(f"{base}/echo", Cookie=cookie).status

    def bearer() -> int:
        return Visitor().ask(f"{base}/api/x", Authorization=f"Bearer {token}").status

    until(lambda: {session() for _ in range(10)} == {200}, "both workers to know the session")
    assert bearer() == 200
    redis.kill()
    provider.stop()
    forged = re.sub(r"(sg_session=)[^;]{6}", r"\1AAAAAA", cookie)
    end = time.monotonic() + TTL + 4  # beyond the life of the access token
    while time.monotonic() < end:
        assert session() == 200
        assert bearer() == 200
        stranger = Visitor().ask(f"{base}/echo", Cookie=forged, Accept="application/json", Sec_Fetch_Mode="cors").status
        assert stranger in (401, 503)
        assert Visitor().ask(f"{base}/echo").status in (302, 303, 503)
        time.sleep(0.2)
    redis.start()
    provider.start()
    until(lambda: session() == 200, "the session to be there afterwards")
    new = until(
        lambda: (page := Visitor().log_in(f"{base}/echo", "frank")).status == 200 and page, "logins to work again"
    )
    assert fields_of(new)["x-user-id"] == "frank"
    assert "Traceback" not in gw.log
