"""The end of sessions: by people, by forgers, and by the provider."""

import json
import re

import pytest

from suuupra_gateway.auth.principal import Refused
from tests.auth.portal import HOME, ISSUER, Browser, Portal, asked, location
from tests.servers.evil_idp import FORM


@pytest.fixture(params=["redis", "cookie"])
def portal(request, line):
    return Portal(line) if request.param == "redis" else Portal()


def page(browser):
    return browser.call("logout", "GET /_login/logout")


def token_of(browser):
    return re.search(r'name="csrf" value="([^"]+)"', bytes(page(browser).sent).decode())[1]


def log_out(browser, csrf, **headers):
    fields = {"Content_Type": FORM, "Origin": HOME, **headers}
    return browser.call("logout", "POST /_login/logout", f"csrf={csrf}".encode(), **fields)


def is_out(portal, cookies):
    """Whether a copy of the cookies is worth nothing."""
    copy = Browser(portal)
    copy.cookies = dict(cookies)
    return copy.who() == ""


# -- by people --------------------------------------------------------------------------------------------------------


def test_logging_out_ends_everything(portal):
    browser = Browser(portal)
    browser.log_in()
    assert browser.who() == "alice"
    before = dict(browser.cookies)
    exchange = log_out(browser, token_of(browser), Sec_Fetch_Site="same-origin")
    assert exchange.answer.status == 303
    assert location(exchange).startswith(f"{ISSUER}/end?")
    assert browser.session == ""
    assert is_out(portal, before)


def test_the_provider_is_told_who_logs_out_and_where_to_go_then(line):
    portal = Portal(line, after_logout="/bye")
    browser = Browser(portal)
    browser.log_in()
    found = asked(location(log_out(browser, token_of(browser))))
    assert found["post_logout_redirect_uri"] == f"{HOME}/bye"
    assert found["client_id"] == "shop & co"
    assert found["id_token_hint"].count(".") == 2


def test_without_tokens_the_provider_gets_no_hint():
    browser = Browser(Portal(after_logout="https://www.example.org/"))
    browser.log_in()
    found = asked(location(log_out(browser, token_of(browser))))
    assert found == {"client_id": "shop & co", "post_logout_redirect_uri": "https://www.example.org/"}


def test_goodbyes_may_be_said_in_any_language():
    portal = Portal(after_logout="/tschüß?a=%20b")
    assert location(log_out(Browser(portal), "")) == "/tsch%C3%BC%C3%9F?a=%20b"


def test_the_refresh_token_is_given_back(line):
    portal = Portal(line)
    browser = Browser(portal)
    browser.log_in()
    (good,) = portal.idp.refreshing
    log_out(browser, token_of(browser))
    assert portal.idp.refreshing == {}
    assert [seen["form"]["token"] for seen in portal.idp.seen if seen["endpoint"] == "revoke"] == [good]


def test_looking_at_the_page_logs_nobody_out(portal):
    browser = Browser(portal)
    browser.log_in()
    exchange = page(browser)
    assert exchange.answer.status == 200
    assert b"<form" in exchange.sent
    assert browser.who() == "alice"
    policy = exchange.answer.get(b"content-security-policy").decode()
    assert re.search(r"form-action ([^;]*)", policy)[1].split() == ["'self'", HOME, ISSUER]


def test_the_page_does_without_the_provider(line):
    portal = Portal(line, metadata=False)
    browser = Browser(Portal(line))
    browser.log_in()
    browser.portal = portal
    assert ISSUER not in page(browser).answer.get(b"content-security-policy").decode()
    assert location(log_out(browser, token_of(browser))) == "/"
    assert browser.who() == ""


def test_who_is_logged_out_is_told_so(portal):
    browser = Browser(portal)
    exchange = page(browser)
    assert b"You are logged out" in exchange.sent
    assert location(log_out(browser, "")) == "/"
    browser.cookies["__Host-sg_session"] = "rubbish"
    page(browser)
    assert browser.session == ""
    browser.cookies["__Host-sg_session"] = "rubbish"
    assert location(log_out(browser, "x")) == "/"
    assert browser.session == ""


def test_programs_of_ours_get_what_they_need(portal):
    browser = Browser(portal)
    browser.log_in()
    exchange = browser.call("logout", "GET /_login/logout", Accept="application/json")
    token = json.loads(exchange.sent)["csrf"]
    exchange = browser.call("logout", "POST /_login/logout", X_CSRF_Token=token, Sec_Fetch_Site="same-origin")
    assert exchange.answer.status == 303
    assert browser.session == ""
    assert json.loads(browser.call("logout", "GET /_login/logout", Accept="*/*").sent) == {"csrf": None}


def test_a_session_that_is_over_already_is_no_trouble(line, server):
    browser = Browser(Portal(line))
    browser.log_in()
    token = token_of(browser)
    server.ask("FLUSHALL")
    assert location(log_out(browser, token)) == "/"
    assert browser.session == ""


def test_one_logout_does_not_end_the_other_browsers_session(portal):
    one, two = Browser(portal), Browser(portal)
    one.log_in()
    two.log_in()
    log_out(one, token_of(one))
    assert two.who() == "alice"


# -- by forgers -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("forge", "headers"),
    [
        (lambda token: "", {}),
        (lambda token: token[:-1] + ("A" if token[-1] != "A" else "B"), {}),
        (lambda token: "%ff", {}),
        (lambda token: f"{token}&csrf={token}", {}),
        (lambda token: token, {"Origin": "https://evil.example"}),
        (lambda token: token, {"Origin": "null"}),
        (lambda token: token, {"Origin": HOME + ".evil.example"}),
        (lambda token: token, {"Sec_Fetch_Site": "cross-site"}),
        (lambda token: token, {"Sec_Fetch_Site": "same-site"}),
        (lambda token: token, {"Content_Type": "text/plain"}),
        (lambda token: token, {"Content_Type": ""}),
    ],
)
def test_a_forged_logout_changes_nothing(portal, forge, headers):
    browser = Browser(portal)
    browser.log_in()
    exchange = log_out(browser, forge(token_of(browser)), **headers)
    assert (exchange.answer.status, exchange.outcome.auth) == (403, "csrf")
    assert b'href="/_login/logout"' in exchange.sent
    assert browser.who() == "alice"


def test_a_token_is_for_one_session_alone(portal):
    """An attacker has one too, of their own session."""
    attacker, victim = Browser(portal), Browser(portal)
    attacker.log_in()
    victim.log_in()
    assert log_out(victim, token_of(attacker)).answer.status == 403
    assert victim.who() == "alice"


def test_a_huge_form_is_refused(portal):
    browser = Browser(portal)
    browser.log_in()
    exchange = browser.call("logout", "POST /_login/logout", b"a" * 20_000, Content_Type=FORM)
    assert exchange.answer.status == 413
    assert browser.who() == "alice"


def test_while_the_store_is_away_nobody_is_said_to_be_out(line):
    portal = Portal(line)
    browser = Browser(portal)
    browser.log_in()
    token = token_of(browser)
    line.cut()
    exchange = log_out(browser, token)
    assert exchange.answer.status == 503
    assert b"still logged in" in exchange.sent
    assert browser.session


# -- by the provider --------------------------------------------------------------------------------------------------


def told(portal, token, kind=FORM):
    browser = Browser(portal)
    return browser.call(
        "backchannel-logout", "POST /_login/backchannel-logout", f"logout_token={token}".encode(), Content_Type=kind
    )


def test_the_provider_ends_a_session_by_its_name(portal):
    browsers = {}
    for sid in ("one", "two"):
        portal.idp.sid = sid
        browsers[sid] = Browser(portal)
        browsers[sid].log_in()
        assert browsers[sid].who() == "alice"
    exchange = told(portal, portal.idp.logout_token(sid="one"))
    assert exchange.answer.status == 200
    assert exchange.answer.get(b"cache-control") == b"no-store"
    assert browsers["one"].who() == ""
    assert browsers["two"].who() == "alice"


def test_the_provider_ends_all_sessions_of_somebody(portal):
    browsers = [Browser(portal), Browser(portal)]
    for browser in browsers:
        browser.log_in()
        assert browser.who() == "alice"
    portal.idp.subject = "bob"
    other = Browser(portal)
    other.log_in()
    portal.pass_time(1)
    assert told(portal, portal.idp.logout_token(sub="alice")).answer.status == 200
    assert [browser.who() for browser in browsers] == ["", ""]
    assert other.who() == "bob"


def test_who_logs_in_after_that_is_in(portal):
    browser = Browser(portal)
    browser.log_in()
    portal.pass_time(1)
    told(portal, portal.idp.logout_token())
    assert browser.who() == ""
    portal.pass_time(1)
    again = Browser(portal)
    again.log_in()
    assert again.who() == "alice"


def test_a_logout_counts_once(portal):
    """Whoever finds an old one must not log people out with it."""
    token = portal.idp.logout_token()
    assert told(portal, token).answer.status == 200
    portal.pass_time(1)
    browser = Browser(portal)
    browser.log_in()
    assert told(portal, token).answer.status == 200
    assert browser.who() == "alice"


def test_a_logout_that_failed_half_way_is_not_taken_for_done(line, server):
    """The store fails after it was asked about the token: sessions go on, and the provider says it again."""
    portal = Portal(line)
    browser = Browser(portal)
    browser.log_in()
    assert browser.who() == "alice"
    portal.pass_time(1)
    token = portal.idp.logout_token()
    server.ask("ACL", "SETUSER", "default", "-zrangebyscore")
    try:
        assert told(portal, token).answer.status == 503
    finally:
        server.ask("ACL", "SETUSER", "default", "+zrangebyscore")
    assert told(portal, token).answer.status == 200
    assert browser.who() == ""


@pytest.mark.parametrize(
    "more",
    [
        {"aud": "somebody else"},
        {"iss": "https://evil.example"},
        {"events": None},
        {"events": {"other": {}}},
        {"nonce": "n"},
        {"sub": None},
        {"iat": 1_700_000_000, "exp": None},
        {"exp": 1_700_000_000},
        {"jti": None},
    ],
    ids=repr,
)
def test_other_tokens_end_nothing(portal, more):
    browser = Browser(portal)
    browser.log_in()
    exchange = told(portal, portal.idp.logout_token(**more))
    assert exchange.answer.status == 400
    assert json.loads(exchange.sent)["error"] == "invalid_request"
    assert browser.who() == "alice"


@pytest.mark.parametrize(
    "script", [{"sign": "none"}, {"sign": "other"}, {"sign": "secret"}, {"header": {"typ": "at+jwt"}}]
)
def test_nor_do_those_that_nobody_has_signed(portal, script):
    browser = Browser(portal)
    browser.log_in()
    portal.idp.script = script
    assert told(portal, portal.idp.logout_token()).answer.status == 400
    assert browser.who() == "alice"


def test_an_id_token_is_no_logout(portal):
    browser = Browser(portal)
    browser.log_in()
    assert told(portal, portal.idp.id_token("alice", "n", "a")).answer.status == 400
    assert browser.who() == "alice"


@pytest.mark.parametrize(("token", "kind"), [("", FORM), ("x.y.z", FORM), ("x", "application/json"), ("%ff", FORM)])
def test_what_is_no_token_is_refused(portal, token, kind):
    assert told(portal, token, kind).answer.status == 400


def test_a_logout_without_a_body_is_refused(portal):
    assert Browser(portal).call("backchannel-logout", "POST /_login/backchannel-logout").answer.status == 400


def test_logout_tokens_need_neither_end_nor_type(portal):
    """Both came with later versions."""
    portal.idp.script = {"header": {"typ": "JWT"}}
    assert told(portal, portal.idp.logout_token(exp=None)).answer.status == 200


def test_when_it_does_not_work_the_provider_may_say_it_again(line):
    portal = Portal(line)
    token = portal.idp.logout_token()
    line.cut()
    assert told(portal, token).answer.status == 503


def test_all_workers_and_machines_hear_of_it(line, server):
    portal = Portal(line)
    browser = Browser(portal)
    browser.log_in()
    told(portal, portal.idp.logout_token(sid="sid-1"))
    (id,) = [browser.session.partition(".")[0]]
    tags = server.ask("ZRANGE", "t:revocations", "0", "-1").decode()
    assert f"session:{id}" in tags
    assert "sid:shop:sid-1" in tags


def test_a_session_that_somebody_has_revoked_is_over(portal):
    browser = Browser(portal)
    browser.log_in()
    assert browser.who() == "alice"
    portal.pass_time(1)
    portal.revocations.revoke(("subject:idp:alice",), portal.wall())
    found = portal.check(browser.request("GET /api", Accept="application/json", Sec_Fetch_Mode="cors"))
    assert isinstance(found, Refused)
