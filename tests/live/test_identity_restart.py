"""
Providers, supervisors and workers that come and go: who was let in is let in, by keys that are fetched once per host.
"""

import os
import signal
import socket
import stat
import threading
import time

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from tests.live.harness import fetch, until
from tests.servers.issuer import AUDIENCE, Issuer


@pytest.fixture
def issuer():
    with Issuer() as made:
        yield made


def text(issuer, *, state="", workers=2, provider="", providers=None, more=""):
    """A configuration of one private route; ``providers`` beside the one that it takes."""
    named = {"idp": f'{{issuer: "{issuer.name}", audiences: ["{AUDIENCE}"], {provider}}}', **(providers or {})}
    listed = "\n".join(f"    {name}: {spec}" for name, spec in named.items())
    return f"""
gateway:
  workers: {workers}
  drain: 2s
  {f"state-dir: {state}" if state else ""}
admin: {{address: "127.0.0.1:0"}}
access-log: {{path: "off"}}
listeners: [{{name: public, address: "127.0.0.1:0"}}]
identity:
  providers:
{listed}
routes:
  - name: private
    match: {{path: /private}}
    auth: {{any: [{{jwt: {{provider: idp}}}}]}}
    target: {{fixed: {{body: welcome}}}}
  - name: public
    match: {{path: /public}}
    auth: none
    target: {{fixed: {{body: hello}}}}
{more}
"""


def ask(gw, token):
    return gw.fetch("/private", headers={"Authorization": f"Bearer {token}"})


def statuses(gw, tokens):
    """Of as many requests at once, each on a connection of its own."""
    found = [0] * len(tokens)
    address = gw.address()
    ready = threading.Barrier(len(tokens))

    def one(place, token):
        ready.wait()
        found[place] = fetch(address, "/private", headers={"Authorization": f"Bearer {token}"}).status

    threads = [threading.Thread(target=one, args=each) for each in enumerate(tokens)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


def known(gw, token):
    """Wait until every worker lets ``token`` in: twenty connections, all served."""
    until(lambda: all(ask(gw, token).status == 200 for _ in range(20)), lambda: f"let in:\n{gw.log}")


def samples(gw, name):
    return [line for line in gw.admin("/metrics").body.decode().splitlines() if line.startswith(name)]


def test_keys_are_fetched_once_for_all_workers(gw, issuer):
    gw.write(text(issuer, workers=3))
    gw.start()
    known(gw, issuer.token())
    assert len(issuer.fetched) == 1


def test_without_workers_it_is_the_same(gw, issuer):
    gw.write(text(issuer, workers=0))
    gw.start()
    known(gw, issuer.token())
    assert len(issuer.fetched) == 1
    assert gw.stop() == 0


def test_a_restart_while_the_provider_is_down_serves_by_what_was_remembered(gw, issuer, tmp_path):
    state = tmp_path / "state"
    gw.write(text(issuer, state=state))
    gw.start()
    known(gw, issuer.token())
    assert gw.stop() == 0
    (snapshot,) = state.iterdir()
    assert stat.S_IMODE(snapshot.stat().st_mode) == 0o600
    assert stat.S_IMODE(state.stat().st_mode) == 0o700
    assert b'"d"' not in snapshot.read_bytes(), "public keys only"

    issuer.shut()
    gw._log.unlink()
    gw.start()
    # From the very first request on: workers know before they serve.
    assert statuses(gw, [issuer.token()] * 20) == [200] * 20
    assert ask(gw, issuer.token(key=ec.generate_private_key(ec.SECP256R1()))).status == 401, "keys, not trust"
    until(lambda: samples(gw, 'suuupra_jwks_fetches_total{provider="idp",result="failed"}'), "it tries")

    second = issuer.made("second")
    assert ask(gw, issuer.token(second)).status == 503, "nobody can say whether that is good"
    issuer.open()
    until(lambda: ask(gw, issuer.token(second)).status == 200, lambda: f"it recovers by itself:\n{gw.log}")


def test_systemds_state_directory_is_used_without_configuration(gw, issuer, tmp_path):
    state = tmp_path / "state"
    state.mkdir(mode=0o700)
    gw.write(text(issuer))
    gw.start(environ={"STATE_DIRECTORY": str(state)})
    known(gw, issuer.token())
    assert len(list(state.iterdir())) == 1


def test_a_first_start_while_the_provider_is_down_refuses_nobody_for_good(gw, issuer):
    issuer.shut()
    gw.write(text(issuer))
    gw.start()
    answer = ask(gw, issuer.token())
    assert answer.status == 503
    assert int(answer.headers["Retry-After"]) > 0
    assert gw.fetch("/public").status == 200
    issuer.open()
    known(gw, issuer.token())


def test_a_key_set_of_half_a_megabyte_reaches_workers_at_once_and_after_their_death(gw, issuer):
    issuer.padding = "x" * 500_000
    gw.write(text(issuer))
    gw.start()
    known(gw, issuer.token())
    issuer.shut()
    before = gw.pids()
    for pid in before:
        os.kill(pid, signal.SIGKILL)
    until(lambda: len(gw.pids() - before) == 2, lambda: f"successors:\n{gw.log}")
    assert statuses(gw, [issuer.token()] * 20) == [200] * 20


def test_a_worker_that_is_killed_is_followed_by_one_that_knows_the_keys(gw, issuer):
    gw.write(text(issuer))
    gw.start()
    known(gw, issuer.token())
    issuer.shut()
    before = gw.pids()
    for pid in before:
        os.kill(pid, signal.SIGKILL)
    until(lambda: len(gw.pids() - before) == 2, lambda: f"successors:\n{gw.log}")
    assert statuses(gw, [issuer.token()] * 20) == [200] * 20
    assert len(issuer.fetched) == 1


def test_fifty_unknown_keys_at_once_cause_one_fetch(gw, issuer):
    gw.write(text(issuer, provider="cooldown: 3s"))
    gw.start()
    known(gw, issuer.token())
    time.sleep(3.1)
    issuer.delay = 0.1
    other = ec.generate_private_key(ec.SECP256R1())
    made_up = [issuer.token(f"made-up-{number}", key=other) for number in range(50)]
    # 503 for those who would have to wait for the fetch for more than half a second.
    assert set(statuses(gw, made_up)) <= {401, 503}
    assert len(issuer.fetched) == 2
    assert statuses(gw, [issuer.token()] * 20) == [200] * 20
    until(lambda: all(ask(gw, token).status == 401 for token in made_up[:20]), "they are refused in the end")


def test_fifty_tokens_by_a_new_key_cause_one_fetch_and_are_all_let_in(gw, issuer):
    gw.write(text(issuer, provider="cooldown: 2s"))
    gw.start()
    known(gw, issuer.token())
    time.sleep(2.1)
    second = issuer.made("second")
    assert statuses(gw, [issuer.token(second, sub=f"user-{number}") for number in range(50)]) == [200] * 50
    assert len(issuer.fetched) == 2


def test_a_key_that_is_withdrawn_lets_nobody_in_any_more(gw, issuer):
    gw.write(text(issuer, provider="refresh: 1s"))
    gw.start()
    issuer.made("second")
    token = issuer.token()
    known(gw, issuer.token("second"))
    known(gw, token)
    del issuer.keys["first"]
    until(lambda: all(ask(gw, token).status == 401 for _ in range(20)), lambda: f"refused:\n{gw.log}")
    known(gw, issuer.token("second"))


def test_a_configuration_that_is_refused_leaves_nothing_behind(gw, issuer):
    with Issuer() as other, socket.create_server(("127.0.0.1", 0)) as taken:
        gw.write(text(issuer))
        gw.start()
        known(gw, issuer.token())
        named = {"other": f'{{issuer: "{other.name}", audiences: ["x"], refresh: 1s}}'}
        wanted = text(issuer, providers=named)
        assert '"127.0.0.1:0"}]' in wanted
        port = taken.getsockname()[1]
        gw.write(wanted.replace('"127.0.0.1:0"}]', f'"127.0.0.1:{port}"}}]'))
        gw.signal(signal.SIGHUP)
        gw.wait_log("SIGHUP refused")
        time.sleep(1.5)
        asked = other.asked
        assert asked >= 1, "it was begun before anybody was to serve by it"
        time.sleep(2.0)
        assert other.asked == asked
        assert not samples(gw, 'suuupra_jwks_age_seconds{provider="other"}')
        known(gw, issuer.token())


def test_a_reload_brings_a_provider_and_takes_it_away(gw, issuer):
    with Issuer() as other:
        gw.write(text(issuer))
        gw.start()
        known(gw, issuer.token())
        assert ask(gw, other.token()).status == 401
        pids = gw.pids()

        gw.write(text(other))
        gw.signal(signal.SIGHUP)
        gw.wait_log("SIGHUP done")
        known(gw, other.token())
        assert ask(gw, issuer.token()).status == 401
        assert gw.pids() == pids, "the same workers"

        gw.write(text(issuer))
        gw.signal(signal.SIGHUP)
        gw.wait_log("SIGHUP done", 2)
        known(gw, issuer.token())
        assert len(issuer.fetched) == 2, "once each time"


def test_age_of_keys_is_in_the_metrics(gw, issuer):
    gw.write(text(issuer))
    gw.start()
    known(gw, issuer.token())
    (line,) = samples(gw, "suuupra_jwks_age_seconds{")
    assert line.startswith('suuupra_jwks_age_seconds{provider="idp"} ')
    assert 0 <= float(line.split()[-1]) < 60
    fetches = dict(line.rsplit(" ", 1) for line in samples(gw, "suuupra_jwks_fetches_total{"))
    assert {labels: float(count) for labels, count in fetches.items()} == {
        'suuupra_jwks_fetches_total{provider="idp",result="ok"}': 1,
        'suuupra_jwks_fetches_total{provider="idp",result="failed"}': 0,
    }
