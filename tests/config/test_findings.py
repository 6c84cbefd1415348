"""
From paths inside the tree to places in files.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from suuupra_gateway.config.decode import ConfigErrors, decode
from suuupra_gateway.config.findings import ConfigError, Finding, Mark, dotted, placed
from suuupra_gateway.config.source import Document
from tests.config.files import SOUND, read


def test_a_mark_is_what_editors_jump_to() -> None:
    assert str(Mark("a.yaml", 3, 7)) == "a.yaml:3:7"
    assert str(Mark("a.yaml")) == "a.yaml"
    assert str(Mark()) == ""


def test_an_error_is_one_line_of_what_is_known() -> None:
    assert str(ConfigError(Mark("a", 1, 2), "b.c", "wrong", "do better")) == "a:1:2: b.c: wrong, do better"
    assert str(ConfigError(Mark("a", 1, 2), "", "wrong")) == "a:1:2: wrong"
    assert str(ConfigError(Mark(), "b", "wrong")) == "b: wrong"


def test_an_error_can_be_told_to_programs() -> None:
    told = ConfigError(Mark("a", 1, 2), "b", "wrong", "do", ("b",)).as_dict()
    assert told == {"file": "a", "line": 1, "column": 2, "path": "b", "why": "wrong", "hint": "do"}


def test_a_path_shows_places_in_lists_and_the_name_of_what_is_there() -> None:
    tree = {"routes": [{"name": "users", "filters": [{"name": "inner"}, {}]}, {"name": 7}, "x"], "u": {"name": "no"}}
    assert dotted(("routes", 0, "match", "path"), tree) == "routes[0].match.path (users)"
    assert dotted(("routes", 0, "filters", 0, "name"), tree) == "routes[0].filters[0].name (users)"
    assert dotted(("routes", 1, "name"), tree) == "routes[1].name"
    assert dotted(("routes", 2), tree) == "routes[2]"
    assert dotted(("routes", 3, "x"), tree) == "routes[3].x"
    assert dotted(("u", "name"), tree) == "u.name"
    assert dotted(("u", 0)) == "u[0]"
    assert dotted(()) == ""


def test_a_finding_gets_the_place_of_what_it_is_about(tmp_path: Path) -> None:
    document = read(tmp_path, SOUND)
    error = placed(document, Finding(("routes", 0, "match"), "wrong", "do", also=("upstreams", "users")))
    assert str(error).replace(f"{tmp_path}/", "") == (
        "gateway.yaml:7:12: routes[0].match (users): wrong, do, see gateway.yaml:4:3"
    )


def test_without_places_a_finding_has_its_path_alone() -> None:
    error = placed(Document.from_tree({"a": 1}), Finding(("a",), "wrong", also=("b",)))
    assert str(error) == "a: wrong, see b"


def test_errors_come_in_the_order_of_their_places(tmp_path: Path) -> None:
    document = read(tmp_path, SOUND)
    findings = [
        Finding(("routes", 0, "auth"), "two"),
        Finding(("routes", 0, "match"), "one"),
        Finding(("listeners",), "zero"),
    ]
    assert [error.why for error in ConfigErrors.at(document, findings).errors] == ["zero", "one", "two"]


def test_what_was_wrong_before_hides_what_follows_from_it(tmp_path: Path) -> None:
    document = read(tmp_path, SOUND)
    before = placed(document, Finding(("routes", 0, "auth"), "before"))
    nowhere = ConfigError(Mark(), "", "nowhere")
    findings = [Finding(("routes", 0, "auth"), "after"), Finding(("routes", 0, "match"), "other"), Finding((), "all")]
    errors = ConfigErrors.at(document, findings, [before, nowhere, before])
    assert [error.why for error in errors.errors] == ["all", "other", "before", "nowhere"]


def test_errors_that_were_found_without_a_file_get_their_places_later(tmp_path: Path) -> None:
    """Such as those of compiling, which sees models only."""
    document = read(tmp_path, SOUND)
    decode(document, {})
    found = ConfigErrors(
        [
            ConfigError(Mark(), "routes[0].match.prefix", "bad", loc=("routes", 0, "match", "prefix")),
            ConfigError(Mark("x", 1, 1), "known", "good", loc=("routes",)),
            ConfigError(Mark(), "", "of the whole"),
        ]
    )
    assert str(found.located(document)).replace(f"{tmp_path}/", "") == (
        "gateway.yaml:7:21: routes[0].match.prefix (users): bad\nx:1:1: known: good\nof the whole"
    )


def test_errors_are_an_exception_with_all_of_them_in_its_text() -> None:
    with pytest.raises(ConfigErrors, match=r"^a: one\nb: two$"):
        raise ConfigErrors([ConfigError(Mark(), "a", "one"), ConfigError(Mark(), "b", "two")])
