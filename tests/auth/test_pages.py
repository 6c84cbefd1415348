"""What people see of a login."""

import re
from html.parser import HTMLParser

import pytest

from suuupra_gateway.auth.pages import ask_logout, failed, logged_out
from suuupra_gateway.http.local import compose
from suuupra_gateway.http.message import RequestHead

BROWSER = RequestHead(b"GET", b"/", [(b"accept", b"text/html")])
PROGRAM = RequestHead(b"GET", b"/", [(b"accept", b"application/json")])


class Page(HTMLParser):
    def __init__(self, body):
        super().__init__()
        self.tags = []
        self.feed(body.decode())

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def all(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]


def policy(reply):
    directives = dict(reply.headers)[b"content-security-policy"].decode().split("; ")
    return {name: values for name, *values in (directive.split(" ") for directive in directives)}


def test_logging_out_is_asked_for_by_a_form():
    reply = ask_logout("/_login/logout", b"the-token", ("https://shop.example.org/", "https://idp.example.org/end"))
    page = Page(reply.body)
    assert page.all("form") == [{"method": "post", "action": "/_login/logout"}]
    assert page.all("input") == [{"type": "hidden", "name": "csrf", "value": "the-token"}]
    assert reply.status == 200


def test_browsers_may_be_redirected_after_the_form():
    """Chromium holds redirects to form-action too."""
    then = ("https://shop.example.org/", "https://idp.example.org/end?x=1", "https://idp.example.org/", "/local")
    reply = ask_logout("/l", b"t", then)
    assert policy(reply)["form-action"] == ["'self'", "https://shop.example.org", "https://idp.example.org"]


@pytest.mark.parametrize(
    "reply",
    [
        ask_logout('/"><script>', b'"><script>', ()),
        logged_out(),
        failed(BROWSER, 400, "login_x", "<script>", "a & b", again='/x?"><script>'),
    ],
)
def test_pages_are_private_have_no_scripts_and_cannot_be_framed(reply):
    headers = dict(reply.headers)
    assert headers[b"cache-control"] == b"no-store"
    assert headers[b"x-content-type-options"] == b"nosniff"
    assert headers[b"referrer-policy"] == b"same-origin"
    assert policy(reply)["default-src"] == policy(reply)["frame-ancestors"] == policy(reply)["base-uri"] == ["'none'"]
    page = Page(reply.body)
    assert page.all("script") == []
    assert len(page.all("title")) == len(page.all("h1")) == len(page.all("main")) == 1
    assert not any(name.startswith("on") for _, attributes in page.tags for name in attributes)


def test_the_only_style_is_the_one_that_is_allowed():
    import base64
    import hashlib

    reply = logged_out()
    style = re.search(rb"<style>(.*?)</style>", reply.body, re.S)[1]
    allowed = "'sha256-" + base64.b64encode(hashlib.sha256(style).digest()).decode() + "'"
    assert policy(reply)["style-src"] == [allowed]
    assert b"style=" not in reply.body


def test_failures_lead_back_to_where_somebody_wanted_to_go():
    links = Page(failed(BROWSER, 503, "login_unavailable", "T", "t", again="/orders?a=1&b=2").body).all("a")
    assert [link["href"] for link in links] == ["/orders?a=1&b=2", "/"]
    assert [link["href"] for link in Page(failed(BROWSER, 400, "c", "T", "t").body).all("a")] == ["/"]


def test_failures_have_a_name():
    reply = failed(BROWSER, 400, "login_x", "T", "t", fields=((b"set-cookie", b"a=b"),), retry_after=0.2)
    headers = dict(reply.headers)
    assert headers[b"x-gateway-error"] == b"login_x"
    assert (headers[b"set-cookie"], headers[b"retry-after"]) == (b"a=b", b"1")
    assert b"<small>login_x</small>" in reply.body


def test_programs_get_a_problem():
    reply = failed(PROGRAM, 403, "logout_forged", "T", "because", fields=((b"set-cookie", b"a=b"),))
    head, body = compose(reply, PROGRAM, b"r", b"x; error=")
    assert head.get(b"content-type") == b"application/problem+json"
    assert head.get(b"x-gateway-error") == b"logout_forged"
    assert head.get(b"set-cookie") == b"a=b"
    assert b'"detail":"because"' in body
