"""What hostile clients do to a running gateway, and what it costs whom."""

from __future__ import annotations

import json
import re
import socket

import pytest

from tests.live.harness import until
from tests.live.wire import Broken, Stopwatch, Wire
from tests.servers.raw_origin import RawOrigin

FILES = 256


@pytest.fixture
def lonely():
    with RawOrigin() as made:
        yield made


def configured(config, origin, **more):
    """Everything goes to ``origin``, which scripts what it does and keeps what came."""
    return re.sub(r'endpoints: \["http://[^"]+"\]', f'endpoints: ["http://127.0.0.1:{origin.port}"]', config(**more))


@pytest.mark.parametrize(
    "field",
    [
        "Via: " + "a" * 32_000,
        "Via: " + "a," * 16_000,
        "Accept: text/html" + ",;" * 15_000,
        "Cookie: " + ";" * 32_000,
        "X-Forwarded-For: " + "," * 32_000,
        "Connection: " + ",".join(str(number) for number in range(6000)),
    ],
    ids=lambda field: field[:20],
)
def test_no_field_costs_more_than_it_weighs(gw, config, field):
    gw.write(config(workers=1))
    gw.start()
    with Wire(gw.address()) as client, Wire(gw.address()) as other:
        assert other.get("/json").status == 200
        watch = Stopwatch()
        client.head("GET", "/json", field)
        assert other.get("/json").status == 200
        assert client.answer().status == 200
        assert watch.seconds < 1.0


def test_connections_without_requests_leave_descriptors_for_the_others(gw, config):
    gw.write(config(workers=1))
    gw.start(wrapper=("prlimit", f"--nofile={FILES}:{FILES}"))
    gw.wait_log(r"256 open files allow 192 connections per listener")
    with Wire(gw.address()) as client:
        host, _, port = gw.address().rpartition(":")
        idle = [socket.create_connection((host, int(port))) for _ in range(2 * FILES)]
        try:
            assert client.get("/json").status == 200
        finally:
            for sock in idle:
                sock.close()
    until(lambda: _served(gw), "connections are taken again", 5)


def _served(gw):
    try:
        with Wire(gw.address()) as client:
            return client.get("/json").status == 200
    except (Broken, ConnectionError):
        return False


def test_workers_may_open_as_many_files_as_the_machine_allows(gw, config):
    gw.write(config(workers=1))
    gw.start(wrapper=("prlimit", f"--nofile={FILES}:4096"))
    (pid,) = gw.pids()
    with open(f"/proc/{pid}/limits") as limits:
        (line,) = [line for line in limits if line.startswith("Max open files")]
    assert line.split()[3:5] == ["4096", "4096"]


def test_a_proxy_that_announces_nobody_is_not_waited_for(gw, config):
    listeners = "- {name: public, address: '127.0.0.1:0', proxy-protocol: true}"
    gw.write(config(workers=1, listeners=listeners, gateway="trusted-proxies: [127.0.0.0/8]"))
    gw.start()
    with Wire(gw.address()) as silent, Wire(gw.address()) as proxy:
        proxy.send(b"PROXY TCP4 192.0.2.9 192.0.2.1 1234 80\r\n")
        assert proxy.get("/json").status == 200
        watch = Stopwatch()
        assert silent.end() == b""
        assert watch.seconds < 10


def test_what_the_admin_site_is_sent_goes_nowhere(gw, config):
    gw.write(config(workers=1))
    gw.start()
    address = gw.wait_log(r'Admin on ([^\s"]+)').group(1)
    with Wire(address) as client:
        client.head("POST", "/metrics", "Content-Length: 50000000", host="evil.example")
        for _ in range(50):
            client.send(b"x" * 1_000_000)
        assert client.answer().status == 421
    assert json.loads(gw.admin("/api/workers").body)["ready"]


def test_the_proxy_of_a_cgi_is_not_for_clients_to_choose(gw, config, lonely):
    seen = []

    def script(talk, request):
        seen.append(request)
        talk.answer()

    path = lonely.at(script)
    gw.write(
        configured(config, lonely, workers=1, listeners="- {name: public, address: '127.0.0.1:0', underscores: keep}")
    )
    gw.start()
    with Wire(gw.address()) as client:
        assert client.get(path, "Proxy: http://evil.example", "Transfer_Encoding: chunked", "X_Kept: 1").status == 200
    (request,) = seen
    assert request.all("x_kept") == ["1"]
    assert not request.all("proxy") + request.all("transfer_encoding")
