"""Who may do what on the admin site."""

import json

import pytest
from twisted.internet.address import IPv4Address, UNIXAddress

from suuupra_gateway.admin.access import LARGEST
from suuupra_gateway.config.model import AdminSpec
from tests.admin.control import Browser, FakeControl
from tests.auth.test_issuing import Office

OPS, BOARD = "o" * 32, "b" * 40
LOCAL = IPv4Address("TCP", "127.0.0.1", 9900)
SOCKET = UNIXAddress("/run/admin.sock")
SPEC = AdminSpec.model_validate(
    {
        "tokens": {
            "ops": {"secret": OPS, "scopes": ("keys.read", "keys.write")},
            "board": {"secret": BOARD, "scopes": ("keys.read",)},
        }
    }
)


def browser(spec=SPEC, local=LOCAL):
    control = FakeControl()
    control.keys = Office().issuing
    return Browser(control, spec, local=local)


def bearer(token):
    return {"Authorization": f"Bearer {token}"}


def post(at, path="/api/keys", body=b'{"owner": "ann"}', kind="application/json", token=OPS, **more):
    headers = {**({"Content-Type": kind} if kind else {}), **(bearer(token) if token else {})}
    return at.ask(path, method="POST", headers=headers, body=body, **more)


def code(answer):
    return answer.status, json.loads(answer.body)["code"]


# -- tokens -----------------------------------------------------------------------------------------------------------


def test_without_tokens_nobody_may_over_tcp_and_is_told_what_to_do():
    answer = browser(AdminSpec()).ask("/api/keys")
    assert code(answer) == (403, "forbidden")
    assert "admin.tokens" in json.loads(answer.body)["detail"]
    assert "www-authenticate" not in answer.headers
    assert browser(AdminSpec()).ask("/api/keys", headers=bearer("")).status == 401


def test_who_shows_no_token_is_asked_for_one():
    answer = browser().ask("/api/keys")
    assert code(answer) == (401, "unauthorized")
    assert answer.headers["www-authenticate"] == 'Bearer realm="suuupra-gateway admin"'


@pytest.mark.parametrize(
    "field",
    ["Bearer x", f"Bearer {OPS[:-1]}", f"Bearer {OPS}x", f"Basic {OPS}", OPS, "Bearer", "", f"Bearer {OPS} {OPS}"],
)
def test_other_tokens_are_refused_alike(field):
    answer = browser().ask("/api/keys", headers={"Authorization": field})
    assert code(answer) == (401, "unauthorized")
    assert answer.headers["www-authenticate"].endswith('error="invalid_token"')
    assert OPS[:8] not in answer.body.decode()


def test_two_tokens_are_one_too_many():
    transport, _ = browser().open(
        f"GET /api/keys HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {OPS}\r\n"
        f"Authorization: Bearer {BOARD}\r\nConnection: close\r\n\r\n".encode()
    )
    assert transport.value().startswith(b"HTTP/1.1 400 ")


@pytest.mark.parametrize("token", [OPS, BOARD])
@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER "])
def test_a_token_that_may_is_let_in(token, scheme):
    assert browser().ask("/api/keys", headers={"Authorization": f"{scheme} {token}"}).status == 200


def test_a_token_may_only_what_its_scopes_say():
    at = browser()
    refused = post(at, token=BOARD)
    assert code(refused) == (403, "forbidden")
    assert refused.headers["www-authenticate"].endswith('error="insufficient_scope", scope="keys.write"')
    assert post(at).status == 201
    assert code(post(at, "/api/revocations", b'{"session": "x"}')) == (403, "forbidden")


def test_the_permissions_of_a_socket_are_enough_there():
    at = browser(AdminSpec(), local=SOCKET)
    assert at.ask("/api/keys").status == 200
    assert post(at, token="").status == 201
    assert post(at, "/api/revocations", b'{"session": "x"}', token="").status == 200


def test_who_shows_a_token_on_a_socket_may_what_that_may():
    at = browser(SPEC, local=SOCKET)
    assert post(at, token=BOARD).status == 403
    assert at.ask("/api/keys", headers=bearer("wrong")).status == 401


def test_state_needs_no_token():
    for path in ("/", "/metrics", "/healthz", "/readyz", "/api/plan", "/api/workers"):
        assert browser(AdminSpec()).ask(path).status == 200


def test_answers_to_those_who_may_carry_the_security_headers_too():
    answer = browser().ask("/api/keys", headers=bearer(OPS))
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["x-content-type-options"] == "nosniff"


# -- bodies -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "kind",
    ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "", "application/jsonx"],
)
def test_what_a_page_of_another_site_can_send_unasked_is_refused(kind):
    at = browser(AdminSpec(), local=SOCKET)
    assert code(post(at, kind=kind, token="")) == (415, "unsupported_media_type")
    assert code(post(at, kind=kind, token="", body=b"")) == (415, "unsupported_media_type")
    assert json.loads(at.ask("/api/keys").body)["keys"] == []


def test_another_name_for_us_is_refused_whatever_is_shown():
    assert post(browser(), host="attacker.example").status == 421


@pytest.mark.parametrize("kind", ["application/json", "Application/JSON; charset=utf-8"])
def test_json_is_taken(kind):
    assert post(browser(), kind=kind).status == 201


@pytest.mark.parametrize(
    "body", [b"{", b"[]", b'"x"', b"\xff", b"[" * 60_000, b'{"owner": "ann"} x', b'{"owner": "\xff"}', b'{"owner": 7}']
)
def test_other_bodies_are_refused_and_the_site_goes_on(body):
    at = browser()
    assert code(post(at, body=body)) == (400, "bad_request")
    assert post(at).status == 201


def test_a_body_has_a_limit_and_none_of_a_longer_one_is_kept():
    at = browser()
    filling = b" " * (LARGEST - len(b'{"owner": "ann"}'))
    assert post(at, body=b'{"owner": "ann"}' + filling).status == 201
    assert code(post(at, body=b'{"owner": "ann"}' + filling + b" ")) == (413, "body_too_large")

    _, channel = at.open(
        f"POST /api/keys HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {OPS}\r\n"
        "Content-Type: application/json\r\nContent-Length: 10000000\r\n\r\n".encode()
    )
    request = channel.requests[0]
    for _ in range(100):
        channel.dataReceived(b"x" * 10_000)
        assert len(request.content.getvalue()) <= LARGEST
    assert request.content.getvalue() == b""


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "OPTIONS"])
def test_other_methods_are_refused_and_told_which_are_allowed(method):
    answer = browser().ask("/api/keys", method=method, headers=bearer(OPS))
    assert answer.status == 405
    assert answer.headers["allow"] == "GET, POST, HEAD"
    answer = browser().ask("/api/revocations", method="GET", headers=bearer(OPS))
    assert (answer.status, answer.headers["allow"]) == (405, "POST")


def test_head_is_answered_as_get_without_the_body():
    answer = browser().ask("/api/keys", method="HEAD", headers=bearer(OPS))
    assert (answer.status, answer.body) == (200, b"")
