"""An answer on its way through response hooks and transforms."""

from __future__ import annotations

import pytest
from twisted.internet.defer import CancelledError, Deferred

from suuupra_gateway import errors
from suuupra_gateway.http.message import Reply
from tests.upstreams.rig import OK, Rig


class Route:
    """As much of a route as forwarding looks at."""

    name = "r"
    request_hooks = done_hooks = reply_hooks = ()

    def __init__(self, response=(), transform=()):
        self.response_hooks = response
        self.transform_hooks = transform


class Upper:
    def feed(self, data):
        return data.upper()

    def finish(self):
        return b"!"


class Last:
    """Says nothing before the end."""

    def __init__(self):
        self.pieces = []

    def feed(self, data):
        self.pieces.append(data)
        return b""

    def finish(self):
        return b"".join(self.pieces)


class Broken:
    def __init__(self, at):
        self.at = at

    def feed(self, data):
        if self.at == "feed":
            raise ZeroDivisionError
        return data

    def finish(self):
        raise ZeroDivisionError


@pytest.fixture
def rig():
    return Rig()


def send(rig, response=(), transform=(), **kwargs):
    exchange = rig.exchange(**kwargs)
    exchange.route = Route(response, transform)
    rig.proxy.render(exchange)
    return exchange


def idle_again(rig):
    return rig.upstream.active == rig.peer().active == 0 and rig.sweep._watched == set(rig.peer().pool.idle)


def test_hooks_see_the_head_in_order_and_may_edit_it(rig):
    seen = []

    def first(exchange, head):
        seen.append(list(head.headers))
        head.headers.append((b"x-first", b"1"))

    def second(exchange, head):
        seen.append(head.get(b"x-first"))
        head.status = 201

    exchange = send(rig, [first, second])
    rig.wire.answer()
    assert seen == [[(b"x-answer", b"yes"), (b"via", b"1.1 suuupra")], b"1"]
    assert exchange.answer.status == 201
    assert exchange.sent == b"hi"
    assert idle_again(rig)


def test_a_hook_may_answer_in_place_of_the_upstream(rig):
    exchange = send(rig, [lambda exchange, head: Reply(418, body=b"tea")])
    rig.wire.answer()
    assert (exchange.answer.status, exchange.sent) == (418, b"tea")
    assert exchange.outcome.source == "gateway"
    assert exchange.finished
    assert len(rig.peer().pool.idle) == 1
    assert idle_again(rig)


def test_an_answer_that_is_replaced_before_it_is_complete_costs_its_connection(rig):
    exchange = send(rig, [lambda exchange, head: Reply(418, body=b"tea")])
    rig.wire.answer(OK[:-1])
    assert exchange.sent == b"tea"
    assert rig.wire.aborted


def test_a_hook_may_wait_while_the_upstream_waits_too(rig):
    wait = Deferred()
    exchange = send(rig, [lambda exchange, head: wait])
    rig.wire.answer(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nab")
    assert rig.wire.producerState == "paused"
    assert exchange.answer is None
    wait.callback(None)
    assert exchange.sent == b"ab"
    assert rig.wire.producerState == "producing"
    assert exchange.producer is not None
    rig.wire.answer(b"cd")
    assert exchange.sent == b"abcd"
    assert exchange.finished
    rig.network.settle()
    assert idle_again(rig)


def test_a_client_that_stalls_when_the_wait_is_over_keeps_the_upstream_waiting(rig):
    wait = Deferred()
    exchange = send(rig, [lambda exchange, head: wait])
    rig.wire.answer(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nab")
    exchange.register = lambda producer: producer.pauseProducing()
    wait.callback(None)
    assert rig.wire.producerState == "paused"


def test_a_hook_may_wait_longer_than_the_upstream_needs(rig):
    wait = Deferred()
    exchange = send(rig, [lambda exchange, head: wait])
    rig.wire.answer(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nX-T: 1\r\n\r\n")
    assert len(rig.peer().pool.idle) == 1
    assert rig.upstream.active == 0
    wait.callback(None)
    assert exchange.sent == b"hi"
    assert exchange.trailers == [(b"x-t", b"1")]
    assert exchange.finished
    assert idle_again(rig)


def test_what_is_waited_for_may_be_another_answer(rig):
    wait = Deferred()
    exchange = send(rig, [lambda exchange, head: wait])
    rig.wire.answer(OK[:-1])
    wait.callback(Reply(418, body=b"tea"))
    assert exchange.sent == b"tea"
    assert rig.wire.aborted
    assert rig.upstream.active == 0


def test_a_client_that_leaves_cancels_the_wait(rig):
    cancelled = []
    wait = Deferred(cancelled.append)
    exchange = send(rig, [lambda exchange, head: wait])
    rig.wire.answer()
    exchange.leave()
    assert cancelled
    assert exchange.answer is None
    assert idle_again(rig)


def test_a_client_that_leaves_during_the_wait_stops_the_upstream(rig):
    wait = Deferred()
    exchange = send(rig, [lambda exchange, head: wait])
    rig.wire.answer(OK[:-1])
    exchange.leave()
    assert rig.wire.aborted
    rig.wire.settle()
    assert rig.upstream.active == 0
    assert rig.sweep._watched == set()


def test_an_upstream_that_breaks_during_the_wait_is_a_502(rig):
    wait = Deferred()
    exchange = send(rig, [lambda exchange, head: wait])
    rig.wire.answer(OK[:-1])
    rig.wire.reset()
    assert exchange.answer.status == 502
    assert wait.called
    assert rig.upstream.active == 0
    assert rig.sweep._watched == set()


def test_the_wait_ends_with_the_exchanges_time():
    rig = Rig(timeouts={"total": "2s"})
    exchange = send(rig, [lambda exchange, head: Deferred()])
    rig.wire.answer()
    rig.pass_time(2.2)
    assert exchange.answer.status == 504
    assert isinstance(exchange.outcome.error, errors.DeadlineExceeded)
    assert rig.peer().failures == 0
    assert idle_again(rig)


def test_a_hook_that_gives_up_by_itself_is_a_bug(rig):
    wait = Deferred()
    exchange = send(rig, [lambda exchange, head: wait])
    rig.wire.answer()
    wait.errback(CancelledError())
    assert exchange.answer.status == 500
    assert idle_again(rig)


# -- transforms -------------------------------------------------------------------------------------------------------


def test_transforms_change_the_body_and_its_length_is_not_known_any_more(rig):
    exchange = send(rig, transform=[lambda exchange, head: Upper(), lambda exchange, head: None])
    rig.wire.answer(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nab")
    assert exchange.answer.length is None
    assert exchange.sent == b"AB"
    rig.wire.answer(b"cd")
    assert exchange.sent == b"ABCD!"
    assert exchange.finished


def test_several_transforms_are_a_row(rig):
    exchange = send(rig, transform=[lambda exchange, head: Upper(), lambda exchange, head: Last()])
    rig.wire.answer(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nab")
    assert exchange.sent == b""
    rig.wire.answer(b"cd")
    assert exchange.sent == b"ABCD!"


def test_a_transform_that_has_nothing_to_say_at_the_end_says_nothing(rig):
    class Silent(Upper):
        def finish(self):
            return b""

    exchange = send(rig, transform=[lambda exchange, head: Silent()])
    rig.wire.answer()
    assert exchange.sent == b"HI"
    assert exchange.finished


def test_without_a_transform_the_length_stays(rig):
    exchange = send(rig, transform=[lambda exchange, head: None])
    rig.wire.answer()
    assert exchange.answer.length == 2


def test_transforms_are_asked_after_the_hooks(rig):
    def hook(exchange, head):
        head.headers.append((b"x-hook", b"1"))

    seen = []
    exchange = send(rig, [hook], [lambda exchange, head: seen.append(head.get(b"x-hook"))])
    rig.wire.answer()
    assert seen == [b"1"]
    assert exchange.finished


@pytest.mark.parametrize("at", ["make", "feed", "finish"])
def test_a_transform_that_fails_never_leaves_an_answer_that_looks_whole(rig, at):
    def make(exchange, head):
        if at == "make":
            raise ZeroDivisionError
        return Broken(at)

    exchange = send(rig, transform=[make])
    rig.wire.answer(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nab")
    rig.wire.answer(b"cd") if not rig.wire.aborted else None
    assert isinstance(exchange.outcome.error, errors.Bug)
    if at == "finish":
        assert exchange.broken
    else:
        assert exchange.answer.status == 500
        assert rig.wire.aborted
    rig.network.settle()
    assert rig.upstream.active == 0


def test_trailers_pass_a_shaped_answer(rig):
    exchange = send(rig, transform=[lambda exchange, head: Upper()])
    rig.wire.answer(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nX-T: 1\r\n\r\n")
    assert exchange.sent == b"HI!"
    assert exchange.trailers == [(b"x-t", b"1")]


def test_a_transform_that_fails_after_a_wait_ends_it_all(rig):
    def make(exchange, head):
        raise ZeroDivisionError

    wait = Deferred()
    exchange = send(rig, [lambda exchange, head: wait], [make])
    rig.wire.answer(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nab")
    wait.callback(None)
    assert exchange.answer.status == 500
    assert rig.wire.aborted
    rig.network.settle()
    assert idle_again(rig)


def test_a_transform_that_fails_at_the_end_of_a_held_answer_cuts_it(rig):
    wait = Deferred()
    exchange = send(rig, [lambda exchange, head: wait], [lambda exchange, head: Broken("finish")])
    rig.wire.answer()
    wait.callback(None)
    assert exchange.broken
    assert not exchange.finished
    assert idle_again(rig)
