"""
Heads one by one. What must be refused at all is in ``vectors.py``; here is how, and what is understood.
"""

import pytest

from suuupra_gateway.errors import (
    BadRequest,
    ExpectationFailed,
    HeadTooLarge,
    NotImplementedMethod,
    TargetTooLong,
    VersionNotSupported,
)
from suuupra_gateway.http.message import RequestHead
from suuupra_gateway.http.parser import RequestParser, check_line
from suuupra_gateway.http.rules import HeadRules


def parse(*lines, parser=None, **rules):
    raw = b"\r\n".join([*lines, b"", b""])
    return (parser or RequestParser(HeadRules(**rules))).parse(raw, raw.index(b"\r\n"))


HOST = b"Host: a.example"


def test_a_head_is_understood_whole():
    head = parse(b"GET /a/%7e?b=c HTTP/1.1", b"Host: A.example:8080", b"X-One: 1", b"x-one:\t2 ", b"Accept:")
    assert head.method == b"GET"
    assert head.target == b"/a/%7e?b=c"
    assert (head.path, head.query, head.escaped) == (b"/a/~", b"b=c", False)
    assert (head.authority, head.host) == (b"a.example:8080", b"a.example")
    assert head.version == b"1.1"
    assert head.headers == [(b"host", b"A.example:8080"), (b"x-one", b"1"), (b"x-one", b"2"), (b"accept", b"")]
    assert head.content_length is None
    assert not head.chunked
    assert not head.has_body


def test_no_slot_of_a_head_is_forgotten():
    """The parser fills the slots itself, four times as fast as the constructor."""
    head = parse(b"GET / HTTP/1.1", HOST)
    made = RequestHead(b"GET", b"/", [(b"host", b"a.example")], authority=b"a.example", host=b"a.example")
    assert {name: getattr(head, name) for name in RequestHead.__slots__} == {
        name: getattr(made, name) for name in RequestHead.__slots__
    }


def test_one_parser_takes_one_head_after_the_other():
    parser = RequestParser(HeadRules())
    assert parse(b"POST / HTTP/1.1", HOST, b"Content-Length: 5", parser=parser).content_length == 5
    assert parse(b"POST / HTTP/1.1", HOST, b"Transfer-Encoding: chunked", parser=parser).chunked
    upgrade = parse(b"GET / HTTP/1.1", HOST, b"Connection: upgrade", b"Upgrade: h2c", parser=parser)
    assert not upgrade.has_body
    with pytest.raises(BadRequest):
        parse(b"GET / HTTP/1.1", HOST, b"A : b", parser=parser)
    plain = parse(b"GET / HTTP/1.0", b"Connection: x, keep-alive", parser=parser)
    assert (plain.content_length, plain.chunked, plain.host) == (None, False, b"")
    assert parser.keep
    assert parse(b"GET / HTTP/1.1", HOST, parser=parser).host == b"a.example"


@pytest.mark.parametrize(
    ("version", "connection", "keep"),
    [
        (b"1.1", [], True),
        (b"1.1", [b"keep-alive"], True),
        (b"1.1", [b"close"], False),
        (b"1.1", [b"CLOSE"], False),
        (b"1.1", [b"keep-alive, close"], False),
        (b"1.1", [b"close", b"keep-alive"], False),
        (b"1.1", [b"keep-alive", b"close"], False),
        (b"1.1", [b"x-close"], True),
        (b"1.0", [], False),
        (b"1.0", [b"Keep-Alive"], True),
        (b"1.0", [b"keep-alive", b"te"], True),
        (b"1.0", [b"foo, KEEP-ALIVE"], True),
        (b"1.0", [b"close, keep-alive"], False),
    ],
)
def test_who_wants_to_keep_the_connection(version, connection, keep):
    parser = RequestParser(HeadRules())
    parse(b"GET / HTTP/" + version, HOST, *(b"Connection: " + value for value in connection), parser=parser)
    assert parser.keep is keep


@pytest.mark.parametrize(
    ("version", "expect", "expects"),
    [
        (b"1.1", b"100-continue", True),
        (b"1.1", b" 100-Continue ", True),
        (b"1.0", b"100-continue", False),
        (b"1.0", b"x", False),
    ],
)
def test_who_waits_for_a_100(version, expect, expects):
    parser = RequestParser(HeadRules())
    parse(b"POST / HTTP/" + version, HOST, b"Expect: " + expect, b"Content-Length: 5", parser=parser)
    assert parser.expects is expects


def test_other_expectations_fail():
    with pytest.raises(ExpectationFailed):
        parse(b"GET / HTTP/1.1", HOST, b"Expect: 100-continue, tea")


def test_underscored_and_dotted_names_are_dropped_and_counted():
    rules = HeadRules()
    parser = RequestParser(rules)
    for _ in range(2):
        head = parse(b"GET / HTTP/1.1", HOST, b"X_User: a", b"x.user: b", b"X-User: c", parser=parser)
        assert head.headers == [(b"host", b"a.example"), (b"x-user", b"c")]
    assert rules.counters.dropped_headers == 4


def test_underscored_names_are_refused_if_the_listener_says_so():
    with pytest.raises(BadRequest, match="_ or"):
        parse(b"GET / HTTP/1.1", HOST, b"X_User: a", underscores="reject")
    assert parse(b"GET / HTTP/1.1", HOST, b"X-User: a", underscores="reject").get(b"x-user") == b"a"


def test_underscored_names_stay_if_the_listener_says_so():
    assert parse(b"GET / HTTP/1.1", HOST, b"X_User: a", underscores="keep").get(b"x_user") == b"a"


def test_what_is_remembered_is_bounded():
    rules = HeadRules()
    parser = RequestParser(rules)
    for number in range(1100):
        head = parse(b"GET / HTTP/1.1", b"Host: a%d" % number, b"X-%d: x" % number, b"Y" * 65 + b": y", parser=parser)
        assert head.host == b"a%d" % number
        assert head.headers[1:] == [(b"x-%d" % number, b"x"), (b"y" * 65, b"y")]
    assert len(rules.names) <= 1024
    assert len(rules.hosts) <= 1024
    assert b"Y" * 65 not in rules.names


def test_hosts_that_are_mostly_white_space_are_not_remembered():
    rules = HeadRules()
    assert parse(b"GET / HTTP/1.1", HOST + b" " * 1000, parser=RequestParser(rules)).host == b"a.example"
    assert rules.hosts == {}


def test_names_that_frame_or_route_are_never_taken_for_harmless_ones():
    rules = HeadRules()
    parse(
        b"POST / HTTP/1.1",
        HOST,
        b"Content-Length: 1",
        b"Connection: close",
        b"Expect: 100-continue",
        b"A: b",
        parser=RequestParser(rules),
    )
    assert set(rules.names) == {b"A"}


@pytest.mark.parametrize(
    ("size", "fits"),
    [(100, True), (101, False)],
)
def test_limit_of_the_request_line(size, fits):
    line = b"GET /" + b"a" * (size - 14) + b" HTTP/1.1"
    assert len(line) == size
    if fits:
        assert parse(line, HOST, request_line=100).path
    else:
        with pytest.raises(TargetTooLong):
            parse(line, HOST, request_line=100)


@pytest.mark.parametrize(("size", "fits"), [(100, True), (101, False)])
def test_limit_of_all_fields_together(size, fits):
    field = b"A: " + b"b" * (size - len(HOST) - len(b"\r\nA: \r\n"))
    if fits:
        assert parse(b"GET / HTTP/1.1", HOST, field, head=100).headers
    else:
        with pytest.raises(HeadTooLarge):
            parse(b"GET / HTTP/1.1", HOST, field, head=100)


def test_limit_of_the_number_of_fields():
    assert len(parse(b"GET / HTTP/1.1", HOST, b"A: b", headers=2).headers) == 2
    with pytest.raises(HeadTooLarge):
        parse(b"GET / HTTP/1.1", HOST, b"A: b", b"A: b", headers=2)


def test_absolute_form_names_the_host_of_an_old_client():
    head = parse(b"GET http://A.example:81/x?y HTTP/1.0")
    assert (head.authority, head.host, head.path, head.query) == (b"a.example:81", b"a.example", b"/x", b"y")


def test_absolute_form_must_agree_with_host():
    parser = RequestParser(HeadRules())
    for _ in range(2):
        assert parse(b"GET http://a.EXAMPLE/x HTTP/1.1", HOST, parser=parser).path == b"/x"
    with pytest.raises(BadRequest, match="authority"):
        parse(b"GET http://a.example:80/x HTTP/1.1", HOST)


def test_slashes_are_merged_unless_the_listener_says_otherwise():
    assert parse(b"GET //a//b HTTP/1.1", HOST).path == b"/a/b"
    assert parse(b"GET //a//b HTTP/1.1", HOST, merge_slashes=False).path == b"//a//b"


@pytest.mark.parametrize(
    ("line", "error"),
    [
        (b"BREW / HTTP/1.1", NotImplementedMethod),
        (b"CONNECT a:1 HTTP/1.1", NotImplementedMethod),
        (b"GET / HTTP/2.0", VersionNotSupported),
        (b"GET /", BadRequest),
        (b"GET  / HTTP/1.1", BadRequest),
        (b"GET  HTTP/1.1", BadRequest),
        (b"GE(T / HTTP/1.1", BadRequest),
        (b"GET / HTTP/x.1", BadRequest),
    ],
)
def test_request_lines_can_be_checked_before_the_rest_is_there(line, error):
    check_line(b"GET / HTTP/1.1")
    with pytest.raises(error):
        check_line(line)
    with pytest.raises(error):
        parse(line, HOST)


def test_a_head_that_ends_early_or_late_is_refused():
    parser = RequestParser(HeadRules())
    two = b"GET / HTTP/1.1\r\nHost: a\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n"
    with pytest.raises(BadRequest):
        parser.parse(two, 14)
    with pytest.raises(BadRequest, match="does not end"):
        parser.parse(b"GET / HTTP/1.1\r\nHost: a\r\n", 14)


@pytest.mark.parametrize(
    "fields",
    [
        [b"Host: b.example"],
        [b"Content-Length: 1", b"Transfer-Encoding: chunked"],
        [b"Transfer-Encoding: chunked", b"Content-Length: 1"],
        [b"Content-Length: 1", b"Content-Length: 1"],
        [b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked"],
        [b"Transfer-Encoding: gzip, chunked"],
        [b"Content-Length: 9999999999999999999"],
    ],
)
def test_framing_that_can_be_read_in_two_ways_is_refused(fields):
    with pytest.raises(BadRequest):
        parse(b"POST / HTTP/1.1", HOST, *fields)


def test_framing_is_decided_here_even_if_the_tokeniser_lets_it_pass():
    """llhttp catches these first; its behaviour is not what we rest on."""
    parser = RequestParser(HeadRules())
    head = RequestHead(b"POST", b"/", [])
    parser._coding, parser._length = b"chunked", b"1"
    with pytest.raises(BadRequest, match="both"):
        parser._set_framing(head)
    parser._coding, parser._length = None, b"+1"
    with pytest.raises(BadRequest, match="malformed"):
        parser._set_framing(head)


def test_an_old_client_may_not_chunk():
    with pytest.raises(BadRequest, match=r"HTTP/1\.0"):
        parse(b"POST / HTTP/1.0", HOST, b"Transfer-Encoding: chunked")


@pytest.mark.parametrize("host", [b"", b"a b", b"a,b"])
def test_hosts_that_are_none_are_refused(host):
    with pytest.raises(BadRequest, match="Host"):
        parse(b"GET / HTTP/1.1", b"Host: " + host)


def test_a_host_must_be_named():
    with pytest.raises(BadRequest, match="no Host"):
        parse(b"GET / HTTP/1.1", b"A: b")


@pytest.mark.parametrize("name", [b"Host", b"Content-Length", b"Transfer-Encoding"])
def test_nothing_that_frames_or_routes_is_taken_twice(name):
    """llhttp lets some of these pass and not others; which ones is not what we rest on."""
    parser = RequestParser(HeadRules())
    parse(b"GET / HTTP/1.1", HOST, parser=parser)
    parser._host = parser._length = parser._coding = None
    assert parser._classify(name, b"5") == name.lower()
    with pytest.raises(BadRequest, match=name.decode()):
        parser._classify(name.lower(), b"5")


# -- repeated heads ---------------------------------------------------------------------------------------------------


LINES = b"\r\nHost: a.example\r\nAccept: */*\r\nConnection: keep-alive\r\n\r\n"


def several(*raws: bytes, rules: HeadRules | None = None):
    parser = RequestParser(rules or HeadRules())
    return [parser.parse(raw, raw.index(b"\r\n")) for raw in raws], parser


def test_a_repeated_head_is_recognised_from_the_third_time_on_and_equals_the_first():
    heads, parser = several(*[b"GET /%d?q HTTP/1.1" % number + LINES for number in range(4)])
    assert [head.block is not None for head in heads] == [False, False, True, True]
    for number, head in enumerate(heads):
        assert (head.path, head.query, head.target) == (b"/%d" % number, b"q", b"/%d?q" % number)
        assert head.headers == heads[0].headers
        assert (head.authority, head.host, head.method) == (b"a.example", b"a.example", b"GET")
        assert (head.version, head.content_length, head.chunked, head.params) == (b"1.1", None, False, None)
    assert parser.keep
    assert not parser.expects


def test_a_long_head_is_read_each_time_and_not_kept():
    heads, parser = several(*[b"GET / HTTP/1.1" + LINES.replace(b"*/*", b"a" * 5000)] * 4)
    assert [head.block for head in heads] == [None] * 4
    assert parser._lines == b""


def test_editing_a_repeated_head_does_not_change_the_next():
    raw = b"GET / HTTP/1.1" + LINES
    parser = RequestParser(HeadRules())
    for _ in range(4):
        head = parser.parse(raw, raw.index(b"\r\n"))
        assert len(head.headers) == 3
        head.headers.clear()


@pytest.mark.parametrize(
    "lines",
    [
        LINES.replace(b"Accept: */*", b"Content-Length: 0"),
        LINES.replace(b"Accept: */*", b"Transfer-Encoding: chunked"),
        LINES.replace(b"Accept: */*", b"Expect: 100-continue"),
        LINES.replace(b"Accept", b"X_Dropped"),
    ],
)
def test_heads_that_say_more_than_fields_are_read_each_time(lines):
    heads, _ = several(*[b"POST / HTTP/1.1" + lines] * 4)
    assert [head.block for head in heads] == [None] * 4


def test_a_repeated_head_of_another_version_is_read_by_the_rules_of_that_version():
    heads, parser = several(
        *[b"GET / HTTP/1.1" + LINES] * 3, b"GET / HTTP/1.0" + LINES.replace(b"keep-alive", b"close")
    )
    assert (heads[-1].version, heads[-1].block, parser.keep) == (b"1.0", None, False)
    heads, _ = several(*[b"GET / HTTP/1.1" + LINES] * 3, b"GET / HTTP/1.0" + LINES)
    assert (heads[-1].version, heads[-1].block) == (b"1.0", None)


def test_a_repeated_head_keeps_the_rules_for_its_request_line():
    raws = [b"GET / HTTP/1.1" + LINES] * 3
    heads, _ = several(*raws, b"GET http://A.example/x HTTP/1.1" + LINES)
    assert (heads[-1].path, heads[-1].authority) == (b"/x", b"a.example")
    for line, error in [
        (b"GET http://b.example/ HTTP/1.1", BadRequest),
        (b"GET /#f HTTP/1.1", BadRequest),
        (b"GET /" + b"x" * 9000 + b" HTTP/1.1", TargetTooLong),
    ]:
        with pytest.raises(error):
            several(*raws, line + LINES)
