"""
The shape of the package, read off its syntax trees: who imports whom, what stays pure, and how long a module may be.

Imports below ``if TYPE_CHECKING`` count like all others; the few that go upward are in `FOR_TYPES`, each with its reason.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import attrs
import pytest

PACKAGE = "suuupra_gateway"
ROOT = Path(__file__).parents[1] / PACKAGE

ROWS = (
    {"errors", "config", "histogram", "assertion"},
    {"policy", "metrics", "interfaces"},
    {"tally", "net"},
    {"http"},
    {"hooks"},
    {"auth", "limits", "upstreams", "discovery"},
    {"filters", "targets"},
    {"routing"},
    {"residents", "state", "memory", "masks", "steps", "sink", "own"},
    {"identity"},
    {"plan", "logs", "events"},
    {"walk", "lint"},
    {"trace"},
    {"admin"},
    {"process"},
    {"commands", "reference", "testing", "demo"},
    {"tap", "cli", "quickstart"},
)
"""From the ground up: a part may import those of the rows below its own, and none of its own row."""

FOR_TYPES = {
    ("interfaces", "auth"): "signatures of the seams speak of principals and of how credentials turn out",
    ("interfaces", "http"): "signatures of the seams speak of heads, replies and outcomes",
    ("tally", "http"): "what is counted is told apart by types of the layer above, which need it",
}
"""Imports that go upward, and only for type checkers, with the reason."""

REACTOR = {
    "process/worker.py": "the entry of a worker: takes the one that was just installed",
    "targets/mount.py": "resources that were written for the global reactor, when none is handed down",
    "tap.py": "the entry under twistd",
    "demo.py": "a program of its own, as services behind the gateway are",
}
"""Who may import the global reactor, and why."""


@attrs.frozen
class Import:
    """One import of one of our modules, or of another package."""

    by: str
    """Path of the importing file below the package."""

    module: str
    line: int
    for_types: bool
    late: bool
    """Inside a function."""

    @property
    def ours(self) -> bool:
        return self.module.partition(".")[0] == PACKAGE

    @property
    def part(self) -> str:
        """Which part of ours it imports: the first name below the package."""
        return self.module.split(".")[1] if "." in self.module else ""


def part_of(path: str) -> str:
    return path.split("/")[0].removesuffix(".py")


@cache
def files() -> dict[str, str]:
    return {str(path.relative_to(ROOT)): path.read_text(encoding="utf-8") for path in sorted(ROOT.rglob("*.py"))}


def is_module(name: str) -> bool:
    path = ROOT.parent / name.replace(".", "/")
    return path.is_dir() or path.with_suffix(".py").is_file()


def imports_in(path: str, tree: ast.AST) -> Iterator[Import]:
    def visit(node: ast.AST, for_types: bool, late: bool) -> Iterator[Import]:
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(path, alias.name, node.lineno, for_types, late)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: imports are absolute"
            for alias in node.names:
                name = f"{node.module}.{alias.name}"
                ours = name.startswith(PACKAGE) and not is_module(name)
                yield Import(path, str(node.module) if ours else name, node.lineno, for_types, late)
        elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            for child in node.body:
                yield from visit(child, True, late)
            for child in node.orelse:
                yield from visit(child, for_types, late)
        else:
            inner = late or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
            for child in ast.iter_child_nodes(node):
                yield from visit(child, for_types, inner)

    yield from visit(tree, False, False)


@cache
def imports() -> tuple[Import, ...]:
    return tuple(each for path, source in files().items() for each in imports_in(path, ast.parse(source)))


def row_of(part: str) -> int:
    found = [number for number, row in enumerate(ROWS) if part in row]
    assert found, f"{part} has no row in {Path(__file__).name}: where does it belong?"
    return found[0]


def shown(found: list[Import]) -> list[str]:
    return [f"{each.by}:{each.line} imports {each.module}" for each in found]


def test_imports_point_down():
    wrong = [
        each
        for each in imports()
        if each.ours
        and each.part not in ("", part_of(each.by))
        and row_of(each.part) >= row_of(part_of(each.by))
        and not (each.for_types and (part_of(each.by), each.part) in FOR_TYPES)
    ]
    assert shown(wrong) == []


def test_every_part_has_a_row_and_every_exception_is_used():
    for path in files():
        if path != "__init__.py":
            row_of(part_of(path))
    used = {(part_of(each.by), each.part) for each in imports() if each.ours and each.for_types}
    assert set(FOR_TYPES) <= used


@pytest.mark.parametrize("part", ["config", "policy"])
def test_what_is_pure_knows_no_twisted(part):
    assert shown([each for each in imports() if part_of(each.by) == part and each.module.startswith("twisted")]) == []


def test_http_knows_no_files_of_configuration():
    banned = tuple(f"{PACKAGE}.config.{name}" for name in ("source", "decode", "dump", "reference", "fragment"))
    wrong = [each for each in imports() if part_of(each.by) == "http" and each.module.startswith(banned)]
    assert shown(wrong) == []


def test_only_the_root_resource_names_the_exchange():
    wrong = [
        each
        for each in imports()
        if part_of(each.by) in ("filters", "targets", "routing", "upstreams")
        and each.module.startswith(f"{PACKAGE}.http.exchange")
        and each.by != "routing/resource.py"
    ]
    assert shown(wrong) == []


def test_only_compilation_and_the_process_know_live_things_by_type():
    """Filters get them from the residents they are handed."""
    wrong = [
        each
        for each in imports()
        if part_of(each.by) == "filters" and each.part in ("upstreams", "residents", "plan", "process")
    ]
    assert shown(wrong) == []


def test_nobody_reaches_for_the_global_reactor():
    wrong = [each for each in imports() if each.module == "twisted.internet.reactor" and each.by not in REACTOR]
    assert shown(wrong) == []


def test_there_are_no_cycles():
    graph: dict[str, set[str]] = {}
    for each in imports():
        if each.ours and not each.for_types and not each.late:
            name = f"{PACKAGE}.{each.by.removesuffix('.py').replace('/', '.')}".removesuffix(".__init__")
            graph.setdefault(name, set()).update({each.module} - {name})  # a program may import itself by name
    done: set[str] = set()

    def walk(name: str, way: tuple[str, ...]) -> None:
        assert name not in way, f"cycle: {' -> '.join([*way[way.index(name) :], name])}"
        if name not in done:
            for module in graph.get(name, ()):
                walk(module, (*way, name))
            done.add(name)

    for name in list(graph):
        walk(name, ())


@pytest.mark.parametrize("path", files(), ids=str)
def test_every_module_says_what_it_is_for_and_stays_short(path):
    tree = ast.parse(files()[path])
    assert ast.get_docstring(tree)
    assert len(files()[path].splitlines()) <= 400
    if path.endswith("/__init__.py"):
        assert len(tree.body) == 1, "an __init__.py holds a docstring and nothing else"


# -- the reading itself -----------------------------------------------------------------------------------------------


def test_imports_are_read_wherever_they_stand():
    source = (
        "from typing import TYPE_CHECKING\n"
        "import suuupra_gateway.errors\n"
        "if TYPE_CHECKING:\n"
        "    from suuupra_gateway.http.message import Reply\n"
        "else:\n"
        "    from suuupra_gateway import hooks\n"
        "def f():\n"
        "    from twisted.internet import reactor\n"
    )
    found = [(each.module, each.for_types, each.late) for each in imports_in("x.py", ast.parse(source))]
    assert found == [
        ("typing.TYPE_CHECKING", False, False),
        ("suuupra_gateway.errors", False, False),
        ("suuupra_gateway.http.message", True, False),
        ("suuupra_gateway.hooks", False, False),
        ("twisted.internet.reactor", False, True),
    ]


def test_relative_imports_are_refused():
    with pytest.raises(AssertionError, match="absolute"):
        list(imports_in("x.py", ast.parse("from . import errors")))
