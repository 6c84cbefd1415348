"""
The route table: what it answers, what it refuses, and how it is built. `tests/fuzz/test_routing_naive.py` has the oracle.
"""

from __future__ import annotations

import pytest

from suuupra_gateway.config.model import MatchSpec
from suuupra_gateway.http.message import RequestHead
from suuupra_gateway.routing.pattern import PatternError
from suuupra_gateway.routing.table import Entry, Refusal, RouteTable


def table(**routes: dict[str, object]) -> RouteTable[str]:
    """A table of named matches; ``priority`` and ``trailing`` are taken out of them."""
    entries = []
    for order, (name, keys) in enumerate(routes.items()):
        priority, trailing = keys.pop("priority", 0), keys.pop("trailing", False)
        assert isinstance(priority, int)
        entries.append(Entry(name, MatchSpec.model_validate(keys), priority, order, name, bool(trailing)))
    return RouteTable.build(entries)


def head(target: str, method: bytes = b"GET", *, host: bytes = b"", **headers: str) -> RequestHead:
    path, mark, query = target.encode().partition(b"?")
    pairs = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return RequestHead(method, path, pairs, query=query if mark else None, host=host)


NOTHING = Refusal()


def test_an_empty_table_has_nothing_for_anybody() -> None:
    assert table().match(head("/")) == NOTHING
    assert len(table()) == 0


def test_hosts_go_from_exact_over_the_longest_wildcard_to_any() -> None:
    routes = table(
        exact={"host": "a.b.org"}, near={"host": "*.b.org"}, far={"host": "*.org"}, any={}, deep={"host": "*.x.y.z.net"}
    )
    assert routes.match(head("/", host=b"a.b.org")) == "exact"
    assert routes.match(head("/", host=b"c.b.org")) == "near"
    assert routes.match(head("/", host=b"d.c.b.org")) == "near"
    assert routes.match(head("/", host=b"b.org")) == "far"
    assert routes.match(head("/", host=b"org")) == "any"
    assert routes.match(head("/", host=b".org")) == "any"
    assert routes.match(head("/", host=b"." * 9 + b"org")) == "far"
    assert routes.match(head("/", host=b"z.net")) == "any"
    assert routes.match(head("/")) == "any"


def test_without_a_route_for_any_host_other_hosts_find_nothing() -> None:
    routes = table(exact={"host": "a.org"}, wild={"host": "*.a.org"})
    assert routes.match(head("/", host=b"b.org")) == NOTHING
    assert routes.match(head("/")) == NOTHING


def test_a_route_whose_method_differs_gives_way_to_a_wider_one() -> None:
    routes = table(
        write={"host": "a.org", "path": "/users/{id}", "methods": ["PUT"]},
        read={"host": "*.org", "prefix": "/users"},
        rest={},
    )
    assert routes.match(head("/users/1", b"PUT", host=b"a.org")) == "write"
    assert routes.match(head("/users/1", host=b"a.org")) == "read"
    assert routes.match(head("/orders", host=b"a.org")) == "rest"


def test_a_wider_route_of_higher_priority_goes_first() -> None:
    routes = table(exact={"host": "a.org", "path": "/a"}, drain={"prefix": "/", "methods": ["POST"], "priority": 9})
    assert routes.match(head("/a", b"POST", host=b"a.org")) == "drain"
    assert routes.match(head("/a", host=b"a.org")) == "exact"


def test_more_literal_segments_win_whichever_side_they_are_on() -> None:
    routes = table(left={"path": "/a/{x}/{y}"}, right={"path": "/{x}/b/c"}, none={"path": "/{x}/{y}/{z}"})
    assert routes.match(head("/a/b/c")) == "right"
    assert routes.match(head("/a/b/d")) == "left"
    assert routes.match(head("/x/b/d")) == "none"


def test_prefixes_end_at_a_slash() -> None:
    routes = table(v1={"prefix": "/v1"}, v2={"prefix": "/v2/"}, deep={"prefix": "/v1/users"})
    assert [routes.match(head(path)) for path in ("/v1", "/v1/", "/v1/x", "/v1x")] == ["v1", "v1", "v1", NOTHING]
    assert [routes.match(head(path)) for path in ("/v2", "/v2/", "/v2/x")] == [NOTHING, "v2", "v2"]
    assert [routes.match(head(path)) for path in ("/v1/users", "/v1/users/1", "/v1/usersx")] == ["deep", "deep", "v1"]


def test_a_rest_may_be_empty_and_its_slash_may_lack() -> None:
    routes = table(files={"path": "/files/{rest*}"})
    for path, rest in (("/files", b""), ("/files/", b""), ("/files/a/b%20c/", b"a/b%20c/")):
        asked = head(path)
        assert routes.match(asked) == "files"
        assert asked.params == {"rest": rest}
    assert routes.match(head("/filesx")) == NOTHING


def test_parameters_take_one_segment_that_is_not_empty() -> None:
    routes = table(user={"path": "/users/{id}"}, users={"path": "/users/"})
    asked = head("/users/a%2Fb")
    assert routes.match(asked) == "user"
    assert asked.params == {"id": b"a%2Fb"}
    assert routes.match(asked := head("/users/")) == "users"
    assert asked.params is None
    assert routes.match(head("/users/1/")) == NOTHING
    assert table(user={"path": "/users/{id}"}).match(head("/users/")) == NOTHING


def test_parameters_of_an_earlier_match_are_forgotten() -> None:
    routes = table(user={"path": "/users/{id}"}, all={"prefix": "/"})
    asked = head("/users/1")
    routes.match(asked)
    asked.path = b"/orders"
    assert routes.match(asked) == "all"
    assert asked.params is None


def test_expressions_come_last_and_in_file_order() -> None:
    routes = table(
        second={"regex": r"/x/\d+"}, third={"regex": r"/x/.*"}, first={"prefix": "/x/9"}, fourth={"regex": ".*[.]txt"}
    )
    assert [routes.match(head(path)) for path in ("/x/9", "/x/8", "/x/y", "/y.txt", "/y")] == [
        "first",
        "second",
        "third",
        "fourth",
        NOTHING,
    ]


def test_the_server_as_a_whole_is_for_routes_that_ask_for_no_path() -> None:
    routes = table(root={"prefix": "/"}, rest={"path": "/{rest*}"}, any={"methods": ["OPTIONS"]})
    assert routes.match(head("*", b"OPTIONS")) == "any"
    assert table(root={"prefix": "/", "trailing": True}).match(head("*", b"OPTIONS")) == NOTHING


def test_headers_match_by_any_of_their_fields() -> None:
    routes = table(
        exact={"headers": {"X-Beta": "yes"}},
        form={"headers": {"x-beta": "~v[0-9]+"}},
        there={"headers": {"x-beta": "*"}},
        none={},
    )
    assert routes.match(head("/", x_beta="yes")) == "exact"
    assert routes.match(head("/", x_beta="v12")) == "form"
    assert routes.match(head("/", x_beta="")) == "there"
    assert routes.match(head("/", x_alpha="yes")) == "none"
    both = head("/")
    both.headers = [(b"x-beta", b"no"), (b"x-beta", b"yes")]
    assert routes.match(both) == "exact"


def test_more_conditions_go_first() -> None:
    routes = table(
        one={"headers": {"a": "1"}},
        two={"headers": {"a": "1", "b": "1"}},
        three={"headers": {"a": "1"}, "query": {"q": "*"}},
    )
    assert routes.match(head("/", a="1")) == "one"
    assert routes.match(head("/?q", a="1")) == "three"
    assert routes.match(head("/?q", a="1", b="1")) == "two"
    assert routes.match(head("/?q", b="1")) == NOTHING


def test_query_parameters_are_decoded_and_one_occurrence_is_enough() -> None:
    routes = table(v2={"query": {"api version": "v2&"}}, other={"query": {"x": "~[0-9]"}}, third={"query": {"y": "*"}})
    assert routes.match(head("/?api+version=v1&api%20version=v2%26")) == "v2"
    assert routes.match(head("/?x=5")) == "other"
    assert routes.match(head("/?x=55")) == NOTHING
    assert routes.match(head("/?y")) == "third"
    assert routes.match(head("/")) == NOTHING


def test_what_differs_in_its_method_alone_is_told_what_is_allowed() -> None:
    routes = table(
        read={"path": "/a", "methods": ["GET"]},
        write={"prefix": "/a", "methods": ["PUT", "DELETE"]},
        beta={"path": "/a", "methods": ["PATCH"], "headers": {"beta": "1"}},
        elsewhere={"host": "b.org", "path": "/a", "methods": ["LOCK"]},
    )
    assert routes.match(head("/a", b"POST")) == Refusal((b"DELETE", b"GET", b"HEAD", b"PUT"))
    assert routes.match(head("/a", b"POST", beta="1")) == Refusal((b"DELETE", b"GET", b"HEAD", b"PATCH", b"PUT"))
    assert routes.match(head("/a", b"OPTIONS")) == Refusal((b"DELETE", b"GET", b"HEAD", b"PUT"))
    assert routes.match(head("/b", b"POST")) == NOTHING


def test_head_follows_get() -> None:
    routes = table(read={"path": "/a", "methods": ["GET"]}, head={"path": "/b", "methods": ["HEAD"]})
    assert routes.match(head("/a", b"HEAD")) == "read"
    assert routes.match(head("/b", b"GET")) == Refusal((b"HEAD",))


def test_a_trailing_slash_is_redirected_only_by_routes_that_say_so() -> None:
    routes = table(
        with_slash={"path": "/a/", "trailing": True},
        without={"path": "/b", "trailing": True},
        strict={"path": "/c/"},
        below={"prefix": "/d/", "trailing": True},
        dashes={"path": "/e/{x}", "trailing": True},
    )
    assert routes.match(head("/a?x=1")) == Refusal(redirect=b"/a/")
    assert routes.match(head("/b/")) == Refusal(redirect=b"/b")
    assert routes.match(head("/c")) == NOTHING
    assert routes.match(head("/d")) == Refusal(redirect=b"/d/")
    assert routes.match(head("/e/x/")) == Refusal(redirect=b"/e/x")
    assert routes.match(head("/a", b"POST")) == Refusal(redirect=b"/a/")
    assert routes.match(head("/f")) == NOTHING
    assert routes.match(head("/")) == NOTHING


def test_a_path_that_matches_is_not_redirected() -> None:
    routes = table(slash={"path": "/a/", "trailing": True}, plain={"path": "/a", "methods": ["POST"]})
    assert routes.match(head("/a", b"POST")) == "plain"
    assert routes.match(head("/a")) == Refusal(redirect=b"/a/")


def test_the_route_that_would_win_there_decides_about_the_redirect() -> None:
    routes = table(strict={"path": "/a/"}, lenient={"path": "/{x}/", "trailing": True})
    assert routes.match(head("/a")) == NOTHING
    assert routes.match(head("/b")) == Refusal(redirect=b"/b/")


def test_no_redirect_leads_to_another_host() -> None:
    routes = table(
        any={"path": "//evil.example/", "trailing": True}, other={"path": "//evil.example/x", "trailing": True}
    )
    assert routes.match(head("//evil.example")) == NOTHING
    assert routes.match(head("//evil.example/x/")) == NOTHING


def test_no_redirect_leads_to_an_empty_path() -> None:
    assert table(odd={"regex": "(/x)?", "trailing": True}).match(head("/")) == NOTHING


def test_iteration_is_in_order_of_precedence() -> None:
    routes = table(any={}, prefix={"prefix": "/a"}, exact={"path": "/a"}, first={"priority": 1})
    assert [candidate.name for candidate in routes] == ["first", "exact", "prefix", "any"]
    assert [candidate.rank for candidate in routes] == [0, 1, 2, 3]


def test_building_pauses_often_and_ends_with_the_table() -> None:
    entries = [Entry(f"r{i}", MatchSpec(host=f"h{i}.org", path=f"/{i}"), 0, i, i) for i in range(1000)]
    steps = RouteTable.building(entries)
    pauses = 0
    while True:
        try:
            next(steps)
        except StopIteration as stop:
            routes = stop.value
            break
        pauses += 1
    assert pauses > 100
    assert [routes.match(head(f"/{i}", host=b"h%d.org" % i)) for i in range(1000)] == list(range(1000))
    assert len(routes) == 1000


def test_a_match_that_means_nothing_cannot_be_built() -> None:
    with pytest.raises(PatternError, match="RE2"):
        table(bad={"regex": "("})


def test_a_path_is_cut_no_deeper_than_the_trie() -> None:
    routes = table(two={"path": "/a/{x}"}, deep={"prefix": "/a/b/c"})
    assert routes.match(head("/a/b/c" + "/d" * 3000)) == "deep"
    assert routes.match(head("/a/b" + "/d" * 3000)) == NOTHING
    assert routes.match(head("/a/b/")) == NOTHING
