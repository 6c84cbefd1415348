"""
The pages of ``docs/`` that are made from the code: ``python -m tests.reference`` writes them all, and with ``--check`` tells
which are not as the code would make them now (exit status 1 if any).
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from suuupra_gateway.config.reference import reference
from suuupra_gateway.filters.base import FilterKind
from suuupra_gateway.filters.catalog import kinds
from suuupra_gateway.reference import errors_page, metrics_page
from tests.http import draw_cycle

DOCS = Path(__file__).resolve().parent.parent / "docs"


def shipped() -> dict[str, FilterKind]:
    """The kinds of filters that come with the gateway: others may be installed beside it."""
    return {name: kind for name, kind in kinds().items() if kind.spec.__module__.startswith("suuupra_gateway.filters.")}


PAGES: Mapping[str, Callable[[], str]] = {
    "configuration.rst": lambda: reference(shipped()),
    "cycle.rst": draw_cycle.page,
    "errors.rst": errors_page,
    "metrics.rst": metrics_page,
}
"""File name below ``docs/`` and who writes it."""


def stale(docs: Path) -> list[str]:
    """Names of the pages in ``docs`` that are missing or not as the code would make them now."""
    return [
        name
        for name, make in PAGES.items()
        if not (docs / name).exists() or (docs / name).read_text(encoding="utf-8") != make()
    ]


def main(arguments: list[str]) -> int:
    """Write what is stale, or only say it; the exit status."""
    found = stale(DOCS)
    if "--check" in arguments:
        for name in found:
            print(f"docs/{name} is not as the code would make it now: make reference")
        return 1 if found else 0
    for name in found:
        (DOCS / name).write_text(PAGES[name](), encoding="utf-8")
        print(f"wrote docs/{name}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
