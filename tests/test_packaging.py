"""
Every way of installing gives a working ``twistd suuupra-gateway`` and a ``suuupra-gateway`` command, in a clean environment.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tarfile
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

ONLY_IN_ENVIRONMENTS = """
import os, runpy, sys

if sys.prefix == sys.base_prefix:
    sys.exit("not here")
sys.path.remove(os.path.dirname(__file__))
runpy.run_module(__spec__.name, run_name="__main__")
"""
"""A module that is missing from Python itself, but not from environments made by it."""


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
    assert "all is well" in say(venv / "bin/suuupra-gateway", "check", ROOT / "etc/gateway.yaml", cwd=tmp_path)


@pytest.mark.timeout(300)
def test_a_source_distribution_and_its_wheel_hold_what_they_must(tree: Path, tmp_path: Path) -> None:
    before = sorted(tree.rglob("*"))

    # Without --wheel or --sdist the wheel is built from the source distribution, and so shows what that lacks.
    say(sys.executable, "-m", "build", "--outdir", tmp_path / "dist", tree, cwd=tmp_path)

    assert sorted(tree.rglob("*")) == before, "building leaves nothing in the checkout"
    wheel = zipfile.ZipFile(next((tmp_path / "dist").glob("*.whl")))
    names = wheel.namelist()
    modules = {str(path.relative_to(tree)) for path in (tree / "suuupra_gateway").rglob("*.py")}
    assert {name for name in names if name.startswith("suuupra_gateway/")} == modules | {"suuupra_gateway/py.typed"}
    assert [name for name in names if name.startswith("twisted/")] == ["twisted/plugins/suuupra_gateway_plugin.py"]
    shared = {name.partition("/share/suuupra-gateway/")[2] for name in names}
    units = {str(path.relative_to(tree)) for path in (tree / "systemd").rglob("*") if path.is_file()}
    assert {"gateway.yaml", *units} <= shared
    assert not [name for name in names if name.startswith(("tests/", "tools/", "docs/"))]

    metadata = wheel.read(next(name for name in names if name.endswith(".dist-info/METADATA"))).decode()
    assert "\nRequires-Python: >=3.11\n" in metadata
    assert re.findall(r"Classifier: Programming Language :: Python :: (3\.\d+)", metadata) == ["3.11", "3.12", "3.13"]

    with tarfile.open(next((tmp_path / "dist").glob("*.tar.gz"))) as source:
        told = {name.partition("/")[2] for name in source.getnames()}
    assert {"etc/quickstart.yaml", "tests/conftest.py", "tools/venv", "docs/index.rst", "Makefile", "LICENSE"} <= told


@pytest.mark.timeout(300)
@pytest.mark.parametrize("pip", [True, False], ids=["with pip", "without pip"])
def test_an_environment_is_made_where_python_has_no_venv(pip: bool, tmp_path: Path) -> None:
    """As on a minimal Debian, for somebody who may not install packages."""
    for name in ("sh", "env", "id", "rm"):
        (tmp_path / "bin").mkdir(exist_ok=True)
        (tmp_path / "bin" / name).symlink_to(str(shutil.which(name)))
    (tmp_path / "bin/python3").symlink_to(Path(sys.base_prefix) / "bin/python3")
    for name in ("venv",) if pip else ("venv", "pip"):
        (tmp_path / "lacking").mkdir(exist_ok=True)
        (tmp_path / "lacking" / f"{name}.py").write_text(ONLY_IN_ENVIRONMENTS)

    subprocess.run(
        [ROOT / "tools/venv", tmp_path / "venv"],
        env={
            **{name: value for name, value in os.environ.items() if name.startswith(("PIP_", "SSL_", "http"))},
            "PATH": str(tmp_path / "bin"),
            "HOME": str(tmp_path),
            "PYTHONPATH": str(tmp_path / "lacking"),
        },
        check=True,
    )

    assert "pip" in say(tmp_path / "venv/bin/python", "-m", "pip", "--version", cwd=tmp_path)
