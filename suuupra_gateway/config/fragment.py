"""
One YAML file as plain dicts, lists and scalars, with the place of everything in it.

Built from the parser's events and not by its composer, for three reasons: libyaml's composer recurses in C and dies of a
few thousand brackets, it knows no bound for aliases, and it is slower. Aliases share what they stand for; so the tree is
never to be changed in place.
"""

from __future__ import annotations

import io
import re
from collections.abc import Mapping
from typing import Any

import yaml

from suuupra_gateway.config.findings import ConfigError, Loc, Mark, dotted
from suuupra_gateway.config.scalars import CannotExpand, expand, resolve

MOST_VALUES = 1_000_000
"""Values in one file once aliases are followed; more is an attack or an accident."""

MOST_LEVELS = 64
"""Levels of nesting, aliases followed."""

PARSER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""libyaml where there is one; the other gives the same events, ten times slower."""

_CORE = "tag:yaml.org,2002:"
_TEXT_TAGS = (None, "!", f"{_CORE}str")
_MAP_TAGS = (None, "!", f"{_CORE}map")
_LIST_TAGS = (None, "!", f"{_CORE}seq")


class Unreadable(Exception):
    """A file that cannot be made sense of at all."""

    def __init__(self, error: ConfigError) -> None:
        super().__init__(str(error))
        self.error = error


class Places:
    """Where a mapping or list and what it holds stand. Keeps its container, by whose identity it is found, alive."""

    __slots__ = ("container", "mark", "keys", "values", "raw")

    def __init__(self, container: dict[str, Any] | list[Any], mark: Any) -> None:
        self.container = container
        self.mark = mark
        self.keys: dict[str | int, Any] = {}
        self.values: dict[str | int, Any] = {}
        self.raw: dict[str | int, str] = {}
        """The texts, as written, of what came from the environment."""


class _Open:
    """A mapping or list that is being read."""

    __slots__ = ("places", "anchor", "weight", "depth", "key", "key_mark", "key_plain", "merged")

    def __init__(self, places: Places, anchor: str | None) -> None:
        self.places = places
        self.anchor = anchor
        self.weight = 1
        self.depth = 1
        self.key: str | None = None
        self.key_mark: Any = None
        self.key_plain = False
        self.merged: list[Any] | None = None


def mark_of(mark: Any) -> Mark:
    """The parser's mark as ours, counted from 1."""
    return Mark(mark.name, mark.line + 1, mark.column + 1)


class Fragment:
    """What one file says. ``tree`` is its only document, None if it is empty; ``errors`` do not keep it from being used."""

    __slots__ = ("name", "environ", "tree", "marks", "errors", "mappings", "_stack", "_anchors")

    def __init__(self, content: bytes, name: str, environ: Mapping[str, str], *, parser: Any = PARSER) -> None:
        """
        :param name: how the file is called in messages.
        :param environ: what ``${VAR}`` is taken from.
        :param parser: PyYAML's loader whose events are used.
        :raises Unreadable: if it is no YAML.
        """
        self.name = name
        self.environ = environ
        self.tree: Any = None
        self.marks: dict[int, Places] = {}
        self.errors: list[ConfigError] = []
        self.mappings: list[Places] = []
        """Those with a single key, among which the references to secrets are."""

        self._stack: list[_Open] = []
        self._anchors: dict[str, tuple[Any, str | None, int, int]] = {}
        stream = io.BytesIO(content)
        stream.name = name  # the parser's marks take it from there
        loader = None
        try:
            loader = parser(stream)
            self._read(loader)
        except yaml.YAMLError as error:
            raise Unreadable(_syntax(error, content, name)) from None
        finally:
            if loader is not None:
                loader.dispose()

    # -- events -------------------------------------------------------------------------------------------------------

    def _read(self, loader: Any) -> None:
        documents = 0
        while (event := loader.get_event()) is not None:
            kind = type(event)
            if kind is yaml.ScalarEvent:
                self._scalar(event)
            elif kind is yaml.MappingStartEvent:
                self._begin({}, event, _MAP_TAGS)
            elif kind is yaml.SequenceStartEvent:
                self._begin([], event, _LIST_TAGS)
            elif kind is yaml.MappingEndEvent or kind is yaml.SequenceEndEvent:
                self._end()
            elif kind is yaml.AliasEvent:
                self._alias(event)
            elif kind is yaml.DocumentStartEvent:
                documents += 1
                if documents > 1:
                    raise Unreadable(
                        self._error(event.start_mark, "a second document", "use include for several files")
                    )

    def _scalar(self, event: Any) -> None:
        stack, value = self._stack, event.value
        top = stack[-1] if stack else None
        if top is not None and top.key is None and type(top.places.container) is dict:
            top.key, top.key_mark, top.key_plain = value, event.start_mark, event.implicit[0]
            if event.anchor is not None:
                self._anchors[event.anchor] = (value, None, 1, 0)
            return
        raw = None
        if "${" in value:
            raw = value
            try:
                value = expand(value, self.environ)
            except CannotExpand as reason:
                self.errors.append(self._error(event.start_mark, str(reason), reason.hint))
        elif event.implicit[0]:
            value = resolve(value)
        elif event.tag not in _TEXT_TAGS:
            self._tag(event)
        if event.anchor is not None:
            self._anchors[event.anchor] = (value, raw, 1, 0)
        self._put(value, event.start_mark, raw, 1, 0)

    def _begin(self, container: Any, event: Any, tags: tuple[str | None, ...]) -> None:
        if self._stack and self._stack[-1].key is None and type(self._stack[-1].places.container) is dict:
            raise Unreadable(self._error(event.start_mark, "a key must be a text", "quote braces and brackets"))
        if event.tag not in tags:
            self._tag(event)
        places = Places(container, event.start_mark)
        self._stack.append(_Open(places, event.anchor))
        self._bound(0, 0, event.start_mark)

    def _end(self) -> None:
        done = self._stack.pop()
        places = done.places
        container = places.container
        if done.merged is not None:
            self._merge(done)
        self.marks[id(container)] = places
        if type(container) is dict and len(container) == 1:
            self.mappings.append(places)
        if done.anchor is not None:
            self._anchors[done.anchor] = (container, None, done.weight, done.depth)
        self._put(container, places.mark, None, done.weight, done.depth)

    def _alias(self, event: Any) -> None:
        if self._stack and self._stack[-1].key is None and type(self._stack[-1].places.container) is dict:
            raise Unreadable(self._error(event.start_mark, "a key must be a text", "an alias cannot be one"))
        if event.anchor not in self._anchors:
            why = f"there is no anchor &{event.anchor} above"
            self.errors.append(
                self._error(event.start_mark, why, "an anchor can neither be in another file nor hold itself")
            )
        value, raw, weight, depth = self._anchors.get(event.anchor, (None, None, 1, 0))
        self._bound(weight, depth, event.start_mark)
        self._put(value, event.start_mark, raw, weight, depth)

    # -- building -----------------------------------------------------------------------------------------------------

    def _put(self, value: Any, mark: Any, raw: str | None, weight: int, depth: int) -> None:
        """Add a complete value to the mapping or list around it."""
        if not self._stack:
            self.tree = value
            return
        top = self._stack[-1]
        top.weight += weight
        if depth >= top.depth:
            top.depth = depth + 1
        places = top.places
        container = places.container
        if type(container) is list:
            place: str | int = len(container)
            container.append(value)
        else:
            assert isinstance(container, dict)
            assert top.key is not None
            place, top.key = top.key, None
            if place == "<<" and top.key_plain:
                self._merging(top, value, mark)
                return
            if place in container:
                first = mark_of(places.keys[place])
                why = f"this key is set twice, first at {first}"
                self.errors.append(self._error(top.key_mark, why, "", (*self._loc(), place)))
                return
            container[place] = value
            places.keys[place] = top.key_mark
        places.values[place] = mark
        if raw is not None:
            places.raw[place] = raw

    def _merging(self, top: _Open, value: Any, mark: Any) -> None:
        merged = value if isinstance(value, list) else [value]
        if not all(isinstance(one, dict) for one in merged):
            self.errors.append(self._error(mark, "<< takes an alias of a mapping, or a list of such aliases", ""))
        elif top.merged is not None:
            self.errors.append(self._error(top.key_mark, "this key is set twice", "write << : [*one, *other]"))
        else:
            top.merged = merged

    def _merge(self, done: _Open) -> None:
        """What is written wins over what is merged, and earlier over later (https://yaml.org/type/merge.html)."""
        places = done.places
        container = places.container
        assert isinstance(container, dict)
        for one in done.merged or ():
            theirs = self.marks[id(one)]
            for key in [key for key in one if key not in container]:
                container[key] = one[key]
                places.keys[key], places.values[key] = theirs.keys[key], theirs.values[key]
                if key in theirs.raw:
                    places.raw[key] = theirs.raw[key]

    def _bound(self, weight: int, depth: int, mark: Any) -> None:
        if len(self._stack) + depth > MOST_LEVELS:
            raise Unreadable(self._error(mark, f"nested more than {MOST_LEVELS} levels deep", ""))
        if weight > 1 and weight + sum(open_.weight for open_ in self._stack) > MOST_VALUES:
            raise Unreadable(self._error(mark, f"aliases make more than {MOST_VALUES:,} values of this", ""))

    # -- messages -----------------------------------------------------------------------------------------------------

    def _tag(self, event: Any) -> None:
        tag = event.tag.replace(_CORE, "!!")
        self.errors.append(self._error(event.start_mark, f"the tag {tag} means nothing here", "leave it out"))

    def _loc(self) -> Loc:
        """The path of the innermost open mapping or list."""
        return tuple(len(open_.places.container) if open_.key is None else open_.key for open_ in self._stack[:-1])

    def _error(self, mark: Any, why: str, hint: str, loc: Loc | None = None) -> ConfigError:
        if loc is None:
            loc = self._loc()
            if self._stack and self._stack[-1].key is not None:
                loc = (*loc, self._stack[-1].key)
        return ConfigError(mark_of(mark), dotted(loc), why, hint, loc)


def _syntax(error: yaml.YAMLError, content: bytes, name: str) -> ConfigError:
    """A parser's error in one line."""
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        mark = mark_of(error.problem_mark)
        if error.problem == "found character that cannot start any token" and b"\t" in content:
            return ConfigError(mark, "", "no YAML: a tab where none may be", "indent with spaces")
        told = ", ".join(filter(None, (error.context, error.problem)))
        lines = content.decode("utf-8", "replace").split("\n")[mark.line - 1 : mark.line]
        hint = "inside braces and brackets put ${...} in quotes" if lines and "${" in lines[0] else ""
        since = f" (begun in line {error.context_mark.line + 1})" if error.context_mark is not None else ""
        return ConfigError(mark, "", f"no YAML: {told}{since}", hint)
    position = getattr(error, "position", None)
    before = content[: position or 0].decode("utf-8", "replace")
    line = before.count("\n") + 1
    reason = re.sub(r"\s+", " ", str(getattr(error, "reason", "") or error))
    return ConfigError(Mark(name, line, len(before) - before.rfind("\n")), "", f"no YAML: {reason}", "save it as UTF-8")
