"""Twisted Web resources behind the gateway. Fetching keys in a thread is tried on a real server, in tests/live/test_auth.py."""

import json

import pytest
from twisted.web.resource import Resource
from twisted.web.server import Site
from twisted.web.test.requesthelper import DummyChannel

from suuupra_gateway.assertion.resource import GuardedResource, ICall
from tests.assertion.statements import HEADER


class Leaf(Resource):
    isLeaf = True

    def render_GET(self, request):
        call = ICall(request, None)
        return b"%b %b" % (call.subject.encode() if call is not None else b"nobody", b"/".join(request.postpath))


class Tree(Resource):
    def __init__(self):
        super().__init__()
        self.putChild(b"a", Leaf())
        self.putChild(b"healthz", Leaf())


def asked(guard, root, path, *fields):
    site = Site(GuardedResource(root, guard))
    channel = DummyChannel()
    channel.site = site
    request = site.requestFactory(channel, False)
    request.site = site
    for name, value in fields:
        request.requestHeaders.addRawHeader(name, value)
    request.gotLength(0)
    request.requestReceived(b"GET", path, b"HTTP/1.1")
    head, _, body = channel.transport.written.getvalue().partition(b"\r\n\r\n")
    return int(head.split(b" ")[1]), head, body


@pytest.fixture
def ready(guard, signing):
    """A guard that has its keys."""
    guard.admit({HEADER: [signing.token()]})
    return guard


@pytest.mark.parametrize(
    ("root", "path", "expected"), [(Leaf, b"/x/y", b"alice x/y"), (Leaf, b"/", b"alice "), (Tree, b"/a/x", b"alice x")]
)
def test_the_resources_know_who_is_calling(ready, signing, root, path, expected):
    assert asked(ready, root(), path, (b"X-Suuupra-Identity", signing.token().encode()))[::2] == (200, expected)


def test_what_is_not_there_is_not_there(ready, signing):
    assert asked(ready, Tree(), b"/none", (b"X-Suuupra-Identity", signing.token().encode()))[0] == 404


@pytest.mark.parametrize("path", [b"/", b"/x", b"/a", b"/none"])
def test_nobody_else_gets_in(ready, path):
    for root in (Leaf(), Tree()):
        status, head, body = asked(ready, root, path, (b"X-User-Id", b"root"))
        assert status == 401
        assert b"www-authenticate: suuupra-identity" in head.lower()
        assert json.loads(body) == {"title": "Unauthorized", "status": 401}


@pytest.mark.parametrize("name", [b"x-suuupra-identity", b"X_Suuupra_Identity"])
def test_twins_of_the_field_make_two_statements_which_is_none(ready, signing, name):
    fields = [(b"X-Suuupra-Identity", signing.token().encode()), (name, b"x")]
    assert asked(ready, Tree(), b"/a", *fields)[0] == 401


def test_open_paths_are_open_exactly(ready):
    assert asked(ready, Tree(), b"/healthz")[::2] == (200, b"nobody ")
    assert asked(ready, Tree(), b"/healthz/x")[0] == 401
    assert asked(ready, Tree(), b"/%68ealthz")[0] == 401
