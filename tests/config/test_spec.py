"""
What all specs share.
"""

from __future__ import annotations

import re
from typing import Annotated, Any

import pytest
from pydantic import TypeAdapter, ValidationError

from suuupra_gateway.config.spec import (
    BASE,
    KEY,
    METHOD,
    NAME,
    NAMES,
    OBJECT,
    PATTERNS,
    STICKY,
    TOKEN,
    Cidr,
    FilePath,
    Flag,
    HeaderName,
    HeaderPairs,
    JsonObject,
    Name,
    Named,
    OneOf,
    Pairs,
    Positive,
    Shorthand,
    Spec,
    absolute_path,
    host_pattern,
    hyphens,
    web_url,
)
from suuupra_gateway.config.units import Duration


class Thing(Shorthand):
    """A thing."""

    short_form = "Its name alone."

    name: Name = "unnamed"
    """What it is called."""

    is_big: Flag = False

    @classmethod
    def unfold(cls, value: str) -> dict[str, Any]:
        return {"is-big": True, "name": value}


class Box(Spec):
    """Holds things."""

    things: Annotated[tuple[Thing, ...], Named(Thing)] = ()
    labels: Pairs = ()
    fields: HeaderPairs = ()


class Choice(OneOf):
    """One of two."""

    first_thing: Thing | None = None
    second: Thing | None = None


def refused(kind: Any, value: object) -> str:
    """Why pydantic refuses it."""
    with pytest.raises(ValidationError) as caught:
        TypeAdapter(kind).validate_python(value)
    return str(caught.value.errors()[0]["msg"])


def test_keys_of_files_have_hyphens() -> None:
    assert hyphens("first_byte") == "first-byte"
    assert hyphens("from_") == "from"
    assert Thing.model_validate({"is-big": True}).is_big
    assert Thing(is_big=True).is_big


def test_specs_are_values() -> None:
    one, other = Thing(name="a"), Thing(name="a")
    assert one == other
    assert hash(one) == hash(other)
    with pytest.raises(ValidationError):
        one.name = "b"
    with pytest.raises(ValidationError):
        Thing.model_validate({"nam": "b"})


def test_a_shorthand_is_a_text_or_the_long_form() -> None:
    assert Thing.model_validate("a") == Thing(name="a", is_big=True)
    assert Thing.model_validate({"name": "a"}) == Thing(name="a")
    schema = Thing.model_json_schema()
    assert schema["anyOf"][0] == {"type": "string", "description": "Its name alone."}
    assert schema["anyOf"][1]["properties"]["name"]["description"] == "What it is called."


def test_a_shorthand_says_itself_what_a_text_means() -> None:
    with pytest.raises(AssertionError):
        Shorthand.unfold("a")


def test_exactly_one_key_is_given() -> None:
    choice = Choice.model_validate({"first-thing": {"name": "a"}})
    assert (choice.kind, choice.spec) == ("first-thing", Thing(name="a"))
    assert Choice(second=Thing(name="b")).kind == "second"
    assert refused(Choice, {}) == "expected exactly one of first-thing, second"
    assert refused(Choice, {"first-thing": {}, "second": {}}) == "expected exactly one of first-thing, second"
    assert Choice.model_json_schema()["maxProperties"] == 1


def test_a_choice_without_a_value_takes_all_defaults() -> None:
    assert Choice.model_validate({"second": None}).spec == Thing()
    assert "dictionary" in refused(Choice, "second")


@pytest.mark.parametrize(("value", "flag"), [(True, True), (False, False), ("true", True), ("false", False)])
def test_a_flag_is_true_or_false(value: object, flag: bool) -> None:
    assert TypeAdapter(Flag).validate_python(value) is flag


@pytest.mark.parametrize("value", ["no", "on", "True", 0, 1, None, []])
def test_a_flag_is_nothing_else(value: object) -> None:
    assert refused(Flag, value) == "expected true or false"


def test_a_positive_duration_is_not_zero() -> None:
    assert TypeAdapter(Positive).validate_python("1s") == Duration(1.0)
    assert refused(Positive, "0") == "expected a duration above zero"


@pytest.mark.parametrize("value", ["10.0.0.0/8", "fd00::/8", "127.0.0.1", "::1"])
def test_an_address_range_is_kept_as_written(value: str) -> None:
    assert TypeAdapter(Cidr).validate_python(value) == value


@pytest.mark.parametrize("value", ["10.0.0.0/33", "", "example.org"])
def test_what_is_no_address_range_is_refused(value: str) -> None:
    assert refused(Cidr, value) == "expected an address range such as 10.0.0.0/8 or fd00::/8"


def test_an_address_range_says_no_more_than_its_prefix() -> None:
    assert refused(Cidr, "10.0.0.1/8") == "expected an address range without bits behind its prefix, such as 10.0.0.0/8"


def test_relative_paths_belong_to_the_directory_of_the_context() -> None:
    adapter = TypeAdapter(FilePath)
    context = {BASE: "/etc/gateway"}
    assert adapter.validate_python("tls/ca.pem", context=context) == "/etc/gateway/tls/ca.pem"
    assert adapter.validate_python("/ca.pem", context=context) == "/ca.pem"
    assert adapter.validate_python("", context=context) == ""
    assert adapter.validate_python("ca.pem") == "ca.pem"


def test_pairs_keep_the_order_of_the_file() -> None:
    box = Box.model_validate({"labels": {"b": "1", "a": "2"}})
    assert box.labels == (("b", "1"), ("a", "2"))
    assert box.model_dump(mode="json")["labels"] == {"b": "1", "a": "2"}


def test_pairs_made_in_python_may_have_a_name_twice() -> None:
    assert Box(labels=(("a", "1"), ("a", "2"))).labels == (("a", "1"), ("a", "2"))


@pytest.mark.parametrize("value", [{"a": 1}, {"a": None}, [], "a", None])
def test_pairs_are_texts(value: object) -> None:
    assert refused(Pairs, value)


@pytest.mark.parametrize(
    "value", [{"a b": "c"}, {"": "c"}, {"a:": "c"}, {"a": "c\r\nd: e"}, {"a": "\0"}, {"a\n": "c"}, {"a": "c\n"}]
)
def test_header_fields_cannot_split_a_message(value: dict[str, str]) -> None:
    assert "pattern" in refused(HeaderPairs, value)
    assert "pattern" in refused(HeaderPairs, tuple(value.items()))


def test_header_fields_may_have_latin_1() -> None:
    assert TypeAdapter(HeaderPairs).validate_python({"a": "\u00e9\t "}) == (("a", "\u00e9\t "),)
    assert "pattern" in refused(HeaderPairs, {"a": "\u20ac"})
    assert TypeAdapter(HeaderName).validate_python("X-A") == "X-A"


def test_a_json_object_is_kept_as_its_canonical_text() -> None:
    adapter = TypeAdapter(JsonObject)
    kept = adapter.validate_python({"b": [1, {"c": None}], "a": "\u00e9"})
    assert kept == '{"a": "\u00e9", "b": [1, {"c": null}]}'
    assert adapter.validate_python(kept) == kept
    assert adapter.dump_python(kept, mode="json") == {"a": "\u00e9", "b": [1, {"c": None}]}
    assert adapter.json_schema() == {"type": "object"}


@pytest.mark.parametrize("value", [[], 7, None, "x", "[1]", "{"])
def test_a_json_object_is_a_mapping(value: object) -> None:
    assert "expected a mapping" in refused(JsonObject, value)


def test_a_named_spec_knows_its_key() -> None:
    box = Box.model_validate({"things": {"a": {"is-big": True}, "b": {}}})
    assert box.things == (Thing(name="a", is_big=True), Thing(name="b"))
    assert box.model_dump(mode="json", by_alias=True)["things"] == {"a": {"is-big": True}, "b": {"is-big": False}}
    assert Box(things=(Thing(name="a"),)).things == (Thing(name="a"),)


def test_a_named_spec_has_no_name_but_its_key() -> None:
    assert Box.model_validate({"things": {"a": {"name": "a"}}}).things == (Thing(name="a"),)
    assert (
        refused(Box, {"things": {"a": {"name": "b"}}}) == "expected a to have no name of its own: its key is its name"
    )
    assert "pattern" in refused(Box, {"things": {"a b": {}}})
    assert "dictionary" in refused(Box, {"things": [{}]})


def test_the_schema_of_named_specs_is_a_mapping() -> None:
    things = Box.model_json_schema()["properties"]["things"]
    assert things["type"] == "object"
    assert list(things["patternProperties"].values()) == [{"$ref": "#/$defs/Thing"}]


@pytest.mark.parametrize("host", ["", "api.example.org", "*.example.org", "localhost", "10.0.0.1", "[::1]", "a_b.c"])
def test_a_host_is_matched_without_port(host: str) -> None:
    assert host_pattern(host) == host
    assert host_pattern(host.upper()) == host


@pytest.mark.parametrize(
    "host", ["a:80", "*", "a.*.b", "*a.b", "a..b", ".a", "a/", "b\u00fccher.de", "http://a", "::1"]
)
def test_what_is_no_host_is_refused(host: str) -> None:
    with pytest.raises(ValueError, match="expected a host name without port"):
        host_pattern(host)


def test_a_path_begins_with_a_slash() -> None:
    assert [absolute_path(path) for path in ("", "/", "/a/{b}")] == ["", "/", "/a/{b}"]
    for path in ("a", "/a?b", "/a#b", "http://a/"):
        with pytest.raises(ValueError, match="expected a path that begins with /"):
            absolute_path(path)


@pytest.mark.parametrize(
    "url", ["https://id.example.org", "http://127.0.0.1:8080/a?b", "https://[::1]:1/", "HTTPS://a"]
)
def test_a_web_url_is_kept(url: str) -> None:
    assert web_url(url) == url


@pytest.mark.parametrize(
    "url",
    [
        "",
        "/a",
        "ftp://a",
        "https://",
        "https://a:0",
        "https://a:99999",
        "https://[",
        "https://a#b",
        "https://u@a",
        "https://a b",
        "https://é",
        "https://a\\b",
    ],
)
def test_what_is_no_web_url_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="expected a URL such as"):
        web_url(url)


@pytest.mark.parametrize(
    ("pattern", "good", "bad"),
    [
        (NAME, ["a", "A-1_b.c", "a" * 63], ["", "-a", "a b", "a" * 64]),
        (TOKEN, ["X-A", "a_b"], ["", "a b", "a:"]),
        (NAMES, ["X-A", "x_a.b", "X-*"], ["", "*", "X-*-Id", "a b", "X-\u20ac"]),
        (METHOD, ["GET", "M-SEARCH"], ["", "get", "-"]),
        (KEY, ["client", "path", "header:X-A", "cookie:a"], ["", "header:", "header:a b", "ip"]),
        (STICKY, ["", "client", "cookie:a"], ["path", "cookie:"]),
        (OBJECT, ["a:b", "a.b:c.d", "_a:_b"], ["a", "a:", ":b", "a.:b", "a/b:c"]),
    ],
)
def test_patterns_are_told_in_words(pattern: str, good: list[str], bad: list[str]) -> None:
    assert PATTERNS[pattern]
    assert [text for text in good if not re.search(pattern, text)] == []
    assert [text for text in bad if re.search(pattern, text)] == []
