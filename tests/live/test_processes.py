"""Starting, serving, dying and ending: what the process tree promises."""

import os
import re
import signal
import socket
import subprocess
import threading
import time

from tests.live.harness import PATIENCE, TWISTD, alive, fetch, until
from tests.servers.load import Load


def test_it_starts_serves_and_stops(gw, config):
    gw.write(config())
    gw.start()
    answer = gw.fetch("/json")
    assert (answer.status, answer.json["ok"]) == (200, True)
    assert len(gw.pids()) == 2
    assert gw.admin("/readyz").status == 200
    workers = gw.children()
    assert gw.stop() == 0
    until(lambda: not any(map(alive, workers)), "the workers are gone")


def test_ps_tells_supervisor_and_workers_apart(gw, config):
    gw.write(config())
    gw.start()
    names = set()
    for pid in gw.pids():
        with open(f"/proc/{pid}/comm", encoding="ascii") as comm:
            names.add(comm.read().strip())
    assert names == {"suuupra-w0", "suuupra-w1"}


def test_interrupt_from_a_terminal_stops_it_in_order(gw, config):
    gw.write(config())
    gw.start()
    workers = gw.children()
    for pid in [*workers, gw.pid]:  # a terminal sends it to all
        os.kill(pid, signal.SIGINT)
    assert gw.wait() == -signal.SIGINT
    assert "KeyboardInterrupt" not in gw.log
    assert not any(map(alive, workers))


def test_a_killed_worker_takes_only_its_own_requests_along(gw, config):
    gw.write(config())
    gw.start()
    with Load("127.0.0.1", gw.port(), "/slow?seconds=0.02", connections=16) as load:
        load.wait(100)
        victim = min(gw.workers(), key=lambda worker: worker["slot"])
        held = len(_connections_of(victim["pid"], gw.port()))
        os.kill(victim["pid"], signal.SIGKILL)
        until(lambda: victim["pid"] not in gw.pids() and len(gw.pids()) == 2, "a successor serves")
        load.wait(300)
    assert 0 < load.report.failed + load.report.repeated <= held, load.report
    assert gw.workers()[0]["restarts"] == 1
    gw.wait_log(r"Worker 0 \(pid \d+\) died: signal 9")


def _connections_of(pid, port):
    """Established connections to ``port`` that a process holds."""
    inodes = set()
    for name in os.listdir(f"/proc/{pid}/fd"):
        target = os.readlink(f"/proc/{pid}/fd/{name}")
        if target.startswith("socket:["):
            inodes.add(target[8:-1])
    with open(f"/proc/{pid}/net/tcp", encoding="ascii") as table:
        rows = [line.split() for line in table.readlines()[1:]]
    return [row for row in rows if row[9] in inodes and row[3] == "01" and int(row[1].split(":")[1], 16) == port]


def test_new_connections_are_served_while_a_worker_is_down(gw, config):
    gw.write(config(gateway="restart-backoff: [3s, 3s]"))
    gw.start()
    os.kill(min(gw.workers(), key=lambda worker: worker["slot"])["pid"], signal.SIGKILL)
    until(lambda: len(gw.pids()) == 1, "one is down")
    assert [(worker["slot"], worker["state"]) for worker in gw.workers()] == [(1, "ready"), (0, "waiting")]
    started = time.monotonic()
    for _ in range(30):
        assert gw.fetch("/json").status == 200
    assert time.monotonic() - started < 2.5, "somebody waited for the successor"
    until(lambda: len(gw.pids()) == 2, "the successor serves")
    for _ in range(30):
        assert gw.fetch("/json").status == 200


def test_a_worker_that_hangs_is_replaced(gw, config):
    gw.write(config())
    gw.start()
    victim = min(gw.pids())
    os.kill(victim, signal.SIGSTOP)
    gw.wait_log(rf"\(pid {victim}\) has not answered for 1\d s and is killed")
    until(lambda: len(gw.pids()) == 2 and victim not in gw.pids(), "a successor serves")
    assert gw.fetch("/json").status == 200


def test_sigterm_lets_a_slow_request_finish_and_refuses_new_connections(gw, config):
    gw.write(config())
    gw.start()
    port = gw.port()
    answers = []
    slow = threading.Thread(target=lambda: answers.append(fetch(f"127.0.0.1:{port}", "/slow?seconds=2")))
    slow.start()
    time.sleep(0.5)  # it is under way
    idle = socket.create_connection(("127.0.0.1", port), 5)
    gw.signal(signal.SIGTERM)
    until(lambda: _refused(port), "the listener is closed", 1.5)
    idle.settimeout(5)
    assert idle.recv(1) == b"", "an idle connection is closed, not kept"
    assert gw.admin("/readyz").status == 503
    slow.join(10)
    assert [answer.status for answer in answers] == [200]
    assert answers[0].headers["Connection"] == "close"
    assert gw.wait() == 0


def _refused(port):
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except ConnectionRefusedError:
        return True
    return False


def test_draining_ends_when_its_time_is_up(gw, config):
    gw.write(config(drain="1s"))
    gw.start()
    with socket.create_connection(("127.0.0.1", gw.port()), 5) as client:
        client.sendall(b"GET /stall HTTP/1.1\r\nHost: x\r\n\r\n")
        time.sleep(0.3)
        started = time.monotonic()
        assert gw.stop() == 0
        assert 0.9 < time.monotonic() - started < 5


def test_a_second_sigterm_hurries(gw, config):
    gw.write(config(drain="60s"))
    gw.start()
    with socket.create_connection(("127.0.0.1", gw.port()), 5) as client:
        client.sendall(b"GET /stall HTTP/1.1\r\nHost: x\r\n\r\n")
        time.sleep(0.3)
        started = time.monotonic()
        gw.signal(signal.SIGTERM)
        gw.wait_log("Draining, at most 60 s")
        gw.signal(signal.SIGTERM)
        assert gw.wait() == 0
        assert time.monotonic() - started < 10


def test_workers_drain_and_go_when_their_supervisor_is_killed(gw, config):
    temporary = gw.directory / "temporary"
    temporary.mkdir()
    gw.write(config())
    gw.start(environ={"TMPDIR": str(temporary)})
    port, workers = gw.port(), gw.children()
    assert list(temporary.rglob("plan-1.json"))
    answers = []
    slow = threading.Thread(target=lambda: answers.append(fetch(f"127.0.0.1:{port}", "/slow?seconds=1")))
    slow.start()
    time.sleep(0.3)
    os.kill(gw.pid, signal.SIGKILL)
    slow.join(10)
    assert [answer.status for answer in answers] == [200]
    until(lambda: not any(map(alive, workers)), "the workers are gone")
    assert _refused(port)
    assert not list(temporary.iterdir()), "a plan may hold secrets: nobody leaves one behind"


def test_a_worker_told_to_end_drains_and_is_replaced(gw, config):
    gw.write(config())
    gw.start()
    victim = min(gw.pids())
    with Load("127.0.0.1", gw.port(), connections=8) as load:
        load.wait(50)
        os.kill(victim, signal.SIGTERM)
        until(lambda: victim not in gw.pids() and len(gw.pids()) == 2, "a successor serves")
        load.wait(50)
    assert load.report.failed == 0, load.report


def test_the_counts_of_dead_workers_are_kept(gw, config):
    gw.write(config())
    gw.start()
    for _ in range(20):
        gw.fetch("/json")
    before = _requests(gw)
    time.sleep(1.5)  # the supervisor asks each second
    victims = gw.pids()
    for pid in victims:
        os.kill(pid, signal.SIGKILL)
    until(lambda: len(gw.pids() - victims) == 2, "successors serve")
    assert before == 20
    assert _requests(gw) == 20


def _requests(gw):
    text = gw.admin("/metrics").body.decode()
    lines = [line for line in text.splitlines() if line.startswith("suuupra_requests_total{")]
    return sum(float(line.rpartition(" ")[2]) for line in lines)


def test_without_workers_the_supervisor_serves(gw, config):
    gw.write(config(workers=0))
    gw.start()
    assert gw.fetch("/json").status == 200
    assert gw.children() == set()
    gw.signal(signal.SIGHUP)
    gw.wait_log("SIGHUP done, generation 2 serves")
    assert gw.fetch("/json").status == 200
    gw.signal(signal.SIGUSR2)
    gw.wait_log("SIGUSR2 done")
    assert gw.fetch("/json").status == 200
    assert gw.stop() == 0


def test_listeners_on_ipv6_and_unix_sockets(gw, config):
    listeners = (
        "- {name: public, address: '127.0.0.1:0'}\n  - {name: six, address: '[::1]:0'}\n"
        f"  - {{name: local, address: 'unix:{gw.directory}/gateway.sock'}}"
    )
    gw.write(config(listeners=listeners))
    gw.start()
    for name in ("public", "six", "local"):
        for _ in range(4):
            assert gw.fetch("/json", listener=name).status == 200, name
    gw.stop()
    assert not (gw.directory / "gateway.sock").exists()


def test_a_port_in_use_is_said_in_one_line(gw, config):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        gw.write(config(listeners=f"- {{name: public, address: '{address}'}}"))
        gw.start(wait=False)
        assert gw.wait() == 1
    assert gw.log.strip().splitlines()[-1].startswith(f"listener public: cannot listen on {address}: ")
    assert "Traceback" not in gw.log


def test_a_bad_configuration_is_said_with_its_place_and_nothing_starts(gw, config):
    gw.write(config().replace("upstream: origin", "upstream: nowhere"))
    gw.start(wait=False)
    assert gw.wait() == 1
    assert "gateway.yaml:" in gw.log
    assert "nowhere" in gw.log
    assert "Traceback" not in gw.log
    assert "Usage:" not in gw.log


def test_supervisor_and_workers_log_alike(gw, config):
    gw.write(config())
    gw.start(options=["--logger=suuupra_gateway.events.journal"])
    victim = min(gw.workers(), key=lambda worker: worker["slot"])
    with open(f"/proc/{victim['pid']}/environ", "rb") as environ:
        assert b"SUUUPRA_GATEWAY_LOGGER=suuupra_gateway.events.journal" in environ.read()
    gw.stop()
    lines = gw.log.splitlines()
    assert lines
    for line in lines:
        assert line.startswith("<6>{"), line


def test_as_a_daemon_it_leaves_the_terminal_and_logs_for_its_workers_too(gw, config):
    gw.write(config().replace('path: "off"', "path: '-'"))
    command = [str(TWISTD), "suuupra-gateway", "--config", str(gw.file)]
    started = subprocess.run(command, cwd=gw.directory, capture_output=True, timeout=PATIENCE, check=False)
    assert (started.returncode, started.stdout, started.stderr) == (0, b"", b"")
    pid = int((gw.directory / "twistd.pid").read_text())
    log = gw.directory / "twistd.log"
    try:
        until(lambda: "Ready: " in log.read_text(), log.read_text)
        address = re.search(r"Listener public on (\S+)", log.read_text()).group(1)
        assert fetch(address, "/json").status == 200
        until(lambda: '"path":"/json"' in log.read_text(), "what workers write is in the log")
    finally:
        os.kill(pid, signal.SIGTERM)
    until(lambda: not alive(pid), "it ends")
    assert not (gw.directory / "twistd.pid").exists()
