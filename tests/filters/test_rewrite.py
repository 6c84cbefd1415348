"""Filter rewrite: the path and the query that the upstream sees."""

from urllib.parse import parse_qsl

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from suuupra_gateway.config.model import MatchSpec, RouteSpec
from suuupra_gateway.errors import BadRequest
from suuupra_gateway.filters.rewrite import kind
from suuupra_gateway.http.target import normalise
from tests.filters.running import exchange, made


def rewritten(line, params=None, **settings):
    seen = exchange(line)
    seen.head.params = params
    assert made(kind, **settings).request(seen) is None
    return seen.head


def target(head):
    return head.path if head.query is None else head.path + b"?" + head.query


def test_a_template_takes_the_parameters_of_the_route_as_they_came():
    head = rewritten("GET /u/a%20b?x=1", {"id": b"a%20b"}, path="/v2/users/{id}/profile")
    assert target(head) == b"/v2/users/a%20b/profile?x=1"


def test_a_template_may_use_the_request_itself():
    assert rewritten("GET /a/b", path="/site/{host}{path}").path == b"/site/localhost/a/b"


def test_a_template_that_makes_dot_segments_is_normalised():
    assert rewritten("GET /x", {"a": b".", "b": b"y"}, path="/p/{a}/{b}").path == b"/p/y"


def test_a_template_that_climbs_above_the_root_is_refused():
    with pytest.raises(BadRequest):
        rewritten("GET /x", {"a": b"."}, path="/{a}./etc")


@pytest.mark.parametrize(
    ("path", "after", "prefix"),
    [
        ("/api/users", b"/users", b"/api"),
        ("/api", b"/", b"/api"),
        ("/api/", b"/", b"/api"),
        ("/apis/users", b"/apis/users", b""),
        ("/other", b"/other", b""),
    ],
)
def test_strip_takes_whole_segments_and_remembers_them(path, after, prefix):
    head = rewritten(f"GET {path}", strip_prefix="/api")
    assert (head.path, head.prefix) == (after, prefix)


def test_two_strips_add_up():
    seen = exchange("GET /a/b/c")
    made(kind, strip_prefix="/a").request(seen)
    made(kind, strip_prefix="/b").request(seen)
    assert (seen.head.path, seen.head.prefix) == (b"/c", b"/a/b")


def test_a_prefix_is_put_in_front():
    assert rewritten("GET /", add_prefix="/internal").path == b"/internal/"


def test_strip_regex_and_add_go_in_this_order():
    head = rewritten(
        "GET /api/old/7", strip_prefix="/api", regex={"pattern": "^/old/", "replace": "/new/"}, add_prefix="/x"
    )
    assert head.path == b"/x/new/7"


def test_groups_are_put_into_the_replacement():
    settings = {"pattern": "^/(\\w+)/(?P<id>\\d+)$", "replace": "/\\g<id>/\\1"}
    assert rewritten("GET /users/7", regex=settings).path == b"/7/users"


def test_every_match_is_replaced():
    assert rewritten("GET /a/a", regex={"pattern": "a", "replace": "b"}).path == b"/b/b"


def test_a_path_without_a_match_stays_as_it_is():
    assert rewritten("GET /x", regex={"pattern": "^/old", "replace": "/new"}).path == b"/x"


def test_a_replacement_that_loses_the_first_slash_gets_it_back():
    assert rewritten("GET /old/x", regex={"pattern": "^/old/", "replace": ""}).path == b"/x"


def test_a_replacement_that_breaks_an_escape_is_refused():
    with pytest.raises(BadRequest):
        rewritten("GET /a%20b", regex={"pattern": "20", "replace": "zz"})


def test_parameters_are_removed_by_their_decoded_name():
    head = rewritten("GET /?a%62=1&c=2&ab&d+e=3", query={"remove": ["ab", "d e"]})
    assert head.query == b"c=2"


def test_the_other_parameters_pass_byte_for_byte():
    head = rewritten("GET /?b=%7e&&c=+&a=1", query={"remove": ["a"]})
    assert head.query == b"b=%7e&c=+"


def test_set_replaces_all_of_the_name_and_goes_last():
    head = rewritten("GET /?a=1&b=2&a=3", query={"set": {"a": "x y&z"}})
    assert head.query == b"b=2&a=x%20y%26z"


def test_set_may_use_parameters_and_the_path_before_it_was_rewritten():
    head = rewritten("GET /u/7", {"id": b"7&x=1+1"}, path="/v2", query={"set": {"id": "{id}", "was": "{path}"}})
    assert target(head) == b"/v2?id=7%26x=1%2B1&was=/u/7"


def test_a_query_that_lost_everything_is_gone():
    assert rewritten("GET /?a=1", query={"remove": ["a"]}).query is None


def test_an_empty_query_stays_when_nothing_is_to_be_done_to_it():
    assert rewritten("GET /?", add_prefix="/x").query == b""


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({}, "nothing to rewrite"),
        ({"path": "/x", "add-prefix": "/y"}, "leave out"),
        ({"path": "x"}, "begins with /"),
        ({"path": "/x?y=1"}, "use `query`"),
        ({"path": "/{1}"}, "may not stand in a URI"),
        ({"strip-prefix": "/x/"}, "whole segments"),
        ({"strip-prefix": "x"}, "whole segments"),
        ({"regex": {"pattern": "(", "replace": "/"}}, "not an RE2 expression"),
        ({"regex": {"pattern": "(a)\\1", "replace": "/"}}, "not an RE2 expression"),
        ({"regex": {"pattern": "a", "replace": "/\\1"}}, "group 1"),
        ({"regex": {"pattern": "(?P<x>a)", "replace": "/\\g<y>"}}, "group y"),
        ({"regex": {"pattern": "a", "replace": "/a b"}}, "may not stand in a path"),
        ({"query": {"set": {"a": "{"}}}, "may not stand"),
    ],
)
def test_what_cannot_work_is_refused_with_a_reason(settings, why):
    with pytest.raises(ValidationError, match=why):
        made(kind, **settings)


def test_placeholders_that_the_route_does_not_fill_are_problems():
    route = RouteSpec.model_validate({"name": "r", "auth": "none", "target": {"fixed": {}}})
    rewrite = made(kind, path="/{id}/{other}/{host}", query={"set": {"a": "{third}"}})
    assert list(rewrite.problems(route, frozenset({"id"}))) == [
        "{third} in '{third}' is no parameter of this route's match",
        "{other} in '/{id}/{other}/{host}' is no parameter of this route's match",
    ]
    assert list(made(kind, add_prefix="/x").problems(route, frozenset())) == []
    assert MatchSpec() == route.match


segments = st.text("ab./%", max_size=8)


@given(
    segments, segments, st.sampled_from(["a", "b", ".", "/", "[ab.]+"]), st.sampled_from(["", "/", ".", "b", "/../"])
)
def test_whatever_comes_out_is_normalised(before, after, pattern, replacement):
    try:
        path = normalise(b"/" + f"{before}/{after}".encode())
        head = rewritten(f"GET {path.decode()}", regex={"pattern": pattern, "replace": replacement})
    except BadRequest:
        return
    assert normalise(head.path, merge_slashes=False) == head.path


@given(st.dictionaries(st.sampled_from("abc"), st.text("x&=+ %", max_size=5), min_size=1))
def test_an_upstream_reads_the_parameters_that_were_set(wanted):
    head = rewritten("GET /?a=old&z=1&b", query={"set": wanted})
    read = parse_qsl((head.query or b"").decode(), keep_blank_values=True)
    assert {name: value for name, value in read if name in wanted} == wanted
    assert ("z", "1") in read
