"""The credential of browsers: people are sent to log in, programs are told so."""

import pytest

from suuupra_gateway.auth.principal import UNASKED, Principal, Refused
from suuupra_gateway.auth.sessioncredential import SessionCredential, is_navigation
from suuupra_gateway.config.model import SessionCredentialSpec
from suuupra_gateway.http.message import Reply, RequestHead
from tests.auth.portal import ISSUER, Browser, Portal, asked, location
from tests.auth.redisline import RedisLine
from tests.servers.redis import RedisServer


@pytest.fixture(scope="module")
def line(tmp_path_factory):
    with RedisServer(tmp_path_factory.mktemp("redis")) as running:
        made = RedisLine(running)
        yield made
        made.close()


@pytest.fixture(params=["redis", "cookie"])
def portal(request, line):
    return Portal(line) if request.param == "redis" else Portal()


CHROME = {
    "accept": "text/html,application/xhtml+xml,*/*;q=0.8",
    "sec-fetch-mode": "navigate",
    "sec-fetch-dest": "document",
}


@pytest.mark.parametrize(
    ("method", "fields", "expected"),
    [
        ("GET", CHROME, True),
        ("GET", {"accept": "text/html"}, True),
        ("GET", {"accept": "TEXT/HTML;q=0.9"}, True),
        ("GET", {"sec-fetch-mode": "navigate"}, True),
        ("GET", {}, False),
        ("GET", {"accept": "*/*"}, False),
        ("GET", {"accept": "application/json"}, False),
        ("GET", {**CHROME, "sec-fetch-mode": "cors"}, False),
        ("GET", {**CHROME, "sec-fetch-mode": "no-cors"}, False),
        ("GET", {**CHROME, "x-requested-with": "XMLHttpRequest"}, False),
        ("GET", {**CHROME, "upgrade": "websocket"}, False),
        ("GET", {**CHROME, "sec-purpose": "prefetch;prerender"}, False),
        ("GET", {**CHROME, "sec-purpose": "other"}, True),
        ("POST", CHROME, False),
        ("HEAD", CHROME, False),
        ("OPTIONS", CHROME, False),
    ],
)
def test_people_who_go_to_a_page_are_told_from_programs(method, fields, expected):
    head = RequestHead(method.encode(), b"/", [(name.encode(), value.encode()) for name, value in fields.items()])
    assert is_navigation(head) is expected


def test_people_are_sent_to_log_in_and_come_back_to_where_they_were(portal):
    found = Browser(portal).visit("/orders/7?tab=2")
    assert (found.status, location(found).partition("?")[0]) == (302, f"{ISSUER}/authorize")
    assert asked(location(found))["response_type"] == "code"


def test_programs_are_not_redirected(portal):
    browser = Browser(portal)
    assert portal.check(browser.request("GET /api", Accept="application/json", Sec_Fetch_Mode="cors")) is None
    browser.cookies["__Host-sg_session"] = "dead"
    found = portal.check(browser.request("GET /api", Accept="application/json", Sec_Fetch_Mode="cors"))
    assert isinstance(found, Refused)
    assert found.status == 401


def test_a_form_is_not_lost_in_a_redirect(portal):
    """Nor sent again after it: who has lost the session is told so, and nothing else happens."""
    browser = Browser(portal)
    assert portal.check(browser.request("POST /orders", b"amount=100")) is None
    browser.cookies["__Host-sg_session"] = "dead"
    assert isinstance(portal.check(browser.request("POST /orders", b"amount=100")), Refused)
    assert browser.attempts == []


def test_a_dead_session_is_taken_away_on_the_way_to_the_login(portal):
    browser = Browser(portal)
    browser.cookies["__Host-sg_session"] = "dead"
    assert isinstance(browser.visit(), Reply)
    assert browser.session == ""
    assert len(browser.attempts) == 1


def test_of_two_sessions_none_is_believed(portal):
    browser = Browser(portal)
    browser.log_in()
    exchange = browser.request("GET /", Accept="*/*", Sec_Fetch_Mode="cors")
    exchange.head.headers.append((b"cookie", b"__Host-sg_session=planted"))
    assert isinstance(portal.check(exchange), Refused)


def test_a_session_lets_in_at_once_when_it_is_known(portal):
    browser = Browser(portal)
    browser.log_in()
    portal.check(browser.request("GET /"))
    found = portal.credential.check(browser.request("GET /"))
    assert getattr(found, "principal", found).subject == "alice"


def test_a_stale_session_does_where_the_route_says_so(line):
    portal = Portal(line)
    browser = Browser(portal)
    browser.log_in()
    portal.check(browser.request("GET /"))
    line.cut()
    portal.pass_time(100, step=10.0)
    for stale, method, good in [
        ("allow", "POST", 1),
        ("read-only", "GET", 1),
        ("read-only", "POST", 0),
        ("never", "GET", 0),
    ]:
        credential = SessionCredential(SessionCredentialSpec(login="shop"), portal.login, "shop", stale=stale)
        found = portal.run(credential.check(browser.request(f"{method} /")))
        assert (getattr(found, "source", "") == "stale") is bool(good)
    portal.pass_time(1)
    line.connect()


def test_no_login_is_begun_for_a_glance(portal):
    browser = Browser(portal)
    glance = portal.credential.glance
    assert glance(browser.request("GET /", Accept="*/*", Sec_Fetch_Mode="cors")) is None
    browser.cookies["__Host-sg_session"] = "anything"
    assert glance(browser.request("GET /")) is UNASKED


def test_it_is_told_what_it_reads(portal):
    browser = Browser(portal)
    assert not portal.credential.presented(browser.request("GET /").head)
    browser.log_in()
    head = browser.request("GET /").head
    assert portal.credential.presented(head)
    portal.credential.conceal(head)
    assert not portal.credential.presented(head)
    assert head.get(b"cookie") is None


def test_it_says_on_a_401_what_is_missing(portal):
    assert portal.credential.challenge == b'Cookie realm="shop", cookie-name="__Host-sg_session"'
    assert (portal.credential.kind, portal.credential.provider) == ("session", "shop")


def test_worn_cookies_are_renewed():
    portal = Portal()
    browser = Browser(portal)
    browser.log_in()
    assert portal.credential.renewal(browser.request("GET /").head) == ()
    portal.pass_time(1800, step=600.0)
    browser.take(portal.credential.renewal(browser.request("GET /").head))
    assert isinstance(browser.visit(), Principal)
