"""Who gets in, in which order that is decided, and what everybody else is told. Credentials here answer what they are told to."""

import pytest
from twisted.internet.defer import Deferred, succeed

from suuupra_gateway.auth.fields import PrincipalFields
from suuupra_gateway.auth.principal import UNASKED, Cached, Principal, Refused, Undecided
from suuupra_gateway.config.model import AuthSpec, PrincipalHeaders
from suuupra_gateway.filters.auth import Auth, AuthCounts
from suuupra_gateway.http.message import Reply, remove
from tests.filters.running import exchange

ALICE = ("alice", "jwt", "corp")


class Scripted:
    """A credential that answers what a test says."""

    def __init__(self, answer, kind="jwt", provider="corp", challenge=b'Bearer realm="r"', field=b"authorization"):
        self.answer, self.kind, self.provider, self.challenge, self.field = answer, kind, provider, challenge, field
        self.asked = 0

    def check(self, exchange):
        self.asked += 1
        return self.answer() if callable(self.answer) else self.answer

    def glance(self, exchange):
        return self.answer

    def conceal(self, head):
        remove(head.headers, self.field)

    def presented(self, head):
        return head.get(self.field) is not None


class Statements:
    """Signs nothing, and says for whom."""

    def sign(self, principal, audience):
        return (b"x-suuupra-identity", f"{principal.subject} for {' '.join(audience)}".encode())


def alice(**more):
    return Principal(*ALICE, **more)


def guard(*credentials, every=False, fields=True, signer=None, **settings):
    entry = [{"jwt": {"provider": "corp"}}] * max(1, len(credentials))
    spec = AuthSpec.model_validate({"all" if every else "any": entry, **settings})
    made = PrincipalFields(PrincipalHeaders()) if fields else None
    counts = AuthCounts()
    return Auth(
        spec, credentials, fields=made, counts=counts, realm="r", signer=signer, audience=("orders",) if signer else ()
    )


def tried(auth, *fields, line="GET /"):
    """What came of a request, and the exchange."""
    found = exchange(line, *fields)
    verdict = auth.request(found)
    if verdict is not None and not isinstance(verdict, Reply):
        results = []
        Deferred.fromCoroutine(verdict).addBoth(results.append)
        (verdict,) = results
    return verdict, found


def status(*credentials, every=False):
    verdict, _ = tried(guard(*credentials, every=every))
    return verdict.status if verdict is not None else 0


NO = Refused("expired")
DOWN = Undecided("away", retry_after=2.4)
LOGIN = Reply(303, ((b"location", b"/login"),))


# -- one of several ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answers", "expected"),
    [
        ([alice()], 0),
        ([Cached(alice(), "fresh", 1.0)], 0),
        ([None], 401),
        ([NO], 401),
        ([DOWN], 503),
        ([LOGIN], 303),
        ([None, alice()], 0),
        ([NO, alice()], 0),
        ([DOWN, alice()], 0),
        ([LOGIN, alice()], 0),
        ([NO, DOWN], 503),
        ([DOWN, NO], 503),
        ([DOWN, LOGIN], 503),
        ([NO, LOGIN], 303),
        ([LOGIN, NO], 303),
        ([LOGIN, Reply(403)], 303),
        ([None, NO], 401),
        ([Refused("address", status=403), None], 403),
        ([Refused("two", status=400), alice()], 400),
        ([DOWN, Refused("two", status=400)], 400),
    ],
)
def test_the_first_that_is_accepted_counts_and_doubt_never_becomes_a_no(answers, expected):
    assert status(*map(Scripted, answers)) == expected
    assert status(*(Scripted(lambda answer=answer: succeed(answer)) for answer in answers)) == expected


def test_who_was_accepted_is_the_caller_and_nobody_is_asked_after_that():
    first, second = Scripted(alice()), Scripted(alice())
    verdict, seen = tried(guard(Scripted(None), first, second))
    assert verdict is None
    assert seen.principal is first.answer
    assert (first.asked, second.asked) == (1, 0)


def test_a_wait_goes_on_where_it_began():
    pending = Deferred()
    last = Scripted(alice())
    auth = guard(Scripted(NO), Scripted(lambda: pending), last)
    seen = exchange()
    verdicts = []
    Deferred.fromCoroutine(auth.request(seen)).addBoth(verdicts.append)
    assert (verdicts, last.asked, seen.principal) == ([], 0, None)
    pending.callback(None)
    assert verdicts == [None]
    assert seen.principal is last.answer


# -- all of several ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answers", "expected"),
    [
        ([alice()], 0),
        ([alice(), alice()], 0),
        ([alice(), Cached(alice(), "stale", 9.0)], 0),
        ([alice(), None], 401),
        ([None, alice()], 401),
        ([alice(), NO], 401),
        ([alice(), DOWN], 503),
        ([DOWN, NO], 503),
        ([alice(), LOGIN], 303),
        ([alice(), Refused("two", status=400)], 400),
    ],
)
def test_all_means_every_one(answers, expected):
    assert status(*map(Scripted, answers), every=True) == expected
    assert status(*(Scripted(lambda answer=answer: succeed(answer)) for answer in answers), every=True) == expected


def test_the_first_of_all_says_who_it_is_and_the_others_add_what_they_allow():
    first = alice(scopes=frozenset("a"), claims={"sub": "alice", "x": 1}, expires=200.0, tags=("t1",))
    other = Principal(
        "key",
        "api-key",
        scopes=frozenset("b"),
        roles=frozenset("r"),
        claims={"sub": "key", "y": 2},
        expires=100.0,
        key="k1",
        tags=("t1", "t2"),
        fields=((b"x-auth-extra", b"1"),),
    )
    auth = guard(Scripted(first), Scripted(other), every=True, scopes={"all": ["a", "b"]})
    verdict, seen = tried(auth)
    assert verdict is None
    found = seen.principal
    assert (found.subject, found.credential, found.scopes, found.roles) == ("alice", "jwt", {"a", "b"}, {"r"})
    assert found.claims == {"sub": "alice", "x": 1, "y": 2}
    assert (found.expires, found.key, found.tags) == (100.0, "k1", ("t1", "t2"))
    assert seen.head.get(b"x-auth-extra") == b"1"
    assert tried(auth)[1].principal is found, "made once"


# -- decisions of before ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("stale", "method", "expected"),
    [
        ("allow", "POST", 0),
        ("read-only", "GET", 0),
        ("read-only", "HEAD", 0),
        ("read-only", "POST", 503),
        ("never", "GET", 503),
    ],
)
@pytest.mark.parametrize("every", [False, True])
def test_old_decisions_will_do_only_where_the_route_says_so(stale, method, expected, every):
    auth = guard(
        Scripted(Cached(alice(), "stale", 73.9)), Scripted(alice() if every else None), every=every, stale=stale
    )
    verdict, seen = tried(auth, line=f"{method} /")
    assert (verdict.status if verdict is not None else 0) == expected
    if verdict is None:
        assert (seen.head.get(b"x-suuupra-auth"), seen.outcome.auth) == (b"stale;age=73", "stale")
    else:
        assert (seen.principal, seen.outcome.auth) == (None, "stale_not_allowed")
        assert verdict.error.headers == ((b"retry-after", b"5"),)


def test_another_credential_may_do_where_an_old_decision_will_not():
    bob = Principal("bob", "api-key")
    verdict, seen = tried(guard(Scripted(Cached(alice(), "stale", 1.0)), Scripted(bob), stale="never"))
    assert (verdict, seen.principal) == (None, bob)


@pytest.mark.parametrize("source", ["fresh", "revalidate"])
def test_decisions_that_are_not_old_are_told_to_the_log_only(source):
    _, seen = tried(guard(Scripted(Cached(alice(), source, 4.0))))
    assert (seen.head.get(b"x-suuupra-auth"), seen.outcome.auth) == (None, source)


# -- what clients are told --------------------------------------------------------------------------------------------


def challenges(verdict):
    return [value for name, value in verdict.headers if name == b"www-authenticate"]


def test_all_ways_in_are_told_once_each():
    key = Scripted(None, "api-key", "", b'ApiKey realm="r"')
    verdict, seen = tried(guard(Scripted(None), Scripted(None), key, Scripted(None, challenge=b"")))
    assert challenges(verdict) == [b'Bearer realm="r"', b'ApiKey realm="r"']
    assert seen.outcome.auth == "no_credential"


def test_a_401_always_has_a_challenge():
    """RFC 9110 section 15.5.2."""
    verdict, _ = tried(guard(Scripted(None, "client-certificate", "", b"")))
    assert challenges(verdict) == [b'Certificate realm="r"']


def test_which_one_was_no_good_is_told_and_not_why():
    key = Scripted(None, "api-key", "", b'ApiKey realm="r"')
    verdict, seen = tried(guard(Scripted(Refused("expired", "7 s ago")), key))
    assert challenges(verdict) == [b'Bearer realm="r", error="invalid_token"', b'ApiKey realm="r"']
    assert (verdict.error.detail, str(verdict.error)) == (None, "expired: 7 s ago")
    assert seen.outcome.auth == "expired"


def test_other_schemes_know_no_errors():
    verdict, _ = tried(guard(Scripted(None), Scripted(NO, "api-key", "", b'ApiKey realm="r"')))
    assert challenges(verdict) == [b'Bearer realm="r"', b'ApiKey realm="r"']


def test_when_to_come_back_is_rounded_up():
    verdict, seen = tried(guard(Scripted(DOWN)))
    assert verdict.headers == ((b"retry-after", b"3"),)
    assert (verdict.code, seen.outcome.auth) == ("auth_unavailable", "away")


@pytest.mark.parametrize(
    ("answers", "reason"),
    [
        ([LOGIN], "login"),
        ([NO, LOGIN], "expired"),
        ([Reply(403)], "refused_elsewhere"),
        ([Reply(401)], "refused_elsewhere"),
    ],
)
def test_the_log_tells_why_somebody_is_sent_elsewhere(answers, reason):
    _, seen = tried(guard(*map(Scripted, answers)))
    assert seen.outcome.auth == reason


def test_missing_scopes_are_told_to_those_who_can_ask_for_them():
    key = Scripted(None, "api-key", "", b'ApiKey realm="r"')
    verdict, seen = tried(guard(Scripted(alice(scopes=frozenset("c"))), key, scopes={"all": ["a", "b"]}))
    assert (verdict.status, verdict.code) == (403, "forbidden")
    assert challenges(verdict) == [b'Bearer realm="r", error="insufficient_scope", scope="a b"']
    assert (seen.outcome.auth, seen.principal.subject) == ("insufficient_scope", "alice")


def test_missing_roles_are_nobodys_business():
    verdict, seen = tried(guard(Scripted(alice()), roles={"any": ["boss"]}))
    assert (verdict.status, challenges(verdict), verdict.error.detail) == (403, [], None)
    assert seen.outcome.auth == "missing_role"


# -- what upstreams are told ------------------------------------------------------------------------------------------


def test_upstreams_are_told_who_it_is_and_get_no_credential():
    auth = guard(Scripted(alice()), Scripted(None, field=b"x-api-key"), signer=Statements())
    _, seen = tried(auth, ("Authorization", "Bearer x"), ("X-Api-Key", "k"), ("Accept", "*/*"))
    names = [name for name, _ in seen.head.headers]
    assert names == [b"host", b"accept", b"x-user-id", b"x-auth-method", b"x-suuupra-identity"]
    assert seen.head.get(b"x-suuupra-identity") == b"alice for orders"


def test_credentials_are_forwarded_on_purpose():
    _, seen = tried(guard(Scripted(alice()), forward_credentials=True), ("Authorization", "Bearer x"))
    assert seen.head.get(b"authorization") == b"Bearer x"


def test_upstreams_are_told_nothing_on_purpose():
    _, seen = tried(guard(Scripted(alice()), fields=False))
    assert [name for name, _ in seen.head.headers] == [b"host"]


def test_who_cannot_be_told_does_not_get_in():
    verdict, seen = tried(guard(Scripted(alice(roles=frozenset({"x" * 9000})))))
    assert (verdict.status, seen.outcome.auth) == (403, "identity_too_long")


def test_a_route_makes_up_its_mind_about_a_principal_once():
    known = alice()
    auth, other = guard(Scripted(known)), guard(Scripted(known), roles={"any": ["boss"]})
    assert [tried(each)[0] is None for each in (auth, other, auth, other)] == [True, False, True, False]
    assert len(known.admissions) == 2


def test_what_routes_made_of_a_principal_stays_bounded():
    """Plans come and go; a certificate's principal may stay for months."""
    known = alice()
    for _ in range(1000):
        assert tried(guard(Scripted(known)))[0] is None
    assert len(known.admissions) <= 256


# -- counting ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answers", "expected"),
    [
        ([alice()], ("corp", "accepted", "live")),
        ([Cached(alice(), "stale", 1.0)], ("corp", "accepted", "stale")),
        ([NO], ("corp", "refused", "live")),
        ([Refused("unknown", source="fresh")], ("corp", "refused", "fresh")),
        ([DOWN], ("corp", "undecided", "live")),
        ([None], ("corp", "missing", "live")),
        ([None, None], ("-", "missing", "live")),
        ([LOGIN], ("corp", "missing", "live")),
        ([Reply(403)], ("corp", "refused", "live")),
    ],
)
def test_each_request_is_counted_once(answers, expected):
    auth = guard(*map(Scripted, answers))
    tried(auth)
    assert auth._counts.counts == {expected: 1}
    tried(auth)
    assert auth._counts.counts == {expected: 2}


def test_who_may_not_is_counted_apart():
    auth = guard(Scripted(alice()), roles={"any": ["boss"]})
    tried(auth)
    assert auth._counts.counts == {("corp", "forbidden", "live"): 1}


def test_credentials_without_provider_are_counted_by_kind():
    auth = guard(Scripted(alice(), "api-key", ""))
    tried(auth)
    assert auth._counts.counts == {("api-key", "accepted", "live"): 1}


# -- rehearsals -------------------------------------------------------------------------------------------------------


def test_a_rehearsal_does_what_a_request_does_and_counts_nothing():
    auth = guard(Scripted(alice()))
    seen = exchange("GET /", ("Authorization", "Bearer x"))
    found = auth.rehearse(seen, None)
    assert (found.verdict, found.says, found.asks) == (None, "jwt corp: accepted", "")
    assert seen.head.get(b"x-user-id") == b"alice"
    assert auth._counts.counts == {}
    assert auth.explain(seen) == "asks for jwt corp"
    assert guard(Scripted(None), Scripted(None), every=True).explain(seen) == "asks for jwt corp and jwt corp"


def test_a_rehearsal_says_who_would_be_asked_and_shows_no_credential_to_upstreams():
    seen = exchange("GET /", ("Authorization", "Bearer x"))
    found = guard(Scripted(UNASKED)).rehearse(seen, None)
    assert found.verdict is None
    assert "corp" in found.asks
    assert seen.head.get(b"authorization") is None


def test_a_rehearsal_tells_why_somebody_is_refused():
    found = guard(Scripted(alice()), roles={"any": ["boss"]}).rehearse(exchange(), None)
    assert (found.verdict.status, found.says) == (403, "jwt corp: accepted; missing_role: roles have none of boss")


def test_a_rehearsal_can_be_told_who_is_calling():
    auth = guard(Scripted(None), roles={"any": ["boss"]})
    seen = exchange()
    found = auth.rehearse(seen, Principal("bob", "", roles=frozenset({"boss"})))
    assert (found.verdict, found.says) == (None, "the caller is given")
    assert (seen.principal.subject, seen.principal.credential) == ("bob", "jwt")
    assert auth.rehearse(exchange(), Principal("bob", "")).verdict.status == 403
    refused = auth.rehearse(exchange(), Principal("bob", "session", "web"))
    assert (refused.verdict.status, refused.says) == (401, "nobody is let in here by session web")
