"""An ASGI application behind the gateway."""

import asyncio
import json
import threading

import pytest

from suuupra_gateway.assertion.asgi import GuardedApp
from suuupra_gateway.assertion.guard import KEY


async def hello(scope, receive, send):
    call = scope.get(KEY)
    await send({"type": "seen", "kind": scope["type"], "who": call.subject if call is not None else None})


def asked(guard, *headers, kind="http", path="/", extra=()):
    sent = []

    async def send(message):
        sent.append(message)

    scope = {"type": kind, "path": path, "headers": list(headers), **dict(extra)}
    asyncio.run(GuardedApp(hello, guard)(scope, None, send))
    return sent


def said(signing, name=b"x-suuupra-identity"):
    return (name, signing.token().encode())


@pytest.mark.parametrize("kind", ["http", "websocket"])
def test_the_application_knows_who_is_calling(guard, signing, kind):
    assert asked(guard, said(signing), kind=kind) == [{"type": "seen", "kind": kind, "who": "alice"}]


def test_nobody_else_gets_in(guard):
    start, body = asked(guard, (b"x-user-id", b"root"))
    assert (start["type"], start["status"]) == ("http.response.start", 401)
    assert (b"www-authenticate", b"Suuupra-Identity") in start["headers"]
    assert json.loads(body["body"]) == {"title": "Unauthorized", "status": 401}


def test_no_websocket_is_accepted_for_anybody_else(guard):
    assert asked(guard, kind="websocket") == [{"type": "websocket.close", "code": 1008}]


@pytest.mark.parametrize("name", [b"X-Suuupra-Identity", b"x_suuupra_identity"])
def test_twins_of_the_field_make_two_statements_which_is_none(guard, signing, name):
    start, _ = asked(guard, said(signing), (name, b"x"))
    assert start["status"] == 401


def test_open_paths_are_open_and_what_is_no_request_is_let_through(guard):
    assert asked(guard, path="/healthz") == [{"type": "seen", "kind": "http", "who": None}]
    assert asked(guard, path="/healthz/x")[0]["status"] == 401
    assert asked(guard, kind="lifespan") == [{"type": "seen", "kind": "lifespan", "who": None}]


def test_the_loop_goes_on_while_keys_are_fetched(guard, signing, network):
    network.hold = threading.Event()
    sent = []

    async def send(message):
        sent.append(message)

    async def main():
        scope = {"type": "http", "path": "/", "headers": [said(signing)]}
        waiting = asyncio.create_task(GuardedApp(hello, guard)(scope, None, send))
        await asyncio.sleep(0)
        assert sent == []
        network.hold.set()
        await asyncio.wait_for(waiting, 30)

    asyncio.run(main())
    assert sent == [{"type": "seen", "kind": "http", "who": "alice"}]
