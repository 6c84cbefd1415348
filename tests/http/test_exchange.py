"""
One request and its answer, seen from both ends.
"""

import json

import pytest
from twisted.internet.testing import StringTransport
from zope.interface.verify import verifyObject

from suuupra_gateway.errors import Bug, ClientGone, NotRouted, ResponseCut
from suuupra_gateway.http.cycle import ImpossibleStep
from suuupra_gateway.http.message import Reply, ResponseHead
from suuupra_gateway.interfaces import IExchange
from tests.http.edge import CHUNKED, GET, HEAD, OK, OLD_GET, POST, Collecting, Edge, Pacer, respond


class Route:
    """What an exchange knows of its route."""

    name = "r"

    def __init__(self, reply_hooks=(), done_hooks=()):
        self.reply_hooks = reply_hooks
        self.done_hooks = done_hooks


def waiting(request=GET, **kwargs):
    """An edge with one exchange that nobody has answered."""
    edge = Edge(None, **kwargs)
    edge.send(request)
    return edge, edge.exchange


def test_it_is_what_filters_and_targets_expect():
    _, exchange = waiting()
    assert verifyObject(IExchange, exchange)
    assert exchange.slots == []
    exchange.slots.append(1)
    assert exchange.slots == [1]
    assert exchange.route is None
    assert exchange.principal is None
    assert exchange.deadline == float("inf")
    assert exchange.arrived == 1000.0
    assert (exchange.client, exchange.peer, exchange.secure) == ("192.0.2.7", "192.0.2.7", False)
    with pytest.raises(AttributeError):
        exchange.context


# -- whole answers ------------------------------------------------------------------------------------------------------


def test_a_reply_is_one_write():
    edge = Edge(None)
    writes = []
    edge.transport.write = writes.append
    edge.send(GET)
    edge.exchange.respond(OK)
    assert len(writes) == 1
    assert writes[0].startswith(b"HTTP/1.1 200 OK\r\n")
    assert writes[0].endswith(b"\r\n\r\nhello")


def test_a_reply_is_counted():
    edge = Edge(respond)
    edge.send(GET)
    outcome = edge.settled[0].outcome
    assert (outcome.status, outcome.sent, outcome.source, outcome.error) == (200, 5, "gateway", None)
    assert outcome.ended == 1000.0


def test_an_error_is_a_problem():
    edge, exchange = waiting()
    exchange.outcome.source = "upstream"
    exchange.respond(Reply.of(NotRouted()))
    answer = edge.answer()
    assert answer.status == 404
    assert answer.headers[b"x-gateway-error"] == b"not_routed"
    assert answer.headers[b"proxy-status"] == b"gw; error=destination_not_found"
    assert json.loads(answer.body)["request_id"] == exchange.id.decode()
    assert isinstance(exchange.outcome.error, NotRouted)
    assert exchange.outcome.source == "gateway"


def test_head_gets_the_head_of_the_reply():
    edge, exchange = waiting(HEAD)
    exchange.respond(OK)
    answer = edge.answer(b"HEAD")
    assert answer.headers[b"content-length"] == b"5"
    assert answer.body == b""
    assert exchange.outcome.sent == 0


def test_reply_hooks_of_the_route_edit_the_head():
    edge, exchange = waiting()

    def hook(exchange, head):
        head.headers.append((b"x-route", exchange.route.name.encode()))

    def broken(exchange, head):
        raise ZeroDivisionError

    exchange.route = Route([broken, hook])
    exchange.respond(OK)
    assert edge.answer().headers[b"x-route"] == b"r"


def test_a_spoilt_head_becomes_an_error_and_not_two_answers():
    edge, exchange = waiting()
    exchange.route = Route([lambda exchange, head: head.headers.append((b"x", b"a\r\n\r\nHTTP/1.1 200 OK"))])
    exchange.respond(OK)
    assert edge.answer().status == 500
    assert isinstance(exchange.outcome.error, Bug)
    assert len(edge.settled) == 1


# -- answers in pieces --------------------------------------------------------------------------------------------------


def test_head_and_first_piece_leave_together():
    edge, exchange = waiting()
    exchange.start(ResponseHead(200, [(b"x", b"y")], length=5))
    assert edge.out == b""
    exchange.write(b"he")
    assert edge.out.endswith(b"\r\n\r\nhe")
    exchange.write(b"llo")
    exchange.finish()
    assert edge.answer().body == b"hello"
    assert exchange.outcome.sent == 5
    assert edge.settled == [exchange]


def test_a_large_first_piece_is_not_copied():
    edge, exchange = waiting()
    exchange.start(ResponseHead(200, [], length=20_000))
    big = b"x" * 20_000
    writes = []
    edge.transport.write = writes.append
    exchange.write(big)
    assert writes[1] is big


def test_an_answer_without_a_length_is_chunked_and_may_have_trailers():
    edge, exchange = waiting()
    exchange.start(ResponseHead(200, []))
    exchange.write(b"hello")
    exchange.write(b", world")
    exchange.finish([(b"x-sum", b"1")])
    answer = edge.answer()
    assert answer.headers[b"transfer-encoding"] == b"chunked"
    assert answer.body == b"hello, world"
    assert answer.trailers == ((b"x-sum", b"1"),)
    assert exchange.outcome.sent == 12


def test_an_answer_that_turns_out_to_be_empty_has_a_length():
    edge, exchange = waiting()
    exchange.start(ResponseHead(200, []))
    exchange.finish()
    assert edge.answer().headers[b"content-length"] == b"0"


def test_an_empty_chunked_answer_may_have_trailers():
    edge, exchange = waiting()
    exchange.start(ResponseHead(200, []))
    exchange.finish([(b"x", b"1")])
    assert edge.answer().trailers == ((b"x", b"1"),)


def test_an_old_client_reads_until_the_end():
    edge, exchange = waiting(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
    exchange.start(ResponseHead(200, []))
    exchange.write(b"hello")
    exchange.finish([(b"x", b"1")])
    assert edge.closing
    answer = edge.answer(closed=True)
    assert b"transfer-encoding" not in answer.headers
    assert answer.headers[b"connection"] == b"close"
    assert answer.body == b"hello"


def test_an_empty_piece_sends_the_head_of_a_stream():
    edge, exchange = waiting()
    exchange.start(ResponseHead(200, [(b"content-type", b"text/event-stream")]))
    exchange.write(b"")
    assert edge.out.endswith(b"\r\n\r\n")
    sent = edge.out
    exchange.write(b"")
    assert edge.out == sent
    exchange.write(b"data: 1\n\n")
    exchange.finish()
    assert edge.answer().body == b"data: 1\n\n"


@pytest.mark.parametrize(
    ("request_bytes", "status", "length", "announced"),
    [
        (HEAD, 200, 5, b"5"),
        (HEAD, 200, None, None),
        (GET, 304, 5, b"5"),
        (GET, 304, None, None),
        (GET, 204, None, None),
        (GET, 204, 0, None),
    ],
)
def test_answers_that_have_no_body_get_none(request_bytes, status, length, announced):
    edge, exchange = waiting(request_bytes)
    exchange.start(ResponseHead(status, [], length=length))
    exchange.write(b"hello")
    exchange.finish()
    answer = edge.answer(request_bytes.split()[0])
    assert answer.headers.get(b"content-length") == announced
    assert b"transfer-encoding" not in answer.headers
    assert answer.body == b""
    assert exchange.outcome.sent == 0
    assert not edge.closing


@pytest.mark.parametrize("status", [100, 103, 199, 600, 0, -1])
def test_only_final_statuses_begin_an_answer(status):
    _, exchange = waiting()
    with pytest.raises(ValueError, match="final"):
        exchange.start(ResponseHead(status, []))


def test_interim_answers_go_ahead_of_the_final_one():
    edge, exchange = waiting()
    exchange.inform(ResponseHead(103, [(b"link", b"</a.css>")]))
    exchange.respond(OK)
    assert edge.answer().interim == (103,)
    with pytest.raises(ImpossibleStep):
        exchange.inform(ResponseHead(103, []))


def test_old_clients_get_no_interim_answers():
    edge, exchange = waiting(OLD_GET)
    exchange.inform(ResponseHead(103, []))
    assert edge.out == b""


@pytest.mark.parametrize("status", [101, 200, 99])
def test_what_is_no_interim_answer(status):
    _, exchange = waiting()
    with pytest.raises(ValueError, match="interim"):
        exchange.inform(ResponseHead(status, []))


# -- answers that lie ---------------------------------------------------------------------------------------------------


def test_too_few_bytes_cut_the_connection():
    edge, exchange = waiting()
    exchange.start(ResponseHead(200, [], length=5))
    exchange.write(b"hell")
    exchange.finish()
    assert edge.aborted
    assert isinstance(exchange.outcome.error, Bug)
    assert edge.settled == [exchange]


def test_too_few_bytes_are_an_error_while_nothing_is_sent():
    edge, exchange = waiting()
    exchange.start(ResponseHead(200, [], length=5))
    exchange.finish()
    assert edge.answer().status == 500


def test_too_many_bytes_cut_the_connection():
    edge, exchange = waiting()
    exchange.start(ResponseHead(200, [], length=5))
    exchange.write(b"hello")
    exchange.write(b"!")
    assert edge.aborted
    assert edge.out.endswith(b"hello")


def test_too_many_bytes_are_an_error_while_nothing_is_sent():
    edge, exchange = waiting()
    exchange.start(ResponseHead(200, [], length=5))
    exchange.write(b"hello!")
    assert edge.answer().status == 500


def test_a_spoilt_head_of_an_answer_in_pieces_is_an_error():
    for end in ("write", "finish"):
        edge, exchange = waiting()
        exchange.start(ResponseHead(200, [(b"x", b"\n")], length=5 if end == "write" else 0))
        if end == "write":
            exchange.write(b"hello")
        else:
            exchange.finish()
        assert edge.answer().status == 500


def test_a_spoilt_trailer_cuts_the_connection():
    edge, exchange = waiting()
    exchange.start(ResponseHead(200, []))
    exchange.write(b"hello")
    exchange.finish([(b"x", b"\r\n\r\n")])
    assert edge.aborted
    assert not edge.out.endswith(b"0\r\n\r\n")


# -- abort --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("started", [False, True])
def test_an_abort_before_the_first_byte_is_a_reply(started):
    edge, exchange = waiting()
    if started:
        exchange.start(ResponseHead(200, [(b"x", b"y")], length=5))
    exchange.abort(ResponseCut())
    answer = edge.answer()
    assert (answer.status, answer.headers[b"x-gateway-error"]) == (502, b"response_cut")
    assert b"x" not in answer.headers
    assert exchange.outcome.status == 502
    assert not edge.aborted


def test_an_abort_behind_the_first_byte_cuts_the_connection():
    edge, exchange = waiting()
    told = []
    exchange.on_gone(told.append)
    exchange.start(ResponseHead(200, []))
    exchange.write(b"hello")
    error = ResponseCut()
    exchange.abort(error)
    assert edge.aborted
    assert b"0\r\n\r\n" not in edge.out
    assert exchange.outcome.error is error
    assert exchange.outcome.status == 200
    assert told == []
    edge.lose()
    assert edge.settled == [exchange]
    assert exchange.outcome.error is error


def test_an_abort_behind_the_end_does_nothing():
    edge, exchange = waiting()
    exchange.respond(OK)
    exchange.abort(ResponseCut())
    assert edge.answer().status == 200
    assert exchange.outcome.error is None


@pytest.mark.parametrize("request_bytes", [GET, HEAD, POST])
def test_who_goes_on_behind_an_abort_is_not_heard(request_bytes):
    edge, exchange = waiting(request_bytes)
    exchange.start(ResponseHead(200, [], length=5))
    exchange.abort(ResponseCut())
    exchange.write(b"hello")
    exchange.finish()
    exchange.abort(ResponseCut())
    assert edge.answer(request_bytes.split()[0]).status == 502
    assert edge.settled == [exchange]


# -- order --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "step", [lambda exchange: exchange.write(b"x"), lambda exchange: exchange.finish()], ids=["write", "finish"]
)
def test_nothing_goes_before_start(step):
    _, exchange = waiting()
    with pytest.raises(ImpossibleStep):
        step(exchange)


STEPS = {
    "respond": lambda exchange: exchange.respond(OK),
    "start": lambda exchange: exchange.start(ResponseHead(200, [])),
    "write": lambda exchange: exchange.write(b"x"),
    "finish": lambda exchange: exchange.finish(),
    "inform": lambda exchange: exchange.inform(ResponseHead(103, [])),
}


@pytest.mark.parametrize("step", [*STEPS, "detach"])
def test_nothing_goes_behind_the_end(step):
    _, exchange = waiting()
    exchange.respond(OK)
    with pytest.raises(ImpossibleStep):
        STEPS.get(step, lambda exchange: exchange.detach())(exchange)


@pytest.mark.parametrize("step", STEPS)
def test_everything_is_ignored_once_the_client_is_gone(step):
    edge, exchange = waiting()
    edge.lose()
    STEPS[step](exchange)
    exchange.abort(ResponseCut())
    assert edge.out == b""
    assert edge.settled == [exchange]
    assert isinstance(exchange.outcome.error, ClientGone)


# -- the client's pace --------------------------------------------------------------------------------------------------


def test_a_producer_follows_the_client():
    edge, exchange = waiting()
    pacer = Pacer()
    exchange.register(pacer)
    edge.transport.producer.pauseProducing()
    edge.transport.producer.resumeProducing()
    assert pacer.told == ["pause", "resume"]
    exchange.register(None)
    edge.transport.producer.pauseProducing()
    assert pacer.told == ["pause", "resume"]


def test_a_producer_that_comes_late_learns_that_the_client_is_full():
    edge, exchange = waiting()
    edge.transport.producer.pauseProducing()
    pacer = Pacer()
    exchange.register(pacer)
    assert pacer.told == ["pause"]


def test_a_producer_is_let_go_with_the_answer():
    edge, exchange = waiting()
    pacer = Pacer()
    exchange.register(pacer)
    exchange.respond(OK)
    edge.transport.producer.pauseProducing()
    assert pacer.told == []


# -- the client leaves --------------------------------------------------------------------------------------------------


def test_a_client_that_leaves_is_told_on_once():
    edge, exchange = waiting()
    told = []
    exchange.on_gone(told.append)
    edge.lose()
    assert [type(error) for error in told] == [ClientGone]
    assert exchange.outcome.status == 499
    assert exchange.outcome.error is told[0]
    assert edge.settled == [exchange]


def test_a_client_that_left_in_the_middle_of_the_answer_counts_as_gone():
    edge, exchange = waiting()
    exchange.start(ResponseHead(200, []))
    exchange.write(b"x")
    edge.lose()
    assert exchange.outcome.status == 499


def test_nobody_is_told_who_does_not_want_to_be():
    edge, exchange = waiting()
    told = []
    exchange.on_gone(told.append)
    exchange.on_gone(None)
    edge.lose()
    assert told == []


def test_who_asks_late_is_told_at_once():
    edge, exchange = waiting()
    edge.lose()
    told = []
    exchange.on_gone(told.append)
    assert told == [exchange.outcome.error]


def test_nobody_is_told_behind_the_end():
    edge, exchange = waiting()
    told = []
    exchange.on_gone(told.append)
    exchange.respond(OK)
    edge.lose()
    assert told == []


def test_the_body_is_cut_when_the_client_leaves():
    edge, exchange = waiting(POST + b"he")
    sink = Collecting()
    exchange.body.subscribe(sink)
    edge.lose()
    assert sink.data == b"he"
    assert isinstance(sink.error, ClientGone)


def test_an_exception_of_who_is_told_does_not_keep_the_exchange_open():
    edge, exchange = waiting()
    exchange.on_gone(lambda error: 1 / 0)
    edge.lose()
    assert edge.settled == [exchange]


# -- the end ------------------------------------------------------------------------------------------------------------


def test_a_reply_without_a_body():
    edge, exchange = waiting()
    exchange.respond(Reply(204))
    answer = edge.answer()
    assert (answer.status, answer.body) == (204, b"")
    assert b"content-length" not in answer.headers


def test_an_error_that_is_known_already_is_not_replaced_by_the_end():
    edge, exchange = waiting()
    exchange.outcome.error = error = NotRouted()
    edge.lose()
    assert exchange.outcome.error is error
    assert exchange.outcome.status == 499


def test_done_hooks_run_once_and_before_the_accounting():
    edge, exchange = waiting()
    order = []

    def broken(exchange):
        order.append("broken")
        raise ZeroDivisionError

    exchange.route = Route(done_hooks=[broken, lambda exchange: order.append(exchange.outcome.status)])
    edge.site.settled = lambda exchange: order.append("settled")
    exchange.respond(OK)
    exchange.settle()
    assert order == ["broken", 200, "settled"]


def test_accounting_that_fails_does_not_harm_the_connection():
    edge, exchange = waiting()
    edge.site.settled = lambda exchange: 1 / 0
    exchange.respond(OK)
    edge.send(GET)
    assert len(edge.leaf.exchanges) == 2


# -- detach -------------------------------------------------------------------------------------------------------------


class Toy:
    """A protocol that shouts back."""

    def makeConnection(self, transport):
        self.transport = transport

    def dataReceived(self, data):
        self.transport.write(data.upper())

    def connectionLost(self, reason):
        pass


UPGRADE = b"GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: toy\r\n\r\n"


def test_a_detached_connection_belongs_to_its_new_owner():
    edge, exchange = waiting(UPGRADE + b"early")
    transport, unread = exchange.detach()
    assert transport is edge.transport
    assert unread == b"early"
    assert edge.transport.producerState == "paused"
    assert edge.transport.producer is None
    assert edge.site.channels == set()
    assert edge.settled == []

    toy = Toy()
    toy.makeConnection(transport)
    transport.write(b"HTTP/1.1 101 Switching Protocols\r\n\r\n")
    toy.dataReceived(unread)
    transport.resumeProducing()
    toy.dataReceived(b" late")
    assert edge.out.endswith(b"EARLY LATE")

    edge.after(1000)
    assert not edge.closing
    assert not edge.aborted
    exchange.outcome.status = 101
    exchange.settle()
    exchange.settle()
    assert edge.settled == [exchange]


def test_the_old_owner_does_not_mind_the_end_of_a_detached_connection():
    edge, exchange = waiting(UPGRADE)
    exchange.on_gone(lambda error: 1 / 0)
    exchange.detach()
    edge.lose()
    assert edge.settled == []


def test_a_connection_is_not_detached_while_bytes_of_the_request_are_due():
    _, exchange = waiting(CHUNKED)
    with pytest.raises(ImpossibleStep):
        exchange.detach()


def test_a_detached_connection_takes_no_answer():
    _, exchange = waiting(UPGRADE)
    exchange.detach()
    for step in STEPS.values():
        with pytest.raises(ImpossibleStep):
            step(exchange)
    exchange.abort(ResponseCut())


def test_paused_connections_are_detached_paused():
    edge, exchange = waiting(UPGRADE)
    edge.send(b"x" * 70_000)
    assert edge.transport.producerState == "paused"
    assert exchange.detach() == (edge.transport, b"x" * 70_000)
    assert isinstance(edge.transport, StringTransport)
