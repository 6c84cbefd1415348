"""Sessions in the browsers' own cookies."""

import msgspec
import pytest

from suuupra_gateway.auth.principal import Principal
from suuupra_gateway.auth.sealedsessions import MALFORMED, SealedSessions
from suuupra_gateway.auth.sessions import Unkept
from suuupra_gateway.config.model import ClaimNames
from suuupra_gateway.config.units import Duration
from tests.auth.portal import Browser, Portal


class Desktop:
    def __init__(self, **more):
        self.portal = Portal(session={"idle": Duration(400.0), "absolute": Duration(1000.0)}, **more)
        self.browser = Browser(self.portal)
        self.browser.log_in()
        self.sessions = self.portal.login.sessions

    @property
    def cookie(self):
        return self.browser.session.encode()

    def look(self):
        return self.sessions.check(self.cookie, stale_allowed=True)

    def renew(self):
        fields = self.sessions.renewal(self.browser.request("GET /").head)
        self.browser.take(fields)
        return fields


def test_the_same_cookie_is_the_same_principal():
    desk = Desktop()
    found = desk.look()
    assert isinstance(found, Principal)
    assert desk.look() is found


def test_a_session_is_over_when_it_is_not_used():
    desk = Desktop()
    desk.look()
    desk.portal.pass_time(399, step=100.0)
    assert isinstance(desk.look(), Principal)
    desk.portal.pass_time(1)
    assert desk.look().reason == "session_over"
    assert desk.renew() == ()


def test_a_worn_cookie_gets_a_new_one_that_is_the_same_session():
    desk = Desktop()
    assert desk.renew() == ()
    before, id = desk.cookie, desk.look().key
    desk.portal.pass_time(120, step=60.0)
    assert desk.renew()
    assert desk.cookie != before
    desk.portal.pass_time(350, step=60.0)
    assert desk.look().key == id


def test_nothing_lasts_longer_than_the_session():
    desk = Desktop()
    for _ in range(9):
        desk.portal.pass_time(110, step=60.0)
        desk.renew()
    assert isinstance(desk.look(), Principal)
    desk.portal.pass_time(11)
    assert not isinstance(desk.look(), Principal)
    assert desk.renew() == ()


def test_nobody_gets_a_cookie_for_nothing():
    desk = Desktop()
    desk.portal.pass_time(120, step=60.0)
    stranger = Browser(desk.portal)
    assert desk.sessions.renewal(stranger.request("GET /").head) == ()
    stranger.cookies["__Host-sg_session"] = "rubbish"
    assert desk.sessions.renewal(stranger.request("GET /").head) == ()


def test_a_revoked_session_is_not_renewed():
    desk = Desktop()
    desk.portal.pass_time(120, step=60.0)
    desk.portal.revocations.revoke(("subject:idp:alice",), desk.portal.wall())
    assert desk.look().reason == "revoked"
    assert desk.renew() == ()
    assert desk.portal.run(desk.sessions.end(desk.cookie)) is None


@pytest.mark.parametrize("value", [b"", b"rubbish", b"AA" * 60])
def test_what_is_not_sealed_is_no_session(value):
    desk = Desktop()
    assert desk.sessions.check(value, stale_allowed=True) is MALFORMED
    assert desk.sessions.mark(value) is None
    assert desk.portal.run(desk.sessions.end(value)) is None


def test_a_session_that_does_not_say_who_is_none():
    desk = Desktop()
    login = desk.portal.login
    store = desk.sessions._store
    other = SealedSessions(
        login.spec, ClaimNames(subject="employee"), store, login.jar, login.revocations, wall=desk.portal.wall
    )
    assert other.check(desk.cookie, stale_allowed=True) is MALFORMED


def test_there_are_no_tokens_in_cookies():
    desk = Desktop()
    session, _ = desk.sessions._open(desk.cookie)
    assert session.tokens is None
    assert msgspec.structs.asdict(session)["claims"]["email"] == "alice@example.org"


def test_only_so_many_are_remembered(monkeypatch):
    monkeypatch.setattr(SealedSessions, "_MOST", 2)
    desk = Desktop()
    found = desk.look()
    for _ in range(2):
        other = Browser(desk.portal)
        other.log_in()
        other.who()
    assert desk.look() is not found


def test_things_happen_for_the_first_time_once(monkeypatch):
    monkeypatch.setattr(SealedSessions, "_MOST", 3)
    desk = Desktop()

    def first(what):
        return desk.portal.run(desk.sessions.first(what, 60.0))

    assert [first("a"), first("a"), first("b")] == [True, False, True]
    assert desk.portal.run(desk.sessions.seen("a"))
    assert not desk.portal.run(desk.sessions.seen("c"))
    desk.portal.pass_time(61, step=10.0)
    assert not desk.portal.run(desk.sessions.seen("a"))
    assert first("a") is True
    for what in "cdef":
        assert first(what) is True
    assert first("a") is True, "it was forgotten"


def test_what_was_there_long_ago_is_there_for_the_first_time_again():
    desk = Desktop()
    sessions = desk.sessions
    assert desk.portal.run(sessions.first("x", 600.0))
    assert desk.portal.run(sessions.first("y", 60.0))
    desk.portal.pass_time(61, step=10.0)
    assert desk.portal.run(sessions.first("y", 60.0))
    assert not desk.portal.run(sessions.first("x", 600.0))


def test_what_does_not_fit_is_not_begun():
    desk = Desktop()
    session, _ = desk.sessions._open(desk.cookie)
    long = msgspec.structs.replace(session, claims={**session.claims, "groups": ["g" * 100] * 150})
    with pytest.raises(Unkept, match="too long"):
        desk.portal.run(desk.sessions.begin(long))


def test_ending_tells_what_has_ended():
    desk = Desktop()
    assert desk.portal.run(desk.sessions.end(desk.cookie)).subject == "alice"


def test_there_is_nobody_to_ask():
    desk = Desktop()
    assert list(desk.sessions.samples()) == []
    assert desk.sessions.stop() is None
    assert desk.portal.run(desk.sessions.end_all("alice", "")) == ()
