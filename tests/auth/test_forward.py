"""Auth services: what they see, what decides, and what their answers become."""

import pytest
from twisted.internet.defer import Deferred

from suuupra_gateway.auth.board import QuietBoard
from suuupra_gateway.auth.decisions import Decision
from suuupra_gateway.auth.fetch import Fetch
from suuupra_gateway.auth.forward import ForwardAuth, ForwardAuthCredential
from suuupra_gateway.auth.principal import UNASKED, Cached, Principal, Refused, Undecided
from suuupra_gateway.auth.revocations import Revocations
from suuupra_gateway.auth.shared import Shared
from suuupra_gateway.config.model import ForwardAuthSpec, ForwardedSpec
from suuupra_gateway.http.message import Reply, RequestHead
from tests.auth.clock import Time
from tests.auth.wire import Wire

COOKIE = (b"cookie", b"session=1")
OK = {"status": 200, "headers": b"X-User-Id: ada\r\nX-Auth-Team: blue\r\nX-Secret: x\r\n"}


class Asked:
    """All that a credential looks at."""

    def __init__(
        self,
        *headers,
        method=b"GET",
        path=b"/orders",
        query=None,
        host=b"api.example.org",
        secure=True,
        client="192.0.2.1",
    ):
        self.head = RequestHead(method, path, list(headers), query=query, authority=host, host=host)
        self.secure = secure
        self.client = client


class World:
    def __init__(self, *, shared=None, stale="allow", **spec):
        self.time = Time()
        self.wire = Wire()
        self.revocations = Revocations(QuietBoard())
        self.forward = ForwardAuth(
            ForwardAuthSpec.model_validate(
                {
                    "name": "corp",
                    "url": "http://127.0.0.1:8080/auth?x=1",
                    "timeout": "2s",
                    "response_headers": ("X-Auth-Team",),
                    **spec,
                }
            ),
            Fetch(self.wire.reactor),
            shared,
            self.revocations,
            wall=self.time.wall,
            monotonic=self.time.monotonic,
        )
        self.credential = ForwardAuthCredential(ForwardedSpec(by="corp"), self.forward, stale=stale)

    def check(self, *headers, **more):
        found = self.credential.check(Asked(*headers, **more))
        if isinstance(found, Principal | Cached | Refused | Undecided | Reply):
            return found
        return Deferred.fromCoroutine(found)

    def say(self, status=200, headers=b"", body=b""):
        self.wire.connect()
        self.wire.answer(b"HTTP/1.1 %d X\r\nContent-Length: %d\r\n%b\r\n%b" % (status, len(body), headers, body))
        self.wire.hang_up()

    def told(self, *shown, status=200, headers=b"", body=b"", **more):
        waiting = self.check(*(shown or (COOKIE,)), **more)
        assert isinstance(waiting, Deferred), waiting
        self.say(status, headers, body)
        return waiting.result

    def fails(self, *headers, **more):
        waiting = self.check(*(headers or (COOKIE,)), **more)
        if isinstance(waiting, Deferred):
            self.wire.connect()
            self.wire.hang_up()
            waiting = waiting.result
        return waiting


@pytest.fixture
def world():
    return World()


def seen(world, *headers, **more):
    """The request that the service gets."""
    world.check(*headers, **more)
    first, *lines = world.wire.connect().value().split(b"\r\n\r\n")[0].split(b"\r\n")
    return first, {tuple(line.split(b": ", 1)) for line in lines} - {
        (b"Host", b"127.0.0.1:8080"),
        (b"User-Agent", b"suuupra-gateway"),
    }


# -- asking -----------------------------------------------------------------------------------------------------------


def test_the_service_sees_who_asks_for_what_and_nothing_else(world):
    first, fields = seen(
        world,
        (b"authorization", b"Bearer x"),
        COOKIE,
        (b"x-forwarded-host", b"evil"),
        (b"x-forwarded-for", b"6.6.6.6"),
        (b"accept", b"*/*"),
        (b"content-length", b"5"),
        method=b"POST",
        query=b"page=2",
    )
    assert first == b"GET /auth?x=1 HTTP/1.1"
    assert fields == {
        (b"Authorization", b"Bearer x"),
        (b"Cookie", b"session=1"),
        (b"X-Forwarded-Method", b"POST"),
        (b"X-Forwarded-Proto", b"https"),
        (b"X-Forwarded-Host", b"api.example.org"),
        (b"X-Forwarded-Uri", b"/orders?page=2"),
        (b"X-Forwarded-For", b"192.0.2.1"),
    }


def test_fields_that_vary_are_shown_too_and_ours_cannot_be_given_by_the_request():
    world = World(request_headers=("X-Key", "X-Forwarded-Host"), vary=("Accept-Language", "X-Forwarded-For"))
    _, fields = seen(
        world, (b"x-key", b"1"), (b"x-key", b"2"), (b"accept-language", b"de"), (b"x-forwarded-for", b"6.6.6.6")
    )
    assert {value for name, value in fields if name == b"X-Key"} == {b"1", b"2"}
    assert (b"Accept-Language", b"de") in fields
    assert (b"X-Forwarded-For", b"192.0.2.1") in fields
    assert (b"X-Forwarded-Host", b"api.example.org") in fields


def test_what_is_not_known_is_not_shown(world):
    _, fields = seen(world, COOKIE, client="", host=b"", secure=False)
    assert {name for name, _ in fields} == {b"Cookie", b"X-Forwarded-Method", b"X-Forwarded-Proto", b"X-Forwarded-Uri"}
    assert (b"X-Forwarded-Proto", b"http") in fields


def test_the_credential_says_what_it_is(world):
    credential = world.credential
    assert (credential.kind, credential.provider, credential.challenge) == ("forward-auth", "corp", b"")
    assert credential.glance(Asked()) is UNASKED
    head = Asked(COOKIE, (b"authorization", b"x"), (b"accept", b"*/*")).head
    assert credential.presented(head)
    credential.conceal(head)
    assert head.headers == [(b"accept", b"*/*")]
    assert not credential.presented(head)


# -- believing --------------------------------------------------------------------------------------------------------


def test_any_2xx_lets_in_and_says_who_it_is(world):
    found = world.told(**{**OK, "status": 204})
    assert isinstance(found, Principal)
    assert (found.subject, found.credential, found.provider) == ("ada", "forward-auth", "corp")
    assert found.fields == ((b"x-auth-team", b"blue"),)
    assert found.claims == {"x-auth-team": "blue"}
    assert found.tags == ("subject:corp:ada",)


def test_who_is_let_in_without_a_name_is_known_by_the_service(world):
    found = world.told(status=200)
    assert found.subject == "forward-auth:corp"
    assert found.tags == ("subject:corp:forward-auth:corp",)


def test_names_are_read_as_their_senders_mean_them(world):
    utf = world.told(headers="X-User-Id: Jürgen\r\nX-Auth-Team: ü\r\n".encode())
    assert (utf.subject, utf.tags) == ("Jürgen", ("subject:corp:Jürgen",))
    assert utf.fields == ((b"x-auth-team", "ü".encode()),)
    latin = world.told((b"cookie", b"2"), headers="X-User-Id: Jürgen\r\n".encode("latin-1"))
    assert latin.subject == "Jürgen"


def test_fields_that_are_told_twice_stay_two(world):
    found = world.told(headers=b"X-Auth-Team: blue\r\nX-Auth-Team: red\r\n")
    assert found.fields == ((b"x-auth-team", b"blue"), (b"x-auth-team", b"red"))
    assert found.claims == {"x-auth-team": "blue"}


@pytest.mark.parametrize(
    "headers", [b"X-User-Id: a\x01b\r\n", b"X-Auth-Team: \x1b[2J\r\n", b"X-User-Id: " + b"a" * 1025]
)
def test_what_nobody_can_be_told_decides_nothing(world, headers):
    found = world.told(headers=headers.rstrip(b"\r\n") + b"\r\n")
    assert isinstance(found, Undecided)


@pytest.mark.parametrize("status", [401, 403])
def test_a_refusal_is_passed_on_without_what_is_not_the_clients(world, status):
    found = world.told(
        status=status,
        headers=b"WWW-Authenticate: Basic realm=x\r\nContent-Type: text/plain\r\nX-Internal: 1\r\nServer: y\r\n",
        body=b"no \xff",
    )
    assert isinstance(found, Reply)
    assert (found.status, found.body) == (status, b"no \xff")
    assert set(found.headers) == {(b"www-authenticate", b"Basic realm=x"), (b"content-type", b"text/plain")}


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_begins_a_login_and_is_for_one_request(world, status):
    headers = b"Location: https://login.example/?state=1\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\n"
    found = world.told(status=status, headers=headers)
    assert found.status == status
    assert found.headers == (
        (b"location", b"https://login.example/?state=1"),
        (b"set-cookie", b"a=1"),
        (b"set-cookie", b"b=2"),
    )
    assert isinstance(world.check(COOKIE), Deferred)


def test_other_refusals_are_remembered_shortly(world):
    world.told(status=403, body=b"no")
    world.time.advance(4.9)
    assert world.check(COOKIE).body == b"no"
    world.time.advance(0.2)
    assert isinstance(world.check(COOKIE), Deferred)


@pytest.mark.parametrize(("headers", "body"), [(b"Set-Cookie: a=1\r\n", b""), (b"", b"x" * 3000)])
def test_refusals_that_are_for_one_or_too_long_are_not_remembered(world, headers, body):
    found = world.told(status=401, headers=headers, body=body)
    assert found.body == body
    assert isinstance(world.check(COOKIE), Deferred)


@pytest.mark.parametrize("status", [302, 304, 400, 404, 405, 429, 500, 503])
def test_all_other_answers_decide_nothing(world, status):
    found = world.told(status=status)
    assert isinstance(found, Undecided)
    assert str(status) in found.detail


@pytest.mark.parametrize(
    ("status", "others_wait"), [(400, True), (404, True), (408, False), (429, False), (503, False)]
)
def test_odd_requests_keep_nobody_else_out(world, status, others_wait):
    """Who can make the service answer 400 would else make an outage of it for all."""
    for number in range(10):
        if isinstance(world.check(path=b"/%d" % number), Deferred):
            world.say(status)
    assert isinstance(world.check(COOKIE), Deferred) is others_wait


def test_an_answer_without_end_decides_nothing(world):
    assert isinstance(world.told(status=403, body=b"x" * 70_000), Undecided)


# -- remembering ------------------------------------------------------------------------------------------------------


def test_the_same_principal_serves_until_it_is_asked_anew(world):
    found = world.told(**OK)
    world.time.advance(10)
    assert world.check(COOKIE) == Cached(found, "fresh", 10.0)


@pytest.mark.parametrize(
    "other",
    [
        {"method": b"POST"},
        {"path": b"/orders/1"},
        {"query": b""},
        {"query": b"x"},
        {"host": b"other.example.org"},
        {"secure": False},
    ],
)
def test_a_decision_is_for_what_the_service_saw(world, other):
    world.told(**OK)
    assert isinstance(world.check(COOKIE, **other), Deferred)


@pytest.mark.parametrize(
    "shown",
    [
        [(b"cookie", b"session=2")],
        [COOKIE, (b"authorization", b"x")],
        [COOKIE, (b"cookie", b"b")],
        [(b"authorization", b"session=1")],
    ],
)
def test_a_decision_is_for_one_set_of_credentials(world, shown):
    world.told(**OK)
    assert isinstance(world.check(*shown), Deferred)


def test_what_matters_to_nobody_is_not_asked_again(world):
    world.told(**OK)
    assert isinstance(world.check(COOKIE, (b"accept", b"*/*"), client="192.0.2.2"), Cached)


def test_who_may_ask_for_the_head_may_not_see_the_body():
    world = World(by_path=False)
    assert isinstance(world.told(method=b"HEAD", **OK), Principal)
    assert isinstance(world.check(COOKIE, method=b"GET"), Deferred)


def test_place_matters_unless_the_configuration_says_otherwise():
    world = World(by_path=False)
    world.told(**OK)
    assert isinstance(world.check(COOKIE, path=b"/x", query=b"y", host=b"z", secure=False), Cached)
    assert isinstance(world.check(COOKIE, method=b"DELETE"), Deferred)


def test_what_varies_matters():
    world = World(vary=("Accept-Language", "X-Forwarded-For"))
    world.told(COOKIE, (b"accept-language", b"de"), **OK)
    assert isinstance(world.check(COOKIE, (b"accept-language", b"de")), Cached)
    assert isinstance(world.check(COOKIE, (b"accept-language", b"en")), Deferred)
    assert isinstance(world.check(COOKIE, (b"accept-language", b"de"), client="192.0.2.2"), Deferred)


def test_nothing_is_kept_for_requests_without_credentials(world):
    one, two = world.check(), world.check()
    world.say(**OK)
    world.say(401)
    assert isinstance(one.result, Principal)
    assert one.result.subject == "ada"
    assert two.result.status == 401
    assert isinstance(world.check(), Deferred)


def test_what_varies_is_no_credential():
    world = World(vary=("Accept-Language",))
    world.told((b"accept-language", b"de"), **OK)
    assert isinstance(world.check((b"accept-language", b"de")), Deferred)


@pytest.mark.parametrize(
    ("header", "source"), [(b"no-store", None), (b"max-age=3", "revalidate"), (b"private", "fresh")]
)
def test_the_service_says_how_long_it_is_good_for(world, header, source):
    world.told(headers=OK["headers"] + b"Cache-Control: " + header + b"\r\n")
    world.time.advance(4)
    found = world.check(COOKIE)
    assert isinstance(found, Deferred) if source is None else found.source == source


def test_an_older_answer_of_a_cache_is_older(world):
    world.told(headers=OK["headers"] + b"Cache-Control: max-age=60\r\nAge: 58\r\n")
    world.time.advance(3)
    assert world.check(COOKIE).source == "revalidate"


# -- outages ----------------------------------------------------------------------------------------------------------


def test_whoever_has_a_decision_gets_by_without_the_service(world):
    found = world.told(**OK)
    world.time.advance(73)
    assert world.fails() == Cached(found, "stale", 73.0)


@pytest.mark.parametrize(
    ("stale", "method", "gets_by"),
    [("read-only", b"GET", True), ("read-only", b"POST", False), ("never", b"GET", False), ("allow", b"POST", True)],
)
def test_the_route_says_who_gets_by(stale, method, gets_by):
    world = World(stale=stale)
    world.told(method=method, **OK)
    world.time.advance(73)
    assert isinstance(world.fails(method=method), Cached if gets_by else Undecided)


@pytest.mark.parametrize("status", [401, 403])
def test_a_refusal_is_none_of_the_outages(world, status):
    world.told(**OK)
    world.time.advance(73)
    assert world.told(status=status).status == status
    world.time.advance(6)
    assert isinstance(world.fails(), Undecided)


def test_without_a_decision_an_outage_decides_nothing(world):
    assert isinstance(world.fails(), Undecided)
    assert isinstance(world.fails((b"accept", b"*/*")), Undecided)


def test_what_one_worker_was_told_all_know(tmp_path):
    shared = Shared.open(str(tmp_path))
    one, two = World(shared=shared), World(shared=shared, timeout="9s")
    found = one.told(**OK)
    shared.flush(10)
    other = two.check(COOKIE)
    assert other.principal.fields == found.fields
    two.told((b"cookie", b"bad"), status=403, body=b"no", headers=b"Content-Type: text/plain\r\n")
    shared.flush(10)
    refused = one.check((b"cookie", b"bad"))
    assert (refused.status, refused.body, refused.headers) == (403, b"no", ((b"content-type", b"text/plain"),))
    shared.close()


@pytest.mark.parametrize("allow", [True, False])
@pytest.mark.parametrize("value", [b"", b"[1]", b"nonsense"])
def test_decisions_of_another_release_are_not_there(world, allow, value):
    with pytest.raises(ValueError, match=r".*"):
        world.forward._made(Decision(allow, value))


def test_what_is_revoked_is_asked_anew_until_the_end(world):
    world.forward.start()
    world.told(**OK)
    world.time.advance(1)
    world.revocations.revoke(["subject:corp:ada"], world.time.wall())
    world.time.advance(1)
    world.told(**OK)
    assert world.forward.retire().called
    world.revocations.revoke(["subject:corp:ada"], world.time.wall())
    assert world.check(COOKIE).source == "fresh"


def test_one_that_never_began_may_end(world):
    assert world.forward.retire().called


def test_samples_are_by_name(world):
    assert {dict(each.labels)["provider"] for each in world.forward.samples()} == {"corp"}
