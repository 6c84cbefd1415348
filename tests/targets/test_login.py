"""The resource of a login's own routes."""

import json

import pytest
from twisted.internet.defer import Deferred
from twisted.logger import globalLogPublisher
from twisted.web.resource import IResource
from zope.interface.verify import verifyObject

from suuupra_gateway.auth.pages import logged_out
from suuupra_gateway.errors import BodyTooLarge
from suuupra_gateway.targets import login as module
from suuupra_gateway.targets.login import LoginResource
from suuupra_gateway.testing import request
from tests.auth.portal import Browser, Portal, location


@pytest.fixture
def waiting(monkeypatch):
    """An endpoint that answers when the test says so."""
    answers = []

    async def answer(exchange):
        pending = Deferred()
        answers.append(pending)
        return await pending

    monkeypatch.setitem(module._ENDPOINTS, "callback", lambda login: answer)
    return answers


def test_it_is_a_leaf():
    resource = LoginResource(Portal().login, "logout")
    assert verifyObject(IResource, resource)
    assert resource.isLeaf


@pytest.mark.parametrize(
    ("suffix", "line", "status"),
    [
        ("callback", "GET /_login/callback?return_to=/x", 302),
        ("logout", "GET /_login/logout", 200),
        ("logout", "POST /_login/logout", 303),
        ("backchannel-logout", "POST /_login/backchannel-logout", 400),
    ],
)
def test_every_endpoint_answers(suffix, line, status):
    exchange = request(line, headers={"Accept": "text/html"})
    LoginResource(Portal().login, suffix).render(exchange)
    assert exchange.answer.status == status


def test_there_are_no_other_endpoints():
    with pytest.raises(KeyError):
        LoginResource(Portal().login, "login")


def test_the_answer_comes_when_it_is_there(waiting):
    exchange = request("GET /")
    LoginResource(Portal().login, "callback").render(exchange)
    assert not exchange.settled
    waiting[0].callback(logged_out())
    assert exchange.answer.status == 200


def test_a_browser_that_has_left_gets_none_and_the_login_is_done_all_the_same(waiting):
    exchange = request("GET /")
    LoginResource(Portal().login, "callback").render(exchange)
    exchange.leave()
    waiting[0].callback(logged_out())
    assert exchange.answer is None


def test_who_leaves_while_logging_in_does_not_undo_it():
    portal = Portal()
    browser = Browser(portal)
    query = browser.approve(browser.begin())
    portal.wire.held = []
    exchange = browser.request(f"GET /_login/callback?{query}")
    LoginResource(portal.login, "callback").render(exchange)
    exchange.leave()
    portal.wire.release()
    assert len([seen for seen in portal.idp.seen if seen["endpoint"] == "token"]) == 1


def test_errors_of_the_request_are_answered_as_such(waiting):
    exchange = request("GET /")
    LoginResource(Portal().login, "callback").render(exchange)
    waiting[0].errback(BodyTooLarge())
    assert exchange.answer.status == 413


def test_bugs_are_logged_and_answered_with_nothing_of_theirs(waiting):
    seen = []
    globalLogPublisher.addObserver(seen.append)
    try:
        exchange = request("GET /", headers={"Accept": "application/json"})
        LoginResource(Portal().login, "callback").render(exchange)
        waiting[0].errback(RuntimeError("the secret reason"))
    finally:
        globalLogPublisher.removeObserver(seen.append)
    assert exchange.answer.status == 500
    assert "secret" not in json.dumps(json.loads(exchange.sent))
    assert any("a login failed" in (event.get("log_format") or "") for event in seen)


def test_the_whole_way_goes_through_it():
    browser = Browser(Portal())
    assert location(browser.log_in("/orders")) == "/orders"
