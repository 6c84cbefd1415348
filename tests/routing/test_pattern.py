"""
Patterns: what may be written, what it means, and what covers what.
"""

from __future__ import annotations

import pytest

from suuupra_gateway.config.model import MatchSpec
from suuupra_gateway.routing.pattern import Condition, Expression, HostPattern, Kind, Pattern, PatternError, Reach


def of(**keys: object) -> Pattern:
    return Pattern.of(MatchSpec.model_validate(keys))


def problem(**keys: object) -> tuple[str, str]:
    with pytest.raises(PatternError) as caught:
        of(**keys)
    [found] = caught.value.problems
    return found


# -- hosts ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("", b""),
        ("api.example.org", b"api.example.org"),
        ("API.Example.Org", b"api.example.org"),
        ("*.example.org", b".example.org"),
        ("localhost", b"localhost"),
        ("a_b.internal", b"a_b.internal"),
        ("10.0.0.1", b"10.0.0.1"),
        ("[::1]", b"[::1]"),
        ("xn--bcher-kva.example", b"xn--bcher-kva.example"),
    ],
)
def test_hosts_are_brought_to_the_form_that_requests_have(text: str, name: bytes) -> None:
    assert of(host=text).host == HostPattern(name)


def test_a_wildcard_takes_one_label_or_more_but_not_the_domain_itself() -> None:
    wildcard = of(host="*.example.org").host
    assert wildcard.accepts(b"a.example.org")
    assert wildcard.accepts(b"a.b.example.org")
    assert not wildcard.accepts(b"example.org")
    assert not wildcard.accepts(b".example.org")
    assert not wildcard.accepts(b"notexample.org")
    assert str(wildcard) == "*.example.org"


@pytest.mark.parametrize(
    ("wide", "narrow", "covers"),
    [
        ("", "a.org", True),
        ("", "", True),
        ("", "*.org", True),
        ("a.org", "a.org", True),
        ("a.org", "b.org", False),
        ("a.org", "", False),
        ("*.org", "a.org", True),
        ("*.org", "*.a.org", True),
        ("*.a.org", "*.org", False),
        ("*.a.org", "a.org", False),
        ("a.org", "*.a.org", False),
    ],
)
def test_hosts_cover_each_other(wide: str, narrow: str, covers: bool) -> None:
    assert of(host=wide).host.covers(of(host=narrow).host) == covers


# -- paths ------------------------------------------------------------------------------------------------------------


def test_a_path_is_spelt_as_requests_are() -> None:
    for text in ("/caf\u00e9/a b/~x", "/caf%c3%a9/a%20b/%7ex", "/caf%C3%A9/%61 b/~x"):
        path = of(path=text).path
        assert path.kind is Kind.EXACT
        assert path.normalised == b"/caf%C3%A9/a%20b/~x"


def test_a_template_has_parameters_for_whole_segments() -> None:
    path = of(path="/users/{id}/files/{rest*}").path
    assert (path.kind, path.reach) == (Kind.TEMPLATE, Reach.HERE)
    assert path.segments == (b"users", None, b"files")
    assert path.parse(b"/users/4%202/files/a/b/") == {"id": b"4%202", "rest": b"a/b/"}
    assert path.parse(b"/users/42/files/") == {"id": b"42", "rest": b""}
    assert path.parse(b"/users/42/files") == {"id": b"42", "rest": b""}


def test_a_rest_alone_is_a_template() -> None:
    path = of(path="/{rest*}").path
    assert path.parse(b"/") == {"rest": b""}
    assert path.parse(b"/a//b") == {"rest": b"a//b"}


def test_a_path_without_parameters_parses_to_nothing() -> None:
    assert of(path="/a").path.parse(b"/a") is None


def test_names_of_parameters_do_not_tell_patterns_apart() -> None:
    assert of(path="/a/{x}/{y*}") == of(path="/a/{id}/{rest*}")
    assert of(path="/a/{x}") != of(path="/a/{x}/")


def test_a_slash_at_the_end_of_a_prefix_counts() -> None:
    assert of(prefix="/v1").path.reach is Reach.HERE
    assert of(prefix="/v1/").path.reach is Reach.BELOW
    assert of(prefix="/v1").path.segments == of(prefix="/v1/").path.segments == (b"v1",)
    assert of(prefix="/").path.segments == ()


@pytest.mark.parametrize(
    ("keys", "hint"),
    [
        ({"path": "/a/../b"}, "'..'"),
        ({"path": "/a/./b"}, "'.'"),
        ({"path": "/a/%2e"}, "'%2e'"),
        ({"path": "/100%"}, "'100%'"),
        ({"path": "/a\\b"}, "as a segment"),
        ({"path": "/a/..;x"}, "as a segment"),
        ({"path": "/a/x{id}"}, "whole segment"),
        ({"path": "/a/{}"}, "whole segment"),
        ({"path": "/a/}"}, "whole segment"),
        ({"path": "/{id}/{id}"}, "twice"),
        ({"path": "/{id}/{id*}"}, "twice"),
        ({"path": "/{rest*}/a"}, "must come last"),
        ({"prefix": "/v1/{id}"}, "{rest*}"),
        ({"prefix": "/v1/.."}, "'..'"),
        ({"regex": "/(a"}, "RE2"),
        ({"regex": r"/(a)\1"}, "RE2"),
        ({"regex": "/a(?=b)"}, "RE2"),
        ({"regex": "/a)|(/b"}, "RE2"),
        ({"regex": "/(a{1000}){1000}"}, "RE2"),
        ({"regex": "users/.*"}, "begin with /"),
        ({"regex": "/caf\u00e9/.*"}, "percent-encoded"),
    ],
)
def test_what_is_no_path_is_refused_with_a_hint(keys: dict[str, str], hint: str) -> None:
    key, why = problem(**keys)
    assert key in keys
    assert hint in why


def test_a_path_is_given_in_one_way_only() -> None:
    key, why = problem(path="/a", prefix="/b")
    assert key == "prefix"
    assert "path, prefix" in why


def test_all_problems_are_told_at_once() -> None:
    with pytest.raises(PatternError) as caught:
        of(prefix="/{a}", headers={"a": "x", "c": "~("}, query={"d": "~)", "e": "*"})
    assert [key for key, _ in caught.value.problems] == ["prefix", "headers.c", "query.d"]
    assert "headers.c: not an RE2 expression" in str(caught.value)


@pytest.mark.parametrize(
    ("regex", "segments", "reach"),
    [
        (r"/users/\d+", (b"users",), Reach.BELOW),
        (r"/users/\d+/(x|y)", (b"users",), Reach.BELOW),
        (r"/users", (), Reach.BELOW),
        (r"^/a/b/.*$", (b"a", b"b"), Reach.BELOW),
        (r"/(a|b)/c", (), Reach.BELOW),
        (r"/a/|/a0", (), Reach.BELOW),
        (r"(?i)/users/x", (), Reach.BELOW),
        (r"/?a", (), Reach.ANYWHERE),
        (r".*", (), Reach.ANYWHERE),
        (r"\C*", (), Reach.ANYWHERE),
        (r"(/x)?", (), Reach.ANYWHERE),
    ],
)
def test_an_expression_hangs_below_its_literal_beginning(regex: str, segments: tuple[bytes, ...], reach: Reach) -> None:
    path = of(regex=regex).path
    assert (path.kind, path.segments, path.reach) == (Kind.REGEX, segments, reach)


def test_an_expression_matches_the_whole_value_and_knows_utf_8() -> None:
    expression = Expression.of("a|b.")
    assert expression.accepts(b"a")
    assert expression.accepts("b\u00e9".encode())
    assert not expression.accepts(b"xa")
    assert not expression.accepts(b"a\n")
    assert not expression.accepts(b"b\xff")


@pytest.mark.parametrize(
    ("wide", "narrow", "covers"),
    [
        ({}, {"path": "/a"}, True),
        ({}, {}, True),
        ({}, {"regex": ".*"}, True),
        ({"prefix": "/"}, {}, False),
        ({"prefix": "/"}, {"path": "/"}, True),
        ({"prefix": "/"}, {"path": "/{rest*}"}, True),
        ({"path": "/{rest*}"}, {"prefix": "/"}, True),
        ({"path": "/{rest*}"}, {"path": "/"}, True),
        ({"prefix": "/"}, {"regex": "/.*"}, True),
        ({"prefix": "/"}, {"regex": ".*"}, False),
        ({"prefix": "/v1"}, {"prefix": "/v1/"}, True),
        ({"prefix": "/v1/"}, {"prefix": "/v1"}, False),
        ({"prefix": "/v1"}, {"prefix": "/v1/x"}, True),
        ({"prefix": "/v1"}, {"prefix": "/v1x"}, False),
        ({"prefix": "/v1"}, {"path": "/v1"}, True),
        ({"prefix": "/v1/"}, {"path": "/v1"}, False),
        ({"prefix": "/v1/"}, {"path": "/v1/"}, True),
        ({"prefix": "/v1"}, {"path": "/v1/{id}/{rest*}"}, True),
        ({"prefix": "/v1/x"}, {"path": "/v1/{id}"}, False),
        ({"prefix": "/v1/x/y"}, {"prefix": "/v1/x"}, False),
        ({"prefix": "/users"}, {"regex": r"/users/\d+"}, True),
        ({"path": "/a"}, {"path": "/a"}, True),
        ({"path": "/a"}, {"path": "/a/"}, False),
        ({"path": "/a"}, {"path": "/{x}"}, False),
        ({"path": "/{x}"}, {"path": "/a"}, True),
        ({"path": "/{x}"}, {"path": "/"}, False),
        ({"path": "/{x}"}, {"path": "/{y}"}, True),
        ({"path": "/{x}"}, {"path": "/{y}/z"}, False),
        ({"path": "/{x}"}, {"prefix": "/a"}, False),
        ({"path": "/{x}/b"}, {"path": "/a/{y}"}, False),
        ({"path": "/v1/{rest*}"}, {"prefix": "/v1"}, True),
        ({"path": "/v1/{rest*}"}, {"path": "/v1/{x}/{rest*}"}, True),
        ({"path": "/{x}/{rest*}"}, {"prefix": "/a"}, True),
        ({"path": "/{x}/{rest*}"}, {"prefix": "/"}, False),
        ({"regex": "/[ab]"}, {"path": "/a"}, True),
        ({"regex": "/[ab]"}, {"path": "/c"}, False),
        ({"regex": "/[ab]"}, {"path": "/{x}"}, False),
        ({"regex": "/[ab]"}, {"regex": "/[ab]"}, True),
        ({"regex": "/[ab]"}, {"regex": "/[a]"}, False),
    ],
)
def test_paths_cover_each_other_or_are_not_said_to(wide: dict[str, str], narrow: dict[str, str], covers: bool) -> None:
    assert of(**wide).path.covers(of(**narrow).path) == covers


# -- methods and conditions -------------------------------------------------------------------------------------------


def test_head_follows_get() -> None:
    assert of(methods=("GET",)).methods == {b"GET", b"HEAD"}
    assert of(methods=("POST",)).methods == {b"POST"}
    assert of(methods=("HEAD",)).methods == {b"HEAD"}
    assert of(methods=("GET",)) == of(methods=("HEAD", "GET"))


def test_order_case_and_repetition_of_conditions_do_not_matter() -> None:
    assert of(headers={"X-A": "1", "x-b": "*"}) == of(headers={"X-B": "*", "x-a": "1"})
    assert len(of(headers=(("X-A", "1"), ("x-a", "1"))).headers) == 1
    assert of(query={"a": "1"}) != of(query={"A": "1"})
    assert of(query={"a": "1"}) != of(headers={"a": "1"})


@pytest.mark.parametrize(
    ("text", "yes", "no"),
    [
        ("v", b"v", b"V"),
        ("", b"", b"x"),
        ("*", b"", None),
        ("~v[12]", b"v1", b"v12"),
        ("~\\*", b"*", b"x"),
        ("caf\u00e9", "caf\u00e9".encode(), b"caf\xe9"),
    ],
)
def test_conditions(text: str, yes: bytes, no: bytes | None) -> None:
    condition = Condition.of(b"x", text)
    assert condition.accepts(yes)
    assert no is None or not condition.accepts(no)


@pytest.mark.parametrize(
    ("wide", "narrow", "follows"),
    [
        ("*", "v", True),
        ("*", "~v", True),
        ("*", "*", True),
        ("v", "v", True),
        ("v", "w", False),
        ("v", "*", False),
        ("v", "~v", False),
        ("~[vw]", "v", True),
        ("~[vw]", "x", False),
        ("~[vw]", "*", False),
        ("~[vw]", "~[vw]", True),
        ("~[vw]", "~[v]", False),
    ],
)
def test_conditions_follow_from_each_other(wide: str, narrow: str, follows: bool) -> None:
    assert Condition.of(b"x", wide).follows_from(Condition.of(b"x", narrow)) == follows
    assert not Condition.of(b"x", wide).follows_from(Condition.of(b"y", narrow))


def test_conditions_are_shown_as_they_are_written() -> None:
    assert [str(Condition.of(b"x", text)) for text in ("v", "*", "~v+")] == ["'v'", "*", "~v+"]
