"""
What holds for all tests: how hypothesis searches, that what takes longest begins first, and that tests which drive a program
are left out where it is missing: ``pytestmark = pytest.mark.needs("redis-server")``.
"""

from __future__ import annotations

import os
import shutil
import signal
from collections import Counter
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


missing: pytest.StashKey[Counter[str]] = pytest.StashKey()


def pytest_configure(config: pytest.Config) -> None:
    """Make the marker known."""
    config.addinivalue_line("markers", "needs(*programs): left out, outside of CI, where one of these is not installed")
    config.stash[missing] = Counter()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Put the longest first; otherwise the order stays. Leave out what cannot run here; CI leaves out nothing."""

    def turn(item: pytest.Item) -> int:
        part = item.path.relative_to(ROOT).parts[0]
        return LONGEST.index(part) if part in LONGEST else len(LONGEST)

    items.sort(key=turn)
    if os.environ.get("CI"):
        return
    kept, left = [], []
    for item in items:
        lacking = [name for mark in item.iter_markers("needs") for name in mark.args if shutil.which(name) is None]
        config.stash[missing].update(lacking)
        (left if lacking else kept).append(item)
    if left:
        config.hook.pytest_deselected(items=left)
        items[:] = kept


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Say what was left out."""
    for name, count in config.stash[missing].items():
        terminalreporter.write_line(f"left out: {count} tests that need {name}, which is not installed", yellow=True)
