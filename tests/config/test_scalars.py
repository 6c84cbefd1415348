"""
Scalars of YAML 1.2 and variables.
"""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from suuupra_gateway.config.scalars import CannotExpand, expand, resolve


@pytest.mark.parametrize(
    "text",
    [
        "no",
        "No",
        "NO",
        "yes",
        "on",
        "off",
        "y",
        "n",
        "012",
        "0x1F",
        "0o17",
        "1:30",
        "1_000",
        "2026-01-01",
        ".inf",
        "-.INF",
        ".nan",
        "1e999",
        "=",
        "<<",
        "+",
        "-",
        ".",
        "-a",
        "1.2.3",
        "1234567890123456789",
        "null?",
        "truE",
    ],
)
def test_what_only_looks_like_something_is_text(text: str) -> None:
    assert resolve(text) == text
    assert type(resolve(text)) is str


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("", None),
        ("~", None),
        ("null", None),
        ("true", True),
        ("False", False),
        ("0", 0),
        ("-7", -7),
        ("+7", 7),
        ("1.5", 1.5),
        (".5", 0.5),
        ("5.", 5.0),
        ("1e3", 1000.0),
        ("-0.0", -0.0),
    ],
)
def test_the_core_schema_knows_nothing_truth_and_numbers(text: str, value: object) -> None:
    found = resolve(text)
    assert (type(found), found) == (type(value), value)


@given(st.integers(-(10**18) + 1, 10**18 - 1))
def test_integers_are_read_as_they_are_written(number: int) -> None:
    assert resolve(str(number)) == number


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_numbers_are_read_as_they_are_written(number: float) -> None:
    assert resolve(repr(number)) == number


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("${A}", "one"),
        ("<${A}-${B}>", "<one-two>"),
        ("${MISSING:-three}", "three"),
        ("${EMPTY:-four}", "four"),
        ("${EMPTY}", ""),
        ("${A:-five}", "one"),
        ("${MISSING:-}", ""),
        ("$${A}", "${A}"),
        ("$$${A}", "$${A}"),
        ("$A $1 $", "$A $1 $"),
        ("${A}$${A}", "one${A}"),
        ("${TRICKY}", "${A}"),
    ],
)
def test_variables_are_replaced_once(text: str, value: str) -> None:
    environ = {"A": "one", "B": "two", "EMPTY": "", "TRICKY": "${A}"}
    assert expand(text, environ) == value


def test_a_variable_that_is_not_set_is_an_error_with_two_ways_out() -> None:
    with pytest.raises(CannotExpand, match=r"^the environment variable HOME2 is not set$") as caught:
        expand("${HOME2}", {})
    assert "${HOME2:-default}" in caught.value.hint
    assert "$${HOME2}" in caught.value.hint


@pytest.mark.parametrize("text", ["${", "${}", "${1A}", "${A B}", "${A", "${A:-x", "${A:-${B}}", "${A:x}", "${a-b}"])
def test_what_is_no_variable_is_an_error(text: str) -> None:
    with pytest.raises(CannotExpand, match=r"^expected \$\{VAR\} or \$\{VAR:-default\}$"):
        expand(text, {"A": "a", "B": "b"})


def test_a_variable_that_is_not_utf8_is_an_error() -> None:
    with pytest.raises(CannotExpand, match="is not UTF-8"):
        expand("${A}", {"A": "\udcff"})
    assert expand("${A}", {"A": "\u00fc"}) == "\u00fc"


@given(st.text())
@example("${A}")
@example("$${")
def test_an_escaped_text_comes_back_as_it_was(text: str) -> None:
    assert expand(text.replace("${", "$${"), {}) == text
