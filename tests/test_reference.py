"""
That the documentation says what the code does.
"""

from __future__ import annotations

import json
import pathlib
import re
from typing import Union, get_args, get_origin, get_type_hints

import msgspec
import pytest

from suuupra_gateway import errors, metrics, reference
from suuupra_gateway.errors import GatewayError
from suuupra_gateway.logs import Line

DOCS = pathlib.Path(__file__).parent.parent / "docs"


@pytest.mark.parametrize(
    ("page", "make"), [("errors.rst", reference.errors_page), ("metrics.rst", reference.metrics_page)]
)
def test_made_pages_are_as_the_code_would_make_them_now(page, make):
    assert (DOCS / page).read_text(encoding="utf-8") == make(), "run python -m suuupra_gateway.reference docs"


def test_the_pages_are_written_where_they_are_asked_for(tmp_path):
    reference.main(str(tmp_path))

    assert sorted(path.name for path in tmp_path.iterdir()) == ["errors.rst", "metrics.rst"]


def rows(page: str) -> list[list[str]]:
    """The cells of a page's table, without its head."""
    found = re.findall(r"^   \* - (.*)\n((?:     - .*\n)+)", (DOCS / page).read_text(encoding="utf-8"), re.MULTILINE)
    return [[first, *re.findall(r"- (.*)", rest)] for first, rest in found][1:]


def test_every_code_that_an_error_can_have_is_documented():
    def kinds(kind: type[GatewayError]):
        yield kind
        for child in kind.__subclasses__():
            yield from kinds(child)

    codes = {kind.code for kind in kinds(GatewayError) if kind.__module__ == errors.__name__} - {
        errors.UpstreamError.code
    }

    assert {row[0].strip("`") for row in rows("errors.rst")} == codes


def test_every_error_has_one_status_and_one_token_per_code():
    seen: dict[str, tuple[int, str]] = {}
    for kind in reference._kinds():
        assert seen.setdefault(kind.code, (kind.status, kind.token)) == (kind.status, kind.token)


def test_every_metric_is_documented_with_its_labels_and_unit():
    documented = {row[0].strip("`"): (re.findall(r"``(\w+)``", row[2]), row[3]) for row in rows("metrics.rst")}

    assert documented == {metric.name: (list(metric.labels), metric.unit) for metric in metrics.CATALOGUE.values()}


def test_metric_names_follow_the_rules():
    for metric in metrics.CATALOGUE.values():
        assert re.fullmatch(r"suuupra_[a-z_]+", metric.name)
        assert (metric.kind == "counter") == metrics.is_counter(metric.name)
        if metric.unit in ("seconds", "bytes"):
            assert f"_{metric.unit}" in metric.name


def kind_of(hint: object) -> str:
    """The JSON type of a field, as the page names it."""
    names = {str: "string", int: "integer", float: "number", bool: "boolean", type(None): "null"}
    if get_origin(hint) is Union or get_args(hint):
        return " or ".join(names[part] for part in get_args(hint) if part is not msgspec.UnsetType)
    return names[hint]


def test_every_field_of_the_access_log_is_documented_in_its_order_with_its_type():
    documented = [(row[0].strip("`"), row[1]) for row in rows("access-log.rst")]

    hints = get_type_hints(Line)
    assert documented == [(name, kind_of(hints[name])) for name in Line.__struct_fields__]


def test_the_example_of_the_access_log_is_a_line():
    text = (DOCS / "access-log.rst").read_text(encoding="utf-8").partition(".. code-block:: json")[2]

    line = json.loads(text)

    assert list(line) == [name for name in Line.__struct_fields__ if name not in ("query", "truncated")]
