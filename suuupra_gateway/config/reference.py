"""
The models as documents: a JSON Schema for editors, and the reference page.

The page is written from the schema, so that both say the same, and so does `decode`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic.json_schema import GenerateJsonSchema

from suuupra_gateway.config.decode import Kinds, gateway_model
from suuupra_gateway.config.spec import PATTERNS
from suuupra_gateway.config.units import Duration, Percent, Size

Schema = dict[str, Any]

MODELINE = "# yaml-language-server: $schema=gateway.schema.json"
"""What tells editors with yaml-language-server where the schema lies; the first line of a file."""

_INTRODUCTION = """\
Configuration
=============

.. This page is generated from the models; edit their docstrings instead.

A configuration is a YAML file of sections. ``suuupra-gateway check FILE`` tells everything that is wrong with one, each as
``file:line:column: where: what, what to do``. Only ``listeners`` has to be there; everything else has a default. A small one::

    listeners:
      - {name: public, address: "0.0.0.0:8080"}
    upstreams:
      users: {endpoints: ["http://10.0.0.5:9001"]}
    routes:
      - name: users
        match: {prefix: /v1/users}
        auth: none
        target: {proxy: {upstream: users}}

The file
--------

Scalars
    Only ``true``, ``false``, ``null``, ``~`` and decimal numbers are anything but text: ``no``, ``on``, ``012``, ``1:30``
    and ``2026-01-01`` are the texts that they look like. A key that is set twice is an error, as is one that is not known.

Anchors
    ``&name``, ``*name`` and ``<<: *name`` work inside a file; what is written wins over what is merged. Top-level keys that
    begin with ``x-`` are ignored, so that anchors have a place.

``include: [conf.d/*.yaml]``
    At the top of any file: further files, by name or pattern (``**`` for any depth), relative to the file that includes them,
    in alphabetical order. Lists (``routes``, ``listeners``, ``plugins``) are joined, the including file's first; of
    mappings (``upstreams``, and the rest) each key may be in one file only. A pattern may match nothing.

``${VAR}``, ``${VAR:-default}``
    In any value: a variable of the environment, or the default if it is unset or empty. ``$${`` stands for ``${``. It is
    replaced after parsing, so that a value cannot change the structure of a file. Inside braces and brackets put it in quotes.

``{file: PATH}``, ``{credential: NAME}``
    Where a secret is asked for: the content of a file without one newline at its end, or a systemd credential
    (``LoadCredential=``). Read again at each reload, never shown.

Paths
    Relative ones belong to the directory of the main file.

Durations
    ``250ms``, ``1.5s``, ``2m``, ``1h``, ``1d`` or ``0``. A bare number is refused: nobody would know its unit.

Sizes
    ``512B``, ``64KiB``, ``2MiB``, ``10MB``, or a bare number of bytes.

Percentages
    ``20%``, ``0.5%`` or ``0``.

Editors
    ``suuupra-gateway schema > gateway.schema.json`` writes a JSON Schema. An editor that runs yaml-language-server completes
    and checks by it when the file begins with::

        {modeline}
"""


def schema(kinds: Kinds) -> Schema:
    """The JSON Schema (2020-12) of a configuration file whose filters are of these kinds."""
    whole = gateway_model(kinds).model_json_schema(schema_generator=_Generator)
    definitions = whole["$defs"].values()
    for one in (whole, *(long for definition in definitions for long in definition.get("anyOf", [definition]))):
        for key in one.get("properties", {}).values():
            if key.get("type") == "object" and key.get("default") in ([], "{}"):
                key["default"] = {}  # kept as pairs or JSON, written as a mapping
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "suuupra-gateway configuration",
        "description": f"Begin a file with `{MODELINE}` for completion.",
        **{key: value for key, value in whole.items() if key not in ("title", "description")},
    }


class _Generator(GenerateJsonSchema):
    """Writes default durations and sizes as in files, inside lists too."""

    def encode_default(self, dft: Any) -> Any:
        """As pydantic, but for tuples of quantities."""
        if isinstance(dft, tuple):
            return [str(one) if isinstance(one, (Duration, Size, Percent)) else one for one in dft]
        return super().encode_default(dft)


def reference(kinds: Kinds) -> str:
    """The reference page in reStructuredText; with `FilterKind` values it says too what each filter does when it fails."""
    return _Page(schema(kinds), kinds).text()


class _Page:
    """Writes one page. Each definition of the schema gets a section, behind the one that first speaks of it."""

    __slots__ = ("schema", "definitions", "named", "kinds", "written", "lines")

    def __init__(self, whole: Schema, kinds: Kinds) -> None:
        self.schema = whole
        self.definitions: dict[str, Schema] = whole.get("$defs", {})
        self.named = frozenset(_named(whole))
        self.kinds: Mapping[str, Any] = kinds
        self.written: set[str] = set()
        self.lines: list[str] = _INTRODUCTION.replace("{modeline}", MODELINE).splitlines()

    def text(self) -> str:
        required = self.schema.get("required", ())
        for key, one in self.schema["properties"].items():
            if key == "include":
                continue
            self._heading(f"``{key}:``", "-")
            self.lines += [_prose(one.get("description", "")), ""]
            needed = "required" if key in required else "optional"
            self.lines += [f"{_sentence(self._words(one))} {needed.capitalize()}.", ""]
            for name in _definitions(one):
                self._definition(name)
        return "\n".join(self.lines).rstrip() + "\n"

    def _heading(self, text: str, line: str) -> None:
        self.lines += ["", text, line * len(text), ""]

    def _definition(self, name: str) -> None:
        """The section of a definition, and those of what it speaks of."""
        if name in self.written:
            return
        self.written.add(name)
        definition = self.definitions[name]
        short = ""
        if "anyOf" in definition:
            plain, definition = definition["anyOf"]
            short = f"May be written as a plain text: {_lower(plain['description'])}"
        self._heading(_title(name), "~")
        self.lines += [_prose(definition.get("description", "")), ""]
        if short:
            self.lines += [short, ""]
        filters = name == "FilterEntry"
        required = definition.get("required", ())
        properties = dict(definition["properties"])
        if name in self.named:
            del properties["name"]  # it is the key
        for key, one in properties.items():
            self.lines += [f"``{key}``: {self._words(one)}{self._default(one, key in required, definition)}"]
            self.lines += [f"    {line}" if line else "" for line in self._about(one).splitlines()]
            if filters:
                self.lines += self._failure(key)
            self.lines.append("")
        for one in properties.values():
            for inner in _definitions(one):
                self._definition(inner)

    def _about(self, one: Schema) -> str:
        """What a key is for; where that is only what its definition is for, pydantic leaves it out."""
        about = one.get("description") or self.definitions.get(_name(one), {}).get("description", "")
        return _prose(about)

    def _failure(self, kind: str) -> Iterator[str]:
        on_error = getattr(getattr(self.kinds[kind], "filter", None), "on_error", "")
        if on_error:
            yield f"    When it fails: {_lower(on_error)}"

    def _default(self, one: Schema, required: bool, definition: Schema) -> str:
        if required:
            return "; required"
        if definition.get("maxProperties") == 1 or "default" not in one:
            return ""
        value = one["default"]
        if value is None or value == "" or value == [] or value == {} or "$ref" in one:
            return ""
        text = _plain(value)
        return f"; default ``{text}``"

    def _words(self, one: Schema) -> str:
        """What a value may be."""
        if "$ref" in one:
            return f"`{_title(_name(one))}`_"
        title = str(one.get("title"))
        if title in ("Duration", "Size", "Percent", "Secret"):
            return {"Percent": "percentage"}.get(title, title.lower())
        if "enum" in one or "const" in one:
            return _either([f"``{_plain(value)}``" for value in one.get("enum", [one.get("const")])])
        if "anyOf" in one:
            choices = [inner for inner in one["anyOf"] if inner.get("type") != "null" and inner.get("const") != ""]
            return _either([self._words(inner) for inner in choices])
        return self._typed(one)

    def _typed(self, one: Schema) -> str:
        kind = one.get("type", "")
        if kind == "array":
            if "prefixItems" in one:
                return f"list of {len(one['prefixItems'])}, each {self._words(one['prefixItems'][0])}"
            return f"list of {self._words(one.get('items', {}))}"
        if kind == "object":
            inner = [*one.get("patternProperties", {}).values(), one.get("additionalProperties")]
            values = next((value for value in inner if isinstance(value, dict)), None)
            return f"mapping of names to {'anything' if values is None else self._words(values)}"
        if kind == "integer":
            return _number("whole number", one)
        if kind == "number":
            return _number("number", one)
        if kind == "boolean":
            return "``true`` or ``false``"
        words = PATTERNS.get(one.get("pattern", ""), "text")
        return words.partition(" of at most")[0].partition(": ")[0].removeprefix("a ").removeprefix("the ")


def _number(what: str, one: Schema) -> str:
    low, high = one.get("minimum"), one.get("maximum")
    if low is not None and high is not None:
        return f"{what} from {low:,} to {high:,}"
    return f"{what}, at least {low:,}" if low is not None else what


def _definitions(one: Any) -> Iterator[str]:
    """The names of the definitions that a schema speaks of, in its order."""
    if isinstance(one, dict):
        if "$ref" in one:
            yield _name(one)
        for key, inner in one.items():
            if key != "default":
                yield from _definitions(inner)
    elif isinstance(one, list):
        for inner in one:
            yield from _definitions(inner)


def _named(one: Any) -> Iterator[str]:
    """The names of the definitions of what is held in mappings by name, and has a name for that."""
    if isinstance(one, dict):
        for key in ("additionalProperties", "patternProperties"):
            yield from _definitions(one.get(key))
        for inner in one.values():
            yield from _named(inner)
    elif isinstance(one, list):
        for inner in one:
            yield from _named(inner)


def _name(one: Schema) -> str:
    return str(one.get("$ref", "")).rpartition("/")[2]


def _title(name: str) -> str:
    """``ListenerLimits`` as a heading."""
    words = re.findall(r"[A-Z]+(?![a-z])|[A-Z][a-z0-9]*", name.removesuffix("Spec")) or [name]
    return " ".join([words[0], *(word if word.isupper() else word.lower() for word in words[1:])])


def _either(choices: list[str]) -> str:
    return " or ".join(filter(None, (", ".join(choices[:-1]), choices[-1]))) if choices else ""


def _plain(value: Any) -> str:
    if isinstance(value, list):
        return f"[{', '.join(map(_plain, value))}]"
    return value if isinstance(value, str) else json.dumps(value)


def _prose(text: str) -> str:
    """A docstring for the page: names of code in single backquotes are shown as code."""
    parts = text.strip().split("``")
    return "``".join(part if index % 2 else part.replace("`", "``") for index, part in enumerate(parts))


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}."


def _lower(text: str) -> str:
    return text[:1].lower() + text[1:]
