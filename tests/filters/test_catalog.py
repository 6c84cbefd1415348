"""Where filters come from: the package, entry points, files."""

import sys
import tomllib
from pathlib import Path

import pytest

from suuupra_gateway.config.findings import ConfigErrors
from suuupra_gateway.config.source import Document, load
from suuupra_gateway.filters.base import FilterKind
from suuupra_gateway.filters.catalog import GROUP, PluginError, kinds, known
from tests.filters.running import exchange

ROOT = Path(__file__).parents[2]
TEAPOT = ROOT / "docs/examples/suuupra-gateway-teapot"
MAINTENANCE = ROOT / "etc/filters/maintenance.py"
SHIPPED = ["access", "body-limit", "cors", "headers", "rewrite"]


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """Make it look as if packages with these entry points were installed."""

    def install(name, points, *directories):
        site = tmp_path / "site"
        info = site / f"{name}-1.0.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(
            f"[{GROUP}]\n" + "".join(f"{point} = {value}\n" for point, value in points.items())
        )
        for directory in (site, *directories):
            monkeypatch.syspath_prepend(str(directory))

    return install


def test_shipped_filters_are_found_by_looking():
    found = kinds()
    assert sorted(set(found) & set(SHIPPED)) == SHIPPED
    assert all(isinstance(kind, FilterKind) and kind.name == name for name, kind in found.items())


def test_an_installed_package_brings_its_filter_by_entry_point(installed):
    project = tomllib.loads((TEAPOT / "pyproject.toml").read_text())["project"]
    installed(project["name"], project["entry-points"][GROUP], TEAPOT)
    kind = kinds()["teapot"]
    verdict = kind.filter(kind.spec(), None).request(exchange("GET /coffee"))
    assert (verdict.status, verdict.code) == (418, "teapot")
    assert kind.filter(kind.spec(), None).request(exchange("GET /tea")) is None


def test_a_file_brings_its_filter_by_path():
    kind = kinds([str(MAINTENANCE)])["maintenance"]
    refusing = kind.filter(kind.spec.model_validate({"retry-after": "2m"}), None)
    verdict = refusing.request(exchange())
    assert (verdict.status, dict(verdict.headers)) == (503, {b"retry-after": b"120"})
    assert refusing.request(exchange("GET /", ("X-Maintenance-Pass", "1"))) is None


def test_a_file_is_run_once_per_content(tmp_path):
    plugin = tmp_path / "mine.py"
    plugin.write_text(MAINTENANCE.read_text())
    first = kinds([str(plugin)])["maintenance"]
    assert kinds([str(plugin)])["maintenance"] is first
    plugin.write_text(MAINTENANCE.read_text().replace('"maintenance"', '"closed"'))
    assert "closed" in kinds([str(plugin)])


def test_no_compiled_files_are_left_beside_a_plugin(tmp_path):
    plugin = tmp_path / "mine.py"
    plugin.write_text(MAINTENANCE.read_text())
    kinds([str(plugin)])
    assert [path.name for path in tmp_path.iterdir()] == ["mine.py"]


def test_a_name_that_is_taken_is_refused(tmp_path):
    plugin = tmp_path / "mine.py"
    plugin.write_text(MAINTENANCE.read_text().replace('"maintenance"', '"cors"'))
    with pytest.raises(
        PluginError, match=r"mine.py: the filter name 'cors' is taken by suuupra_gateway\.filters\.cors"
    ):
        kinds([str(plugin)])


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("x = 1\n", r"mine\.py: it defines no `kind = FilterKind"),
        ("kind = 'cors'\n", r"mine\.py: it defines no `kind = FilterKind"),
        ("\n\nkind = FilterKind(\n", r"mine\.py:3: cannot be loaded: SyntaxError"),
        ("import math\n\nmath.nothing()\n", r"mine\.py:3: cannot be loaded: AttributeError"),
        ("import nowhere_to_be_found\n", r"mine\.py:1: cannot be loaded: ModuleNotFoundError"),
        ("\x00", r"mine\.py: cannot be loaded|mine\.py:1: cannot be loaded"),
    ],
)
def test_a_broken_file_is_refused_with_its_line(tmp_path, source, says):
    plugin = tmp_path / "mine.py"
    plugin.write_text(source)
    before = set(sys.modules)
    with pytest.raises(PluginError, match=says):
        kinds([str(plugin)])
    assert not {name for name in set(sys.modules) - before if "plugin" in name and "nowhere" in source}


def test_a_file_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(PluginError, match="cannot be read: No such file"):
        kinds([str(tmp_path / "mine.py")])


def test_a_file_that_is_not_python_is_refused(tmp_path):
    (tmp_path / "mine.txt").write_text("kind = None\n")
    with pytest.raises(PluginError, match=r"must end with \.py"):
        kinds([str(tmp_path / "mine.txt")])


def test_a_broken_package_is_refused_by_its_entry_point(installed):
    installed("broken", {"wrong": "nowhere_to_be_found:kind"})
    with pytest.raises(PluginError, match=r"entry point wrong \(nowhere_to_be_found:kind\): cannot be loaded"):
        kinds()


def test_an_entry_point_that_is_no_kind_is_refused(installed):
    installed("odd", {"odd": "math:pi"})
    with pytest.raises(PluginError, match="defines no"):
        kinds()


def test_paths_belong_to_the_directory_of_the_configuration(tmp_path):
    (tmp_path / "filters").mkdir()
    (tmp_path / "filters/mine.py").write_text(MAINTENANCE.read_text())
    (tmp_path / "gateway.yaml").write_text("plugins: [filters/mine.py]\n")
    assert "maintenance" in known(load(tmp_path / "gateway.yaml"))


def test_what_is_wrong_is_placed_in_the_configuration(tmp_path):
    (tmp_path / "good.py").write_text(MAINTENANCE.read_text())
    (tmp_path / "bad.py").write_text("1 / 0\n")
    config = tmp_path / "gateway.yaml"
    config.write_text("plugins:\n  - good.py\n  - bad.py\n")
    with pytest.raises(ConfigErrors) as caught:
        known(load(config))
    (error,) = caught.value.errors
    assert str(error) == (
        f"{config}:3:5: plugins[1]: {tmp_path}/bad.py:1: cannot be loaded: ZeroDivisionError: division by zero"
    )


def test_a_broken_package_is_placed_at_the_section(installed, tmp_path):
    installed("broken", {"wrong": "nowhere_to_be_found:kind"})
    with pytest.raises(ConfigErrors, match="plugins: entry point wrong"):
        known(Document.from_tree({"plugins": []}))


@pytest.mark.parametrize("written", [None, 1, "filters/mine.py", {"a": 1}, [1, {"x": 2}]])
def test_what_is_no_list_of_paths_is_left_to_others_to_refuse(written):
    assert set(SHIPPED) <= set(known(Document.from_tree({"plugins": written})))
