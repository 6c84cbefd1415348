"""
Every way of installing gives a working ``twistd suuupra-gateway`` and a ``suuupra-gateway`` command, in a clean environment.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
LEFT_OUT = shutil.ignore_patterns(
    ".git",
    ".venv*",
    "build",
    "dist",
    "*.egg-info",
    "__pycache__",
    ".*_cache",
    ".hypothesis",
    ".coverage*",
    "dropin.cache",
)


def say(*command: str | Path, cwd: Path) -> str:
    """Run a command far from the checkout's own environment; what it printed."""
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env={
            "PATH": "/usr/local/bin:/usr/bin:/bin",
            "HOME": str(cwd),
            "LANG": "C.UTF-8",
            "PIP_CACHE_DIR": _pip_cache(),
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{command}: {done.stdout}\n{done.stderr}"
    return done.stdout


def _pip_cache() -> str:
    return subprocess.run(
        [sys.executable, "-m", "pip", "cache", "dir"], capture_output=True, text=True, check=True
    ).stdout.strip()


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A copy of the project, so that building leaves nothing in the checkout."""
    return Path(shutil.copytree(ROOT, tmp_path / "tree", ignore=LEFT_OUT))


@pytest.fixture
def venv(tmp_path: Path) -> Path:
    """An empty virtual environment."""
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "venv"], check=True)
    return tmp_path / "venv"


@pytest.mark.timeout(600)
@pytest.mark.parametrize("how", ["directory", "editable", "wheel"])
def test_installing_gives_both_commands(how: str, tree: Path, venv: Path, tmp_path: Path) -> None:
    what: list[str | Path] = ["-e", tree] if how == "editable" else [tree]
    if how == "wheel":
        say(sys.executable, "-m", "build", "--wheel", "--outdir", tmp_path / "dist", tree, cwd=tmp_path)
        what = [next((tmp_path / "dist").glob("*.whl"))]
    say(venv / "bin/python", "-m", "pip", "install", "-q", *what, cwd=tmp_path)

    assert "suuupra-gateway" in say(venv / "bin/twistd", "--help", cwd=tmp_path)
    assert "--config" in say(venv / "bin/twistd", "suuupra-gateway", "--help", cwd=tmp_path)
    assert "explain" in say(venv / "bin/suuupra-gateway", "--help", cwd=tmp_path)
    assert "is valid" in say(venv / "bin/suuupra-gateway", "check", ROOT / "etc/gateway.yaml", cwd=tmp_path)


@pytest.mark.timeout(300)
def test_wheel_holds_the_plugin_and_no_package_marker_that_would_shadow_twisted(tree: Path, tmp_path: Path) -> None:
    say(sys.executable, "-m", "build", "--wheel", "--outdir", tmp_path, tree, cwd=tmp_path)

    names = zipfile.ZipFile(next(tmp_path.glob("*.whl"))).namelist()

    assert "twisted/plugins/suuupra_gateway_plugin.py" in names
    assert not {"twisted/__init__.py", "twisted/plugins/__init__.py"} & set(names)
    assert not [name for name in names if name.startswith("tests/")]
    assert any(name.endswith("share/suuupra-gateway/systemd/suuupra-gateway.service") for name in names)
