"""The page about filters: it speaks of all of them, and what it shows works."""

import re
from pathlib import Path
from textwrap import dedent

import pytest

from suuupra_gateway.filters.base import Filter, Phase
from suuupra_gateway.filters.catalog import kinds
from suuupra_gateway.testing import Gateway

PAGE = (Path(__file__).parents[2] / "docs/filters.rst").read_text(encoding="utf-8")
EXAMPLES = [dedent(found) for found in re.findall(r"(?m)^    filters:\n(?:      .*\n)+", PAGE)]
ROUTE = """
routes:
  - name: r
    match: {path: "/{tenant}"}
    auth: none
    target: {fixed: {body: ok}}
"""


@pytest.mark.parametrize("name", kinds())
def test_every_shipped_filter_has_a_section(name):
    assert f"\n``{name}``\n{'-' * (len(name) + 4)}\n" in PAGE


@pytest.mark.parametrize("phase", Phase)
def test_every_phase_is_named(phase):
    assert f"\n``{phase.name}`` " in PAGE


@pytest.mark.parametrize("hook", ["request", "response", "reply", "transform", "done", "explain", "problems", "edits"])
def test_every_hook_is_described(hook):
    assert callable(getattr(Filter, hook))
    assert f"\n``{hook}(" in PAGE


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.split()[2].rstrip(":"))
def test_every_example_works(example):
    indented = "".join(f"    {line}\n" for line in example.splitlines())
    gateway = Gateway(ROUTE + indented)
    assert gateway.ask("GET /x", client="10.0.0.1").status == 200


def test_there_is_an_example_of_each():
    assert len(EXAMPLES) == 5
