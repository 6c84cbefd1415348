"""The targets that answer by themselves."""

import pytest
from twisted.web.resource import IResource
from zope.interface.verify import verifyObject

from suuupra_gateway.config.model import FixedSpec, RedirectSpec
from suuupra_gateway.http.rules import HeadRules
from suuupra_gateway.memory import MemoryExchange, Probe
from suuupra_gateway.targets.fixed import FixedResource, RedirectResource


def answered(target, line="GET /a/b?x=1", params=None):
    method, _, url = line.partition(" ")
    exchange = MemoryExchange(Probe(method, url).head(HeadRules()))
    exchange.head.params = params
    target.render(exchange)
    return exchange


def location(to, line="GET /a/b?x=1", params=None):
    return answered(RedirectResource(RedirectSpec(to=to)), line, params).answer.get(b"location")


def test_a_constant_is_answered_with_its_type():
    exchange = answered(FixedResource(FixedSpec(status=200, body="güt", headers=(("X-A", "1"),))))
    assert (exchange.answer.status, exchange.sent) == (200, "güt".encode())
    assert exchange.answer.headers == [(b"x-a", b"1"), (b"content-type", b"text/plain; charset=utf-8")]


def test_a_type_among_the_headers_is_the_only_one():
    exchange = answered(FixedResource(FixedSpec(body="{}", headers=(("Content-Type", "application/json"),))))
    assert exchange.answer.headers == [(b"content-type", b"application/json")]


def test_an_answer_without_a_body_has_no_type():
    exchange = answered(FixedResource(FixedSpec(status=204)))
    assert (exchange.answer.status, exchange.answer.headers, exchange.sent) == (204, [], b"")


def test_a_redirect_keeps_the_method_unless_told_otherwise():
    assert answered(RedirectResource(RedirectSpec(to="/x"))).answer.status == 308
    assert answered(RedirectResource(RedirectSpec(to="/x", status=302))).answer.status == 302


@pytest.mark.parametrize(
    ("to", "line", "expected"),
    [
        ("https://{host}{path}?{query}", "GET /a?x=1", b"https://localhost/a?x=1"),
        ("https://{host}{path}?{query}", "GET /a", b"https://localhost/a"),
        ("/new?{query}#top", "GET /a", b"/new#top"),
        ("/new?a={query}", "GET /a", b"/new?a="),
        ("https://example.org/{id}", "GET /a", b"https://example.org/7"),
        ("//other.example{path}", "GET /a", b"//other.example/a"),
    ],
)
def test_placeholders_are_filled(to, line, expected):
    assert location(to, line, {"id": b"7"}) == expected


def test_a_path_of_the_request_never_names_another_host():
    """With `merge-slashes: false` a path may begin with two slashes, which a browser would read as a host."""
    exchange = MemoryExchange(Probe("GET", "//evil.example/x").head(HeadRules(merge_slashes=False)))
    assert exchange.head.path.startswith(b"//")
    assert RedirectResource(RedirectSpec(to="{path}")).location(exchange) == b"/evil.example/x"
    exchange.head.params = {"rest": b"/evil.example"}
    assert RedirectResource(RedirectSpec(to="/{rest}")).location(exchange) == b"/evil.example"


@pytest.mark.parametrize("value", [b".evil.example/", b"@evil.example", b":80@evil.example", b"evil"])
@pytest.mark.parametrize("base", ["https://example.org", "//example.org", "https://{host}", "https://example.org:8443"])
def test_a_parameter_never_goes_on_with_the_name_of_the_host(base, value):
    expected = base.replace("{host}", "localhost").encode() + b"/" + value
    assert location(base + "{rest}", "GET /a", {"rest": value}) == expected
    assert location(base + "/{rest}", "GET /a", {"rest": value}) == expected


def test_a_parameter_may_be_a_part_of_a_host_that_ends_otherwise():
    assert location("https://{id}.example.org/", "GET /a", {"id": b"7"}) == b"https://7.example.org/"
    assert location("https://example.org{id}", "GET /a", {"id": b""}) == b"https://example.org"


def test_it_names_the_parameters_it_needs():
    assert RedirectResource(RedirectSpec(to="/{a}{path}")).parameters == {"a"}


def test_a_target_that_no_uri_may_hold_is_refused():
    with pytest.raises(ValueError, match="may not stand"):
        RedirectResource(RedirectSpec(to="/{"))


@pytest.mark.parametrize("target", [FixedResource(FixedSpec()), RedirectResource(RedirectSpec(to="/"))])
def test_targets_are_leaf_resources(target):
    assert verifyObject(IResource, target)
    assert target.isLeaf
