"""
Whoever decides about callers is killed, frozen, slow, or answers nonsense, while requests run on two workers: nobody with a
live decision is refused on any of them, nobody without one is let in, and nothing has to be recovered by hand.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time

import pytest

from tests.live.harness import fetch, gateway, until
from tests.live.pinned import pinned, stale_age

TIMEOUT = 1.0
"""Seconds that the gateway waits for a decision."""

FRESH, REVALIDATE, STALE = 1.0, 1.0, 60.0
OUT = 4.0
"""Seconds of an outage: enough for all clocks but the last one to end, and for asking to pause."""

CLOCKS = f"{{fresh: {FRESH:g}s, revalidate: {REVALIDATE:g}s, stale-if-error: {STALE:g}s, deny: 1s}}"

OPERATOR = "o" * 40

WAYS = ["introspection", "forward-auth"]


class Provider:
    """The scripted server, in a process that can be killed and comes back at the same address."""

    def __init__(self) -> None:
        self.port = 0
        self.process: subprocess.Popen[str] | None = None
        self.start()

    def start(self) -> None:
        command = [sys.executable, "-m", "tests.servers.identity", "--port", str(self.port)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        self.port = int(self.process.stdout.readline())

    def tell(self, target: str):
        return fetch(f"127.0.0.1:{self.port}", target).json

    def fail(self, how: str) -> None:
        assert self.process is not None
        if how == "killed":
            self.process.kill()
            self.process.wait()
        elif how == "frozen":
            self.process.send_signal(signal.SIGSTOP)
        else:
            self.tell(f"/mode?name={how}")

    def mend(self) -> None:
        assert self.process is not None
        if self.process.poll() is not None:
            self.start()
        self.process.send_signal(signal.SIGCONT)
        self.tell("/mode?name=well")

    def stop(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait()


class World:
    """A gateway, its workers, and who decides for it."""

    def __init__(self, gw, provider, text):
        self.gw = gw
        self.provider = provider
        self.text = text
        self.connect()

    def connect(self):
        self.workers = list(pinned(self.gw).values())

    def ask(self, worker, way, who, **more):
        """One request of somebody."""
        headers = {"Authorization": f"Bearer {who}"} if way == "introspection" else {"Cookie": f"session={who}"}
        return worker.fetch(f"/{way}", headers=headers, **more)

    def everywhere(self, way, who, **more):
        """One request of somebody to each worker."""
        return [self.ask(worker, way, who, **more) for worker in self.workers]

    def statuses(self, way, who, **more):
        return {reply.status for reply in self.everywhere(way, who, **more)}


@pytest.fixture(scope="module")
def provider():
    made = Provider()
    yield made
    made.stop()


@pytest.fixture(scope="module")
def world(origin, provider, tmp_path_factory):
    idp = f"http://127.0.0.1:{provider.port}"
    text = f"""
gateway: {{workers: 2, drain: 5s}}
admin: {{address: "127.0.0.1:0", tokens: {{ops: {{secret: {OPERATOR}, scopes: [revoke]}}}}}}
access-log: {{path: "off"}}
listeners:
  - {{name: public, address: "127.0.0.1:0"}}
upstreams:
  origin: {{endpoints: ["http://{origin}"]}}
identity:
  introspection:
    tokens: {{url: "{idp}/introspect", timeout: {TIMEOUT:g}s, cache: {CLOCKS}}}
  forward-auth:
    cookies: {{url: "{idp}/auth", timeout: {TIMEOUT:g}s, cache: {CLOCKS}, by-path: false}}
routes:
"""
    for name, credential in (
        ("introspection", "introspection: {by: tokens}"),
        ("forward-auth", "forward-auth: {by: cookies}"),
    ):
        for stale in ("allow", "read-only", "never"):
            path = name if stale == "allow" else f"{name}-{stale}"
            text += f"""
  - name: {path}
    match: {{path: /{path}}}
    auth: {{any: [{{{credential}}}], stale: {stale}}}
    filters: [{{rewrite: {{path: /echo}}}}]
    target: {{proxy: {{upstream: origin}}}}
"""
    text += """
  - {name: public, match: {path: /json}, auth: none, target: {proxy: {upstream: origin}}}
"""
    with gateway(tmp_path_factory.mktemp("outage")) as gw:
        gw.write(text)
        gw.start()
        yield World(gw, provider, text)
        print(gw.log[-20_000:])


@pytest.fixture
def well(world):
    """The world, with everything in order before and after."""
    yield world
    world.provider.mend()
    for way in WAYS:
        until(lambda way=way: world.statuses(way, f"good-again-{time.monotonic()}") == {200}, "everything to be well")


class Load:
    """Requests of some callers in every way on every worker, one after the other, until it is over."""

    def __init__(self, world, callers):
        self.found = {(way, who): [] for way in WAYS for who in callers}
        self.slowest = 0.0
        self._over = threading.Event()
        self._world = world
        connections = list(pinned(world.gw).values())
        self._threads = [threading.Thread(target=self._run, args=(each,)) for each in connections]

    def _run(self, worker):
        with contextlib.closing(worker):
            while not self._over.is_set():
                for (way, who), found in self.found.items():
                    began = time.monotonic()
                    reply = self._world.ask(worker, way, who)
                    found.append(reply.status)
                    self.slowest = max(self.slowest, time.monotonic() - began)

    def statuses(self, who):
        return {status for way in WAYS for status in self.found[way, who]}

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *reason):
        self._over.set()
        for thread in self._threads:
            thread.join()


@pytest.mark.parametrize("how", ["killed", "frozen", "slow", "500", "garbage", "reset"])
def test_those_with_a_decision_get_in_and_nobody_else(well, how):
    known, stranger, bad = f"good-{how}", f"good-stranger-{how}", f"bad-{how}"
    for way in WAYS:
        assert well.ask(well.workers[0], way, known).status == 200  # one worker has asked, all know
        assert well.ask(well.workers[0], way, bad).status == 401
    with Load(well, [known]) as callers:
        well.provider.fail(how)
        with Load(well, [stranger, bad]) as strangers:
            time.sleep(FRESH + REVALIDATE + OUT)
        for way in WAYS:
            # By now everybody gets by on an old decision, and upstreams are told so.
            assert all(stale_age(reply) >= FRESH + REVALIDATE for reply in well.everywhere(way, known))
            for reply in well.everywhere(way, stranger):
                assert reply.status == 503
                assert reply.json["code"] == "auth_unavailable"
                assert 1 <= int(reply.headers["Retry-After"]) <= 10
        well.provider.mend()
        for way in WAYS:
            until(lambda way=way: well.statuses(way, stranger) == {200}, "strangers to be let in again")
            until(lambda way=way: well.statuses(way, bad) == {401}, "others to be refused again")
            until(
                lambda way=way: {stale_age(each) for each in well.everywhere(way, known)} == {None}, "fresh decisions"
            )
    assert callers.statuses(known) == {200}
    assert min(map(len, callers.found.values())) > 20
    assert strangers.statuses(stranger) == {503}
    # The refusal of before was used while it was good.
    assert strangers.statuses(bad) <= {401, 503}
    assert 503 in strangers.statuses(bad)
    # A few questions may be waited for in the beginning; afterwards nobody waits.
    assert callers.slowest < 4 * TIMEOUT


@pytest.mark.parametrize("way", WAYS)
def test_a_worker_that_starts_during_an_outage_knows_what_the_others_knew(well, way):
    known = f"good-restart-{way}"
    assert well.statuses(way, known) == {200}
    well.provider.fail("killed")
    before = well.gw.pids()
    for pid in sorted(before):
        os.kill(pid, signal.SIGKILL)
        until(lambda pid=pid: len(well.gw.pids() - {pid}) == 2, "a new worker")
    until(lambda: not before & well.gw.pids() and len(well.gw.pids()) == 2, "new workers")
    well.connect()
    time.sleep(FRESH + REVALIDATE)
    assert well.statuses(way, known) == {200}
    assert well.statuses(way, f"good-stranger-{way}") == {503}


@pytest.mark.parametrize("way", WAYS)
def test_a_reload_during_an_outage_loses_nothing(well, way):
    known = f"good-reload-{way}"
    assert well.statuses(way, known) == {200}
    well.provider.fail("killed")
    generation = well.gw.generation()
    well.gw.write(
        well.text.replace(f"stale-if-error: {STALE:g}s", "stale-if-error: 50s").replace("timeout: 1s", "timeout: 2s")
    )
    well.gw.signal(signal.SIGHUP)
    until(lambda: well.gw.generation() > generation, "the new plan")
    time.sleep(FRESH + REVALIDATE)
    assert well.statuses(way, known) == {200}
    assert well.statuses(way, f"good-stranger-{way}") == {503}
    well.gw.write(well.text)
    well.gw.signal(signal.SIGHUP)
    until(lambda: well.gw.generation() > generation + 1, "the old plan")


@pytest.mark.parametrize("way", WAYS)
def test_routes_say_for_whom_old_decisions_will_do(well, way):
    known = f"good-strict-{way}"
    assert well.statuses(way, known) == {200}
    assert well.statuses(way, known, method="POST") == {200}
    well.provider.fail("killed")
    time.sleep(FRESH + REVALIDATE)
    headers = {"Authorization": f"Bearer {known}", "Cookie": f"session={known}"}

    def status(stale, method):
        return {worker.fetch(f"/{way}-{stale}", method, headers).status for worker in well.workers}

    assert status("read-only", "GET") == {200} if way == "introspection" else {200, 503}
    assert status("read-only", "POST") == {503}
    assert status("never", "GET") == {503}


@pytest.mark.parametrize(("way", "name"), [("introspection", "tokens"), ("forward-auth", "cookies")])
def test_a_revocation_holds_on_every_worker_within_a_second_also_in_an_outage(well, way, name):
    revoked, other = f"good-revoked-{way}", f"good-other-{way}"
    assert well.statuses(way, revoked) == well.statuses(way, other) == {200}
    well.provider.fail("killed")
    assert well.statuses(way, revoked) == {200}
    admin = well.gw.wait_log(r'Admin on ([^\s"]+)').group(1)
    order = json.dumps({"provider": name, "subject": revoked}).encode()
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {OPERATOR}"}
    assert fetch(admin, "/api/revocations", "POST", order, headers).status == 200
    time.sleep(1)
    assert well.statuses(way, revoked) == {503}
    assert well.statuses(way, other) == {200}


@pytest.mark.parametrize("way", WAYS)
def test_who_was_refused_stays_out_during_an_outage(well, way):
    fallen = f"good-fallen-{way}"
    assert well.statuses(way, fallen) == {200}
    well.provider.tell(f"/refuse?name={fallen}")
    until(lambda: well.statuses(way, fallen) == {401}, "the refusal to be known")
    well.provider.fail("killed")
    time.sleep(FRESH + REVALIDATE + 1)
    assert well.statuses(way, fallen) == {503}


def test_tokens_end_when_they_expire_also_in_an_outage(well):
    short = "good-for-6-seconds"
    assert well.statuses("introspection", short) == {200}
    well.provider.fail("killed")
    time.sleep(FRESH + REVALIDATE + 1)
    assert well.statuses("introspection", short) == {200}
    time.sleep(3.5)
    assert well.statuses("introspection", short) == {503}


def test_an_endpoint_that_no_longer_knows_us_is_no_outage(well):
    known = "good-but-we-are-not"
    assert well.statuses("introspection", known) == {200}
    well.provider.fail("401")
    assert well.statuses("introspection", known) == {200}
    time.sleep(FRESH + REVALIDATE)
    assert well.statuses("introspection", known) == {503}


def test_an_auth_service_that_says_401_has_decided(well):
    known = "good-no-more"
    assert well.statuses("forward-auth", known) == {200}
    well.provider.fail("401")
    time.sleep(FRESH + REVALIDATE)
    assert well.statuses("forward-auth", known) == {401}


def test_one_caller_on_many_connections_is_asked_about_once(well):
    who = "good-and-many"
    well.provider.fail("slow")
    threads = []
    for _ in range(20):
        threads.append(
            threading.Thread(
                target=fetch,
                args=(well.gw.address(), "/introspection"),
                kwargs={"headers": {"Authorization": f"Bearer {who}"}},
            )
        )
        threads[-1].start()
    time.sleep(TIMEOUT / 2)
    well.provider.tell("/mode?name=well")
    asked = well.provider.tell("/asked")
    for thread in threads:
        thread.join()
    assert 1 <= asked[f"/introspect {who}"] <= 2  # once per worker


def test_metrics_and_log_tell_of_outages(well):
    known = "good-to-know"
    assert well.statuses("introspection", known) == {200}
    well.provider.fail("killed")
    until(lambda: well.statuses("introspection", f"good-{time.monotonic()}") == {503}, "refusals")
    time.sleep(FRESH + REVALIDATE)
    for _ in range(3):
        assert well.statuses("introspection", known) == {200}

    def value(name, **labels):
        text = well.gw.admin("/metrics").body.decode()
        wanted = [f'{key}="{value}"' for key, value in labels.items()]
        found = [line for line in text.splitlines() if line.startswith(name) and all(each in line for each in wanted)]
        return float(found[0].split()[-1]) if found else 0.0

    assert value("suuupra_auth_decisions_total", provider="tokens", source="stale") >= 3
    assert value("suuupra_auth_decisions_total", provider="tokens", result="undecided") >= 1
    assert value("suuupra_auth_asked_total", provider="tokens", outcome="failed") >= 3
    assert value("suuupra_auth_outage_seconds", provider="tokens") > 0
    assert value("suuupra_auth_active_identities", provider="tokens") >= 1
    assert value("suuupra_auth_remembered_decisions", provider="tokens") >= 1
    assert value("suuupra_auth_surviving_identities", provider="tokens", minutes="60") == 0
    before = len(re.findall("tokens answers again", well.gw.log))
    well.provider.mend()
    until(lambda: well.statuses("introspection", f"good-{time.monotonic()}") == {200}, "answers")
    until(lambda: value("suuupra_auth_outage_seconds", provider="tokens") == 0, "the end of the outage")
    assert len(re.findall("tokens does not answer", well.gw.log)) >= 1
    assert len(re.findall("tokens answers again", well.gw.log)) > before
    assert known not in well.gw.log
