"""
The store of API keys that a configuration means, opened for somebody who uses it once: the command line, the admin API.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater

from suuupra_gateway.auth.keystore import IKeyStore
from suuupra_gateway.auth.keystore_redis import RedisKeyStore
from suuupra_gateway.auth.keystore_sqlite import SqliteKeyStore
from suuupra_gateway.net.redis import Redis, StoreUnavailable


def lasting(store: Any, file: str, reactor: Any) -> tuple[IKeyStore, Callable[[], Deferred[None]]]:
    """
    A store, and what ends it. It connects by itself, sooner or later.

    :param store: the `StoreSpec`; None for ``file``.
    """
    if store is not None:
        redis = Redis(store, reactor)
        redis.start()
        return RedisKeyStore(redis), redis.retire
    kept = SqliteKeyStore(file, reactor)
    return kept, kept.close


async def ready(store: IKeyStore, reactor: Any, patience: float) -> None:
    """
    Wait until a store answers.

    :raises StoreUnavailable: it does not within ``patience`` seconds.
    """
    end = reactor.seconds() + patience
    while True:
        try:
            await store.audit(1)
        except StoreUnavailable:
            if reactor.seconds() >= end:
                raise
            await deferLater(reactor, 0.05)
        else:
            return
