"""
The response parser against h11, on answers that were mutated, spliced and split anywhere.

Whatever h11 refuses or finds incomplete must never come out whole here; where both take an answer, they agree on it.
"""

from __future__ import annotations

import h11
from hypothesis import example, given, settings
from hypothesis import strategies as st

from suuupra_gateway.errors import GatewayError
from suuupra_gateway.http.answer import ResponseParser
from suuupra_gateway.http.hygiene import CONNECTION_FIELDS, AnswerNames

ANSWERS = [
    b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX-A: b\r\n\r\nhello",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-T\r\n\r\n2;ext=1\r\nhi\r\n0\r\nX-T: 1\r\n\r\n",
    b"HTTP/1.1 204 No Content\r\nServer: x\r\n\r\n",
    b'HTTP/1.1 304 Not Modified\r\nETag: "1"\r\nContent-Length: 7\r\n\r\n',
    b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nuntil the end",
    b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nhi",
    b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nhi",
    b"HTTP/1.0 200 OK\r\n\r\nold",
    b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi",
    b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\nHTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 503 Busy\r\nRetry-After: 1\r\nContent-Length: 4\r\n\r\nbusy",
]
PIECES = [
    b"Content-Length: 3\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Transfer-Encoding: gzip\r\n",
    b"Content-Length: +3\r\n",
    b"Connection: close\r\n",
    b" folded\r\n",
    b"X_Y: 1\r\n",
    b"\r\n",
    b"\n",
    b"\r",
    b"\x00",
    b":",
    b" ",
    b"0\r\n\r\n",
    b"1\r\nx\r\n",
    b"HTTP/1.1 200 OK\r\n",
    b"g",
    b"-1",
]


@st.composite
def mutated(draw):
    """An answer, most often with something cut out, put in, or doubled."""
    raw = draw(st.sampled_from(ANSWERS))
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, len(raw)))
        end = draw(st.integers(at, min(len(raw), at + 12)))
        raw = raw[:at] + draw(st.sampled_from([b"", *PIECES]) | st.binary(max_size=3)) + raw[end:]
    return raw


def split(raw, cuts):
    places = sorted({min(cut, len(raw)) for cut in cuts})
    return [piece for start, end in zip([0, *places], [*places, len(raw)], strict=True) if (piece := raw[start:end])]


def ours(pieces, head_only):
    """``(status, headers, body, trailers, surplus)`` if the answer is whole by the time the connection ends, else None."""
    parser = ResponseParser(AnswerNames(), 65536)
    parser.expect(head_only)
    head, body = None, b""
    try:
        for piece in pieces:
            if parser.complete:
                return head.status, head.headers, body, parser.trailers, True
            parser.feed(piece)
            if parser.head is not None:
                head, parser.head = parser.head, None
            body += parser.body()
        if not parser.complete:
            parser.eof()
    except GatewayError:
        return None
    return head.status, head.headers, body, parser.trailers, False


def theirs(pieces, method):
    """The same by h11."""
    connection = h11.Connection(h11.CLIENT)
    connection.send(h11.Request(method=method, target="/", headers=[("Host", "x")]))
    connection.send(h11.EndOfMessage())
    head, body = None, b""
    try:
        for piece in [*pieces, b""]:
            if connection.their_state is h11.DONE or connection.their_state is h11.MUST_CLOSE:
                break
            connection.receive_data(piece)
            while True:
                event = connection.next_event()
                if event is h11.NEED_DATA or event is h11.PAUSED:
                    break
                if isinstance(event, h11.Response):
                    head = event
                elif isinstance(event, h11.Data):
                    body += bytes(event.data)
                elif isinstance(event, h11.EndOfMessage):
                    return head.status_code, list(head.headers), body, list(event.headers)
                elif isinstance(event, h11.ConnectionClosed):
                    return None
    except h11.RemoteProtocolError:
        return None
    return None


DROPPED = CONNECTION_FIELDS | {b"content-length", b"x-gateway-error"}


@settings(max_examples=600, deadline=None)
@given(raw=mutated(), cuts=st.lists(st.integers(0, 200), max_size=6), head_only=st.booleans())
@example(
    raw=b"HTTP/1.1 103 Early Hints\r\n\r\n\nHTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n", cuts=[], head_only=False
)
@example(raw=ANSWERS[0][:-1], cuts=[], head_only=False)
@example(raw=ANSWERS[1][:-2], cuts=[], head_only=False)
@example(raw=ANSWERS[1][:-7], cuts=[40], head_only=False)
@example(raw=b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel", cuts=[10, 50], head_only=False)
def test_what_h11_does_not_take_for_whole_is_never_whole_here(raw, cuts, head_only):
    pieces = split(raw, cuts)
    found = ours(pieces, head_only)
    if found is None:
        return
    expected = theirs([raw], b"HEAD" if head_only else b"GET")
    assert expected is not None, f"h11 refuses what we take: {found}"
    status, headers, body, trailers, _ = found
    assert status == expected[0]
    assert body == expected[2]
    options = {
        option.strip() for name, value in expected[1] if name == b"connection" for option in value.lower().split(b",")
    }
    assert _plain(headers, options) == _plain(expected[1], options)
    assert _plain(trailers, set()) == _plain(expected[3], set())


def _plain(headers, nominated):
    return [(name, value.rstrip(b" \t")) for name, value in headers if name not in DROPPED and name not in nominated]


@settings(max_examples=200, deadline=None)
@given(raw=st.sampled_from(ANSWERS), cuts=st.lists(st.integers(0, 200), max_size=12))
def test_it_does_not_matter_where_an_answer_is_split(raw, cuts):
    assert ours(split(raw, cuts), False) == ours([raw], False) is not None


@given(raw=st.sampled_from([raw for raw in ANSWERS if b"until" not in raw and b"old" not in raw]), data=st.data())
def test_a_truncated_answer_is_never_whole(raw, data):
    end = data.draw(st.integers(0, len(raw) - 1))
    cuts = data.draw(st.lists(st.integers(0, 200), max_size=4))
    assert ours(split(raw[:end], cuts), False) is None


@settings(max_examples=300, deadline=None)
@given(
    junk=st.binary(max_size=300), cuts=st.lists(st.integers(0, 300), max_size=4), lead=st.sampled_from([b"", *ANSWERS])
)
def test_rubbish_raises_nothing_but_gateway_errors(junk, cuts, lead):
    ours(split(lead[: len(lead) // 2] + junk, cuts), False)
