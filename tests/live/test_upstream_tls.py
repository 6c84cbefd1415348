"""Upstreams over TLS, whom to trust and whom not; and over UNIX sockets."""

import socket
import ssl
import threading
import warnings

import pytest

from tests.live.harness import gateway, until
from tests.live.wire import Broken, Watch, Wire
from tests.net.certificates import Authority
from tests.servers.raw_origin import RawOrigin

HELLO = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


def serving(certificate, ca_file=""):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    if ca_file:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(ca_file)
    return context


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    return tmp_path_factory.mktemp("tls")


@pytest.fixture(scope="module")
def trusted(directory):
    return Authority(directory)


@pytest.fixture(scope="module")
def origins(directory, trusted):
    """By name of the upstream: its origin and what is to be said of TLS."""
    good = trusted.issue("127.0.0.1", "service.example")
    client = trusted.issue("gateway.example")
    stranger = Authority(directory, "stranger")
    names = []
    sniffing = serving(good)
    sniffing.sni_callback = lambda sock, name, context: names.append(name)
    legacy = serving(good)
    with warnings.catch_warnings(action="ignore", category=DeprecationWarning):
        legacy.minimum_version = ssl.TLSVersion.TLSv1
        legacy.maximum_version = ssl.TLSVersion.TLSv1_1
    trust = f"ca-file: {trusted.file}"
    mutual = serving(good, trusted.file)
    found = {
        "good": (RawOrigin(tls=serving(good)), trust),
        "named": (RawOrigin(tls=sniffing), f"{trust}, server-name: service.example"),
        "misnamed": (RawOrigin(tls=serving(good)), f"{trust}, server-name: other.example"),
        "expired": (RawOrigin(tls=serving(trusted.issue("127.0.0.1", days=-1))), trust),
        "strange": (RawOrigin(tls=serving(stranger.issue("127.0.0.1", file="strange.pem"))), trust),
        "untrusting": (RawOrigin(tls=serving(good)), ""),
        "careless": (RawOrigin(tls=serving(stranger.issue("other.example"))), "verify: false"),
        "mutual": (RawOrigin(tls=mutual), f"{trust}, certificate: {client}"),
        "anonymous": (RawOrigin(tls=mutual), trust),
        "legacy": (RawOrigin(tls=legacy), trust),
        "plain": (RawOrigin(first=lambda talk: (talk.read(), talk.send(HELLO))), trust),
        "hasty": (RawOrigin(first=lambda talk: talk.send(HELLO)), trust),
        "silent": (RawOrigin(first=lambda talk: talk.wait()), trust),
        "resetting": (RawOrigin(first=lambda talk: (talk.read(), talk.reset())), trust),
        "socket": (RawOrigin(path=str(directory / "origin.sock")), ""),
    }
    found["named"][0].names = names
    yield {name: origin for name, (origin, _) in found.items()}, {name: tls for name, (_, tls) in found.items()}
    for origin, _ in found.values():
        origin.__exit__()


@pytest.fixture(scope="module")
def gw(directory, origins):
    servers, tls = origins
    upstreams, routes = "", ""
    for name, origin in servers.items():
        url = origin.url.replace("http:", "https:")
        upstreams += f"  {name}: {{endpoints: ['{url}'], timeouts: {{tls: 500ms}}, tls: {{{tls[name]}}}}}\n"
        routes += (
            f"  - {{name: {name}, match: {{prefix: /{name}}}, auth: none, target: {{proxy: {{upstream: {name}}}}}}}\n"
        )
    with gateway(directory) as made:
        made.write(f"""
gateway: {{workers: 1}}
admin: {{address: 127.0.0.1:0}}
access-log: {{path: {directory}/access.log}}
listeners: [{{name: public, address: 127.0.0.1:0}}]
upstreams:
{upstreams}
routes:
{routes}
""")
        made.start()
        yield made
        assert "Traceback" not in made.log


@pytest.fixture(scope="module")
def watch(gw, directory):
    return Watch(gw, directory / "access.log")


@pytest.mark.parametrize("name", ["good", "named", "careless", "mutual"])
def test_upstreams_are_spoken_to_over_tls(gw, origins, name):
    origin = origins[0][name]
    with Wire(gw.address()) as client:
        for _ in range(3):
            answer = client.get(f"/{name}/x")
            assert (answer.status, answer.json["target"]) == (200, f"/{name}/x")
        body = bytes(range(256)) * 4096
        path = origin.at(lambda talk, request: (talk.body(request), talk.answer(request.body)), f"/{name}/body")
        assert client.post(path, body).body == body
    (talk,) = origin.talks
    assert talk.sock.version() in ("TLSv1.2", "TLSv1.3"), "one handshake for all of them"


def test_the_name_that_is_expected_is_asked_for(origins):
    assert set(origins[0]["named"].names) == {"service.example"}


REFUSED = {
    "misnamed": (502, "upstream_certificate_refused"),
    "expired": (502, "upstream_certificate_refused"),
    "strange": (502, "upstream_certificate_refused"),
    "untrusting": (502, "upstream_certificate_refused"),
    "legacy": (502, "upstream_tls_failed"),
    "plain": (502, "upstream_tls_failed"),
    "hasty": (502, "upstream_tls_failed"),
    "resetting": (502, "upstream_tls_failed"),
    "silent": (504, "upstream_connect_timeout"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_nothing_is_sent_to_whom_is_not_trusted(gw, origins, watch, name):
    origin = origins[0][name]
    with Wire(gw.address()) as client:
        answer = client.post(f"/{name}/x", b"secret")
        assert (answer.status, answer.code) == REFUSED[name]
        assert set(answer.json) <= {"type", "title", "status", "code", "request_id"}, "details are for logs"
    assert not origin.requests
    line = watch.line(f"/{name}/x")
    assert (line["code"], line["upstream_error"]) == (answer.code, answer.code)
    assert line["message"]


def test_an_upstream_that_wants_a_certificate_gets_nothing_without(gw, origins):
    origin = origins[0]["anonymous"]
    with Wire(gw.address()) as client:
        answer = client.get("/anonymous/x")
    # With TLS 1.3 our side of the handshake is complete before the other has looked for the certificate (RFC 8446 section 2).
    assert answer.status == 502
    assert answer.code in ("upstream_tls_failed", "upstream_closed")
    assert not origin.requests


@pytest.mark.parametrize("late", [False, True], ids=["at once", "after the head"])
@pytest.mark.parametrize("framing", ["length", "chunks", "until closed"])
def test_a_tls_connection_that_is_cut_is_no_end_of_an_answer(gw, origins, framing, late):
    """Without close_notify anybody on the way could have cut it (RFC 8446 section 6.1, RFC 9112 section 9.8)."""
    begun = threading.Event()

    def script(talk, request):
        fields = {"length": b"Content-Length: 100\r\n", "chunks": b"Transfer-Encoding: chunked\r\n"}.get(framing, b"")
        talk.send(b"HTTP/1.1 200 OK\r\n" + fields + b"\r\n5\r\nhello\r\n")
        assert not late or begun.wait(10)
        socket.socket(fileno=talk.sock.detach()).close()

    path = origins[0]["good"].at(script, f"/good/cut-{framing.replace(' ', '-')}-{late}")
    with Wire(gw.address()) as client:
        client.head("GET", path)
        client.sock.recv(1, socket.MSG_PEEK)
        begun.set()
        try:
            answer = client.answer()
        except Broken:
            pass
        else:
            assert (answer.status, answer.code) == (502, "response_cut")


def test_a_tls_connection_that_is_closed_in_order_ends_an_answer(gw, origins):
    def script(talk, request):
        talk.send(b"HTTP/1.1 200 OK\r\n\r\nhello")
        talk.sock.unwrap()

    path = origins[0]["good"].at(script, "/good/closed")
    with Wire(gw.address()) as client:
        assert client.get(path).body == b"hello"


def test_upstreams_are_spoken_to_over_unix_sockets(gw, origins, watch):
    origin = origins[0]["socket"]
    with Wire(gw.address()) as client:
        for _ in range(3):
            assert client.get("/socket/x").json["target"] == "/socket/x"
    until(lambda: len(watch.lines("/socket/x")) == 3, "all are logged")
    assert watch.lines("/socket/x")[0]["peer"] == origin.url
    assert len(origin.talks) == 1
