"""
One YAML file with the place of everything in it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from suuupra_gateway.config.fragment import MOST_LEVELS, Fragment, Unreadable, mark_of


def read(text: str | bytes, environ: Mapping[str, str] | None = None) -> Fragment:
    """A fragment that nothing is wrong with."""
    found = Fragment(text.encode() if isinstance(text, str) else text, "a.yaml", environ or {})
    assert found.errors == []
    return found


def wrong(text: str) -> list[str]:
    """What is wrong with a text that can be used all the same."""
    return [str(error) for error in Fragment(text.encode(), "a.yaml", {}).errors]


def broken(text: str | bytes) -> str:
    """Why a text cannot be used."""
    with pytest.raises(Unreadable) as caught:
        Fragment(text.encode() if isinstance(text, str) else text, "a.yaml", {})
    return str(caught.value.error)


def place(found: Fragment, container: Any, step: str | int) -> str:
    """Where something in a container stands."""
    return str(mark_of(found.marks[id(container)].values[step]))


def test_a_file_is_a_tree_of_plain_values() -> None:
    found = read("a: [1, x, {b: true}]\nc:\n  - |\n    text\n  - 'no'\n  - ''\nd:\n")
    assert found.tree == {"a": [1, "x", {"b": True}], "c": ["text\n", "no", ""], "d": None}


@pytest.mark.parametrize("text", ["", "# nothing\n", "---\n", "---\n...\n"])
def test_an_empty_file_is_nothing(text: str) -> None:
    assert read(text).tree is None


def test_quoted_scalars_are_texts() -> None:
    assert read("""['1', "true", "~", "1.5"]""").tree == ["1", "true", "~", "1.5"]


def test_keys_are_texts() -> None:
    assert read("1: a\ntrue: b\n~: c\n").tree == {"1": "a", "true": "b", "~": "c"}


def test_everything_has_a_place() -> None:
    found = read("a:\n  - x\n  -   {b: y}\n")
    assert place(found, found.tree, "a") == "a.yaml:2:3"
    assert place(found, found.tree["a"], 0) == "a.yaml:2:5"
    assert place(found, found.tree["a"][1], "b") == "a.yaml:3:11"
    assert str(mark_of(found.marks[id(found.tree["a"][1])].keys["b"])) == "a.yaml:3:8"


def test_columns_count_characters() -> None:
    found = read('{\u00fc\u00fc: "\u20ac", b: c}')
    assert place(found, found.tree, "b") == "a.yaml:1:14"


def test_variables_are_replaced_in_values_and_stay_texts() -> None:
    found = read('a: ${N}\nb: "<${N}>"\nc: $${N}\n${N}: d\n', {"N": "1"})
    assert found.tree == {"a": "1", "b": "<1>", "c": "${N}", "${N}": "d"}
    assert found.marks[id(found.tree)].raw == {"a": "${N}", "b": "<${N}>", "c": "$${N}"}


def test_a_missing_variable_is_told_with_its_place() -> None:
    (error,) = wrong("a:\n  b: ${NOPE}\n")
    assert error.startswith("a.yaml:2:6: a.b: the environment variable NOPE is not set, set it, or write")


def test_aliases_share_what_they_stand_for() -> None:
    found = read("a: &x {b: 1}\nc: [*x, *x]\nd: &t text\ne: *t\n")
    assert found.tree == {"a": {"b": 1}, "c": [{"b": 1}, {"b": 1}], "d": "text", "e": "text"}
    assert place(found, found.tree["c"], 1) == "a.yaml:2:9"


def test_an_alias_of_what_came_from_the_environment_came_from_there_too() -> None:
    found = read("a: &x ${N}\nb: *x\nc: [*x]\n", {"N": "1"})
    assert found.tree == {"a": "1", "b": "1", "c": ["1"]}
    assert found.marks[id(found.tree["c"])].raw == {0: "${N}"}


def test_a_key_may_be_an_anchor() -> None:
    assert read("&x a: 1\nb: *x\n").tree == {"a": 1, "b": "a"}


def test_merge_keys_add_what_is_not_written() -> None:
    found = read(
        "x: &x {a: 1, b: 1, e: '${N}'}\ny: &y {b: 2, c: 2}\nz: {<<: [*x, *y], c: 3, d: 3}\nw: {a: 0, <<: *x}\n",
        {"N": "n"},
    )
    assert found.tree["z"] == {"a": 1, "b": 1, "c": 3, "d": 3, "e": "n"}
    assert found.tree["w"] == {"a": 0, "b": 1, "e": "n"}
    assert place(found, found.tree["z"], "a") == "a.yaml:1:11"
    assert found.marks[id(found.tree["z"])].raw == {"e": "${N}"}


def test_a_quoted_merge_key_is_a_key() -> None:
    assert read("{'<<': 1}").tree == {"<<": 1}


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("{a: {<<: 1}}", "a.yaml:1:10: a: << takes an alias of a mapping, or a list of such aliases"),
        ("{a: {<<: [{}, 1]}}", "a.yaml:1:10: a: << takes an alias of a mapping, or a list of such aliases"),
        ("{<<: {a: 1}, <<: {b: 1}}", "a.yaml:1:14: this key is set twice, write << : [*one, *other]"),
        ("a: 1\nb: 2\na: 3\n", "a.yaml:3:1: a: this key is set twice, first at a.yaml:1:1"),
        ("r: [{}, {x: {k: 1, k: {}}}]", "a.yaml:1:20: r[1].x.k: this key is set twice, first at a.yaml:1:14"),
        (
            "a: *x",
            "a.yaml:1:4: a: there is no anchor &x above, an anchor can neither be in another file nor hold itself",
        ),
        (
            "a: &x [*x]",
            "a.yaml:1:8: a: there is no anchor &x above, an anchor can neither be in another file nor hold itself",
        ),
        ("a: !!int 1", "a.yaml:1:4: a: the tag !!int means nothing here, leave it out"),
        ("a: !env X", "a.yaml:1:4: a: the tag !env means nothing here, leave it out"),
        ("a: !!python/object:x {}", "a.yaml:1:4: a: the tag !!python/object:x means nothing here, leave it out"),
        ("a: !!set {}", "a.yaml:1:4: a: the tag !!set means nothing here, leave it out"),
        ("a: !x []", "a.yaml:1:4: a: the tag !x means nothing here, leave it out"),
    ],
)
def test_what_is_wrong_but_readable_is_told_with_its_place(text: str, error: str) -> None:
    assert wrong(text) == [error]


def test_the_first_of_two_equal_keys_is_kept() -> None:
    found = Fragment(b"a: 1\na: 2\n", "a.yaml", {})
    assert found.tree == {"a": 1}


def test_tags_that_say_what_is_known_anyway_are_accepted() -> None:
    assert read("a: !!str 1\nb: !!map {}\nc: !!seq []\n").tree == {"a": "1", "b": {}, "c": []}


@pytest.mark.parametrize(
    ("text", "error"),
    [
        (
            "a: [1\nb: 2",
            "a.yaml:2:2: no YAML: while parsing a flow sequence, did not find expected ',' or ']' (begun in line 1)",
        ),
        ("a:\n\t- b\n", "a.yaml:2:1: no YAML: a tab where none may be, indent with spaces"),
        ("{a: ${B:-1}}", "inside braces and brackets put ${...} in quotes"),
        (
            "a: @b",
            "a.yaml:1:4: no YAML: while scanning for the next token, found character that cannot start any token",
        ),
        ("a: 1\n---\nb: 2\n", "a.yaml:2:1: a second document, use include for several files"),
        ("{[a]: b}", "a.yaml:1:2: a key must be a text, quote braces and brackets"),
        ("{{a: 1}: b}", "a.yaml:1:2: a key must be a text, quote braces and brackets"),
        ("a: &x y\nb: {*x : 1}\n", "a.yaml:2:5: b: a key must be a text, an alias cannot be one"),
        ("a: \x01", "a.yaml:1:4: no YAML: control characters are not allowed, save it as UTF-8"),
    ],
)
def test_what_is_no_yaml_is_told_in_one_line(text: str, error: str) -> None:
    found = broken(text)
    assert found.startswith(error) or found.endswith(error)
    assert "\n" not in found


def test_what_is_not_utf8_has_a_place_too() -> None:
    assert broken(b"a: b\nc: \xff\n").startswith("a.yaml:2:4: no YAML: ")


def test_a_byte_order_mark_is_no_part_of_the_first_key() -> None:
    assert read(b"\xef\xbb\xbfa: 1\n").tree == {"a": 1}


@pytest.mark.parametrize("opening", ["[", "{a: "])
def test_nesting_has_a_bound(opening: str) -> None:
    assert f"nested more than {MOST_LEVELS} levels deep" in broken(opening * 100_000)
    closing = "]" if opening == "[" else "}"
    assert read(opening * MOST_LEVELS + closing * MOST_LEVELS).tree


def test_nesting_by_aliases_has_the_same_bound() -> None:
    lines = ["a0: &a0 []", *(f"a{level}: &a{level} [*a{level - 1}]" for level in range(1, 100))]
    assert "nested more than" in broken("\n".join(lines))


def test_aliases_cannot_multiply_without_end() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * 10)}]" for level in range(1, 10)]
    assert "aliases make more than 1,000,000 values of this" in broken("\n".join(lines))
    assert read("\n".join(lines[:4])).tree["a3"][9][9][9][9] == "x"


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**17), 10**17)
    | st.text("abc:- {}[]#&*!|>'\"%@`,?\u00fc\u20ac\n01", max_size=12),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text("abc-<1", min_size=1, max_size=6), inner, max_size=4)
    ),
    max_leaves=20,
)


@settings(deadline=None)
@given(VALUES, st.booleans())
def test_what_a_dumper_writes_is_read_as_it_was(value: object, flow: bool) -> None:
    """The dumper quotes by YAML 1.1, whose other scalars are a superset of those that mean anything here."""
    text = yaml.safe_dump(value, default_flow_style=flow, allow_unicode=True)
    assert read(text).tree == value


def test_the_parser_in_python_gives_the_same_events() -> None:
    text = "a: &x [1, '${N}']\nb: {c: *x, <<: {d: 'e'}}\n"
    fast = read(text, {"N": "n"})
    slow = Fragment(text.encode(), "a.yaml", {"N": "n"}, parser=yaml.SafeLoader)
    assert slow.tree == fast.tree
    assert place(slow, slow.tree["b"], "c") == place(fast, fast.tree["b"], "c")
    with pytest.raises(Unreadable, match="special characters are not allowed"):
        Fragment(b"a: \x01", "a.yaml", {}, parser=yaml.SafeLoader)


@settings(deadline=None)
@given(st.text("ab:-[]{}&*!|>'\"#\n\t ,?%@$<~0.", max_size=60).map(str.encode) | st.binary(max_size=40))
def test_whatever_a_file_holds_it_is_read_or_refused(content: bytes) -> None:
    """And what is read without complaint has the shape that PyYAML itself sees, texts for scalars."""
    try:
        found = Fragment(content, "a.yaml", {})
    except Unreadable:
        return
    if found.errors or b"<<" in content or b"&" in content or b"$" in content:
        return

    def shape(value: Any) -> Any:
        if isinstance(value, list):
            return [shape(one) for one in value]
        return {key: shape(one) for key, one in value.items()} if isinstance(value, dict) else None

    assert shape(found.tree) == shape(yaml.load(content, getattr(yaml, "CBaseLoader", yaml.BaseLoader)))
