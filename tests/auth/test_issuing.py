"""The life of API keys."""

import pytest
from twisted.internet.defer import Deferred

from suuupra_gateway.auth import apikey
from suuupra_gateway.auth.issuing import OVERLAP, Issuing, NoSuchKey, NotPossible, asked, shown
from suuupra_gateway.auth.keyorder import BadOrder, KeyOrder
from suuupra_gateway.auth.keystore import KeyRecord
from suuupra_gateway.config.model import ApiKeysSpec, GatewayConfig
from suuupra_gateway.net.redis_errors import StoreUnavailable
from tests.auth.clock import Time
from tests.auth.keystore import MemoryKeyStore

DAY = 86400.0
SPEC = ApiKeysSpec.model_validate({"peppers": ["p" * 32], "file": "/nowhere"})


class Office:
    """Where keys are made, on one day."""

    def __init__(self, spec=SPEC, **more):
        self.time = Time()
        self.store = MemoryKeyStore()
        self.issuing = Issuing(spec, self.store, wall=self.time.wall, **more)

    def create(self, owner="ann", **fields):
        return done(self.issuing.create("me", KeyOrder(owner, **fields)))

    def record(self, id) -> KeyRecord:
        return self.store.records[id]

    def flaws(self):
        return [(finding.id, finding.flaw) for finding in done(self.issuing.audit())]


def done(work):
    """The result of something that needs not wait."""
    results = []
    Deferred.fromCoroutine(work).addBoth(results.append)
    assert results, "it waits"
    if hasattr(results[0], "raiseException"):
        results[0].raiseException()
    return results[0]


@pytest.fixture
def office():
    return Office()


# -- create -----------------------------------------------------------------------------------------------------------


def test_a_new_key_is_kept_as_a_hash_with_everything_that_was_ordered(office):
    issued = office.create(name="reports", scopes=("a",), tenant="acme", cidrs=("10.0.0.0/8",), notes={"x": "y"})

    record = office.record(issued.key.id)
    assert record == issued.record
    assert issued.key.text.decode() not in record.encode().decode()
    assert (record.owner, record.name, record.scopes, record.tenant) == ("ann", "reports", ("a",), "acme")
    assert (record.cidrs, record.notes, record.environment) == (("10.0.0.0/8",), {"x": "y"}, "live")
    assert (record.created_at, record.created_by) == (office.time.wall(), "me")
    assert apikey.Peppers(SPEC.peppers).matches(issued.key.text, record.pepper, record.hash)


def test_making_a_key_is_noted_and_told(office):
    issued = office.create()
    (entry,) = office.store.entries
    assert (entry.actor, entry.action, entry.id, entry.detail) == ("me", "create", issued.key.id, "for ann")
    # Gateways may remember that there was none of this id.
    assert f"key:{issued.key.id}" in office.store.revoked


def test_what_makes_no_sense_is_not_made():
    office = Office(routes={"users"})
    with pytest.raises(BadOrder, match="there is no route 'uesrs'"):
        office.create(routes=("uesrs",))
    assert office.store.questions == []


def test_a_key_that_could_not_be_kept_is_none(office):
    office.store.broken = True
    with pytest.raises(StoreUnavailable):
        office.create()


# -- rotate -----------------------------------------------------------------------------------------------------------


def test_a_replacement_may_do_the_same_and_lasts_as_long(office):
    old = office.create(scopes=("a",), routes=("r",), notes={"x": "y"}, expires_at=office.time.wall() + 30 * DAY)
    office.time.advance(20 * DAY)

    new = done(office.issuing.rotate(old.key.id, "you"))

    assert new.key.text != old.key.text
    assert (new.record.owner, new.record.scopes, new.record.routes) == ("ann", ("a",), ("r",))
    assert new.record.notes == {"x": "y"}
    assert new.record.rotated_from == old.key.id
    assert new.record.created_by == "you"
    assert new.record.expires_at == pytest.approx(office.time.wall() + 30 * DAY)
    ended = office.record(old.key.id)
    assert ended.rotated_to == new.key.id
    assert ended.overlap_until == office.time.wall() + OVERLAP
    assert {f"key:{old.key.id}", f"key:{new.key.id}"} <= set(office.store.revoked)


def test_both_work_until_the_overlap_is_over(office):
    old = office.create()
    new = done(office.issuing.rotate(old.key.id, "me", 3600))
    assert office.record(old.key.id).state(office.time.wall() + 3599) == "active"
    assert office.record(old.key.id).state(office.time.wall() + 3600) == "replaced"
    assert new.record.state(office.time.wall() + 1e9) == "active"


@pytest.mark.parametrize("overlap", [-1, 7 * DAY + 1, float("nan")])
def test_an_overlap_has_bounds(office, overlap):
    old = office.create()
    with pytest.raises(NotPossible, match="at most 7 days"):
        done(office.issuing.rotate(old.key.id, "me", overlap))
    assert len(office.store.records) == 1


def test_what_is_over_or_replaced_is_not_replaced(office):
    old = office.create()
    done(office.issuing.rotate(old.key.id, "me"))
    with pytest.raises(NotPossible, match="has been replaced by"):
        done(office.issuing.rotate(old.key.id, "me"))
    done(office.issuing.revoke(old.key.id, "me"))
    with pytest.raises(NotPossible, match="the key is revoked"):
        done(office.issuing.rotate(old.key.id, "me"))
    with pytest.raises(NoSuchKey):
        done(office.issuing.rotate("x" * 12, "me"))
    assert len(office.store.records) == 2


def test_who_is_overtaken_leaves_no_key_behind(office):
    old = office.create()
    office.store.slow = True
    racing = [Deferred.fromCoroutine(office.issuing.rotate(old.key.id, who)) for who in ("me", "you")]
    results = []
    for deferred in racing:
        deferred.addBoth(results.append)
    while len(results) < 2:
        office.store.answer()

    failed = [result for result in results if hasattr(result, "check")]
    assert len(failed) == 1
    assert failed[0].check(NotPossible)
    good = [record for record in office.store.records.values() if record.status == "active"]
    assert len(good) == 2  # the old one and one new one
    assert office.record(old.key.id).rotated_to in {record.id for record in good}


# -- revoke -----------------------------------------------------------------------------------------------------------


def test_a_revoked_key_is_over_at_once_and_everybody_hears_of_it(office):
    issued = office.create()
    office.store.forget_revocations()
    office.time.advance(5)

    record = done(office.issuing.revoke(issued.key.id, "you", "leaked"))

    assert office.record(issued.key.id) == record
    assert record.state(office.time.wall()) == "revoked"
    assert (record.revoked_at, record.revoked_by, record.revoked_why) == (office.time.wall(), "you", "leaked")
    assert office.store.revoked == {f"key:{issued.key.id}": office.time.wall()}
    assert office.store.entries[0].action == "revoke"


def test_revoking_twice_tells_twice_and_changes_nothing(office):
    issued = office.create()
    first = done(office.issuing.revoke(issued.key.id, "me", "leaked"))
    office.store.forget_revocations()
    office.time.advance(5)
    assert done(office.issuing.revoke(issued.key.id, "you")) == first
    assert list(office.store.revoked) == [f"key:{issued.key.id}"]


def test_a_key_that_changes_meanwhile_is_revoked_as_it_is_then(office):
    issued = office.create()
    office.store.slow = True
    revoking = Deferred.fromCoroutine(office.issuing.revoke(issued.key.id, "me"))
    results = []
    revoking.addBoth(results.append)
    office.store.answer()  # it has read the record
    office.store.slow = False
    new = done(office.issuing.rotate(issued.key.id, "you"))
    office.store.answer()

    assert results == [office.record(issued.key.id)]
    assert results[0].status == "revoked"
    assert results[0].rotated_to == new.key.id


def test_what_is_not_there_cannot_be_revoked(office):
    with pytest.raises(NoSuchKey, match="xxxxxxxxxxxx"):
        done(office.issuing.revoke("x" * 12, "me"))


# -- look -------------------------------------------------------------------------------------------------------------


def test_keys_in_a_text_are_told_from_what_only_looks_like_them(office):
    ours, revoked = office.create(), office.create("eve")
    done(office.issuing.revoke(revoked.key.id, "me"))
    strange = apikey.make("live")
    start = b"sgk_live_" + ours.key.id.encode() + b"_" + b"0" * 43
    forged = start + b"_" + apikey._checksum(start)
    elsewhere = apikey.make("test")
    text = b"\n".join([ours.key.text, ours.key.text, revoked.key.text, strange.text, forged, elsewhere.text, b"sgk_"])

    leaks = done(office.issuing.check(text))

    assert [(leak.key.text, leak.real) for leak in leaks] == [
        (ours.key.text, True),
        (revoked.key.text, True),
        (strange.text, False),
        (forged, False),
        (elsewhere.text, False),
    ]
    told = [leak.shown(office.time.wall()) for leak in leaks]
    assert [(each["state"], each["owner"]) for each in told] == [
        ("active", "ann"),
        ("revoked", "eve"),
        (None, None),
        (None, None),  # whoever has only the id learns nothing of it
        (None, None),
    ]
    assert ours.key.text.decode() not in str(told)


def test_only_callers_since_the_replacement_are_told(office):
    issued = office.create()
    office.store.touch(issued.key.id, 1.0, "", "")
    office.store.touch(issued.key.id, 2.0, "192.0.2.1", "curl")
    assert [usage.agent for usage in done(office.issuing.usage(issued.key.id))] == ["curl"]


def test_records_are_shown_without_their_hash(office):
    record = office.create(scopes=("a",)).record
    tree = shown(record, office.time.wall())
    assert record.hash not in str(tree)
    assert record.pepper not in str(tree)
    assert tree["masked"] == f"sgk_live_{record.id[:4]}…"
    assert tree["state"] == "active"
    assert tree["roles"] == ()
    assert "last_used" not in tree
    assert shown(record, 0.0, 0.0)["last_used"] == 0.0


# -- audit ------------------------------------------------------------------------------------------------------------


def test_an_audit_speaks_of_keys_that_somebody_should_look_at():
    office = Office(scopes={"a"})
    now = office.time.wall()
    fine = office.create(scopes=("a",), expires_at=now + 400 * DAY).key.id
    soon = office.create(expires_at=now + 107 * DAY).key.id
    idle = office.create(expires_at=now + 400 * DAY).key.id
    never = office.create(expires_at=now + 400 * DAY).key.id
    endless = office.create().key.id
    greedy = office.create(scopes=("a", "b"), expires_at=now + 400 * DAY).key.id
    gone = office.create().key.id
    done(office.issuing.revoke(gone, "me"))
    for id in (fine, soon, endless, greedy, gone):
        office.store.touch(id, now + 99 * DAY, "", "")
    office.store.touch(idle, now + 1 * DAY, "", "")
    office.time.advance(100 * DAY)

    assert office.flaws() == sorted(
        [
            (soon, "ends-soon"),
            (idle, "unused"),
            (never, "never-used"),
            (endless, "never-ends"),
            (greedy, "unused-scopes"),
        ]
    )


def test_an_audit_tells_who_still_uses_what_was_replaced(office):
    old = office.create(expires_at=office.time.wall() + 400 * DAY)
    done(office.issuing.rotate(old.key.id, "me"))
    assert office.flaws() == [(old.key.id, "ends-soon")]

    office.store.touch(old.key.id, office.time.wall(), "192.0.2.1", "curl")

    (finding,) = done(office.issuing.audit())
    assert (finding.id, finding.owner, finding.flaw) == (old.key.id, "ann", "replaced-in-use")
    assert "ends in 24 hours" in finding.why
    office.time.advance(DAY - 600)
    assert "ends in 10 minutes" in done(office.issuing.audit())[0].why


def test_an_audit_tells_of_peppers(office):
    office.create(expires_at=office.time.wall() + 400 * DAY)
    newer = ApiKeysSpec.model_validate({"peppers": ["q" * 32, "p" * 32]})
    other = ApiKeysSpec.model_validate({"peppers": ["q" * 32]})
    for spec, flaw in ((newer, "old-pepper"), (other, "pepper-gone")):
        (finding,) = done(Issuing(spec, office.store, wall=office.time.wall).audit())
        assert finding.flaw == flaw


def test_scopes_are_those_that_any_route_asks_for():
    config = GatewayConfig.model_validate(
        {
            "listeners": ({"name": "public", "address": "127.0.0.1:0"},),
            "routes": (
                {"name": "open", "match": {"path": "/"}, "auth": "none", "target": {"fixed": {}}},
                {
                    "name": "keyed",
                    "match": {"path": "/k"},
                    "auth": {"any": ({"api_key": {}},), "scopes": {"any": ("a",), "all": ("b",)}},
                    "target": {"fixed": {}},
                },
            ),
        }
    )
    assert asked(config) == {"a", "b"}
    assert Issuing.of(config, MemoryKeyStore()) is None
    keyed = config.model_copy(update={"identity": config.identity.model_copy(update={"api_keys": SPEC})})
    issuing = Issuing.of(keyed, MemoryKeyStore())
    assert issuing is not None
    with pytest.raises(BadOrder, match="there is no route 'x'"):
        done(issuing.create("me", KeyOrder("ann", routes=("open", "x"))))
