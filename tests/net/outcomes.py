"""
What came of scenarios that need a reactor: they are played in a process of their own, once for all tests that ask.
"""

import functools
import json
import subprocess
import sys


@functools.cache
def outcomes(kind, module):
    """Name of each scenario of ``module`` to "ok" or a traceback, on a reactor of ``kind``; see `tests.net.drive`."""
    command = [sys.executable, "-m", "tests.net.drive", kind, module]
    run = subprocess.run(command, check=False, capture_output=True, text=True, timeout=170)
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout.splitlines()[-1])
