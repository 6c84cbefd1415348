"""
That documents render, that their links lead somewhere, and that what they tell readers to write or to type works.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
import yaml
from docutils import nodes
from docutils.core import publish_doctree, publish_string

from suuupra_gateway import cli
from suuupra_gateway.config.source import load
from suuupra_gateway.trace import examine
from tests import reference

ROOT = Path(__file__).resolve().parent.parent
DOCUMENTS = [
    path.relative_to(ROOT)
    for part in (".", "docs", "docs/identity", "newsfragments")
    for path in sorted((ROOT / part).glob("*.rst"))
]
STRICT = {
    "report_level": 1,
    "halt_level": 1,  # any message at all is an error
    "_disable_config": True,
}
PYPI = {"raw_enabled": False, "file_insertion_enabled": False}
"""How PyPI shows README.rst."""

LITERALS = (nodes.literal, nodes.literal_block)

documents = pytest.mark.parametrize("document", DOCUMENTS, ids=str)


@cache
def tree(document: Path) -> nodes.document:
    """A document, parsed, whatever may be wrong with it."""
    text = (ROOT / document).read_text(encoding="utf-8")
    return publish_doctree(text, str(ROOT / document), settings_overrides={"report_level": 5, "_disable_config": True})


def blocks(language: str) -> Iterator[tuple[Path, str]]:
    """Every literal block that is said to be in a language, or that might be as nothing is said."""
    for document in DOCUMENTS:
        for block in tree(document).findall(nodes.literal_block):
            if language in block["classes"] or "code" not in block["classes"]:
                yield document, block.astext()


def is_configuration(text: str) -> bool:
    """Whether it is a whole one: YAML with listeners at its top."""
    try:
        found = yaml.safe_load(text)
    except yaml.YAMLError:
        return False
    return isinstance(found, dict) and "listeners" in found


CONFIGURATIONS = [pytest.param(text, id=str(document)) for document, text in blocks("yaml") if is_configuration(text)]
FILTERS = [
    pytest.param(text, id=str(document)) for document, text in blocks("python") if "\nkind = FilterKind(" in text
]


@documents
def test_each_document_renders_without_a_warning(document: Path) -> None:
    text = (ROOT / document).read_text(encoding="utf-8")
    settings = {**STRICT, **PYPI} if document.name == "README.rst" else STRICT

    assert publish_string(text, str(ROOT / document), writer="html5", settings_overrides=settings)


@documents
def test_relative_links_lead_to_files(document: Path) -> None:
    targets = [node["refuri"] for node in tree(document).findall(nodes.reference) if "refuri" in node]
    local = [target.partition("#")[0] for target in targets if not re.match(r"[a-z]+:", target)]
    assert [target for target in local if target and not (ROOT / document).parent.joinpath(target).exists()] == []


def test_the_index_lists_every_page() -> None:
    listed = {node.get("refuri") for node in tree(Path("docs/index.rst")).findall(nodes.reference)}
    assert {path.name for path in DOCUMENTS if path.parent.name == "docs"} - {"index.rst"} <= listed


@pytest.mark.parametrize("text", CONFIGURATIONS)
def test_whole_configurations_are_valid(text: str, tmp_path: Path) -> None:
    file = tmp_path / "gateway.yaml"
    file.write_text(text, encoding="utf-8")

    examine(load(str(file)))


@pytest.mark.parametrize("text", FILTERS)
def test_filters_of_a_reader_can_be_used(text: str, tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(text, encoding="utf-8")
    name = re.findall(r'\nkind = FilterKind\("(.*?)"', text)[0]
    (tmp_path / "gateway.yaml").write_text(
        f"""
plugins: [own.py]
listeners: [{{name: public, address: "127.0.0.1:8080"}}]
routes:
  - name: all
    auth: none
    filters: [{name}: {{}}]
    target: {{fixed: {{body: ok}}}}
"""
    )

    examine(load(str(tmp_path / "gateway.yaml")))


def test_the_readme_has_a_configuration_and_a_filter() -> None:
    assert "README.rst" in [param.id for param in CONFIGURATIONS]
    assert "README.rst" in [param.id for param in FILTERS]


@documents
def test_commands_that_are_named_exist(document: Path) -> None:
    text = "\n".join(node.astext() for node in tree(document).findall(lambda node: isinstance(node, LITERALS)))
    targets = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)

    assert set(re.findall(r"\bmake (?:-\w+ )*([a-z]+)", text)) <= set(targets)
    assert set(re.findall(r"(?<!twistd )(?<!-n )\bsuuupra-gateway ([a-z]+)\b", text)) <= set(cli.COMMANDS)


@pytest.mark.parametrize("page", reference.PAGES)
def test_pages_made_from_the_code_are_as_it_would_make_them_now(page: str) -> None:
    assert (reference.DOCS / page).read_text(encoding="utf-8") == reference.PAGES[page](), "run `make reference`"


def test_stale_and_missing_pages_are_found(tmp_path: Path) -> None:
    for page, make in reference.PAGES.items():
        (tmp_path / page).write_text(make(), encoding="utf-8")
    assert reference.stale(tmp_path) == []

    (tmp_path / "errors.rst").unlink()
    (tmp_path / "cycle.rst").write_text("of yesterday", encoding="utf-8")
    assert reference.stale(tmp_path) == ["cycle.rst", "errors.rst"]
