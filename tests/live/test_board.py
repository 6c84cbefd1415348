"""
What was revoked is refused by all workers of all gateways within a second, by those that come later too, and whatever was down
meanwhile.
"""

import contextlib
import json
import os
import signal
import tempfile
import time

import pytest

from tests.live.harness import fetch, gateway, until
from tests.live.test_identity_restart import ask, known, text
from tests.servers.issuer import Issuer
from tests.servers.redis import RedisServer

SOON = 5.0
"""
Seconds from a revocation to its effect on every worker of every gateway: one on a machine that is not busy with other tests;
without it, what is remembered would go on for thirty.
"""


@pytest.fixture
def issuer():
    with Issuer() as made:
        yield made


@pytest.fixture
def redis(tmp_path):
    (tmp_path / "redis").mkdir()
    with RedisServer(tmp_path / "redis") as made:
        yield made


@pytest.fixture
def sockets():
    with tempfile.TemporaryDirectory() as directory:  # the path of a socket has at most 107 bytes, pytest's are longer
        yield directory


def configuration(issuer, sockets, name, store=None, **more):
    """As for restarts, with an admin socket, where everybody may do everything."""
    written = text(issuer, **more).replace(
        '{address: "127.0.0.1:0"}\naccess', f'{{address: "unix:{sockets}/{name}"}}\naccess'
    )
    assert f"unix:{sockets}/{name}" in written
    return written if store is None else written.replace("gateway:\n", f'gateway:\n  store: "{store.url}"\n', 1)


def revoke(sockets, name, **what):
    answer = fetch(
        f"unix:{sockets}/{name}",
        "/api/revocations",
        "POST",
        json.dumps(what).encode(),
        {"Content-Type": "application/json"},
    )
    return answer.status, answer.json


def refused(gw, token):
    """Within a second on every connection, and so on every worker."""
    begun = time.monotonic()
    until(lambda: ask(gw, token).status == 401, "the first refusal")
    assert time.monotonic() - begun < SOON
    time.sleep(max(0.0, begun + SOON - time.monotonic()))
    assert [ask(gw, token).status for _ in range(20)] == [401] * 20


@pytest.mark.parametrize("workers", [0, 2])
def test_a_token_that_is_revoked_is_refused_by_all_workers_and_their_successors(gw, issuer, sockets, workers):
    gw.write(configuration(issuer, sockets, "admin", workers=workers))
    gw.start()
    token, other = issuer.token(sub="alice"), issuer.token(sub="bob")
    known(gw, token)
    known(gw, other)
    status, told = revoke(sockets, "admin", token=token)
    assert (status, told["everywhere"]) == (200, False)
    refused(gw, token)
    known(gw, other)
    if workers:
        before = gw.pids()
        for pid in before:
            os.kill(pid, signal.SIGKILL)
        until(lambda: len(gw.pids() - before) == workers, lambda: f"successors:\n{gw.log}")
        assert [ask(gw, token).status for _ in range(20)] == [401] * 20
        assert ask(gw, other).status == 200


def test_everything_of_a_subject_is_revoked_up_to_now(gw, issuer, sockets):
    gw.write(configuration(issuer, sockets, "admin"))
    gw.start()
    old = [issuer.token(sub="alice", jti=str(number)) for number in range(3)]
    known(gw, old[0])
    status, _ = revoke(sockets, "admin", provider="idp", subject="alice")
    assert status == 200
    for token in old:
        refused(gw, token)
    later = issuer.token(sub="alice", iat=int(time.time()) + 2)
    known(gw, later)


def test_revocations_reach_another_gateway_through_redis_also_those_it_missed(gw, issuer, sockets, redis, tmp_path):
    with contextlib.ExitStack() as stack:
        (tmp_path / "other").mkdir()
        other = stack.enter_context(gateway(tmp_path / "other"))
        for made, name in ((gw, "a"), (other, "b")):
            made.write(configuration(issuer, sockets, name, store=redis))
            made.start()
            heard(made)
        first, second, third = (issuer.token(sub=name) for name in ("first", "second", "third"))
        for made in (gw, other):
            for token in (first, second, third):
                known(made, token)

        status, told = revoke(sockets, "a", token=first)
        assert (status, told["everywhere"]) == (200, True)
        refused(other, first)
        refused(gw, first)

        # One that is away while something is revoked, and comes back.
        assert other.stop() == 0
        status, _ = revoke(sockets, "a", token=second)
        assert status == 200
        other._log.unlink()
        other.start()
        heard(other)
        refused(other, second)
        known(other, third)

        # Without Redis this host still knows, and says that others do not.
        redis.stop()
        until(lambda: revoke(sockets, "a", token=third)[0] == 503, "nobody else can be told")
        refused(gw, third)
        known(other, third)
        redis.start()
        until(lambda: revoke(sockets, "a", token=third)[0] == 200, lambda: f"it recovers by itself:\n{gw.log}")
        refused(other, third)


def heard(gw):
    until(lambda: "\nsuuupra_revocations_heard 1" in gw.admin("/metrics").body.decode(), lambda: f"it hears:\n{gw.log}")
