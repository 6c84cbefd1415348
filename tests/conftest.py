"""
What holds for all tests: how hypothesis searches, and that what takes longest begins first.
"""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

ROOT = Path(__file__).parent
LONGEST = ("test_packaging.py", "live", "contract", "fuzz")
"""Parts that take longest. When several processes share the tests, the last one to start should be short."""

# A shell lets its background jobs ignore SIGINT, and so would every process that is started here.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Tests share the machine with each other: how long an example takes says nothing about the code.
settings.register_profile("shared", deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True)
settings.load_profile("shared")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the longest first; otherwise the order stays."""

    def turn(item: pytest.Item) -> int:
        part = item.path.relative_to(ROOT).parts[0]
        return LONGEST.index(part) if part in LONGEST else len(LONGEST)

    items.sort(key=turn)
