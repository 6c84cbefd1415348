"""
Quantities and secrets.
"""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic_core import PydanticCustomError

from suuupra_gateway.config.units import MASK, SECRETS, Duration, Percent, Secret, Size, expected, reference

QUANTITIES = (Duration, Size, Percent)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0.0),
        ("0s", 0.0),
        ("250ms", 0.25),
        ("1.5s", 1.5),
        ("2m", 120.0),
        ("1h", 3600.0),
        ("1d", 86400.0),
        ("10us", 0.00001),
        ("0.1s", 0.1),
    ],
)
def test_a_duration_is_read_in_seconds(text: str, seconds: float) -> None:
    assert Duration.parse(text) == seconds


@pytest.mark.parametrize(
    "text", ["", "5", "-1s", "1 s", "1S", "1sec", "s", ".5s", "1.s", "1e3s", "1h30m", "\u0661s", "1s\n"]
)
def test_what_is_no_duration_is_refused_with_examples(text: str) -> None:
    with pytest.raises(ValueError, match=r"^expected a duration such as 250ms, 1\.5s, 2m, 1h or 1d$"):
        Duration.parse(text)


def test_a_duration_has_an_end() -> None:
    with pytest.raises(ValueError, match=r"^expected a duration of at most 100000d$"):
        Duration.parse("100001d")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.0, "0s"), (0.25, "250ms"), (1.5, "1500ms"), (75.0, "75s"), (60.0, "1m"), (86400.0, "1d"), (1e-7, "0.0000001s")],
)
def test_a_duration_is_written_in_the_largest_whole_unit(seconds: float, text: str) -> None:
    assert str(Duration(seconds)) == text


@given(st.from_regex(r"[0-9]{1,5}(\.[0-9]{1,6})?(us|ms|s|m|h|d)", fullmatch=True))
@example("0.000001us")
@example("99999.999999d")
@example("100000d")
def test_a_duration_survives_being_written_and_read(text: str) -> None:
    value = Duration.parse(text)
    assert Duration.parse(str(value)) == value


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("0", 0),
        ("512", 512),
        ("100B", 100),
        ("64KiB", 65536),
        ("2MiB", 2097152),
        ("10MB", 10_000_000),
        ("1kB", 1000),
        ("1KB", 1000),
        ("1GB", 10**9),
        ("1GiB", 2**30),
        ("1TiB", 2**40),
        ("1.5KiB", 1536),
    ],
)
def test_a_size_is_read_in_bytes(text: str, count: int) -> None:
    assert Size.parse(text) == count


@pytest.mark.parametrize("text", ["", "2M", "2Mb", "2mib", "-1", "1 B", "KiB", "0x10", "1e3"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"^expected a size such as"):
        Size.parse(text)


def test_a_part_of_a_byte_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^expected a whole number of bytes$"):
        Size.parse("0.5B")


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0B"), (100, "100B"), (65536, "64KiB"), (10_000_000, "10MB"), (1536, "1536B"), (2**40, "1TiB")],
)
def test_a_size_is_written_in_the_largest_whole_unit(count: int, text: str) -> None:
    assert str(Size(count)) == text


@given(st.integers(0, 10**15 - 1))
def test_a_size_survives_being_written_and_read(count: int) -> None:
    assert Size.parse(str(Size(count))) == count


@pytest.mark.parametrize(("text", "share"), [("0", 0.0), ("0%", 0.0), ("20%", 0.2), ("0.5%", 0.005), ("100%", 1.0)])
def test_a_percentage_is_read_as_a_share(text: str, share: float) -> None:
    assert Percent.parse(text) == share


@pytest.mark.parametrize("text", ["", "20", "-1%", "101%", "100.1%", "20 %", "%"])
def test_what_is_no_percentage_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"^expected a percentage from 0% to 100%, such as 20%$"):
        Percent.parse(text)


@given(st.decimals(0, 100, places=6))
def test_a_percentage_survives_being_written_and_read(share: object) -> None:
    value = Percent.parse(f"{share:f}%")
    assert Percent.parse(str(value)) == value


@pytest.mark.parametrize("kind", QUANTITIES)
def test_a_quantity_shows_its_number_to_developers(kind: type[Any]) -> None:
    value = kind.parse("0")
    assert eval(repr(value), {kind.__name__: kind}) == value


class Everything(BaseModel):
    """One of each."""

    pause: Duration = Duration(1.5)
    limit: Size = Size(2048)
    share: Percent = Percent(0.25)
    secret: Secret = Secret("hush")


def test_models_take_quantities_as_texts_as_themselves_and_as_bare_zeros() -> None:
    read = Everything.model_validate({"pause": "2s", "limit": "1KiB", "share": "5%", "secret": "x"})
    assert (read.pause, read.limit, read.share) == (2.0, 1024, 0.05)
    same = Everything(pause=Duration(2.0), limit=Size(1024), share=Percent(0.05), secret=Secret("x"))
    assert same == read
    nothing = Everything.model_validate({"pause": 0, "limit": 0, "share": 0.0})
    assert (nothing.pause, nothing.limit, nothing.share) == (0.0, 0, 0.0)
    assert type(nothing.pause) is Duration


def test_models_take_sizes_as_whole_numbers_but_no_bare_durations_and_percentages() -> None:
    assert Everything.model_validate({"limit": 512}).limit == 512
    with pytest.raises(ValidationError) as caught:
        Everything.model_validate({"pause": 5, "share": 0.2, "limit": 1.5})
    assert [(error["loc"], error["type"]) for error in caught.value.errors()] == [
        (("pause",), "expected"),
        (("limit",), "expected"),
        (("share",), "expected"),
    ]


@pytest.mark.parametrize("value", [True, False, None, [], -1])
@pytest.mark.parametrize("kind", QUANTITIES)
def test_models_take_no_other_values_for_quantities(kind: type[Any], value: object) -> None:
    with pytest.raises(ValidationError, match="expected a"):
        TypeAdapter(kind).validate_python(value)


def test_quantities_are_texts_in_json_and_secrets_are_masked() -> None:
    shown = {"pause": "1500ms", "limit": "2KiB", "share": "25%", "secret": MASK}
    assert json.loads(Everything().model_dump_json()) == shown
    assert Everything().model_dump()["pause"] == 1.5
    assert str(Everything().model_dump()["secret"]) == MASK


def test_the_schema_of_quantities_takes_their_texts_and_variables() -> None:
    schema = Everything.model_json_schema()["properties"]
    for key, good, bad in (("pause", "1.5s", "5"), ("limit", "2MiB", "2M"), ("share", "5%", "5")):
        pattern = schema[key]["anyOf"][0]["pattern"]
        assert re.search(pattern, good)
        assert re.search(pattern, "${VAR:-x}")
        assert re.search(pattern, "0")
        assert not re.search(pattern, bad)
    assert schema["secret"]["title"] == "Secret"
    assert [list(one.get("properties", ())) for one in schema["secret"]["anyOf"]] == [[], ["file"], ["credential"]]


def test_a_quantity_without_grammar_cannot_be_read() -> None:
    from suuupra_gateway.config.units import _Quantity

    with pytest.raises(AssertionError):
        _Quantity.parse("1")


def test_a_secret_never_shows_itself() -> None:
    secret = Secret("hush")
    assert [str(secret), repr(secret), f"{secret}", f"{secret!r}"] == [MASK] * 4
    assert "hush" not in repr(Everything(secret=secret))
    assert secret.reveal() == "hush"


def test_secrets_are_compared_by_what_they_hold() -> None:
    assert Secret("a") == Secret("a")
    assert hash(Secret("a")) == hash(Secret("a"))
    assert Secret("a") != Secret("b")
    assert Secret("a") != "a"
    assert Secret("\ud800") != Secret("b")
    assert not Secret("")
    assert Secret("a")


def test_a_referenced_secret_is_taken_from_the_validation_context() -> None:
    context = {SECRETS: {"file:/run/key": "one", "credential:key": "two"}}
    adapter = TypeAdapter(Secret)
    assert adapter.validate_python({"file": "/run/key"}, context=context).reveal() == "one"
    assert adapter.validate_python({"credential": "key"}, context=context).reveal() == "two"
    with pytest.raises(ValidationError, match="could not be read"):
        adapter.validate_python({"file": "/run/other"}, context=context)
    with pytest.raises(ValidationError, match="could not be read"):
        adapter.validate_python({"file": "/run/key"})


@pytest.mark.parametrize(
    "value", [12345, None, True, [], {}, {"env": "X"}, {"file": "a", "credential": "b"}, {"file": 1}]
)
def test_what_is_no_secret_is_refused(value: object) -> None:
    with pytest.raises(ValidationError) as caught:
        TypeAdapter(Secret).validate_python(value)
    assert caught.value.errors()[0]["msg"] == "expected {file: PATH}, {credential: NAME} or a text in quotes"


def test_a_reference_is_a_mapping_of_one_kind_to_a_name() -> None:
    assert reference({"file": "/a"}) == "file:/a"
    assert reference({"credential": "b"}) == "credential:b"
    assert [reference(value) for value in ("x", {}, {"other": "x"}, {"file": None})] == [None] * 4


def test_an_expectation_is_an_error_of_its_own_type() -> None:
    error = expected("{braces}")
    assert isinstance(error, PydanticCustomError)
    assert error.message() == "expected {braces}"
