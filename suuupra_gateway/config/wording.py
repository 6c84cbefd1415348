"""
What pydantic found, in words for the person who wrote the file.

Values that came from the environment are shown as they are written, secrets never.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, get_args

from pydantic_core import ErrorDetails

from suuupra_gateway.config.findings import Finding, Loc
from suuupra_gateway.config.source import Document
from suuupra_gateway.config.spec import PATTERNS, Named, Spec
from suuupra_gateway.config.units import reference

_TEXT = "a text"
_MAPPING = "a mapping (key: value)"
_LIST = "a list"


def _entries(count: int) -> str:
    return f"{count} entr{'y' if count == 1 else 'ies'}"


_EXPECTED: dict[str, str | Callable[[Mapping[str, Any]], str]] = {
    "expected": lambda told: told["expected"],
    "literal_error": lambda told: told["expected"],
    "string_pattern_mismatch": lambda told: PATTERNS.get(told["pattern"], f"a text that matches {told['pattern']}"),
    "string_type": _TEXT,
    "string_too_short": lambda told: f"at least {told['min_length']} characters",
    "string_too_long": lambda told: f"at most {told['max_length']} characters",
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "int_parsing_size": "a smaller number",
    "float_type": "a number",
    "float_parsing": "a number",
    "finite_number": "a finite number",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "greater_than": lambda told: f"more than {told['gt']}",
    "greater_than_equal": lambda told: f"at least {told['ge']}",
    "less_than": lambda told: f"less than {told['lt']}",
    "less_than_equal": lambda told: f"at most {told['le']}",
    "bytes_type": _TEXT,
    "dict_type": _MAPPING,
    "mapping_type": _MAPPING,
    "model_type": _MAPPING,
    "model_attributes_type": _MAPPING,
    "list_type": _LIST,
    "tuple_type": _LIST,
    "set_type": _LIST,
    "too_short": lambda told: f"at least {_entries(told['min_length'])}",
    "too_long": lambda told: f"at most {_entries(told['max_length'])}",
}
"""By pydantic's type of error: what goes behind "expected"."""

_COUNTED = ("too_short", "too_long", "string_too_short", "string_too_long")

_SHAPES = frozenset(
    kind for kind, words in _EXPECTED.items() if kind.endswith(("_type", "_parsing")) or words in (_MAPPING, _LIST)
) | {"literal_error"}
"""Errors of those members of a union to which a value is of the wrong shape, such as a mapping to a text."""


def findings(errors: list[ErrorDetails], model: type[Spec], prefix: Loc, document: Document) -> Iterator[Finding]:
    """
    All that is wrong with the value at ``prefix``, which was to become a ``model``.

    The members of a union complain one by one; here they make one finding.
    """
    groups: dict[tuple[Loc, bool], list[ErrorDetails]] = {}
    for one in errors:
        loc, key = _real(prefix, one["loc"], one["type"], document.tree)
        groups.setdefault((loc, key), []).append(one)
    for (loc, key), group in groups.items():
        beneath = any(len(other) > len(loc) and other[: len(loc)] == loc for other, _ in groups)
        if isinstance(group[0]["input"], (dict, list)):
            # A member of the right shape tells exactly what is wrong; that the others are of another shape is beside the point.
            exact = [one for one in group if one["type"] not in _SHAPES]
            if beneath and not exact:
                continue
            group = exact or group
        if group[0]["type"] in _COUNTED and beneath:
            continue  # what is wrong in a list is not counted, so it may seem too short
        kinds = {one["type"] for one in group}
        if kinds == {"missing"}:
            yield Finding(loc[:-1], f"{loc[-1]} is missing" if isinstance(loc[-1], str) else "expected one more value")
        elif kinds == {"extra_forbidden"}:
            known = keys(model, loc[len(prefix) : -1])
            yield Finding(loc, "unknown key", similar(str(loc[-1]), known) or among(known), key=True)
        else:
            yield Finding(loc, *_sentence(group, loc, document), key=key)


def _real(prefix: Loc, loc: Loc, kind: str, tree: Any) -> tuple[Loc, bool]:
    """
    The part of pydantic's path that is a path in the file, and whether a key is meant.

    Pydantic puts members of unions and names of validators in between.
    """
    for step in prefix:
        tree = tree[step]
    real = list(prefix)
    last = len(loc) - 1
    for index, step in enumerate(loc):
        if step == "[key]":
            return tuple(real), True
        if isinstance(tree, dict) and step in tree:
            tree = tree[step]
            real.append(step)
        elif isinstance(tree, list) and isinstance(step, int):
            tree = tree[step] if step < len(tree) else None
            real.append(step)
        elif index == last and kind == "missing":
            real.append(step)
    return tuple(real), False


def _sentence(errors: list[ErrorDetails], loc: Loc, document: Document) -> tuple[str, str]:
    """What is wrong and what to do, where neither a key is missing nor one is unknown."""
    value = errors[-1]["input"]
    expected: list[str] = []
    for one in errors:
        kind, told = one["type"], one.get("ctx", {})
        if kind == "unread":
            return document.unread.get(str(reference(value)), one["msg"]), ""
        words = _EXPECTED.get(kind)
        if words is None:
            return _plain(one), ""
        expected.append(words if isinstance(words, str) else words(told))
    text = f"expected {' or '.join(dict.fromkeys(expected))}"
    if any(one["type"] in _COUNTED for one in errors):
        return text, ""
    if isinstance(value, (dict, list)) and errors[-1]["type"] == "expected":
        return text, ""
    written = document.written(loc)
    got = show(value) if written is None else f"what {written} stands for"
    hint = ""
    if _TEXT in expected and isinstance(value, (int, float)):
        hint = "put it in quotes"
    elif expected == [_LIST] and isinstance(value, (str, int, float)):
        hint = "put it in brackets"
    elif isinstance(value, str) and written is None:
        literals = (one["ctx"]["expected"] for one in errors if one["type"] == "literal_error")
        choices = [choice for words in literals for choice in re.findall(r"'([^']+)'", words)]
        hint = similar(value, choices)
    return f"{text}, not {got}", hint


def _plain(error: ErrorDetails) -> str:
    """The message of a validator that raised ValueError, or pydantic's own as the last resort."""
    text = error["msg"].partition("\n")[0]
    for prefix in ("Value error, ", "Assertion failed, "):
        text = text.removeprefix(prefix)
    return text[:1].lower() + text[1:] if text[1:2].islower() else text


def show(value: object) -> str:
    """A value in a message: short, in one line, and nothing of what is inside it."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return str(value) if abs(value) < 10**40 else "a very long number"
    if isinstance(value, str):
        return repr(value if len(value) <= 60 else f"{value[:57]}...")
    return "a mapping" if isinstance(value, dict) else "a list"


def similar(word: str, known: Iterable[str]) -> str:
    """``did you mean ...``, if anything known is close to ``word``; else nothing."""
    known = list(known)
    found = difflib.get_close_matches(word.lower().replace("_", "-"), known, n=1, cutoff=0.6)
    found = found or difflib.get_close_matches(word, known, n=1, cutoff=0.6)
    return f"did you mean {found[0]}?" if found else ""


def among(known: Iterable[str], what: str = "known here") -> str:
    """All that is known, if that is not too much to read."""
    known = list(known)
    return f"{what}: {', '.join(known)}" if 0 < len(known) <= 16 else ""


def keys(model: type[Spec], loc: Loc) -> list[str]:
    """The keys that a mapping at ``loc`` inside a ``model`` may have."""
    models = [model]
    for step in loc:
        fields = [
            field
            for one in models
            for field in one.model_fields.values()
            if isinstance(step, str) and field.alias == step
        ]
        if fields:
            models = [spec for field in fields for spec in specs(field.annotation, field.metadata)]
    return [str(field.alias) for one in models for field in one.model_fields.values()]


def specs(annotation: Any, metadata: Iterable[Any] = ()) -> list[type[Spec]]:
    """The specs that an annotation speaks of, such as ``B`` in ``tuple[B, ...] | None``."""
    named = [mark.spec for mark in metadata if isinstance(mark, Named)]
    if named:
        return named
    if isinstance(annotation, type) and issubclass(annotation, Spec):
        return [annotation]
    return [spec for argument in get_args(annotation) for spec in specs(argument)]
