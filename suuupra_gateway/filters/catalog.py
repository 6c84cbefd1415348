"""
The filters that exist: shipped with the gateway, installed by other packages, or loaded from files named in ``plugins:``.

There is no registry to edit. A module that ends with ``kind = FilterKind(…)`` is found if it is in this package, if an entry
point of the group ``suuupra_gateway.filters`` names its ``kind``, or if the configuration names its file.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import pkgutil
import sys
import traceback
from collections.abc import Iterable
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType
from typing import Final

from suuupra_gateway import filters
from suuupra_gateway.config.findings import ConfigErrors, Finding, Loc
from suuupra_gateway.config.source import Document
from suuupra_gateway.filters.base import FilterKind

GROUP: Final = "suuupra_gateway.filters"
"""The entry-point group."""


class PluginError(Exception):
    """A filter that cannot be had; the text says which file or package, where in it, and what is wrong."""

    where: str
    """``file`` or ``file:line`` of the plugin, or the entry point."""

    why: str

    def __init__(self, where: str, why: str) -> None:
        super().__init__(f"{where}: {why}")
        self.where = where
        self.why = why


def kinds(plugins: Iterable[str] = ()) -> dict[str, FilterKind]:
    """
    Every filter kind by its name, in the order shipped, installed, from files.

    :param plugins: paths of Python files. They are run: a configuration that names them is trusted as code is.
    :raises PluginError: one cannot be loaded, holds no kind, or has a name that is taken.
    """
    found: dict[str, FilterKind] = {}
    origins: dict[str, str] = {}

    def add(kind: object, origin: str) -> None:
        if not isinstance(kind, FilterKind):
            raise PluginError(origin, "it defines no `kind = FilterKind(…)`")
        if kind.name in found:
            raise PluginError(origin, f"the filter name {kind.name!r} is taken by {origins[kind.name]}")
        found[kind.name] = kind
        origins[kind.name] = origin

    for module in pkgutil.iter_modules(filters.__path__):
        shipped = getattr(import_module(f"{filters.__name__}.{module.name}"), "kind", None)
        if shipped is not None:  # base and this module hold none
            add(shipped, f"{filters.__name__}.{module.name}")
    for point in sorted(entry_points(group=GROUP), key=lambda point: point.name):
        add(_installed(point), f"entry point {point.name} ({point.value})")
    for path in plugins:
        add(getattr(_loaded(Path(path)), "kind", None), path)
    return found


def known(document: Document) -> dict[str, FilterKind]:
    """
    Every filter kind that ``document`` may name: relative paths belong to its directory.

    :raises ConfigErrors: as `kinds` raises `PluginError`, with the place in the document.
    """
    written = document.tree.get("plugins")
    paths = [path for path in written if isinstance(path, str)] if isinstance(written, list | tuple) else []
    try:
        return kinds(os.path.join(document.base, path) for path in paths)
    except PluginError as error:
        place: Loc = ("plugins",)
        for index, path in enumerate(paths):
            if error.where.startswith(os.path.join(document.base, path)):
                place = ("plugins", index)
        raise ConfigErrors.at(document, [Finding(place, str(error))]) from error


def _installed(point: EntryPoint) -> object:
    try:
        return point.load()
    except Exception as error:
        raise PluginError(f"entry point {point.name} ({point.value})", _said(error)) from error


def _loaded(path: Path) -> ModuleType:
    """The module in ``path``, run once per process and content: a reload after an edit gets the new code."""
    try:
        source = path.read_bytes()
    except OSError as error:
        raise PluginError(str(path), f"cannot be read: {error.strerror}") from error
    digest = hashlib.sha256(source).hexdigest()[:16]
    name = f"suuupra_gateway_plugin_{path.stem}_{digest}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None:
        raise PluginError(str(path), "is no Python file: its name must end with .py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # pydantic looks the annotations of a model up there
    try:
        # Not by spec.loader: that would write __pycache__ beside a configuration file.
        exec(compile(source, str(path), "exec"), module.__dict__)  # noqa: S102
    except Exception as error:
        del sys.modules[name]
        raise PluginError(_place(path, error), _said(error)) from error
    return module


def _place(path: Path, error: Exception) -> str:
    """``path:line`` of the line in the plugin that failed."""
    if isinstance(error, SyntaxError) and error.filename == str(path):
        return f"{path}:{error.lineno}"
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
    return f"{path}:{lines[-1]}" if lines else str(path)


def _said(error: Exception) -> str:
    return f"cannot be loaded: {type(error).__name__}: {error.msg if isinstance(error, SyntaxError) else error}"
