"""
A client's connection, from its first byte to its last.
"""

import pytest
from twisted.internet.address import IPv6Address, UNIXAddress
from twisted.internet.interfaces import IProtocol, IPushProducer, ISSLTransport
from twisted.internet.testing import StringTransport
from zope.interface import implementer
from zope.interface.verify import verifyObject

from suuupra_gateway.errors import BadRequest, Bug, ClientGone, Forbidden, RequestTimeout
from suuupra_gateway.http.message import Reply, ResponseHead
from tests.http.edge import CHUNKED, GET, HEAD, OK, OLD_GET, POST, Collecting, Edge, Pacer, respond, take

EXPECTING = POST.replace(b"\r\n\r\n", b"\r\nExpect: 100-continue\r\n\r\n")


def waiting(**kwargs):
    return Edge(None, **kwargs)


def test_it_is_a_protocol_and_a_producer():
    edge = Edge()
    assert verifyObject(IProtocol, edge.channel)
    assert verifyObject(IPushProducer, edge.channel)
    edge.channel.stopProducing()


# -- one after the other ------------------------------------------------------------------------------------------------


def test_requests_come_one_after_the_other():
    edge = Edge()
    edge.send(GET)
    edge.send(HEAD)
    edge.send(GET)
    assert [answer.status for answer in edge.answers(b"GET", b"HEAD", b"GET")] == [200] * 3
    assert not edge.closing
    assert edge.channel.served == 3


def test_pipelined_requests_are_answered_in_order_and_one_at_a_time():
    edge = waiting()
    edge.send(GET.replace(b"/", b"/1", 1) + GET.replace(b"/", b"/2", 1) + GET.replace(b"/", b"/3", 1))
    for number in b"123":
        assert [exchange.head.path for exchange in edge.leaf.exchanges][-1] == b"/%c" % number
        edge.exchange.respond(Reply(200, (), b"%c" % number))
    assert [answer.body for answer in edge.answers(*[b"GET"] * 3)] == [b"1", b"2", b"3"]


def test_many_pipelined_requests_do_not_nest():
    edge = Edge(limits={"requests": 5000})
    edge.send(GET * 3000)
    assert len(edge.answers(*[b"GET"] * 3000)) == 3000


def test_pipelined_requests_with_bodies():
    edge = Edge(take)
    edge.send(POST + b"hello" + CHUNKED + b"5\r\nhello\r\n0\r\n\r\n" + POST + b"hel")
    assert len(edge.leaf.exchanges) == 3
    edge.send(b"lo" + GET)
    assert [answer.status for answer in edge.answers(b"POST", b"POST", b"POST", b"GET")] == [200] * 4


def test_reading_stops_when_enough_requests_wait():
    edge = waiting(limits={"pipeline": 3})
    edge.send(GET)
    edge.send(GET * 2)
    assert edge.reading
    edge.send(GET)
    assert not edge.reading
    edge.exchange.respond(OK)
    edge.exchange.respond(OK)
    edge.exchange.respond(OK)
    edge.exchange.respond(OK)
    assert edge.reading


def test_reading_stops_when_too_many_bytes_wait():
    edge = waiting()
    edge.send(GET)
    edge.send(b"x" * 65_535)
    assert edge.reading
    edge.send(b"x")
    assert not edge.reading


def test_an_answer_while_the_body_is_fed_makes_room_for_the_next():
    """The subscriber ends its exchange inside of feed; the next request is in the same read and has a body too."""
    edge = Edge(None)

    class Hasty(Collecting):
        def feed(self, data):
            super().feed(data)
            self.exchange.respond(OK)

    def answer(exchange):
        (exchange.body.subscribe(Hasty(exchange)) if len(edge.leaf.exchanges) == 1 else take(exchange))

    edge.leaf.answer = answer
    edge.send(CHUNKED + b"5\r\nhello\r\n")
    edge.send(b"0\r\n\r\n" + CHUNKED + b"2\r\nhe")
    edge.send(b"\r\n0\r\n\r\n")
    assert [answer.status for answer in edge.answers(b"POST", b"POST")] == [200, 200]


def test_the_next_request_may_begin_inside_of_the_end_of_the_last_body():
    edge = Edge(take)
    edge.send(POST + b"hell")
    edge.send(b"o" + POST + b"he")
    assert len(edge.leaf.exchanges) == 2
    edge.send(b"llo")
    assert len(edge.answers(b"POST", b"POST")) == 2


# -- keep-alive ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("request_bytes", "closing", "said"),
    [
        (GET, False, None),
        (GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"), True, b"close"),
        (OLD_GET, True, b"close"),
        (OLD_GET.replace(b"\r\n\r\n", b"\r\nConnection: keep-alive\r\n\r\n"), False, b"keep-alive"),
    ],
)
def test_both_sides_agree_about_the_connection(request_bytes, closing, said):
    edge = Edge()
    edge.send(request_bytes)
    assert edge.closing is closing
    assert edge.answer().headers.get(b"connection") == said


def test_the_last_request_of_a_connection_is_announced():
    edge = Edge(limits={"requests": 2})
    edge.send(GET * 3)
    first, second = edge.answers(b"GET", b"GET")
    assert b"connection" not in first.headers
    assert second.headers[b"connection"] == b"close"
    assert edge.closing


def test_nothing_behind_the_last_request_is_served():
    edge = Edge()
    edge.send(GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n") + GET)
    edge.send(GET)
    assert len(edge.leaf.exchanges) == 1


# -- who is there -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("peer", "text"),
    [
        ("192.0.2.7", "192.0.2.7"),
        (IPv6Address("TCP", "2001:db8::1", 40000), "2001:db8::1"),
        (IPv6Address("TCP", "::ffff:192.0.2.7", 40000), "192.0.2.7"),
        (UNIXAddress(None), ""),
    ],
)
def test_the_peer_as_text(peer, text):
    edge = waiting(peer=peer)
    edge.send(GET)
    assert (edge.exchange.peer, edge.exchange.client) == (text, text)


def test_strangers_are_not_believed():
    edge = waiting(trusted=("10.0.0.0/8",))
    edge.send(
        GET.replace(
            b"\r\n\r\n", b"\r\nX-Forwarded-For: 1.2.3.4\r\nX-Forwarded-Proto: https\r\nX-Request-Id: abc\r\n\r\n"
        )
    )
    assert edge.exchange.client == "192.0.2.7"
    assert not edge.exchange.secure
    assert edge.exchange.id != b"abc"


def test_trusted_proxies_are_believed():
    edge = waiting(trusted=("192.0.2.0/24",))
    edge.send(
        GET.replace(
            b"\r\n\r\n",
            b"\r\nX-Forwarded-For: 6.6.6.6, 1.2.3.4, 192.0.2.9\r\nX-Forwarded-Proto: http, HTTPS\r\nX-Request-Id: abc\r\n\r\n",
        )
    )
    assert (edge.exchange.client, edge.exchange.peer) == ("1.2.3.4", "192.0.2.7")
    assert edge.exchange.secure
    assert edge.exchange.id == b"abc"
    assert edge.exchange.head.get(b"x-forwarded-for") == b"6.6.6.6, 1.2.3.4, 192.0.2.9"


@pytest.mark.parametrize("id", [b"a b", b"", b"x" * 65, b"a\xff"])
def test_even_trusted_proxies_may_not_send_any_request_id(id):
    edge = waiting(trusted=("192.0.2.7",))
    edge.send(GET.replace(b"\r\n\r\n", b"\r\nX-Request-Id: " + id + b"\r\n\r\n"))
    assert edge.exchange.id != id
    assert len(edge.exchange.id) == 36


@implementer(ISSLTransport)
class Secure(StringTransport):
    """As if there were TLS."""


def test_tls_is_secure():
    edge = waiting(connect=False)
    edge.connect(transport=Secure())
    edge.send(GET)
    assert edge.exchange.secure


# -- expectations -------------------------------------------------------------------------------------------------------


def test_100_is_sent_when_somebody_wants_the_body():
    edge = waiting()
    edge.send(EXPECTING)
    assert edge.out == b""
    sink = Collecting(edge.exchange, OK)
    edge.exchange.body.subscribe(sink)
    assert edge.out == b"HTTP/1.1 100 Continue\r\n\r\n"
    edge.exchange.body.pause()
    edge.exchange.body.resume()
    edge.send(b"hello")
    answer = edge.answer(b"POST")
    assert answer.interim == (100,)
    assert sink.data == b"hello"
    assert not edge.closing


def test_100_is_not_sent_to_a_client_that_did_not_wait():
    edge = waiting()
    edge.send(EXPECTING + b"he")
    edge.exchange.body.subscribe(Collecting())
    assert edge.out == b""


def test_100_is_not_sent_behind_the_answer():
    edge = waiting()
    edge.send(EXPECTING)
    edge.exchange.start(ResponseHead(200, []))
    edge.exchange.write(b"x")
    sent = edge.out
    edge.exchange.body.subscribe(Collecting())
    assert edge.out == sent


def test_a_client_that_waits_in_vain_is_the_last_one():
    """It may send the body or not; what comes next could be either."""
    edge = waiting()
    edge.send(EXPECTING)
    edge.exchange.respond(Reply.of(Forbidden()))
    assert edge.answer(b"POST").headers[b"connection"] == b"close"
    assert not edge.reading
    edge.after(1.2)
    assert edge.closing


# -- answers before the body is complete --------------------------------------------------------------------------------


def test_a_short_rest_is_drained_and_the_connection_kept():
    edge = Edge()
    edge.send(POST + b"he")
    assert edge.answer(b"POST").status == 200
    edge.send(b"l")
    edge.send(b"lo" + GET)
    assert [exchange.head.method for exchange in edge.leaf.exchanges] == [b"POST", b"GET"]
    assert len(edge.answers(b"POST", b"GET")) == 2


def test_a_rest_that_has_come_already_is_drained_at_once():
    edge = Edge()
    edge.send(POST + b"hello" + CHUNKED + b"1\r\nx\r\n0\r\n\r\n" + GET)
    assert len(edge.answers(b"POST", b"POST", b"GET")) == 3


def test_a_drained_connection_is_closed_if_that_was_said():
    edge = Edge()
    edge.send(POST.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
    assert not edge.closing
    edge.send(b"hello")
    assert edge.closing


def test_a_long_rest_is_not_drained():
    edge = Edge()
    edge.send(POST.replace(b"Length: 5", b"Length: 65537"))
    assert edge.answer(b"POST").headers[b"connection"] == b"close"
    assert not edge.reading
    edge.send(b"x")
    edge.after(1.2)
    assert edge.closing


def test_an_endless_rest_is_drained_for_a_while_only():
    edge = Edge()
    edge.send(CHUNKED)
    for _ in range(65):
        edge.send(b"400\r\n" + b"x" * 1024 + b"\r\n")
    assert not edge.reading
    assert not edge.closing
    edge.after(1.2)
    assert edge.closing


def test_a_slow_rest_is_not_waited_for():
    edge = Edge(timeouts={"body": 5})
    edge.send(POST)
    edge.after(5.2)
    assert edge.closing


def test_nonsense_in_the_rest_closes_the_connection():
    edge = Edge()
    edge.send(CHUNKED)
    edge.send(b"nonsense\r\n")
    assert edge.closing
    assert edge.answer(b"POST").status == 200


def test_the_subscriber_of_an_answered_exchange_learns_that_no_more_will_come():
    edge = waiting()
    edge.send(POST + b"he")
    sink = Collecting()
    edge.exchange.body.subscribe(sink)
    edge.exchange.respond(OK)
    assert sink.error is not None
    edge.send(b"llo" + GET)
    assert len(edge.leaf.exchanges) == 2
    assert sink.data == b"he"


def test_a_paused_end_is_as_good_as_drained():
    edge = waiting()
    edge.send(POST)

    class Choking(Collecting):
        def feed(self, data):
            super().feed(data)
            self.exchange.body.pause()

    edge.exchange.body.subscribe(Choking(edge.exchange))
    edge.send(b"hello")
    edge.exchange.respond(OK)
    edge.send(GET)
    assert edge.exchange.head.method == b"GET"


def test_an_answer_may_begin_before_the_body_is_complete():
    edge = waiting()
    edge.send(POST)
    exchange = edge.exchange
    exchange.start(ResponseHead(200, []))
    exchange.write(b"begun ")

    class Echo(Collecting):
        def feed(self, data):
            exchange.write(data)

        def end(self, trailers):
            exchange.finish()

    exchange.body.subscribe(Echo())
    edge.send(b"he")
    edge.send(b"llo" + GET)
    edge.exchange.respond(OK)
    first = edge.answers(b"POST", b"GET")[0]
    assert first.body == b"begun hello"
    assert b"connection" not in first.headers


LONG = POST.replace(b"Length: 5", b"Length: 100000")


def test_an_answer_may_begin_long_before_the_end_of_a_body_that_somebody_takes():
    edge = waiting()
    edge.send(LONG)
    sink = Collecting()
    edge.exchange.body.subscribe(sink)
    edge.exchange.start(ResponseHead(200, [], length=1))
    edge.exchange.write(b"x")
    edge.send(b"x" * 100_000)
    edge.exchange.finish()
    edge.send(GET)
    assert len(sink.data) == 100_000
    assert edge.exchange.head.method == b"GET"
    assert not edge.closing


def test_an_answer_of_ours_that_cuts_a_long_upload_short_is_the_last_one():
    edge = waiting()
    edge.send(LONG)
    edge.exchange.body.subscribe(Collecting())
    edge.exchange.respond(OK)
    assert edge.answer(b"POST").headers[b"connection"] == b"close"


def test_an_answer_of_somebody_else_that_does_so_is_too_though_it_could_not_say_so():
    edge = waiting()
    edge.send(LONG)
    edge.exchange.body.subscribe(Collecting())
    edge.exchange.start(ResponseHead(200, [], length=0))
    edge.exchange.finish()
    edge.after(1.2)
    assert edge.closing


# -- what is refused ----------------------------------------------------------------------------------------------------


def test_a_bad_request_is_answered_counted_and_closed():
    edge = Edge()
    edge.send(b"GET /x y HTTP/1.1\r\n\r\n")
    assert edge.answer().status == 400
    assert edge.closing
    assert edge.leaf.exchanges == []
    assert edge.site.counters.bad_requests == 1
    (exchange,) = edge.settled
    assert exchange.route is None
    assert isinstance(exchange.outcome.error, BadRequest)
    assert (exchange.outcome.status, exchange.head.method, exchange.head.target) == (400, b"GET", b"/x")


def test_a_bad_request_behind_a_good_one_waits_its_turn():
    edge = waiting()
    edge.send(GET + b"nonsense\r\n\r\n" + GET)
    assert edge.out == b""
    edge.exchange.respond(OK)
    assert [answer.status for answer in edge.answers(b"GET", b"GET")] == [200, 400]
    assert len(edge.leaf.exchanges) == 1


def test_bytes_behind_a_bad_request_are_not_looked_at():
    edge = Edge()
    edge.send(b"nonsense\r\n\r\n")
    edge.send(GET)
    assert edge.leaf.exchanges == []


# -- exceptions of others -----------------------------------------------------------------------------------------------


def test_an_exception_of_the_resource_is_a_500():
    edge = Edge(lambda exchange: 1 / 0)
    edge.send(GET)
    assert edge.answer().status == 500
    assert isinstance(edge.settled[0].outcome.error, Bug)
    assert isinstance(edge.settled[0].outcome.error.__cause__, ZeroDivisionError)


def test_an_error_that_the_resource_raises_is_the_answer():
    def refuse(exchange):
        raise Forbidden

    edge = Edge(refuse)
    edge.send(GET * 2)
    assert [answer.status for answer in edge.answers(b"GET", b"GET")] == [403, 403]


@pytest.mark.parametrize("where", ["feed", "end"])
def test_an_exception_of_a_subscriber_is_a_500(where):
    edge = waiting()
    edge.send(POST)

    class Broken(Collecting):
        pass

    setattr(Broken, where, lambda self, *args: 1 / 0)
    edge.exchange.body.subscribe(Broken())
    edge.send(b"hello")
    assert edge.answer(b"POST").status == 500
    edge.send(GET)
    assert len(edge.leaf.exchanges) == 2


# -- time ---------------------------------------------------------------------------------------------------------------


def test_a_client_that_says_nothing_is_closed_without_a_word():
    edge = Edge(timeouts={"head": 10})
    edge.after(9.8)
    assert not edge.closing
    edge.after(0.4)
    assert edge.closing
    assert edge.out == b""
    assert edge.settled == []


def test_a_head_has_its_time_from_its_first_byte():
    edge = Edge(timeouts={"head": 10, "idle": 75})
    edge.send(GET)
    edge.after(50)
    for byte in b"GET / HTTP":
        edge.after(0.99)
        edge.send(bytes([byte]))
    assert not edge.closing
    edge.after(9)
    answers = edge.answers(b"GET", b"GET")
    assert answers[1].status == 408
    assert edge.closing
    assert isinstance(edge.settled[1].outcome.error, RequestTimeout)


def test_an_idle_connection_is_closed_without_a_word():
    edge = Edge(timeouts={"idle": 75})
    edge.send(GET)
    edge.after(74.8)
    assert not edge.closing
    edge.after(0.4)
    assert edge.closing
    assert len(edge.answers(b"GET")) == 1


def test_an_exchange_has_no_deadline_of_ours():
    edge = waiting()
    edge.send(GET)
    edge.after(1000)
    assert not edge.closing


def test_a_body_that_nobody_wants_yet_is_not_late():
    edge = waiting()
    edge.send(POST)
    edge.after(1000)
    assert not edge.closing


def test_a_body_that_stops_is_late():
    edge = waiting(timeouts={"body": 30, "min_body_rate": 0})
    edge.send(POST)
    sink = Collecting(edge.exchange, OK)
    edge.exchange.body.subscribe(sink)
    edge.after(20)
    edge.send(b"he")
    edge.after(29)
    assert sink.error is None
    edge.after(1.2)
    assert isinstance(sink.error, RequestTimeout)
    assert edge.answer(b"POST").status == 408
    edge.after(1.2)
    assert edge.closing


def test_a_body_that_drips_is_late():
    edge = waiting(timeouts={"body": 30, "min_body_rate": 100})
    edge.send(POST.replace(b"Length: 5", b"Length: 100000"))
    sink = Collecting()
    edge.exchange.body.subscribe(sink)
    for _ in range(40):
        edge.after(1)
        if sink.error:
            break
        edge.send(b"x" * 50)
    assert isinstance(sink.error, RequestTimeout)
    assert 1400 <= len(sink.data) <= 1600


def test_a_slow_but_steady_body_is_not_late():
    edge = waiting(timeouts={"body": 30, "min_body_rate": 100})
    edge.send(POST.replace(b"Length: 5", b"Length: 12000"))
    sink = Collecting()
    edge.exchange.body.subscribe(sink)
    for _ in range(100):
        edge.after(1)
        edge.send(b"x" * 120)
    assert sink.error is None
    assert len(sink.data) == 12_000
    assert sink.trailers == []


def test_the_time_that_we_do_not_read_is_not_the_clients():
    edge = waiting(timeouts={"body": 30, "min_body_rate": 100})
    edge.send(POST.replace(b"Length: 5", b"Length: 5000"))
    sink = Collecting()
    body = edge.exchange.body
    body.subscribe(sink)
    for _ in range(20):
        edge.after(1)
        edge.send(b"x" * 150)
    body.pause()
    edge.after(1000)
    body.resume()
    edge.after(15)
    assert sink.error is None
    edge.send(b"x" * 2000)
    assert sink.trailers == []


# -- a client that does not read ----------------------------------------------------------------------------------------


def test_a_client_that_takes_nothing_is_given_up():
    edge = waiting(timeouts={"write": 60})
    edge.send(GET)
    told = []
    edge.exchange.on_gone(told.append)
    edge.exchange.start(ResponseHead(200, []))
    edge.exchange.write(b"x")
    edge.transport.producer.pauseProducing()
    edge.after(59)
    assert not edge.aborted
    edge.after(1.2)
    assert edge.aborted
    assert isinstance(told[0], ClientGone)
    assert edge.settled[0].outcome.status == 499
    edge.lose()
    assert len(edge.settled) == 1


def test_a_client_that_takes_something_in_time_is_not():
    edge = waiting(timeouts={"write": 60})
    edge.send(GET)
    for _ in range(5):
        edge.transport.producer.pauseProducing()
        edge.after(50)
        edge.transport.producer.resumeProducing()
        edge.after(500)
    assert not edge.aborted


def test_a_client_that_takes_nothing_between_requests_is_given_up():
    edge = Edge(timeouts={"write": 60, "idle": 75})
    edge.send(GET)
    edge.transport.producer.pauseProducing()
    edge.after(60.2)
    assert edge.aborted
    assert edge.settled[0].outcome.status == 200


def test_pipelined_requests_wait_while_the_client_does_not_read():
    edge = waiting()
    edge.send(GET * 3)
    edge.transport.producer.pauseProducing()
    edge.exchange.respond(OK)
    assert len(edge.leaf.exchanges) == 1
    edge.transport.producer.resumeProducing()
    assert len(edge.leaf.exchanges) == 2


def test_pipelined_requests_stop_when_an_answer_fills_the_transport():
    edge = Edge(None)

    def fill(exchange):
        exchange.respond(OK)
        edge.transport.producer.pauseProducing()

    edge.leaf.answer = fill
    edge.send(GET * 3)
    assert len(edge.leaf.exchanges) == 1
    edge.transport.producer.resumeProducing()
    assert len(edge.leaf.exchanges) == 2


def test_room_for_an_upload_that_goes_on_gives_it_its_time_again():
    edge = waiting(timeouts={"body": 30, "write": 60})
    edge.send(POST)
    pacer = Pacer()
    edge.exchange.register(pacer)
    sink = Collecting(edge.exchange, OK)
    edge.exchange.body.subscribe(sink)
    edge.transport.producer.pauseProducing()
    edge.after(10)
    edge.transport.producer.resumeProducing()
    edge.after(29)
    assert sink.error is None
    edge.after(2)
    assert isinstance(sink.error, RequestTimeout)
    assert pacer.told == ["pause", "resume"]


def test_a_connection_that_cannot_be_flushed_is_aborted():
    edge = Edge(timeouts={"write": 60})
    edge.send(OLD_GET)
    assert edge.closing
    assert edge.transport.producer is None
    edge.after(60.2)
    assert edge.aborted


def test_room_again_on_a_connection_that_is_closing_changes_nothing():
    edge = Edge()
    channel = edge.channel
    edge.send(OLD_GET)
    channel.resumeProducing()
    assert edge.closing


# -- who comes back late ------------------------------------------------------------------------------------------------


def test_the_body_of_an_exchange_that_is_over_moves_nothing():
    edge = waiting()
    edge.send(POST + b"hello" + POST)
    body = edge.leaf.exchanges[0].body
    edge.leaf.exchanges[0].respond(OK)
    assert len(edge.leaf.exchanges) == 2
    edge.channel.body_wanted(body)
    edge.channel.body_unwanted(body)
    assert edge.reading
    edge.exchange.body.subscribe(Collecting(edge.exchange, OK))
    edge.send(b"hello")
    edge.channel.body_wanted(body)
    edge.channel.body_unwanted(body)
    assert len(edge.answers(b"POST", b"POST")) == 2


def test_an_abort_drops_what_goes_on():
    edge = waiting()
    edge.send(GET)
    told = []
    edge.exchange.on_gone(told.append)
    edge.channel.abort()
    assert edge.aborted
    assert edge.settled == [edge.exchange]
    assert len(told) == 1
    idle = Edge()
    idle.channel.abort()
    assert idle.aborted


def test_resume_reads_on_between_requests():
    edge = Edge()
    edge.transport.producer.pauseProducing()
    edge.transport.producer.resumeProducing()
    edge.send(GET)
    assert edge.answer().status == 200


def test_answers_are_the_same_however_the_request_was_cut():
    whole = Edge(take)
    whole.send(POST + b"hello" + GET + CHUNKED + b"5\r\nhello\r\n0\r\n\r\n")
    pieces = Edge(take)
    for byte in POST + b"hello" + GET + CHUNKED + b"5\r\nhello\r\n0\r\n\r\n":
        pieces.send(bytes([byte]))
    assert pieces.out == whole.out
    assert len(whole.answers(b"POST", b"GET", b"POST")) == 3
    assert respond is not take


def test_a_client_that_leaves_ends_its_exchange():
    edge = waiting()
    edge.send(GET)
    edge.lose()
    assert edge.settled[0].outcome.status == 499
    assert edge.site.channels == set()


def test_nonsense_in_a_body_is_for_the_subscriber_to_answer():
    edge = waiting()
    edge.send(CHUNKED)
    sink = Collecting(edge.exchange, OK)
    edge.exchange.body.subscribe(sink)
    edge.send(b"nonsense\r\n")
    assert isinstance(sink.error, BadRequest)
    assert edge.answer(b"POST").status == 400
    assert edge.closing


def test_too_long_a_body_is_cut_and_the_client_may_read_why():
    edge = waiting(limits={"body": 4})
    edge.send(CHUNKED)
    sink = Collecting(edge.exchange, OK)
    edge.exchange.body.subscribe(sink)
    edge.send(b"5\r\nhello\r\n")
    assert edge.answer(b"POST").status == 413
    assert not edge.closing
    edge.after(1.2)
    assert edge.closing


def test_answers_of_a_draining_site_are_the_last_ones():
    edge = waiting()
    edge.send(GET)
    edge.site.drain()
    edge.exchange.respond(OK)
    assert edge.answer().headers[b"connection"] == b"close"


def test_a_detached_connection_is_not_ours_any_more():
    edge = waiting()
    edge.send(GET + b"more")
    transport, unread = edge.exchange.detach()
    assert (transport, unread) == (edge.transport, b"more")
    assert edge.site.channels == set()
    assert not edge.reading
    edge.lose()
    assert edge.settled == []
