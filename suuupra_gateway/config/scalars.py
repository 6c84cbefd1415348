"""
What a scalar of a YAML file means: the core schema of YAML 1.2, less what surprises, and ``${VAR}``.

Only ``null``, ``~`` and nothing at all, ``true`` and ``false``, and decimal numbers are anything but text. So ``no``, ``on``,
``012``, ``0x1F``, ``1:30`` and ``2026-01-01`` are the texts that they look like.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

_CONSTANTS: dict[str, bool | None] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_FIRST = frozenset("+-.0123456789")
INTEGER = re.compile(r"[-+]?(?:0|[1-9][0-9]{0,17})")
"""What is read as an integer; longer ones would not survive every JSON decoder."""

FLOAT = re.compile(
    r"[-+]?(?:(?:(?:0|[1-9][0-9]*)\.[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?|(?:0|[1-9][0-9]*)[eE][-+]?[0-9]+)"
)
"""What is read as a number with a fraction or exponent."""

_REFERENCE = re.compile(r"\$\$\{|\$\{(?:(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?P<default>:-[^{}]*)?\})?")


def resolve(text: str) -> str | int | float | bool | None:
    """The value of a plain (unquoted) scalar."""
    try:
        return _CONSTANTS[text]
    except KeyError:
        pass
    if text[0] in _FIRST:
        if INTEGER.fullmatch(text):
            return int(text)
        if FLOAT.fullmatch(text) and math.isfinite(number := float(text)):
            return number
    return text


class CannotExpand(ValueError):
    """A ``${...}`` that has no value; ``hint`` says what to do."""

    def __init__(self, why: str, hint: str) -> None:
        super().__init__(why)
        self.hint = hint


def expand(text: str, environ: Mapping[str, str]) -> str:
    """
    Replace ``${VAR}`` and ``${VAR:-default}``, which is taken if VAR is unset or empty; ``$${`` stands for ``${``.

    The result stays a text, whatever it looks like; fields that want numbers read them from texts as well.

    :raises CannotExpand: for a variable that is not set, for one that is no UTF-8, and for what is none of the above.
    """

    def value(found: re.Match[str]) -> str:
        if found[0] == "$${":
            return "${"
        name, default = found["name"], found["default"]
        if name is None:
            raise CannotExpand("expected ${VAR} or ${VAR:-default}", "write $${ for the characters themselves")
        got = environ.get(name, "")
        if not got and default is not None:
            return default[2:]
        if name not in environ:
            raise CannotExpand(
                f"the environment variable {name} is not set",
                f"set it, or write ${{{name}:-default}}, or $${{{name}}} for the characters themselves",
            )
        if not got.isascii() and any("\ud800" <= char <= "\udfff" for char in got):
            raise CannotExpand(f"the environment variable {name} is not UTF-8", "set it to a text")
        return got

    return _REFERENCE.sub(value, text)
