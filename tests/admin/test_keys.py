"""API keys over the admin API."""

import hashlib
import json

import pytest
from twisted.internet.address import UNIXAddress
from twisted.internet.defer import fail, succeed
from twisted.logger import globalLogPublisher

from suuupra_gateway.auth.keyorder import KeyOrder
from suuupra_gateway.net.redis_errors import StoreError, StoreUnavailable
from tests.admin.control import Browser, FakeControl
from tests.auth.test_issuing import Office, done

DAY = 86400.0


class Desk:
    """The admin site on a socket, and the keys behind it."""

    def __init__(self, **more):
        self.office = Office(**more)
        self.control = FakeControl()
        self.control.keys = self.office.issuing
        self.browser = Browser(self.control, local=UNIXAddress("/run/admin.sock"))

    def get(self, path):
        answer = self.browser.ask(path)
        assert answer.status == 200, answer.body
        return json.loads(answer.body)

    def post(self, path, body=None):
        headers = {"Content-Type": "application/json"}
        return self.browser.ask(path, method="POST", headers=headers, body=json.dumps(body).encode() if body else b"")

    def create(self, **fields):
        answer = self.post("/api/keys", {"owner": "ann", **fields})
        assert answer.status == 201, answer.body
        return json.loads(answer.body)


@pytest.fixture
def desk():
    return Desk()


@pytest.fixture
def logged():
    events = []
    globalLogPublisher.addObserver(events.append)
    yield events
    globalLogPublisher.removeObserver(events.append)


def problem(answer):
    tree = json.loads(answer.body)
    assert answer.headers["content-type"] == "application/problem+json"
    return answer.status, tree["code"], tree.get("detail")


# -- make -------------------------------------------------------------------------------------------------------------


def test_a_new_key_is_in_the_answer_and_nowhere_else(desk, logged):
    answer = desk.post("/api/keys", {"owner": "ann", "scopes": ["a"], "notes": {"ticket": "7"}})

    created = json.loads(answer.body)
    assert answer.status == 201
    assert answer.headers["location"] == f"/api/keys/{created['id']}"
    assert answer.headers["cache-control"] == "no-store"
    assert created["key"].split("_")[2] == created["id"]
    assert (created["owner"], created["scopes"], created["notes"]) == ("ann", ["a"], {"ticket": "7"})
    assert (created["state"], created["created_by"]) == ("active", "admin:socket")
    (leak,) = done(desk.office.issuing.check(created["key"].encode()))
    assert leak.real
    secret = created["key"].split("_")[3]
    for path in ("/api/keys", f"/api/keys/{created['id']}", "/api/keys/log", "/api/keys/audit"):
        assert secret not in json.dumps(desk.get(path))
    assert secret not in repr(logged)
    (event,) = [event for event in logged if event.get("action") == "create"]
    assert (event["actor"], event["id"]) == ("admin:socket", created["id"])


def test_a_key_can_be_made_for_a_while(desk):
    assert desk.create(lifetime="90d")["expires_at"] == desk.office.time.wall() + 90 * DAY
    later = desk.office.time.wall() + DAY
    assert desk.create(lifetime="1h", not_before=later)["expires_at"] == later + 3600


@pytest.mark.parametrize(
    ("order", "said"),
    [
        ({}, "owner"),
        ({"owner": ""}, "it must say whose it is"),
        ({"owner": "ann", "scope": "a"}, "unknown field"),
        ({"owner": "ann", "scopes": "a"}, "Expected `array`"),
        ({"owner": "ann", "cidrs": ["10.0.0.1/8"]}, "no address range"),
        ({"owner": "ann", "lifetime": "soon"}, "lifetime"),
        ({"owner": "ann", "lifetime": "1d", "expires_at": 4e9}, "either"),
        ({"owner": "ann", "routes": ["uesrs"]}, "there is no route 'uesrs'"),
        ({"owner": "ann", "status": "revoked"}, "unknown field"),
    ],
)
def test_what_makes_no_sense_is_refused_with_the_reason(order, said):
    desk = Desk(routes={"users"})
    status, code, detail = problem(desk.post("/api/keys", order))
    assert (status, code) == (400, "bad_request")
    assert said in detail
    assert desk.office.store.records == {}


# -- look -------------------------------------------------------------------------------------------------------------


def test_keys_are_listed_in_order_by_page_and_by_what_is_asked_for(desk):
    ids = []
    for number in range(5):
        ids.append(done(desk.office.issuing.create("me", KeyOrder(["ann", "eve"][number % 2]))).key.id)
        desk.office.time.advance(1)
    done(desk.office.issuing.revoke(ids[0], "me"))
    desk.office.store.touch(ids[1], 5.0, "", "")

    def listed(query=""):
        tree = desk.get(f"/api/keys{query}")
        return [entry["id"] for entry in tree["keys"]], tree["next"]

    assert listed() == (ids, None)
    assert listed("/") == (ids, None)
    assert listed("?owner=eve") == ([ids[1], ids[3]], None)
    assert listed("?state=revoked") == ([ids[0]], None)
    assert listed("?limit=2") == (ids[:2], ids[1])
    assert listed(f"?limit=2&after={ids[1]}") == (ids[2:4], ids[3])
    assert listed(f"?limit=2&after={ids[3]}") == (ids[4:], None)
    entries = desk.get("/api/keys")["keys"]
    assert [entry["last_used"] for entry in entries] == [0, 5, 0, 0, 0]
    assert "hash" not in entries[0]


@pytest.mark.parametrize("query", ["limit=0", "limit=x", "limit=-1", "limit=10001", "limit=" + "9" * 5000, "after=x"])
def test_a_page_that_makes_no_sense_is_refused(desk, query):
    assert problem(desk.browser.ask(f"/api/keys?{query}"))[:2] == (400, "bad_request")


def test_a_key_is_shown_with_those_who_use_it(desk):
    id = desk.create()["id"]
    desk.office.store.touch(id, 5.0, "192.0.2.1", "curl")
    shown = desk.get(f"/api/keys/{id}")
    assert (shown["owner"], shown["last_used"], shown["masked"]) == ("ann", 5, f"sgk_live_{id[:4]}…")
    assert shown["usage"] == [{"client": "192.0.2.1", "agent": "curl", "first": 5, "last": 5, "count": 1}]


@pytest.mark.parametrize(
    "path", ["/api/keys/xxxxxxxxxxxx", "/api/keys/x", "/api/keys/xxxxxxxxxxxx/y", "/api/keys/log/x"]
)
def test_what_is_not_there_is_not_found(desk, path):
    assert problem(desk.browser.ask(path))[:2] == (404, "not_routed")
    assert problem(desk.post("/api/keys/xxxxxxxxxxxx/revoke"))[:2] == (404, "not_routed")


# -- change -----------------------------------------------------------------------------------------------------------


def test_a_key_is_replaced(desk, logged):
    old = desk.create(scopes=["a"])
    answer = desk.post(f"/api/keys/{old['id']}/rotate", {"overlap": "2h"})
    new = json.loads(answer.body)
    assert (answer.status, answer.headers["location"]) == (201, f"/api/keys/{new['id']}")
    assert (new["rotated_from"], new["scopes"]) == (old["id"], ["a"])
    assert new["key"] != old["key"]
    shown = desk.get(f"/api/keys/{old['id']}")
    assert shown["rotated_to"] == new["id"]
    assert shown["overlap_until"] == desk.office.time.wall() + 7200
    assert [event["id"] for event in logged if event.get("action") == "rotate"] == [old["id"]]
    assert problem(desk.post(f"/api/keys/{old['id']}/rotate"))[:2] == (409, "conflict")


def test_an_overlap_is_a_day_unless_somebody_says_otherwise(desk):
    old = desk.create()
    desk.post(f"/api/keys/{old['id']}/rotate")
    assert desk.get(f"/api/keys/{old['id']}")["overlap_until"] == desk.office.time.wall() + DAY


@pytest.mark.parametrize("body", [{"overlap": "soon"}, {"overlap": 5}, {"overlaps": "1d"}])
def test_an_overlap_that_makes_no_sense_is_refused(desk, body):
    assert problem(desk.post(f"/api/keys/{desk.create()['id']}/rotate", body))[:2] == (400, "bad_request")
    assert problem(desk.post(f"/api/keys/{desk.create()['id']}/rotate", {"overlap": "8d"}))[:2] == (409, "conflict")


def test_a_key_is_revoked(desk, logged):
    id = desk.create()["id"]
    revoked = json.loads(desk.post(f"/api/keys/{id}/revoke", {"why": "leaked"}).body)
    assert (revoked["state"], revoked["revoked_by"], revoked["revoked_why"]) == ("revoked", "admin:socket", "leaked")
    assert f"key:{id}" in desk.office.store.revoked
    assert [event["id"] for event in logged if event.get("action") == "revoke"] == [id]
    assert desk.post(f"/api/keys/{id}/revoke").status == 200
    assert desk.browser.ask(f"/api/keys/{id}/revoke").status == 405


# -- oversee ----------------------------------------------------------------------------------------------------------


def test_what_was_done_is_told_the_latest_first(desk):
    id = desk.create()["id"]
    desk.post(f"/api/keys/{id}/revoke", {"why": "leaked"})
    entries = desk.get("/api/keys/log")["entries"]
    assert [(entry["actor"], entry["action"], entry["id"], entry["detail"]) for entry in entries] == [
        ("admin:socket", "revoke", id, "leaked"),
        ("admin:socket", "create", id, "for ann"),
    ]
    assert len(desk.get("/api/keys/log?limit=1")["entries"]) == 1


def test_keys_that_somebody_should_look_at_are_told(desk):
    id = desk.create()["id"]
    (finding,) = desk.get("/api/keys/audit")["findings"]
    assert (finding["id"], finding["owner"], finding["flaw"]) == (id, "ann", "never-ends")


def test_keys_in_a_text_are_found(desk):
    created = desk.create()
    answer = desk.post("/api/keys/check", {"text": f"KEY={created['key']}\nsgk_live_x"})
    assert json.loads(answer.body)["keys"] == [
        {
            "masked": f"sgk_live_{created['id'][:4]}…",
            "id": created["id"],
            "real": True,
            "state": "active",
            "owner": "ann",
        }
    ]
    assert created["key"] not in answer.body.decode()
    assert problem(desk.post("/api/keys/check", {}))[0] == 400


# -- when it cannot be done -------------------------------------------------------------------------------------------


def test_without_keys_in_the_configuration_there_are_none(desk):
    desk.control.keys = None
    status, code, detail = problem(desk.browser.ask("/api/keys"))
    assert (status, code) == (404, "not_routed")
    assert "identity.api-keys" in detail


def test_a_store_that_is_away_is_503_and_the_reason_stays_inside(desk):
    desk.office.store.broken = True
    for answer in (desk.browser.ask("/api/keys"), desk.post("/api/keys", {"owner": "ann"})):
        status, code, detail = problem(answer)
        assert (status, code) == (503, "store_unavailable")
        assert "broken" not in detail
        assert answer.headers["retry-after"] == "5"


# -- other things that can be revoked ---------------------------------------------------------------------------------


def test_sessions_tokens_and_subjects_are_revoked(desk, logged):
    token = "header.payload.signature"
    answer = desk.post(
        "/api/revocations",
        {"session": "s1", "provider": "idp", "subject": "ann:x", "token": token, "tags": ["sid:login:5"]},
    )
    tags = [
        "sid:login:5",
        "subject:idp:ann:x",
        "session:s1",
        f"token:{hashlib.blake2b(token.encode(), digest_size=16).hexdigest()}",
    ]
    assert json.loads(answer.body) == {"revoked": tags, "everywhere": True}
    assert desk.control.revoked == tags
    assert token not in repr(logged)
    assert any(event.get("tags") == " ".join(tags) for event in logged)


def test_a_host_without_a_store_says_that_others_are_not_told(desk):
    desk.control.told = succeed(False)
    assert json.loads(desk.post("/api/revocations", {"session": "x"}).body)["everywhere"] is False


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"tags": []},
        {"tags": ["*"]},
        {"tags": ["key:Ab3xxxxxxxxx"]},
        {"tags": ["subject:api-key:ann"]},
        {"tags": ["session:"]},
        {"tags": ["session:\n"]},
        {"tags": ["session:" + "x" * 500]},
        {"tags": [f"session:{number}" for number in range(101)]},
        {"subject": "ann"},
        {"provider": "idp"},
        {"sessions": "x"},
        {"session": 5},
    ],
)
def test_what_nothing_could_be_revoked_by_is_refused(desk, body):
    assert problem(desk.post("/api/revocations", body))[:2] == (400, "bad_request")
    assert desk.control.revoked == []


@pytest.mark.parametrize("error", [StoreUnavailable("10.0.0.1 is away"), StoreError("10.0.0.1 will not")])
def test_who_cannot_tell_others_says_so(desk, error):
    desk.control.told = fail(error)
    answer = desk.post("/api/revocations", {"session": "x"})
    assert problem(answer)[:2] == (503, "store_unavailable")
    assert "10.0.0.1" not in answer.body.decode()
