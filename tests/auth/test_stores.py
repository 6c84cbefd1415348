"""The store of API keys that a configuration means."""

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.internet.testing import MemoryReactorClock

from suuupra_gateway.auth.keystore_redis import RedisKeyStore
from suuupra_gateway.auth.keystore_sqlite import SqliteKeyStore
from suuupra_gateway.auth.stores import lasting, ready
from suuupra_gateway.config.model import StoreSpec
from suuupra_gateway.net.redis_errors import StoreUnavailable
from tests.auth.keystore import MemoryKeyStore


def test_without_a_store_it_is_the_file(tmp_path):
    store, close = lasting(None, str(tmp_path / "keys"), Clock())
    assert isinstance(store, SqliteKeyStore)
    assert store.path == str(tmp_path / "keys")
    assert close().called


def test_with_a_store_it_is_that_and_connects_by_itself(tmp_path):
    reactor = MemoryReactorClock()
    store, close = lasting(StoreSpec(url=f"unix:{tmp_path}/redis"), str(tmp_path / "keys"), reactor)
    assert isinstance(store, RedisKeyStore)
    reactor.advance(0)
    assert [client[0] for client in reactor.unixClients] == [f"{tmp_path}/redis"]
    close()


def test_who_waits_for_a_store_goes_on_when_it_answers():
    clock, store = Clock(), MemoryKeyStore()
    store.broken = True
    waiting = Deferred.fromCoroutine(ready(store, clock, 3.0))
    clock.pump([0.05] * 10)
    assert not waiting.called
    store.broken = False
    clock.advance(0.05)
    assert waiting.called
    assert waiting.result is None


def test_who_waits_for_a_store_in_vain_is_told_why():
    clock, store = Clock(), MemoryKeyStore()
    store.broken = True
    waiting = Deferred.fromCoroutine(ready(store, clock, 3.0))
    clock.pump([0.05] * 61)
    failures = []
    waiting.addErrback(failures.append)
    assert failures[0].check(StoreUnavailable)


@pytest.mark.parametrize("patience", [0.0, 3.0])
def test_a_store_that_answers_is_not_waited_for(patience):
    assert Deferred.fromCoroutine(ready(MemoryKeyStore(), Clock(), patience)).called
