"""The systemd units hold together; and say what the code relies on."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

UNITS = Path(__file__).parents[2] / "systemd"
SERVICE = (UNITS / "suuupra-gateway.service").read_text()


def settings(text):
    return dict(line.split("=", 1) for line in text.splitlines() if re.match(r"[A-Z]\w*=", line))


def test_a_hung_worker_is_replaced_before_the_watchdog_takes_the_whole_service():
    from suuupra_gateway.process import fleet

    assert int(settings(SERVICE)["WatchdogSec"]) > fleet.HUNG * 2


def test_systemd_waits_longer_for_the_end_than_the_gateway_drains():
    from suuupra_gateway.config.model import ProcessSpec
    from suuupra_gateway.process import fleet

    assert float(ProcessSpec().drain) + fleet.MARGIN < int(settings(SERVICE)["TimeoutStopSec"])


def test_the_units_belong_together():
    socket = (UNITS / "suuupra-gateway.socket").read_text()
    assert settings(socket)["FileDescriptorName"] == "public"
    assert settings(socket)["Service"] == "suuupra-gateway.service"
    user = settings(SERVICE)["User"]
    assert f"u {user} " in (UNITS / "sysusers.d" / "suuupra-gateway.conf").read_text()


if shutil.which("systemd-analyze"):

    @pytest.fixture
    def installed(tmp_path):
        """The units with the paths of this installation."""
        for name in ("suuupra-gateway.service", "suuupra-gateway.socket"):
            text = (UNITS / name).read_text()
            (tmp_path / name).write_text(text.replace("/opt/suuupra-gateway/bin", str(Path(sys.executable).parent)))
        return tmp_path

    def analyze(*words):
        return subprocess.run(["systemd-analyze", *map(str, words)], capture_output=True, text=True, check=False)

    def test_systemd_accepts_the_units_without_a_word(installed):
        result = analyze("verify", *sorted(installed.iterdir()))
        assert (result.returncode, result.stdout + result.stderr) == (0, "")

    def test_the_service_is_hardened(installed):
        result = analyze(
            "security", "--offline=true", "--threshold=15", "--no-pager", installed / "suuupra-gateway.service"
        )
        assert result.returncode == 0, result.stdout
