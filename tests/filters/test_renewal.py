"""Sessions go on while they are used: the answer carries a new cookie, and nobody else gets it."""

from suuupra_gateway.auth.principal import Cached, Principal, Refused
from suuupra_gateway.config.model import AuthSpec
from suuupra_gateway.filters.auth import AuthCounts
from suuupra_gateway.filters.renewal import RenewingAuth
from suuupra_gateway.http.message import Reply, remove
from tests.filters.running import answered, exchange

WORN = ((b"set-cookie", b"s=new; Secure"),)


class Lasting:
    """A credential that does not wear out."""

    kind, provider, challenge = "jwt", "corp", b""

    def __init__(self, answer):
        self.answer = answer

    def check(self, exchange):
        return self.answer

    def conceal(self, head):
        remove(head.headers, b"cookie")

    def presented(self, head):
        return head.get(b"cookie") is not None


class Session(Lasting):
    """One whose cookie is worn, unless it says that it is new."""

    kind, provider = "session", "web"

    def renewal(self, head):
        return WORN if head.get(b"cookie") == b"s=worn" else ()


def guard(*credentials, **settings):
    spec = AuthSpec.model_validate({"any": [{"session": {"login": "web"}}] * len(credentials), **settings})
    made = RenewingAuth(spec, credentials, fields=None, counts=AuthCounts(), realm="r")
    made.slot = 0
    return made


def asked(auth, cookie):
    found = exchange("GET /", ("Cookie", cookie))
    found.slots = [None]
    return auth.request(found), found


ALICE = Principal("alice", "session", "web")


def test_a_worn_cookie_is_renewed_with_the_answer_of_the_upstream():
    auth = guard(Session(ALICE))
    verdict, found = asked(auth, "s=worn")
    head = answered((b"cache-control", b"public, max-age=60"))
    assert auth.response(found, head) is None
    assert verdict is None
    assert head.headers == [
        (b"cache-control", b"public, max-age=60"),
        (b"set-cookie", b"s=new; Secure"),
        (b"cache-control", b"private"),
    ]
    assert found.head.get(b"cookie") is None


def test_it_is_renewed_once():
    """A filter may put an answer of ours in the place of the upstream's."""
    auth = guard(Session(ALICE))
    _, found = asked(auth, "s=worn")
    auth.response(found, answered())
    again = answered()
    auth.reply(found, again)
    assert again.headers == []


def test_it_is_renewed_with_answers_of_our_own_too():
    auth = guard(Session(Cached(ALICE, "fresh", 1.0)), roles={"any": ["boss"]})
    verdict, found = asked(auth, "s=worn")
    assert verdict.status == 403
    head = answered()
    auth.reply(found, head)
    assert (b"set-cookie", b"s=new; Secure") in head.headers


def test_a_new_cookie_is_left_alone():
    auth = guard(Session(ALICE))
    _, found = asked(auth, "s=fresh")
    head = answered()
    auth.response(found, head)
    assert head.headers == []


def test_nothing_is_renewed_for_who_does_not_get_in():
    auth = guard(Session(Refused("session_over")), Session(Reply(302)))
    verdict, found = asked(auth, "s=worn")
    assert verdict.status == 302
    head = answered()
    auth.reply(found, head)
    assert head.headers == []


def test_other_credentials_do_not_wear_out():
    verdict, found = asked(guard(Lasting(ALICE)), "s=worn")
    assert (verdict, found.slots) == (None, [None])
