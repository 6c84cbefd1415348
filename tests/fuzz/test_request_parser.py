"""
Our reading of requests against h11's and against Twisted's own ``HTTPChannel``: whatever we take for a message, they take for the
same one, however it was cut into reads.

The other way round is not asked for: we refuse more than either (see ``tests/http/vectors.py``).
"""

from __future__ import annotations

from itertools import pairwise

import attrs
import h11
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.web.http import HTTPFactory, Request

from suuupra_gateway.config.names import OwnedNames
from suuupra_gateway.errors import GatewayError
from suuupra_gateway.http.hygiene import remove_nominated, tokens
from suuupra_gateway.http.intake import Intake
from suuupra_gateway.http.rules import HeadRules
from tests.http import vectors


@attrs.frozen
class Message:
    """What a parser makes of a request."""

    method: bytes
    target: bytes
    version: bytes
    headers: list
    body: bytes
    trailers: list
    raw: bytes = attrs.field(eq=False, default=b"")
    """The very bytes of it."""


def ours(raw, cuts=()):
    """The messages that we see in ``raw``, cut into reads at ``cuts``, until it ends, is refused, or the last one is whole."""
    intake = Intake(HeadRules(underscores="keep", owned=OwnedNames(())))
    messages = []
    head, body, begun, fed = None, b"", 0, 0
    try:
        for piece in pieces(raw, cuts):
            intake.rest += piece
            fed += len(piece)
            while True:
                if head is None:
                    head = intake.head() if intake.rest else None
                    if head is None:
                        break
                    body = b""
                elif intake.open:
                    size = len(intake.rest)
                    body += intake.body()
                    if intake.open and len(intake.rest) in (0, size):
                        break
                else:
                    trailers = intake.trailers if head.chunked else []
                    end = fed - len(intake.rest)
                    messages.append(
                        Message(head.method, head.target, head.version, head.headers, body, trailers, raw[begun:end])
                    )
                    begun, head = end, None
                    if not intake.parser.keep:
                        return messages, None
    except GatewayError as error:
        return messages, error
    return messages, None


def pieces(raw, cuts):
    edges = [0, *sorted(cut % (len(raw) + 1) for cut in cuts), len(raw)]
    return [raw[a:b] for a, b in pairwise(edges) if a < b]


def theirs(raw):
    """The one message that h11 sees in ``raw``; anything else fails."""
    server = h11.Connection(h11.SERVER, max_incomplete_event_size=1 << 20)
    server.receive_data(raw)
    request = server.next_event()
    assert isinstance(request, h11.Request), f"h11 sees {request!r}"
    body = b""
    while True:
        event = server.next_event()
        if not isinstance(event, h11.Data):
            break
        body += bytes(event.data)
    assert isinstance(event, h11.EndOfMessage), f"h11 sees {event!r} in the body"
    assert server.trailing_data == (b"", False)
    trailers = list(event.headers)
    return Message(request.method, request.target, request.http_version, list(request.headers), body, trailers)


class Keeping(Request):
    """A request of the stock stack that remembers itself and answers with nothing."""

    def process(self):
        self.channel.factory.seen.append(self)
        self.body = self.content.read()
        self.setResponseCode(204)
        self.finish()


def stock(raw):
    """The one message that Twisted's ``HTTPChannel`` sees in ``raw``; anything else fails."""
    factory = HTTPFactory(reactor=Clock())
    factory.seen = []
    factory.log = lambda request: None
    channel = factory.buildProtocol(None)
    channel.requestFactory = Keeping
    channel.makeConnection(StringTransport(lenient=True))
    channel.dataReceived(raw)
    (request,) = factory.seen
    return request


def agree(raw, cuts=()):
    """What we see in ``raw``, after making sure that all others see the same, message by message."""
    messages, _ = ours(raw, cuts)
    assert messages == ours(raw)[0], "what is seen depends on how the bytes came"
    for mine in messages:
        # RFC 9112 section 2.2: an empty line before a request line is ignored; the oracles refuse it, or ignore it too.
        only = mine.raw.removeprefix(b"\r\n")
        other = theirs(only)
        assert (mine.method, mine.target, mine.version) == (other.method, other.target, other.version)
        assert (mine.body, mine.trailers) == (other.body, other.trailers)
        assert plain(mine.headers) == plain(other.headers)
        request = stock(only)
        assert (mine.method, mine.target, b"HTTP/" + mine.version) == (request.method, request.uri, request.clientproto)
        assert mine.body == request.body
        for name in {name for name, _ in mine.headers}:
            assert [value for key, value in mine.headers if key == name] == [
                value.strip(b" \t") for value in request.requestHeaders.getRawHeaders(name)
            ]
    return messages


def plain(pairs):
    """Fields without what is nominated, as we take it away, and without what h11 rewrites: codings and lengths."""
    pairs = list(pairs)
    remove_nominated(pairs, tokens([value for name, value in pairs if name == b"connection"]))
    return [(name, _REWRITTEN.get(name, bytes)(value)) for name, value in pairs]


_REWRITTEN = {b"transfer-encoding": bytes.lower, b"content-length": lambda value: b"%d" % int(value)}


# -- what is tried ------------------------------------------------------------------------------------------------------


def mostly(*right):
    """Right values with an odd one now and then, so that most messages have one or two flaws and many have none."""
    return lambda *odd: st.sampled_from(right * (24 * len(odd) // len(right) + 1) + odd)


METHOD = mostly(b"GET", b"POST", b"PUT", b"HEAD", b"OPTIONS")(b"BREW", b"get", b"CONNECT", b"")
TARGET = mostly(b"/", b"/a?b=c", b"/a%2Fb", b"http://a.example/x", b"//x")(b"*", b"/a b", b"/#", b"", b"/\x80", b"a")
VERSION = mostly(b"HTTP/1.1", b"HTTP/1.1", b"HTTP/1.0")(
    b"HTTP/2.0", b"HTTP/1.2", b"http/1.1", b"HTTP/0.9", b"HTTP/1.1 "
)
END = mostly(b"\r\n")(b"\n", b"\r", b"\r\r\n", b"\r\n ", b" \r\n")
NAME = mostly(b"X-A", b"X_A", b"Upgrade", b"TE", b"Accept", b"Connection")(b"Host", b"A ", b"A\t", b"", b"A\x00", b" A")
VALUE = mostly(b"", b"a\tb", b"caf\xc3\xa9", b"upgrade", b"h2c", b"keep-alive", b"trailers", b'"q"')(
    b"\x00", b"\x0b", b"a\rb", b"close"
)
SPACE = mostly(b" ", b"", b"\t", b" \t ")(b"\x0b", b"\xa0")
FIELD = st.builds(
    lambda name, before, value, after, end: name + b":" + before + value + after + end, NAME, SPACE, VALUE, SPACE, END
)
EXPECT = st.sampled_from([[], [], [b"Expect: 100-continue\r\n"], [b"Expect: tea\r\n"]])
SIZE = mostly(b"%x", b"%X", b"0%x")(b"0x%x", b"+%x", b" %x", b"%x ", b"fffffffffffffff%x", b"%x_0", b"-%x", b"")
EXTENSION = mostly(b"", b"", b";a=b", b';a="b c"', b"; a")(b";\x00", b" ;a", b";a\n", b";a\rb", b"\t")
CHUNK = st.builds(
    lambda data, size, extension, line, end: (
        (size % len(data) if b"%" in size else size) + extension + line + data + end
    ),
    st.binary(min_size=1, max_size=20),
    SIZE,
    EXTENSION,
    END,
    END,
)
TRAILER = mostly(b"X-T: 1\r\n", b"X_T:\t1 \r\n")(
    b"X-T : 1\r\n", b"Content-Length: 3\r\n", b"X-T: 1\n", b"X-T\r\n", b" x\r\n"
)
CHUNKS = st.builds(
    lambda chunks, last, trailers, empty: b"".join(chunks) + last + b"".join(trailers) + empty,
    st.lists(CHUNK, max_size=3),
    mostly(b"0\r\n", b"00\r\n", b"0;x\r\n")(b"0\n", b"0 \r\n", b"0\r", b""),
    st.lists(TRAILER, max_size=2),
    mostly(b"\r\n")(b"\n", b"\r\n\r\n", b""),
)
LENGTH = mostly(b"%d", b" %d ", b"0%d")(b"+%d", b"%d, %d", b"0x%d", b"", b"-%d", b"%d\x0b", b"1_%d")
SIZED = st.builds(
    lambda data, length: (
        b"Content-Length:" + (length % ((len(data),) * length.count(b"%")) if b"%" in length else length) + b"\r\n",
        data,
    ),
    st.binary(max_size=20),
    LENGTH,
)
CODING = mostly(b"chunked", b"Chunked", b" chunked ")(
    b"identity", b"gzip, chunked", b"chunked, chunked", b"", b"xchunked", b"chunked;"
)
CODED = st.tuples(CODING.map(lambda coding: b"Transfer-Encoding:" + coding + b"\r\n"), CHUNKS)
BOTH = st.builds(lambda one, other: (one[0] + other[0], other[1]), SIZED, CODED)
NOTHING = st.just((b"", b""))
FRAMED = st.one_of(NOTHING, SIZED, SIZED, SIZED, CODED, CODED, CODED, BOTH)
HOST = mostly(b"Host: a.example\r\n")(
    b"", b"Host: \r\n", b"Host: b.example\r\n", b"Host: a.example\r\nHost: a.example\r\n"
)
MESSAGE = st.builds(
    lambda method, target, version, end, host, fields, expect, framed, empty: (
        method
        + b" "
        + target
        + b" "
        + version
        + end
        + host
        + b"".join([*fields, *expect, framed[0]])
        + empty
        + framed[1]
    ),
    METHOD,
    TARGET,
    VERSION,
    END,
    HOST,
    st.lists(FIELD, max_size=3),
    EXPECT,
    FRAMED,
    mostly(b"\r\n")(b"\n", b"\r\n\r\n", b"\r"),
)
CUTS = st.lists(st.integers(min_value=0, max_value=400), max_size=5)


@st.composite
def mutated(draw):
    """A good vector with a few bytes changed, added or taken away."""
    raw = bytearray(draw(st.sampled_from([vector.raw for vector in vectors.ALL if vector.status == 0])))
    for _ in range(draw(st.integers(min_value=1, max_value=3))):
        place = draw(st.integers(min_value=0, max_value=len(raw)))
        bite = draw(
            st.sampled_from(
                [b"", b"\r", b"\n", b"\r\n", b" ", b"\t", b"\x00", b":", b"0", b",", b"\xff", b"\x0b", b"a"]
            )
        )
        raw[place : place + draw(st.integers(min_value=0, max_value=2))] = bite
    return bytes(raw)


fuzz = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])


@fuzz
@given(st.lists(MESSAGE, min_size=1, max_size=3), CUTS)
@example([b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n"] * 3, [1, 20, 21])
@example([b"\r\nGET / HTTP/1.1\r\nHost: a.example\r\n\r\n"], [1])
def test_composed_messages_mean_the_same_to_all_parsers(messages, cuts):
    agree(b"".join(messages), cuts)


@fuzz
@given(mutated(), CUTS)
def test_mutated_vectors_mean_the_same_to_all_parsers(raw, cuts):
    agree(raw, cuts)


@fuzz
@given(st.binary(max_size=200), CUTS)
def test_rubbish_is_refused_or_waits_but_is_no_request(raw, cuts):
    messages, _ = ours(b"\x00" + raw, cuts)
    assert messages == []


@pytest.mark.parametrize("vector", vectors.ALL, ids=lambda vector: vector.name)
def test_vectors_that_pass_mean_the_same_to_all_parsers(vector):
    messages = agree(vector.raw)
    assert len(messages) == (vector.status == 0)


@fuzz
@given(st.lists(st.binary(min_size=1, max_size=300), max_size=6), CUTS)
def test_chunked_bodies_come_out_as_they_went_in(chunks, cuts):
    raw = vectors.BODIES[0].raw.split(b"\r\n\r\n")[0] + b"\r\n\r\n"
    for chunk in chunks:
        raw += b"%x\r\n%b\r\n" % (len(chunk), chunk)
    raw += b"0\r\n\r\n"
    messages, refused = ours(raw, cuts)
    assert refused is None
    assert [message.body for message in messages] == [b"".join(chunks)]
