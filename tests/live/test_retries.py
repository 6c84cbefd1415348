"""Attempts that are repeated, and those that must not be."""

import contextlib
import socket
import threading

import pytest

from tests.live.harness import gateway, until
from tests.live.wire import Broken, Watch, Wire
from tests.servers.raw_origin import RawOrigin

TIMEOUTS = "{connect: 1s, first-byte: 10s, idle: 10s, total: 20s}"


@pytest.fixture(scope="module")
def origin():
    with RawOrigin() as made:
        yield made


@pytest.fixture(scope="module")
def other():
    with RawOrigin() as made:
        yield made


@pytest.fixture(scope="module")
def nobody():
    """An address that refuses connections."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{sock.getsockname()[1]}"


@pytest.fixture(scope="module")
def gw(tmp_path_factory, origin, other, nobody):
    directory = tmp_path_factory.mktemp("retries")
    routes = "".join(
        f"  - {{name: {name}, match: {{headers: {{x-way: {name}}}}}, auth: none, target: {{proxy: {{upstream: {name}}}}}}}\n"
        for name in ("one", "nobody", "half", "pair", "keyed")
    )
    with gateway(directory) as made:
        made.write(f"""
gateway: {{workers: 1}}
admin: {{address: 127.0.0.1:0}}
access-log: {{path: {directory}/access.log}}
listeners: [{{name: public, address: 127.0.0.1:0}}]
upstreams:
  one: {{endpoints: ["{origin.url}"], timeouts: {TIMEOUTS}}}
  nobody: {{endpoints: ["http://{nobody}"], timeouts: {TIMEOUTS}}}
  half: {{endpoints: ["http://{nobody}", "{origin.url}"], balance: round-robin, timeouts: {TIMEOUTS}}}
  # No idle connections, because one that breaks leads to another attempt at the same peer.
  pair:
    endpoints: ["{origin.url}", "{other.url}"]
    balance: round-robin
    timeouts: {TIMEOUTS}
    pool: {{idle: 0}}
  keyed: {{endpoints: ["{origin.url}"], timeouts: {TIMEOUTS}, retry: {{idempotency-key: Idempotency-Key}}, pool: {{idle: 0}}}}
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


def requests(path, *origins):
    """What all of them got, in order of the attempts."""
    found = [request for origin in origins for request in origin.requests[path]]
    return sorted(found, key=lambda request: int(request.get("x-request-attempt")))


def attempts(path, *origins):
    return [request.get("x-request-attempt") for request in requests(path, *origins)]


LONG = b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n"


def test_a_refused_connection_is_tried_twice_and_told(gw, watch):
    with Wire(gw.address()) as client:
        answer = client.get("/nobody", way("nobody"))
    assert (answer.status, answer.code) == (502, "upstream_refused")
    assert watch.line("/nobody")["attempts"] == 2
    assert watch.count("suuupra_upstream_connect_failures_total", service="nobody") == 2


def second(talk, request):
    talk.body(request)
    talk.answer(b"second")


def once(first, then=second):
    """Do one thing at the first attempt, another at later ones, whoever gets them."""
    seen = []

    def script(talk, request):
        seen.append(request)
        (first if len(seen) == 1 else then)(talk, request)

    return script


def reset(talk, request):
    talk.body(request)
    talk.reset()


def both(origin, other, script):
    path = origin.at(script)
    return other.at(script, path)


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "OPTIONS"])
def test_what_can_be_repeated_goes_to_the_other_peer(gw, origin, other, watch, method):
    path = both(origin, other, once(reset, lambda talk, request: (talk.body(request), talk.answer(b"", status=204))))
    retries = watch.count("suuupra_upstream_retries_total", service="pair")
    with Wire(gw.address()) as client:
        answer = client.post(path, b"hello", way("pair"), method=method)
    assert answer.status == 204
    first, second = requests(path, origin, other)
    assert (first.get("x-request-attempt"), second.get("x-request-attempt")) == ("1", "2")
    assert (first.body, second.body) == (b"hello", b"hello")
    assert first.get("x-request-id") == second.get("x-request-id")
    assert int(second.get("x-request-timeout-ms")) <= int(first.get("x-request-timeout-ms")) <= 20_000
    assert len(origin.requests[path]) == len(other.requests[path]) == 1
    line = watch.line(path)
    assert (line["attempts"], line["code"], line["upstream_error"]) == (2, None, "upstream_closed")
    assert watch.count("suuupra_upstream_retries_total", service="pair") == retries + 1


@pytest.mark.parametrize("method", ["POST", "PATCH"])
def test_what_cannot_be_repeated_is_not(gw, origin, other, watch, method):
    path = both(origin, other, reset)
    with Wire(gw.address()) as client:
        answer = client.post(path, b"hello", way("pair"), method=method)
    assert (answer.status, answer.code) == (502, "upstream_closed")
    assert attempts(path, origin, other) == ["1"]
    assert watch.line(path)["attempts"] == 1


def test_what_was_never_sent_is_sent_elsewhere_whatever_it_is(gw, origin):
    def script(talk, request):
        talk.body(request)
        talk.answer(request.body)

    path = origin.at(script)
    with Wire(gw.address()) as client:
        for _ in range(4):  # every other one is refused first
            assert client.post(path, b"hello", way("half")).body == b"hello"
    assert sorted(attempts(path, origin)) == ["1", "1", "2", "2"]


def test_a_post_with_a_key_may_be_repeated_where_that_is_configured(gw, origin):
    path = origin.at(once(reset))
    with Wire(gw.address()) as client:
        assert client.post(path, b"hello", way("keyed"), "Idempotency-Key: 1").body == b"second"
    path = origin.at(once(reset))
    with Wire(gw.address()) as client:
        assert client.post(path, b"hello", way("keyed")).status == 502


def test_bodies_that_are_not_kept_are_not_sent_twice(gw, origin, other):
    path = both(origin, other, reset)
    with Wire(gw.address()) as client:
        assert client.post(path, bytes(100_000), way("pair"), method="PUT").code in ("upstream_closed", "response_cut")
    assert attempts(path, origin, other) == ["1"]


def test_503_is_repeated_and_the_last_answer_passes(gw, origin, other, watch):
    path = both(origin, other, once(lambda talk, request: talk.answer(b"busy", status=503)))
    with Wire(gw.address()) as client:
        assert client.get(path, way("pair")).body == b"second"
    path = both(origin, other, lambda talk, request: talk.answer(b"busy", status=503))
    with Wire(gw.address()) as client:
        answer = client.get(path, way("pair"))
    assert (answer.status, answer.body, answer.code) == (503, b"busy", None)
    assert watch.line(path)["attempts"] == 2


def test_retry_after_is_honoured(gw, origin, other):
    path = both(origin, other, once(lambda talk, request: talk.answer(b"", b"Retry-After: 5", status=503)))
    with Wire(gw.address()) as client:
        assert client.get(path, way("pair")).status == 503
    assert attempts(path, origin, other) == ["1"]


def test_nothing_is_repeated_once_the_client_has_seen_some_of_it(gw, origin, other, watch):
    begun = threading.Event()

    def script(talk, request):
        talk.send(LONG + b"x" * 100)
        assert begun.wait(10)
        talk.reset()

    path = both(origin, other, script)
    with Wire(gw.address()) as client:
        client.head("GET", path, way("pair"))
        client.sock.recv(1, socket.MSG_PEEK)
        begun.set()
        with pytest.raises(Broken):
            client.answer()
    assert attempts(path, origin, other) == ["1"]


@pytest.mark.parametrize(("method", "status"), [("GET", 200), ("PUT", 200), ("POST", 502)])
def test_a_stale_connection_costs_a_repeatable_request_nothing(gw, origin, watch, method, status):
    """The origin closes an idle connection in the very moment in which the next request comes."""
    path = origin.at(once(lambda talk, request: (talk.body(request), talk.answer()), once(reset)))
    with Wire(gw.address()) as client:
        assert client.post(path, b"hello", way("one"), method=method).status == 200
        assert client.post(path, b"hello", way("one"), method=method).status == status
    first, second, *third = origin.requests[path]
    assert first.talk is second.talk, "the idle connection was taken"
    if status == 200:
        assert third[0].talk is not first.talk
        assert third[0].body == b"hello"
    assert [request.get("x-request-attempt") for request in third] == (["2"] if status == 200 else [])


def test_retries_are_bounded_by_a_budget(gw, origin, watch):
    """Of eight requests that fail together three are repeated: the floor of the budget."""
    gathered, release = threading.Barrier(8), threading.Event()

    def script(talk, request):
        if request.get("x-request-attempt") == "1":
            gathered.wait(10)
            talk.reset()
        else:
            assert release.wait(10)
            talk.answer()

    path = origin.at(script)
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(Wire(gw.address())) for _ in range(8)]
        for client in clients:
            client.head("GET", path, way("one"))
        until(lambda: len(watch.lines(path)) == 5, "five have failed for good")
        release.set()
        answers = [client.answer().status for client in clients]
    assert sorted(answers) == [200] * 3 + [502] * 5
