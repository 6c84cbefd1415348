"""What upstreams see of a request's head: exactly one unambiguous message, and nothing that only the gateway may say."""

import socket
import struct

import h11
import pytest

from tests.http import vectors
from tests.live.harness import gateway, until
from tests.live.wire import Watch, Wire
from tests.servers.raw_origin import RawOrigin


@pytest.fixture(scope="module")
def origin():
    with RawOrigin() as made:
        yield made


@pytest.fixture(scope="module")
def lonely():
    """Gets each request on a connection of its own, and reads that to its end."""
    with RawOrigin() as made:
        yield made


@pytest.fixture(scope="module")
def gw(tmp_path_factory, origin, lonely):
    directory = tmp_path_factory.mktemp("hygiene")
    with gateway(directory) as made:
        made.write(f"""
gateway: {{workers: 1, trusted-proxies: [127.0.0.2/32, 10.0.0.0/8], forwarded: both}}
admin: {{address: 127.0.0.1:0}}
access-log: {{path: {directory}/access.log}}
listeners:
  - {{name: public, address: 127.0.0.1:0, timeouts: {{head: 1s, body: 1s}}}}
  - {{name: keeping, address: 127.0.0.1:0, underscores: keep}}
  - {{name: behind, address: 127.0.0.1:0, proxy-protocol: true}}
upstreams:
  origin: {{endpoints: ["{origin.url}"]}}
  lonely: {{endpoints: ["{lonely.url}"], pool: {{idle: 0}}, retry: {{attempts: 1}}}}
routes:
  - {{name: fields, match: {{host: "*.fields.example"}}, auth: none, target: {{proxy: {{upstream: origin}}}}}}
  - {{name: smuggled, auth: none, escapes: keep, target: {{proxy: {{upstream: lonely}}}}}}
""")
        made.start()
        yield made
        assert "Traceback" not in made.log


@pytest.fixture(scope="module")
def watch(gw):
    return Watch(gw, gw.directory / "access.log")


TRUSTED = "127.0.0.2"


def seen(gw, origin, *fields, source="", listener="public", target=""):
    """The request that the origin gets for one with these fields."""
    path = origin.at(lambda talk, request: talk.answer())
    with Wire(gw.address(listener), source=source) as client:
        client.head("GET", target or path, *fields, host="api.fields.example:8080")
        assert client.answer().status == 200
    (request,) = origin.requests[path]
    return request


# -- framing ----------------------------------------------------------------------------------------------------------


def reading(raw):
    """What h11 makes of these bytes as a server: the events up to the end of the first message, and what is behind that."""
    connection = h11.Connection(h11.SERVER)
    connection.receive_data(raw)
    connection.receive_data(b"")
    events = []
    try:
        while not events or not isinstance(events[-1], h11.EndOfMessage | h11.ConnectionClosed):
            events.append(connection.next_event())
    except h11.RemoteProtocolError as error:
        events.append(error)
    return events, connection.trailing_data[0]


@pytest.fixture(scope="module")
def taking(lonely):
    """Takes what any of the vectors may bring, and says so."""

    def script(talk, request):
        talk.body(request)
        talk.answer(b"")
        talk.wait()

    for path in {vector.path.decode("latin-1") for vector in vectors.ALL}:
        lonely.at(script, path)
    return lonely


SOURCES = {vector.name: f"127.1.{number >> 8}.{number & 255}" for number, vector in enumerate(vectors.ALL)}
"""Each case comes from an address of its own, which the upstream is told."""


def talks_about(origin, source):
    mark = f"x-forwarded-for: {source}\r\n".encode()
    return [talk for talk in origin.talks if mark in talk.seen]


@pytest.mark.parametrize("vector", vectors.ALL, ids=lambda vector: vector.name)
def test_a_request_is_one_message_for_the_upstream_or_refused(gw, taking, vector):
    with Wire(gw.address(), source=SOURCES[vector.name]) as client:
        client.send(vector.raw)
        answer = client.answer(vector.method.decode())
    assert answer.status == (vector.status or 200)
    if vector.status:
        return
    (talk,) = talks_about(taking, SOURCES[vector.name])
    until(lambda: talk.ended, "the connection is closed", 5)
    (request, *pieces, end), behind = reading(bytes(talk.seen))
    assert isinstance(end, h11.EndOfMessage)
    assert behind == b""
    body = b"".join(bytes(piece.data) for piece in pieces)
    names = [name for name, _ in request.headers]
    assert names.count(b"content-length") + names.count(b"transfer-encoding") <= 1
    assert not any(b"_" in name or b"." in name for name in names)
    assert not {b"upgrade", b"http2-settings", b"connection", b"keep-alive"} & set(names)
    assert (request.method, request.target, body) == (vector.method, vector.path, vector.body)
    assert list(end.headers) == vector.trailers


@pytest.mark.parametrize(
    "vector", [vector for vector in vectors.BODIES if vector.status], ids=lambda vector: vector.name
)
def test_a_body_that_turns_out_malformed_never_becomes_whole_for_the_upstream(gw, taking, vector):
    head, mark, payload = vector.raw.partition(b"\r\n\r\n")
    source = SOURCES[vector.name].replace("127.1.", "127.2.")
    with Wire(gw.address(), source=source) as client:
        client.send(head, mark)
        talk = until(lambda: next(iter(talks_about(taking, source)), None), "the upstream has the head")
        client.send(payload)
        answer = client.answer()
        assert (answer.status, answer.get("connection")) == (vector.status, "close")
    until(lambda: talk.ended, "the connection is closed", 5)
    events, _ = reading(bytes(talk.seen))
    assert isinstance(events[-1], h11.RemoteProtocolError | h11.ConnectionClosed)


# -- fields -----------------------------------------------------------------------------------------------------------


def test_a_connection_cannot_nominate_what_matters(gw, origin):
    request = seen(
        gw,
        origin,
        "Connection: close, X-Forwarded-For, X-Forwarded-Proto, Host, Authorization, Cookie, X-Request-Id, X-Secret, Via",
        "X-Secret: 1",
        "X-Other: 2",
        "Authorization: Basic YTpi",
        "Cookie: a=b",
        "Keep-Alive: 5",
        "Proxy-Connection: close",
        "Proxy-Authorization: Basic YTpi",
        "TE: gzip",
        "Upgrade: h2c",
        "Trailer: X-Sum",
    )
    names = [name for name, _ in request.headers]
    assert request.get("x-secret") is None
    assert request.get("x-other") == "2"
    assert request.get("host") == "api.fields.example:8080"
    assert (request.get("authorization"), request.get("cookie")) == ("Basic YTpi", "a=b")
    assert request.get("x-forwarded-for") == "127.0.0.1"
    assert (request.get("x-forwarded-proto"), request.get("via")) == ("http", "1.1 suuupra")
    assert request.get("x-request-id")
    gone = {"connection", "keep-alive", "proxy-connection", "proxy-authorization", "te", "upgrade", "trailer"}
    assert not gone & set(names)
    assert len(names) == len({*names}), "nothing twice"


@pytest.mark.parametrize("listener", ["public", "keeping"])
@pytest.mark.parametrize("source", ["", TRUSTED])
def test_nobody_but_the_gateway_says_who_somebody_is(gw, origin, listener, source):
    request = seen(
        gw,
        origin,
        "X-User-Id: root",
        "x-user-roles: admin",
        "X_User_Id: root",
        "X.Tenant.Id: 1",
        "X-Tenant_Id: 1",
        "X-Consumer-Name: c",
        "X-Auth-Token: t",
        "X_Auth_Anything: t",
        "X-Suuupra-Identity: j",
        "X-Userid: kept",
        source=source,
        listener=listener,
    )
    names = {name.lower().replace("_", "-").replace(".", "-") for name, _ in request.headers}
    assert not [
        name for name in names if name.startswith(("x-user-", "x-tenant-", "x-consumer-", "x-auth-", "x-suuupra-"))
    ]
    assert request.get("x-userid") == "kept"


FORGED = (
    "X-Forwarded-For: 1.2.3.4",
    "X_Forwarded_For: 1.2.3.4",
    "X-Forwarded-Proto: https",
    "X-Forwarded-Host: evil.example",
    "X-Forwarded-Port: 1",
    "X-Forwarded-Prefix: /evil",
    "X-Forwarded-Uri: /evil",
    "X-Real-IP: 1.2.3.4",
    "Forwarded: for=1.2.3.4;host=evil.example",
    "X-Request-Id: forged",
    "X-Request-Attempt: 7",
    "X-Request-Timeout-Ms: 1",
)


@pytest.mark.parametrize("listener", ["public", "keeping"])
def test_strangers_are_not_believed(gw, origin, watch, listener):
    request = seen(gw, origin, *FORGED, listener=listener)
    assert request.all("x-forwarded-for") == ["127.0.0.1"]
    assert request.all("x_forwarded_for") == []
    assert request.all("x-forwarded-proto") == ["http"]
    assert request.all("x-forwarded-host") == ["api.fields.example:8080"]
    assert request.all("x-forwarded-port") == ["8080"]
    assert request.all("forwarded") == ['for=127.0.0.1;host="api.fields.example:8080";proto=http']
    assert b"evil" not in request.raw
    assert b"1.2.3.4" not in request.raw
    assert request.get("x-request-id") != "forged"
    assert request.all("x-request-attempt") == ["1"]
    assert int(request.get("x-request-timeout-ms")) > 1000
    line = watch.line(request.path)
    assert (line["client_ip"], line["request_id"]) == ("127.0.0.1", request.get("x-request-id"))


def test_trusted_proxies_are_believed(gw, origin, watch):
    request = seen(
        gw,
        origin,
        "X-Forwarded-For: 6.6.6.6, 1.2.3.4, 10.1.1.1",
        "X-Forwarded-Proto: https",
        "X-Forwarded-Host: shop.example",
        "X-Forwarded-Prefix: /shop",
        "Forwarded: for=1.2.3.4",
        "X-Real-IP: 1.2.3.4",
        "X-Request-Id: theirs-1",
        "X-Request-Timeout-Ms: 3000",
        "Via: 1.1 front",
        source=TRUSTED,
    )
    assert request.all("x-forwarded-for") == [f"6.6.6.6, 1.2.3.4, 10.1.1.1, {TRUSTED}"]
    assert request.all("x-forwarded-proto") == ["https"]
    assert request.all("x-forwarded-host") == ["shop.example"]
    assert request.all("x-forwarded-prefix") == ["/shop"]
    assert request.all("x-real-ip") == ["1.2.3.4"]
    assert request.get("forwarded").startswith(f"for=1.2.3.4, for={TRUSTED};")
    assert request.get("via") == "1.1 front, 1.1 suuupra"
    assert request.get("x-request-id") == "theirs-1"
    assert int(request.get("x-request-timeout-ms")) <= 3000
    line = watch.line(request.path)
    assert (line["client_ip"], line["request_id"]) == ("1.2.3.4", "theirs-1"), "the first that no proxy of ours is"


def test_requests_that_go_round_in_circles_are_stopped(gw, origin):
    path = origin.at(lambda talk, request: talk.answer())
    with Wire(gw.address()) as client:
        client.head("GET", path, "Via: 1.1 front, 1.1 suuupra", host="b.fields.example")
        answer = client.answer()
    assert (answer.status, answer.code) == (502, "loop_detected")
    assert not origin.requests[path]


def test_fields_of_the_upstreams_connection_stay_there(gw, origin):
    path = origin.at(
        lambda talk, request: talk.answer(
            b"ok", b"Connection: keep-alive, X-Secret", b"X-Secret: 1", b"Keep-Alive: 5", b"Proxy-Authenticate: Basic"
        )
    )
    with Wire(gw.address()) as client:
        client.head("GET", path, host="b.fields.example")
        answer = client.answer()
    assert {"x-secret", "keep-alive", "proxy-authenticate", "connection"} & {
        name.lower() for name, _ in answer.headers
    } == set()
    assert answer.get("via") == "1.1 suuupra"


# -- the PROXY protocol -----------------------------------------------------------------------------------------------

V2 = b"\r\n\r\n\0\r\nQUIT\n"


def v2(client, port=5000):
    addresses = socket.inet_aton(client) + socket.inet_aton("127.0.0.1") + struct.pack("!HH", port, 80)
    return V2 + b"\x21\x11" + struct.pack("!H", len(addresses)) + addresses


PROXIED = {
    "version 1": (b"PROXY TCP4 9.8.7.6 127.0.0.1 5000 80\r\n", "9.8.7.6"),
    "version 1 with IPv6": (b"PROXY TCP6 2001:db8::1 ::1 5000 80\r\n", "2001:db8::1"),
    "version 1 unknown": (b"PROXY UNKNOWN\r\n", TRUSTED),
    "version 2": (v2("9.8.7.5"), "9.8.7.5"),
    "version 2 for itself": (V2 + b"\x20\0\0\0", TRUSTED),
}


@pytest.mark.parametrize("name", PROXIED)
@pytest.mark.parametrize("split", [False, True], ids=["whole", "bytewise"])
def test_the_proxy_protocol_tells_whom_it_speaks_for(gw, origin, watch, name, split):
    header, expected = PROXIED[name]
    path = origin.at(lambda talk, request: talk.answer())
    with Wire(gw.address("behind"), source=TRUSTED) as client:
        client.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for piece in [bytes([byte]) for byte in header] if split else [header]:
            client.send(piece)
        for _ in range(2):
            client.head("GET", path, "X-Forwarded-For: 1.2.3.4", host="b.fields.example")
            assert client.answer().status == 200
    believed = expected == TRUSTED
    assert origin.requests[path][1].get("x-forwarded-for") == (f"1.2.3.4, {TRUSTED}" if believed else expected)
    assert watch.line(path, 2)["client_ip"] == ("1.2.3.4" if believed else expected)


@pytest.mark.parametrize(
    ("source", "header"),
    [
        ("", b"PROXY TCP4 9.8.7.6 127.0.0.1 5000 80\r\n"),
        (TRUSTED, b""),
        (TRUSTED, b"PROXY TCP4 nonsense\r\n"),
        (TRUSTED, V2 + b"\x31\x11\0\x0c" + bytes(12)),
    ],
    ids=["from a stranger", "missing", "malformed", "of version 3"],
)
def test_connections_without_a_believable_proxy_header_are_closed(gw, origin, source, header):
    path = origin.at(lambda talk, request: talk.answer())
    with Wire(gw.address("behind"), source=source) as client:
        client.send(header, f"GET {path} HTTP/1.1\r\nHost: b.fields.example\r\n\r\n".encode())
        assert client.end() == b""
    assert not origin.requests[path]
