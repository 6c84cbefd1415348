"""
What an exchange is, on both HTTP stacks: the gateway's own, and Twisted Web's, which is the reference.

Each behaviour runs on both. What they may differ in is said where it is: nothing but connection management, the ``Date``, and
what Twisted cannot do (trailers, detaching).
"""

import json
import math
import re

import pytest
from zope.interface.verify import verifyObject

from suuupra_gateway.errors import BodyTooLarge, Bug, ClientGone, NoPeer, UpgradeRefused
from suuupra_gateway.http.cycle import ImpossibleStep
from suuupra_gateway.http.message import Reply, ResponseHead
from suuupra_gateway.interfaces import IBody, IExchange
from suuupra_gateway.routing.resource import GatewayResource
from suuupra_gateway.routing.table import Refusal
from tests.contract.stacks import STACKS
from tests.http.edge import CHUNKED, GET, HEAD, OK, OLD_GET, POST, Collecting, Pacer, respond, take

HOST = b"Host: a.example\r\n"


@pytest.fixture(params=STACKS, autouse=True)
def stack(request):
    """Makes a stack whose root does as it is told."""
    return STACKS[request.param]


def nothing(exchange):
    """Answer later."""


def starts(*pieces, length=None, headers=(), status=200, finish=True, reason=b""):
    """Answer with a stream."""

    def answer(exchange):
        exchange.start(ResponseHead(status, list(headers), length=length, reason=reason))
        for piece in pieces:
            exchange.write(piece)
        if finish:
            exchange.finish()

    return answer


class Route:
    name = "r"
    request_hooks = response_hooks = transform_hooks = ()

    def __init__(self, done=(), reply=()):
        self.done_hooks = done
        self.reply_hooks = reply


def chunked(*pieces):
    return b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"


# -- what the request is -----------------------------------------------------------------------------------------------


def test_it_provides_the_interfaces(stack):
    one = stack(nothing)
    one.send(GET)
    verifyObject(IExchange, one.exchange)
    verifyObject(IBody, one.exchange.body)


def test_it_knows_the_request(stack):
    one = stack(nothing)
    one.send(
        b"PUT //a/./b%7e/../c?x=%2f&y HTTP/1.1\r\nHost: A.Example.:8080\r\nX-One: 1\r\nx-two:  2 \r\nX-One: 3\r\n"
        b"X_Three: 4\r\nContent-Length: 0\r\n\r\n"
    )
    exchange = one.exchange
    head = exchange.head
    assert (head.method, head.version) == (b"PUT", b"1.1")
    assert head.target == b"//a/./b%7e/../c?x=%2f&y"
    assert (head.path, head.query, head.escaped) == (b"/a/c", b"x=%2f&y", False)
    assert (head.authority, head.host) == (b"a.example.:8080", b"a.example")
    assert [value for name, value in head.headers if name == b"x-one"] == [b"1", b"3"]
    assert head.get(b"x-two") == b"2"
    assert head.get(b"x_three") is None, "Practice: names with underscores are dropped"
    assert (head.content_length, head.chunked, head.has_body, head.params, head.prefix) == (0, False, False, None, b"")
    assert (exchange.peer, exchange.client, exchange.secure) == ("192.0.2.7", "192.0.2.7", False)
    assert re.fullmatch(rb"[A-Za-z0-9_-]{1,64}", exchange.id)
    assert exchange.deadline == math.inf
    assert exchange.route is exchange.principal is None
    assert exchange.slots == []
    assert exchange.outcome.status == 0


def test_ids_differ(stack):
    one = stack()
    for _ in range(50):
        one.send(GET)
    assert len({exchange.id for exchange in one.exchanges}) == 50


def test_nobody_is_believed_who_is_not_trusted(stack):
    one = stack(nothing)
    one.send(GET[:-2] + b"X-Forwarded-For: 10.0.0.1\r\nX-Forwarded-Proto: https\r\nX-Request-Id: mine\r\n\r\n")
    assert (one.exchange.client, one.exchange.secure) == ("192.0.2.7", False)
    assert one.exchange.id != b"mine"


def test_routes_and_filters_do_not_see_what_strangers_say_of_others(stack):
    one = stack(nothing)
    said = (b"X-Forwarded-For: 10.0.0.1", b"x-forwarded-user: root", b"Forwarded: for=10.0.0.1", b"X-Real-IP: 10.0.0.1")
    one.send(GET[:-2] + b"\r\n".join((*said, b"X-Kept: 1")) + b"\r\n\r\n")
    assert sorted(name for name, _ in one.exchange.head.headers) == [b"host", b"x-kept"]


def test_escapes_that_many_routes_refuse_are_flagged(stack):
    one = stack(nothing)
    one.send(b"GET /a%2fb HTTP/1.1\r\n" + HOST + b"\r\n")
    assert (one.exchange.head.path, one.exchange.head.escaped) == (b"/a%2Fb", True)


def test_an_absolute_target_names_the_same_host(stack):
    one = stack(nothing)
    one.send(b"GET http://a.example/x HTTP/1.1\r\n" + HOST + b"\r\n")
    assert (one.exchange.head.path, one.exchange.head.host) == (b"/x", b"a.example")


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n" + HOST + HOST + b"\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n", 400),
        (b"GET /%zz HTTP/1.1\r\n" + HOST + b"\r\n", 400),
        (b"GET /../x HTTP/1.1\r\n" + HOST + b"\r\n", 400),
        (b"GET /#x HTTP/1.1\r\n" + HOST + b"\r\n", 400),
        (b"GET http://b.example/ HTTP/1.1\r\n" + HOST + b"\r\n", 400),
        (b"BREW / HTTP/1.1\r\n" + HOST + b"\r\n", 501),
    ],
)
def test_what_is_malformed_or_ambiguous_is_refused(stack, request_, status):
    one = stack(resource=GatewayResource(Planned(Refusal((), None))))
    one.send(request_)
    answer = one.answer()
    assert answer.status == status
    assert answer.headers[b"content-type"] == b"application/problem+json"
    assert json.loads(answer.body)["code"] in ("bad_request", "not_implemented")


# -- its body ----------------------------------------------------------------------------------------------------------


def test_a_body_of_known_length(stack):
    one = stack(nothing)
    one.send(POST + b"12345")
    head, body = one.exchange.head, one.exchange.body
    assert (head.content_length, head.chunked, head.has_body) == (5, False, True)
    assert (body.received, body.complete) == (0, False)
    sink = Collecting()
    body.subscribe(sink)
    assert (sink.data, sink.trailers, sink.error) == (b"12345", [], None)
    assert (body.received, body.complete) == (5, True)


def test_a_body_in_chunks(stack):
    one = stack(nothing)
    one.send(CHUNKED + chunked(b"123", b"45"))
    assert (one.exchange.head.content_length, one.exchange.head.chunked, one.exchange.head.has_body) == (
        None,
        True,
        True,
    )
    sink = Collecting()
    one.exchange.body.subscribe(sink)
    assert (sink.data, sink.trailers) == (b"12345", [])


def test_no_body_is_complete_at_once(stack):
    one = stack(nothing)
    one.send(GET)
    sink = Collecting()
    one.exchange.body.subscribe(sink)
    assert (sink.data, sink.trailers, one.exchange.body.complete) == (b"", [], True)


def test_a_body_has_one_subscriber(stack):
    one = stack(nothing)
    one.send(POST + b"12345")
    one.exchange.body.subscribe(Collecting())
    with pytest.raises(RuntimeError):
        one.exchange.body.subscribe(Collecting())


def test_a_subscriber_may_pause_at_any_piece(stack):
    one = stack(nothing)
    one.send(b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 200000\r\n\r\n" + b"x" * 200_000)
    body = one.exchange.body

    class Pausing(Collecting):
        def feed(self, data):
            super().feed(data)
            body.pause()
            body.pause()

    sink = Pausing()
    body.subscribe(sink)
    assert len(sink.pieces) == 1
    turns = 0
    while sink.trailers is None and turns < 20:
        body.resume()
        body.resume()
        turns += 1
    assert len(sink.data) == 200_000


def test_a_body_is_collected(stack):
    one = stack(nothing)
    one.send(CHUNKED + chunked(b"123", b"45"))
    collected = []
    one.exchange.body.collect(5).addCallback(collected.append)
    assert collected == [b"12345"]


@pytest.mark.parametrize("request_", [POST + b"12345", CHUNKED + chunked(b"123", b"45")])
def test_a_body_that_is_too_long_to_collect(stack, request_):
    one = stack(nothing)
    one.send(request_)
    failed = []
    one.exchange.body.collect(4).addErrback(failed.append)
    assert failed[0].check(BodyTooLarge)


def test_a_declared_length_beyond_the_limit_is_refused_at_once(stack):
    one = stack(nothing)
    one.send(POST + b"12345")
    one.exchange.body.limit = 4
    with pytest.raises(BodyTooLarge):
        one.exchange.body.subscribe(Collecting())
    one.exchange.abort(BodyTooLarge())
    assert one.answer(b"POST").status == 413


def test_chunks_beyond_the_limit_cut_the_body(stack):
    one = stack(nothing)
    one.send(CHUNKED + chunked(b"123", b"45"))
    one.exchange.body.limit = 4
    sink = Collecting(one.exchange, OK)
    one.exchange.body.subscribe(sink)
    assert isinstance(sink.error, BodyTooLarge)
    assert one.answer(b"POST").status == 413


def test_a_large_body_arrives_whole(stack):
    one = stack(take)
    data = bytes(range(256)) * 4096 * 4
    one.send(b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: %d\r\n\r\n" % len(data))
    for start in range(0, len(data), 65536):
        one.send(data[start : start + 65536])
    assert one.exchange.body.received == len(data)
    assert one.answer(b"POST").body == b"hello"


def test_a_subscriber_that_fails_is_a_bug(stack):
    class Failing(Collecting):
        def feed(self, data):
            raise ZeroDivisionError

    def answer(exchange):
        exchange.body.subscribe(Failing())

    one = stack(answer)
    one.send(POST + b"12345")
    assert one.answer(b"POST").status == 500


def test_a_client_that_expects_100_gets_it_when_the_body_is_wanted(stack):
    one = stack(take)
    one.send(POST[:-2] + b"Expect: 100-continue\r\n\r\n")
    assert one.out.startswith(b"HTTP/1.1 100 Continue\r\n\r\n")
    one.send(b"12345")
    answer = one.answer(b"POST")
    assert (answer.status, answer.interim) == (200, (100,))


def test_an_answer_may_come_before_the_body_is_read(stack):
    one = stack()
    one.send(POST + b"12345" + GET)
    assert [answer.body for answer in one.answers(b"POST", b"GET")] == [b"hello", b"hello"]
    assert not one.exchanges[0].body.complete


# -- the answer --------------------------------------------------------------------------------------------------------


def test_a_reply_of_our_own(stack):
    one = stack()
    one.send(GET)
    answer = one.answer()
    assert (answer.status, answer.body, answer.reason) == (200, b"hello", b"OK")
    assert {name: value for name, value in answer.headers.items() if name != b"date"} == {
        b"content-type": b"text/plain",
        b"content-length": b"5",
    }
    assert re.fullmatch(rb"\w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT", answer.headers[b"date"])
    assert not one.closing
    outcome = one.exchange.outcome
    assert (outcome.status, outcome.sent, outcome.source, outcome.error) == (200, 5, "gateway", None)
    assert outcome.ended > 0


def test_a_problem(stack):
    one = stack(lambda exchange: exchange.respond(Reply.of(NoPeer(detail="nobody there"))))
    one.send(GET)
    answer = one.answer()
    assert answer.status == 503
    assert answer.headers[b"content-type"] == b"application/problem+json"
    assert answer.headers[b"x-gateway-error"] == b"no_peer"
    assert answer.headers[b"proxy-status"].endswith(b"; error=destination_unavailable")
    problem = json.loads(answer.body)
    assert (problem["status"], problem["code"], problem["detail"]) == (503, "no_peer", "nobody there")
    assert problem["request_id"].encode() == one.exchange.id
    assert isinstance(one.exchange.outcome.error, NoPeer)


def test_a_problem_for_people(stack):
    one = stack(lambda exchange: exchange.respond(Reply.of(NoPeer())))
    one.send(GET[:-2] + b"Accept: text/html\r\n\r\n")
    answer = one.answer()
    assert answer.headers[b"content-type"].startswith(b"text/html")
    assert answer.body.startswith(b"<!doctype html>")


@pytest.mark.parametrize("status", [204, 304])
def test_answers_without_a_body(stack, status):
    one = stack(starts(b"dropped", status=status, headers=[(b"etag", b'"x"')]))
    one.send(GET + GET)
    for answer in one.answers(b"GET", b"GET"):
        assert (answer.status, answer.body, answer.headers[b"etag"]) == (status, b"", b'"x"')
        assert b"transfer-encoding" not in answer.headers
        assert b"content-length" not in answer.headers
        assert b"content-type" not in answer.headers
    assert one.exchange.outcome.sent == 0


def test_304_may_announce_the_length_that_a_200_would_have(stack):
    one = stack(starts(status=304, length=1234))
    one.send(GET)
    assert one.answer().headers[b"content-length"] == b"1234"


@pytest.mark.parametrize("answer", [respond, starts(b"hello", length=5), starts(length=5)])
def test_head_is_told_the_length_and_gets_no_body(stack, answer):
    one = stack(answer)
    one.send(HEAD + HEAD)
    for got in one.answers(b"HEAD", b"HEAD"):
        assert (got.status, got.body, got.headers[b"content-length"]) == (200, b"", b"5")


def test_head_of_a_stream_announces_no_length(stack):
    one = stack(starts(b"hello"))
    one.send(HEAD)
    assert b"content-length" not in one.answer(b"HEAD").headers


def test_a_stream_of_known_length(stack):
    one = stack(starts(b"he", b"llo", length=5))
    one.send(GET)
    answer = one.answer()
    assert (answer.body, answer.headers[b"content-length"]) == (b"hello", b"5")
    assert b"transfer-encoding" not in answer.headers


def test_a_stream_of_unknown_length_comes_in_chunks(stack):
    one = stack(starts(b"he", b"", b"llo"))
    one.send(GET)
    answer = one.answer()
    assert (answer.body, answer.headers[b"transfer-encoding"]) == (b"hello", b"chunked")
    assert b"content-length" not in answer.headers
    assert one.exchange.outcome.sent == 5


def test_a_stream_may_say_more_any_time(stack):
    one = stack(starts(b"he", finish=False))
    one.send(GET)
    assert b"he" in one.out
    one.exchange.write(b"llo")
    one.exchange.finish()
    assert one.answer().body == b"hello"


def test_an_empty_write_sends_the_head(stack):
    one = stack(starts(finish=False))
    one.send(GET)
    assert one.out == b""
    one.exchange.write(b"")
    assert one.out.startswith(b"HTTP/1.1 200 OK\r\n")
    one.exchange.write(b"x")
    one.exchange.finish()
    assert one.answer().body == b"x"


def test_a_stream_without_a_byte_has_length_zero(stack):
    one = stack(starts())
    one.send(GET)
    answer = one.answer()
    assert (answer.body, answer.headers[b"content-length"]) == (b"", b"0")


def test_trailers_do_no_harm(stack):
    def answer(exchange):
        exchange.start(ResponseHead(200, []))
        exchange.write(b"hello")
        exchange.finish([(b"x-sum", b"1")])

    one = stack(answer)
    one.send(GET)
    assert one.answer().body == b"hello"


def test_fields_keep_order_and_duplicates_and_hide_the_software(stack):
    headers = [(b"set-cookie", b"a=1"), (b"x-one", b"1"), (b"set-cookie", b"b=2"), (b"content-type", b"text/x")]
    one = stack(starts(headers=headers, length=0))
    one.send(GET)
    lines = one.out.lower().split(b"\r\n")
    assert [line for line in lines if line.startswith(b"set-cookie")] == [b"set-cookie: a=1", b"set-cookie: b=2"]
    assert b"content-type: text/x" in lines
    assert not any(line.startswith(b"server:") for line in lines)


def test_an_answer_may_have_its_own_date_reason_and_server(stack):
    headers = [(b"date", b"Sun, 06 Nov 1994 08:49:37 GMT"), (b"server", b"origin")]
    one = stack(starts(headers=headers, length=0, reason=b"Fine", status=299))
    one.send(GET)
    answer = one.answer()
    assert (answer.status, answer.reason) == (299, b"Fine")
    assert (answer.headers[b"date"], answer.headers[b"server"]) == (headers[0][1], b"origin")
    assert one.out.lower().count(b"\r\ndate:") == 1


def test_a_large_answer_arrives_whole(stack):
    data = bytes(range(256)) * 4096
    one = stack(starts(*[data] * 4))
    one.send(GET)
    assert one.answer().body == data * 4


@pytest.mark.parametrize("finish", [True, False])
def test_more_bytes_than_announced_cut_the_connection(stack, finish):
    one = stack(starts(b"hello", b"!", length=5, finish=finish))
    one.send(GET)
    assert one.aborted
    assert isinstance(one.exchange.outcome.error, Bug)


def test_fewer_bytes_than_announced_cut_the_connection(stack):
    one = stack(starts(b"hell", length=5))
    one.send(GET)
    assert one.aborted
    assert isinstance(one.exchange.outcome.error, Bug)


def test_fewer_bytes_than_announced_with_nothing_sent_are_a_500(stack):
    one = stack(starts(length=5))
    one.send(GET)
    assert one.answer().status == 500


@pytest.mark.parametrize(
    "pair",
    [(b"x", b"a\r\nb: c"), (b"x", b"a\nb"), (b"x\r\ny", b"z"), (b"x", b"a\rb")],
    ids=["crlf", "lf", "name", "cr"],
)
def test_line_breaks_in_fields_are_a_bug(stack, pair):
    one = stack(starts(b"x", headers=[pair]))
    one.send(GET)
    assert one.answer().status == 500


@pytest.mark.parametrize("status", [99, 100, 101, 600])
def test_an_answer_has_a_final_status(stack, status):
    one = stack(nothing)
    one.send(GET)
    with pytest.raises(ValueError):
        one.exchange.start(ResponseHead(status, []))
    one.exchange.respond(OK)
    assert one.answer().status == 200


def test_steps_in_an_impossible_order_raise(stack):
    one = stack(nothing)
    one.send(GET)
    exchange = one.exchange
    with pytest.raises(ImpossibleStep):
        exchange.write(b"x")
    with pytest.raises(ImpossibleStep):
        exchange.finish()
    exchange.start(ResponseHead(200, []))
    with pytest.raises(ImpossibleStep):
        exchange.start(ResponseHead(200, []))
    with pytest.raises(ImpossibleStep):
        exchange.respond(OK)
    exchange.finish()
    for late in (lambda: exchange.write(b"x"), exchange.finish, lambda: exchange.respond(OK)):
        with pytest.raises(ImpossibleStep):
            late()
    exchange.abort(NoPeer())
    assert one.answer().status == 200


# -- errors ------------------------------------------------------------------------------------------------------------


def test_abort_before_an_answer_is_a_reply(stack):
    one = stack(lambda exchange: exchange.abort(NoPeer()))
    one.send(GET + GET)
    assert [answer.status for answer in one.answers(b"GET", b"GET")] == [503, 503]


def test_abort_of_an_answer_that_is_held_is_a_reply_too(stack):
    def answer(exchange):
        exchange.start(ResponseHead(200, [(b"x-lost", b"1")], length=5))
        exchange.abort(NoPeer())

    one = stack(answer)
    one.send(GET)
    got = one.answer()
    assert got.status == 503
    assert b"x-lost" not in got.headers


def test_abort_in_the_middle_of_an_answer_cuts_the_connection(stack):
    one = stack(starts(b"hel", finish=False))
    one.send(GET)
    one.exchange.abort(NoPeer())
    assert one.aborted
    assert not one.out.endswith(b"0\r\n\r\n")
    assert isinstance(one.exchange.outcome.error, NoPeer)
    assert one.exchange.outcome.status == 200
    one.exchange.write(b"lo")
    one.exchange.finish()
    one.lose()


# -- connections -------------------------------------------------------------------------------------------------------


def test_requests_are_answered_in_order_one_at_a_time(stack):
    one = stack(nothing)
    one.send(b"".join(b"GET /%d HTTP/1.1\r\n%b\r\n" % (number, HOST) for number in range(3)))
    assert len(one.exchanges) == 1
    for number in range(3):
        assert one.exchange.head.path == b"/%d" % number
        one.exchange.respond(Reply(200, body=b"%d" % number))
    assert [answer.body for answer in one.answers(b"GET", b"GET", b"GET")] == [b"0", b"1", b"2"]


def test_a_connection_is_kept(stack):
    one = stack()
    for _ in range(3):
        one.send(GET)
    assert len(one.answers(b"GET", b"GET", b"GET")) == 3
    assert not one.closing


def test_a_request_may_come_in_any_pieces(stack):
    one = stack(take)
    for byte in POST + b"12345" + CHUNKED + chunked(b"abc"):
        one.send(bytes([byte]))
    assert [answer.body for answer in one.answers(b"POST", b"POST")] == [b"hello", b"hello"]


def test_the_client_may_ask_for_the_end(stack):
    one = stack()
    one.send(GET[:-2] + b"Connection: close\r\n\r\n")
    answer = one.answer(closed=True)
    assert answer.headers[b"connection"] == b"close"
    assert one.closing


def test_old_clients_get_the_end_of_the_connection(stack):
    one = stack()
    one.send(OLD_GET)
    assert one.exchange.head.version == b"1.0"
    assert (one.exchange.head.host, one.exchange.head.authority) == (b"", b"")
    assert one.answer(closed=True).body == b"hello"
    assert one.closing


def test_old_clients_get_streams_without_chunks(stack):
    one = stack(starts(b"he", b"llo"))
    one.send(OLD_GET)
    answer = one.answer(closed=True)
    assert answer.body == b"hello"
    assert b"transfer-encoding" not in answer.headers
    assert one.closing


# -- the client's pace, and its end ------------------------------------------------------------------------------------


def test_a_producer_follows_the_clients_pace(stack):
    one = stack(starts(b"x", finish=False))
    one.send(GET)
    pacer = Pacer()
    one.exchange.register(pacer)
    one.pause()
    one.resume()
    assert pacer.told == ["pause", "resume"]
    one.exchange.register(None)
    one.pause()
    one.resume()
    assert pacer.told == ["pause", "resume"]
    other = Pacer()
    one.exchange.register(other)
    one.pause()
    assert other.told == ["pause"]
    one.exchange.finish()
    assert one.answer().body == b"x"


def test_a_producer_ends_with_the_answer(stack):
    one = stack(nothing)
    one.send(GET)
    pacer = Pacer()
    one.exchange.register(pacer)
    one.exchange.respond(OK)
    one.send(GET)
    one.pause()
    assert pacer.told == []


def test_a_client_that_leaves_is_told_once(stack):
    one = stack(starts(b"x", finish=False))
    one.send(GET)
    told = []
    one.exchange.on_gone(told.append)
    one.lose()
    assert [type(error) for error in told] == [ClientGone]
    outcome = one.exchange.outcome
    assert (outcome.status, type(outcome.error)) == (499, ClientGone)
    one.exchange.on_gone(told.append)
    assert [type(error) for error in told] == [ClientGone, ClientGone], "who asks late is told at once"


def test_after_the_client_left_nothing_matters(stack):
    one = stack(nothing)
    one.send(GET)
    one.lose()
    exchange = one.exchange
    before = one.out
    exchange.start(ResponseHead(200, []))
    exchange.write(b"x")
    exchange.finish()
    exchange.respond(OK)
    exchange.abort(NoPeer())
    exchange.register(Pacer())
    assert one.out == before
    assert exchange.outcome.status == 499


def test_a_client_that_leaves_after_the_answer_is_nobodys_business(stack):
    one = stack(nothing)
    one.send(GET)
    told = []
    one.exchange.on_gone(told.append)
    one.exchange.respond(OK)
    one.lose()
    assert told == []
    assert one.exchange.outcome.status == 200


def test_the_callback_can_be_taken_away(stack):
    one = stack(nothing)
    one.send(GET)
    told = []
    one.exchange.on_gone(told.append)
    one.exchange.on_gone(None)
    one.lose()
    assert told == []


# -- accounting --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("end", ["answer", "gone", "cut"])
def test_done_hooks_run_once_and_their_failure_spoils_nothing(stack, end):
    done = []

    def answer(exchange):
        exchange.route = Route(done=[done.append, lambda exchange: 1 / 0, done.append])
        exchange.start(ResponseHead(200, []))
        exchange.write(b"x")

    one = stack(answer)
    one.send(GET)
    exchange = one.exchange
    assert done == []
    {"answer": exchange.finish, "gone": one.lose, "cut": lambda: exchange.abort(NoPeer())}[end]()
    assert done == [exchange, exchange]
    exchange.settle()
    if end == "cut":
        one.lose()
    assert done == [exchange, exchange]
    assert exchange.outcome.ended >= exchange.arrived


def test_reply_hooks_edit_replies_and_only_those(stack):
    def mark(exchange, head):
        head.headers.append((b"x-hook", b"1"))

    def fail(exchange, head):
        raise ZeroDivisionError

    def answer(exchange):
        exchange.route = Route(reply=[mark, fail])
        if exchange.head.path == b"/reply":
            exchange.respond(OK)
        else:
            starts(b"x", length=1)(exchange)

    one = stack(answer)
    one.send(b"GET /reply HTTP/1.1\r\n" + HOST + b"\r\n" + GET)
    reply, stream = one.answers(b"GET", b"GET")
    assert reply.headers[b"x-hook"] == b"1"
    assert b"x-hook" not in stream.headers


# -- the gateway's root resource ---------------------------------------------------------------------------------------


class Planned:
    def __init__(self, found):
        self.table = self
        self.found = found

    def match(self, head):
        return self.found


def test_the_root_resource_works_in_both(stack):
    one = stack(resource=GatewayResource(Planned(Refusal((), None))))
    one.send(GET)
    assert (one.answer().status, one.answer().headers[b"x-gateway-error"]) == (404, b"not_routed")


def test_the_root_resource_without_a_plan(stack):
    one = stack(resource=GatewayResource())
    one.send(GET)
    assert one.answer().status == 503


# -- handing the connection over ---------------------------------------------------------------------------------------


def test_only_the_lean_stack_has_a_connection_to_hand_over(stack):
    one = stack(nothing)
    one.send(GET + b"more")
    if stack is STACKS["lean"]:
        assert one.exchange.detach() == (one.transport, b"more")
    else:
        with pytest.raises(UpgradeRefused):
            one.exchange.detach()
        one.exchange.respond(OK)
        assert one.answer().status == 200
