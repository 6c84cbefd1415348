"""
What all specs share: the base class, and the types for keys that mean the same everywhere.

A spec is its own identity: equal specs claim the same resident, so a reload keeps what did not change. Everything is
therefore a tuple, never a list or dict. Keys in files are lower-case with hyphens; attribute literals are the text of the
reference page and of the JSON Schema.
"""

from __future__ import annotations

import ipaddress
import json
import os
import re
from contextlib import suppress
from typing import Annotated, Any, ClassVar, Self
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    ValidationInfo,
    ValidatorFunctionWrapHandler,
    model_validator,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, core_schema

from suuupra_gateway.config.units import Duration, expected

BASE = "base"
"""Key of the validation context with the directory to which relative paths belong."""

NAME = r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$"
TOKEN = r"^[!#$%&'*+.^_`|~0-9A-Za-z-]+$"  # RFC 9110 section 5.6.2
NAMES = r"^[!#$%&'+.^_`|~0-9A-Za-z-]+\*?$"
FIELD_VALUE = r"^[\t\x20-\x7e\u0080-\u00ff]*$"  # RFC 9110 section 5.5, obs-text included
METHOD = r"^[A-Z][A-Z-]*$"
KEY = r"^(client|path|(header|cookie):[!#$%&'*+.^_`|~0-9A-Za-z-]+)$"
STICKY = r"^(|client|(header|cookie):[!#$%&'*+.^_`|~0-9A-Za-z-]+)$"
OBJECT = r"^[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*:[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*$"

PATTERNS: dict[str, str] = {
    NAME: "a name of at most 63 letters, digits, dots, hyphens and underscores that begins with a letter or digit",
    TOKEN: "the name of a header field",
    NAMES: "the name of a header field, or the beginning of some and *",
    FIELD_VALUE: "the value of a header field: one line, no control characters",
    METHOD: "a method in upper case",
    KEY: "client, path, header:NAME or cookie:NAME",
    STICKY: "client, header:NAME or cookie:NAME",
    OBJECT: "package.module:name",
}
"""What a text that must match a pattern is expected to be, in words."""


def hyphens(name: str) -> str:
    """The key of a field in files."""
    return name.rstrip("_").replace("_", "-")


class Spec(BaseModel):
    """The base of everything configurable: frozen, hashable, unknown keys refused."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        alias_generator=hyphens,
        populate_by_name=True,
        use_attribute_docstrings=True,
        validate_default=False,
        arbitrary_types_allowed=False,
    )


class Shorthand(Spec):
    """A spec that may be written as one plain value, which `_unfold` turns into the long form."""

    short_form: ClassVar[str]
    """What the plain value is, for the reference and the JSON Schema."""

    @classmethod
    def unfold(cls, value: str) -> dict[str, Any]:
        """The long form of a text."""
        raise AssertionError("each short form has its own")

    @model_validator(mode="before")
    @classmethod
    def _unfold(cls, value: Any) -> Any:
        return cls.unfold(value) if isinstance(value, str) else value

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return {"anyOf": [{"type": "string", "description": cls.short_form}, handler(schema)]}


class OneOf(Spec):
    """A mapping with exactly one key. A key without a value takes all defaults, as in ``- cors:``."""

    model_config = ConfigDict(json_schema_extra={"minProperties": 1, "maxProperties": 1})

    @property
    def kind(self) -> str:
        """The key that is given."""
        fields = type(self).model_fields
        return next(str(field.alias) for name, field in fields.items() if getattr(self, name) is not None)

    @property
    def spec(self) -> Spec:
        """What is given under it."""
        found: Spec = next(spec for name in type(self).model_fields if (spec := getattr(self, name)) is not None)
        return found

    @model_validator(mode="before")
    @classmethod
    def _defaults(cls, value: Any) -> Any:
        if isinstance(value, dict) and None in value.values():
            return {key: {} if item is None else item for key, item in value.items()}
        return value

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        if len(self.model_fields_set) != 1:
            raise expected(
                f"exactly one of {', '.join(str(field.alias) for field in type(self).model_fields.values())}"
            )
        return self


def _flag(value: object) -> object:
    if isinstance(value, bool):
        return value
    if value in ("true", "false"):  # texts come from the environment
        return value == "true"
    raise expected("true or false")


Flag = Annotated[bool, BeforeValidator(_flag)]
"""``true`` or ``false``; unlike with plain ``bool``, words such as ``no`` and ``on`` are refused."""


def _positive(value: Duration) -> Duration:
    if value <= 0:
        raise expected("a duration above zero")
    return value


Positive = Annotated[Duration, AfterValidator(_positive)]
"""A duration that may not be zero."""

Name = Annotated[str, Field(pattern=NAME)]
"""What listeners, upstreams, routes and the like are called."""

HeaderName = Annotated[str, Field(pattern=TOKEN)]
"""The name of a header field."""


def _cidr(value: str) -> str:
    try:
        network = ipaddress.ip_network(value, strict=False)
    except ValueError:
        raise expected("an address range such as 10.0.0.0/8 or fd00::/8") from None
    if int(network.network_address) != int(ipaddress.ip_address(value.partition("/")[0])):
        raise expected(f"an address range without bits behind its prefix, such as {network}")
    return value


Cidr = Annotated[str, AfterValidator(_cidr)]
"""An address range such as ``10.0.0.0/8`` or ``fd00::/8``; a single address is one too."""


def _file(value: str, info: ValidationInfo) -> str:
    return os.path.join((info.context or {}).get(BASE, ""), value) if value else value


FilePath = Annotated[str, AfterValidator(_file)]
"""A file to read; relative ones belong to the directory of the main configuration file."""


class _PairsSchema:
    """Tells pydantic of a mapping that is kept as pairs in file order."""

    __slots__ = ("key", "value")

    def __init__(self, key: str | None, value: str | None) -> None:
        self.key = key
        self.value = value

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        mapping = core_schema.dict_schema(
            core_schema.str_schema(pattern=self.key), core_schema.str_schema(pattern=self.value)
        )
        return core_schema.no_info_wrap_validator_function(
            _pairs,
            mapping,
            serialization=core_schema.plain_serializer_function_ser_schema(dict, when_used="json"),
        )


def _pairs(value: object, mapping: ValidatorFunctionWrapHandler) -> tuple[tuple[str, str], ...]:
    if isinstance(value, tuple):  # from Python: the same name may come twice
        return tuple((name, text) for pair in value for name, text in mapping(dict([pair])).items())
    return tuple(mapping(value).items())


Pairs = Annotated[tuple[tuple[str, str], ...], _PairsSchema(None, None)]
"""A mapping of strings, kept as pairs in file order."""

HeaderPairs = Annotated[tuple[tuple[str, str], ...], _PairsSchema(TOKEN, FIELD_VALUE)]
"""A mapping of header field names to values; what could split a message is refused."""


class _JsonSchema:
    """Tells pydantic of a mapping that is kept as its canonical JSON, since specs are hashable."""

    __slots__ = ()

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_before_validator_function(
            _json,
            core_schema.str_schema(),
            serialization=core_schema.plain_serializer_function_ser_schema(json.loads, when_used="json"),
        )

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return {"type": "object"}


def _json(value: object) -> str:
    if isinstance(value, str):  # from Python: JSON already
        with suppress(ValueError):
            value = json.loads(value)
    if not isinstance(value, dict):
        raise expected("a mapping (key: value)")
    return json.dumps(value, sort_keys=True, ensure_ascii=False)


JsonObject = Annotated[str, _JsonSchema()]
"""A mapping of names to anything, kept as JSON."""


class Named:
    """
    Marks ``tuple[SomeSpec, ...]`` whose file form is a mapping of names to specs, each without its ``name``.

    :param spec: the spec; its field ``name`` is filled from the key.
    :param key: what keys must match; None for anything.
    """

    __slots__ = ("spec", "key")

    def __init__(self, spec: type[Spec], key: str | None = NAME) -> None:
        self.spec = spec
        self.key = key

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        mapping = core_schema.dict_schema(core_schema.str_schema(pattern=self.key), handler.generate_schema(self.spec))
        return core_schema.no_info_after_validator_function(
            self._named,
            core_schema.no_info_before_validator_function(self._mapping, mapping),
            serialization=core_schema.plain_serializer_function_ser_schema(
                self._written, info_arg=True, when_used="json"
            ),
        )

    def _mapping(self, value: object) -> object:
        return {spec.name: spec for spec in value} if isinstance(value, tuple) else value

    def _named(self, value: dict[str, Any]) -> tuple[Spec, ...]:
        for name, spec in value.items():
            if "name" in spec.model_fields_set and spec.name != name:
                raise expected(f"{name} to have no name of its own: its key is its name")
        return tuple(spec.model_copy(update={"name": name}) for name, spec in value.items())

    def _written(self, value: tuple[Any, ...], info: core_schema.SerializationInfo) -> dict[str, Any]:
        def written(spec: Any) -> Any:
            return spec.model_dump(
                mode=info.mode, by_alias=info.by_alias, exclude_none=info.exclude_none, exclude={"name"}
            )

        return {spec.name: written(spec) for spec in value}


_LABEL = r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
_HOST = re.compile(rf"(?:\*\.)?{_LABEL}(?:\.{_LABEL})*|\[[0-9A-Fa-f:.]+\]")


def host_pattern(value: str) -> str:
    """Check ``api.example.org``, ``*.example.org`` or an address; lower case comes back."""
    if value and not _HOST.fullmatch(value):
        raise expected("a host name without port such as api.example.org or *.example.org (punycode for other letters)")
    return value.lower()


def absolute_path(value: str) -> str:
    """Check that a path begins with ``/`` and is a path alone."""
    if value and (value[0] != "/" or "?" in value or "#" in value):
        raise expected("a path that begins with / and holds no ? or #")
    return value


def web_url(value: str) -> str:
    """Check that a text is an absolute ``http`` or ``https`` URL without fragment or user."""
    try:
        split = urlsplit(value)
        sound = split.scheme in ("http", "https") and bool(split.hostname) and (split.port is None or split.port > 0)
    except ValueError:
        sound = False
    if not sound or split.fragment or "@" in split.netloc or re.search(r"[\x00-\x20\x7f-\U0010ffff\\\\]", value):
        raise expected("a URL such as https://id.example.org/path")
    return value
