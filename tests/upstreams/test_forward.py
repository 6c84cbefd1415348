"""Forwarding: attempts, deadlines, retries, the answer's way back, and whose fault it was."""

from __future__ import annotations

import pytest
from twisted.internet.error import ConnectionLost

from suuupra_gateway import errors
from suuupra_gateway.config.model import ProxySpec
from suuupra_gateway.memory import MemoryBody
from suuupra_gateway.targets.proxy import ProxyResource
from suuupra_gateway.upstreams.upstream import Upstream
from tests.http.edge import Edge
from tests.upstreams.rig import OK, Rig

BUSY = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 4\r\n\r\nbusy"


@pytest.fixture
def rig():
    return Rig()


@pytest.fixture
def pair():
    """Two peers; the first is picked first."""
    return Rig(peers=2)


def idle_again(rig):
    """Whether nothing is left of what went through."""
    return rig.upstream.active == rig.upstream.retrying == sum(peer.active for peer in rig.upstream.peers) == 0


def cut_by(exchange, kind):
    """Whether the client sees an answer that is not whole, because of an error of this kind."""
    return exchange.broken and not exchange.finished and type(exchange.outcome.error) is kind


def warm(rig):
    """One connection that has been used."""
    rig.send()
    rig.wire.answer()
    rig.wire.take()


# -- the plain way ----------------------------------------------------------------------------------------------------


def test_a_request_goes_out_and_its_answer_comes_back(rig):
    exchange = rig.send(b"GET", b"/a", (b"accept", b"*/*"), query=b"q=1")
    raw = rig.wire.take()
    assert raw.startswith(b"GET /a?q=1 HTTP/1.1\r\nhost: api.example.org\r\naccept: */*\r\n")
    assert b"x-request-timeout-ms: 15000\r\n" in raw
    rig.wire.answer()
    assert exchange.answer.status == 200
    assert exchange.answer.headers == [(b"x-answer", b"yes"), (b"via", b"1.1 suuupra")]
    assert exchange.answer.length == 2
    assert exchange.sent == b"hi"
    assert exchange.finished
    assert idle_again(rig)


def test_the_outcome_tells_who_answered_and_when(rig):
    rig.network.slow = True
    exchange = rig.send()
    rig.clock.advance(0.5)
    rig.network.open()
    rig.clock.advance(1.0)
    rig.wire.answer(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nh")
    rig.clock.advance(1.0)
    rig.wire.answer(b"i")
    outcome = exchange.outcome
    assert (outcome.upstream, outcome.peer, outcome.attempts, outcome.source) == (
        "users",
        "10.0.0.1:8080",
        1,
        "upstream",
    )
    assert outcome.connected - outcome.chosen == pytest.approx(0.5)
    assert outcome.first_byte - outcome.connected == pytest.approx(1.0)
    assert outcome.answered - outcome.first_byte == pytest.approx(1.0)
    assert outcome.error is outcome.upstream_error is None


def test_the_next_request_uses_the_same_connection_without_waiting(rig):
    warm(rig)
    exchange = rig.send()
    rig.wire.answer()
    assert exchange.finished
    assert len(rig.network.wires) == 1
    assert (rig.peer().requests, rig.peer().reuses, rig.peer().connects) == (2, 1, 1)


def test_the_host_is_kept_or_the_upstreams_own():
    rig = Rig(proxy={"host": "upstream"})
    rig.send()
    assert b"\r\nhost: 10.0.0.1:8080\r\n" in rig.wire.take()


def test_a_request_without_host_gets_the_upstreams(rig):
    rig.send(authority=b"", version=b"1.0")
    assert b"\r\nhost: 10.0.0.1:8080\r\n" in rig.wire.take()


def test_head_has_no_body(rig):
    exchange = rig.send(b"HEAD")
    rig.wire.answer(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n")
    assert exchange.finished
    assert exchange.answer.length == 5
    assert len(rig.peer().pool.idle) == 1


def test_trailers_of_the_answer_follow_it_cleaned(rig):
    exchange = rig.send()
    rig.wire.answer(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nGrpc-Status: 0\r\nX-User-Id: 1\r\n\r\n"
    )
    assert exchange.trailers == [(b"grpc-status", b"0")]
    assert exchange.answer.headers == [(b"via", b"1.1 suuupra")]


def test_a_loop_is_refused_and_the_connection_kept(rig):
    exchange = rig.send(b"GET", b"/", (b"via", b"1.1 suuupra"))
    assert isinstance(exchange.outcome.error, errors.LoopDetected)
    assert exchange.answer.status == 502
    assert len(rig.peer().pool.idle) == 1
    assert rig.wire.take() == b""
    assert idle_again(rig)


def test_an_upstream_without_endpoints_answers_503(rig):
    rig.upstream.update(frozenset())
    exchange = rig.send()
    assert isinstance(exchange.outcome.error, errors.NoPeer)
    assert exchange.answer.status == 503
    assert idle_again(rig)


def test_retries_can_be_replaced_by_the_route():
    rig = Rig(proxy={"retry": {"attempts": 1}})
    exchange = rig.send()
    rig.wire.reset()
    assert exchange.answer.status == 502


# -- back-pressure ----------------------------------------------------------------------------------------------------


def test_a_slow_client_stops_the_upstream_and_no_one_else(rig):
    exchange = rig.send()
    rig.wire.answer(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc")
    exchange.producer.pauseProducing()
    assert rig.wire.producerState == "paused"
    rig.pass_time(10.0)
    assert not exchange.broken
    exchange.producer.resumeProducing()
    assert rig.wire.producerState == "producing"
    rig.wire.answer(b"defghi")
    assert exchange.sent == b"abcdefghi"
    assert exchange.finished


def test_a_pace_that_changes_after_the_end_concerns_nobody(rig):
    exchange = rig.send()
    rig.wire.answer(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n")
    producer = exchange.producer
    rig.wire.answer(b"abc")
    producer.pauseProducing()
    producer.resumeProducing()
    assert rig.wire.producerState == "producing"


def test_an_answer_that_is_all_there_registers_nobody(rig):
    exchange = rig.send()
    rig.wire.answer()
    assert exchange.producer is None


def test_a_client_that_stops_producing_is_gone(rig):
    exchange = rig.send()
    rig.wire.answer(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc")
    exchange.producer.stopProducing()
    assert rig.wire.aborted
    assert idle_again(rig)


# -- the client leaves ------------------------------------------------------------------------------------------------


def test_a_client_that_leaves_cancels_the_upstream_which_is_not_blamed(rig):
    exchange = rig.send()
    exchange.leave()
    assert rig.wire.aborted
    rig.wire.settle()
    assert idle_again(rig)
    assert rig.peer().failures == 0
    assert rig.peer().last_error is None
    assert exchange.outcome.upstream_error is None


def test_a_client_that_leaves_while_connecting_cancels_that(rig):
    rig.network.slow = True
    exchange = rig.send()
    exchange.leave()
    assert rig.network.cancelled == 1
    assert idle_again(rig)
    assert rig.peer().pool.open == 0
    assert rig.peer().connect_failures == 0


def test_a_client_that_leaves_during_a_pause_ends_it(pair):
    pair.network.failures = [errors.ConnectRefused("no")]
    exchange = pair.send()
    exchange.leave()
    pair.pass_time(1.0)
    assert pair.network.wires == []
    assert idle_again(pair)


def test_a_client_that_had_left_before_gets_no_attempt(rig):
    exchange = rig.exchange()
    exchange.on_gone = lambda callback: callback(errors.ClientGone())
    rig.proxy.render(exchange)
    assert rig.network.asked == []
    assert idle_again(rig)


def test_leaving_twice_or_after_the_end_is_harmless(rig):
    exchange = rig.exchange()
    kept = []
    exchange.on_gone = kept.append
    rig.proxy.render(exchange)
    rig.wire.answer()
    kept[0](errors.ClientGone())
    assert idle_again(rig)


# -- retries ----------------------------------------------------------------------------------------------------------


def test_a_refused_connection_leads_to_another_peer_whatever_the_method(pair):
    pair.network.failures = [errors.ConnectRefused("no")]
    exchange = pair.send(b"POST")
    assert pair.upstream.retrying == 1
    pair.pass_time(0.3)
    assert [address for address, _ in pair.network.asked] == ["10.0.0.1:8080", "10.0.0.2:8080"]
    raw = pair.wire.take()
    assert raw.startswith(b"POST /a ")
    assert b"x-request-attempt: 2\r\n" in raw
    pair.wire.answer()
    assert exchange.sent == b"hi"
    assert exchange.outcome.attempts == 2
    assert isinstance(exchange.outcome.upstream_error, errors.ConnectRefused)
    assert exchange.outcome.error is None
    assert pair.peer(0).failures == 1
    assert pair.upstream.retries == 1
    assert idle_again(pair)


def test_a_single_peer_is_asked_again(rig):
    rig.network.failures = [errors.ConnectRefused("no")]
    exchange = rig.send()
    rig.pass_time(0.3)
    rig.wire.answer()
    assert exchange.finished


def test_when_all_attempts_fail_the_client_hears_of_the_last(pair):
    pair.network.failures = [errors.ConnectRefused("no"), errors.ConnectTimeout("slow")]
    exchange = pair.send()
    pair.pass_time(0.3)
    assert exchange.answer.status == 504
    assert exchange.outcome.source == "gateway"
    assert idle_again(pair)


def test_an_unexpected_failure_to_connect_is_told_as_a_refusal(rig):
    rig.network.failures = [OSError("out of files"), OSError("again")]
    exchange = rig.send()
    rig.pass_time(0.3)
    assert isinstance(exchange.outcome.error, errors.ConnectRefused)


@pytest.mark.parametrize(
    ("method", "attempts"), [(b"GET", 2), (b"PUT", 2), (b"DELETE", 2), (b"POST", 1), (b"PATCH", 1)]
)
def test_a_reset_before_the_answer_is_retried_for_idempotent_methods_only(pair, method, attempts):
    exchange = pair.send(method)
    pair.wire.reset()
    pair.pass_time(0.3)
    assert exchange.outcome.attempts == attempts
    if attempts == 1:
        assert exchange.answer.status == 502
    else:
        pair.wire.answer()
        assert exchange.finished
    assert idle_again(pair)


def test_an_idempotency_key_makes_a_post_repeatable():
    rig = Rig(peers=2, retry={"idempotency_key": "Idempotency-Key"})
    exchange = rig.send(b"POST", b"/", (b"idempotency-key", b"1"))
    rig.wire.reset()
    rig.pass_time(0.3)
    rig.wire.answer()
    assert exchange.finished


def test_a_busy_upstream_is_asked_elsewhere_and_its_connection_kept(pair):
    exchange = pair.send()
    pair.wire.answer(BUSY)
    assert len(pair.peer(0).pool.idle) == 1
    pair.pass_time(0.3)
    pair.wire.answer()
    assert exchange.answer.status == 200
    assert exchange.sent == b"hi"


def test_a_busy_answer_that_is_not_all_there_costs_its_connection(pair):
    exchange = pair.send()
    pair.wire.answer(BUSY[:-2])
    assert pair.wire.aborted
    pair.pass_time(0.3)
    pair.wire.answer()
    assert exchange.sent == b"hi"


def test_the_last_busy_answer_is_passed_on_as_it_is(pair):
    exchange = pair.send()
    pair.wire.answer(BUSY)
    pair.pass_time(0.3)
    pair.wire.answer(BUSY)
    assert exchange.answer.status == 503
    assert exchange.sent == b"busy"
    assert exchange.outcome.source == "upstream"


@pytest.mark.parametrize(("value", "retried"), [(b"0", True), (b"1", True), (b"30", False)])
def test_retry_after_decides(pair, value, retried):
    exchange = pair.send()
    pair.wire.answer(BUSY.replace(b"\r\n\r\n", b"\r\nRetry-After: " + value + b"\r\n\r\n"))
    pair.pass_time(0.9)
    assert len(pair.network.wires) == (2 if value == b"0" else 1)
    pair.pass_time(0.3)
    assert len(pair.network.wires) == (2 if retried else 1)
    assert exchange.finished is not retried


def test_a_busy_answer_to_a_post_is_not_retried(pair):
    exchange = pair.send(b"POST")
    pair.wire.answer(BUSY)
    assert exchange.answer.status == 503


def test_no_retry_where_a_trusted_gateway_has_retried_already(pair):
    exchange = pair.exchange(b"GET", b"/", (b"x-request-attempt", b"2"))
    exchange.peer = "10.9.0.1"
    pair.proxy.render(exchange)
    pair.wire.reset()
    assert exchange.answer.status == 502


def test_the_budget_bounds_retries_over_all_exchanges(pair):
    exchanges = [pair.send() for _ in range(6)]
    for wire in list(pair.network.wires):
        wire.reset()
    assert pair.upstream.retrying == 3
    assert sum(exchange.finished for exchange in exchanges) == 3
    pair.pass_time(0.3)
    for wire in pair.network.wires[6:]:
        wire.answer()
    assert all(exchange.finished for exchange in exchanges)
    assert idle_again(pair)


def test_nothing_is_retried_once_the_client_has_seen_anything(pair):
    exchange = pair.send()
    pair.wire.answer(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc")
    pair.wire.reset()
    assert cut_by(exchange, errors.ResponseCut)
    assert not exchange.finished
    assert len(pair.network.wires) == 1
    assert pair.peer(0).failures == 1
    assert idle_again(pair)


# -- stale connections ------------------------------------------------------------------------------------------------


def test_a_stale_connection_is_replaced_at_once_and_costs_no_budget(rig):
    warm(rig)
    rig.upstream.retrying = 100
    exchange = rig.send()
    rig.wire.reset()
    rig.upstream.retrying = 0
    assert len(rig.network.wires) == 2
    rig.wire.answer()
    assert exchange.finished
    assert exchange.outcome.attempts == 2
    assert idle_again(rig)


def test_the_replacement_of_a_stale_connection_is_a_fresh_one(rig):
    one, two = rig.exchange(), rig.exchange()
    rig.proxy.render(one)
    rig.proxy.render(two)
    for wire in rig.network.wires:
        wire.answer()
    exchange = rig.send()
    rig.network.wires[1].reset()
    assert len(rig.network.wires) == 3
    rig.wire.answer()
    assert exchange.finished


def test_a_post_on_a_stale_connection_is_not_sent_twice(rig):
    warm(rig)
    exchange = rig.send(b"POST")
    rig.wire.reset()
    assert exchange.answer.status == 502
    assert len(rig.network.wires) == 1


def test_after_a_stale_connection_there_is_still_an_ordinary_retry(pair):
    warm(pair)
    exchange = pair.send()
    pair.wire.reset()
    pair.wire.reset()
    pair.pass_time(0.3)
    pair.wire.answer()
    assert exchange.finished
    assert exchange.outcome.attempts == 3


# -- deadlines --------------------------------------------------------------------------------------------------------


def test_an_upstream_that_does_not_answer_is_a_504_and_may_be_retried():
    rig = Rig(peers=2, timeouts={"first_byte": "1s", "total": "15s"})
    exchange = rig.send()
    rig.pass_time(1.2)
    assert rig.network.wires[0].aborted
    rig.pass_time(0.3)
    assert len(rig.network.wires) == 2
    rig.pass_time(1.3)
    assert exchange.answer.status == 504
    assert isinstance(exchange.outcome.error, errors.AnswerTimeout)
    assert idle_again(rig)


def test_interim_answers_do_not_buy_time():
    rig = Rig(retry={"attempts": 1}, timeouts={"first_byte": "1s"})
    exchange = rig.send()
    for _ in range(12):
        rig.pass_time(0.1)
        if not rig.wire.aborted:
            rig.wire.answer(b"HTTP/1.1 102 Processing\r\n\r\n")
    assert exchange.answer.status == 504


def test_an_answer_that_stalls_is_cut():
    rig = Rig(timeouts={"idle": "2s"})
    exchange = rig.send()
    rig.wire.answer(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc")
    rig.pass_time(1.5)
    rig.wire.answer(b"d")
    rig.pass_time(1.5)
    assert not exchange.broken
    rig.pass_time(1.0)
    assert cut_by(exchange, errors.ReadTimeout)
    assert rig.wire.aborted
    assert idle_again(rig)


def test_the_total_covers_all_attempts():
    rig = Rig(peers=2, timeouts={"first_byte": "2s", "total": "3s"}, retry={"attempts": 3})
    exchange = rig.send()
    rig.pass_time(2.5)
    assert b"x-request-timeout-ms: 899\r\n" in rig.wire.take()
    rig.pass_time(0.8)
    assert isinstance(exchange.outcome.error, errors.DeadlineExceeded)
    assert exchange.answer.status == 504
    assert exchange.outcome.attempts == 2
    assert idle_again(rig)


def test_the_total_covers_an_answer_under_way():
    rig = Rig(timeouts={"total": "3s", "idle": "30s"})
    exchange = rig.send()
    rig.wire.answer(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc")
    rig.pass_time(3.2)
    assert cut_by(exchange, errors.DeadlineExceeded)


def test_without_a_total_there_is_no_end_and_none_is_announced():
    rig = Rig(timeouts={"total": "0s"})
    exchange = rig.send()
    assert b"x-request-timeout-ms" not in rig.wire.take()
    rig.wire.answer(b"HTTP/1.1 200 OK\r\n\r\n")
    for _ in range(10):
        rig.pass_time(20.0)
        rig.wire.answer(b"x")
    rig.wire.lose()
    assert exchange.finished
    assert exchange.sent == b"x" * 10


def test_without_a_total_attempts_are_still_retried():
    rig = Rig(peers=2, timeouts={"total": "0s"})
    exchange = rig.send()
    rig.wire.reset()
    rig.pass_time(0.3)
    rig.wire.answer()
    assert exchange.finished


def test_the_exchanges_own_deadline_counts_too(rig):
    exchange = rig.exchange()
    exchange.deadline = rig.clock.seconds() + 1.0
    rig.proxy.render(exchange)
    assert b"x-request-timeout-ms: 1000\r\n" in rig.wire.take()
    rig.pass_time(1.2)
    assert isinstance(exchange.outcome.error, errors.DeadlineExceeded)


@pytest.mark.parametrize(("peer", "announced"), [("10.9.0.1", b"500"), ("192.0.2.1", b"15000")])
def test_a_trusted_gateway_before_us_may_leave_less(rig, peer, announced):
    exchange = rig.exchange(b"GET", b"/", (b"x-request-timeout-ms", b"500"))
    exchange.peer = peer
    rig.proxy.render(exchange)
    assert b"x-request-timeout-ms: " + announced + b"\r\n" in rig.wire.take()


def test_a_trusted_gateway_before_us_need_not_say(rig):
    exchange = rig.exchange()
    exchange.peer = "10.9.0.1"
    rig.proxy.render(exchange)
    assert b"x-request-timeout-ms: 15000\r\n" in rig.wire.take()


def test_the_total_covers_connecting():
    rig = Rig(timeouts={"total": "1s"})
    rig.network.slow = True
    exchange = rig.send()
    rig.pass_time(1.2)
    assert exchange.answer.status == 504
    assert rig.network.cancelled == 1
    assert idle_again(rig)
    assert rig.peer().failures == 0


def test_a_full_pool_is_a_503_for_which_no_peer_is_blamed():
    rig = Rig(pool={"connections": 1}, retry={"attempts": 1}, timeouts={"pool": "500ms"})
    held = rig.send()
    exchange = rig.send()
    rig.pass_time(0.7)
    assert isinstance(exchange.outcome.error, errors.PoolFull)
    assert exchange.answer.status == 503
    assert rig.peer().failures == 0
    rig.wire.answer()
    assert held.finished
    assert idle_again(rig)


def test_who_waits_for_a_full_pool_gets_the_next_connection():
    rig = Rig(pool={"connections": 1})
    first, second = rig.send(), rig.send()
    rig.wire.answer()
    assert first.finished
    assert not second.finished
    rig.wire.answer()
    assert second.finished
    assert len(rig.network.wires) == 1


# -- answers that are none --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("raw", "code"),
    [
        (b"rubbish\r\n\r\n", "bad_response"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", "bad_response"),
        (b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n", "upgrade_refused"),
        (b"HTTP/1.1 200 OK\r\n" + b"X: %b\r\n" % (b"x" * 70000) + b"\r\n", "bad_response"),
    ],
)
def test_what_is_no_answer_is_a_502(raw, code):
    rig = Rig(retry={"attempts": 1})
    exchange = rig.send()
    rig.wire.answer(raw)
    assert exchange.answer.status == 502
    assert exchange.reply.code == code
    assert rig.wire.aborted
    assert rig.peer().failures == 1
    assert idle_again(rig)


def test_a_head_that_breaks_off_is_a_502():
    rig = Rig(retry={"attempts": 1})
    exchange = rig.send()
    rig.wire.answer(b"HTTP/1.1 200 OK\r\nContent-")
    rig.wire.lose()
    assert exchange.answer.status == 502
    assert exchange.reply.code == "response_cut"


@pytest.mark.parametrize(
    "raw",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
    ],
)
def test_a_body_that_breaks_off_never_looks_whole(rig, raw):
    exchange = rig.send()
    rig.wire.answer(raw)
    rig.wire.lose()
    assert cut_by(exchange, errors.ResponseCut)
    assert not exchange.finished


def test_a_body_that_turns_malformed_is_cut(rig):
    exchange = rig.send()
    rig.wire.answer(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")
    rig.wire.answer(b"zz\r\n")
    assert cut_by(exchange, errors.BadResponse)


def test_surplus_is_not_passed_on_and_not_taken_for_the_next_answer(rig):
    exchange = rig.send()
    rig.wire.answer(OK + OK)
    assert exchange.sent == b"hi"
    assert exchange.finished
    assert rig.peer().pool.idle == []
    again = rig.send()
    assert len(rig.network.wires) == 2
    assert not again.finished


# -- peers ------------------------------------------------------------------------------------------------------------


class Listening(Upstream):
    """An upstream whose peers tell what they are told."""

    __slots__ = ("told",)

    def pick(self, exchange, avoid=()):
        return Eavesdropped(super().pick(exchange, avoid), self.told)


class Eavesdropped:
    def __init__(self, peer, told):
        self._peer = peer
        self._told = told

    def __getattr__(self, name):
        return getattr(self._peer, name)

    def tell(self, error, status, elapsed):
        self._told.append((type(error), status, round(elapsed, 3)))
        self._peer.tell(error, status, elapsed)


def test_a_peer_hears_of_each_attempt_exactly_once():
    rig = Rig(peers=2)
    upstream = Listening(rig.spec, rig.clock, rig.sweep, connect=rig.network.connect, random=lambda: 0.0)
    upstream.told = []
    rig.upstream = upstream
    rig.proxy = ProxyResource(ProxySpec(upstream="users"), {"users": upstream}, rig.hygiene, rig.clock)
    exchange = rig.send()
    rig.clock.advance(0.25)
    rig.wire.answer(BUSY)
    rig.pass_time(0.3)
    rig.wire.answer()
    assert exchange.finished
    rig.send().leave()
    rig.send(b"POST")
    rig.clock.advance(0.5)
    rig.wire.reset()
    assert upstream.told == [
        (type(None), 503, 0.25),
        (type(None), 200, 0.2),
        (type(None), 0, 0.0),
        (errors.UpstreamClosed, 0, 0.5),
    ]
    assert idle_again(rig)


def test_a_waiter_that_left_does_not_get_the_connection():
    rig = Rig(pool={"connections": 1})
    first, second = rig.send(), rig.send()
    second.leave()
    rig.wire.answer()
    assert first.finished
    assert len(rig.peer().pool.idle) == 1
    assert idle_again(rig)


def test_an_exchange_in_flight_outlives_its_endpoint(rig):
    exchange = rig.send()
    peer = rig.peer()
    rig.upstream.update(frozenset())
    rig.wire.answer()
    assert exchange.finished
    assert peer.pool.idle == []
    assert rig.wire.disconnecting


def test_the_answer_to_early_data_of_a_body_is_relayed_and_the_connection_closed(rig):
    body = MemoryBody(b"abc", declared=9)
    exchange = rig.send(b"POST", b"/", body=body, content_length=9)
    rig.wire.answer(b"HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\n\r\nno")
    assert exchange.answer.status == 413
    assert exchange.finished
    assert rig.wire.disconnecting
    body.feed(b"def")
    body.end()
    assert idle_again(rig)


def test_reset_after_an_early_answer_does_not_spoil_it(rig):
    body = MemoryBody(b"abc", declared=9)
    exchange = rig.send(b"POST", b"/", body=body, content_length=9)
    rig.wire.answer(b"HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\n\r\nno")
    rig.wire.lose(ConnectionLost())
    assert exchange.finished
    assert not exchange.broken


def test_a_connection_that_comes_when_its_exchange_is_over_is_kept_for_the_next(rig):
    rig.network.slow = rig.network.late = True
    exchange = rig.send()
    exchange.leave()
    assert len(rig.peer().pool.idle) == 1
    assert idle_again(rig)
    again = rig.send()
    rig.wire.answer()
    assert again.finished


# -- with a real client's connection ----------------------------------------------------------------------------------


def test_a_head_that_comes_alone_goes_on_at_once(rig):
    """Streams of events may say nothing for long after their head; their clients must see it meanwhile."""
    edge = Edge(rig.proxy.render)
    edge.send(b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n")
    rig.wire.answer(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
    assert edge.transport.value().startswith(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n")
    edge.transport.clear()
    rig.wire.answer(b"6\r\ndata:1\r\n")
    assert edge.transport.value() == b"6\r\ndata:1\r\n"
