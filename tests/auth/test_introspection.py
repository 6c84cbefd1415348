"""Opaque tokens: what is asked, what is believed of the answer, and what becomes of callers while there is none."""

import base64
import hashlib
import json
from urllib.parse import parse_qs

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.testing import MemoryReactorClock

from suuupra_gateway.auth.board import QuietBoard
from suuupra_gateway.auth.fetch import Fetch
from suuupra_gateway.auth.introspection import Introspection, IntrospectionCredential
from suuupra_gateway.auth.principal import UNASKED, Cached, Principal, Refused, Undecided
from suuupra_gateway.auth.revocations import Revocations
from suuupra_gateway.auth.shared import Shared
from suuupra_gateway.config.model import IntrospectedSpec, IntrospectionSpec
from suuupra_gateway.http.message import RequestHead
from tests.auth.clock import Time
from tests.auth.wire import Wire

TOKEN = b"opaque-token"
ACTIVE = {"active": True, "sub": "ada", "scope": "read write", "roles": ["admin"], "tenant": "acme"}


class Asked:
    """All that a credential looks at."""

    def __init__(self, *headers, method=b"GET"):
        self.head = RequestHead(method, b"/", list(headers))


def bearing(token=TOKEN, **more):
    return Asked((b"authorization", b"Bearer " + token), **more)


class World:
    def __init__(self, *, shared=None, stale="allow", **spec):
        self.time = Time()
        self.wire = Wire()
        self.revocations = Revocations(QuietBoard())
        self.introspection = Introspection(
            IntrospectionSpec.model_validate(
                {"name": "corp", "url": "http://127.0.0.1:8080/introspect", "timeout": "2s", **spec}
            ),
            Fetch(self.wire.reactor),
            shared,
            self.revocations,
            wall=self.time.wall,
            monotonic=self.time.monotonic,
        )
        self.credential = IntrospectionCredential(
            IntrospectedSpec(by="corp"), self.introspection, "suuupra", stale=stale
        )

    def check(self, exchange=None):
        found = self.credential.check(exchange or bearing())
        if isinstance(found, Principal | Cached | Refused | Undecided | None):
            return found
        return Deferred.fromCoroutine(found)

    def told(self, answer, status=200, headers=b"", exchange=None):
        """What a token is worth after this answer."""
        waiting = self.check(exchange)
        assert isinstance(waiting, Deferred)
        self.wire.connect()
        body = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
        self.wire.answer(b"HTTP/1.1 %d X\r\nContent-Length: %d\r\n%b\r\n%b" % (status, len(body), headers, body))
        self.wire.hang_up()
        return waiting.result

    def fails(self):
        waiting = self.check()
        if isinstance(waiting, Deferred):
            self.wire.connect()
            self.wire.hang_up()
            waiting = waiting.result
        return waiting


@pytest.fixture
def world():
    return World()


# -- asking -----------------------------------------------------------------------------------------------------------


def test_the_endpoint_is_asked_by_a_form(world):
    world.check()
    head, _, body = world.wire.connect().value().partition(b"\r\n\r\n")
    assert head.startswith(b"POST /introspect HTTP/1.1\r\n")
    assert b"Content-Type: application/x-www-form-urlencoded" in head
    assert b"Accept: application/json" in head
    assert b"uthorization" not in head
    assert parse_qs(body) == {b"token": [TOKEN], b"token_type_hint": [b"access_token"]}


def test_tokens_cannot_add_parameters(world):
    world.check(bearing(b"a+b/c=="))
    body = world.wire.connect().value().partition(b"\r\n\r\n")[2]
    assert parse_qs(body)[b"token"] == [b"a+b/c=="]


def test_we_say_who_we_are_as_the_standard_has_it():
    world = World(client_id="gate way:1", client_secret="s%:c&ret ü")
    world.check()
    head = world.wire.connect().value()
    (line,) = [line for line in head.split(b"\r\n") if line.startswith(b"Authorization: Basic ")]
    assert base64.b64decode(line.split()[-1]) == b"gate+way%3A1:s%25%3Ac%26ret+%C3%BC"


def test_the_secret_is_shown_nowhere():
    assert "hidden" not in repr(World(client_id="x", client_secret="hidden").introspection.__dict__["spec"])


def test_no_token_means_no_question(world):
    assert world.check(Asked()) is None
    assert world.check(Asked((b"authorization", b"Basic x"))) is None
    assert world.wire.reactor.tcpClients == []


def test_a_malformed_token_is_refused_without_asking(world):
    assert world.check(bearing(b"a b")).reason == "malformed"
    twice = Asked((b"authorization", b"Bearer a"), (b"authorization", b"Bearer b"))
    assert world.check(twice).status == 400
    assert world.wire.reactor.tcpClients == []


def test_a_glance_asks_nobody(world):
    assert world.credential.glance(bearing()) is UNASKED
    assert world.credential.glance(Asked()) is None
    assert world.credential.glance(bearing(b"a b")).reason == "malformed"
    assert world.wire.reactor.tcpClients == []


def test_the_credential_says_what_it_is(world):
    assert (world.credential.kind, world.credential.provider) == ("introspection", "corp")
    assert world.credential.challenge == b'Bearer realm="suuupra"'
    head = bearing().head
    assert world.credential.presented(head)
    world.credential.conceal(head)
    assert head.headers == []
    assert not world.credential.presented(head)


# -- believing --------------------------------------------------------------------------------------------------------


def test_an_active_token_says_who_is_calling(world):
    found = world.told({**ACTIVE, "exp": world.time.wall() + 100})
    assert isinstance(found, Principal)
    assert (found.subject, found.credential, found.provider) == ("ada", "introspection", "corp")
    assert found.scopes == {"read", "write"}
    assert found.roles == {"admin"}
    assert found.tenant == "acme"
    assert found.expires == world.time.wall() + 100
    tag = hashlib.blake2b(TOKEN, digest_size=16).hexdigest()
    assert set(found.tags) == {"subject:corp:ada", f"token:{tag}"}
    assert "active" not in found.claims


def test_the_same_principal_serves_until_it_is_asked_anew(world):
    found = world.told(ACTIVE)
    world.time.advance(10)
    assert world.check() == Cached(found, "fresh", 10.0)
    assert world.check().principal is found


def test_claims_may_lie_elsewhere():
    world = World(claims={"subject": "user.id", "roles": "realm_access.roles"})
    found = world.told({"active": True, "user": {"id": "u1"}, "realm_access": {"roles": ["x"]}})
    assert (found.subject, found.roles) == ("u1", {"x"})


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ({"active": False}, "inactive"),
        ({"active": False, "sub": "ada"}, "inactive"),
        ({**ACTIVE, "exp": 1.7e9}, "expired"),
        ({**ACTIVE, "exp": -1}, "expired"),
        ({**ACTIVE, "nbf": 1.7e9 + 31}, "not_yet_valid"),
        ({**ACTIVE, "token_type": "refresh_token"}, "wrong_type"),
        ({**ACTIVE, "token_use": "refresh_token"}, "wrong_type"),
        ({**ACTIVE, "typ": "Refresh"}, "wrong_type"),
        ({"active": True}, "missing_claim"),
        ({"active": True, "sub": ""}, "missing_claim"),
        ({"active": True, "sub": 7}, "missing_claim"),
    ],
)
def test_what_is_no_access_token_is_refused_and_remembered_shortly(world, answer, reason):
    assert world.told(answer).reason == reason
    world.time.advance(4.9)
    again = world.check()
    assert (again.reason, again.source) == (reason, "fresh")
    world.time.advance(0.2)
    assert isinstance(world.check(), Deferred)


def test_clocks_may_differ_a_little(world):
    assert isinstance(world.told({**ACTIVE, "nbf": world.time.wall() + 29, "token_type": "Bearer"}), Principal)


@pytest.mark.parametrize(("issuer", "good"), [("https://a", True), (None, True), ("https://b", False), (7, False)])
def test_the_issuer_must_be_ours_if_it_is_told(issuer, good):
    found = World(issuer="https://a").told({**ACTIVE, "iss": issuer})
    assert isinstance(found, Principal) if good else found.reason == "wrong_issuer"


@pytest.mark.parametrize(
    ("audience", "good"),
    [("us", True), (["x", "us"], True), ("x us", False), (["x"], False), (None, False), ({"us": 1}, False)],
)
def test_the_audience_must_be_ours(audience, good):
    found = World(audiences=("us", "we")).told({**ACTIVE, "aud": audience})
    assert isinstance(found, Principal) if good else found.reason == "wrong_audience"


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"<html>",
        b"[]",
        b"{}",
        b'{"active": "true"}',
        b'{"active": 1}',
        b'{"active": null}',
        b"[" * 60_000,
        b'{"active": true, "sub": "ada", "exp": "tomorrow"}',
        b'{"active": true, "sub": "ada", "exp": true}',
        b'{"active": true, "sub": "ada", "exp": 1' + b"0" * 400 + b"}",
        b'{"active": true, "sub": "ada", "nbf": []}',
        b'{"active": true, "sub": "ada", "iat": "x"}',
        b'{"active": true, "sub": "\xff"}',
        b"x" * 70_000,
    ],
)
def test_nonsense_decides_nothing(world, answer):
    found = world.told(answer)
    assert isinstance(found, Undecided)
    assert TOKEN.decode() not in found.detail


@pytest.mark.parametrize("status", [204, 302, 400, 404, 429, 500, 503])
def test_other_answers_decide_nothing(world, status):
    found = world.told(b"", status)
    assert isinstance(found, Undecided)
    assert str(status) in found.detail


# -- remembering ------------------------------------------------------------------------------------------------------


def test_nothing_is_used_after_the_token_expired(world):
    world.told({**ACTIVE, "exp": world.time.wall() + 40})
    world.time.advance(39)
    assert world.check().source == "revalidate"
    world.wire.connect()
    world.wire.hang_up()
    world.time.advance(1)
    assert isinstance(world.fails(), Undecided)


@pytest.mark.parametrize("header", [b"Cache-Control: no-store\r\n", b"Cache-Control: max-age=0, no-cache\r\n", b""])
def test_what_endpoints_say_to_caches_by_habit_is_not_meant_for_us(world, header):
    world.told(ACTIVE, headers=header)
    world.time.advance(29)
    assert world.check().source == "fresh"
    world.time.advance(300)
    assert world.fails().source == "stale"


def test_an_age_that_is_asked_for_is_kept_to(world):
    world.told(ACTIVE, headers=b"Cache-Control: max-age=5\r\n")
    world.time.advance(6)
    assert world.check().source == "revalidate"
    world.time.advance(5)
    assert world.fails().source == "stale"


def test_whoever_has_a_decision_gets_by_without_the_endpoint(world):
    found = world.told(ACTIVE)
    world.time.advance(73)
    stale = world.fails()
    assert stale == Cached(found, "stale", 73.0)


@pytest.mark.parametrize(
    ("stale", "method", "gets_by"),
    [("read-only", b"GET", True), ("read-only", b"POST", False), ("never", b"GET", False), ("allow", b"POST", True)],
)
def test_the_route_says_who_gets_by(stale, method, gets_by):
    world = World(stale=stale)
    world.told(ACTIVE)
    world.time.advance(73)
    waiting = world.check(bearing(method=method))
    world.wire.connect()
    world.wire.hang_up()
    assert isinstance(waiting.result, Cached if gets_by else Undecided)


@pytest.mark.parametrize("status", [401, 403])
def test_an_endpoint_that_does_not_know_us_keeps_everybody_out_who_is_not_fresh(world, status):
    world.told(ACTIVE)
    world.time.advance(20)
    assert world.check().source == "fresh"
    world.time.advance(53)
    assert isinstance(world.told(b"", status), Undecided)


def test_an_inactive_token_is_never_let_in_again_by_an_outage(world):
    world.told(ACTIVE)
    world.time.advance(61)
    assert world.told({"active": False}) == Refused("inactive")
    world.time.advance(6)
    assert isinstance(world.fails(), Undecided)


def test_without_a_decision_an_outage_decides_nothing(world):
    assert isinstance(world.fails(), Undecided)


def test_what_one_worker_was_told_all_know(tmp_path):
    shared = Shared.open(str(tmp_path))
    one, two = World(shared=shared), World(shared=shared, timeout="9s", cache={"fresh": "10s"})
    found = one.told(ACTIVE)
    shared.flush(10)
    other = two.check()
    assert isinstance(other, Cached)
    assert (other.principal.subject, other.principal.tags) == (found.subject, found.tags)
    assert two.told({"active": False}, exchange=bearing(b"other")) == Refused("inactive")
    shared.flush(10)
    assert one.check(bearing(b"other")) == Refused("inactive", source="fresh")
    shared.close()


def test_answers_of_another_endpoint_are_not_used(tmp_path):
    shared = Shared.open(str(tmp_path))
    World(shared=shared).told(ACTIVE)
    shared.flush(10)
    for spec in ({"url": "http://127.0.0.1:8080/other"}, {"audiences": ("us",)}, {"name": "other"}):
        assert isinstance(World(shared=shared, **spec).check(), Deferred)
    shared.close()


def test_shared_decisions_that_cannot_be_understood_are_not_there(tmp_path):
    shared = Shared.open(str(tmp_path))
    World(shared=shared).told({"active": True, "sub": "ada", "user": "u1"})
    shared.flush(10)
    assert isinstance(World(shared=shared, claims={"subject": "user.id"}).check(), Deferred)
    shared.close()


@pytest.mark.parametrize("value", [b"", b"{}", b"[1]", b"nonsense"])
def test_decisions_of_another_release_are_not_there(world, value):
    from suuupra_gateway.auth.decisions import Decision

    with pytest.raises(ValueError, match=r".*"):
        world.introspection._made(Decision(True, value))


# -- revoking ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tag", ["subject:corp:ada", f"token:{hashlib.blake2b(TOKEN, digest_size=16).hexdigest()}"])
def test_what_is_revoked_is_asked_anew(world, tag):
    world.introspection.start()
    world.told(ACTIVE)
    world.time.advance(1)
    world.revocations.revoke([tag], world.time.wall())
    assert isinstance(world.check(), Deferred)


def test_a_token_that_we_have_revoked_is_no_good_whatever_the_endpoint_says(world):
    world.revocations.revoke([f"token:{hashlib.blake2b(TOKEN, digest_size=16).hexdigest()}"], 1.0)
    assert world.told(ACTIVE) == Refused("revoked")


def test_tokens_from_before_their_callers_revocation_are_no_good(world):
    world.revocations.revoke(["subject:corp:ada"], world.time.wall())
    assert world.told({**ACTIVE, "iat": world.time.wall() - 10}) == Refused("revoked")
    world.time.advance(6)
    assert isinstance(world.told({**ACTIVE, "iat": world.time.wall()}), Principal)


def test_after_its_end_it_hears_of_nothing(world):
    world.introspection.start()
    world.told(ACTIVE)
    assert world.introspection.retire().called
    world.revocations.revoke(["subject:corp:ada"], world.time.wall())
    assert world.check().source == "fresh"


def test_one_that_never_began_may_end(world):
    assert world.introspection.retire().called


def test_samples_are_by_name(world):
    world.told(ACTIVE)
    assert {dict(each.labels)["provider"] for each in world.introspection.samples()} == {"corp"}


def test_a_draft_needs_a_clock_only():
    introspection = Introspection(
        IntrospectionSpec(url="https://idp.example/"), Fetch(MemoryReactorClock()), None, Revocations(QuietBoard())
    )
    assert introspection.spec.url == "https://idp.example/"
