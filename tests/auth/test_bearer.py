"""Bearer tokens: in one field, in one form, and gone before upstreams see them."""

from __future__ import annotations

from collections.abc import Awaitable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred

from suuupra_gateway.auth.bearer import JwtCredential, authorization, bearer, conceal_authorization
from suuupra_gateway.auth.principal import UNASKED, Principal, Refused, Undecided
from suuupra_gateway.config.model import JwtSpec
from suuupra_gateway.http.message import RequestHead
from suuupra_gateway.memory import MemoryExchange
from tests.auth.test_provider import Worker
from tests.auth.tokens import AUDIENCE, NOW, claims, jwk, pem, private, token


def head(*values: bytes, name: bytes = b"authorization") -> RequestHead:
    others = [(b"host", b"api"), (b"accept", b"*/*")]
    return RequestHead(b"GET", b"/", [others[0], *((name, value) for value in values), others[1]])


# -- the field --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scheme", [b"Bearer", b"bearer", b"BEARER", b"bEaReR"])
def test_the_scheme_is_read_whatever_its_case(scheme):
    assert bearer(head(scheme + b" a.b.c")) == b"a.b.c"
    assert bearer(head(scheme + b"   a.b.c  ")) == b"a.b.c"


@pytest.mark.parametrize(
    "value", [b"Basic eDp5", b"", b"Bearerx a", b"Bear a", b"xBearer a", b"Token a", b"Bearer,a", b"Bearer=a"]
)
def test_another_scheme_is_not_ours(value):
    shown = head(value)
    assert bearer(shown) is None

    conceal_authorization(shown, b"bearer")
    assert (b"authorization", value) in shown.headers


def test_no_field_is_no_token():
    assert bearer(head()) is None
    assert bearer(head(b"Bearer a", name=b"proxy-authorization")) is None


@pytest.mark.parametrize(
    "value",
    [
        b"Bearer",
        b"Bearer ",
        b"Bearer\ta",
        b"Bearer \ta",
        b"Bearer a b",
        b"Bearer a, Bearer b",
        b"Bearer a,b",
        b"Bearer token=a",
        b'Bearer "a"',
        b"Bearer a\xff",
        b"Bearer =",
        b"Bearer a=b",
        b"Bearer <script>",
    ],
)
def test_what_is_no_token_is_refused_and_not_passed_on(value):
    shown = head(value)
    found = bearer(shown)
    assert isinstance(found, Refused)
    assert (found.reason, found.status) == ("malformed", 401)

    conceal_authorization(shown, b"bearer")
    assert shown.headers == [(b"host", b"api"), (b"accept", b"*/*")]


@pytest.mark.parametrize("token", [b"a", b"mF_9.B5f-4.1JqM", b"a+b/c~d==", b"A" * 8192])
def test_tokens_have_the_alphabet_of_the_rfc(token):
    assert bearer(head(b"Bearer " + token)) == token


def test_a_token_is_not_longer_than_8_kib():
    found = bearer(head(b"Bearer " + b"A" * 8193))

    assert isinstance(found, Refused)
    assert (found.reason, found.status) == ("too_long", 401)


@pytest.mark.parametrize(
    "values", [(b"Bearer a", b"Bearer a"), (b"Bearer a", b"Basic x"), (b"Basic x", b"Bearer a"), (b"", b"")]
)
def test_two_fields_are_a_bad_request_whoever_they_are_for(values):
    for scheme in (b"bearer", b"apikey"):
        found = authorization(head(*values), scheme)
        assert isinstance(found, Refused)
        assert (found.reason, found.error, found.status) == ("several_credentials", "invalid_request", 400)


def test_only_fields_of_the_scheme_are_concealed():
    shown = head(b"Bearer a", b"Basic x", b"bearer", b"Bearerx")
    conceal_authorization(shown, b"bearer")
    conceal_authorization(shown, b"bearer")

    assert [value for name, value in shown.headers if name == b"authorization"] == [b"Basic x", b"Bearerx"]


@given(st.lists(st.binary(max_size=30) | st.binary(max_size=10).map(lambda end: b"Bearer" + end), max_size=3))
def test_nothing_that_is_taken_for_a_token_is_left_behind(values):
    shown = head(*values)
    found = bearer(shown)
    conceal_authorization(shown, b"bearer")

    if len(values) < 2:
        assert bearer(shown) is None
    assert found is None or isinstance(found, bytes | Refused)


# -- the credential ---------------------------------------------------------------------------------------------------


@pytest.fixture
def worker():
    made = Worker()
    made.publish(jwk(kid="a"))
    return made


def credential(worker: Worker, *audiences: str) -> JwtCredential:
    return JwtCredential(JwtSpec(provider="idp", audiences=audiences), worker.provider, "suuupra")


def asked(*values: bytes) -> MemoryExchange:
    return MemoryExchange(head(*values))


def test_a_good_token_is_a_principal(worker):
    shown = asked(b"Bearer " + token(kid="a"))
    checked = credential(worker)

    assert isinstance(checked.check(shown), Principal)
    assert (checked.kind, checked.provider, checked.challenge) == ("jwt", "idp", b'Bearer realm="suuupra"')
    assert checked.presented(shown.head)


def test_no_token_is_nothing(worker):
    shown = asked(b"Basic eDp5")
    assert credential(worker).check(shown) is None
    assert not credential(worker).presented(shown.head)


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ([b"Bearer a", b"Bearer b"], "several_credentials"),
        ([b"Bearer " + b"A" * 8193], "too_long"),
        ([b"Bearer opaque"], "malformed"),
        ([b"Bearer"], "malformed"),
        ([b"Bearer\t" + token(kid="a")], "malformed"),
        ([b"Bearer " + token(kid="a") + b" "], None),
        ([b"Bearer " + token(kid="a") + b"="], "malformed"),
        ([b"Bearer " + token(kid="a") + b", Bearer x"], "malformed"),
    ],
)
def test_a_bad_token_is_refused(worker, values, reason):
    found = credential(worker).check(asked(*values))

    assert getattr(found, "reason", None) == reason
    assert isinstance(found, Principal if reason is None else Refused)


def test_what_upstreams_get_has_no_token(worker):
    shown = asked(b"Bearer " + token(kid="a"))
    credential(worker).conceal(shown.head)

    assert shown.head.headers == [(b"host", b"api"), (b"accept", b"*/*")]


def test_a_route_may_want_another_audience_too(worker):
    checked = credential(worker, "orders", "invoices")

    for audience, fits in (
        (AUDIENCE, False),
        ([AUDIENCE, "orders"], True),
        (["invoices", AUDIENCE], True),
        ([AUDIENCE, "order"], False),
        ([AUDIENCE, {"orders": 1}, 7], False),
    ):
        found = checked.check(asked(b"Bearer " + token(claims(aud=audience), kid="a")))
        assert isinstance(found, Principal) is fits
        assert fits or found.reason == "wrong_audience"


def test_it_may_want_it_after_having_waited_for_keys(worker):
    for audiences, wanted in (((), Principal), (("orders",), Refused)):
        shown = token(claims(sub=str(audiences)), kid=f"b{len(audiences)}", key=private("RS256", 1))
        pending = credential(worker, *audiences).check(asked(b"Bearer " + shown))
        assert isinstance(pending, Awaitable)
        results: list[object] = []
        Deferred.fromCoroutine(pending).addCallback(results.append)
        worker.publish(jwk(kid="a"), *(jwk(number=1, kid=f"b{number}") for number in range(2)))
        worker.board.answer()
        assert [type(result) for result in results] == [wanted]
        worker.publish(jwk(kid="a"))
        worker.pass_time(2)


def test_what_cannot_be_decided_stays_undecided():
    worker = Worker()
    pending = credential(worker, "orders").check(asked(b"Bearer " + token(kid="a")))
    results: list[object] = []
    Deferred.fromCoroutine(pending).addCallback(results.append)
    worker.pass_time(1)

    assert isinstance(results[0], Undecided)


# -- a glance ---------------------------------------------------------------------------------------------------------


def test_a_glance_asks_nobody(worker):
    checked = credential(worker)

    assert checked.glance(asked(b"Bearer " + token(kid="b"))) is UNASKED
    assert checked.glance(asked(b"Basic eDp5")) is None
    assert checked.glance(asked(b"Bearer a b")).reason == "malformed"
    assert worker.board.questions == 0


def test_a_glance_is_enough_where_the_keys_are_at_hand(tmp_path):
    (tmp_path / "keys.pem").write_bytes(pem())
    checked = credential(Worker(keys=str(tmp_path / "keys.pem")))

    assert isinstance(checked.glance(asked(b"Bearer " + token())), Principal)
    assert checked.glance(asked(b"Bearer " + token(claims(exp=NOW - 100)))).reason == "expired"
