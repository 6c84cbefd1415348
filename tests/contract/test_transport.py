"""
Listening and connecting behave alike on uvloop, on plain asyncio and on Twisted's own reactor.

The scenarios themselves are in `tests/net/scenarios.py`; each kind of reactor runs them all in one process of its own.
"""

import pytest

from tests.net import scenarios
from tests.net.outcomes import outcomes


@pytest.mark.parametrize(
    ("kind", "scenario"),
    [(kind, name) for kind in ("uvloop", "asyncio", "epoll") for name in scenarios.names(kind)],
)
def test_transport(kind, scenario):
    outcome = outcomes(kind, "tests.net.scenarios")[scenario]
    assert outcome == "ok", outcome
