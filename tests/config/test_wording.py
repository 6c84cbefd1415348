"""
What pydantic found, in words.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from pydantic import Field, ValidationError, field_validator

from suuupra_gateway.config.source import Document
from suuupra_gateway.config.spec import Cidr, Flag, HeaderName, HeaderPairs, Name, Named, Pairs, Spec
from suuupra_gateway.config.units import SECRETS, Duration, Secret
from suuupra_gateway.config.wording import among, findings, keys, show, similar, specs


class Leaf(Spec):
    """The innermost."""

    colour: Literal["red", "green", "blue"] = "red"
    weight: Annotated[int, Field(ge=1, le=9)] = 1


class Everything(Spec):
    """All kinds of fields."""

    text: str = ""
    short: Annotated[str, Field(min_length=2, max_length=3)] = "ab"
    name: Name = "a"
    number: int = 0
    share: Annotated[float, Field(gt=0, lt=1)] = 0.5
    flag: Flag = True
    plain_flag: bool = True
    pause: Duration = Duration(1.0)
    header: HeaderName | Literal[""] = ""
    count: Literal["auto"] | Annotated[int, Field(ge=0, le=4)] = "auto"
    ranges: tuple[Cidr, ...] = ()
    two: tuple[int, int] = (1, 2)
    some: Annotated[tuple[int, ...], Field(min_length=1, max_length=2)] = (1,)
    labels: Pairs = ()
    fields: HeaderPairs = ()
    leaf: Leaf | None = None
    leaves: tuple[Leaf, ...] = ()
    named: Annotated[tuple[Everything, ...], Named(Leaf)] = ()
    either: Leaf | tuple[Leaf, ...] | None = None
    secret: Secret | None = None
    raw: bytes = b""
    checked: str = ""
    asserted: str = ""
    pattern: Annotated[str, Field(pattern="^x+$")] = "x"

    @field_validator("checked")
    @classmethod
    def _checked(cls, value: str) -> str:
        if value:
            raise ValueError("Never good")
        return value

    @field_validator("asserted")
    @classmethod
    def _asserted(cls, value: str) -> str:
        assert not value, "OK it is not"
        return value


class Strict(Spec):
    """With something that must be there."""

    needed: str
    one: Annotated[int, Field(ge=1, le=9)] = 1


def told(value: object, model: type[Spec] = Everything, document: Document | None = None, loc: Any = ()) -> list[str]:
    """Every finding as one line."""
    document = document or Document.from_tree(value)  # type: ignore[arg-type]  # a tree is a mapping everywhere else
    with pytest.raises(ValidationError) as caught:
        model.model_validate(value, context={SECRETS: {}}, by_alias=True, by_name=False)
    lines = []
    for finding in findings(caught.value.errors(), model, loc, document):
        path = ".".join(map(str, finding.loc))
        lines.append(
            f"{path}{'!' if finding.key else ''}: {finding.why}" + (f", {finding.hint}" if finding.hint else "")
        )
    return lines


@pytest.mark.parametrize(
    ("value", "line"),
    [
        ({"text": 1}, "text: expected a text, not 1, put it in quotes"),
        ({"text": True}, "text: expected a text, not true, put it in quotes"),
        ({"text": None}, "text: expected a text, not nothing"),
        ({"text": []}, "text: expected a text, not a list"),
        ({"short": "a"}, "short: expected at least 2 characters"),
        ({"short": "abcd"}, "short: expected at most 3 characters"),
        ({"name": "-"}, "name: expected a name of at most 63 letters, digits, dots, hyphens and underscores that begins with a "
            "letter or digit, not '-'"),
        ({"pattern": "y"}, "pattern: expected a text that matches ^x+$, not 'y'"),
        ({"number": "x"}, "number: expected a whole number, not 'x'"),
        ({"number": 1.5}, "number: expected a whole number, not 1.5"),
        ({"number": []}, "number: expected a whole number, not a list"),
        ({"share": "x"}, "share: expected a number, not 'x'"),
        ({"share": {}}, "share: expected a number, not a mapping"),
        ({"share": 0}, "share: expected more than 0.0, not 0"),
        ({"share": 1}, "share: expected less than 1.0, not 1"),
        ({"flag": "no"}, "flag: expected true or false, not 'no'"),
        ({"flag": []}, "flag: expected true or false"),
        ({"plain-flag": "maybe"}, "plain-flag: expected true or false, not 'maybe'"),
        ({"plain-flag": []}, "plain-flag: expected true or false, not a list"),
        ({"pause": 5}, "pause: expected a duration such as 250ms, 1.5s, 2m, 1h or 1d, not 5"),
        ({"header": "a b"}, "header: expected the name of a header field or '', not 'a b'"),
        ({"count": "atuo"}, "count: expected 'auto' or a whole number, not 'atuo', did you mean auto?"),
        ({"count": 5}, "count: expected 'auto' or at most 4, not 5"),
        ({"ranges": "10.0.0.0/8"}, "ranges: expected a list, not '10.0.0.0/8', put it in brackets"),
        ({"ranges": {}}, "ranges: expected a list, not a mapping"),
        ({"ranges": ["x"]}, "ranges.0: expected an address range such as 10.0.0.0/8 or fd00::/8, not 'x'"),
        ({"two": [1]}, "two: expected one more value"),
        ({"two": [1, 2, 3]}, "two: expected at most 2 entries"),
        ({"some": []}, "some: expected at least 1 entry"),
        ({"some": [1, 2, 3]}, "some: expected at most 2 entries"),
        ({"labels": []}, "labels: expected a mapping (key: value), not a list"),
        ({"labels": {"a": 1}}, "labels.a: expected a text, not 1, put it in quotes"),
        ({"fields": {"a b": "c"}}, "fields.a b!: expected the name of a header field, not 'a b'"),
        ({"fields": {"a": "b\n"}}, "fields.a: expected the value of a header field: one line, no control characters, not 'b\\n'"),
        ({"leaf": 1}, "leaf: expected a mapping (key: value), not 1"),
        ({"leaf": {"colour": "gren"}}, "leaf.colour: expected 'red', 'green' or 'blue', not 'gren', did you mean green?"),
        ({"leaf": {"colour": 7}}, "leaf.colour: expected 'red', 'green' or 'blue', not 7"),
        ({"leaf": {"weight": 0}}, "leaf.weight: expected at least 1, not 0"),
        ({"leaf": {"color": "red"}}, "leaf.color!: unknown key, did you mean colour?"),
        ({"leaves": [{}, {"xyz": 1}]}, "leaves.1.xyz!: unknown key, known here: colour, weight"),
        ({"named": {"a": {"wieght": 1}}}, "named.a.wieght!: unknown key, did you mean weight?"),
        ({"plain_flag": True}, "plain_flag!: unknown key, did you mean plain-flag?"),
        ({"xyz": 1}, "xyz!: unknown key"),
        ({"either": {"weight": "x"}}, "either.weight: expected a whole number, not 'x'"),
        ({"secret": 12345}, "secret: expected {file: PATH}, {credential: NAME} or a text in quotes"),
        ({"secret": {"file": "/none"}}, "secret: this secret could not be read"),
        ({"raw": 1}, "raw: expected a text, not 1, put it in quotes"),
        ({"checked": "x"}, "checked: never good"),
        ({"asserted": "x"}, "asserted: OK it is not"),
        ({"number": "9" * 5000}, f"number: expected a smaller number, not '{'9' * 57}...'"),
    ],
)  # fmt: skip
def test_each_mistake_is_told_in_words(value: dict[str, object], line: str) -> None:
    assert line in told(value)


def test_a_missing_key_is_told_at_its_parent() -> None:
    assert told({}, Strict) == [": needed is missing"]
    assert told({"one": 0}, Strict) == [": needed is missing", "one: expected at least 1, not 0"]


def test_a_list_with_something_wrong_in_it_is_not_counted() -> None:
    assert told({"some": ["x"]}) == ["some.0: expected a whole number, not 'x'"]


def test_paths_begin_where_the_value_stands() -> None:
    document = Document.from_tree({"a": [{"leaf": {"weight": "x"}}]})
    assert told(document.tree["a"][0], document=document, loc=("a", 0)) == [
        "a.0.leaf.weight: expected a whole number, not 'x'"
    ]


def test_why_a_secret_could_not_be_read_is_told() -> None:
    value = {"secret": {"file": "/none"}}
    document = Document(value, unread={"file:/none": "cannot read /none"})
    assert told(value, document=document) == ["secret: cannot read /none"]


def test_what_came_from_the_environment_is_shown_as_it_is_written(tmp_path: Path) -> None:
    from tests.config.files import read

    document = read(tmp_path, "number: ${PASSWORD}\n", {"PASSWORD": "hush"})
    tree = {"number": document.tree["number"]}
    document.tree.pop("$source")
    assert told(tree, document=document) == ["number: expected a whole number, not what ${PASSWORD} stands for"]


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, "nothing"),
        (True, "true"),
        (False, "false"),
        (7, "7"),
        (1.5, "1.5"),
        ("a'b", '"a\'b"'),
        ("a\nb", "'a\\nb'"),
        ("x" * 61, f"'{'x' * 57}...'"),
        ({"a": "hush"}, "a mapping"),
        (["hush"], "a list"),
        (10**50, "a very long number"),
    ],
)
def test_values_are_shown_short_and_without_what_is_inside(value: object, shown: str) -> None:
    assert show(value) == shown


def test_similar_words_are_offered() -> None:
    assert similar("usrs", ["orders", "users"]) == "did you mean users?"
    assert similar("Users", ["Users2", "x"]) == "did you mean Users2?"
    assert similar("first_byte", ["first-byte"]) == "did you mean first-byte?"
    assert similar("xyz", ["users"]) == ""


def test_what_is_known_is_listed_if_it_is_not_too_much() -> None:
    assert among(["a", "b"], "routes") == "routes: a, b"
    assert among([]) == ""
    assert among(map(str, range(17))) == ""


def test_the_keys_of_a_place_are_found_through_lists_mappings_and_unions() -> None:
    leaf = ["colour", "weight"]
    assert keys(Everything, ("leaves", 3)) == leaf
    assert keys(Everything, ("named", "a")) == leaf
    assert keys(Everything, ("either",)) == [*leaf, *leaf]
    assert "plain-flag" in keys(Everything, ())
    assert specs(int) == []
