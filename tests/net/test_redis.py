"""
Redis, real, on uvloop and on Twisted's own reactor. The scenarios are in `tests/net/redis_scenarios.py`.
"""

import pytest

from tests.net import redis_scenarios
from tests.net.outcomes import outcomes

pytestmark = pytest.mark.needs("redis-server")


@pytest.mark.parametrize(
    ("kind", "scenario"), [(kind, name) for kind in ("uvloop", "epoll") for name in redis_scenarios.names(kind)]
)
def test_redis(kind, scenario):
    outcome = outcomes(kind, "tests.net.redis_scenarios")[scenario]
    assert outcome == "ok", outcome
