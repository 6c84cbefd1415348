"""Time limits of upstreams, and clients that leave."""

import contextlib
import socket
import threading
import time

import pytest

from tests.live.harness import gateway, until
from tests.live.wire import Broken, Stopwatch, Watch, Wire
from tests.servers.raw_origin import RawOrigin

HASTY = "{connect: 300ms, first-byte: 500ms, idle: 500ms, total: 1500ms}"
PATIENT = "{connect: 1s, first-byte: 10s, idle: 10s, total: 20s, pool: 300ms}"


@pytest.fixture(scope="module")
def origin():
    with RawOrigin(receive_buffer=4096) as made:
        yield made


@pytest.fixture(scope="module")
def deaf():
    """The address of a listener whose queue is full, so that connecting takes for ever."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(4):
            sock = stack.enter_context(socket.socket())
            sock.setblocking(False)
            sock.connect_ex(listener.getsockname())
        yield f"127.0.0.1:{listener.getsockname()[1]}"


@pytest.fixture(scope="module")
def gw(tmp_path_factory, origin, deaf):
    directory = tmp_path_factory.mktemp("deadlines")
    routes = "".join(
        f"  - {{name: {name}, match: {{headers: {{x-way: {name}}}}}, auth: none, target: {{proxy: {{upstream: {name}}}}}}}\n"
        for name in ("hasty", "one", "deaf", "narrow")
    )
    with gateway(directory) as made:
        made.write(f"""
gateway: {{workers: 1}}
admin: {{address: 127.0.0.1:0}}
access-log: {{path: {directory}/access.log}}
listeners: [{{name: public, address: 127.0.0.1:0}}]
upstreams:
  hasty: {{endpoints: ["{origin.url}"], timeouts: {HASTY}, retry: {{attempts: 1}}}}
  one: {{endpoints: ["{origin.url}"], timeouts: {PATIENT}}}
  deaf: {{endpoints: ["http://{deaf}"], timeouts: {HASTY}, retry: {{attempts: 1}}}}
  narrow: {{endpoints: ["{origin.url}"], timeouts: {PATIENT}, pool: {{connections: 1}}, retry: {{attempts: 1}}}}
routes:
{routes}
""")
        made.start()
        yield made


@pytest.fixture(scope="module")
def watch(gw):
    return Watch(gw, gw.directory / "access.log")


def way(name):
    return f"X-Way: {name}"


# -- upstreams --------------------------------------------------------------------------------------------------------

OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"
LONG = OK + b"Content-Length: 1000\r\n\r\n"

STALLS = {
    "before the head": (b"", "upstream_timeout"),
    "in the head": (OK + b"Content-", "upstream_timeout"),
    "behind an interim answer": (b"HTTP/1.1 103 Early Hints\r\n\r\n", "upstream_timeout"),
    "in the body": (LONG + b"x" * 100, "upstream_stalled"),
    "in the chunks": (CHUNKED + b"5\r\nhello\r\n", "upstream_stalled"),
    "before the body": (LONG, "upstream_stalled"),
}


@pytest.mark.parametrize("name", STALLS)
def test_stalls_end_in_time(gw, origin, watch, name):
    data, code = STALLS[name]

    def script(talk, request):
        talk.send(data)
        talk.wait()

    path = origin.at(script)
    clock = Stopwatch()
    with Wire(gw.address()) as client:
        client.head("GET", path, way("hasty"))
        try:
            answer = client.answer()
        except Broken:
            status = 200
        else:
            status = 504
            assert (answer.status, answer.code) == (504, code)
    assert 0.4 < clock.seconds < 1.4
    line = watch.line(path)
    assert (line["status"], line["code"], line["route"]) == (status, code, "hasty")
    talk = origin.requests[path][0].talk
    until(lambda: talk.ended, "the upstream's connection is closed", 1)


def test_an_upstream_that_drips_is_ended_by_the_total_time(gw, origin, watch):
    def script(talk, request):
        talk.send(CHUNKED)
        while True:
            talk.send(b"1\r\nx\r\n")
            time.sleep(0.1)

    path = origin.at(script)
    clock = Stopwatch()
    with Wire(gw.address()) as client, pytest.raises(Broken) as broken:
        client.get(path, way("hasty"))
    assert 1.4 < clock.seconds < 2.5
    assert len(broken.value.body) > 5
    assert watch.line(path)["code"] == "deadline_exceeded"


def test_an_upstream_that_does_not_read_the_body_is_given_up(gw, origin, watch):
    path = origin.at(lambda talk, request: time.sleep(5))
    clock = Stopwatch()
    with Wire(gw.address()) as client:
        client.head("POST", path, way("hasty"), "Content-Length: 8000000")
        client.sock.settimeout(5)
        with contextlib.suppress(OSError):  # it is cut off in the middle
            client.send(bytes(8_000_000))
        answer = client.answer("POST")
    assert (answer.status, answer.code) == (504, "upstream_timeout")
    assert clock.seconds < 3
    assert watch.line(path)["bytes_in"] < 8_000_000


def test_connecting_takes_no_longer_than_allowed(gw, watch):
    clock = Stopwatch()
    with Wire(gw.address()) as client:
        answer = client.get("/deaf", way("deaf"))
    assert (answer.status, answer.code) == (504, "upstream_connect_timeout")
    assert 0.25 < clock.seconds < 1.2
    line = watch.line("/deaf")
    assert (line["attempts"], line["connect_ms"]) == (1, None)


def test_waiting_for_a_connection_takes_no_longer_than_allowed(gw, origin, watch):
    release = threading.Event()

    def script(talk, request):
        assert release.wait(10)
        talk.answer()

    path = origin.at(script)
    with Wire(gw.address()) as first, Wire(gw.address()) as second:
        first.head("GET", path, way("narrow"))
        until(lambda: origin.requests[path], "the only connection is taken")
        clock = Stopwatch()
        answer = second.get("/full", way("narrow"))
        assert (answer.status, answer.code) == (503, "pool_full")
        assert 0.25 < clock.seconds < 1.2
        second.head("GET", "/after", way("narrow"))
        release.set()
        assert first.answer().status == 200
        assert second.answer().status == 200
    assert watch.line("/full")["code"] == "pool_full"


# -- clients that leave -----------------------------------------------------------------------------------------------


def leave(client, how):
    if how == "reset":
        client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    client.sock.close()


def check_abandoned(origin, watch, path, left):
    talk = origin.requests[path][0].talk
    until(lambda: talk.ended, "the upstream's connection is closed", 2)
    assert talk.ended - left < 1
    line = watch.line(path)
    assert (line["status"], line["code"], line["upstream_error"]) == (499, "client_gone", None)


@pytest.mark.parametrize("how", ["close", "reset"])
def test_a_client_that_leaves_before_the_answer_takes_the_request_along(gw, origin, watch, how):
    path = origin.at(lambda talk, request: talk.wait())
    blamed = watch.count("suuupra_errors_total", error="client_gone", blame="client")
    with Wire(gw.address()) as client:
        client.head("GET", path, way("one"))
        until(lambda: origin.requests[path], "it is there")
        leave(client, how)
        left = time.monotonic()
    check_abandoned(origin, watch, path, left)
    assert watch.count("suuupra_errors_total", error="client_gone", blame="client") == blamed + 1


@pytest.mark.parametrize("how", ["close", "reset"])
def test_a_client_that_leaves_in_the_middle_takes_the_answer_along(gw, origin, watch, how):
    def script(talk, request):
        with contextlib.suppress(OSError):
            talk.send(CHUNKED)
            while True:
                talk.send(b"5\r\nhello\r\n")
                time.sleep(0.01)
        talk.ended = time.monotonic()

    path = origin.at(script)
    with Wire(gw.address()) as client:
        client.head("GET", path, way("one"))
        assert client.sock.recv(10)
        leave(client, how)
        left = time.monotonic()
    check_abandoned(origin, watch, path, left)


def test_a_client_that_leaves_in_its_own_body_leaves_no_whole_request(gw, origin, watch):
    def script(talk, request):
        with contextlib.suppress(EOFError):
            talk.body(request)
            request.whole = True

    path = origin.at(script)
    with Wire(gw.address()) as client:
        client.head("POST", path, way("one"), "Transfer-Encoding: chunked")
        client.send(b"5\r\nhello\r\n")
        until(lambda: origin.requests[path] and b"hello" in origin.requests[path][0].talk.seen, "it is there")
        leave(client, "close")
        left = time.monotonic()
    check_abandoned(origin, watch, path, left)
    assert not hasattr(origin.requests[path][0], "whole")
    assert origin.requests[path][0].followed == b"5\r\nhello\r\n"


def test_a_client_that_leaves_while_a_connection_is_made_is_not_waited_for(gw, watch):
    with Wire(gw.address()) as client:
        client.head("GET", "/deaf-left", way("deaf"))
        time.sleep(0.1)  # it is on its way
        leave(client, "close")
        clock = Stopwatch()
    assert watch.line("/deaf-left")["status"] == 499
    assert clock.seconds < 1
