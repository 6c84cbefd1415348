"""API keys as one worker knows them."""

from math import inf

import pytest
from msgspec.structs import replace
from twisted.internet.defer import Deferred

from suuupra_gateway.auth import apikey
from suuupra_gateway.auth.board import QuietBoard
from suuupra_gateway.auth.issuing import Issuing
from suuupra_gateway.auth.keyorder import KeyOrder
from suuupra_gateway.auth.keyring import KeyRing
from suuupra_gateway.auth.keystore import TOUCHED, USAGES, Usage
from suuupra_gateway.auth.principal import Cached, Principal, Refused, Undecided
from suuupra_gateway.auth.revocations import Revocations
from suuupra_gateway.config.model import ApiKeysSpec
from tests.auth.clock import Time
from tests.auth.keystore import MemoryKeyStore
from tests.auth.test_issuing import done

SPEC = ApiKeysSpec.model_validate({"peppers": ["p" * 32], "file": "/nowhere"})
FRESH, REVALIDATE, STALE, DENY = 30.0, 30.0, 300.0, 5.0


class Worker:
    """A ring, its store, and whoever issues keys elsewhere."""

    def __init__(self, spec=SPEC):
        self.time = Time()
        self.store = MemoryKeyStore()
        self.revocations = Revocations(QuietBoard())
        self.closed = 0
        self.ring = KeyRing(
            spec,
            self.store,
            self.revocations,
            None,
            meaning="here",
            close=self.close,
            wall=self.time.wall,
            monotonic=self.time.monotonic,
        )
        self.ring.start()
        self.issuing = Issuing(spec, self.store, wall=self.time.wall)

    def close(self):
        self.closed += 1
        return Deferred()

    def create(self, owner="ann", **fields):
        issued = done(self.issuing.create("me", KeyOrder(owner, **fields)))
        self.hear()
        return issued

    def hear(self):
        """What the store tells of revocations arrives."""
        self.revocations.revoke(self.store.revoked, self.time.wall())
        self.store.forget_revocations()
        self.time.advance(0.001)  # what is asked in the very moment of a revocation is asked again

    def check(self, text, **more):
        """What a key is worth, if nobody has to wait."""
        found = self.ring.check(text, **more)
        if not isinstance(found, tuple | Refused | Undecided):
            found = done(_awaited(found))
        return found[1] if isinstance(found, tuple) else found

    def gets(self):
        return self.store.questions.count("get")


async def _awaited(found):
    return await found


@pytest.fixture
def worker():
    return Worker()


# -- good keys --------------------------------------------------------------------------------------------------------


def test_a_good_key_says_who_is_calling_and_what_they_may(worker):
    end = worker.time.wall() + 100
    issued = worker.create(
        scopes=("a", "b"),
        roles=("r",),
        tenant="acme",
        tier="gold",
        limits={"y": "2", "x": "1"},
        name="nightly",
        notes={"sub": "eve", "plan": "pro"},
        expires_at=end,
    )

    found = worker.check(issued.key.text)

    assert isinstance(found, Principal)
    assert (found.subject, found.credential, found.key) == ("ann", "api-key", issued.key.id)
    assert (found.scopes, found.roles, found.tenant) == (frozenset("ab"), frozenset("r"), "acme")
    assert (found.tier, found.limits, found.expires) == ("gold", (("x", "1"), ("y", "2")), end)
    assert found.tags == (f"key:{issued.key.id}", "subject:api-key:ann")
    assert found.claims == {
        "sub": "ann",
        "key_id": issued.key.id,
        "key_name": "nightly",
        "environment": "live",
        "tenant": "acme",
        "scope": "a b",
        "roles": ["r"],
        "notes": {"sub": "eve", "plan": "pro"},
    }


def test_a_key_without_an_end_has_none(worker):
    found = worker.check(worker.create().key.text)
    assert isinstance(found, Principal)
    assert found.expires == inf


def test_a_key_is_looked_up_once_and_is_one_principal(worker):
    key = worker.create().key.text
    first = worker.check(key)
    worker.time.advance(10)
    second = worker.check(key)
    assert isinstance(second, Cached)
    assert second.principal is first
    assert (second.source, second.age) == ("fresh", 10)
    assert worker.gets() == 1


def test_requests_at_once_wait_for_one_look_up(worker):
    issued = worker.create()
    worker.store.slow = True
    waiting = [Deferred.fromCoroutine(_awaited(worker.ring.check(issued.key.text))) for _ in range(50)]
    assert worker.gets() == 1
    worker.store.answer()
    assert {deferred.result[1].subject for deferred in waiting} == {"ann"}


def test_an_older_pepper_still_checks(worker):
    issued = worker.create()
    newer = KeyRing(
        ApiKeysSpec.model_validate({"peppers": ["q" * 32, "p" * 32], "file": "/nowhere"}),
        worker.store,
        worker.revocations,
        None,
        meaning="here",
        wall=worker.time.wall,
    )
    newer.start()
    assert done(_awaited(newer.check(issued.key.text)))[1].subject == "ann"
    assert newer.retire() is None


# -- others -----------------------------------------------------------------------------------------------------------


def wrong_secret(key):
    start = f"sgk_live_{key.id}_{'0' * 43}".encode()
    return start + b"_" + apikey._checksum(start)


def test_what_is_no_key_is_refused_without_a_look_up(worker):
    good = worker.create().key.text
    for text in (b"", b"x", good[:-1], good + b"0", good.lower(), b"\xff" * 80):
        found = worker.check(text)
        assert found == Refused("malformed", "no API key, or mistyped")
    assert worker.check(apikey.make("test").text).reason == "wrong_environment"
    assert worker.gets() == 0


def test_the_right_id_with_another_secret_is_refused_before_and_after_the_right_one(worker):
    issued = worker.create()
    wrong = wrong_secret(issued.key)
    assert worker.check(wrong).reason == "wrong_secret"
    assert isinstance(worker.check(issued.key.text), Cached)
    assert worker.check(wrong).reason == "wrong_secret"
    assert isinstance(worker.check(issued.key.text), Cached)


def test_an_unknown_key_is_refused_and_that_is_remembered_for_a_while(worker):
    strange = apikey.make("live").text
    assert worker.check(strange).reason == "unknown_key"
    assert worker.check(strange).reason == "unknown_key"
    assert worker.gets() == 1
    worker.time.advance(DENY)
    worker.check(strange)
    assert worker.gets() == 2


def test_a_key_that_is_made_after_somebody_has_tried_its_id_is_good_at_once(worker):
    issued = done(worker.issuing.create("me", KeyOrder("ann")))
    record = worker.store.records.pop(issued.key.id)
    assert worker.check(issued.key.text).reason == "unknown_key"
    worker.store.records[issued.key.id] = record
    worker.hear()
    assert isinstance(worker.check(issued.key.text), Principal)


@pytest.mark.parametrize(
    ("fields", "reason"),
    [({"not_before": 60}, "not_yet_valid"), ({"expires_at": 60}, "expired")],
)
def test_time_passes_for_remembered_keys_too(worker, fields, reason):
    start = worker.time.wall()
    issued = worker.create(**{name: start + seconds for name, seconds in fields.items()})
    for _ in range(13):  # used all the time, so that it is always remembered
        found = worker.check(issued.key.text)
        late = worker.time.wall() >= start + 60
        good = late if reason == "not_yet_valid" else not late
        assert (isinstance(found, Principal | Cached)) == good
        assert good or found.reason == reason
        worker.time.advance(10)


def test_a_replaced_key_ends_with_its_overlap(worker):
    issued = worker.create()
    worker.check(issued.key.text)
    end = worker.time.wall() + 50
    done(worker.issuing.rotate(issued.key.id, "me", 50))
    worker.hear()
    found = worker.check(issued.key.text)
    assert isinstance(found, Principal)
    assert found.expires == end
    worker.time.advance(49)
    assert isinstance(worker.check(issued.key.text), Cached)
    worker.time.advance(1)
    assert worker.check(issued.key.text).reason == "replaced"


# -- revocation -------------------------------------------------------------------------------------------------------


def test_a_revoked_key_is_refused_as_soon_as_that_is_heard(worker):
    issued = worker.create()
    worker.check(issued.key.text)
    done(worker.issuing.revoke(issued.key.id, "me"))
    assert isinstance(worker.check(issued.key.text), Cached)  # nobody has told this worker yet
    worker.hear()
    assert worker.check(issued.key.text).reason == "revoked"


def test_a_revoked_key_is_refused_at_the_latest_when_its_record_is_no_longer_fresh(worker):
    issued = worker.create()
    worker.check(issued.key.text)
    done(worker.issuing.revoke(issued.key.id, "me"))
    worker.time.advance(FRESH)
    worker.check(issued.key.text)  # asks behind the request
    assert worker.check(issued.key.text).reason == "revoked"


def test_what_was_looked_up_before_a_revocation_is_not_believed_after_it(worker):
    issued = worker.create()
    worker.store.slow = True
    waiting = Deferred.fromCoroutine(_awaited(worker.ring.check(issued.key.text)))
    before = dict(worker.store.records)
    worker.store.slow = False
    done(worker.issuing.revoke(issued.key.id, "me"))
    after, worker.store.records = worker.store.records, before
    worker.hear()
    worker.store.slow = True
    worker.store.answer()  # an old replica, say
    worker.store.records = after
    worker.store.answer()
    assert waiting.result == Refused("revoked")


def test_who_retires_hears_nothing_and_closes_its_store(worker):
    issued = worker.create()
    worker.check(issued.key.text)
    assert worker.ring.retire() is not None
    assert worker.closed == 1
    done(worker.issuing.revoke(issued.key.id, "me"))
    worker.hear()
    assert isinstance(worker.check(issued.key.text), Cached)


def test_what_never_started_can_retire():
    worker = Worker()
    ring = KeyRing(SPEC, worker.store, worker.revocations, None, meaning="here")
    assert ring.retire() is None


# -- without the store ------------------------------------------------------------------------------------------------


def test_known_keys_go_on_without_the_store_and_others_are_undecided(worker):
    known, unknown = worker.create(), worker.create()
    worker.check(known.key.text)
    worker.store.broken = True
    worker.time.advance(FRESH + REVALIDATE + STALE - 1)
    found = worker.check(known.key.text)
    assert isinstance(found, Cached)
    assert found.source == "stale"
    undecided = worker.check(unknown.key.text)
    assert isinstance(undecided, Undecided)
    assert undecided.retry_after > 0
    worker.time.advance(1)
    assert isinstance(worker.check(known.key.text), Undecided)
    for _ in range(10):  # at once, once it is known that nobody answers
        again = worker.ring.check(unknown.key.text)
    assert isinstance(again, Undecided)


def test_a_stale_record_is_not_enough_for_whoever_says_so(worker):
    issued = worker.create()
    worker.check(issued.key.text)
    worker.store.broken = True
    worker.time.advance(FRESH + REVALIDATE)
    assert isinstance(worker.check(issued.key.text, stale_allowed=False), Undecided)
    assert isinstance(worker.check(issued.key.text), Cached)


def test_a_stale_record_still_ends_when_it_says(worker):
    issued = worker.create(expires_at=worker.time.wall() + 100)
    worker.check(issued.key.text)
    worker.store.broken = True
    worker.time.advance(100)
    assert worker.check(issued.key.text).reason == "expired"


def test_a_glance_asks_nobody(worker):
    issued = worker.create()
    assert worker.ring.glance(issued.key.text) is None
    assert worker.ring.glance(b"x").reason == "malformed"
    assert worker.ring.glance(apikey.make("test").text).reason == "wrong_environment"
    assert worker.gets() == 0


def test_metrics_tell_how_it_goes(worker):
    worker.check(worker.create().key.text)
    samples = {(sample.name, sample.labels): sample.value for sample in worker.ring.samples()}
    assert samples["suuupra_auth_asked_total", (("provider", "api-key"), ("outcome", "answered"))] == 1


# -- who uses it ------------------------------------------------------------------------------------------------------


def test_use_is_noted_now_and_again_and_not_by_whom(worker):
    record = worker.create().record
    begun = worker.time.wall()
    for _ in range(12):
        worker.ring.note(record, "192.0.2.1", b"curl")
        worker.time.advance(TOUCHED / 10)
    assert worker.store.questions.count("touch") == 2
    assert worker.store.last == {record.id: begun + TOUCHED}
    assert [(usage.client, usage.agent) for usage in worker.store.usages[record.id].values()] == [("", "")]


def test_callers_of_a_replaced_key_are_noted(worker):
    issued = worker.create()
    done(worker.issuing.rotate(issued.key.id, "me"))
    record = worker.store.records[issued.key.id]
    for client, agent in (("192.0.2.1", b"curl"), ("192.0.2.2", None), ("192.0.2.1", b"curl"), ("192.0.2.1", b"\x1b[")):
        worker.ring.note(record, client, agent)
    now = worker.time.wall()
    assert worker.store.usages[record.id] == {
        ("192.0.2.1", "curl"): Usage("192.0.2.1", "curl", now, now, 1),
        ("192.0.2.2", ""): Usage("192.0.2.2", "", now, now, 1),
        ("192.0.2.1", "?["): Usage("192.0.2.1", "?[", now, now, 1),
    }


def test_callers_are_noted_within_bounds(worker):
    issued = worker.create()
    done(worker.issuing.rotate(issued.key.id, "me"))
    record = worker.store.records[issued.key.id]
    for number in range(3 * USAGES):
        worker.ring.note(record, f"192.0.2.{number}", None)
    assert worker.store.questions.count("touch") == USAGES


def test_keys_are_remembered_as_noted_within_bounds(worker):
    record = worker.create().record
    for number in range(20_001):
        worker.ring.note(replace(record, id=str(number)), "192.0.2.1", None)
    assert len(worker.ring._noted) == 1


def test_a_store_that_is_away_is_told_later(worker):
    record = worker.create().record
    worker.store.broken = True
    for _ in range(5):
        worker.ring.note(record, "192.0.2.1", None)
    assert worker.store.questions.count("touch") == 1
    worker.store.broken = False
    worker.time.advance(TOUCHED / 30)
    worker.ring.note(record, "192.0.2.1", None)
    assert worker.store.last == {record.id: worker.time.wall()}


def test_keys_are_remembered_as_shown_within_bounds(worker):
    record, peppers, keys = worker.create().record, apikey.Peppers(SPEC.peppers), []
    for _ in range(10_001):
        key = apikey.make("live")
        pepper, kept = peppers.hash(key.text)
        worker.store.records[key.id] = replace(record, id=key.id, pepper=pepper, hash=kept)
        keys.append(key.text)
    for key in keys:
        assert isinstance(worker.check(key), Principal)
    assert len(worker.ring._shown) == 1
    for key in keys[:3]:
        assert isinstance(worker.check(key), Cached)


def test_keys_that_are_no_good_are_not_remembered_as_shown(worker):
    issued = worker.create()
    worker.check(wrong_secret(issued.key))
    worker.check(apikey.make("live").text)
    assert worker.ring._shown == {}
