"""The loops over hooks: order, answers, waiting, and failures that never get lost."""

import pytest
from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.logger import globalLogPublisher

from suuupra_gateway.errors import Forbidden
from suuupra_gateway.hooks import run, run_done, run_reply, run_response
from suuupra_gateway.http.message import Reply, RequestHead, ResponseHead
from suuupra_gateway.memory import MemoryExchange

TEAPOT = Reply(418)


class Probing:
    """A filter whose one hook does what it is told and notes that it was called."""

    def __init__(self, name, calls, does=lambda: None):
        self.name = name
        self._calls = calls
        self._does = does

    def hook(self, exchange, head=None):
        self._calls.append(self.name)
        return self._does()


def broken():
    raise RuntimeError("filters fail too")


async def later(deferred):
    return await deferred


@pytest.fixture
def exchange():
    return MemoryExchange(RequestHead(b"GET", b"/", []))


@pytest.fixture
def head():
    return ResponseHead(200, [])


@pytest.fixture
def logged():
    events = []
    globalLogPublisher.addObserver(events.append)
    yield events
    globalLogPublisher.removeObserver(events.append)


@pytest.fixture(params=["request", "response"])
def loop(request, exchange, head):
    """Either of the two loops over hooks that may answer: what it returns for some behaviours, and who was called."""

    def start(*behaviours):
        calls = []
        hooks = iter([Probing(f"filter-{number}", calls, does).hook for number, does in enumerate(behaviours)])
        result = run(hooks, exchange) if request.param == "request" else run_response(hooks, exchange, head)
        return result, calls

    return start


def test_hooks_that_have_nothing_to_say_are_all_called_in_order(loop):
    assert loop(lambda: None, lambda: None) == (None, ["filter-0", "filter-1"])


def test_the_first_answer_ends_it(loop):
    assert loop(lambda: None, lambda: TEAPOT, broken) == (TEAPOT, ["filter-0", "filter-1"])


def test_nobody_waits_for_nothing(loop):
    result, _ = loop(lambda: None)
    assert not isinstance(result, Deferred)


@pytest.mark.parametrize("wrapped", [lambda pending: pending, later], ids=["deferred", "coroutine"])
def test_a_hook_that_waits_makes_the_others_wait(loop, wrapped):
    pending, results = Deferred(), []
    result, calls = loop(lambda: wrapped(pending), lambda: TEAPOT)
    result.addCallback(results.append)
    assert calls == ["filter-0"]
    pending.callback(None)
    assert (calls, results) == (["filter-0", "filter-1"], [TEAPOT])


def test_an_answer_that_was_waited_for_ends_it_too(loop):
    results = []
    result, calls = loop(lambda: succeed(TEAPOT), broken)
    result.addCallback(results.append)
    assert (calls, results) == (["filter-0"], [TEAPOT])


def test_several_hooks_may_wait(loop):
    first, second, results = Deferred(), Deferred(), []
    result, calls = loop(lambda: first, lambda: None, lambda: second)
    result.addCallback(results.append)
    first.callback(None)
    second.callback(None)
    assert (calls, results) == (["filter-0", "filter-1", "filter-2"], [None])


def test_a_hook_that_raises_is_named_in_the_log_and_answers_500(loop, logged):
    result, calls = loop(lambda: None, broken, lambda: None)
    assert (result.status, result.code, calls) == (500, "internal_error", ["filter-0", "filter-1"])
    (event,) = logged
    assert event["filter"] == "filter-1"
    assert isinstance(event["log_failure"].value, RuntimeError)


def test_a_hook_that_fails_after_waiting_is_treated_alike(loop, logged):
    results = []
    result, _ = loop(lambda: fail(RuntimeError("late")))
    result.addCallback(results.append)
    assert results[0].status == 500
    assert [event["filter"] for event in logged] == ["filter-0"]


def test_a_refusal_that_is_raised_is_an_answer_and_no_bug(loop, logged):
    def refuse():
        raise Forbidden("not you")

    result, _ = loop(refuse)
    assert (result.status, result.code, logged) == (403, "forbidden", [])


def test_a_refusal_that_is_raised_after_waiting_is_too(loop, logged):
    results = []
    loop(lambda: fail(Forbidden()))[0].addCallback(results.append)
    assert (results[0].status, logged) == (403, [])


def test_an_answer_of_the_wrong_type_is_a_bug_of_the_filter(loop, logged):
    results = []
    loop(lambda: 403)[0].addCallback(results.append)
    assert (results[0].status, logged[0]["filter"]) == (500, "filter-0")


def test_cancelling_reaches_the_filter_that_waits(loop, logged):
    cancelled, results = [], []
    pending = Deferred(cancelled.append)
    result, calls = loop(lambda: pending, broken)
    result.addErrback(results.append)
    result.cancel()
    assert cancelled == [pending]
    assert results[0].check(CancelledError)
    assert (calls, logged) == (["filter-0"], [])


def test_reply_hooks_all_run_though_one_fails(exchange, head, logged):
    calls = []
    run_reply([Probing("a", calls, broken).hook, Probing("b", calls).hook], exchange, head)
    assert calls == ["a", "b"]
    assert [event["filter"] for event in logged] == ["a"]


def test_done_hooks_all_run_though_one_fails(exchange, logged):
    calls = []
    run_done([Probing("a", calls, broken).hook, Probing("b", calls).hook], exchange)
    assert calls == ["a", "b"]
    assert [(event["filter"], event["route"], event["request"]) for event in logged] == [("a", "none", "0")]


def test_the_route_is_named_where_there_is_one(exchange, logged):
    class Route:
        name = "users"

    exchange.route = Route()
    run_done([lambda exchange: broken()], exchange)
    assert logged[0]["route"] == "users"
    assert "lambda" in logged[0]["filter"]


def test_a_hook_without_any_name_is_shown_as_it_is(exchange, logged):
    from functools import partial

    run_done([partial(lambda exchange: broken())], exchange)
    assert "partial" in logged[0]["filter"]
