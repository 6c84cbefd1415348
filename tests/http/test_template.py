"""Templates: text with placeholders, filled from a request's head."""

import pytest

from suuupra_gateway.http.message import RequestHead
from suuupra_gateway.http.template import Template


def filled(text, params=None, *, path=b"/a/b", query=None, host=b"example.org"):
    head = RequestHead(b"GET", path, [], query=query, host=host)
    head.params = params
    return Template(text).fill(head)


def test_plain_text_stays_as_it_is():
    assert filled("/a/b;c?x=y#z") == b"/a/b;c?x=y#z"


def test_parameters_are_inserted_as_they_came():
    assert filled("/{a}/x/{b-c}", {"a": b"1%20", "b-c": b"2/3"}) == b"/1%20/x/2/3"


def test_the_request_has_names_of_its_own():
    assert filled("https://{host}{path}?{query}", query=b"a=1") == b"https://example.org/a/b?a=1"


def test_a_query_that_is_not_there_is_empty():
    assert filled("{query}") == b""


def test_a_parameter_of_the_route_goes_before_the_name_of_the_request():
    assert filled("/{path}", {"path": b"mine"}) == b"/mine"


def test_a_parameter_that_is_missing_is_empty():
    assert filled("/x{a}", {}) == b"/x"
    assert filled("/x{a}") == b"/x"


def test_it_knows_what_only_a_route_can_give():
    assert Template("/{a}/{host}/{b}").parameters == {"a", "b"}


@pytest.mark.parametrize("text", ["/{", "/}", "/{}", "/{1a}", "/{a b}", "/a b", "/a\n", "/é", '/"', "/%zz", "/%2"])
def test_what_no_uri_may_hold_is_refused(text):
    with pytest.raises(ValueError, match="may not stand in a URI"):
        Template(text)


def test_it_shows_its_text():
    assert repr(Template("/{a}")) == "<Template /{a}>"
