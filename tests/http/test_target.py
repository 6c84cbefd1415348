"""
Request targets: forms, refusals, and one spelling per path.
"""

from __future__ import annotations

import re
from urllib.parse import unquote_to_bytes

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from suuupra_gateway.errors import BadRequest
from suuupra_gateway.http.target import Target, decode_escapes, normalise, parse_target


def parse(raw: bytes, method: bytes = b"GET", merge_slashes: bool = True) -> Target:
    return parse_target(raw, method, merge_slashes=merge_slashes)


@pytest.mark.parametrize(
    ("raw", "path", "query"),
    [
        (b"/", b"/", None),
        (b"/v1/users/42", b"/v1/users/42", None),
        (b"/v1/users/", b"/v1/users/", None),
        (b"/v1?a=b", b"/v1", b"a=b"),
        (b"/v1?", b"/v1", b""),
        (b"/?a?b", b"/", b"a?b"),
        (b"/a;v=1,2/b@c:d=(e)!$&'*+~_-.", b"/a;v=1,2/b@c:d=(e)!$&'*+~_-.", None),
        (b"/a.b/c..d/e.", b"/a.b/c..d/e.", None),
        (b"/.well-known/jwks.json", b"/.well-known/jwks.json", None),
        (b"/...", b"/...", None),
    ],
)
def test_plain_targets_are_passed_as_they_are(raw: bytes, path: bytes, query: bytes | None) -> None:
    assert parse(raw) == Target(path, query, None, False)


@pytest.mark.parametrize(
    ("raw", "path"),
    [
        (b"/%61%7E%2d%2E%5f", b"/a~-._"),
        (b"/a%20b%c3%a9", b"/a%20b%C3%A9"),
        (b"/%3f%23%25", b"/%3F%23%25"),
        (b"/%252e%252e/a", b"/%252e%252e/a"),
        (b'/"<>[]^`{|}', b"/%22%3C%3E%5B%5D%5E%60%7B%7C%7D"),
        (b"//a///b//", b"/a/b/"),
        (b"/a/./b", b"/a/b"),
        (b"/a/../b", b"/b"),
        (b"/a/b/..", b"/a/"),
        (b"/a/b/.", b"/a/b/"),
        (b"/a/..", b"/"),
        (b"/.", b"/"),
        (b"/a/%2e%2E/b", b"/b"),
        (b"/a/.%2e/b", b"/b"),
        (b"/a//../b", b"/b"),
    ],
)
def test_paths_have_one_spelling(raw: bytes, path: bytes) -> None:
    assert parse(raw) == Target(path, None, None, False)


@pytest.mark.parametrize(
    ("raw", "path"),
    [(b"//a///b//", b"//a///b//"), (b"/a//../b", b"/a/b"), (b"/a/..//b", b"//b"), (b"/%2e//b", b"//b")],
)
def test_slashes_are_kept_when_merging_is_off(raw: bytes, path: bytes) -> None:
    assert parse(raw, merge_slashes=False).path == path


@pytest.mark.parametrize("escape", [b"%2F", b"%2f", b"%5C", b"%5c", b"%00"])
def test_what_another_parser_may_take_for_a_separator_is_pointed_out(escape: bytes) -> None:
    target = parse(b"/a" + escape + b"b?x")
    assert target.escaped
    assert target.path == b"/a" + escape.upper() + b"b"


def test_escapes_in_the_query_are_not_pointed_out() -> None:
    assert not parse(b"/a%20b?x=%2F").escaped


@pytest.mark.parametrize(
    "query", [b"a=%2f%zz%", b"%41//..//", b'a\\b{"c":[1]}|^`<>', b"a=/../b?c", b"redirect=http://x//y"]
)
@pytest.mark.parametrize("path", [b"/plain", b"/%61/", b"/a//b"])
def test_the_query_is_not_touched(path: bytes, query: bytes) -> None:
    assert parse(path + b"?" + query).query == query


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"a",
        b"a/b",
        b"?a",
        b"#",
        b"/a#b",
        b"/a?b#c",
        b"/#",
        b"/a b",
        b"/a?b c",
        b"/a\\b",
        b"\\a",
        b"/a\x00",
        b"/a\r\nb",
        b"/a?\x01",
        b"/a\x7f",
        b"/a?\x7f",
        b"/caf\xc3\xa9",
        b"/a?\xe9",
        b"/%",
        b"/%4",
        b"/%zz",
        b"/%4g",
        b"/a%",
        b"/..",
        b"/../a",
        b"/a/../../b",
        b"/%2e%2e/a",
        b"/./..",
        b"/a/..;/b",
        b"/a/..;x=1",
        b"/a/.;/b",
        b"/a/%2e%2e;/b",
        b"/a/..%3b/b",
        b"*",
        b"*/a",
        b"example.org:443",
        b"ftp://example.org/",
        b"http:/example.org/",
        b"http:///a",
        b"http://",
        b"http://user@example.org/",
        b"http://example.org\\@evil/",
        b"http://ex ample/",
        b"http://example.org#x",
        b"http://example.org/../a",
        b"http://ex\xc3\xa9/",
    ],
)
def test_ambiguous_targets_are_refused(raw: bytes) -> None:
    with pytest.raises(BadRequest) as caught:
        parse(raw)
    assert caught.value.detail is not None
    assert caught.value.detail[0].isupper()


def test_authority_form_is_refused_for_connect_too() -> None:
    with pytest.raises(BadRequest):
        parse(b"example.org:443", b"CONNECT")


def test_climbing_above_the_root_counts_empty_segments_when_slashes_are_kept() -> None:
    assert parse(b"//../a", merge_slashes=False).path == b"/a"
    with pytest.raises(BadRequest):
        parse(b"//../../a", merge_slashes=False)


@pytest.mark.parametrize(
    ("raw", "target"),
    [
        (b"http://example.org/a?b", Target(b"/a", b"b", b"example.org", False)),
        (b"HTTPS://Example.ORG:8443/%2f", Target(b"/%2F", None, b"Example.ORG:8443", True)),
        (b"http://[::1]:80/", Target(b"/", None, b"[::1]:80", False)),
        (b"http://example.org", Target(b"/", None, b"example.org", False)),
        (b"http://example.org?", Target(b"/", b"", b"example.org", False)),
        (b"http://example.org?a", Target(b"/", b"a", b"example.org", False)),
        (b"http://example.org//a/./b", Target(b"/a/b", None, b"example.org", False)),
    ],
)
def test_absolute_form_gives_its_authority(raw: bytes, target: Target) -> None:
    assert parse(raw) == target


def test_options_may_ask_for_the_server_as_a_whole() -> None:
    assert parse(b"*", b"OPTIONS") == Target(b"*", None, None, False)
    assert parse(b"http://example.org", b"OPTIONS") == Target(b"*", None, b"example.org", False)
    assert parse(b"http://example.org/", b"OPTIONS").path == b"/"
    assert parse(b"http://example.org?a", b"OPTIONS").path == b"/"


@pytest.mark.parametrize(
    ("path", "decoded"),
    [
        (b"/a%2Fb", b"/a/b"),
        (b"/a%5Cb", b"/a/b"),
        (b"/%2Fevil.example/", b"/evil.example/"),
        (b"/%5Cevil.example", b"/evil.example"),
        (b"/a%2F..%2Fb", b"/b"),
        (b"/a%252Fb", b"/a%252Fb"),
    ],
)
def test_escapes_decode_to_a_path_of_this_host(path: bytes, decoded: bytes) -> None:
    assert decode_escapes(path) == decoded


@pytest.mark.parametrize("path", [b"/a%00", b"/%2F..", b"/a%2F..%2F.."])
def test_escapes_that_decode_to_nonsense_are_refused(path: bytes) -> None:
    with pytest.raises(BadRequest):
        decode_escapes(path)


# -- properties -------------------------------------------------------------------------------------------------------

pieces = st.sampled_from(
    [*rb"/ // . .. %2e %2E %2f %5c %00 %41 %7e %25 %c3 a ~ ; %3b { [ | \ # % %4 ? * - http://h".split(), b" ", b"\xff"]
)
raws = st.lists(pieces, max_size=12).map(lambda parts: b"/" + b"".join(parts)) | st.binary(max_size=20)
VALID = re.compile(rb"(?:/(?:[A-Za-z0-9._~!$&'()*+,;=:@-]|%[0-9A-F]{2})*)+")


@given(raws, st.booleans())
@example(b"/a/..//b", False)
@example(b"/%2e//..", False)
def test_normalising_twice_changes_nothing(raw: bytes, merge_slashes: bool) -> None:
    try:
        target = parse(raw, merge_slashes=merge_slashes)
    except BadRequest:
        return
    again = parse(target.path, merge_slashes=merge_slashes)
    assert again == Target(target.path, None, None, target.escaped)


@given(raws, st.booleans())
def test_a_normalised_path_is_valid_and_unambiguous(raw: bytes, merge_slashes: bool) -> None:
    try:
        target = parse(raw, merge_slashes=merge_slashes)
    except BadRequest:
        return
    path = target.path
    assert VALID.fullmatch(path)
    assert not {b".", b".."} & set(path.split(b"/"))
    assert not (merge_slashes and b"//" in path)
    for escape in re.findall(rb"%..", path):
        assert not re.fullmatch(rb"[A-Za-z0-9._~-]", unquote_to_bytes(escape))
    assert target.escaped == any(escape in path for escape in (b"%2F", b"%5C", b"%00"))


@given(st.binary(max_size=30).filter(lambda raw: not raw.startswith(b"/")), st.sampled_from([b"GET", b"CONNECT"]))
def test_anything_but_a_path_or_url_is_refused(raw: bytes, method: bytes) -> None:
    with pytest.raises(BadRequest):
        parse_target(raw, method, merge_slashes=True)


@given(st.lists(st.sampled_from([b"a", b"..", b".", b"", b"b.", b"%2e%2E"]), max_size=8))
def test_dot_segments_agree_with_a_file_system(segments: list[bytes]) -> None:
    """Merged first, then resolved as ``posixpath`` would, except that above the root there is nothing."""
    depth: list[bytes] = []
    climbs = False
    for segment in segments:
        plain = segment.replace(b"%2e", b".").replace(b"%2E", b".")
        if plain == b"..":
            climbs = climbs or not depth
            depth = depth[:-1]
        elif plain not in (b"", b"."):
            depth.append(plain)
    raw = b"/" + b"/".join(segments)
    if climbs:
        with pytest.raises(BadRequest):
            normalise(raw)
    else:
        assert normalise(raw).rstrip(b"/") == (b"/" + b"/".join(depth)).rstrip(b"/")
