"""
Listening and connecting behave alike on uvloop, on plain asyncio and on Twisted's own reactor.

The scenarios themselves are in `tests/net/scenarios.py`; each kind of reactor runs them all in one process of its own.
"""

import functools
import json
import subprocess
import sys

import pytest

from tests.net import scenarios


@functools.cache
def outcomes(kind):
    command = [sys.executable, "-m", "tests.net.drive", kind]
    run = subprocess.run(command, check=False, capture_output=True, text=True, timeout=110)
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout.splitlines()[-1])


@pytest.mark.parametrize(
    ("kind", "scenario"),
    [(kind, name) for kind in ("uvloop", "asyncio", "epoll") for name in scenarios.names(kind)],
)
def test_transport(kind, scenario):
    outcome = outcomes(kind)[scenario]
    assert outcome == "ok", outcome
