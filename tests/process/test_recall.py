"""What has been revoked: from stores and workers to all workers, those of now and those that come later."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred

from suuupra_gateway.auth.keystore_redis import RedisKeyStore
from suuupra_gateway.auth.keystore_sqlite import SqliteKeyStore
from suuupra_gateway.auth.revocations import EVERYTHING, MOST, TOPIC, Recent, Revocation, Revocations
from suuupra_gateway.config.model import ApiKeysSpec, IdentitySpec, StoreSpec
from suuupra_gateway.config.units import Secret
from suuupra_gateway.net.redis import StoreUnavailable
from suuupra_gateway.process import recall
from suuupra_gateway.process.board import LARGEST, Board
from suuupra_gateway.process.recall import AT_ONCE, KEPT, PATIENCE, Recall, Source
from tests.process import rig
from tests.process.test_board import Stage
from tests.process.threads import Turning

NOW = 1_800_000_000.0


def configuration(state="", store=None, keys=True):
    spec = ApiKeysSpec(peppers=(Secret("p" * 40),)) if keys else None
    return rig.configuration(IdentitySpec(api_keys=spec), state_dir=str(state), store=store)


class Host(Stage):
    """A host with a store in a file, if it is given a directory, and with workers."""

    def __init__(self, directory=None):
        super().__init__()
        self.reactor = Turning()
        self.now = NOW
        self.config = configuration(directory or "")
        self.recall = Recall(self.reactor, self.board, wall=lambda: self.now)

    def hears(self):
        """A worker; what it is told of."""
        worker = self.worker()
        heard = []
        worker.revocations = Revocations(worker.end.board)
        worker.revocations.subscribe(heard.append)
        worker.heard = heard
        return worker

    def turn(self):
        self.reactor.turn()
        self.settle()

    def over(self, deferred):
        """What comes of it."""
        found = []
        deferred.addBoth(found.append)
        self.reactor.until(lambda: self.settle() or found)
        return found[0]


@pytest.fixture
def host():
    return Host()


@pytest.fixture
def kept(tmp_path):
    """A host that keeps keys in a file."""
    made = Host(tmp_path)
    made.recall.expect(made.config)
    made.reactor.until(lambda: made.recall.live)
    yield made
    made.over(made.recall.stop())


def event(*tags, at=NOW):
    return msgspec.json.encode(Revocation(tags, at))


# -- workers ----------------------------------------------------------------------------------------------------------


def test_what_one_worker_revokes_all_hear_of(host):
    first, second = host.hears(), host.hears()
    first.revocations.revoke(["session:1"], NOW)
    host.settle()
    host.turn()
    assert second.heard == [frozenset({"session:1"})]
    assert second.revocations.revoked(["session:1"], NOW - 1)


def test_a_worker_that_comes_later_knows_what_was_revoked(host):
    host.hears()
    host.recall.heard(event("session:1", "session:2"))
    host.recall.heard(event("session:1", at=NOW + 5))
    host.turn()
    later = host.hears()
    assert later.heard == [frozenset({"session:1", "session:2"})]
    assert later.revocations.revoked(["session:1"], NOW + 5)
    assert not later.revocations.revoked(["session:2"], NOW + 1)


def test_an_older_revocation_does_not_undo_a_newer_one(host):
    host.recall.heard(event("session:1", at=NOW))
    host.recall.heard(event("session:1", at=NOW - 50))
    assert host.hears().revocations.revoked(["session:1"], NOW)


def test_doubt_about_everything_passes(host):
    worker = host.hears()
    host.recall.heard(event(EVERYTHING))
    host.turn()
    assert worker.heard == [frozenset({EVERYTHING})]
    assert host.hears().heard == [], "who comes later has nothing to doubt"


def test_what_cannot_be_read_is_told_to_nobody(host):
    worker = host.hears()
    with pytest.raises(msgspec.DecodeError):
        host.recall.heard(b"[]")
    host.turn()
    assert worker.heard == []


def test_a_flood_is_told_as_one_value(host):
    worker = host.hears()
    posts = []
    worker.end.board.watch(TOPIC, posts.append)
    before = len(posts)
    for number in range(AT_ONCE + 1):
        host.recall.heard(event(f"key:{number}"))
    host.recall.heard(event(EVERYTHING))
    host.turn()
    assert len(posts) == before + 1
    assert worker.heard == [frozenset(f"key:{number}" for number in range(AT_ONCE + 1)), frozenset({EVERYTHING})]


def test_a_flood_without_doubt_casts_none(host):
    worker = host.hears()
    for number in range(AT_ONCE + 1):
        host.recall.heard(event(f"key:{number}"))
    host.turn()
    assert len(worker.heard) == 1


def test_revocations_are_forgotten_after_a_day(host):
    host.recall.heard(event("key:old"))
    host.now += KEPT + 1
    host.recall.heard(event("key:new", at=host.now))
    assert host.hears().heard == [frozenset({"key:new"})]


def test_only_so_many_are_remembered_and_the_newest_are(host):
    for number in range(MOST + 10):
        host.recall.heard(event(f"key:{number}"))
    (known,) = host.hears().heard
    assert len(known) == MOST
    assert "key:9" not in known
    assert f"key:{MOST + 9}" in known


@given(st.lists(st.text(min_size=1, max_size=40), min_size=1, max_size=60), st.integers(300, 2000))
def test_what_is_remembered_always_fits_into_a_value(tags, largest):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(recall, "LARGEST", largest)
        board = Board()
        remembering = Recall(Turning(), board, wall=lambda: NOW)
        for tag in tags:
            remembering.heard(event(tag))
            value = board._composed(TOPIC)
            assert len(value) <= largest
            assert tag in msgspec.json.decode(value, type=Recent).tags or tag == EVERYTHING
    assert largest < LARGEST


# -- whoever revokes on this host -------------------------------------------------------------------------------------


def test_without_a_store_all_workers_of_this_host_are_told(host):
    worker = host.hears()
    result = host.over(Deferred.fromCoroutine(host.recall.revoke(["session:1"], host.config)))
    assert result is False
    assert worker.heard == [frozenset({"session:1"})]
    assert host.hears().revocations.revoked(["session:1"], NOW)


def test_however_many_tags_at_once_all_are_told(host):
    worker = host.hears()
    tags = [f"subject:idp:{number:03}{'x' * 480}" for number in range(100)]
    host.over(Deferred.fromCoroutine(host.recall.revoke(tags, host.config)))
    assert len(worker.heard) > 1
    assert frozenset().union(*worker.heard) == frozenset(tags)


def test_one_that_hangs_is_not_waited_for_long(host):
    host.hears()
    host.yard.frozen = 0
    found = []
    Deferred.fromCoroutine(host.recall.revoke(["session:1"], host.config)).addBoth(found.append)
    host.settle()
    host.reactor.turn(PATIENCE - 0.1)
    assert found == []
    host.reactor.turn(0.2)
    assert found == [False]


def test_nothing_to_revoke_is_nothing_to_tell(host):
    worker = host.hears()
    assert host.over(Deferred.fromCoroutine(host.recall.revoke([], host.config))) is False
    assert worker.heard == []


# -- a file -----------------------------------------------------------------------------------------------------------


def test_what_the_command_line_revokes_in_the_file_is_heard_of(kept, tmp_path):
    worker = kept.hears()
    elsewhere = SqliteKeyStore(str(tmp_path / "api-keys.sqlite"), kept.reactor)
    kept.over(elsewhere.revoke(["key:1"], NOW))
    kept.reactor.until(lambda: kept.settle() or worker.heard, 0.1)
    kept.over(elsewhere.close())
    assert worker.heard == [frozenset({"key:1"})]


def test_what_is_revoked_is_known_after_the_supervisor_was_started_again(kept, tmp_path):
    assert kept.over(Deferred.fromCoroutine(kept.recall.revoke(["session:1"], kept.config))) is False
    kept.over(kept.recall.stop())
    again = Host(tmp_path)
    again.now += 3600
    again.recall.expect(again.config)
    again.reactor.until(lambda: again.recall.live)
    again.turn()
    assert again.hears().revocations.revoked(["session:1"], NOW)
    again.over(again.recall.stop())


def test_it_knows_the_store_of_the_configuration_in_force_only(kept, tmp_path):
    store = kept.recall.store(kept.config)
    assert isinstance(store, SqliteKeyStore)
    assert kept.recall.store(configuration()) is None
    assert kept.recall.store(configuration(tmp_path / "other")) is None


def test_the_same_store_is_kept_over_reloads(kept):
    store = kept.recall.store(kept.config)
    kept.recall.expect(configuration(kept.config.gateway.state_dir))
    kept.recall.settle(configuration(kept.config.gateway.state_dir))
    assert kept.recall.store(kept.config) is store


def test_another_store_is_heard_before_the_old_one_is_let_go(kept, tmp_path):
    other = configuration(tmp_path / "other")
    kept.recall.expect(other)
    assert kept.recall.store(kept.config) is not None
    assert kept.recall.live is False, "not everything is heard of yet"
    kept.reactor.until(lambda: kept.recall.live)
    kept.recall.settle(other)
    assert kept.recall.store(kept.config) is None
    assert kept.recall.store(other) is not None


def test_a_store_of_a_configuration_that_was_refused_is_let_go(kept, tmp_path):
    other = configuration(tmp_path / "other")
    kept.recall.expect(other)
    kept.recall.settle(kept.config)
    assert kept.recall.store(other) is None
    assert kept.recall.live


def test_without_keys_or_without_a_place_for_them_there_is_nothing_to_hear(host, monkeypatch):
    monkeypatch.delenv("STATE_DIRECTORY", raising=False)
    for config in (configuration(), configuration("/nowhere", keys=False)):
        assert Source.of(config) is None
        host.recall.expect(config)
        assert host.recall.live is None


def test_stopping_forgets_what_was_not_told_yet(host):
    worker = host.hears()
    host.recall.heard(event("key:1"))
    assert host.over(host.recall.stop()) is None
    host.turn()
    assert worker.heard == []


# -- Redis ------------------------------------------------------------------------------------------------------------


def test_a_redis_that_is_away_keeps_nobody_on_this_host_from_knowing(host):
    config = configuration(store=StoreSpec(url="unix:/nonexistent/redis"))
    host.recall.expect(config)
    worker = host.hears()
    assert isinstance(host.recall.store(config), RedisKeyStore)
    assert host.recall.live is False
    failure = host.over(Deferred.fromCoroutine(host.recall.revoke(["session:1"], config)))
    assert failure.check(StoreUnavailable)
    assert worker.heard == [frozenset({"session:1"})]
    host.recall.stop()


def test_a_store_whose_authority_cannot_be_read_is_said_at_once(host):
    with pytest.raises((ValueError, OSError)):
        host.recall.expect(configuration(store=StoreSpec(url="rediss://localhost", ca_file="/nonexistent")))
    assert host.recall.live is None
