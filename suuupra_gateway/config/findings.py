"""
What is wrong with a configuration, and where: from a path inside the tree to ``file:line:column``.

A `Finding` knows only its path (``("routes", 3, "match", "path")``), so that checks which have no file at hand, such as
those of the compiled routing table, can make them; `ConfigErrors.at` gives them their places.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Protocol

import attrs

Loc = tuple[str | int, ...]
"""A path inside a configuration: keys and, from 0, places in lists."""


@attrs.frozen
class Mark:
    """A place in a file; line and column count from 1, and line 0 means that it is unknown."""

    file: str = ""
    line: int = 0
    column: int = 0

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}" if self.line else self.file


@attrs.frozen
class Finding:
    """Something that is wrong at ``loc``."""

    loc: Loc
    """Where; if its last key does not exist, its parent is shown."""

    why: str
    """What is wrong, as a sentence without capital and full stop."""

    hint: str = ""
    """What to do about it."""

    key: bool = False
    """Whether the key is wrong, not its value."""

    also: Loc = ()
    """The other place, if it takes two to be wrong."""


class Located(Protocol):
    """What knows places: `source.Document`."""

    tree: dict[str, Any]

    def locate(self, loc: Loc, *, key: bool = False) -> Mark:
        """The place of a value, or of its key; of the nearest thing around it if it does not exist."""


@attrs.frozen
class ConfigError:
    """One thing that is wrong, for people."""

    where: Mark
    """``file:line:column``; empty if the configuration came from elsewhere."""

    path: str
    """Such as ``routes[3].match.path (route users)``; empty for a file as a whole."""

    why: str
    hint: str = ""
    loc: Loc = attrs.field(default=(), eq=False)
    """What `path` was made of."""

    def __str__(self) -> str:
        text = ", ".join(filter(None, (self.why, self.hint)))
        return ": ".join(filter(None, (str(self.where), self.path, text)))

    def as_dict(self) -> dict[str, str | int]:
        """For JSON."""
        place: dict[str, str | int] = {"file": self.where.file, "line": self.where.line, "column": self.where.column}
        return {**place, "path": self.path, "why": self.why, "hint": self.hint}


class ConfigErrors(Exception):
    """A configuration cannot be used: everything that is wrong with it, in the order of files and lines."""

    errors: tuple[ConfigError, ...]

    def __init__(self, errors: Iterable[ConfigError]) -> None:
        self.errors = tuple(errors)
        super().__init__("\n".join(map(str, self.errors)))

    @classmethod
    def at(cls, document: Located, findings: Iterable[Finding], before: Iterable[ConfigError] = ()) -> ConfigErrors:
        """
        Give findings their places in ``document``.

        :param before: errors that are known already; what is found at the same place only follows from them.
        """
        errors = dict.fromkeys(before)
        taken = {error.where for error in errors if error.where.line}
        files: dict[str, int] = {}
        for finding in findings:
            error = placed(document, finding)
            if error.where not in taken:
                errors[error] = None
        for error in errors:
            files.setdefault(error.where.file, len(files))
        return cls(sorted(errors, key=lambda error: (files[error.where.file], error.where.line, error.where.column)))

    def located(self, document: Located) -> ConfigErrors:
        """The same errors with the places that ``document`` knows for them; for what was found where no file was at hand."""
        return ConfigErrors(
            attrs.evolve(error, where=document.locate(error.loc), path=dotted(error.loc, document.tree))
            if error.loc and not error.where.line
            else error
            for error in self.errors
        )


def placed(document: Located, finding: Finding) -> ConfigError:
    """One finding as an error with its place."""
    hint = finding.hint
    if finding.also:
        there = str(document.locate(finding.also, key=True)) or dotted(finding.also)
        hint = ", ".join(filter(None, (hint, f"see {there}")))
    where = document.locate(finding.loc, key=finding.key)
    return ConfigError(where, dotted(finding.loc, document.tree), finding.why, hint, finding.loc)


def dotted(loc: Loc, tree: Any = None) -> str:
    """``routes[3].match.path``, with the name of the route, or of whatever else in a list has one, where ``tree`` tells it."""
    text, name = "", ""
    for step in loc:
        text += f"[{step}]" if isinstance(step, int) else f".{step}" if text else step
        try:
            tree = tree[step]
        except (KeyError, IndexError, TypeError):
            tree = None
        if isinstance(step, int) and isinstance(tree, dict) and isinstance(tree.get("name"), str):
            name = name or tree["name"]
    return f"{text} ({name})" if name else text
