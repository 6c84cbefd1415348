"""A provider in a worker: what is remembered of its tokens, and where its keys come from."""

from __future__ import annotations

import json
import os
from collections.abc import Awaitable
from math import inf

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import LogLevel, globalLogPublisher

from suuupra_gateway.auth import provider as module
from suuupra_gateway.auth.jwt import TokenError, UnknownKey
from suuupra_gateway.auth.principal import Principal, Refused, Undecided
from suuupra_gateway.auth.provider import KEPT, REFUSED, Provider, ProviderUnavailable, claim, principal_from, words
from suuupra_gateway.auth.publication import Published, topic
from suuupra_gateway.auth.revocations import Revocations
from suuupra_gateway.config.model import ClaimNames, ProviderSpec
from suuupra_gateway.config.units import Duration, Secret
from suuupra_gateway.interfaces import NoAnswer
from tests.auth.desk import Desk
from tests.auth.tokens import AUDIENCE, ISSUER, NOW, SECRET, claims, jwk, pem, private, token


def spec(**more) -> ProviderSpec:
    return ProviderSpec(**{"name": "idp", "issuer": ISSUER, "audiences": (AUDIENCE,), **more})


class Worker:
    """A provider with time and a board in the test's hands."""

    def __init__(self, begun: bool = True, **more) -> None:
        self.clock, self.board = Clock(), Desk()
        self.now = NOW
        self.revocations = Revocations(self.board)
        self.spec = spec(**more)
        self.provider = Provider(self.spec, self.board, self.revocations, self.clock, wall=lambda: self.now)
        if begun:
            self.provider.start()

    def publish(self, *entries, error: str = "", fetched: float | None = None, metadata=None) -> None:
        value = Published(metadata, {"keys": list(entries)}, self.now if fetched is None else fetched, error)
        self.board.publish(topic(self.spec), msgspec.json.encode(value))

    def fail(self, error: str) -> None:
        self.board.publish(topic(self.spec), msgspec.json.encode(Published(error=error)))

    def pass_time(self, seconds: float) -> None:
        self.now += seconds
        self.clock.advance(seconds)

    def check(self, shown: bytes):
        """What comes at once."""
        found = self.provider.check(shown)
        assert not isinstance(found, Awaitable)
        return found

    def wait(self, shown: bytes) -> list[object]:
        """Where the answer will be."""
        found = self.provider.check(shown)
        assert isinstance(found, Awaitable)
        return results(found)


def results(pending) -> list[object]:
    found: list[object] = []
    Deferred.fromCoroutine(pending).addBoth(lambda result: found.append(getattr(result, "value", result)))
    return found


@pytest.fixture
def worker() -> Worker:
    made = Worker()
    made.publish(jwk(kid="a"))
    return made


# -- tokens that are remembered ---------------------------------------------------------------------------------------


def test_a_good_token_has_a_principal(worker):
    found = worker.check(token(claims(scope="read write", roles=["admin"], tenant="t1"), kid="a"))

    assert (found.subject, found.credential, found.provider, found.tenant) == ("alice", "jwt", "idp", "t1")
    assert (found.scopes, found.roles) == ({"read", "write"}, {"admin"})
    assert found.claims["aud"] == AUDIENCE
    assert found.expires == NOW + 600 + 30
    assert found.tags[0] == "subject:idp:alice"
    assert found.tags[1].startswith("token:")


def test_a_token_is_verified_once_in_a_while(worker):
    shown = token(kid="a")
    first = worker.check(shown)

    worker.pass_time(KEPT - 1)
    assert worker.check(shown) is first
    worker.pass_time(2)
    second = worker.check(shown)
    assert second is not first
    assert isinstance(second, Principal)


def test_a_token_is_not_remembered_beyond_its_end(worker):
    shown = token(claims(exp=NOW + 1), kid="a")
    assert isinstance(worker.check(shown), Principal)

    worker.pass_time(30.5)
    assert isinstance(worker.check(shown), Principal)
    worker.pass_time(1)
    assert worker.check(shown).reason == "expired"


def test_a_bad_token_is_remembered_for_a_moment(worker):
    shown = token(claims(nbf=NOW + 32), kid="a")
    first = worker.check(shown)
    assert first.reason == "not_yet_valid"

    worker.pass_time(REFUSED - 1)
    assert worker.check(shown) is first
    worker.pass_time(2)
    assert isinstance(worker.check(shown), Principal)


def test_what_is_remembered_is_bounded_and_bad_tokens_drive_out_no_good_ones(worker, monkeypatch):
    monkeypatch.setattr(module, "MOST", 32)
    monkeypatch.setattr(module, "MOST_REFUSED", 64)
    good = token(kid="a")
    found = worker.check(good)

    for number in range(200):
        assert isinstance(worker.check(b"%d.AAAA.AAAA" % number), Refused)
    assert worker.check(good) is found
    assert len(worker.provider._refused) <= 64

    for number in range(70):
        worker.check(token(claims(sub=f"s{number}"), kid="a"))
    assert len(worker.provider._known) <= 32
    assert worker.check(good) is not found


def test_a_token_that_is_verified_again_is_not_the_oldest_any_more(worker, monkeypatch):
    monkeypatch.setattr(module, "MOST", 16)
    good = token(kid="a")
    worker.check(good)
    for number in range(10):
        worker.check(token(claims(sub=f"s{number}"), kid="a"))
    worker.pass_time(KEPT + 1)
    found = worker.check(good)

    for number in range(10):
        worker.check(token(claims(sub=f"t{number}"), kid="a"))
    assert worker.check(good) is found


def test_a_subject_that_says_nothing_is_refused(worker):
    for subject in (None, "", 7, ["alice"], "a" * 1025):
        assert worker.check(token(claims(sub=subject), kid="a")).reason == "missing_claim"


# -- keys that change -------------------------------------------------------------------------------------------------


def test_tokens_are_forgotten_when_their_key_is_gone(worker):
    shown = token(kid="a")
    assert isinstance(worker.check(shown), Principal)

    worker.publish(jwk(number=1, kid="b"))
    pending = worker.wait(shown)
    worker.board.answer()
    assert pending[0].reason == "unknown_key"


def test_tokens_are_forgotten_when_another_key_has_the_name_of_theirs(worker):
    shown = token(kid="a")
    assert isinstance(worker.check(shown), Principal)

    worker.publish(jwk(number=1, kid="a"))
    assert worker.check(shown).reason == "bad_signature"


def test_tokens_stay_when_a_key_is_added_or_nothing_changed(worker):
    shown = token(kid="a")
    found = worker.check(shown)

    worker.publish(jwk(kid="a"), jwk(number=1, kid="b"))
    worker.publish(jwk(kid="a"), jwk(number=1, kid="b"))
    assert worker.check(shown) is found


def test_refusals_are_forgotten_when_a_key_is_added(worker):
    worker.publish(jwk(kid="a"), error="it is down")
    worker.publish(jwk(kid="a"))
    shown = token(kid="b", key=private("RS256", 1))
    pending = worker.wait(shown)
    worker.board.answer()
    assert pending[0].reason == "unknown_key"
    assert worker.check(shown) is pending[0]

    worker.publish(jwk(kid="a"), jwk(number=1, kid="b"))
    assert isinstance(worker.check(shown), Principal)


def test_what_cannot_be_read_changes_nothing(worker):
    seen = []
    globalLogPublisher.addObserver(seen.append)
    try:
        for value in (b"", b"{", b"[]", b"\xff", b'{"keys": {}}', b'{"keys": {"keys": 1}}'):
            worker.board.publish(topic(worker.spec), value)
    finally:
        globalLogPublisher.removeObserver(seen.append)

    assert len([event for event in seen if event["log_level"] is LogLevel.error]) == 6
    assert isinstance(worker.check(token(kid="a")), Principal)


# -- keys that nobody knows -------------------------------------------------------------------------------------------


def test_a_key_that_nobody_knows_is_asked_for_once_however_many_wait(worker):
    shown = [token(claims(sub=f"s{number}"), key=private("RS256", 1), kid="b") for number in range(50)]
    pending = [worker.wait(each) for each in shown]
    assert worker.board.questions == 1
    assert worker.board.asked[0][:2] == (topic(worker.spec), b'{"kid":"b"}')

    worker.publish(jwk(kid="a"), jwk(number=1, kid="b"))
    worker.board.answer()
    assert [result[0].subject for result in pending] == [f"s{number}" for number in range(50)]


def test_it_is_refused_if_the_newer_set_has_it_not(worker):
    pending = worker.wait(token(kid="b"))

    worker.board.answer()
    assert pending == [Refused("unknown_key", "no key 'b' for it")]


def test_it_is_not_asked_for_again_at_once(worker):
    worker.wait(token(kid="b"))
    worker.board.answer()

    assert worker.check(token(kid="c")).reason == "unknown_key"
    worker.pass_time(1.1)
    worker.wait(token(kid="d"))
    assert worker.board.questions == 2


def test_a_request_waits_for_half_a_second_at_most(worker):
    pending = worker.wait(token(kid="b"))
    worker.pass_time(0.49)
    assert pending == []

    worker.pass_time(0.02)
    assert isinstance(pending[0], Undecided)
    late = worker.wait(token(kid="c"))
    assert worker.board.questions == 1
    worker.board.answer()
    assert late[0].reason == "unknown_key"


@pytest.mark.parametrize("answer", [NoAnswer("the supervisor is gone"), ValueError("something else")])
def test_nobody_answers_and_nothing_is_decided(worker, answer):
    pending = worker.wait(token(kid="b"))

    worker.board.answer(answer)
    assert pending[0].reason == "keys_unavailable"
    assert isinstance(worker.check(token(kid="a")), Principal)


def test_nothing_is_decided_about_unknown_keys_while_the_provider_is_down(worker):
    worker.publish(jwk(kid="a"), error="it is down")
    pending = worker.wait(token(kid="b"))

    worker.board.answer()
    assert pending == [Undecided("keys_unavailable", "it is down")]
    assert isinstance(worker.check(token(kid="a")), Principal)


@pytest.mark.parametrize("kid", ["a", "b"])
def test_a_token_of_another_provider_asks_for_nothing(worker, kid):
    shown = token(claims(iss="https://other.example"), kid=kid, key=private("RS256", 1))

    assert isinstance(worker.check(shown), Refused)
    assert worker.board.questions == 0


def test_a_token_without_key_id_by_a_new_key_is_asked_about():
    worker = Worker()
    worker.publish(jwk())
    pending = worker.wait(token(key=private("RS256", 1)))

    worker.publish(jwk(number=1))
    worker.board.answer()
    assert isinstance(pending[0], Principal)


def test_what_a_newer_set_shows_to_be_bad_is_refused(worker):
    pending = worker.wait(token(kid="b"))

    worker.publish(jwk(kid="a"), jwk(number=1, kid="b"))
    worker.board.answer()
    assert pending[0].reason == "bad_signature"


# -- no keys at all ---------------------------------------------------------------------------------------------------


def test_without_keys_nothing_is_decided_and_they_are_waited_for():
    worker = Worker()
    pending = worker.wait(token(kid="a"))
    worker.publish(jwk(kid="a"))
    worker.board.answer()
    assert isinstance(pending[0], Principal)


def test_without_keys_and_supervisor_nothing_is_decided():
    worker = Worker()
    pending = worker.wait(token(kid="a"))
    worker.pass_time(1)

    assert pending == [Undecided("keys_unavailable", "its keys have not been fetched yet")]


def test_why_there_are_no_keys_is_told():
    worker = Worker()
    worker.fail("it is down")
    pending = worker.wait(token(kid="a"))
    worker.board.answer()

    assert pending == [Undecided("keys_unavailable", "it is down")]


def test_without_keys_a_token_that_can_never_be_good_is_refused_at_once():
    worker = Worker()

    assert worker.check(token(claims(iss="https://other.example"))).reason == "wrong_issuer"
    assert worker.check(token(algorithm="HS256")).reason == "algorithm_not_allowed"
    assert worker.check(b"opaque").reason == "malformed"
    assert worker.board.questions == 0


def test_keys_that_could_not_be_fetched_for_too_long_are_not_used():
    worker = Worker(max_stale=Duration(3600.0))
    worker.publish(jwk(kid="a"), error="it is down")
    worker.pass_time(3600)
    assert isinstance(worker.check(token(claims(exp=NOW + 1e6), kid="a")), Principal)

    worker.pass_time(61)
    pending = worker.wait(token(claims(exp=NOW + 1e6), kid="a"))
    worker.board.answer()
    assert pending == [Undecided("keys_unavailable", "its keys could not be fetched for 3661 s: it is down")]


# -- keys from files and secrets --------------------------------------------------------------------------------------


def test_keys_from_a_file_need_no_board(tmp_path):
    file = tmp_path / "keys.pem"
    file.write_bytes(pem())
    worker = Worker(begun=False, keys=str(file))

    assert isinstance(worker.check(token(kid="any")), Principal)
    assert worker.check(token(key=private("RS256", 1))).reason == "bad_signature"
    assert worker.check(token(algorithm="ES256")).reason == "unknown_key"
    assert worker.board.questions == 0


def test_a_secret_needs_no_board():
    worker = Worker(secret=Secret(SECRET), algorithms=("HS256",))

    assert isinstance(worker.check(token(algorithm="HS256", kid="any")), Principal)
    assert worker.check(token(algorithm="HS256", key=b"guess")).reason == "bad_signature"
    assert worker.board.questions == 0
    assert worker.clock.getDelayedCalls() == []


@pytest.mark.parametrize(
    ("content", "why"), [(b"{}", "keys.pem: it is no key set"), (b'{"keys": []}', "no key that can")]
)
def test_a_file_without_keys_is_refused(tmp_path, content, why):
    (tmp_path / "keys.pem").write_bytes(content)

    with pytest.raises(ValueError, match=why):
        Worker(keys=str(tmp_path / "keys.pem"))


def test_a_file_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError):
        Worker(keys=str(tmp_path / "keys.pem"))


def test_a_file_with_new_keys_is_read_and_what_the_old_ones_signed_is_forgotten(tmp_path):
    file = tmp_path / "keys.pem"
    file.write_bytes(pem())
    worker = Worker(keys=str(file))
    shown = token()
    assert isinstance(worker.check(shown), Principal)

    file.with_suffix(".new").write_bytes(pem(number=1))
    os.replace(file.with_suffix(".new"), file)
    worker.pass_time(5)
    assert worker.check(shown).reason == "bad_signature"
    assert isinstance(worker.check(token(key=private("RS256", 1))), Principal)


def test_a_file_that_breaks_leaves_the_keys_of_before(tmp_path):
    file = tmp_path / "keys.pem"
    file.write_bytes(pem())
    worker = Worker(keys=str(file))

    for breaking in (file.unlink, lambda: file.write_bytes(b"half of")):
        breaking()
        worker.pass_time(5)
        assert isinstance(worker.check(token(claims(sub=str(breaking)))), Principal)
    file.write_bytes(pem(number=1))
    worker.pass_time(5)
    assert isinstance(worker.check(token(key=private("RS256", 1))), Principal)


def test_a_retired_provider_hears_and_does_nothing_any_more(tmp_path, worker):
    (tmp_path / "keys.pem").write_bytes(pem())
    other = Worker(keys=str(tmp_path / "keys.pem"))
    other.provider.retire()
    assert other.clock.getDelayedCalls() == []

    worker.provider.retire()
    worker.publish(jwk(number=1, kid="a"))
    assert isinstance(worker.check(token(kid="a")), Principal)


# -- revocation -------------------------------------------------------------------------------------------------------


def test_a_subject_that_was_revoked_is_out_and_may_come_back_with_a_newer_token(worker):
    old, other = token(kid="a"), token(claims(sub="bob"), kid="a")
    bob = worker.check(other)
    assert isinstance(worker.check(old), Principal)

    worker.revocations.revoke(["subject:idp:alice"], NOW)
    assert worker.check(old).reason == "revoked"
    assert worker.check(other) is bob
    worker.pass_time(10)
    assert isinstance(worker.check(token(claims(iat=NOW + 5), kid="a")), Principal)


def test_a_token_that_was_revoked_by_its_hash_is_out_for_ever(worker):
    shown = token(kid="a")
    tag = worker.check(shown).tags[1]

    worker.revocations.revoke([tag], 0.0)
    assert worker.check(shown).reason == "revoked"
    assert isinstance(worker.check(token(claims(jti="1"), kid="a")), Principal)


def test_a_token_that_does_not_say_when_it_was_issued_is_out_with_its_subject(worker):
    worker.revocations.revoke(["subject:idp:alice"], NOW - 1000)

    assert worker.check(token(claims(iat=None), kid="a")).reason == "revoked"
    assert isinstance(worker.check(token(kid="a")), Principal)


def test_that_everything_must_be_asked_anew_is_nothing_to_signed_tokens(worker):
    shown = token(kid="a")
    found = worker.check(shown)

    worker.revocations.revoke(["*"], NOW)
    assert worker.check(shown) is found


# -- other tokens -----------------------------------------------------------------------------------------------------


def test_the_claims_of_an_id_token(worker):
    found = results(worker.provider.claims_of(token(claims(aud="client", nonce="n"), kid="a"), audience="client"))

    assert found[0]["nonce"] == "n"


def test_an_id_token_for_somebody_else_is_refused(worker):
    found = results(worker.provider.claims_of(token(kid="a"), audience="client"))

    assert isinstance(found[0], TokenError)
    assert found[0].reason == "wrong_audience"


def test_an_id_token_by_a_new_key_waits_for_it(worker):
    shown = token(claims(aud="client"), kid="b", key=private("RS256", 1))
    found = results(worker.provider.claims_of(shown, audience="client"))
    worker.publish(jwk(number=1, kid="b"))
    worker.board.answer()

    assert found[0]["sub"] == "alice"


def test_an_id_token_by_an_unknown_key_is_refused(worker):
    shown = token(claims(aud="client"), kid="b", key=private("RS256", 1))
    found = results(worker.provider.claims_of(shown, audience="client"))
    worker.board.answer()

    assert isinstance(found[0], UnknownKey)
    again = results(worker.provider.claims_of(shown, audience="client"))
    assert isinstance(again[0], UnknownKey)


def test_an_id_token_without_keys_cannot_be_verified():
    worker = Worker()
    found = results(worker.provider.claims_of(token(claims(aud="client")), audience="client"))
    worker.pass_time(1)

    assert isinstance(found[0], ProviderUnavailable)
    assert str(found[0]) == "its keys have not been fetched yet"


def test_a_logout_token_is_one_of_its_type(worker):
    shown = token(claims(aud="client", exp=None), kid="a", typ="logout+jwt")
    types = frozenset({"logout+jwt"})
    found = results(worker.provider.claims_of(shown, audience="client", types=types, required=False))

    assert found[0]["sub"] == "alice"


def test_metadata_is_what_was_published_last(worker):
    assert worker.provider.metadata is None
    worker.publish(jwk(kid="a"), metadata={"issuer": ISSUER})
    worker.publish(jwk(kid="a"))

    assert worker.provider.metadata == {"issuer": ISSUER}
    assert worker.provider.fetched == NOW


# -- from claims to callers -------------------------------------------------------------------------------------------


def principal(content, **names) -> Principal:
    return principal_from(content, ClaimNames(**names), "idp", "session", tags=("session:1",), key="1")


def test_claims_are_read_where_the_configuration_says():
    content = {
        "sub": "x",
        "user": {"id": "alice"},
        "realm_access": {"roles": ["a", 7, "b"]},
        "https://example.org/org": "t1",
        "perms": "p q",
    }
    found = principal(
        content, subject="user.id", roles="realm_access.roles", tenant="https://example.org/org", scopes="perms"
    )

    assert (found.subject, found.tenant, found.key, found.credential) == ("alice", "t1", "1", "session")
    assert (found.roles, found.scopes) == ({"a", "b"}, {"p", "q"})
    assert found.tags == ("subject:idp:alice", "session:1")
    assert found.expires == inf


def test_scopes_have_another_name_in_some_places():
    assert principal({"sub": "a", "scp": ["x", "y"]}).scopes == {"x", "y"}
    assert principal({"sub": "a", "scp": ["x"], "scope": "z"}).scopes == {"z"}
    assert principal({"sub": "a", "scp": ["x"]}, scopes="perms").scopes == frozenset()


def test_claims_of_another_form_say_nothing():
    found = principal({"sub": "a", "scope": 7, "roles": {"a": 1}, "tenant": ["t"], "exp": "soon"})

    assert (found.scopes, found.roles, found.tenant, found.expires) == (frozenset(), frozenset(), "", inf)


def test_a_principal_ends_with_its_claims():
    found = principal_from({"sub": "a", "exp": 100}, ClaimNames(), "idp", "jwt", leeway=30.0)

    assert found.expires == 130.0


@pytest.mark.parametrize(
    "path", ["user.name.first", "user.names.0", "user.missing", "missing", "missing.x", "user.id.x", ""]
)
def test_what_is_not_there_is_nothing(path):
    assert claim({"user": {"id": "a", "name": "b", "names": ["c"]}}, path) is None


def test_a_claim_of_that_very_name_goes_first():
    assert claim({"a.b": 1, "a": {"b": 2}}, "a.b") == 1


@given(st.text())
def test_words_have_no_spaces(text):
    assert all(word and " " not in word for word in words(text))
    assert words([text]) == {text}
    assert words(json.loads("null")) == frozenset()
