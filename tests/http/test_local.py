"""
The gateway's own answers.
"""

import json

import pytest

from suuupra_gateway.errors import MethodNotAllowed, NotRouted
from suuupra_gateway.http.local import compose, proxy_status
from suuupra_gateway.http.message import Reply, RequestHead


def made(reply, accept=None):
    headers = [(b"accept", accept)] if accept else []
    return compose(reply, RequestHead(b"GET", b"/", headers), b"id-1", proxy_status("gw"))


def test_a_plain_reply_is_sent_as_it_is():
    reply = Reply(200, ((b"x", b"y"),), b"hello")
    head, body = made(reply)
    assert (head.status, head.headers, head.length, body) == (200, [(b"x", b"y")], 5, b"hello")
    head.headers.append((b"z", b""))
    assert reply.headers == ((b"x", b"y"),)


def test_an_error_is_a_problem_with_its_code_and_proxy_status():
    head, body = made(Reply.of(MethodNotAllowed(headers=((b"allow", b"GET"),))))
    assert head.status == 405
    assert head.headers == [
        (b"allow", b"GET"),
        (b"content-type", b"application/problem+json"),
        (b"x-gateway-error", b"method_not_allowed"),
        (b"proxy-status", b"gw; error=http_request_error"),
    ]
    assert head.length == len(body)
    problem = json.loads(body)
    assert (problem["status"], problem["code"], problem["request_id"]) == (405, "method_not_allowed", "id-1")


def test_browsers_get_a_page():
    head, body = made(Reply.of(NotRouted()), b"text/html,*/*;q=0.8")
    assert head.get(b"content-type") == b"text/html; charset=utf-8"
    assert b"<h1>404 Not found</h1>" in body


@pytest.mark.parametrize(("status", "length"), [(204, None), (304, None), (200, 0), (205, 0)])
def test_answers_without_a_body(status, length):
    assert made(Reply(status))[0].length == length


def test_a_name_that_is_no_token_is_quoted():
    assert proxy_status("edge-1.example") == b"edge-1.example; error="
    assert proxy_status("1edge") == b'"1edge"; error='
