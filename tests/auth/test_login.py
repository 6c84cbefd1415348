"""The whole way of a login, and everything that evil providers, evil sites and bad luck can do to it."""

import html
import json
import re
from urllib.parse import urlencode

import pytest
from twisted.logger import LogLevel, globalLogPublisher

from suuupra_gateway.auth.attempt import LASTS, MOST
from suuupra_gateway.auth.login import Endpoint, endpoints
from suuupra_gateway.auth.principal import Refused, Undecided
from suuupra_gateway.config.units import Duration, Secret
from suuupra_gateway.targets.login import LoginResource
from tests.auth.portal import HOME, ISSUER, KEY, SECRET, Browser, Portal, asked, location, login_spec


@pytest.fixture(params=["redis", "cookie"])
def portal(request, line):
    """A login with either kind of sessions."""
    return Portal(line) if request.param == "redis" else Portal()


@pytest.fixture
def logged():
    """What is logged from info on, as text."""
    lines = []

    def observe(event):
        if event["log_level"] >= LogLevel.info:
            lines.append(event["log_format"].format(**event) if event.get("log_format") else str(event))

    globalLogPublisher.addObserver(observe)
    yield lines
    globalLogPublisher.removeObserver(observe)


def cookie_of(answer, name):
    return [value.decode() for key, value in answer.headers if key == b"set-cookie" and value.startswith(name)]


# -- the good way -----------------------------------------------------------------------------------------------------


def test_somebody_logs_in_and_gets_where_they_wanted_to(portal):
    browser = Browser(portal)
    assert browser.who() == ""
    browser = Browser(portal)
    exchange = browser.log_in("/orders?page=2&q=a%20b")
    assert exchange.answer.status == 303
    assert location(exchange) == "/orders?page=2&q=a%20b"
    assert browser.who() == "alice"
    found = browser.visit()
    principal = getattr(found, "principal", found)
    assert (principal.credential, principal.provider, principal.roles) == ("session", "shop", {"clerk"})
    assert "orders.read" in principal.scopes
    assert principal.claims["email"] == "alice@example.org"


def test_one_code_is_exchanged_once_with_its_own_verifier(portal):
    browser = Browser(portal)
    url = browser.begin()
    browser.callback(browser.approve(url))
    exchanges = [seen for seen in portal.idp.seen if seen["endpoint"] == "token"]
    assert len(exchanges) == 1
    assert exchanges[0]["form"]["redirect_uri"] == f"{HOME}/_login/callback"
    assert exchanges[0]["form"]["code_verifier"] not in url
    assert SECRET not in json.dumps(exchanges[0]["form"])


def test_every_attempt_is_another_one(portal):
    urls = [asked(Browser(portal).begin()) for _ in range(10)]
    for name in ("state", "nonce", "code_challenge"):
        assert len({url[name] for url in urls}) == 10
    assert {url["code_challenge_method"] for url in urls} == {"S256"}


def test_the_redirect_uri_is_the_configured_one_whatever_the_host_is(portal):
    found = Browser(portal).visit(Host="evil.example", X_Forwarded_Host="evil.example")
    assert asked(location(found))["redirect_uri"] == f"{HOME}/_login/callback"


def test_cookies_are_as_they_must_be(portal):
    browser = Browser(portal)
    browser.log_in()
    for text in browser.set:
        assert text.startswith(("__Host-sg_session", "__Host-sg_oidc_"))
        assert {"Path=/", "HttpOnly", "SameSite=Lax", "Secure"} <= set(text.split("; "))
    assert browser.attempts == []
    assert browser.session


def test_answers_are_for_one_browser_alone(portal):
    browser = Browser(portal)
    for answer in (browser.visit().headers, browser.log_in().answer.headers):
        assert (b"cache-control", b"no-store") in answer


def test_no_secret_is_in_a_cookie_a_page_or_the_log(portal, logged):
    browser = Browser(portal)
    exchange = browser.log_in()
    browser.callback("code=secret-code&state=secret-state")
    verifier = portal.idp.seen[0]["form"]["code_verifier"]
    tokens = list(portal.idp.refreshing)
    shown = " ".join([*browser.set, *logged, repr(exchange.answer.headers), repr(portal.login.spec)])
    for secret in (verifier, *tokens, "access-", "secret-code", "secret-state", SECRET):
        assert secret not in shown


def test_five_tabs_log_in_beside_each_other(portal):
    browser = Browser(portal)
    urls = [browser.begin(f"/tab{number}") for number in range(MOST)]
    assert len(browser.attempts) == MOST
    for number, url in reversed(list(enumerate(urls))):
        assert location(browser.callback(browser.approve(url))) == f"/tab{number}"
    assert browser.attempts == []


def test_the_sixth_tab_is_the_end_of_the_first(portal):
    browser = Browser(portal)
    urls = []
    for number in range(MOST + 1):
        urls.append(browser.begin(f"/tab{number}"))
        portal.pass_time(1)
    assert len(browser.attempts) == MOST
    assert browser.callback(browser.approve(urls[0])).answer.status == 400
    assert browser.callback(browser.approve(urls[1])).answer.status == 303


# -- forged and replayed callbacks ------------------------------------------------------------------------------------


def test_a_forged_state_goes_nowhere(portal):
    """Login CSRF: the attacker's code in the victim's browser."""
    attacker, victim = Browser(portal), Browser(portal)
    query = attacker.approve(attacker.begin())
    victim.begin()
    exchange = victim.callback(query)
    assert exchange.answer.status == 400
    assert exchange.outcome.auth == "unknown_attempt"
    assert (portal.idp.seen, victim.session) == ([], "")


@pytest.mark.parametrize(
    "change",
    [
        lambda query: re.sub(r"state=[^&]*", "state=AAAA", query),
        lambda query: re.sub(r"&?state=[^&]*", "", query),
        lambda query: re.sub(r"state=[^&]*", "state=", query),
        lambda query: query + "&state=x",
        lambda query: re.sub(r"code=[^&]*", "code=", query),
        lambda query: query + "&code=other",
        lambda query: query + "&error=x",
        lambda query: "",
        lambda query: "x=1",
        lambda query: "%ff=%ff&state=%ff&code=1",
    ],
)
def test_a_doctored_callback_is_refused_before_anybody_is_asked(portal, change):
    browser = Browser(portal)
    exchange = browser.callback(change(browser.approve(browser.begin())))
    assert exchange.answer.status == 400
    assert (portal.idp.seen, browser.session) == ([], "")


def test_a_callback_without_its_cookie_is_refused(portal):
    browser = Browser(portal)
    query = browser.approve(browser.begin())
    browser.cookies.clear()
    assert browser.callback(query).answer.status == 400
    assert portal.idp.seen == []


def test_every_changed_byte_of_the_attempts_cookie_is_the_same_refusal(portal):
    browser = Browser(portal)
    query = browser.approve(browser.begin())
    ((name, value),) = browser.cookies.items()
    answers = set()
    for place in range(len(value)):
        browser.cookies = {name: value[:place] + ("A" if value[place] != "A" else "B") + value[place + 1 :]}
        exchange = browser.callback(query)
        answers.add((exchange.answer.status, bytes(exchange.sent)))
    assert len(answers) == 1
    assert next(iter(answers))[0] == 400
    assert portal.idp.seen == []


def test_a_replayed_callback_is_refused_though_the_cookie_was_kept(portal):
    browser = Browser(portal)
    query = browser.approve(browser.begin())
    before = dict(browser.cookies)
    assert browser.callback(query).answer.status == 303
    thief = Browser(portal)
    thief.cookies = before
    exchange = thief.callback(query)
    assert (exchange.answer.status, exchange.outcome.auth) == (400, "attempt_over")
    assert len([seen for seen in portal.idp.seen if seen["endpoint"] == "token"]) == 1
    assert thief.session == ""


def test_an_attempt_is_over_after_ten_minutes(portal):
    browser = Browser(portal)
    query = browser.approve(browser.begin())
    portal.pass_time(LASTS, step=60.0)
    assert browser.callback(query).answer.status == 400
    assert portal.idp.seen == []


def test_another_worker_takes_the_callback_but_not_twice(line):
    """Attempts are in the browser, and what is used up is in Redis."""
    one, two = Portal(line), Portal(line)
    two.idp, two.wire.provider = one.idp, one.idp
    browser = Browser(one)
    query = browser.approve(browser.begin())
    before = dict(browser.cookies)
    browser.portal = two
    assert browser.callback(query).answer.status == 303
    browser.portal, browser.cookies = one, before
    assert browser.callback(query).answer.status == 400


# -- mixed-up and lying providers -------------------------------------------------------------------------------------


@pytest.mark.parametrize("issuer", ["https://evil.example", ISSUER + "/", None])
def test_a_mixed_up_provider_gets_no_code(portal, issuer):
    """RFC 9207: our provider says who it is, so a callback that does not is not from it."""
    portal.idp.script = {"back": {"iss": issuer}}
    browser = Browser(portal)
    exchange = browser.callback(browser.approve(browser.begin()))
    assert (exchange.answer.status, exchange.outcome.auth) == (400, "wrong_issuer")
    assert (portal.idp.seen, browser.session, browser.attempts) == ([], "", [])


@pytest.mark.parametrize(("issuer", "status"), [(None, 303), (ISSUER, 303), ("https://evil.example", 400)])
def test_providers_that_do_not_say_who_they_are_need_not_but_may_not_lie(portal, issuer, status):
    portal.idp.script = {"back": {"iss": issuer}, "metadata": {"authorization_response_iss_parameter_supported": None}}
    portal.publish()
    browser = Browser(portal)
    assert browser.callback(browser.approve(browser.begin())).answer.status == status


@pytest.mark.parametrize(
    "script",
    [
        {"claims": {"nonce": "another"}},
        {"claims": {"nonce": None}},
        {"claims": {"iss": "https://evil.example"}},
        {"claims": {"aud": "somebody else"}},
        {"claims": {"aud": ["shop & co", "somebody else"]}},
        {"claims": {"azp": "somebody else"}},
        {"claims": {"exp": 1_700_000_000}},
        {"claims": {"exp": None}},
        {"claims": {"iat": 1_900_000_000}},
        {"claims": {"sub": None}},
        {"claims": {"at_hash": "AAAAAAAAAAAAAAAAAAAAAA"}},
        {"sign": "none"},
        {"sign": "secret"},
        {"sign": "other"},
        {"header": {"kid": "unknown"}},
        {"header": {"crit": ["x"], "x": 1}},
        {"header": {"typ": "at+jwt"}},
        {"header": {"typ": "logout+jwt"}},
        {"grant": {"id_token": None}},
        {"grant": {"id_token": "no.token.at-all"}},
        {"grant": {"id_token": "é"}},
        {"grant": {"access_token": "another than at_hash is of"}},
        {"userinfo": {"sub": "mallory", "roles": ["admin"]}},
    ],
    ids=repr,
)
def test_tokens_that_are_not_what_was_asked_for_let_nobody_in(portal, script):
    portal.idp.script = script
    browser = Browser(portal)
    exchange = browser.log_in()
    assert exchange.answer.status == 403
    assert (browser.session, browser.attempts) == ("", [])
    assert browser.who() == ""


@pytest.mark.parametrize(
    "script",
    [
        {"claims": {"aud": ["shop & co", "api"], "azp": "shop & co"}},
        {"claims": {"at_hash": None}},
        {"claims": {"sid": None}},
        {"claims": {"sid": "x" * 2000}},
        {"claims": {"sid": 7}},
        {"grant": {"scope": None}},
        {"grant": {"expires_in": None}},
        {"grant": {"refresh_token": None}},
        {"userinfo": [401, "application/json", "{}"]},
        {"userinfo": [200, "application/jwt", "x.y.z"]},
        {"metadata": {"userinfo_endpoint": None, "revocation_endpoint": None, "end_session_endpoint": None}},
    ],
    ids=repr,
)
def test_what_may_be_otherwise_may_be_otherwise(portal, script):
    portal.idp.script = script
    portal.publish()
    browser = Browser(portal)
    assert browser.log_in().answer.status == 303
    assert browser.who() == "alice"


def test_what_userinfo_says_does_not_replace_what_was_signed(portal):
    portal.idp.script = {"userinfo": {"sub": "alice", "roles": ["admin"], "email": "a@b"}}
    browser = Browser(portal)
    browser.log_in()
    found = browser.visit()
    principal = getattr(found, "principal", found)
    assert (principal.roles, principal.claims["email"]) == ({"clerk"}, "a@b")


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        ([500, "text/html", "<h1>Oops</h1>"], 503),
        ([200, "text/html", "<h1>Welcome</h1>"], 503),
        ([200, "application/json", "x" * 200_000], 503),
        ([302, "text/plain", ""], 503),
        ([400, "application/json", '{"error": "invalid_grant"}'], 400),
        ([401, "application/json", '{"error": "invalid_client"}'], 502),
    ],
)
def test_a_token_endpoint_that_does_not_work_is_told_in_words(portal, answer, status):
    portal.idp.script = {"token": answer}
    browser = Browser(portal)
    exchange = browser.log_in("/orders")
    assert exchange.answer.status == status
    assert (browser.session, browser.attempts) == ("", [])
    page = bytes(exchange.sent).decode()
    assert 'href="/orders"' in page
    assert "Oops" not in page
    portal.idp.script = {}
    assert browser.log_in().answer.status == 303


def test_a_provider_that_is_away_costs_a_bounded_time_and_no_session(portal):
    browser = Browser(portal)
    browser.log_in()
    before = browser.session
    other = Browser(portal)
    query = other.approve(other.begin())
    portal.wire.held = []
    start = portal.reactor.seconds()
    exchange = other.callback(query)
    assert exchange.answer.status == 503
    assert exchange.answer.get(b"retry-after") == b"5"
    assert portal.reactor.seconds() - start < 5.5
    assert (browser.session, browser.who()) == (before, "alice")


def test_a_provider_that_cannot_be_reached_is_told_too(portal):
    browser = Browser(portal)
    query = browser.approve(browser.begin())
    portal.wire.down = True
    assert browser.callback(query).answer.status == 503


def test_without_metadata_nobody_is_sent_anywhere():
    portal = Portal(metadata=False)
    found = Browser(portal).visit()
    assert isinstance(found, Undecided)
    assert found.reason == "provider_unavailable"


def test_metadata_that_went_bad_end_attempts_with_a_page(portal):
    browser = Browser(portal)
    query = browser.approve(browser.begin())
    portal.idp.script = {"metadata": {"token_endpoint": "http://idp.example.org/token"}}
    portal.publish()
    assert browser.callback(re.sub("&?iss=[^&]*", "", query)).answer.status == 503
    assert len(browser.attempts) == 1


# -- what providers say when they say no ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "status"), [("access_denied", 403), ("server_error", 502), ("<script>alert(1)</script>", 502)]
)
def test_a_refusal_is_a_page_without_anything_of_the_callback(portal, error, status):
    browser = Browser(portal)
    state = asked(browser.begin())["state"]
    said = {"error": error, "error_description": "<img src=x onerror=alert(1)>", "state": state, "iss": ISSUER}
    exchange = browser.callback(urlencode(said))
    assert exchange.answer.status == status
    page = bytes(exchange.sent).decode()
    assert "alert" not in page
    assert "alert" not in html.unescape(page)
    assert (browser.attempts, browser.session, portal.idp.seen) == ([], "", [])


def test_a_refusal_counts_only_in_the_browser_that_asked(portal):
    browser, other = Browser(portal), Browser(portal)
    state = asked(browser.begin())["state"]
    assert other.callback(urlencode({"error": "access_denied", "state": state})).outcome.auth == "unknown_attempt"
    assert len(browser.attempts) == 1


def test_programs_get_problems_instead_of_pages(portal):
    exchange = Browser(portal).callback("x=1", Accept="application/json")
    assert exchange.answer.get(b"content-type") == b"application/problem+json"
    assert json.loads(exchange.sent)["code"] == "login_malformed_callback"


# -- sessions ---------------------------------------------------------------------------------------------------------


def test_a_planted_session_is_not_the_one_that_is_logged_in(portal):
    """Fixation: whatever cookie was there before, the session has another one."""
    attacker, victim = Browser(portal), Browser(portal)
    attacker.log_in()
    planted = attacker.session
    victim.cookies["__Host-sg_session"] = planted
    portal.idp.subject = "bob"
    reply = portal.login.begin(victim.request("GET /x").head, "/x")
    victim.take(reply.headers)
    victim.callback(victim.approve(location(reply)))
    assert victim.session != planted
    assert victim.who() == "bob"
    assert attacker.who() == "", "the session that was there is over"


def test_every_changed_byte_of_the_session_is_logged_out_alike(portal):
    browser = Browser(portal)
    browser.log_in()
    value = browser.session
    answers = set()
    for place in range(len(value)):
        browser.cookies = {
            "__Host-sg_session": value[:place] + ("A" if value[place] != "A" else "B") + value[place + 1 :]
        }
        found = portal.check(browser.request("GET /api", Sec_Fetch_Mode="cors", Accept="application/json"))
        assert isinstance(found, Refused)
        answers.add((found.status, found.reason))
    assert len(answers) == 1
    browser.cookies = {"__Host-sg_session": value}
    assert browser.who() == "alice"


def test_a_dead_session_in_the_browser_is_in_nobodys_way(portal):
    browser = Browser(portal)
    browser.cookies["__Host-sg_session"] = "AAAAAAAAAAAAAAAAAAAAAA.AAAAAAAAAAAAAAAAAAAAAA"
    reply = portal.login.begin(browser.request("GET /").head, "/x")
    browser.take(reply.headers)
    assert browser.callback(browser.approve(location(reply))).answer.status == 303
    assert browser.who() == "alice"


def test_upstreams_see_no_cookie_of_a_login(portal):
    browser = Browser(portal)
    browser.log_in()
    browser.take(portal.login.begin(browser.request("GET /").head, "/x").headers)
    browser.cookies["own"] = "1"
    head = browser.request("GET /orders").head
    portal.login.conceal(head)
    assert head.get(b"cookie") == b"own=1"


def test_a_session_ends_after_its_absolute_time(line):
    for portal in (Portal(line, session={"absolute": Duration(600.0)}), Portal(session={"absolute": Duration(600.0)})):
        browser = Browser(portal)
        browser.log_in()
        found = browser.visit()
        assert getattr(found, "principal", found).expires <= portal.wall() + 600
        portal.pass_time(590, step=30.0)
        assert browser.who() == "alice"
        portal.pass_time(11)
        assert browser.who() == ""


def test_a_login_whose_claims_do_not_fit_into_cookies_says_so():
    portal = Portal()
    portal.idp.script = {"userinfo": {"sub": "alice", "groups": ["g" * 100] * 150}}
    browser = Browser(portal)
    exchange = browser.log_in()
    assert (exchange.answer.status, exchange.outcome.auth) == (502, "session_too_large")
    assert browser.session == ""


def test_many_claims_take_several_cookies():
    portal = Portal()
    portal.idp.script = {"userinfo": {"sub": "alice", "groups": ["g" * 100] * 60}}
    browser = Browser(portal)
    browser.log_in()
    assert len([name for name in browser.cookies if name.startswith("__Host-sg_session")]) == 3
    assert browser.who() == "alice"
    del browser.cookies["__Host-sg_session_1"]
    assert browser.who() == ""


def test_a_store_that_is_away_lets_nobody_log_in_and_wastes_no_attempt(line):
    portal = Portal(line)
    browser = Browser(portal)
    query = browser.approve(browser.begin())
    line.cut()
    assert browser.callback(query).answer.status == 503
    assert len(browser.attempts) == 1
    portal.pass_time(0.5)
    line.connect()
    assert browser.callback(query).answer.status == 303, "reloading the page is enough"


def test_a_store_that_goes_away_meanwhile_is_told(line):
    portal = Portal(line)
    browser = Browser(portal)
    query = browser.approve(browser.begin())
    portal.wire.held = []
    exchange = browser.request(f"GET /_login/callback?{query}")
    LoginResource(portal.login, "callback").render(exchange)
    while not portal.wire.held:
        portal.pump()
    line.cut()
    portal.wire.release()
    assert exchange.answer.status == 503


# -- where it begins and leads ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "target",
    [
        "//evil.example",
        "/\\evil.example",
        "https://evil.example",
        "https:evil",
        "/%2f%2fevil",
        "javascript:alert(1)",
        "",
    ],
)
def test_links_to_log_in_lead_nowhere_else(portal, target):
    exchange = Browser(portal).callback(urlencode({"return_to": target}))
    assert exchange.answer.status == 400
    assert exchange.answer.get(b"location") is None


@pytest.mark.parametrize("target", ["/orders?x=1", "https://app.example.org/welcome"])
def test_pages_of_ours_may_send_people_to_log_in(target):
    portal = Portal(return_to=("https://app.example.org",))
    browser = Browser(portal)
    exchange = browser.callback(urlencode({"return_to": target}))
    assert exchange.answer.status == 302
    assert location(browser.callback(browser.approve(location(exchange)))) == target


def test_they_are_told_when_that_does_not_work():
    assert Browser(Portal(metadata=False)).callback("return_to=/x").answer.status == 503


def test_odd_paths_lead_home_after_the_login(portal):
    """A path that browsers take for a host is no place to come back to."""
    reply = portal.login.begin(Browser(portal).request("GET /").head, "//evil.example/x")
    browser = Browser(portal)
    browser.take(reply.headers)
    assert location(browser.callback(browser.approve(location(reply)))) == "/"


# -- the login itself -------------------------------------------------------------------------------------------------


def test_a_login_has_three_endpoints_on_the_host_of_its_redirect_uri():
    assert endpoints(login_spec(redirect_uri="https://Shop.example.org:8443", logout_path="/bye")) == (
        Endpoint("callback", "shop.example.org", "/", ("GET",)),
        Endpoint("logout", "shop.example.org", "/bye", ("GET", "POST")),
        Endpoint("backchannel-logout", "shop.example.org", "/_login/backchannel-logout", ("POST",)),
    )


def test_sessions_in_redis_need_redis():
    with pytest.raises(ValueError, match=r"gateway\.store"):
        Portal(session={"store": "redis"})


def test_cookies_may_be_wanted_though_there_is_a_store(line):
    browser = Browser(Portal(line, session={"store": "cookie"}))
    browser.log_in()
    assert "." not in browser.session
    assert browser.who() == "alice"


def test_public_clients_log_in_too(portal):
    portal = Portal(client_secret=None)
    browser = Browser(portal)
    assert browser.log_in().answer.status == 303
    assert "client_secret" not in portal.idp.seen[0]["form"]


def test_keys_are_changed_without_logging_anybody_out(line):
    for store in (line, None):
        before = Portal(store)
        browser = Browser(before)
        browser.log_in()
        news = (Secret("a new key of sessions with more than thirty-two characters"), Secret(KEY))
        browser.portal = Portal(store, session={"keys": news})
        assert browser.who() == "alice"


def test_development_without_tls_has_plain_cookies():
    portal = Portal(redirect_uri="http://localhost:8080/_login/callback")
    browser = Browser(portal)
    reply = browser.visit()
    assert all("Secure" not in text and text.startswith("sg_oidc_") for text in browser.set)
    assert asked(location(reply))["redirect_uri"] == "http://localhost:8080/_login/callback"


def test_a_retired_login_has_heard_the_provider_out(line):
    """Tokens that are given back are given back, though nobody waits for it."""
    portal = Portal(line)
    browser = Browser(portal)
    browser.log_in()
    portal.wire.held = []
    portal.run(portal.login.end(browser.session.encode()))
    over = []
    portal.login.retire().addCallback(over.append)
    assert over == []
    portal.wire.release()
    assert len(over) == 1
    assert list(portal.login.samples())
