"""Sessions in Redis as a worker knows them: looked up, remembered, refreshed, and good while others are away."""

import attrs
import pytest
from twisted.internet.defer import ensureDeferred

from suuupra_gateway.auth.principal import Cached, Principal, Refused, Undecided
from suuupra_gateway.auth.session import Ticket
from suuupra_gateway.auth.shared import Shared
from suuupra_gateway.config.model import CacheSpec
from suuupra_gateway.config.units import Duration
from tests.auth.portal import Browser, Portal


class Desktop:
    """A browser that is logged in, in front of one worker."""

    def __init__(self, line, **more):
        self.line = line
        self.portal = Portal(line, **more)
        self.browser = Browser(self.portal)
        self.browser.log_in()
        self.cookie = self.browser.session.encode()

    def look(self, stale_allowed=True):
        """What the session is worth, without a browser's way of asking."""
        return self.portal.run(self.portal.login.sessions.check(self.cookie, stale_allowed=stale_allowed))

    def at(self, seconds):
        """Go to a time after the login; access tokens live for 300 seconds, and are due after 240."""
        self.portal.pass_time(seconds - (self.portal.reactor.seconds() - self.portal.began), step=2.0)

    def forgive(self):
        """Let a failed refresh be tried again: the store's own time does not move with the test's."""
        self.line.server.ask("DEL", "t:lock:shop:" + self.browser.session.partition(".")[0])

    @property
    def exchanges(self):
        return self.portal.idp.exchanges


def subject(found):
    return (found.principal if isinstance(found, Cached) else found).subject


# -- remembering ------------------------------------------------------------------------------------------------------


def test_a_session_is_read_once_and_remembered(lines):
    desk = Desktop(lines())
    first = desk.look()
    assert isinstance(first, Principal)
    second = desk.look()
    assert isinstance(second, Cached)
    assert second.principal is first, "what routes made of it is kept too"
    assert second.source == "fresh"


def test_a_remembered_session_needs_no_waiting(lines):
    desk = Desktop(lines())
    desk.look()
    assert isinstance(desk.portal.login.sessions.check(desk.cookie, stale_allowed=True), Cached)


def test_sessions_go_on_while_redis_is_away(lines):
    desk = Desktop(lines())
    desk.look()
    desk.line.cut()
    desk.portal.pass_time(100)
    found = desk.look()
    assert (subject(found), found.source) == ("alice", "stale")
    assert isinstance(desk.look(stale_allowed=False), Undecided)
    desk.line.connect()
    desk.portal.pass_time(40)
    desk.look()
    desk.portal.pass_time(1)
    assert desk.look().source == "fresh"


def test_but_not_those_that_nobody_remembers(lines):
    desk = Desktop(lines())
    desk.line.cut()
    assert isinstance(desk.look(), Undecided)


def test_nobody_waits_for_a_store_that_is_known_to_be_away(lines):
    desk = Desktop(lines())
    desk.line.cut()
    while not desk.portal.login.sessions._decisions._patience.lost:
        desk.look()
    assert isinstance(desk.portal.login.sessions.check(desk.cookie, stale_allowed=True), Undecided)


def test_nor_those_that_redis_was_just_about_to_tell_of(lines):
    desk = Desktop(lines())
    results = []
    ensureDeferred(desk.portal.login.sessions.check(desk.cookie, stale_allowed=True)).addBoth(results.append)
    assert results == []
    desk.line.cut()
    assert isinstance(results[0], Undecided)


def test_the_other_workers_of_a_host_know_too(lines, tmp_path):
    shared = Shared.open(str(tmp_path))
    desk = Desktop(lines(), shared=shared)
    desk.look()
    shared.flush(10.0)
    other = lines()
    portal = Portal(other, shared=shared)
    other.cut()
    found = portal.run(portal.login.sessions.check(desk.cookie, stale_allowed=True))
    assert subject(found) == "alice"
    shared.close()


def test_what_workers_share_holds_no_tokens(lines, tmp_path):
    shared = Shared.open(str(tmp_path))
    desk = Desktop(lines(), shared=shared)
    desk.look()
    shared.flush(10.0)
    (refresh,) = desk.portal.idp.refreshing
    for path in tmp_path.iterdir():
        content = path.read_bytes()
        assert refresh.encode() not in content
        assert b"access-" not in content
        assert desk.cookie.partition(b".")[2] not in content
    shared.close()


def test_decisions_of_another_release_are_not_there(lines):
    desk = Desktop(lines())
    sessions = desk.portal.login.sessions
    desk.look()
    (entry,) = sessions._decisions._entries.values()
    with pytest.raises(ValueError, match="release"):
        sessions._made(attrs.evolve(entry.decision, value=b"{}"))


@pytest.mark.parametrize("value", [b"", b"rubbish", Ticket("A" * 22, b"x" * 16).value])
def test_what_is_no_ticket_is_no_session(lines, value):
    desk = Desktop(lines())
    desk.cookie = value
    assert desk.look() == Refused("session_over", "logged out, or too long ago")


def test_a_session_whose_claims_do_not_say_who_is_none(lines):
    """The configuration has another name for the subject since."""
    desk = Desktop(lines())
    desk.portal.login.sessions._names = desk.portal.login.sessions._names.model_copy(update={"subject": "employee"})
    assert isinstance(desk.look(), Refused)


def test_revoked_sessions_are_ended(lines, server):
    desk = Desktop(lines())
    desk.portal.pass_time(1)
    id = desk.browser.session.partition(".")[0]
    desk.portal.revocations.revoke((f"session:{id}",), desk.portal.wall())
    desk.portal.pass_time(1)
    assert isinstance(desk.look(), Refused)
    assert server.ask("EXISTS", f"t:sess:shop:{id}") == b":0\r\n"


# -- refreshing -------------------------------------------------------------------------------------------------------


def test_nothing_is_refreshed_before_it_is_due(lines):
    desk = Desktop(lines())
    desk.at(238)
    desk.look()
    desk.portal.pass_time(1)
    assert desk.exchanges == 0


def test_while_the_access_token_holds_nobody_waits_for_its_refreshing(lines):
    desk = Desktop(lines())
    desk.at(238)
    desk.look()
    desk.at(242)
    desk.portal.wire.held = []
    assert subject(desk.portal.login.sessions.check(desk.cookie, stale_allowed=True)) == "alice"
    desk.portal.pump()
    desk.portal.pump()
    desk.portal.wire.release()
    desk.portal.pass_time(1)
    assert desk.exchanges == 1


def test_what_is_refreshed_is_known_at_once(lines):
    desk = Desktop(lines())
    desk.at(242)
    desk.portal.idp.script = {"claims": {"roles": ["boss"]}}
    assert desk.look().roles == {"clerk"}
    desk.portal.pass_time(1)
    assert desk.look().roles == {"boss"}
    assert desk.exchanges == 1


def test_when_it_is_over_requests_wait_for_the_new_one(lines):
    desk = Desktop(lines())
    desk.at(310)
    desk.portal.idp.script = {"claims": {"roles": ["boss"]}}
    assert desk.look().roles == {"boss"}
    assert desk.exchanges == 1


def test_a_thousand_requests_at_once_cause_one_exchange(lines):
    desk = Desktop(lines())
    desk.at(310)
    check = desk.portal.login.sessions.check
    pending = [check(desk.cookie, stale_allowed=True) for _ in range(1000)]
    found = [desk.portal.run(each) for each in pending]
    assert {subject(each) for each in found} == {"alice"}
    assert (desk.exchanges, desk.portal.idp.reused) == (1, 0)


def test_two_workers_cause_one_exchange(lines):
    desk = Desktop(lines())
    other = Portal(lines())
    other.idp = other.wire.provider = desk.portal.idp
    desk.at(310)
    other.pass_time(310, step=10.0)
    desk.portal.wire.held = []
    one = desk.portal.login.sessions.check(desk.cookie, stale_allowed=True)
    results = []
    ensureDeferred(one).addBoth(results.append)
    while not desk.portal.wire.held:
        desk.portal.pump()
    two = []
    ensureDeferred(other.login.sessions.check(desk.cookie, stale_allowed=True)).addBoth(two.append)
    other.pass_time(1.0, step=0.1)
    assert (results, two) == ([], [])
    desk.portal.wire.release()
    while not (results and two):
        desk.portal.pass_time(0.1)
        other.pass_time(0.1)
    assert subject(results[0]) == subject(two[0]) == "alice"
    assert (desk.exchanges, desk.portal.idp.reused) == (1, 0)


def test_a_session_that_the_provider_does_not_let_go_on_is_over(lines):
    desk = Desktop(lines())
    desk.at(310)
    desk.portal.idp.refreshing.clear()
    assert desk.look() == Refused("session_over", "logged out, or too long ago")
    assert desk.browser.who() == ""


def test_one_that_is_refreshed_to_nobody_is_none(lines):
    """The configuration has another name for the subject since it was read."""
    desk = Desktop(lines(), session={"cache": CacheSpec(fresh=Duration(600.0))})
    desk.look()
    desk.at(310)
    sessions = desk.portal.login.sessions
    pending = sessions.check(desk.cookie, stale_allowed=True)
    sessions._names = sessions._names.model_copy(update={"subject": "employee"})
    found = desk.portal.run(pending)
    assert isinstance(found, Refused)
    assert found.reason == "missing_claim"


def test_without_a_refresh_token_a_session_has_only_its_own_clocks(lines):
    portal = Portal(lines())
    portal.idp.script = {"grant": {"refresh_token": None}}
    browser = Browser(portal)
    browser.log_in()
    portal.pass_time(3000, step=60.0)
    assert browser.who() == "alice"
    assert portal.idp.exchanges == 0


# -- a provider that is away ------------------------------------------------------------------------------------------


def test_a_provider_that_is_away_ends_no_session_for_a_while(lines):
    desk = Desktop(lines())
    desk.at(310)
    desk.portal.wire.down = True
    found = desk.look()
    assert (subject(found), found.source) == ("alice", "stale")
    assert 9 <= found.age <= 12
    assert isinstance(desk.look(stale_allowed=False), Undecided)
    desk.at(590)
    assert desk.look().source == "stale"
    desk.at(602)
    gone = desk.look()
    assert isinstance(gone, Undecided)
    assert gone.reason == "provider_unavailable"


def test_and_all_is_well_when_it_comes_back(lines):
    desk = Desktop(lines())
    desk.at(310)
    desk.portal.wire.down = True
    for _ in range(20):
        desk.look()
        desk.portal.pass_time(6)
        desk.forgive()
    desk.portal.wire.down = False
    desk.portal.pass_time(40)
    desk.look()
    desk.portal.pass_time(2)
    assert getattr(desk.look(), "source", "live") in ("live", "fresh")
    assert (desk.exchanges, desk.portal.idp.reused) == (1, 0)


def test_nobody_waits_for_a_provider_that_is_known_to_be_away(lines):
    desk = Desktop(lines())
    desk.at(310)
    desk.portal.wire.down = True
    while not desk.portal.login.sessions._refresher.lost:
        desk.look()
        desk.portal.pass_time(6)
        desk.forgive()
    desk.look()
    desk.portal.wire.held = []
    found = desk.portal.login.sessions.check(desk.cookie, stale_allowed=True)
    assert (subject(found), found.source) == ("alice", "stale")


def test_a_provider_that_is_away_is_nothing_to_sessions_that_are_not_due(lines):
    """One provider's outage must not trip what guards the store."""
    desk = Desktop(lines())
    desk.at(310)
    desk.portal.wire.down = True
    for _ in range(10):
        desk.look(stale_allowed=False)
        desk.portal.pass_time(6)
        desk.forgive()
    desk.portal.wire.down = False
    other = Browser(desk.portal)
    other.log_in()
    desk.portal.wire.down = True
    found = desk.portal.check(other.request("GET /"))
    assert isinstance(found, Principal)


# -- beginnings and ends ----------------------------------------------------------------------------------------------


def test_tickets_do_not_age(lines):
    desk = Desktop(lines())
    assert desk.portal.login.sessions.renewal(desk.browser.request("GET /").head) == ()


def test_what_is_no_ticket_is_not_ended(lines):
    desk = Desktop(lines())
    sessions = desk.portal.login.sessions
    assert desk.portal.run(sessions.end(b"rubbish")) is None
    assert desk.portal.run(sessions.end(Ticket.new().value)) is None
    assert sessions.mark(b"rubbish") is None
    assert sessions.mark(desk.cookie) == desk.cookie


def test_sessions_end_one_by_one_or_all_of_a_name(lines):
    desk = Desktop(lines())
    sessions = desk.portal.login.sessions
    desk.look()
    ended = desk.portal.run(sessions.end(desk.cookie))
    assert (ended.subject, bool(ended.tokens.refresh)) == ("alice", True)
    desk.portal.pass_time(1)
    assert desk.look() == Refused("session_over", "logged out, or too long ago")
    other = Desktop(lines())
    other.look()
    assert other.portal.run(other.portal.login.sessions.end_all("alice", "")) == (
        other.browser.session.partition(".")[0],
    )
    other.portal.pass_time(1)
    assert isinstance(other.look(), Refused)


def test_what_was_seen_is_known(lines):
    desk = Desktop(lines())
    sessions = desk.portal.login.sessions
    assert not desk.portal.run(sessions.seen("x"))
    assert desk.portal.run(sessions.first("x", 60.0))
    assert desk.portal.run(sessions.seen("x"))


def test_idle_sessions_are_forgotten(lines, server):
    desk = Desktop(lines(), session={"idle": Duration(120.0), "cache": CacheSpec(fresh=Duration(1.0))})
    id = desk.browser.session.partition(".")[0]
    assert 0 < int(server.ask("PTTL", f"t:sess:shop:{id}")[1:]) <= 120_000


def test_stopping_ends_the_hearing_of_revocations(lines):
    desk = Desktop(lines())
    desk.look()
    assert {sample.name for sample in desk.portal.login.samples()}
    desk.portal.run(desk.portal.login.retire())
    desk.portal.revocations.revoke(("subject:idp:alice",), desk.portal.wall())
    assert isinstance(desk.look(), Cached)
