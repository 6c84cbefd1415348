"""What is said to a provider, and what its answers mean."""

import base64
import json
from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from suuupra_gateway.auth.attempt import Attempt
from suuupra_gateway.auth.oauth2 import (
    BadAnswer,
    Callback,
    Client,
    Grant,
    GrantRefused,
    ProtocolError,
    Unusable,
    form,
)
from suuupra_gateway.config.units import Secret
from tests.auth.portal import CLIENT, HOME, SECRET, login_spec

ISSUER = "https://idp.example.org"
METADATA = {
    "authorization_endpoint": f"{ISSUER}/authorize?tenant=1",
    "token_endpoint": f"{ISSUER}/token",
    "revocation_endpoint": f"{ISSUER}/revoke",
    "userinfo_endpoint": f"{ISSUER}/me",
    "end_session_endpoint": f"{ISSUER}/end",
}
ATTEMPT = Attempt.new("/x", 0.0)


def client(metadata=METADATA, issuer=ISSUER, **more):
    return Client(login_spec(**more), metadata, issuer)


def fields(request):
    return {name: value[0] for name, value in parse_qs(request.body.decode(), strict_parsing=True).items()}


# -- the way there ----------------------------------------------------------------------------------------------------


def test_browsers_are_sent_with_all_that_protects_them():
    split = urlsplit(client(parameters=(("prompt", "login"), ("audience", "a b"))).authorization_url(ATTEMPT))
    assert f"{split.scheme}://{split.netloc}{split.path}" == f"{ISSUER}/authorize"
    assert parse_qs(split.query, strict_parsing=True) == {
        "tenant": ["1"],
        "response_type": ["code"],
        "client_id": [CLIENT],
        "redirect_uri": [f"{HOME}/_login/callback"],
        "scope": ["openid profile email offline_access"],
        "state": [ATTEMPT.state],
        "nonce": [ATTEMPT.nonce],
        "code_challenge": [ATTEMPT.challenge],
        "code_challenge_method": ["S256"],
        "prompt": ["login"],
        "audience": ["a b"],
    }
    assert ATTEMPT.verifier not in split.query


def test_configured_parameters_do_not_replace_those_of_the_flow():
    url = client(parameters=(("nonce", "fixed"), ("code_challenge_method", "plain"))).authorization_url(ATTEMPT)
    found = parse_qs(urlsplit(url).query)
    assert (found["nonce"], found["code_challenge_method"]) == ([ATTEMPT.nonce], ["S256"])


@pytest.mark.parametrize(
    "bad",
    [
        None,
        7,
        "",
        "/token",
        "http://idp.example.org/token",
        "https:///token",
        f"{ISSUER}/t#f",
        f"{ISSUER}/\n",
        "ftp://x/",
    ],
)
@pytest.mark.parametrize("name", ["authorization_endpoint", "token_endpoint"])
def test_a_provider_without_good_endpoints_is_of_no_use(name, bad):
    with pytest.raises(Unusable, match=name):
        client({**METADATA, name: bad})


def test_without_tls_everything_may_be_without():
    plain = {name: url.replace("https:", "http:") for name, url in METADATA.items()}
    assert client(plain, "http://idp.example.org").endpoint("token_endpoint") == "http://idp.example.org/token"


@pytest.mark.parametrize(("said", "expected"), [(True, True), ("true", False), (None, False)])
def test_whether_callbacks_must_name_the_issuer(said, expected):
    made = client({**METADATA, "authorization_response_iss_parameter_supported": said})
    assert made.tells_issuer is expected


# -- the way back -----------------------------------------------------------------------------------------------------


def test_a_callback_is_read():
    found = Callback.of(b"code=c%2B1&state=s&iss=https%3A%2F%2Fidp")
    assert (found.code, found.state, found.error, found.issuer) == ("c+1", "s", "", "https://idp")
    assert "c+1" not in repr(found)


@pytest.mark.parametrize(
    "query",
    [
        None,
        b"",
        b"code=c",
        b"state=s",
        b"state=s&code=",
        b"code=c&state=s&state=s",
        b"code=c&code=d&state=s",
        b"code=c&state=s&error=x",
        b"code=c&state=s&iss=a&iss=b",
        b"code=c&state=%ff",
        b"code=\xff&state=s",
        b"&".join(b"a%d=1" % number for number in range(40)),
    ],
)
def test_what_no_provider_would_send_is_refused(query):
    with pytest.raises(ProtocolError):
        Callback.of(query)


@pytest.mark.parametrize(
    ("error", "said"), [("access_denied", "access_denied"), ("<script>alert(1)</script>", "error"), ("a\nb", "error")]
)
def test_of_errors_only_known_words_are_kept(error, said):
    from urllib.parse import urlencode

    query = urlencode({"error": error, "state": "s", "error_description": "<b>"}).encode()
    assert Callback.of(query).error == said


@given(st.binary(max_size=80))
def test_forms_are_read_or_refused(data):
    try:
        found = form(data)
    except ProtocolError:
        return
    assert all(isinstance(name, str) and isinstance(value, str) for name, value in found.items())


# -- the token endpoint -----------------------------------------------------------------------------------------------


def test_codes_are_exchanged_with_form_encoded_basic_credentials():
    request = client().code_request("the code", "the verifier")
    assert request.url == f"{ISSUER}/token"
    assert fields(request) == {
        "grant_type": "authorization_code",
        "code": "the code",
        "redirect_uri": f"{HOME}/_login/callback",
        "code_verifier": "the verifier",
    }
    pair = base64.b64decode(dict(request.headers)[b"authorization"].removeprefix(b"Basic ")).decode()
    assert pair == "shop+%26+co:the+client%27s+secret%3A+100%25+%2B%2F"
    assert "secret" not in repr(request)


def test_credentials_may_be_in_the_form_and_never_in_the_url():
    request = client(client_auth="client_secret_post").refresh_request("r")
    assert fields(request) == {
        "grant_type": "refresh_token",
        "refresh_token": "r",
        "client_id": CLIENT,
        "client_secret": SECRET,
    }
    assert b"authorization" not in dict(request.headers)


@pytest.mark.parametrize("more", [{"client_secret": None}, {"client_auth": "none", "client_secret": Secret("unused")}])
def test_public_clients_only_say_who_they_are(more):
    request = client(**more).code_request("c", "v")
    assert fields(request)["client_id"] == CLIENT
    assert b"authorization" not in dict(request.headers)
    assert b"unused" not in request.body


def test_a_grant_is_read():
    body = {
        "access_token": "a",
        "token_type": "bearer",
        "refresh_token": "r",
        "id_token": "i",
        "expires_in": 60,
        "scope": "x",
    }
    grant = Grant.of(200, json.dumps(body).encode())
    assert (grant.access, grant.refresh, grant.id, grant.lifetime, grant.scopes) == ("a", "r", "i", 60.0, "x")
    assert "'a'" not in repr(grant)


def test_a_grant_may_say_little():
    grant = Grant.of(200, b'{"access_token": "a", "token_type": "Bearer"}')
    assert (grant.refresh, grant.id, grant.lifetime, grant.scopes) == ("", "", None, None)


@pytest.mark.parametrize(("said", "meant"), [("60", 60.0), (-5, 0.0), (1e30, 31_536_000.0), (None, None), (0, 0.0)])
def test_lifetimes_are_taken_as_they_come(said, meant):
    body = json.dumps({"access_token": "a", "token_type": "Bearer", "expires_in": said}).encode()
    assert Grant.of(200, body).lifetime == meant


GOOD = {"access_token": "a", "token_type": "Bearer"}


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (200, b""),
        (200, b"<html>Sorry</html>"),
        (200, b"\xff\xfe"),
        (200, b"[" * 100_000),
        (200, b"[]"),
        (200, json.dumps({**GOOD, "access_token": ""}).encode()),
        (200, json.dumps({**GOOD, "access_token": 1}).encode()),
        (200, json.dumps({**GOOD, "token_type": "mac"}).encode()),
        (200, json.dumps({**GOOD, "token_type": None}).encode()),
        (200, json.dumps({**GOOD, "refresh_token": 1}).encode()),
        (200, json.dumps({**GOOD, "id_token": None}).encode()),
        (200, json.dumps({**GOOD, "scope": []}).encode()),
        (200, json.dumps({**GOOD, "expires_in": True}).encode()),
        (200, json.dumps({**GOOD, "expires_in": "soon"}).encode()),
        (201, json.dumps(GOOD).encode()),
        (302, b"{}"),
        (500, b'{"error": "invalid_grant"}'),
        (400, b"{}"),
        (400, b'{"error": "<script>"}'),
        (400, b'{"error": 7}'),
    ],
)
def test_what_is_neither_yes_nor_no_is_another_attempts_chance(status, body):
    with pytest.raises(BadAnswer, match="bad_token_response"):
        Grant.of(status, body)


@pytest.mark.parametrize(("status", "code"), [(400, "invalid_grant"), (401, "invalid_client")])
def test_a_refusal_says_why(status, code):
    with pytest.raises(GrantRefused) as caught:
        Grant.of(status, json.dumps({"error": code, "error_description": "<script>"}).encode())
    assert caught.value.reason == code
    assert "<script>" not in str(caught.value)


# -- the rest ---------------------------------------------------------------------------------------------------------


def test_refresh_tokens_are_given_back():
    request = client().revocation_request("r")
    assert request.url == f"{ISSUER}/revoke"
    assert fields(request) == {"token": "r", "token_type_hint": "refresh_token"}
    assert client({**METADATA, "revocation_endpoint": None}).revocation_request("r") is None


def test_userinfo_is_asked_with_the_access_token():
    request = client().userinfo_request("a")
    assert (request.url, request.body, dict(request.headers)[b"authorization"]) == (f"{ISSUER}/me", b"", b"Bearer a")
    assert client({**METADATA, "userinfo_endpoint": None}).userinfo_request("a") is None
    assert client().userinfo_request("a\r\nx: y") is None


def test_the_providers_own_session_is_ended_with_a_hint():
    url = client().logout_url("id-token", f"{HOME}/bye")
    assert parse_qs(urlsplit(url).query) == {
        "id_token_hint": ["id-token"],
        "client_id": [CLIENT],
        "post_logout_redirect_uri": [f"{HOME}/bye"],
    }


@pytest.mark.parametrize("token", ["", "x" * 5000])
def test_or_without_one_that_does_not_fit(token):
    url = client({**METADATA, "end_session_endpoint": f"{ISSUER}/end?a=1"}).logout_url(token, HOME)
    assert url.startswith(f"{ISSUER}/end?a=1&client_id=")
    assert "id_token_hint" not in url


def test_or_not_at_all():
    assert client({**METADATA, "end_session_endpoint": "http://idp.example.org/end"}).logout_url("i", HOME) is None
