"""Both ends of the wire in memory."""

import gzip
import pathlib

import pytest
from twisted.internet import ssl
from twisted.internet.defer import Deferred, fail
from twisted.internet.error import ConnectionLost, ConnectionRefusedError, DNSLookupError
from twisted.internet.interfaces import IHandshakeListener
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.testing import MemoryReactorClock, StringTransport
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.python.failure import Failure
from twisted.web.iweb import IAgent
from zope.interface import implementer

from suuupra_gateway.auth.fetch import Fetch, FetchFailed, _Body
from tests.auth.wire import Transport, Wire
from tests.net.certificates import Authority

URL = "http://127.0.0.1:8080/token?x=1"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class Asking(Wire):
    """Somebody who asks, and what became of it."""

    def __init__(self, **options):
        super().__init__()
        self.fetch = Fetch(self.reactor, **options)
        self.failure = None

    def ask(self, url=URL, method="GET", **more):
        asked = self.fetch.request(method, url, **{"timeout": 5.0, **more})
        asked.addErrback(self._failed)
        return asked

    def _failed(self, failure):
        self.failure = failure.value


@pytest.fixture
def wire():
    return Asking()


def test_a_whole_answer_comes_back_whatever_its_status(wire):
    asked = wire.ask(headers=[(b"Authorization", b"Basic x"), (b"X-Two", b"1"), (b"X-Two", b"2")])
    lines = wire.connect().value().split(b"\r\n")
    assert lines[0] == b"GET /token?x=1 HTTP/1.1"
    assert set(lines[1:-2]) == {
        b"Authorization: Basic x",
        b"X-Two: 1",
        b"X-Two: 2",
        b"User-Agent: suuupra-gateway",
        b"Host: 127.0.0.1:8080",
    }
    wire.answer(b"HTTP/1.1 404 Nope\r\nX-Several: 1\r\nX-SEVERAL: 2\r\nContent-Length: 3\r\n\r\nabc")
    fetched = asked.result
    assert (fetched.status, fetched.body) == (404, b"abc")
    assert fetched.get(b"x-several") == b"1"
    assert fetched.get(b"missing") is None
    assert [value for name, value in fetched.headers if name == b"x-several"] == [b"1", b"2"]


def test_a_body_is_sent_with_its_length(wire):
    wire.ask(method="POST", body=b"token=1", headers=[(b"user-agent", b"other")])
    sent = wire.connect().value()
    assert sent.startswith(b"POST ")
    assert b"Content-Length: 7\r\n" in sent
    assert sent.endswith(b"\r\n\r\ntoken=1")
    assert b"suuupra" not in sent


def test_bodies_are_written_at_once_whatever_the_pace():
    body, transport = _Body(b"token=1"), StringTransport()
    body.pauseProducing()
    assert body.startProducing(transport).called
    body.resumeProducing()
    body.stopProducing()
    assert transport.value() == b"token=1"


def test_redirects_are_answers(wire):
    asked = wire.ask()
    wire.connect()
    wire.answer(b"HTTP/1.1 302 Found\r\nLocation: http://evil.example/\r\nContent-Length: 0\r\n\r\n")
    assert asked.result.status == 302
    assert len(wire.reactor.tcpClients) == 1


def test_cookies_are_not_kept(wire):
    wire.ask()
    wire.connect()
    wire.answer(b"HTTP/1.1 200 OK\r\nSet-Cookie: a=b\r\nContent-Length: 0\r\n\r\n")
    wire.ask()
    assert b"a=b" not in wire.transport.value()


def test_connections_are_used_again_and_closed_at_the_end(wire):
    wire.ask()
    transport = wire.connect()
    wire.answer(OK)
    wire.ask()
    assert transport.value().count(b"GET ") == 2
    wire.answer(OK)
    closed = wire.fetch.close()
    assert transport.disconnecting
    wire.hang_up()
    assert closed.called


def test_the_time_limit_holds_for_connecting(wire):
    wire.ask(timeout=2.0)
    wire.reactor.advance(1.9)
    assert wire.failure is None
    wire.reactor.advance(0.2)
    assert isinstance(wire.failure, FetchFailed)
    assert "2 s" in str(wire.failure)
    assert not wire.failure.sent


def test_the_time_limit_holds_for_the_head(wire):
    wire.ask(timeout=2.0)
    wire.connect()
    wire.reactor.advance(2.1)
    assert isinstance(wire.failure, FetchFailed)
    assert wire.failure.sent
    assert wire.transport.disconnecting


def test_the_time_limit_holds_for_the_last_byte_of_the_body(wire):
    wire.ask(timeout=2.0)
    wire.connect()
    wire.answer(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n")
    for _ in range(5):
        wire.answer(b"x")
        wire.reactor.advance(0.5)
    assert isinstance(wire.failure, FetchFailed)
    assert wire.failure.sent
    assert wire.transport.disconnecting


def test_whoever_cancels_closes_the_connection(wire):
    asked = wire.ask()
    wire.connect()
    asked.cancel()
    assert isinstance(wire.failure, FetchFailed)
    assert wire.transport.disconnecting


def test_more_bytes_than_the_limit_are_not_read(wire):
    wire.ask(limit=10)
    wire.connect()
    wire.answer(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n0123456789")
    assert wire.failure is None
    wire.answer(b"x")
    assert "more than 10 bytes" in str(wire.failure)
    assert wire.transport.disconnecting
    wire.answer(b"y")  # on its way already
    wire.hang_up(ConnectionLost)


def test_exactly_the_limit_is_read(wire):
    asked = wire.ask(limit=2)
    wire.connect()
    wire.answer(OK)
    assert asked.result.body == b"ok"


def test_compressed_answers_are_refused(wire):
    wire.ask()
    wire.connect()
    bomb = gzip.compress(b"x" * 100_000)
    wire.answer(b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(bomb) + bomb[:10])
    assert "compressed" in str(wire.failure)
    assert wire.transport.disconnecting


def test_an_answer_that_says_that_it_is_not_compressed_is_taken(wire):
    asked = wire.ask()
    wire.connect()
    wire.answer(b"HTTP/1.1 200 OK\r\nContent-Encoding: identity\r\nContent-Length: 2\r\n\r\nok")
    assert asked.result.body == b"ok"


def test_an_answer_that_was_cut_is_none(wire):
    wire.ask()
    wire.connect()
    wire.answer(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc")
    wire.hang_up()
    assert isinstance(wire.failure, FetchFailed)
    assert "cut" in str(wire.failure)
    assert wire.failure.sent


def test_an_answer_that_ends_with_its_connection_may_have_been_cut(wire):
    wire.ask()
    wire.connect()
    wire.answer(b"HTTP/1.1 200 OK\r\n\r\nabc")
    wire.hang_up()
    assert "cut" in str(wire.failure)


def test_a_connection_that_closes_without_an_answer_may_have_been_understood(wire):
    wire.ask(method="POST")
    wire.connect()
    wire.hang_up()
    assert isinstance(wire.failure, FetchFailed)
    assert wire.failure.sent
    assert "closed" in str(wire.failure)


def test_nonsense_is_a_failure(wire):
    wire.ask()
    wire.connect()
    wire.answer(b"SSH-2.0-OpenSSH_9.2\r\n\r\n")
    assert isinstance(wire.failure, FetchFailed)
    assert wire.failure.sent


def test_a_connection_that_is_refused_sent_nothing(wire):
    wire.ask()
    wire.reactor.tcpClients[0][2].clientConnectionFailed(None, Failure(ConnectionRefusedError()))
    wire.reactor.advance(0.5)
    assert isinstance(wire.failure, FetchFailed)
    assert not wire.failure.sent


@pytest.mark.parametrize("url", ["ftp://127.0.0.1/", "gopher://x/"])
def test_an_address_of_another_kind_is_a_failure(wire, url):
    wire.ask(url)
    assert isinstance(wire.failure, FetchFailed)
    assert not wire.failure.sent


@implementer(IAgent)
class Failing:
    def __init__(self, error):
        self.error = error

    def request(self, method, uri, headers=None, bodyProducer=None):
        return fail(self.error) if self.error else Deferred()


def test_a_name_that_is_unknown_is_a_failure_by_any_agent():
    wire = Asking(agent=Failing(DNSLookupError()))
    wire.ask()
    assert not wire.failure.sent
    assert wire.fetch.close().called


def test_failures_without_words_are_named_by_their_type():
    wire = Asking(agent=Failing(ZeroDivisionError()))
    wire.ask()
    assert str(wire.failure) == "ZeroDivisionError"
    assert wire.failure.sent


# -- TLS --------------------------------------------------------------------------------------------------------------


@implementer(IHandshakeListener)
class Server(Protocol):
    """Knows when its client has verified it: only then a client ends the handshake (RFC 8446 section 4.4.4)."""

    believed = False

    def handshakeCompleted(self):
        self.believed = True


@pytest.fixture
def authority(tmp_path):
    return Authority(tmp_path)


def over_tls(authority, names, *, ca_file):
    """Whether a server of these names is believed, and why not."""
    wire = Asking(ca_file=ca_file)
    wire.ask("https://127.0.0.1:8443/")
    client = wire.connect()
    with open(authority.issue(*names)) as file:
        certificate = ssl.PrivateCertificate.loadPEM(file.read())
    protocol = Server()
    factory = TLSMemoryBIOFactory(certificate.options(), False, Factory.forProtocol(lambda: protocol), wire.reactor)
    server, there = factory.buildProtocol(None), Transport()
    server.makeConnection(there)
    for _ in range(20):
        for source, target in ((client, server), (there, wire.protocol)):
            data = source.value()
            source.clear()
            if data:
                target.dataReceived(data)
    if client.disconnecting:
        wire.hang_up()
    return protocol.believed, wire.failure


def test_a_server_is_believed_if_its_authority_is(authority):
    assert over_tls(authority, ["127.0.0.1"], ca_file=authority.file) == (True, None)


def test_any_authority_of_the_file_will_do(authority, tmp_path):
    others = [Authority(tmp_path, f"authority {number}") for number in range(3)]
    path = tmp_path / "all.pem"
    path.write_bytes(b"# ours\n" + b"\n".join(pathlib.Path(each.file).read_bytes() for each in (*others, authority)))
    assert over_tls(authority, ["127.0.0.1"], ca_file=str(path)) == (True, None)


@pytest.mark.parametrize("ca", ["other", "system"])
def test_a_server_of_another_authority_is_not(authority, tmp_path, ca):
    ca_file = Authority(tmp_path, "another authority").file if ca == "other" else ""
    believed, failure = over_tls(authority, ["127.0.0.1"], ca_file=ca_file)
    assert not believed
    assert isinstance(failure, FetchFailed)
    assert "certificate verify failed" in str(failure)


def test_a_server_of_another_name_is_not(authority):
    believed, failure = over_tls(authority, ["idp.example.org"], ca_file=authority.file)
    assert not believed
    assert isinstance(failure, FetchFailed)


def test_a_file_of_authorities_must_hold_some(tmp_path):
    path = tmp_path / "ca.pem"
    path.write_text("nothing")
    with pytest.raises(ValueError, match=r"ca\.pem holds no certificates"):
        Fetch(MemoryReactorClock(), ca_file=str(path))
    path.write_text("-----BEGIN CERTIFICATE-----\nnonsense\n-----END CERTIFICATE-----\n")
    with pytest.raises(ValueError, match="cannot be read"):
        Fetch(MemoryReactorClock(), ca_file=str(path))
    with pytest.raises(FileNotFoundError):
        Fetch(MemoryReactorClock(), ca_file=str(tmp_path / "missing"))
