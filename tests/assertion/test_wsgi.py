"""A WSGI application behind the gateway."""

import json
from wsgiref.util import setup_testing_defaults
from wsgiref.validate import validator

import pytest

from suuupra_gateway.assertion.guard import KEY
from suuupra_gateway.assertion.wsgi import GuardedApp


def hello(environ, start_response):
    call = environ.get(KEY)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [call.subject.encode() if call is not None else b"nobody"]


def asked(guard, path="/", script="", **environ):
    environ = {"PATH_INFO": path, "SCRIPT_NAME": script, "QUERY_STRING": "", **environ}
    setup_testing_defaults(environ)
    started = []

    def start_response(status, headers, exc_info=None):
        started.append((status, dict(headers)))
        return lambda data: None

    result = validator(GuardedApp(hello, guard))(environ, start_response)
    body = b"".join(result)
    result.close()
    ((status, headers),) = started
    return status, headers, body


def test_the_application_knows_who_is_calling(guard, signing):
    assert asked(guard, HTTP_X_SUUUPRA_IDENTITY=signing.token())[::2] == ("200 OK", b"alice")


def test_nobody_else_gets_in(guard):
    status, headers, body = asked(guard, HTTP_X_USER_ID="root")
    assert (status, headers["WWW-Authenticate"]) == ("401 Unauthorized", "Suuupra-Identity")
    assert json.loads(body) == {"title": "Unauthorized", "status": 401}
    assert int(headers["Content-Length"]) == len(body)


@pytest.mark.parametrize(
    ("path", "script", "status"),
    [
        ("/healthz", "", "200 OK"),
        ("/healthz/", "", "401 Unauthorized"),
        ("/healthz", "/app", "401 Unauthorized"),
        ("z", "/health", "200 OK"),
        ("//healthz", "", "401 Unauthorized"),
    ],
)
def test_open_paths_are_open_exactly(guard, path, script, status):
    environ = {"PATH_INFO": path, "SCRIPT_NAME": script}
    started = []
    list(GuardedApp(hello, guard)(environ, lambda status, headers: started.append(status)))
    assert started == [status]


def test_what_a_server_puts_into_the_environ_is_not_believed(guard):
    """A key of ours can only be there if somebody in front has set it; an open path must not see it either."""
    started = []
    body = GuardedApp(hello, guard)({"PATH_INFO": "/x", KEY: object()}, lambda status, headers: started.append(status))
    assert started == ["401 Unauthorized"]
    assert b"401" in b"".join(body)


def test_without_keys_nobody_gets_in_for_now(guard, signing, network):
    network.up = False
    status, headers, _ = asked(guard, HTTP_X_SUUUPRA_IDENTITY=signing.token())
    assert (status, headers["Retry-After"]) == ("503 Service Unavailable", "5")
