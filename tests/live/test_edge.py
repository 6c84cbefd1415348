"""What clients may do on a connection, and how long they may take for it."""

import contextlib
import hashlib
import socket
import threading

import pytest

from tests.live.harness import gateway, until
from tests.live.wire import Broken, Stopwatch, Watch, Wire, memory
from tests.servers.raw_origin import RawOrigin


@pytest.fixture(scope="module")
def origin():
    with RawOrigin() as made:
        yield made


@pytest.fixture(scope="module")
def gw(tmp_path_factory, origin):
    directory = tmp_path_factory.mktemp("edge")
    with gateway(directory) as made:
        made.write(f"""
gateway: {{workers: 1}}
admin: {{address: 127.0.0.1:0}}
access-log: {{path: {directory}/access.log}}
listeners:
  - {{name: public, address: 127.0.0.1:0}}
  - {{name: six, address: "[::1]:0"}}
  - {{name: hasty, address: 127.0.0.1:0, timeouts: {{head: 500ms, idle: 500ms, body: 500ms, write: 1s}}}}
  - {{name: tight, address: 127.0.0.1:0, limits: {{requests: 3, connections: 4, body: 1000B}}}}
upstreams:
  origin: {{endpoints: ["{origin.url}"], timeouts: {{total: 60s}}}}
routes:
  - {{name: all, auth: none, target: {{proxy: {{upstream: origin}}}}}}
""")
        made.start()
        yield made
        assert "Traceback" not in made.log


@pytest.fixture(scope="module")
def watch(gw):
    return Watch(gw, gw.directory / "access.log")


# -- conversations ----------------------------------------------------------------------------------------------------


def test_pipelined_requests_are_answered_in_order(gw, origin):
    gate = threading.Event()

    def first(talk, request):
        assert gate.wait(10)
        talk.answer(b"first")

    paths = [origin.at(first)]
    paths += [origin.at(lambda talk, request, n=n: (talk.body(request), talk.answer(b"%d" % n))) for n in range(1, 30)]
    with Wire(gw.address()) as client:
        for number, path in enumerate(paths):
            fields = "Content-Length: 5\r\n\r\nhello" if number % 3 == 2 else "X-A: b\r\n\r\n"
            client.send(f"{'POST' if number % 3 == 2 else 'GET'} {path} HTTP/1.1\r\nHost: a\r\n{fields}".encode())
        until(lambda: origin.requests[paths[0]], "the first is there")
        assert not any(origin.requests[path] for path in paths[1:]), "one at a time"
        gate.set()
        assert [client.answer().body for _ in paths] == [b"first", *(b"%d" % n for n in range(1, 30))]


def test_what_is_pipelined_behind_an_error_is_answered_too(gw, origin):
    bad = origin.at(lambda talk, request: talk.reset())
    good = origin.at(lambda talk, request: talk.answer(b"good"))
    with Wire(gw.address()) as client:
        client.send(f"GET {bad} HTTP/1.1\r\nHost: a\r\n\r\nGET {good} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
        assert [client.answer().status, client.answer().body] == [502, b"good"]


def test_what_is_pipelined_behind_a_malformed_request_is_not_looked_at(gw, origin):
    good = origin.at(lambda talk, request: talk.answer(b"good"))
    with Wire(gw.address()) as client:
        client.send(f"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\nGET {good} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
        answer = client.answer()
        assert (answer.status, answer.code, answer.get("connection")) == (400, "bad_request", "close")
        assert client.end() == b""
    assert not origin.requests[good]


def test_requests_on_a_connection_are_counted(gw, origin):
    with Wire(gw.address("tight")) as client:
        assert [client.get("/json").get("connection") for _ in range(3)] == [None, None, "close"]
        assert client.end() == b""


def test_connections_beyond_the_cap_are_closed_at_once(gw, watch):
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(Wire(gw.address("tight"))) for _ in range(4)]
        assert [client.get("/json").status for client in clients] == [200] * 4
        refused = watch.count("suuupra_connections_refused_total", listener="tight")
        surplus = stack.enter_context(Wire(gw.address("tight")))
        assert surplus.end() == b""
        assert watch.count("suuupra_connections_refused_total", listener="tight") == refused + 1
        assert clients[0].get("/json").status == 200, "those that are open are not disturbed"
        clients[1].sock.close()

        def again():
            with Wire(gw.address("tight")) as client, contextlib.suppress(OSError, Broken):
                return client.get("/json").status == 200

        until(again, "there is room again", 3)


def test_head_has_the_fields_of_get_and_no_body(gw, origin):
    def script(talk, request):
        talk.send(b"HTTP/1.1 200 OK\r\nContent-Length: 12345\r\nETag: 1\r\n\r\n")

    path = origin.at(script)
    with Wire(gw.address()) as client:
        for _ in range(3):
            answer = client.get(path, method="HEAD")
            assert (answer.status, answer.get("content-length"), answer.get("etag")) == (200, "12345", "1")
        assert client.get("/json").status == 200
        missing = client.get(origin.at(lambda talk, request: talk.reset()), method="HEAD")
        assert (missing.status, missing.body, missing.get("x-gateway-error")) == (502, b"", "upstream_closed")


def test_http_1_0_clients_get_answers_that_they_understand(gw, origin):
    path = origin.at(
        lambda talk, request: talk.send(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX-Sum: 1\r\n\r\n"
        )
    )
    with Wire(gw.address()) as client:
        client.send(f"GET {path} HTTP/1.0\r\n\r\n".encode())
        answer = client.answer()
        assert (answer.status, answer.body, answer.all("transfer-encoding")) == (200, b"hello", [])
    request = origin.requests[path][0]
    assert request.raw.startswith(f"GET {path} HTTP/1.1\r\n".encode())
    assert request.get("via") == "1.0 suuupra"
    with Wire(gw.address()) as client:
        for _ in range(3):
            client.send(b"GET /json HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n")
            answer = client.answer()
            assert (answer.status, answer.get("connection")) == (200, "keep-alive")


def test_an_answer_that_breaks_off_is_broken_for_http_1_0_too(gw, origin):
    """Only the end of the connection ends such a body, so that a reset has to tell."""

    def script(talk, request):
        talk.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")
        assert begun.wait(10)
        talk.close()

    begun = threading.Event()
    path = origin.at(script)
    with Wire(gw.address()) as client:
        client.send(f"GET {path} HTTP/1.0\r\n\r\n".encode())
        client.sock.recv(1, socket.MSG_PEEK)
        begun.set()
        with pytest.raises(Broken, match="reset"):
            client.answer()


def test_ipv6_clients_are_served_and_told_of(gw, origin, watch):
    path = origin.at(lambda talk, request: talk.answer())
    with Wire(gw.address("six")) as client:
        assert client.get(path).status == 200
    assert origin.requests[path][0].get("x-forwarded-for") == "::1"
    line = watch.line(path)
    assert (line["client_ip"], line["listener"]) == ("::1", "six")


def test_continue_is_said_when_the_body_is_wanted(gw, origin):
    def script(talk, request):
        talk.body(request)
        talk.answer(request.body)

    path = origin.at(script)
    with Wire(gw.address()) as client:
        for framing, body in (
            ("Content-Length: 5", b"hello"),
            ("Transfer-Encoding: chunked", b"5\r\nhello\r\n0\r\n\r\n"),
        ):
            client.head("POST", path, framing, "Expect: 100-continue")
            assert client.sock.recv(1000) == b"HTTP/1.1 100 Continue\r\n\r\n"
            client.send(body)
            assert client.answer().body == b"hello"
    assert origin.requests[path][0].get("expect") is None, "we have promised to take it"


def test_continue_is_not_said_for_a_body_that_is_too_long(gw, origin):
    path = origin.at(lambda talk, request: talk.answer())
    with Wire(gw.address("tight")) as client:
        client.head("POST", path, "Content-Length: 1001", "Expect: 100-continue")
        answer = client.answer()
        assert (answer.status, answer.code, answer.interim) == (413, "body_too_large", [])
        assert client.end() == b""
    assert not origin.requests[path]


def test_a_chunked_body_that_grows_too_long_is_never_whole_for_the_upstream(gw, origin, watch):
    path = origin.at(lambda talk, request: talk.wait())
    with Wire(gw.address("tight")) as client:
        client.head("POST", path, "Transfer-Encoding: chunked")
        client.send(b"1f4\r\n", bytes(500), b"\r\n")
        until(lambda: origin.requests[path], "it is under way")
        client.send(b"1f5\r\n", bytes(501), b"\r\n0\r\n\r\n")
        answer = client.answer()
        assert (answer.status, answer.code) == (413, "body_too_large")
    (request,) = origin.requests[path]
    until(lambda: request.talk.ended, "the upstream's connection is closed", 2)
    assert b"\r\n0\r\n" not in request.followed
    assert watch.line(path)["upstream_error"] is None, "the upstream is not to blame"


def test_trailers_pass_both_ways(gw, origin):
    def script(talk, request):
        talk.body(request)
        talk.send(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX-Down: 2\r\nVia: forged\r\n\r\n"
        )

    path = origin.at(script)
    with Wire(gw.address()) as client:
        client.head("POST", path, "Transfer-Encoding: chunked", "TE: trailers")
        client.send(b"5\r\nhello\r\n0\r\nX-Up: 1\r\nX-User-Id: root\r\nX-Forwarded-For: 1.2.3.4\r\n\r\n")
        answer = client.answer()
        assert answer.body == b"ok"
        assert [(name.lower(), value) for name, value in answer.trailers] == [("x-down", "2")]
    (request,) = origin.requests[path]
    assert (request.body, request.trailers) == (b"hello", [("x-up", "1")])
    assert request.get("te") == "trailers"


@pytest.mark.parametrize("stays", [True, False], ids=["origin stays", "origin closes"])
def test_an_early_answer_reaches_a_client_that_is_still_sending(gw, origin, stays):
    def script(talk, request):
        talk.answer(b"too much", status=413)
        if not stays:
            talk.close()
        talk.wait()

    path = origin.at(script)
    with Wire(gw.address()) as client:
        client.head("POST", path, "Content-Length: 8000000")
        client.send(bytes(200_000))
        answer = client.answer()
        assert (answer.status, answer.body) == (413, b"too much")
    (request,) = origin.requests[path]
    until(lambda: request.talk.ended, "half a request is no place for the next one", 3)
    assert gw.fetch("/json").status == 200


# -- slow ones --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("said", [b"", b"G", b"GET / HTTP/1.1\r\nHost: a\r\nX-A"], ids=["nothing", "a byte", "half"])
def test_a_head_that_does_not_come_is_not_waited_for(gw, watch, said):
    clock = Stopwatch()
    with Wire(gw.address("hasty")) as client:
        client.send(said)
        if said:
            answer = client.answer()
            assert (answer.status, answer.code, answer.get("connection")) == (408, "request_timeout", "close")
        assert client.end() == b""
    assert 0.4 < clock.seconds < 1.5


def test_dripping_does_not_make_a_head_live_longer(gw):
    clock = Stopwatch()
    with Wire(gw.address("hasty")) as client, contextlib.suppress(OSError):
        for byte in b"GET / HTTP/1.1\r\nX-A: " + b"b" * 1000:
            client.send(bytes([byte]))
            if not client.open():
                break
        assert client.answer().status == 408
    assert clock.seconds < 1.5


def test_an_idle_connection_is_closed_without_a_word(gw):
    with Wire(gw.address("hasty")) as client:
        assert client.get("/json").status == 200
        clock = Stopwatch()
        assert client.end() == b""
    assert 0.4 < clock.seconds < 1.5


@pytest.mark.parametrize("framing", ["Content-Length: 1000", "Transfer-Encoding: chunked"])
def test_a_body_that_stops_is_not_waited_for(gw, origin, watch, framing):
    path = origin.at(lambda talk, request: talk.wait())
    clock = Stopwatch()
    with Wire(gw.address("hasty")) as client:
        client.head("POST", path, framing)
        client.send(b"5\r\nhello\r\n")
        answer = client.answer()
        assert (answer.status, answer.code) == (408, "request_timeout")
        assert 0.4 < clock.seconds < 1.5
    talk = origin.requests[path][0].talk
    until(lambda: talk.ended, "the upstream's connection is closed", 2)
    line = watch.line(path)
    assert (line["status"], line["upstream_error"]) == (408, None)


def test_a_body_that_drips_is_ended_by_its_rate(gw, origin):
    """Each byte is in time; together they are below 100 bytes per second."""
    path = origin.at(lambda talk, request: talk.wait())
    clock = Stopwatch()
    with Wire(gw.address("hasty")) as client:
        client.head("POST", path, "Content-Length: 1000")
        with contextlib.suppress(OSError):
            while client.open():
                client.send(b"x")
        assert client.answer().status == 408
    assert clock.seconds < 3


def test_others_are_served_while_many_are_slow(gw):
    with contextlib.ExitStack() as stack:
        for _ in range(200):
            stack.enter_context(Wire(gw.address())).send(b"GET / HTTP/1.1\r\nHost: ")
        clock = Stopwatch()
        with Wire(gw.address()) as client:
            assert [client.get("/json").status for _ in range(20)] == [200] * 20
        assert clock.seconds < 1


SIZE = 64 << 20


def pattern(number):
    """A mebibyte like no other."""
    return b"%16d" % number * 65536


def test_a_client_that_does_not_read_stops_the_upstream_and_loses_nothing(gw, origin, watch):
    sent = []

    def script(talk, request):
        talk.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % SIZE)
        for number in range(SIZE >> 20):
            talk.send(pattern(number))
            sent.append(number)

    path = origin.at(script)
    (worker,) = gw.pids()
    with Wire(gw.address(), receive_buffer=65536) as client:
        before = memory(worker)
        client.head("GET", path)

        def paused():
            count = len(sent)
            return not threading.Event().wait(0.4) and count == len(sent)

        until(paused, "the upstream is stopped")
        assert len(sent) < 16, "what kernels buffer, and little more"
        assert memory(worker) - before < 4 << 20
        assert gw.fetch("/json").status == 200, "others are served"
        digest = hashlib.sha256()
        answer = client.answer(each=digest.update)
        assert (answer.status, answer.get("content-length")) == (200, str(SIZE))
        assert memory(worker) - before < 4 << 20
        expected = hashlib.sha256()
        for number in range(SIZE >> 20):
            expected.update(pattern(number))
        assert digest.digest() == expected.digest()
        assert client.get("/json").status == 200
    assert watch.line(path)["bytes_out"] == SIZE


def test_a_client_that_never_reads_is_given_up(gw, origin, watch):
    path = origin.at(lambda talk, request: talk.flood(b"HTTP/1.1 200 OK\r\n\r\n" + bytes(1 << 20)))
    with Wire(gw.address("hasty"), receive_buffer=65536) as client:
        client.head("GET", path)
        clock = Stopwatch()
        line = watch.line(path)
        assert clock.seconds < 3
        assert (line["status"], line["code"]) == (499, "client_gone")
