"""
Requests that have split gateways from their upstreams, as raw bytes, and what becomes of each here.

A refused one is answered with ``status``, and the connection closed. An accepted one is exactly one message with the given
method, path, body and trailers; what is behind it (``rest``) is the next request, which the vectors leave alone.
"""

from __future__ import annotations

import attrs

from suuupra_gateway.http.message import Pairs

_HOST = b"Host: a.example\r\n"


@attrs.frozen
class Vector:
    """One case."""

    name: str
    raw: bytes
    status: int = 400
    """0 if it is accepted."""

    method: bytes = b"POST"
    path: bytes = b"/"
    body: bytes = b""
    trailers: Pairs = attrs.field(factory=list)
    dropped: int = 0
    """Header fields that are left out."""


def _get(name: str, fields: bytes, status: int = 400, **expected: object) -> Vector:
    return Vector(name, b"GET / HTTP/1.1\r\n" + _HOST + fields + b"\r\n", status, **{"method": b"GET", **expected})


def _line(name: str, line: bytes, status: int = 400, **expected: object) -> Vector:
    return Vector(name, line + b"\r\n" + _HOST + b"\r\n", status, **{"method": b"GET", **expected})


def _post(name: str, fields: bytes, payload: bytes, status: int = 400, **expected: object) -> Vector:
    return Vector(name, b"POST / HTTP/1.1\r\n" + _HOST + fields + b"\r\n" + payload, status, **expected)


def _chunks(name: str, payload: bytes, status: int = 400, **expected: object) -> Vector:
    return _post(name, b"Transfer-Encoding: chunked\r\n", payload, status, **expected)


SMUGGLED = b"GET /admin HTTP/1.1\r\nHost: a.example\r\n\r\n"

FRAMING = [
    _post("CL.TE", b"Content-Length: 6\r\nTransfer-Encoding: chunked\r\n", b"0\r\n\r\nG"),
    _post("TE.CL", b"Transfer-Encoding: chunked\r\nContent-Length: 3\r\n", b"1\r\nZ\r\n0\r\n\r\n"),
    _post("CL 0 and TE", b"Content-Length: 0\r\nTransfer-Encoding: chunked\r\n", b"0\r\n\r\n"),
    _post("two equal CL", b"Content-Length: 5\r\nContent-Length: 5\r\n", b"hello"),
    _post("two different CL", b"Content-Length: 5\r\nContent-Length: 6\r\n", b"hello!"),
    _post("two CL, other case", b"Content-Length: 5\r\ncontent-length: 5\r\n", b"hello"),
    _post("CL list", b"Content-Length: 5, 5\r\n", b"hello"),
    _post("CL list without space", b"Content-Length: 5,5\r\n", b"hello"),
    _post("CL plus", b"Content-Length: +5\r\n", b"hello"),
    _post("CL minus", b"Content-Length: -5\r\n", b"hello"),
    _post("CL hex", b"Content-Length: 0x5\r\n", b"hello"),
    _post("CL with underscore", b"Content-Length: 1_0\r\n", b"helloworld"),
    _post("CL decimal point", b"Content-Length: 5.0\r\n", b"hello"),
    _post("CL exponent", b"Content-Length: 1e1\r\n", b"helloworld"),
    _post("CL inner space", b"Content-Length: 1 0\r\n", b"helloworld"),
    _post("CL empty", b"Content-Length:\r\n", b""),
    _post("CL blank", b"Content-Length: \r\n", b""),
    _post("CL quoted", b'Content-Length: "5"\r\n', b"hello"),
    _post("CL 2^64 and 5", b"Content-Length: 18446744073709551621\r\n", b"hello"),
    _post("CL 2^63", b"Content-Length: 9223372036854775808\r\n", b"hello"),
    _post("CL Arabic digit", "Content-Length: \u0665\r\n".encode(), b"hello"),
    _post("CL vertical tab", b"Content-Length: \x0b5\r\n", b"hello"),
    _post("CL form feed behind", b"Content-Length: 5\x0c\r\n", b"hello"),
    _post("CL NUL behind", b"Content-Length: 5\x00\r\n", b"hello"),
    _post("CL leading zeros", b"Content-Length: 005\r\n", b"hello", 0, body=b"hello"),
    _post("CL white space around", b"Content-Length: \t 5 \t\r\n", b"hello", 0, body=b"hello"),
    _post("CL of 0", b"Content-Length: 0\r\n", b"", 0),
    _post("CL with a space before the colon", b"Content-Length : 5\r\n", b"hello"),
    _post("CL with a tab before the colon", b"Content-Length\t: 5\r\n", b"hello"),
    _post("TE with a space before the colon", b"Transfer-Encoding : chunked\r\n", b"0\r\n\r\n"),
    _post("TE xchunked", b"Transfer-Encoding: xchunked\r\n", b"0\r\n\r\n"),
    _post("TE identity", b"Transfer-Encoding: identity\r\n", b""),
    _post("TE identity and CL", b"Transfer-Encoding: identity\r\nContent-Length: 5\r\n", b"hello"),
    _post("TE gzip", b"Transfer-Encoding: gzip\r\n", b""),
    _post("TE gzip, chunked", b"Transfer-Encoding: gzip, chunked\r\n", b"0\r\n\r\n"),
    _post("TE chunked, identity", b"Transfer-Encoding: chunked, identity\r\n", b"0\r\n\r\n"),
    _post("TE chunked, chunked", b"Transfer-Encoding: chunked, chunked\r\n", b"0\r\n\r\n"),
    _post("TE twice", b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", b"0\r\n\r\n"),
    _post("TE cow, then chunked", b"Transfer-Encoding: cow\r\nTransfer-Encoding: chunked\r\n", b"0\r\n\r\n"),
    _post("TE chunked, then cow", b"Transfer-Encoding: chunked\r\nTransfer-Encoding: cow\r\n", b"0\r\n\r\n"),
    _post("TE trailing comma", b"Transfer-Encoding: chunked,\r\n", b"0\r\n\r\n"),
    _post("TE leading comma", b"Transfer-Encoding: ,chunked\r\n", b"0\r\n\r\n"),
    _post("TE quoted", b'Transfer-Encoding: "chunked"\r\n', b"0\r\n\r\n"),
    _post("TE with parameter", b"Transfer-Encoding: chunked;q=1\r\n", b"0\r\n\r\n"),
    _post("TE vertical tab", b"Transfer-Encoding: \x0bchunked\r\n", b"0\r\n\r\n"),
    _post("TE NUL", b"Transfer-Encoding: chunked\x00\r\n", b"0\r\n\r\n"),
    _post("TE no-break space", b"Transfer-Encoding: \xa0chunked\r\n", b"0\r\n\r\n"),
    _post("TE empty", b"Transfer-Encoding:\r\n", b"0\r\n\r\n"),
    _post("TE by obs-fold", b"Transfer-Encoding:\r\n chunked\r\n", b"0\r\n\r\n"),
    _post("TE in mixed case", b"Transfer-Encoding: ChUnKeD\r\n", b"0\r\n\r\n", 0),
    _post("TE white space around", b"Transfer-Encoding: \tchunked \r\n", b"0\r\n\r\n", 0),
    Vector("TE on HTTP/1.0", b"POST / HTTP/1.0\r\n" + _HOST + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    Vector(
        "TE on HTTP/1.0 that keeps alive",
        b"POST / HTTP/1.0\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ),
    Vector(
        "TE on GET is a body",
        b"GET / HTTP/1.1\r\n" + _HOST + b"Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n",
        0,
        method=b"GET",
        body=b"x",
    ),
    _get("underscore instead of a hyphen in TE", b"Transfer_Encoding: chunked\r\n", 0, dropped=1),
    _get("underscore instead of a hyphen in CL", b"Content_Length: 5\r\n", 0, dropped=1),
    _get("underscored identity", b"X_User_Id: root\r\n", 0, dropped=1),
    _get("dotted identity", b"X.User.Id: root\r\n", 0, dropped=1),
]

HEADS = [
    _get("bare LF ends a field", b"A: b\nTransfer-Encoding: chunked\r\n"),
    _get("bare CR in a value", b"A: b\rc\r\n"),
    _get("bare CR hides a field", b"A: b\rTransfer-Encoding: chunked\r\n"),
    _get("CR CR LF", b"A: b\r\r\n"),
    _get("NUL in a value", b"A: b\x00c\r\n"),
    _get("DEL in a value", b"A: b\x7fc\r\n"),
    _get("BEL in a value", b"A: b\x07c\r\n"),
    _get("form feed in a value", b"A: b\x0cc\r\n"),
    _get("NUL in a name", b"A\x00: b\r\n"),
    _get("obs-fold with a space", b"A: b\r\n c\r\n"),
    _get("obs-fold with a tab", b"A: b\r\n\tc\r\n"),
    _get("obs-fold hides framing", b"A: b\r\n Content-Length: 5\r\n"),
    Vector("white space before the first field", b"GET / HTTP/1.1\r\n " + _HOST + b"\r\n"),
    Vector("tab before the first field", b"GET / HTTP/1.1\r\n\t" + _HOST + b"\r\n"),
    _get("space before the colon", b"A : b\r\n"),
    _get("no name", b": b\r\n"),
    _get("no colon", b"A\r\n"),
    _get("name in parentheses", b"A(b): c\r\n"),
    _get("name with a quote", b'"A": b\r\n'),
    _get("name with a slash", b"A/B: c\r\n"),
    _get("name beyond ASCII", b"\xc3\x84: b\r\n"),
    _get("name with a no-break space", b"A\xa0: b\r\n"),
    _get("empty value", b"A:\r\n", 0),
    _get("obs-text in a value", b"A: \xc3\xa4\r\n", 0),
    _get("tab in a value", b"A: b\tc\r\n", 0),
    Vector("no Host", b"GET / HTTP/1.1\r\n\r\n"),
    _get("two Hosts", _HOST),
    _get("two different Hosts", b"Host: b.example\r\n"),
    _get("two Hosts, other case", b"hOsT: a.example\r\n"),
    Vector("empty Host", b"GET / HTTP/1.1\r\nHost:\r\n\r\n"),
    Vector("Host with a path", b"GET / HTTP/1.1\r\nHost: a.example/x\r\n\r\n"),
    Vector("Host with a user", b"GET / HTTP/1.1\r\nHost: a@b.example\r\n\r\n"),
    Vector("Host of two", b"GET / HTTP/1.1\r\nHost: a.example, b.example\r\n\r\n"),
    Vector("Host with a space", b"GET / HTTP/1.1\r\nHost: a example\r\n\r\n"),
    Vector("Host as HTML", b"GET / HTTP/1.1\r\nHost: <script>\r\n\r\n"),
    Vector("Host with an escape", b"GET / HTTP/1.1\r\nHost: a%2eexample\r\n\r\n"),
    Vector("Host with a wrong port", b"GET / HTTP/1.1\r\nHost: a.example:8o\r\n\r\n"),
    Vector("Host beyond ASCII", "GET / HTTP/1.1\r\nHost: ä.example\r\n\r\n".encode()),
    Vector("Host with a port", b"GET / HTTP/1.1\r\nHost: A.example.:8080\r\n\r\n", 0, method=b"GET"),
    Vector("Host as IPv6", b"GET / HTTP/1.1\r\nHost: [2001:db8::1]:8080\r\n\r\n", 0, method=b"GET"),
    Vector("HTTP/1.0 without Host", b"GET / HTTP/1.0\r\n\r\n", 0, method=b"GET"),
    _get("expectation we cannot meet", b"Expect: 200-ok\r\n", 417),
    _get("two expectations", b"Expect: 100-continue\r\nExpect: tea\r\n", 417),
    _get("empty expectation", b"Expect:\r\n", 417),
]

LINES = [
    _line("two spaces before the target", b"GET  / HTTP/1.1"),
    _line("two spaces before the version", b"GET /  HTTP/1.1"),
    _line("tab before the target", b"GET\t/ HTTP/1.1"),
    _line("space behind the version", b"GET / HTTP/1.1 "),
    _line("space before the method", b" GET / HTTP/1.1"),
    _line("form feed before the version", b"GET /\x0cHTTP/1.1"),
    _line("space in the target", b"GET /a b HTTP/1.1"),
    _line("bare CR in the target", b"GET /a\rb HTTP/1.1"),
    _line("NUL in the target", b"GET /a\x00b HTTP/1.1"),
    _line("control in the target", b"GET /a\x01b HTTP/1.1"),
    _line("DEL in the target", b"GET /a\x7f HTTP/1.1"),
    _line("8-bit target", b"GET /\xc3\xa4 HTTP/1.1"),
    _line("fragment", b"GET /a#b HTTP/1.1"),
    _line("backslash", b"GET /a\\..\\b HTTP/1.1"),
    _line("target without a slash", b"GET a HTTP/1.1"),
    _line("asterisk for GET", b"GET * HTTP/1.1"),
    _line("asterisk for OPTIONS", b"OPTIONS * HTTP/1.1", 0, method=b"OPTIONS", path=b"*"),
    _line("absolute-form of another host", b"GET http://b.example/ HTTP/1.1"),
    _line("absolute-form with a user", b"GET http://a.example@b.example/ HTTP/1.1"),
    _line("absolute-form of another scheme", b"GET gopher://a.example/ HTTP/1.1"),
    _line("absolute-form", b"GET http://A.example/x HTTP/1.1", 0, path=b"/x"),
    _line("climbing path", b"GET /../../etc/passwd HTTP/1.1"),
    _line("dots resolve once", b"GET /a/./b/../c HTTP/1.1", 0, path=b"/a/c"),
    _line("escapes are normalised", b"GET /%61%2fb HTTP/1.1", 0, path=b"/a%2Fb"),
    _line("HTTP/0.9", b"GET /"),
    _line("HTTP/0.9 in words", b"GET / HTTP/0.9", 505),
    _line("HTTP/1.2", b"GET / HTTP/1.2", 505),
    _line("HTTP/2.0", b"GET / HTTP/2.0", 505),
    _line("HTTP/1.01", b"GET / HTTP/1.01"),
    _line("http/1.1", b"GET / http/1.1"),
    _line("HTTP/1", b"GET / HTTP/1"),
    _line("HTTP /1.1", b"GET / HTTP /1.1"),
    _line("version with a sign", b"GET / HTTP/+1.1"),
    _line("ICE/1.0", b"SOURCE / ICE/1.0"),
    _line("RTSP/1.0", b"DESCRIBE / RTSP/1.0"),
    _line("no method", b"/ HTTP/1.1"),
    _line("nothing but spaces", b"  "),
    _line("lower-case method", b"get / HTTP/1.1", 501),
    _line("unknown method", b"BREW / HTTP/1.1", 501),
    _line("method with a delimiter", b"GE(T / HTTP/1.1"),
    _line("CONNECT", b"CONNECT a.example:443 HTTP/1.1", 501),
    Vector("HTTP/2 preface", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
    Vector("TLS to a plain port", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(64)),
    Vector("bare LF everywhere", b"GET / HTTP/1.1\nHost: a.example\n\n"),
    Vector("bare LF behind the request line", b"GET / HTTP/1.1\n" + _HOST + b"\r\n"),
    Vector("bare LF as the empty line", b"GET / HTTP/1.1\r\n" + _HOST + b"\n" + SMUGGLED),
    Vector("empty line before it", b"\r\n" + SMUGGLED, 0, method=b"GET", path=b"/admin"),
    Vector("two empty lines before it", b"\r\n\r\n" + SMUGGLED),
    Vector("bare LF before it", b"\n" + SMUGGLED),
    Vector("byte order mark before it", b"\xef\xbb\xbf" + SMUGGLED),
]

BODIES = [
    _chunks("plain chunks", b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n", 0, body=b"abcde"),
    _chunks("chunk size in either case", b"a\r\n0123456789\r\nA\r\n0123456789\r\n0\r\n\r\n", 0, body=b"0123456789" * 2),
    _chunks("chunk size with zeros", b"0003\r\nabc\r\n000\r\n\r\n", 0, body=b"abc"),
    _chunks("chunk extension", b'3;a=b;c="d e"\r\nabc\r\n0;x\r\n\r\n', 0, body=b"abc"),
    _chunks("chunk size with 0x", b"0x3\r\nabc\r\n0\r\n\r\n"),
    _chunks("chunk size with plus", b"+3\r\nabc\r\n0\r\n\r\n"),
    _chunks("chunk size with minus", b"-3\r\nabc\r\n0\r\n\r\n"),
    _chunks("chunk size with underscore", b"0_3\r\nabc\r\n0\r\n\r\n"),
    _chunks("chunk size with a space before", b" 3\r\nabc\r\n0\r\n\r\n"),
    _chunks("chunk size with a space behind", b"3 \r\nabc\r\n0\r\n\r\n"),
    _chunks("chunk size with a tab behind", b"3\t;a\r\nabc\r\n0\r\n\r\n"),
    _chunks("no chunk size", b"\r\nabc\r\n0\r\n\r\n"),
    _chunks("extension without a size", b";a\r\nabc\r\n0\r\n\r\n"),
    _chunks("chunk size of 2^64", b"10000000000000003\r\nabc\r\n0\r\n\r\n"),
    _chunks("chunk size of 2^32 and 3 that wraps", b"100000000000000000000000000000003\r\nabc\r\n0\r\n\r\n"),
    _chunks("chunk size that is no number", b"xyz\r\nabc\r\n0\r\n\r\n"),
    _chunks("chunk size ends with bare LF", b"3\nabc\r\n0\r\n\r\n"),
    _chunks("chunk size ends with bare CR", b"3\rabc\r\n0\r\n\r\n"),
    _chunks("bare LF in an extension", b"3;a\nb\r\nabc\r\n0\r\n\r\n"),
    _chunks("bare CR in an extension", b"3;a\rb\r\nabc\r\n0\r\n\r\n"),
    _chunks("NUL in an extension", b"3;a\x00\r\nabc\r\n0\r\n\r\n"),
    _chunks("8-bit extension", b"3;\xff\r\nabc\r\n0\r\n\r\n"),
    _chunks("endless extension", b"3;" + b"a" * 600 + b"\r\nabc\r\n0\r\n\r\n"),
    _chunks("many long extensions", (b"1;" + b"a" * 500 + b"\r\nx\r\n") * 40 + b"0\r\n\r\n"),
    _chunks("chunk longer than its size", b"3\r\nabcd\r\n0\r\n\r\n"),
    _chunks("chunk shorter than its size", b"3\r\nab\r\n0\r\n\r\n"),
    _chunks("chunk data ends with bare LF", b"3\r\nabc\n0\r\n\r\n"),
    _chunks("chunk data ends with LF CR", b"3\r\nabc\n\r0\r\n\r\n"),
    _chunks("a trailer", b"0\r\nX-Sum: 1 \r\n\r\n", 0, trailers=[(b"x-sum", b"1")]),
    _chunks("an underscored trailer", b"0\r\nX_Sum: 1\r\nX-Sum: 2\r\n\r\n", 0, trailers=[(b"x-sum", b"2")]),
    _chunks("trailer ends with bare LF", b"0\r\nX-Sum: 1\n\r\n"),
    _chunks("trailers end with bare LF", b"0\r\n\n" + SMUGGLED),
    _chunks("trailer without a colon", b"0\r\nX-Sum\r\n\r\n"),
    _chunks("trailer with a space before the colon", b"0\r\nX-Sum : 1\r\n\r\n"),
    _chunks("folded trailer", b"0\r\nX-Sum: 1\r\n 2\r\n\r\n"),
    _chunks("NUL in a trailer", b"0\r\nX-Sum: 1\x00\r\n\r\n"),
    _chunks("Content-Length as a trailer", b"0\r\nContent-Length: 5\r\n\r\n"),
    _chunks("Transfer-Encoding as a trailer", b"0\r\nTransfer-Encoding: chunked\r\n\r\n"),
    _chunks("Host as a trailer", b"0\r\nHost: b.example\r\n\r\n"),
    _chunks("endless trailers", b"0\r\n" + b"A: b\r\n" * 101 + b"\r\n", 431),
    _chunks("huge trailer", b"0\r\nA: " + b"b" * 40_000 + b"\r\n\r\n", 431),
    _post(
        "h2c with a length",
        b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\nContent-Length: 5\r\n",
        b"hello",
        0,
        body=b"hello",
    ),
    _post(
        "h2c with chunks",
        b"Connection: Upgrade\r\nUpgrade: h2c\r\nTransfer-Encoding: chunked\r\n",
        b"5\r\nhello\r\n0\r\n\r\n",
        0,
        body=b"hello",
    ),
    _post(
        "websocket with a body",
        b"Connection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 5\r\n",
        b"hello",
        0,
        body=b"hello",
    ),
    _get("websocket", b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n", 0),
]

SIZES = [
    Vector("request line too long", b"GET /" + b"a" * 8200 + b" HTTP/1.1\r\n" + _HOST + b"\r\n", 414),
    Vector("endless request line", b"GET /" + b"a" * 9000, 414),
    _get("field too long", b"A: " + b"b" * 40_000 + b"\r\n", 431),
    Vector("endless field", b"GET / HTTP/1.1\r\nA: " + b"b" * 40_000, 431),
    _get("too many fields", b"A: b\r\n" * 100, 431),
    Vector("endless fields", b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 102, 431),
    _get("as many fields as allowed", b"A: b\r\n" * 99, 0),
]

ALL = [*FRAMING, *HEADS, *LINES, *BODIES, *SIZES]
