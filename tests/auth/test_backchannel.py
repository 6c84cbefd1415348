"""What a login says to its provider directly."""

import msgspec
import pytest
from twisted.logger import LogLevel, globalLogPublisher

from suuupra_gateway.auth.attempt import Attempt
from suuupra_gateway.auth.fetch import FetchFailed
from suuupra_gateway.auth.oauth2 import BadAnswer, GrantRefused, ProtocolError, Unusable
from suuupra_gateway.auth.publication import Published, topic
from suuupra_gateway.auth.session import LIFETIME
from tests.auth.portal import CLIENT, Browser, Portal, asked


@pytest.fixture
def logged():
    lines = []

    def observe(event):
        if event["log_level"] >= LogLevel.info:
            lines.append(event["log_format"].format(**event))

    globalLogPublisher.addObserver(observe)
    yield lines
    globalLogPublisher.removeObserver(observe)


class Flow:
    """A provider, a code that it gave, and the attempt that it was given for."""

    def __init__(self, script=None, **more):
        self.portal = Portal(**more)
        self.backchannel = self.portal.login.backchannel
        self.attempt = Attempt.new("/", 0.0)
        url = self.backchannel.client.authorization_url(self.attempt)
        self.code = asked("/?" + Browser(self.portal).approve(url))["code"]
        self.portal.idp.script = script or {}

    def redeem(self):
        return self.portal.run(self.backchannel.redeem(self.code, self.attempt))

    def refresh(self, session):
        return self.portal.run(self.backchannel.refresh(session))


def test_a_code_becomes_a_session():
    flow = Flow()
    session = flow.redeem()
    assert (session.subject, session.sid, session.scopes) == ("alice", "sid-1", "openid profile orders.read")
    assert session.claims["email"] == "alice@example.org"
    assert {"nonce", "aud", "exp", "at_hash"}.isdisjoint(session.claims)
    assert session.tokens.refresh in flow.portal.idp.refreshing
    assert session.tokens.expires == session.tokens.obtained + 300
    assert session.asks_userinfo


def test_a_verifier_of_another_attempt_is_refused_by_the_provider():
    flow = Flow()
    flow.attempt = Attempt.new("/", 0.0)
    with pytest.raises(GrantRefused, match="invalid_grant"):
        flow.redeem()


def test_a_grant_without_a_lifetime_has_the_usual_one():
    session = Flow({"grant": {"expires_in": None, "scope": None}}).redeem()
    assert session.tokens.expires == session.tokens.obtained + LIFETIME
    assert session.scopes == "openid profile email offline_access"


def test_a_fresh_login_is_checked_if_it_was_asked_for():
    flow = Flow(parameters=(("max_age", "60"),))
    with pytest.raises(ProtocolError, match="auth_time"):
        flow.redeem()
    flow = Flow({"claims": {"auth_time": 1.8e9 - 30}}, parameters=(("max_age", "60"),))
    assert flow.redeem().subject == "alice"


@pytest.mark.parametrize("id", [None, "é", "x.y.z"])
def test_without_a_good_id_token_there_is_no_session(id):
    with pytest.raises(ProtocolError, match="bad_id_token"):
        Flow({"grant": {"id_token": id}}).redeem()


def test_without_a_userinfo_endpoint_nobody_is_asked():
    flow = Flow({"metadata": {"userinfo_endpoint": None}})
    flow.portal.publish()
    assert "email" not in flow.redeem().claims


def test_a_userinfo_endpoint_that_fails_is_said_and_done_without(logged):
    flow = Flow()
    pending = flow.backchannel.redeem(flow.code, flow.attempt)
    endpoint = flow.portal.wire.request

    def request(method, uri, *rest):
        flow.portal.wire.down = uri.endswith(b"/userinfo")
        return endpoint(method, uri, *rest)

    flow.portal.wire.request = request
    session = flow.portal.run(pending)
    assert (session.subject, session.asks_userinfo) == ("alice", False)
    assert any("userinfo" in line for line in logged)


def test_a_refreshed_session_is_up_to_date():
    flow = Flow()
    session = flow.redeem()
    flow.portal.pass_time(250, step=50.0)
    flow.portal.idp.script = {"claims": {"roles": ["boss"]}, "userinfo": {"sub": "alice", "email": "new@example.org"}}
    fresh = flow.refresh(session)
    assert (fresh.claims["roles"], fresh.claims["email"]) == (["boss"], "new@example.org")
    assert fresh.tokens.obtained == session.tokens.obtained + 250
    assert fresh.tokens.refresh != session.tokens.refresh
    assert fresh.began == session.began


def test_what_a_refresh_does_not_say_stays_as_it_was():
    flow = Flow()
    session = flow.redeem()
    flow.portal.idp.script = {
        "grant": {"id_token": None, "refresh_token": None, "scope": None},
        "userinfo": [500, "text/html", ""],
    }
    fresh = flow.refresh(session)
    assert (fresh.claims, fresh.scopes) == (session.claims, session.scopes)
    assert (fresh.tokens.refresh, fresh.tokens.id) == (session.tokens.refresh, session.tokens.id)
    assert fresh.tokens.access != session.tokens.access


def test_userinfo_is_not_asked_again_if_it_had_nothing_to_say():
    flow = Flow({"userinfo": [403, "application/json", "{}"]})
    session = flow.redeem()
    flow.portal.idp.seen.clear()
    flow.refresh(session)
    assert [seen["endpoint"] for seen in flow.portal.idp.seen] == ["token"]


@pytest.mark.parametrize(
    "script",
    [
        {"claims": {"sub": "bob"}},
        {"claims": {"aud": "somebody else"}},
        {"claims": {"at_hash": "AAAAAAAAAAAAAAAAAAAAAA"}},
        {"sign": "other"},
        {"userinfo": {"sub": "bob"}},
    ],
    ids=repr,
)
def test_a_refresh_that_is_about_somebody_else_is_refused(script):
    flow = Flow()
    session = flow.redeem()
    flow.portal.idp.script = script
    with pytest.raises(ProtocolError) as caught:
        flow.refresh(session)
    assert not isinstance(caught.value, BadAnswer)


def test_without_keys_a_refresh_goes_on_with_what_was_known(logged):
    """The ID token came over TLS from the provider itself, so nothing is wrong, but nothing new is believed either."""
    flow = Flow()
    session = flow.redeem()
    spec = flow.portal.provider.spec
    flow.portal.pass_time(90_000, step=10_000)  # longer than keys are good for
    value = Published(flow.portal.idp.metadata, flow.portal.idp.keys, flow.portal.wall() - 90_000, "down")
    flow.portal.board.publish(topic(spec), msgspec.json.encode(value))
    flow.portal.idp.script = {"claims": {"roles": ["boss"]}}
    fresh = flow.refresh(session)
    assert fresh.claims["roles"] == ["clerk"]
    assert any("cannot be verified" in line for line in logged)


def test_a_refresh_token_that_is_used_again_is_refused():
    flow = Flow()
    session = flow.redeem()
    flow.refresh(session)
    with pytest.raises(GrantRefused, match="invalid_grant"):
        flow.refresh(session)


def test_no_answer_is_no_answer():
    flow = Flow()
    flow.portal.wire.down = True
    with pytest.raises(FetchFailed):
        flow.redeem()


def test_the_client_follows_the_metadata():
    flow = Flow()
    first = flow.backchannel.client
    assert flow.backchannel.client is first
    flow.portal.publish()
    assert flow.backchannel.client is not first


def test_without_metadata_there_is_no_client():
    with pytest.raises(Unusable, match="not there yet"):
        _ = Portal(metadata=False).login.backchannel.client


# -- giving back ------------------------------------------------------------------------------------------------------


def given_back(flow, session):
    giving = flow.backchannel.give_back(session)
    if giving is not None:
        flow.portal.run(giving)
    return [seen["form"] for seen in flow.portal.idp.seen if seen["endpoint"] == "revoke"]


def test_a_refresh_token_is_given_back():
    flow = Flow()
    session = flow.redeem()
    assert given_back(flow, session) == [{"token": session.tokens.refresh, "token_type_hint": "refresh_token"}]
    assert flow.portal.idp.refreshing == {}


@pytest.mark.parametrize("script", [{"grant": {"refresh_token": None}}, {"metadata": {"revocation_endpoint": None}}])
def test_there_may_be_nothing_to_give_back_or_nobody_to_take_it(script):
    flow = Flow(script)
    flow.portal.publish()
    assert given_back(flow, flow.redeem()) == []


def test_nor_anything_known_of_the_provider():
    session = Flow().redeem()
    flow = Flow()
    flow.backchannel = Portal(metadata=False).login.backchannel
    assert given_back(flow, session) == []
    assert given_back(flow, msgspec.structs.replace(session, tokens=None)) == []


def test_a_provider_that_does_not_take_it_is_only_logged(logged):
    flow = Flow()
    session = flow.redeem()
    flow.portal.idp.script = {"revocation": 503}
    assert len(given_back(flow, session)) == 1
    flow.portal.wire.down = True
    given_back(flow, session)
    assert len([line for line in logged if "refresh token" in line]) == 2
    assert not any(session.tokens.refresh in line for line in logged)


def test_credentials_are_right_to_the_last_character():
    """The provider of these tests compares them decoded, with ampersands, colons, spaces and percent signs in them."""
    assert "&" in CLIENT
    assert Flow(client_auth="client_secret_post").redeem().subject == "alice"
