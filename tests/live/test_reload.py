"""New configurations and new code, under load."""

import os
import signal

from tests.live.harness import until
from tests.servers.load import Load

STATUS = "- {name: status, match: {path: /status}, auth: none, target: {fixed: {status: 200, body: '%s'}}}"


def reload(gw, what="done", count=1):
    gw.signal(signal.SIGHUP)
    gw.wait_log(rf"SIGHUP {what}", count)


def test_a_good_file_is_taken_by_all_workers_and_no_request_fails(gw, config):
    gw.write(config(routes=STATUS % "one"))
    gw.start()
    pids = gw.pids()
    with Load("127.0.0.1", gw.port(), connections=16) as load:
        load.wait(100)
        for number in range(2, 6):
            gw.write(config(routes=STATUS % f"body {number}"))
            reload(gw, count=number - 1)
            assert {gw.fetch("/status").body for _ in range(8)} == {f"body {number}".encode()}
            load.wait(50)
    assert load.report.failed == 0, load.report
    assert load.report.repeated == 0, load.report
    assert gw.pids() == pids, "the same workers go on"
    assert gw.generation() == 5
    assert [worker["generation"] for worker in gw.workers()] == [5, 5]


def test_a_bad_file_changes_nothing_and_says_why(gw, config):
    gw.write(config(routes=STATUS % "one"))
    gw.start()
    pids = gw.pids()
    with Load("127.0.0.1", gw.port(), connections=8) as load:
        load.wait(50)
        gw.write(config(routes=STATUS % "two").replace("prefix: /", "prefix: /, colour: red"))
        reload(gw, r"refused, generation 1 goes on: .*gateway\.yaml:\d+:\d+: .*colour")
        load.wait(50)
    assert load.report.failed == 0, load.report
    assert gw.fetch("/status").body == b"one"
    assert gw.pids() == pids
    plan = gw.admin("/api/plan").json
    assert plan["generation"] == 1
    assert plan["reload_successful"] is False
    assert "colour" in plan["reload_refused"]

    gw.write(config(routes=STATUS % "three"))
    reload(gw)
    assert gw.fetch("/status").body == b"three"
    assert gw.admin("/api/plan").json["reload_successful"] is True


def test_a_failing_route_test_stops_the_reload(gw, config):
    gw.write(config())
    gw.start()
    tests = "[{request: GET /x, expect: {status: 200}}]"
    test = f"- {{name: tested, match: {{path: /x}}, auth: none, target: {{fixed: {{status: 204}}}}, tests: {tests}}}"
    gw.write(config(routes=test))
    reload(gw, r"refused, generation 1 goes on: .*expected status 200")
    assert gw.generation() == 1


def test_upstreams_that_did_not_change_keep_their_connections(gw, config):
    gw.write(config(workers=1, routes=STATUS % "one"))
    gw.start()
    gw.fetch("/json")
    gw.write(config(workers=1, routes=STATUS % "two"))
    reload(gw)
    gw.fetch("/json")
    text = gw.admin("/metrics").body.decode()
    assert 'suuupra_upstream_connects_total{service="origin"} 1.0' in text


def test_a_listener_is_added_and_removed_while_another_serves(gw, config):
    one = "- {name: public, address: '127.0.0.1:0'}"
    two = f"{one}\n  - {{name: second, address: 'unix:{gw.directory}/second.sock'}}"
    gw.write(config(listeners=one))
    gw.start()
    with Load("127.0.0.1", gw.port(), connections=8) as load:
        load.wait(50)
        gw.write(config(listeners=two))
        reload(gw)
        assert gw.fetch("/json").status == 200
        path = gw.directory / "second.sock"
        assert gw_fetch_unix(path) == 200
        load.wait(50)
        gw.write(config(listeners=one))
        reload(gw, count=2)
        assert not path.exists()
        load.wait(50)
    assert load.report.failed == 0, load.report


def gw_fetch_unix(path):
    from tests.live.harness import fetch

    return fetch(f"unix:{path}").status


def test_a_listener_that_cannot_be_bound_stops_the_reload(gw, config):
    gw.write(config())
    gw.start()
    pids = gw.pids()
    gw.write(config(listeners="- {name: public, address: '127.0.0.1:0'}\n  - {name: other, address: '192.0.2.1:80'}"))
    reload(gw, "refused, generation 1 goes on: listener other: cannot listen on 192.0.2.1:80")
    assert gw.pids() == pids
    assert gw.fetch("/json").status == 200


def test_more_and_fewer_workers(gw, config):
    gw.write(config(workers=1))
    gw.start()
    with Load("127.0.0.1", gw.port(), connections=8, keep=False) as load:
        load.wait(50)
        gw.write(config(workers=3))
        reload(gw)
        assert len(gw.pids()) == 3
        load.wait(50)
        gw.write(config(workers=2))
        reload(gw, count=2)
        until(lambda: len(gw.workers()) == 2, "the surplus is gone")
        load.wait(50)
    assert load.report.failed == 0, load.report


def test_workers_are_replaced_one_by_one_without_a_failed_request(gw, config):
    gw.write(config())
    gw.start()
    before = gw.pids()
    with Load("127.0.0.1", gw.port(), connections=16) as load:
        load.wait(100)
        for count in (1, 2):
            gw.signal(signal.SIGUSR2)
            gw.wait_log("SIGUSR2 done", count)
            load.wait(100)
    assert load.report.failed == 0, load.report
    assert not before & gw.pids()
    assert len(gw.pids()) == 2


def test_log_files_are_reopened_on_sigusr1(gw, config):
    path = gw.directory / "access.log"
    gw.write(config().replace('path: "off"', f'path: "{path}"'))
    gw.start()
    for _ in range(4):
        gw.fetch("/json")
    until(lambda: path.exists() and len(path.read_text().splitlines()) == 4, "four lines")
    os.rename(path, gw.directory / "access.log.1")
    gw.signal(signal.SIGUSR1)
    until(path.exists, "a new file")
    for _ in range(8):
        gw.fetch("/json")
    until(lambda: len(path.read_text().splitlines()) == 8, "eight lines in the new file")
    assert len((gw.directory / "access.log.1").read_text().splitlines()) == 4


def test_the_admin_listener_moves(gw, config):
    gw.write(config())
    gw.start()
    old = gw.wait_log(r"Admin on (\S+)").group(1)
    gw.write(config().replace("address: 127.0.0.1:0\naccess", f"address: 'unix:{gw.directory}/admin.sock'\naccess"))
    reload(gw)
    assert gw.wait_log(r"Admin on (\S+)", 2).group(1) != old
    assert gw.admin("/readyz").status == 200
