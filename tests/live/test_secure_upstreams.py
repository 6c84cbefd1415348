"""Upstreams behind TLS and behind UNIX sockets, by a real gateway."""

from __future__ import annotations

import hashlib
import http.server
import socket
import ssl
import threading
from contextlib import contextmanager

import pytest

from tests.live.harness import Process, gateway
from tests.net.certificates import Authority

SIZE = 3_000_000


class Answering(http.server.BaseHTTPRequestHandler):
    """Tells who asked, and takes and gives bodies."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        if self.path == "/big":
            self._answer(b"x" * SIZE)
        else:
            subject = self.request.getpeercert()
            self._answer(f"{self.client_address[1]} {bool(subject)}".encode())

    def do_PUT(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        self._answer(hashlib.sha256(body).hexdigest().encode())

    def _answer(self, body):
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        pass


@contextmanager
def secure_origin(pem, *, client_ca=""):
    """The port of a TLS server with the certificate in ``pem``."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    if client_ca:
        context.load_verify_locations(client_ca)
        context.verify_mode = ssl.CERT_REQUIRED
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answering)
    server.daemon_threads = True
    server.handle_error = lambda *args: None
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextmanager
def plain_talker():
    """The port of a server that answers in clear to whatever is said, before it has heard anything."""
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nclear"
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        listening.settimeout(30)

        def serve():
            try:
                while True:
                    connection, _ = listening.accept()
                    with connection:
                        connection.sendall(answer)
                        connection.recv(65536)
            except OSError:
                pass

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield listening.getsockname()[1]
        finally:
            listening.shutdown(socket.SHUT_RDWR)
            thread.join()


@pytest.fixture(scope="module")
def gw(tmp_path_factory):
    directory = tmp_path_factory.mktemp("secure")
    ours, others = Authority(directory), Authority(directory, "others")
    good = ours.issue("localhost", "127.0.0.1", file="good.pem")
    client = ours.issue("gateway", file="client.pem")
    unix = f"{directory}/origin.sock"
    with (
        secure_origin(good) as port,
        secure_origin(good, client_ca=ours.file) as mutual,
        secure_origin(ours.issue("other.example", file="other.pem")) as misnamed,
        secure_origin(ours.issue("localhost", days=-1, file="old.pem")) as expired,
        secure_origin(others.issue("localhost", file="foreign.pem")) as foreign,
        plain_talker() as clear,
        gateway(directory) as made,
    ):
        ca = f"ca-file: {ours.file}"
        upstreams = {
            "good": (port, ca),
            "mutual": (mutual, f"{ca}, certificate: {client}"),
            "anonymous": (mutual, ca),
            "named": (misnamed, f"{ca}, server-name: other.example"),
            "misnamed": (misnamed, ca),
            "expired": (expired, ca),
            "foreign": (foreign, ca),
            "clear": (clear, ca),
        }
        made.write(
            "gateway: {workers: 1}\nadmin: {address: 127.0.0.1:0}\naccess-log: {path: 'off'}\n"
            "listeners: [{name: public, address: 127.0.0.1:0, limits: {body: 10MB}}]\nupstreams:\n"
            + "".join(
                f"  {name}: {{endpoints: ['https://localhost:{at}'], tls: {{{tls}}}, retry: {{attempts: 1}}}}\n"
                for name, (at, tls) in upstreams.items()
            )
            + f"  unix: {{endpoints: ['unix:{unix}']}}\nroutes:\n"
            + "".join(
                f"  - {{name: {name}, match: {{headers: {{x-way: {name}}}}}, auth: none,"
                f" target: {{proxy: {{upstream: {name}}}}}}}\n"
                for name in [*upstreams, "unix"]
            )
        )
        origin = Process("tests.servers.origin", "--unix", unix)
        made.start()
        yield made
        origin.stop()


def ask(gw, way, target="/", **more):
    return gw.fetch(target, headers={"X-Way": way}, **more)


def test_a_tls_upstream_is_asked_again_over_the_same_connection(gw):
    replies = [ask(gw, "good") for _ in range(3)]
    assert {reply.status for reply in replies} == {200}
    assert len({reply.body for reply in replies}) == 1


def test_large_bodies_pass_both_ways(gw):
    assert ask(gw, "good", "/big").body == b"x" * SIZE
    body = bytes(range(256)) * 10_000
    assert ask(gw, "good", method="PUT", body=body).body.decode() == hashlib.sha256(body).hexdigest()


def test_a_client_certificate_is_shown_where_one_is_configured(gw):
    reply = ask(gw, "mutual")
    assert (reply.status, reply.body.split()[1]) == (200, b"True")


def test_without_it_such_an_upstream_cannot_be_used(gw):
    assert ask(gw, "anonymous").status == 502


def test_another_name_may_be_expected(gw):
    assert ask(gw, "named").status == 200


@pytest.mark.parametrize("way", ["misnamed", "expired", "foreign"])
def test_a_certificate_that_is_not_right_is_a_502(gw, way):
    reply = ask(gw, way)
    assert reply.status == 502
    assert reply.json["code"] == "upstream_certificate_refused"


def test_what_is_said_in_clear_before_the_handshake_is_not_an_answer(gw):
    reply = ask(gw, "clear")
    assert reply.status == 502
    assert b"clear" not in reply.body


def test_a_unix_socket_is_an_upstream_like_others(gw):
    for _ in range(3):
        assert ask(gw, "unix", "/json").json["ok"] is True
    assert len(ask(gw, "unix", "/bytes?n=1000000").body) == 1_000_000
