"""
Quantities with their units, and secrets, as types that pydantic validates and JSON Schema describes.

Each quantity is a plain number underneath (seconds, bytes, a share between 0 and 1), so that using one costs nothing; only
its text form, in files and dumps, has a unit. A bare number is refused where its unit could be mistaken.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Callable, Mapping
from decimal import Decimal
from functools import lru_cache
from typing import Any, ClassVar, Self

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

MASK = "***"
"""What is shown in place of a secret."""

SECRETS = "secrets"
"""Key of the validation context under which the texts of referenced secrets are found, by `reference`."""


def expected(what: str) -> PydanticCustomError:
    """
    The error that a validator raises: "expected ``what``".

    It must not repeat the value; the caller adds that, unless it is secret or came from the environment.
    """
    return PydanticCustomError("expected", "expected {expected}", {"expected": what})


def _plain(number: Decimal) -> str:
    text = f"{number:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


class _Quantity:
    """What the three quantities share: text in, text out, and what pydantic wants to know."""

    expected: ClassVar[str]
    """Ends the sentence "expected ..."."""

    grammar: ClassVar[re.Pattern[str]]
    schema: ClassVar[dict[str, Any]]

    @classmethod
    def parse(cls, text: str) -> Self:
        """
        Read the text form.

        :raises ValueError: the message says what was expected; it does not repeat ``text``, which may hold a secret.
        """
        raise AssertionError("each quantity has its own")

    @classmethod
    def _validate(cls, value: object) -> Self:
        if isinstance(value, cls):
            return value
        try:
            return cls._from(value)
        except ValueError as error:
            raise expected(str(error).removeprefix("expected ")) from None

    @classmethod
    def _from(cls, value: object) -> Self:
        if isinstance(value, str):
            return cls.parse(value)
        if isinstance(value, (int, float)) and not isinstance(value, bool) and value == 0:
            return cls.parse("0")
        raise ValueError(f"expected {cls.expected}")

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(
            cls._validate, serialization=core_schema.to_string_ser_schema(when_used="json")
        )

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return dict(cls.schema)


class Duration(_Quantity, float):
    """A length of time in seconds: ``250ms``, ``1.5s``, ``2m``, ``1h``, ``1d``, or a bare ``0``."""

    __slots__ = ()

    seconds: ClassVar[dict[str, Decimal]] = {
        "us": Decimal("0.000001"),
        "ms": Decimal("0.001"),
        "s": Decimal(1),
        "m": Decimal(60),
        "h": Decimal(3600),
        "d": Decimal(86400),
    }
    longest: ClassVar[int] = 100_000 * 86400
    """Seconds; beyond that, event loops and their timers have opinions of their own."""

    expected = "a duration such as 250ms, 1.5s, 2m, 1h or 1d"
    grammar = re.compile(r"([0-9]{1,16}(?:\.[0-9]{1,18})?)(us|ms|s|m|h|d)")
    schema: ClassVar[dict[str, Any]] = {
        "anyOf": [{"type": "string", "pattern": rf"^(0|{grammar.pattern}|\$\{{.*)$"}, {"const": 0}],
        "title": "Duration",
        "examples": ["250ms", "1.5s", "2m", "1h"],
    }

    @classmethod
    @lru_cache(maxsize=1024)
    def parse(cls, text: str) -> Self:
        """Read ``250ms``, ``1.5s``, ``2m``, ``1h``, ``1d`` or ``0``; ValueError says what was expected."""
        if text == "0":
            return cls(0.0)
        found = cls.grammar.fullmatch(text)
        if found is None:
            raise ValueError(f"expected {cls.expected}")
        exact = Decimal(found[1]) * cls.seconds[found[2]]
        if exact > cls.longest:
            raise ValueError(f"expected a duration of at most {cls(cls.longest)}")
        return cls(float(exact))

    def __str__(self) -> str:
        exact = Decimal(repr(float(self)))
        if not exact:
            return "0s"
        for unit in ("d", "h", "m", "s", "ms", "us"):
            count = exact / self.seconds[unit]
            if count == count.to_integral_value():
                return f"{_plain(count)}{unit}"
        return f"{_plain(exact)}s"

    def __repr__(self) -> str:
        return f"Duration({float(self)!r})"


class Size(_Quantity, int):
    """A number of bytes: ``100B``, ``64KiB``, ``10MB``, or a bare whole number."""

    __slots__ = ()

    factors: ClassVar[dict[str, int]] = {
        "": 1,
        "B": 1,
        "kB": 10**3,
        "KB": 10**3,
        "MB": 10**6,
        "GB": 10**9,
        "TB": 10**12,
        "KiB": 2**10,
        "MiB": 2**20,
        "GiB": 2**30,
        "TiB": 2**40,
    }
    expected = "a size such as 64KiB, 2MiB, 10MB or a whole number of bytes"
    grammar = re.compile(r"([0-9]{1,15})(?:\.([0-9]{1,9}))?(B|kB|[KMGT]B|[KMGT]iB)?")
    schema: ClassVar[dict[str, Any]] = {
        "anyOf": [{"type": "string", "pattern": rf"^({grammar.pattern}|\$\{{.*)$"}, {"type": "integer", "minimum": 0}],
        "title": "Size",
        "examples": ["64KiB", "2MiB", "10MB", 512],
    }

    @classmethod
    @lru_cache(maxsize=1024)
    def parse(cls, text: str) -> Self:
        """Read ``2MiB``, ``10MB``, ``512B`` or ``512``; ValueError says what was expected."""
        found = cls.grammar.fullmatch(text)
        if found is None:
            raise ValueError(f"expected {cls.expected}")
        count = Decimal(f"{found[1]}.{found[2] or '0'}") * cls.factors[found[3] or ""]
        if count != count.to_integral_value():
            raise ValueError("expected a whole number of bytes")
        return cls(int(count))

    @classmethod
    def _from(cls, value: object) -> Self:
        if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
            return cls(value)
        return super()._from(value)

    def __str__(self) -> str:
        for unit in ("TiB", "GiB", "MiB", "KiB", "TB", "GB", "MB", "kB"):
            if self and not self % self.factors[unit]:
                return f"{self // self.factors[unit]}{unit}"
        return f"{int(self)}B"

    def __repr__(self) -> str:
        return f"Size({int(self)})"


class Percent(_Quantity, float):
    """A share between 0 and 1, written ``20%`` or ``0.5%``; a bare ``0`` is one too."""

    __slots__ = ()

    expected = "a percentage from 0% to 100%, such as 20%"
    grammar = re.compile(r"([0-9]{1,3}(?:\.[0-9]{1,20})?)%")
    schema: ClassVar[dict[str, Any]] = {
        "anyOf": [{"type": "string", "pattern": rf"^(0|{grammar.pattern}|\$\{{.*)$"}, {"const": 0}],
        "title": "Percent",
        "examples": ["20%", "0.5%"],
    }

    @classmethod
    @lru_cache(maxsize=1024)
    def parse(cls, text: str) -> Self:
        """Read ``20%`` or ``0``; ValueError says what was expected."""
        if text == "0":
            return cls(0.0)
        found = cls.grammar.fullmatch(text)
        if found is None or (share := Decimal(found[1]) / 100) > 1:
            raise ValueError(f"expected {cls.expected}")
        return cls(float(share))

    def __str__(self) -> str:
        return f"{_plain(Decimal(repr(float(self))) * 100)}%"

    def __repr__(self) -> str:
        return f"Percent({float(self)!r})"


def reference(value: object) -> str | None:
    """The name under which a referenced secret is kept, such as ``file:/run/key``; None if ``value`` is no reference."""
    if isinstance(value, Mapping) and len(value) == 1:
        ((kind, name),) = value.items()
        if kind in ("file", "credential") and isinstance(name, str):
            return f"{kind}:{name}"
    return None


class Secret:
    """
    A text that is never shown: not by ``repr``, ``str``, logs or dumps. Comparing takes constant time.

    In files: ``{file: PATH}``, ``{credential: NAME}`` (systemd), or a text, which should come from the environment.
    """

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """The text itself; never put it into a message."""
        return self._text

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        return hmac.compare_digest(
            self._text.encode("utf-8", "surrogatepass"), other._text.encode("utf-8", "surrogatepass")
        )

    def __hash__(self) -> int:
        return hash((Secret, self._text))

    def __bool__(self) -> bool:
        return bool(self._text)

    def __str__(self) -> str:
        return MASK

    __repr__ = __str__

    @classmethod
    def _validate(cls, value: object, info: core_schema.ValidationInfo) -> Secret:
        if isinstance(value, cls):
            return value
        if isinstance(value, str):
            return cls(value)
        name = reference(value)
        if name is None:
            raise PydanticCustomError("secret", "expected {file: PATH}, {credential: NAME} or a text in quotes")
        secrets: Mapping[str, str] = (info.context or {}).get(SECRETS, {})
        if name not in secrets:
            raise PydanticCustomError("unread", "this secret could not be read")
        return cls(secrets[name])

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: Callable[[Any], CoreSchema]) -> CoreSchema:
        return core_schema.with_info_plain_validator_function(
            cls._validate, serialization=core_schema.to_string_ser_schema(when_used="always")
        )

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        def named(key: str, about: str) -> dict[str, Any]:
            return {
                "type": "object",
                "properties": {key: {"type": "string", "description": about}},
                "required": [key],
                "additionalProperties": False,
            }

        return {
            "title": "Secret",
            "anyOf": [
                {"type": "string"},
                named("file", "A file that holds the secret; one newline at its end is taken away."),
                named("credential", "The name of a systemd credential (LoadCredential=)."),
            ],
        }
