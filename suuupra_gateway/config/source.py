"""
From configuration files to one tree that depends on nothing any more: includes, ``${VAR}`` and secrets are in it.

The supervisor loads, workers get ``Document.tree`` as JSON and make a `Document` of it with `Document.from_tree`. Under the
key `SOURCE` the tree carries what `decode` needs beside what was written: the directory for relative paths and the texts of
referenced secrets. So the tree is as secret as they are.
"""

from __future__ import annotations

import glob
import hashlib
import json
import os
import stat
from collections.abc import Mapping
from typing import Any, Self

from suuupra_gateway.config.findings import ConfigError, ConfigErrors, Loc, Mark
from suuupra_gateway.config.fragment import Fragment, Places, Unreadable, mark_of
from suuupra_gateway.config.units import reference

SOURCE = "$source"
"""The key of the tree that no file may set: ``base``, a directory, and ``secrets``, texts by `units.reference`."""

LONGEST_FILE = 16 * 1024 * 1024
LONGEST_SECRET = 64 * 1024
"""Bytes."""


class Document:
    """A configuration as plain values, and where each came from. Immutable by agreement."""

    __slots__ = ("tree", "files", "errors", "unread", "_digest", "_marks")

    tree: dict[str, Any]
    """What was written, after includes and variables; secrets are still references into ``tree[SOURCE]``."""

    files: tuple[str, ...]
    """All files that were read, as absolute paths; empty if the tree came as JSON. A change of any calls for a reload."""

    errors: tuple[ConfigError, ...]
    """What is wrong with the files but does not keep the rest from being checked; `decode` raises them with its own."""

    unread: Mapping[str, str]
    """By `units.reference`: why a secret could not be read. No error unless a secret is asked for at that place."""

    def __init__(
        self,
        tree: dict[str, Any],
        files: tuple[str, ...] = (),
        errors: tuple[ConfigError, ...] = (),
        unread: Mapping[str, str] | None = None,
        marks: Mapping[int, Places] | None = None,
    ) -> None:
        self.tree = tree
        self.files = files
        self.errors = errors
        self.unread = unread or {}
        self._marks = marks or {}
        self._digest = ""

    @classmethod
    def from_tree(cls, tree: dict[str, Any]) -> Self:
        """What a worker got as JSON. Nothing has a place in it."""
        return cls(tree)

    @property
    def digest(self) -> str:
        """64 bits in hex that tell configurations apart: by what is written and by the secrets, not by where it lies."""
        if not self._digest:
            whole = {**self.tree, SOURCE: self.secrets}
            text = json.dumps(whole, separators=(",", ":"))
            self._digest = hashlib.sha256(text.encode()).hexdigest()[:16]
        return self._digest

    @property
    def base(self) -> str:
        """The directory to which relative paths belong: that of the main file."""
        return str(self.tree.get(SOURCE, {}).get("base", ""))

    @property
    def secrets(self) -> dict[str, str]:
        """The texts of referenced secrets."""
        found: dict[str, str] = self.tree.get(SOURCE, {}).get("secrets", {})
        return found

    def locate(self, loc: Loc, *, key: bool = False) -> Mark:
        """
        The place of the value at ``loc``, or with ``key`` of its key; of the nearest thing around it if there is none.

        Without any place the mark names nothing.
        """
        node: Any = self.tree
        places = self._marks.get(id(node))
        best = places.mark if places is not None else None
        for step in loc:
            if places is None or step not in places.values:
                break
            best = places.values[step]
            if key and step in places.keys:
                best = places.keys[step]
            node = node[step]
            places = self._marks.get(id(node)) if isinstance(node, (dict, list)) else None
        return Mark() if best is None else mark_of(best)

    def written(self, loc: Loc) -> str | None:
        """The text at ``loc`` as it is in the file if the environment had a part in its value; else None."""
        node: Any = self.tree
        for step in loc[:-1]:
            try:
                node = node[step]
            except (KeyError, IndexError, TypeError):
                return None
        places = self._marks.get(id(node))
        return places.raw.get(loc[-1]) if places is not None and loc else None


def load(path: str | os.PathLike[str], *, environ: Mapping[str, str] | None = None) -> Document:
    """
    Read a configuration file and all that it includes.

    Everything that depends on this moment and this machine is settled here: ``${VAR}`` is taken from ``environ`` (by default
    the process's), includes are found, secrets read.

    :raises ConfigErrors: if files cannot be read or are no YAML; lesser errors are kept in `Document.errors` for `decode`.
    """
    return _Load(os.environ if environ is None else environ).document(os.fspath(path))


class _Load:
    """The state of one `load`."""

    __slots__ = ("environ", "base", "tree", "top", "marks", "files", "errors", "broken", "unread", "secrets")

    def __init__(self, environ: Mapping[str, str]) -> None:
        self.environ = environ
        self.base = ""
        self.tree: dict[str, Any] = {}
        self.top: Places | None = None
        self.marks: dict[int, Places] = {}
        self.files: dict[str, str] = {}
        """Real path to the name in messages."""

        self.errors: list[ConfigError] = []
        self.broken = False
        self.unread: dict[str, str] = {}
        self.secrets: dict[str, str] = {}

    def document(self, path: str) -> Document:
        self.base = os.path.dirname(os.path.abspath(path))
        self._file(path, Mark(path))
        if self.broken:
            raise ConfigErrors(self.errors)
        plugins = self.tree.get("plugins")
        if isinstance(plugins, list):  # needed before anything is decoded: they bring the kinds of filters
            self._replace("plugins", [os.path.join(self.base, p) if isinstance(p, str) else p for p in plugins])
        self.tree[SOURCE] = {"base": self.base, "secrets": self.secrets}
        return Document(
            self.tree, tuple(map(os.path.abspath, self.files.values())), tuple(self.errors), self.unread, self.marks
        )

    # -- files --------------------------------------------------------------------------------------------------------

    def _file(self, path: str, asked: Mark) -> None:
        """Read one file and what it includes. ``asked`` is the place that names it."""
        try:
            content = _content(path, LONGEST_FILE, regular=bool(asked.line))
            self.files[os.path.realpath(path)] = path
            fragment = Fragment(content, path, self.environ)
        except OSError as reason:
            self._broken(ConfigError(asked, "", f"cannot read {path}: {reason.strerror or reason}"))
            return
        except Unreadable as reason:
            self._broken(reason.error)
            return
        self.errors += fragment.errors
        if fragment.tree is None:
            return
        places = fragment.marks.get(id(fragment.tree))
        if not isinstance(fragment.tree, dict) or places is None:
            self._broken(ConfigError(Mark(path, 1, 1), "", "expected sections such as listeners, upstreams and routes"))
            return
        self.marks.update(fragment.marks)
        for one in fragment.mappings:
            self._secret(one.container)
        self._join(fragment.tree, places)
        if (included := fragment.tree.get("include")) is not None:
            self._include(included, path, places)

    def _broken(self, error: ConfigError) -> None:
        self.errors.append(error)
        self.broken = True

    def _include(self, value: Any, path: str, places: Places) -> None:
        listed = value if isinstance(value, list) else [value]
        marks = self.marks[id(value)].values if isinstance(value, list) else {0: places.values["include"]}
        for index, pattern in enumerate(listed):
            asked = mark_of(marks[index])
            if not isinstance(pattern, str) or not pattern:
                self.errors.append(ConfigError(asked, "include", "expected the name of a file, or a pattern"))
                continue
            whole = os.path.join(glob.escape(os.path.dirname(path)), pattern)
            if glob.has_magic(pattern):
                for found in sorted(glob.glob(whole, recursive=True)):
                    if os.path.realpath(found) not in self.files:
                        self._file(found, asked)
                continue
            name = os.path.join(os.path.dirname(path), pattern)
            if os.path.realpath(name) in self.files:
                self.errors.append(ConfigError(asked, "include", f"{name} is included already"))
            else:
                self._file(name, asked)

    # -- joining ------------------------------------------------------------------------------------------------------

    def _join(self, tree: dict[str, Any], places: Places) -> None:
        """Add the sections of a file: lists behind those that are there, mappings beside them."""
        if self.top is None:
            self.top = Places(self.tree, places.mark)
            self.marks[id(self.tree)] = self.top
        for key, value in tree.items():
            if key == "include" or key.startswith("x-") or value is None:
                continue
            if key == SOURCE:
                self.errors.append(ConfigError(mark_of(places.keys[key]), key, "this key is not for files"))
            elif key not in self.tree:
                self.tree[key] = value
                self.top.keys[key], self.top.values[key] = places.keys[key], places.values[key]
                if key in places.raw:
                    self.top.raw[key] = places.raw[key]
            else:
                self._add(key, value, mark_of(places.keys[key]))

    def _add(self, key: str, theirs: Any, mark: Mark) -> None:
        """Join a section with the one that is there."""
        mine = self.tree[key]
        if isinstance(mine, list) and isinstance(theirs, list):
            more = self.marks[id(theirs)]
            places = self._replace(key, [*mine, *theirs])
            for index in range(len(theirs)):
                places.values[len(mine) + index] = more.values[index]
                if index in more.raw:
                    places.raw[len(mine) + index] = more.raw[index]
        elif isinstance(mine, dict) and isinstance(theirs, dict):
            more = self.marks[id(theirs)]
            places = self._replace(key, {**mine, **{name: one for name, one in theirs.items() if name not in mine}})
            for name in theirs:
                if name in mine:
                    self._twice(more.keys[name], f"{key}.{name}", places.keys[name])
                    continue
                places.keys[name], places.values[name] = more.keys[name], more.values[name]
                if name in more.raw:
                    places.raw[name] = more.raw[name]
        else:
            assert self.top is not None
            first = mark_of(self.top.keys[key])
            self.errors.append(ConfigError(mark, key, f"this section cannot be joined with the one at {first}"))

    def _twice(self, mark: Any, path: str, first: Any) -> None:
        self.errors.append(ConfigError(mark_of(mark), path, f"this is set twice, first at {mark_of(first)}"))

    def _replace(self, key: str, value: Any) -> Places:
        """Put a new list or mapping in the place of a section, with the places of the old one."""
        assert self.top is not None
        old = self.marks[id(self.tree[key])]
        places = Places(value, old.mark)
        places.keys, places.values, places.raw = dict(old.keys), dict(old.values), dict(old.raw)
        self.marks[id(value)] = places
        self.tree[key] = value
        return places

    # -- secrets ------------------------------------------------------------------------------------------------------

    def _secret(self, node: Any) -> None:
        """
        Read what looks like a reference to a secret. Whether it is one only its field knows; if not, nothing was lost.

        The path in a reference becomes absolute, so that it means the same in every process.
        """
        if reference(node) is None:
            return
        kind = next(iter(node))
        if kind == "file":
            node["file"] = path = os.path.join(self.base, node["file"])
        else:
            path = self._credential(node["credential"])
        name = str(reference(node))
        if not path:
            self.unread[name] = "expected the name of a systemd credential, and $CREDENTIALS_DIRECTORY to be set"
            return
        try:
            text = _content(path, LONGEST_SECRET, regular=True).decode("utf-8")
        except UnicodeDecodeError:
            self.unread[name] = f"the secret in {path} is not UTF-8"
        except OSError as reason:
            self.unread[name] = f"cannot read {path}: {reason.strerror or reason}"
        else:
            self.secrets[name] = text.removesuffix("\n").removesuffix("\r")

    def _credential(self, name: str) -> str:
        directory = self.environ.get("CREDENTIALS_DIRECTORY", "")
        return os.path.join(directory, name) if directory and name not in ("", ".", "..") and "/" not in name else ""


def _content(path: str, longest: int, *, regular: bool) -> bytes:
    """
    The bytes of a file.

    :param regular: refuse pipes and devices, which might not end or never begin.
    :raises OSError: if it cannot be read or has more than ``longest`` bytes.
    """
    if regular and not stat.S_ISREG(os.stat(path).st_mode):
        raise OSError("it is no regular file")
    with open(path, "rb") as file:
        content = file.read(longest + 1)
    if len(content) > longest:
        raise OSError(f"it has more than {longest:,} bytes")
    return content
