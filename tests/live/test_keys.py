"""API keys as their users meet them: two workers, once with Redis and once with a file, the command line and the admin API."""

import concurrent.futures
import contextlib
import http.client
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.live.harness import PATIENCE, fetch, gateway, until
from tests.servers.redis import RedisServer

PEPPER = "a pepper that nobody else has: 0123456789"
TOKEN = "t" * 40
READER = "r" * 40
WITHIN = 1.0
"""Seconds after which a key that was revoked must be good nowhere."""


class World:
    """A configuration, a store, and gateways that share it."""

    def __init__(self, config, directory, redis):
        self.directory = directory
        self.redis = redis
        self.text = config(
            gateway=f"store: {redis.url}" if redis is not None else f"state-dir: {directory / 'state'}",
            routes="""
  - name: reports
    match: {path: /json}
    auth: {any: [{api-key: {}}], scopes: {all: [reports.read]}}
    target: {proxy: {upstream: origin}}
  - name: keyed
    match: {path: /echo}
    auth: {any: [{api-key: {}}]}
    target: {proxy: {upstream: origin}}
""",
        ).replace(
            "admin:\n  address: 127.0.0.1:0",
            "admin:\n  address: 127.0.0.1:0\n  tokens:\n"
            f"    ops: {{secret: {TOKEN}, scopes: [keys.read, keys.write, revoke]}}\n"
            f"    board: {{secret: {READER}, scopes: [keys.read]}}",
        )
        self.text += f'identity:\n  api-keys: {{peppers: ["{PEPPER}"]}}\n'
        self.file = directory / "gateway.yaml"

    def keys(self, *arguments, input=b"", status=0):
        """Run ``suuupra-gateway keys``."""
        action, *rest = arguments
        program = Path(sys.executable).with_name("suuupra-gateway")
        command = [str(program), "keys", action, "--config", str(self.file), *rest]
        done = subprocess.run(command, check=False, input=input, capture_output=True, timeout=PATIENCE)
        assert done.returncode == status, (done.stdout, done.stderr)
        return done.stdout.decode(), done.stderr.decode()

    def json(self, *arguments, **more):
        return json.loads(self.keys(*arguments, "--json", **more)[0])


@pytest.fixture(params=["redis", "file"])
def world(request, config, tmp_path):
    with contextlib.ExitStack() as stack:
        redis = stack.enter_context(RedisServer(tmp_path, "--appendonly", "yes")) if request.param == "redis" else None
        yield World(config, tmp_path, redis)


@pytest.fixture
def gw(world, tmp_path):
    with gateway(tmp_path) as made:
        made.write(world.text)
        yield made.start()
        print(made.log[-20_000:])


def admin(gw, target, token=TOKEN, body=None, method=None):
    address = gw.wait_log(r'Admin on ([^\s"]+)').group(1)
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    if body is not None:
        headers["Content-Type"] = "application/json"
    text = json.dumps(body).encode() if body is not None else None
    return fetch(address, target, method or ("POST" if body is not None else "GET"), text, headers)


def use(gw, key, target="/echo", agent="test"):
    return gw.fetch(target, headers={"X-API-Key": key, "User-Agent": agent})


class Crowd:
    """Connections that stay, so many that every worker has some."""

    def __init__(self, gateways, key, each=12):
        self.key = key
        ports = [gw.port() for gw in gateways for _ in range(each)]
        self.connections = [http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE) for port in ports]

    def statuses(self):
        for connection in self.connections:
            connection.request("GET", "/echo", headers={"X-API-Key": self.key})
        found = []
        for connection in self.connections:
            with connection.getresponse() as answer:
                answer.read()
                found.append(answer.status)
        return found

    def close(self):
        for connection in self.connections:
            connection.close()


def revoked_after(world, crowd, id, revoke):
    """Seconds from the moment when the key was revoked in its record until the last request with it that was let in was sent."""
    assert set(crowd.statuses()) == {200}
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        revoking = pool.submit(revoke)
        end = time.monotonic() + PATIENCE
        good = sent = time.time()
        while 200 in crowd.statuses():
            good, sent = sent, time.time()
            assert time.monotonic() < end, "still let in"
        revoking.result(PATIENCE)
    seconds = good - world.json("show", id)["revoked_at"]
    print(f"let in for {seconds:.3f} s")
    return seconds


# -- the life of a key ------------------------------------------------------------------------------------------------


def test_a_key_made_on_the_command_line_opens_the_door_and_is_not_passed_on(world, gw):
    key = world.keys("create", "--owner", "ann", "--scope", "reports.read", "--tenant", "acme")[0].strip()

    answer = use(gw, key)

    assert answer.status == 200
    shown = {name.lower(): value for name, value in answer.json["headers"]}
    assert shown["x-user-id"] == "ann"
    assert shown["x-consumer-key-id"] == key.split("_")[2]
    assert shown["x-tenant-id"] == "acme"
    assert "x-api-key" not in shown
    assert key not in json.dumps(answer.json)
    assert gw.fetch("/echo", headers={"Authorization": f"ApiKey {key}"}).status == 200
    assert use(gw, key, "/json").status == 200
    assert key not in gw.log


def test_what_is_no_good_key_gets_one_and_the_same_answer(world, gw):
    made = world.json("create", "--owner", "ann")["key"]
    other = world.json("create", "--owner", "eve", "--not-before", "1d")["key"]
    gone = world.json("create", "--owner", "old")
    world.keys("revoke", gone["id"])
    environment, id, secret = made.split("_")[1:4]
    from suuupra_gateway.auth import apikey

    strange = apikey.make(environment).text.decode()
    start = f"sgk_{environment}_{id}_{secret[::-1]}"
    wrong = f"{start}_{apikey._checksum(start.encode()).decode()}"
    until(lambda: use(gw, gone["key"]).status == 401, "the key is good still")

    answers = {name: use(gw, key) for name, key in [
        ("not yet", other), ("revoked", gone["key"]), ("unknown", strange), ("wrong secret", wrong), ("junk", "sgk_x"),
    ]}  # fmt: skip

    assert {answer.status for answer in answers.values()} == {401}
    bodies = [{**answer.json, "request_id": ""} for answer in answers.values()]
    assert all(body == bodies[0] for body in bodies)
    assert len({answer.headers["WWW-Authenticate"] for answer in answers.values()}) == 1
    assert gw.fetch("/echo").status == 401


def test_a_good_key_that_may_not_do_this_gets_403(world, gw):
    narrow = world.json("create", "--owner", "ann", "--route", "reports")["key"]
    elsewhere = world.json("create", "--owner", "ann", "--cidr", "192.0.2.0/24")["key"]
    here = world.json("create", "--owner", "ann", "--cidr", "127.0.0.0/8")["key"]

    assert use(gw, narrow).status == 403
    assert use(gw, elsewhere).status == 403
    assert use(gw, here).status == 200
    assert use(gw, here, "/json").status == 403
    assert use(gw, narrow, "/json").status == 403


def test_who_uses_a_replaced_key_is_known_during_its_overlap(world, gw):
    old = world.json("create", "--owner", "ann", "--scope", "reports.read", "--expires", "30d")
    assert use(gw, old["key"], agent="before/1").status == 200

    new = world.json("rotate", old["id"], "--overlap", "1h")
    assert new["rotated_from"] == old["id"]
    assert new["scopes"] == ["reports.read"]
    assert use(gw, new["key"], agent="new/1").status == 200

    def late():
        assert use(gw, old["key"], agent="late/1.0").status == 200
        return [usage for usage in world.json("show", old["id"])["usage"] if usage["agent"] == "late/1.0"]

    (usage,) = until(late, "nobody says who still uses the old key")
    assert usage["client"] == "127.0.0.1"
    assert [finding["flaw"] for finding in world.json("audit", status=1)] == ["replaced-in-use"]
    assert "late/1.0" in world.keys("show", old["id"])[0]
    assert world.json("show", new["id"])["last_used"] > 0

    brief = world.json("rotate", new["id"], "--overlap", "0s")
    until(lambda: use(gw, new["key"]).status == 401, "an overlap of nothing goes on")
    assert use(gw, brief["key"]).status == 200


def test_a_key_that_is_revoked_on_the_command_line_is_refused_by_all_workers_within_a_second(
    world, gw, record_property
):
    made = world.json("create", "--owner", "ann")
    crowd = Crowd([gw], made["key"], each=24)

    seconds = revoked_after(world, crowd, made["id"], lambda: world.keys("revoke", made["id"], "--why", "leaked"))

    assert seconds < WITHIN
    crowd.close()


def test_a_restart_changes_nothing(world, gw, tmp_path):
    good, bad = world.json("create", "--owner", "ann"), world.json("create", "--owner", "eve")
    world.keys("revoke", bad["id"])
    gw.stop()

    directory = tmp_path / "again"
    directory.mkdir()
    with gateway(directory) as again:
        again.write(world.text)
        again.start()
        assert use(again, good["key"]).status == 200
        assert use(again, bad["key"]).status == 401


# -- the admin API ----------------------------------------------------------------------------------------------------


def test_the_admin_api_does_all_of_it(world, gw):
    created = admin(gw, "/api/keys", body={"owner": "ann", "scopes": ["reports.read"], "lifetime": "30d"})
    assert created.status == 201
    id, key = created.json["id"], created.json["key"]
    assert created.headers["Location"] == f"/api/keys/{id}"
    assert use(gw, key, "/json").status == 200

    rotated = admin(gw, f"/api/keys/{id}/rotate", body={"overlap": "2h"})
    assert rotated.status == 201
    assert use(gw, rotated.json["key"]).status == 200

    listed = admin(gw, "/api/keys", READER).json["keys"]
    assert [entry["id"] for entry in listed] == [id, rotated.json["id"]]
    text = json.dumps(listed)
    assert key not in text
    assert "hash" not in text

    crowd = Crowd([gw], rotated.json["key"])
    new = rotated.json["id"]
    seconds = revoked_after(world, crowd, new, lambda: admin(gw, f"/api/keys/{new}/revoke", body={"why": "told so"}))
    assert seconds < WITHIN
    crowd.close()

    leaked = admin(gw, "/api/keys/check", body={"text": f"export KEY={key}\n"}).json["keys"]
    assert [(leak["id"], leak["real"], leak["state"]) for leak in leaked] == [(id, True, "active")]
    done = [(entry["actor"], entry["action"]) for entry in admin(gw, "/api/keys/log").json["entries"]]
    assert done[0] == ("admin:ops", "revoke")
    assert done[-1] == ("admin:ops", "create")
    assert admin(gw, f"/api/keys/{rotated.json['id']}").json["revoked_why"] == "told so"
    assert key not in gw.log


def test_the_admin_api_lets_nobody_do_more_than_their_token(world, gw):
    assert admin(gw, "/api/keys", "").status == 401
    assert admin(gw, "/api/keys", "x" * 40).status == 401
    assert admin(gw, "/api/keys", READER).status == 200
    assert admin(gw, "/api/keys", READER, {"owner": "eve"}).status == 403
    assert admin(gw, "/api/revocations", READER, {"session": "x"}).status == 403
    assert admin(gw, "/api/workers", "").status == 200
    assert admin(gw, "/api/keys").json["keys"] == []


# -- more than one gateway --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("world", ["redis"], indirect=True)
def test_a_second_gateway_on_the_same_redis_refuses_a_revoked_key_within_a_second(world, gw, tmp_path):
    made = world.json("create", "--owner", "ann")
    directory = tmp_path / "second"
    directory.mkdir()
    with gateway(directory) as second:
        second.write(world.text)
        second.start()
        crowd = Crowd([gw, second], made["key"])

        id = made["id"]
        seconds = revoked_after(world, crowd, id, lambda: admin(second, f"/api/keys/{id}/revoke", body={}))

        assert seconds < WITHIN
        crowd.close()


@pytest.mark.parametrize("world", ["redis"], indirect=True)
def test_keys_in_use_outlive_their_store_and_others_get_503(world, gw):
    used, unused = world.json("create", "--owner", "ann"), world.json("create", "--owner", "eve")
    crowd = Crowd([gw], used["key"])
    assert set(crowd.statuses()) == {200}

    world.redis.stop()

    def without():
        return use(gw, unused["key"]).status == 503

    until(without, "nobody notices that the store is gone")
    answer = use(gw, unused["key"])
    assert answer.headers["X-Gateway-Error"] == "auth_unavailable"
    assert int(answer.headers["Retry-After"]) > 0
    assert set(crowd.statuses()) == {200}
    assert admin(gw, "/api/keys").status == 503
    world.keys("list", status=1)

    world.redis.start()
    until(lambda: use(gw, unused["key"]).status == 200, "it does not come back by itself")
    seconds = revoked_after(world, crowd, used["id"], lambda: world.keys("revoke", used["id"]))
    assert seconds < WITHIN
    crowd.close()


@pytest.mark.parametrize("world", ["file"], indirect=True)
def test_two_command_lines_at_once_do_no_harm(world):
    world.file.write_text(world.text)
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        made = list(pool.map(lambda owner: world.json("create", "--owner", owner), ["a", "b", "c", "d"]))
    assert {entry["id"] for entry in world.json("list")} == {entry["id"] for entry in made}
    assert (world.directory / "state").stat().st_mode & 0o777 == 0o700
    assert (world.directory / "state/api-keys.sqlite").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("world", ["file"], indirect=True)
def test_what_root_makes_belongs_to_whoever_the_gateway_is(world):
    world.file.write_text(world.text)
    state = world.directory / "state"
    state.mkdir(mode=0o700)
    owner = 4711 if os.geteuid() == 0 else os.geteuid()
    os.chown(state, owner, -1)
    world.keys("create", "--owner", "ann")
    assert {file.stat().st_uid for file in state.iterdir()} == {owner}
