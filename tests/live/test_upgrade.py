"""New code under a running supervisor. The package is copied, so that a test may change it."""

import re
import shutil
import signal
from pathlib import Path

import pytest

import suuupra_gateway
from tests.live.harness import until
from tests.servers.load import Load


@pytest.fixture
def package(tmp_path):
    """A copy of the package, found before the installed one."""
    copy = tmp_path / "code"
    shutil.copytree(
        Path(suuupra_gateway.__file__).parent,
        copy / "suuupra_gateway",
        ignore=shutil.ignore_patterns("__pycache__"),
    )
    return copy


def change(path, pattern, text):
    before = path.read_text()
    after = re.sub(pattern, text, before, flags=re.MULTILINE)
    assert after != before
    path.write_text(after)


def test_a_reload_after_an_upgrade_brings_workers_with_the_new_code(gw, config, package):
    gw.write(config())
    gw.start(environ={"PYTHONPATH": str(package)})
    before = gw.pids()
    assert {worker["release"] for worker in gw.workers()} == {suuupra_gateway.__version__}
    change(package / "suuupra_gateway" / "__init__.py", r"^__version__ = .*", '__version__ = "99.0"')
    with Load("127.0.0.1", gw.port(), connections=8) as load:
        load.wait(50)
        gw.signal(signal.SIGHUP)
        gw.wait_log("SIGHUP done")
        load.wait(50)
    assert load.report.failed == 0, load.report
    assert not before & gw.pids()
    assert {worker["release"] for worker in gw.workers() if worker["state"] == "ready"} == {"99.0"}

    pids = gw.pids()
    gw.signal(signal.SIGHUP)
    gw.wait_log("SIGHUP done", 2)
    assert gw.pids() == pids, "once is enough"


def test_new_code_that_speaks_another_control_protocol_is_refused_and_the_old_goes_on(gw, config, package):
    gw.write(config())
    gw.start(environ={"PYTHONPATH": str(package)})
    before = gw.pids()
    change(package / "suuupra_gateway" / "process" / "control.py", r"^VERSION = 2$", "VERSION = 3")
    gw.signal(signal.SIGUSR2)
    gw.wait_log("SIGUSR2 refused, .*restart the service")
    assert gw.pids() == before
    assert gw.fetch("/json").status == 200


def test_new_code_that_does_not_even_start_is_refused_and_the_old_goes_on(gw, config, package):
    gw.write(config())
    gw.start(environ={"PYTHONPATH": str(package)})
    before = gw.pids()
    (package / "suuupra_gateway" / "process" / "serving.py").write_text("raise SystemExit('broken release')")
    gw.signal(signal.SIGUSR2)
    gw.wait_log("SIGUSR2 refused, .*worker 0 (ended while|closed its control)")
    assert "broken release" in gw.log
    until(lambda: gw.pids() == before and len(gw.workers()) == 2, "the failed one is gone")
    assert gw.fetch("/json").status == 200
