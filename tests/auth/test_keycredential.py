"""API keys as requests show them."""

import pytest
from twisted.internet.defer import Deferred

from suuupra_gateway.auth.keycredential import KeyCredential
from suuupra_gateway.auth.principal import UNASKED, Cached, Principal, Refused, Undecided
from suuupra_gateway.config.model import ApiKeySpec, ApiKeysSpec
from suuupra_gateway.http.message import RequestHead
from suuupra_gateway.interfaces import Credential
from suuupra_gateway.memory import MemoryExchange
from tests.auth.test_issuing import done
from tests.auth.test_keyring import Worker, _awaited

FIELD, AUTHORIZATION = b"x-api-key", b"authorization"


class Door:
    """One route, and somebody with a good key."""

    def __init__(self, query="", stale="allow", **fields):
        self.worker = Worker()
        self.credential: Credential = KeyCredential(
            ApiKeySpec(query=query), self.worker.ring, "realm", "users", stale=stale
        )
        self.issued = self.worker.create(**fields)
        self.key = self.issued.key.text

    def exchange(self, *headers, query=None, client="192.0.2.1", method=b"GET"):
        return MemoryExchange(RequestHead(method, b"/users", list(headers), query=query), client=client)

    def check(self, *headers, **more):
        found = self.credential.check(self.exchange(*headers, **more))
        return done(_awaited(found)) if hasattr(found, "__await__") else found


@pytest.fixture
def door():
    return Door()


def reason(found):
    assert isinstance(found, Refused)
    return found.reason, found.status


# -- where keys are ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scheme", [b"ApiKey ", b"apikey ", b"APIKEY  "])
def test_a_key_is_in_its_own_field_or_in_authorization(door, scheme):
    assert isinstance(door.check((FIELD, door.key)), Principal)
    assert isinstance(door.check((AUTHORIZATION, scheme + door.key)), Cached)


def test_the_field_has_the_name_that_is_configured(door):
    spec = ApiKeysSpec.model_validate({"peppers": ["p" * 32], "file": "/nowhere", "header": "X-Our-Key"})
    credential = KeyCredential(ApiKeySpec(), Worker(spec).ring, "realm", "users")
    assert credential.presented(door.exchange((b"x-our-key", b"x")).head)
    assert not credential.presented(door.exchange((FIELD, b"x")).head)


def test_a_key_is_asked_for_by_its_own_scheme(door):
    assert door.credential.challenge == b'ApiKey realm="realm"'
    assert (door.credential.kind, door.credential.provider) == ("api-key", "")


def test_who_shows_nothing_is_nobody(door):
    for headers in ([], [(AUTHORIZATION, b"Bearer " + door.key)], [(b"x-other", door.key)]):
        exchange = door.exchange(*headers, query=b"key=" + door.key)
        assert door.credential.check(exchange) is None
        assert door.credential.glance(exchange) is None
        assert not door.credential.presented(exchange.head)


@pytest.mark.parametrize(
    "headers",
    [
        lambda key: [(FIELD, key), (FIELD, key)],
        lambda key: [(FIELD, key), (AUTHORIZATION, b"ApiKey " + key)],
        lambda key: [(AUTHORIZATION, b"ApiKey " + key), (AUTHORIZATION, b"ApiKey " + key)],
    ],
)
def test_two_keys_are_refused_even_if_they_are_the_same(door, headers):
    found = door.check(*headers(door.key))
    assert reason(found) == ("several_credentials", 400)
    assert door.credential.glance(door.exchange(*headers(door.key))) == found


def test_the_query_is_read_only_where_the_route_says_so(door):
    door = Door(query="api key")
    assert isinstance(door.check(query=b"a=b&api+key=" + door.key), Principal)
    assert isinstance(door.check(query=b"api%20key=" + door.key.replace(b"_", b"%5F")), Cached)
    assert door.check(query=b"a=b&apikey=" + door.key) is None
    assert reason(door.check(query=b"api+key=" + door.key + b"&api%20key=x")) == ("several_credentials", 400)
    assert reason(door.check((FIELD, door.key), query=b"api+key=" + door.key)) == ("several_credentials", 400)
    assert reason(door.check(query=b"api+key=")) == ("malformed", 401)


# -- what a key is worth ----------------------------------------------------------------------------------------------


def test_a_key_that_is_no_good_is_refused_with_401(door):
    assert reason(door.check((FIELD, b"x"))) == ("malformed", 401)
    done(door.worker.issuing.revoke(door.issued.key.id, "me"))
    assert reason(door.check((FIELD, door.key))) == ("revoked", 401)


@pytest.mark.parametrize(
    ("client", "good"),
    [("10.1.2.3", True), ("2001:db8::1", True), ("11.0.0.1", False), ("2001:db9::1", False), ("", False)],
)
def test_a_key_comes_only_from_where_it_may(client, good):
    door = Door(cidrs=("10.0.0.0/8", "2001:db8::/32"))
    found = door.check((FIELD, door.key), client=client)
    assert isinstance(found, Principal) == good
    if not good:
        assert reason(found) == ("address_not_allowed", 403)
        assert door.key.decode() not in found.detail


def test_a_key_is_good_only_on_its_routes():
    assert isinstance((door := Door(routes=("users", "others"))).check((FIELD, door.key)), Principal)
    assert reason((door := Door(routes=("others",))).check((FIELD, door.key))) == ("route_not_allowed", 403)


def test_use_is_noted_for_good_keys_alone():
    door = Door(routes=("others",))
    door.check((FIELD, door.key))
    assert door.worker.store.last == {}
    door = Door()
    door.check((FIELD, door.key), (b"user-agent", b"curl"))
    assert list(door.worker.store.last) == [door.issued.key.id]
    done(door.worker.issuing.rotate(door.issued.key.id, "me"))
    door.worker.hear()
    door.worker.time.advance(300)
    door.check((FIELD, door.key), (b"user-agent", b"curl"))
    usages = done(door.worker.issuing.usage(door.issued.key.id))
    assert [(usage.client, usage.agent) for usage in usages] == [("192.0.2.1", "curl")]


def test_a_request_waits_only_for_the_store(door):
    door.worker.store.slow = True
    waiting = Deferred.fromCoroutine(_awaited(door.credential.check(door.exchange((FIELD, door.key)))))
    assert not waiting.called
    door.worker.store.answer()
    assert waiting.result.subject == "ann"
    assert isinstance(door.credential.check(door.exchange((FIELD, door.key))), Cached)


@pytest.mark.parametrize(
    ("stale", "methods"), [("allow", (b"GET", b"HEAD", b"POST")), ("read-only", (b"GET", b"HEAD")), ("never", ())]
)
def test_the_route_says_when_an_old_record_will_do(stale, methods):
    door = Door(stale=stale)
    door.check((FIELD, door.key))
    door.worker.store.broken = True
    door.worker.time.advance(60)
    for method in (b"GET", b"HEAD", b"POST"):
        found = door.check((FIELD, door.key), method=method)
        assert isinstance(found, Cached if method in methods else Undecided)


def test_a_glance_says_what_can_be_said_without_asking(door):
    assert door.credential.glance(door.exchange((FIELD, door.key))) is UNASKED
    assert reason(door.credential.glance(door.exchange((FIELD, b"x")))) == ("malformed", 401)
    assert door.worker.gets() == 0


# -- what upstreams see -----------------------------------------------------------------------------------------------


def test_keys_are_taken_out_wherever_they_may_be(door):
    exchange = door.exchange(
        (b"host", b"x"), (FIELD, b"1"), (b"a", b"b"), (FIELD, b"2"), (AUTHORIZATION, b"ApiKey 3"), query=b"key=4"
    )
    head = exchange.head
    assert door.credential.presented(head)
    for _ in range(2):
        door.credential.conceal(head)
        assert head.headers == [(b"host", b"x"), (b"a", b"b")]
        assert head.query == b"key=4"


def test_other_credentials_are_left(door):
    head = door.exchange((AUTHORIZATION, b"Bearer x")).head
    door.credential.conceal(head)
    assert head.headers == [(AUTHORIZATION, b"Bearer x")]


@pytest.mark.parametrize(
    ("query", "left"),
    [
        (b"key=x", None),
        (b"a=1&key=x&b=%2f&b=", b"a=1&b=%2f&b="),
        (b"k%65y=x&key&KEY=y", b"KEY=y"),
        (b"a=key", b"a=key"),
        (None, None),
    ],
)
def test_the_query_loses_the_key_and_nothing_else(query, left):
    door = Door(query="key")
    head = door.exchange(query=query).head
    door.credential.conceal(head)
    assert head.query == left
