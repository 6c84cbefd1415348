"""
Stores of API keys are alike: in Redis, in a file, and the one that tests use. The scenarios are in `keystore_scenarios.py`.
"""

import pytest

from tests.contract import keystore_scenarios
from tests.net.outcomes import outcomes

pytestmark = pytest.mark.needs("redis-server")


@pytest.mark.parametrize("scenario", keystore_scenarios.ALL)
def test_keystore(scenario):
    outcome = outcomes("epoll", "tests.contract.keystore_scenarios")[scenario]
    assert outcome == "ok", outcome
