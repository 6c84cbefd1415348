"""Upstreams that fail and lie: the client sees an error or a broken message, never a whole-looking answer."""

import array
import fcntl
import os
import signal
import socket
import termios
import threading

import pytest

from tests.live.harness import gateway, until
from tests.live.wire import Broken, Stopwatch, Watch, Wire
from tests.servers.raw_origin import RawOrigin

PATIENT = "{connect: 1s, first-byte: 10s, idle: 10s, total: 20s}"


@pytest.fixture(scope="module")
def origin():
    with RawOrigin() as made:
        yield made


@pytest.fixture(scope="module")
def gw(tmp_path_factory, origin):
    directory = tmp_path_factory.mktemp("relay")
    # One worker: the request after a failure meets the very process that has just seen it.
    with gateway(directory) as made:
        made.write(f"""
gateway: {{workers: 1}}
admin: {{address: 127.0.0.1:0}}
access-log: {{path: {directory}/access.log}}
listeners: [{{name: public, address: 127.0.0.1:0}}]
upstreams:
  once: {{endpoints: ["{origin.url}"], timeouts: {PATIENT}, retry: {{attempts: 1}}}}
routes:
  - {{name: once, auth: none, target: {{proxy: {{upstream: once}}}}}}
""")
        made.start()
        yield made


@pytest.fixture(scope="module")
def watch(gw):
    return Watch(gw, gw.directory / "access.log")


@pytest.fixture(autouse=True)
def next_request_is_served(gw):
    """Whatever a test did, the same worker serves the next request at once, and nobody has complained."""
    pids = gw.pids()
    yield
    clock = Stopwatch()
    assert gw.fetch("/next").status == 200
    assert clock.seconds < 1
    assert gw.pids() == pids
    assert "Traceback" not in gw.log


OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"
LONG = OK + b"Content-Length: 1000\r\n\r\n"


def says(data):
    """Send this and nothing more, but stay."""

    def script(talk, request):
        talk.send(data)
        talk.wait()

    return script


def closes(data):
    """Send this, and close in order."""

    def script(talk, request):
        talk.send(data)
        talk.close()
        talk.wait()

    return script


def resets(data):
    """Send this, and reset the connection once it has arrived."""

    def script(talk, request):
        if data:
            talk.send(data)
            # A reset overtakes what is in the buffers.
            while talk.sock.fileno() >= 0 and _unsent(talk.sock):
                pass
        talk.reset()

    return script


def _unsent(sock):
    size = array.array("i", [0])
    fcntl.ioctl(sock, termios.TIOCOUTQ, size)
    return size[0]


def floods(data, piece):
    """Send this, then that for ever."""

    def script(talk, request):
        talk.send(data)
        talk.took = talk.flood(piece) or 1

    return script


BEFORE = {
    "reset before any byte": (resets(b""), 502, "upstream_closed"),
    "closed before any byte": (closes(b""), 502, "upstream_closed"),
    "reset in the status line": (resets(b"HTTP/1."), 502, "response_cut"),
    "reset in the head": (resets(OK + b"Content-Le"), 502, "response_cut"),
    "closed in the head": (closes(OK + b"Content-Le"), 502, "response_cut"),
    "closed behind an interim answer": (closes(b"HTTP/1.1 103 Early Hints\r\n\r\n"), 502, "response_cut"),
    "garbage": (says(b"\x16\x03\x01 this is no HTTP\r\n\r\n"), 502, "bad_response"),
    "an answer of another protocol": (says(b"RTSP/1.0 200 OK\r\n\r\n"), 502, "bad_response"),
    "HTTP/0.9": (closes(b"<html>hello</html>"), 502, "bad_response"),
    "HTTP/2": (says(b"HTTP/2.0 200 OK\r\n\r\n"), 502, "bad_response"),
    "status of two digits": (says(b"HTTP/1.1 20 OK\r\n\r\n"), 502, "bad_response"),
    "status 600": (says(b"HTTP/1.1 600 OK\r\nContent-Length: 0\r\n\r\n"), 502, "bad_response"),
    "endless fields": (floods(OK, b"X-A: " + b"b" * 1000 + b"\r\n"), 502, "bad_response"),
    "endless field": (floods(OK + b"X-A: ", b"b" * 65536), 502, "bad_response"),
    "endless reason": (floods(b"HTTP/1.1 200 ", b"b" * 65536), 502, "bad_response"),
    "too many fields": (says(OK + b"A: b\r\n" * 2000 + b"Content-Length: 0\r\n\r\n"), 502, "bad_response"),
    "CL and TE": (
        says(OK + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
        502,
        "bad_response",
    ),
    "TE and CL": (says(OK + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\nhello"), 502, "bad_response"),
    "two lengths": (says(OK + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello!"), 502, "bad_response"),
    "two equal lengths": (says(OK + b"Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello"), 502, "bad_response"),
    "list of lengths": (says(OK + b"Content-Length: 5, 5\r\n\r\nhello"), 502, "bad_response"),
    "negative length": (says(OK + b"Content-Length: -5\r\n\r\nhello"), 502, "bad_response"),
    "length with a sign": (says(OK + b"Content-Length: +5\r\n\r\nhello"), 502, "bad_response"),
    "length of 2^64": (says(OK + b"Content-Length: 18446744073709551616\r\n\r\n"), 502, "bad_response"),
    "unknown coding": (says(OK + b"Transfer-Encoding: gzip\r\n\r\n0\r\n\r\n"), 502, "bad_response"),
    "chunked twice": (says(OK + b"Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n"), 502, "bad_response"),
    "chunked by HTTP/1.0": (
        says(b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
        502,
        "bad_response",
    ),
    "space before the colon": (says(OK + b"Content-Length : 5\r\n\r\nhello"), 502, "bad_response"),
    "NUL in a value": (says(OK + b"A: b\0c\r\nContent-Length: 0\r\n\r\n"), 502, "bad_response"),
    "bare CR in a value": (says(OK + b"A: b\rc\r\nContent-Length: 0\r\n\r\n"), 502, "bad_response"),
    "field without a name": (says(OK + b": b\r\nContent-Length: 0\r\n\r\n"), 502, "bad_response"),
    "101 unasked": (
        says(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n"),
        502,
        "upgrade_refused",
    ),
    "endless interim answers": (floods(b"", b"HTTP/1.1 103 Early Hints\r\n\r\n"), 502, "bad_response"),
    "an interim answer without an end": (
        floods(b"HTTP/1.1 103 Early Hints\r\n", b"Link: </a>\r\n"),
        502,
        "bad_response",
    ),
}


@pytest.mark.parametrize("name", BEFORE)
def test_what_is_no_answer_becomes_an_error(gw, origin, watch, name):
    script, status, code = BEFORE[name]
    path = origin.at(script)
    before = watch.count("suuupra_errors_total", error=code, blame="upstream", route="once", service="once")
    with Wire(gw.address()) as client:
        answer = client.get(path)
        assert (answer.status, answer.code) == (status, code)
        assert answer.get("proxy-status").startswith("suuupra; error=")
        assert client.get("/kept").status == 200, "the client's connection is as good as before"
    line = watch.line(path)
    assert (line["status"], line["code"], line["source"], line["upstream_error"]) == (status, code, "gateway", code)
    assert line["request_id"] == answer.json["request_id"]
    after = watch.count("suuupra_errors_total", error=code, blame="upstream", route="once", service="once")
    assert after == before + 1
    assert len(origin.requests[path]) == 1, "nothing is tried again that must not be"


@pytest.mark.parametrize("name", ["endless fields", "endless field", "endless reason", "endless interim answers"])
def test_an_endless_head_is_not_read_to_its_end(gw, origin, name):
    path = origin.at(BEFORE[name][0])
    with Wire(gw.address()) as client:
        assert client.get(path).status == 502
    talk = origin.requests[path][0].talk
    # What both kernels buffer is taken from the origin, too; the limit itself is 64 KiB.
    assert until(lambda: talk.took, "the origin cannot send any more") < 16 << 20


WITHIN = {
    "reset in the body": (resets(LONG + b"x" * 100), "response_cut"),
    "too short": (closes(LONG + b"x" * 100), "response_cut"),
    "without any of its body": (closes(LONG), "response_cut"),
    "chunks without an end": (closes(CHUNKED + b"5\r\nhello\r\n"), "response_cut"),
    "chunk cut": (closes(CHUNKED + b"5\r\nhel"), "response_cut"),
    "chunks reset": (resets(CHUNKED + b"5\r\nhello\r\n"), "response_cut"),
    "trailers cut": (closes(CHUNKED + b"5\r\nhello\r\n0\r\nX-Sum: 1"), "response_cut"),
    "no chunk size": (says(CHUNKED + b"5\r\nhello\r\nbye\r\n"), "bad_response"),
    "chunk longer than its size": (says(CHUNKED + b"5\r\nhello!\r\n0\r\n\r\n"), "bad_response"),
    "chunk size of 2^64": (says(CHUNKED + b"5\r\nhello\r\n10000000000000000\r\nx"), "bad_response"),
    "endless chunk extension": (floods(CHUNKED + b"5\r\nhello\r\n5;", b"x" * 65536), "bad_response"),
    "endless trailers": (floods(CHUNKED + b"5\r\nhello\r\n0\r\n", b"A: b\r\n" * 1000), "bad_response"),
    "until closed, but reset": (resets(OK + b"\r\nhello"), "response_cut"),
}


@pytest.mark.parametrize("late", [False, True], ids=["at once", "after the head"])
@pytest.mark.parametrize("name", WITHIN)
def test_what_breaks_off_is_broken_for_the_client_too(gw, origin, watch, name, late):
    script, code = WITHIN[name]
    begun = threading.Event()
    late = late and name != "without any of its body"  # a head without a body waits in the gateway for its first piece

    def slowly(talk, request):
        send = talk.send

        def send_in_two(data):
            talk.send = send
            head, body = data.split(b"\r\n\r\n", 1)
            first = len(head) + 4 + (body.index(b"\r\n") + 3 if b"chunked" in head else 1)
            send(data[:first])
            assert begun.wait(10), "the client has seen nothing"
            send(data[first:])

        if late:
            talk.send = send_in_two
        script(talk, request)

    path = origin.at(slowly)
    with Wire(gw.address()) as client:
        client.head("GET", path)
        client.sock.recv(1, socket.MSG_PEEK)
        begun.set()
        try:
            answer = client.answer()
        except Broken:
            status = 200
        else:
            status = 502
            assert (answer.status, answer.code) == (502, code), "whole, but no upstream ever sent that"
            assert not late
    line = watch.line(path)
    assert (line["status"], line["code"], line["upstream_error"]) == (status, code, code)


POISON = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison"


def test_a_body_longer_than_its_length_is_cut_off_there(gw, origin):
    path = origin.at(says(OK + b"Content-Length: 100\r\n\r\n" + b"x" * 100 + POISON))
    with Wire(gw.address()) as client:
        for _ in range(5):
            answer = client.get(path)
            assert (answer.status, answer.body) == (200, b"x" * 100)
            assert b"poison" not in client.get("/next").body


def test_surplus_on_an_idle_connection_is_no_answer_to_anybody(gw, origin):
    def script(talk, request):
        talk.answer(b"first")
        assert said.wait(10)
        talk.send(POISON)
        talk.wait()

    said = threading.Event()
    path = origin.at(script)
    with Wire(gw.address()) as client:
        assert client.get(path).body == b"first"
        said.set()
        talk = origin.requests[path][0].talk
        until(lambda: talk.ended, "the connection is closed")
        assert b"poison" not in client.get("/next").body


def test_surplus_that_waits_in_the_kernel_is_no_answer_to_the_next_request(gw, origin):
    """The gateway takes the connection from the pool in the very turn of its loop in which it could see the surplus."""

    def script(talk, request):
        talk.answer(b"first")
        assert stopped.wait(10)
        talk.send(POISON)
        sent.set()
        talk.wait()

    stopped, sent = threading.Event(), threading.Event()
    path = origin.at(script)
    (worker,) = gw.pids()
    with Wire(gw.address()) as client:
        assert client.get(path).body == b"first"
        os.kill(worker, signal.SIGSTOP)
        try:
            stopped.set()
            assert sent.wait(10)
            client.head("GET", "/next")
        finally:
            os.kill(worker, signal.SIGCONT)
        assert b"poison" not in client.answer().body


def test_answers_with_no_framing_end_with_the_connection(gw, origin, watch):
    path = origin.at(closes(OK + b"X-A: b\r\n\r\nhello"))
    with Wire(gw.address()) as client:
        answer = client.get(path)
        assert (answer.status, answer.body, answer.all("transfer-encoding")) == (200, b"hello", ["chunked"])
        assert client.get("/kept").status == 200
    assert watch.line(path)["code"] is None


def test_an_origin_of_http_1_0_is_understood(gw, origin):
    path = origin.at(closes(b"HTTP/1.0 200 OK\r\nConnection: X-Secret\r\nX-Secret: 1\r\n\r\nhello"))
    with Wire(gw.address()) as client:
        answer = client.get(path)
    assert (answer.version, answer.status, answer.body) == ("HTTP/1.1", 200, b"hello")
    assert answer.get("x-secret") is None
    assert answer.get("via") == "1.0 suuupra"


def test_interim_answers_are_not_taken_for_the_final_one(gw, origin):
    def script(talk, request):
        talk.send(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n")
        talk.answer(b"final")

    with Wire(gw.address()) as client:
        assert client.get(origin.at(script)).body == b"final"


@pytest.mark.parametrize("status", [204, 304])
def test_answers_without_a_body_end_with_their_head(gw, origin, status):
    def script(talk, request):
        talk.send(b"HTTP/1.1 %d x\r\nETag: 1\r\n\r\n" % status)

    path = origin.at(script)
    with Wire(gw.address()) as client:
        for _ in range(3):
            answer = client.get(path)
            assert (answer.status, answer.body, answer.get("etag")) == (status, b"", "1")
            assert status != 204 or answer.get("content-length") is None
        assert client.get("/next").status == 200


def test_errors_of_the_upstream_itself_pass_as_they_are(gw, origin, watch):
    path = origin.at(lambda talk, request: talk.answer(b"mine", b"X-Gateway-Error: forged", status=503))
    with Wire(gw.address()) as client:
        answer = client.get(path)
    assert (answer.status, answer.body, answer.get("x-gateway-error")) == (503, b"mine", None)
    line = watch.line(path)
    assert (line["status"], line["source"], line["code"]) == (503, "upstream", None)
