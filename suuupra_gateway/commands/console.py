"""
Where commands write: standard output for what was asked, standard error for what is wrong, colours on terminals only.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from suuupra_gateway.config.findings import ConfigError
    from suuupra_gateway.config.source import Document
    from suuupra_gateway.plan import Plan

BOLD, DIM, RED, YELLOW, GREEN = "1", "2", "31", "33", "32"


class Console:
    """The two streams of a command. Lives as long as it runs."""

    def __init__(self, out: TextIO, error: TextIO, *, colour: bool = True) -> None:
        """:param colour: whether terminals among the two get colours."""
        self._out = out
        self._error = error
        self._colours = {id(stream): colour and stream.isatty() for stream in (out, error)}

    @classmethod
    def of_process(cls) -> Console:
        """The process's own streams; no colours if ``NO_COLOR`` is set (no-color.org)."""
        return cls(sys.stdout, sys.stderr, colour=not os.environ.get("NO_COLOR"))

    def say(self, text: str = "") -> None:
        """A line of what was asked for."""
        self._out.write(f"{text}\n")

    def say_json(self, value: object) -> None:
        """What was asked for, for programs."""
        self.say(json.dumps(value, indent=2, ensure_ascii=False))

    def complain(self, text: str) -> None:
        """A line of what is wrong."""
        self._error.write(f"{text}\n")

    def complain_of(self, error: ConfigError, label: str = "", style: str = RED) -> None:
        """``file:line:column: path: why, hint``, as editors and compilers have it."""
        where = self._styled(str(error.where), BOLD, self._error)
        rest = str(error)[len(str(error.where)) :].removeprefix(": ")
        marked = f"{self._styled(label, style, self._error)}: {rest}" if label else rest
        self.complain(f"{where}: {marked}" if where else marked)

    def styled(self, text: str, style: str) -> str:
        """``text`` in a style of standard output, if that has any."""
        return self._styled(text, style, self._out)

    def _styled(self, text: str, style: str, stream: TextIO) -> str:
        return f"\x1b[{style}m{text}\x1b[0m" if text and self._colours[id(stream)] else text

    def say_table(self, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Columns with two spaces between; the last one is as long as it likes."""
        widths = [max(len(row[column]) for row in (header, *rows)) for column in range(len(header))]
        for row in (header, *rows):
            line = "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
            self.say(self.styled(line, BOLD) if row is header else line)


def examined(path: str, console: Console) -> tuple[Document, Plan] | None:
    """What is in the file, decoded, compiled and tested; None after complaining of what is wrong with it."""
    from suuupra_gateway.config.findings import ConfigErrors
    from suuupra_gateway.config.source import load
    from suuupra_gateway.trace import examine

    try:
        document = load(path)
        return document, examine(document)
    except ConfigErrors as errors:
        for error in errors.errors:
            console.complain_of(error)
        return None
