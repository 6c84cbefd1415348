import pytest
from twisted.internet.defer import Deferred

from suuupra_gateway.auth.answers import answer, stale_will_do
from suuupra_gateway.auth.decisions import Decision, Found
from suuupra_gateway.auth.principal import Cached, Principal, Refused, Undecided
from suuupra_gateway.http.message import Reply

CALLER = Principal("ada", "introspection")


def found(made, source="fresh"):
    return Found(Decision(True), made, source, 7.0)


@pytest.mark.parametrize(
    ("stale", "method", "will_do"),
    [
        ("allow", b"POST", True),
        ("read-only", b"GET", True),
        ("read-only", b"HEAD", True),
        ("read-only", b"POST", False),
        ("read-only", b"OPTIONS", False),
        ("never", b"GET", False),
    ],
)
def test_the_route_says_for_what_a_stale_decision_will_do(stale, method, will_do):
    assert stale_will_do(stale, method) is will_do


def test_a_decision_for_this_request_is_the_principal_itself():
    assert answer(found(CALLER, "live")) is CALLER


@pytest.mark.parametrize("source", ["fresh", "revalidate", "stale"])
def test_an_earlier_one_says_how_old_it_is(source):
    assert answer(found(CALLER, source)) == Cached(CALLER, source, 7.0)


def test_a_refusal_says_where_it_comes_from():
    assert answer(found(Refused("inactive"), "live")) == Refused("inactive")
    assert answer(found(Refused("inactive"))) == Refused("inactive", source="fresh")


def test_a_reply_stays_what_it_is():
    reply = Reply(403)
    assert answer(found(reply)) is reply


def test_no_decision_stays_none():
    undecided = Undecided("provider_unavailable")
    assert answer(undecided) is undecided


def test_what_has_to_be_waited_for_is_waited_for():
    pending = Deferred()
    waiting = Deferred.fromCoroutine(answer(pending))
    assert not waiting.called
    pending.callback(found(CALLER, "stale"))
    assert waiting.result == Cached(CALLER, "stale", 7.0)
