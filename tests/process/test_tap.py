"""What twistd makes of its command line."""

import pytest
from twisted.python.usage import UsageError

from suuupra_gateway.tap import Options

GOOD = """
listeners: [{name: public, address: "127.0.0.1:0"}]
routes: [{name: status, match: {path: /status}, auth: none, target: {fixed: {body: ok}}}]
"""


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "gateway.yaml"
    path.write_text(GOOD)
    return path


def test_a_configuration_must_be_named():
    with pytest.raises(UsageError, match="--config FILE"):
        Options().parseOptions([])


def test_a_good_one_is_loaded(file):
    options = Options()
    options.parseOptions(["--config", str(file)])
    assert [route.name for route in options.loaded.config.routes] == ["status"]


def test_check_says_that_all_is_well_and_ends(file, capsys):
    with pytest.raises(SystemExit) as end:
        Options().parseOptions(["--config", str(file), "--check"])
    assert end.value.code == 0
    assert capsys.readouterr().out == f"{file}: 1 listeners, 1 routes, 0 upstreams: all is well\n"


def test_everything_that_is_wrong_is_said_and_the_exit_code_is_one(file):
    file.write_text(GOOD.replace("body", "boddy").replace("name: public", "name: public, colour: red"))
    with pytest.raises(SystemExit) as end:
        Options().parseOptions(["--config", str(file)])
    lines = str(end.value.code).splitlines()  # Python writes it to standard error and exits with 1
    assert len(lines) == 2
    assert lines[0].startswith(f"{file}:2:")
    assert "boddy" in lines[1]
