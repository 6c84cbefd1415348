"""Who gets in, what upstreams are told of them, and that nobody else can say so: through the shipped ``twistd``."""

import json
import subprocess
import sys
import time
from pathlib import Path

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from tests.live.harness import Process, fetch, gateway
from tests.live.wire import Watch, Wire
from tests.servers.raw_origin import RawOrigin

ISSUER, AUDIENCE = "https://id.example", "https://api.example"


class Issuer:
    """Somebody who signs tokens."""

    def __init__(self, name):
        self.name = name
        self._key = ec.generate_private_key(ec.SECP256R1())

    def public(self):
        return self._key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)

    def private(self):
        return self._key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())

    def token(self, subject="alice", *, lifetime=600, **claims):
        now = int(time.time())
        told = {"iss": f"{ISSUER}/{self.name}", "aud": AUDIENCE, "sub": subject, "iat": now, "exp": now + lifetime}
        return jwt.encode({**told, **claims}, self._key, "ES256")


@pytest.fixture(scope="module")
def corp():
    return Issuer("corp")


@pytest.fixture(scope="module")
def partner():
    return Issuer("partner")


@pytest.fixture(scope="module")
def origin():
    with RawOrigin() as made:
        yield made


@pytest.fixture(scope="module")
def keys_at(tmp_path_factory):
    """A file that says where the gateway's keys are: the service is there before it."""
    return tmp_path_factory.mktemp("guarded") / "url"


@pytest.fixture(scope="module")
def guarded(keys_at):
    server = Process("tests.servers.guarded", str(keys_at), "wsgi")
    yield server.address
    server.stop()


@pytest.fixture(scope="module")
def resources(keys_at):
    server = Process("tests.servers.guarded", str(keys_at), "twisted")
    yield server.address
    server.stop()


@pytest.fixture(scope="module")
def gw(tmp_path_factory, origin, guarded, resources, corp, partner, keys_at):
    directory = tmp_path_factory.mktemp("auth")
    for issuer in (corp, partner):
        (directory / f"{issuer.name}.pem").write_bytes(issuer.public())
    (directory / "signer.pem").write_bytes(Issuer("gateway").private())
    with gateway(directory) as made:
        made.write(f"""
gateway: {{workers: 2, state-dir: {directory}/state}}
admin: {{address: 127.0.0.1:0}}
access-log: {{path: {directory}/access.log}}
listeners: [{{name: public, address: 127.0.0.1:0}}]
identity:
  providers:
    corp: {{issuer: "{ISSUER}/corp", audiences: ["{AUDIENCE}"], keys: corp.pem}}
    partner: {{issuer: "{ISSUER}/partner", audiences: ["{AUDIENCE}"], keys: partner.pem}}
  api-keys: {{peppers: ["{"p" * 32}"]}}
  headers: {{claims: {{X-Auth-Mail: email}}}}
  assertion: {{issuer: "https://gw.example", keys: [signer.pem]}}
upstreams:
  origin: {{endpoints: ["{origin.url}"]}}
  guarded: {{endpoints: ["http://{guarded}"]}}
  resources: {{endpoints: ["http://{resources}"]}}
x-to-origin: &to-origin {{proxy: {{upstream: origin}}}}
x-corp: &corp {{jwt: {{provider: corp}}}}
x-partner: &partner {{jwt: {{provider: partner}}}}
routes:
  - {{name: public, match: {{prefix: /public}}, auth: none, target: *to-origin}}
  - {{name: any, match: {{prefix: /any}}, auth: {{any: [*corp, *partner]}}, target: *to-origin}}
  - {{name: all, match: {{prefix: /all}}, auth: {{all: [*corp, {{api-key: {{}}}}], scopes: {{all: [a, b]}}}}, target: *to-origin}}
  - name: orders
    match: {{prefix: /orders}}
    auth:
      any: [*corp]
      scopes: {{all: [orders.read]}}
      roles: {{any: [clerk, boss]}}
      claims: {{department: {{in: [sales, support]}}}}
    target: *to-origin
  - {{name: forwarding, match: {{prefix: /forwarding}}, auth: {{any: [*corp], forward-credentials: true}}, target: *to-origin}}
  - {{name: silent, match: {{prefix: /silent}}, auth: {{any: [*corp], headers: false, assertion: "off"}}, target: *to-origin}}
  - {{name: guarded, match: {{prefix: /guarded}}, auth: {{any: [*corp]}}, target: {{proxy: {{upstream: guarded}}}}}}
  - name: resources
    match: {{prefix: /resources}}
    auth: {{any: [*corp], assertion: guarded}}
    target: {{proxy: {{upstream: resources}}}}
  - {{name: to-guarded, match: {{path: /healthz}}, auth: none, target: {{proxy: {{upstream: guarded}}}}}}
  - {{name: past-guarded, match: {{prefix: /unsigned}}, auth: none, target: {{proxy: {{upstream: guarded}}}}}}
""")
        made.start()
        keys_at.write_text(f"http://{made.address()}/.well-known/suuupra-identity.json")
        yield made


@pytest.fixture(scope="module")
def watch(gw):
    return Watch(gw, gw.directory / "access.log")


def ask(gw, target, *fields, method="GET"):
    with Wire(gw.address()) as client:
        return client.get(target, *fields, method=method)


def by(token):
    return f"Authorization: Bearer {token}"


def seen(answer):
    """What the echoing origin saw: pairs, names in lower case."""
    assert answer.status == 200, answer
    return [(name.lower(), value) for name, value in answer.json["headers"]]


def told(answer):
    """What the origin was told about identity."""
    return {
        name: value for name, value in seen(answer) if name.startswith(("x-user", "x-auth", "x-tenant", "x-consumer"))
    }


# -- who gets in ------------------------------------------------------------------------------------------------------


def test_whoever_shows_nothing_is_told_what_to_show(gw, watch, origin):
    answer = ask(gw, "/any/nothing")
    assert (answer.status, answer.code) == (401, "unauthorized")
    assert answer.all("www-authenticate") == ['Bearer realm="suuupra"']
    assert not origin.requests["/any/nothing"]
    line = watch.line("/any/nothing")
    assert (line["auth"], line["identity"], line["source"]) == ("no_credential", None, "gateway")


@pytest.mark.parametrize("issuer", ["corp", "partner"])
def test_any_credential_will_do(gw, watch, issuer, request):
    path = f"/any/{issuer}"
    answer = ask(gw, path, by(request.getfixturevalue(issuer).token("alice", email="al@corp.example")))
    assert told(answer) == {"x-user-id": "alice", "x-auth-method": "jwt", "x-auth-mail": "al@corp.example"}
    assert watch.line(path)["identity"] == "alice"


def test_all_credentials_must_be_shown_and_what_they_allow_adds_up(gw, watch, corp):
    program = Path(sys.executable).with_name("suuupra-gateway")
    command = [program, "keys", "create", "--config", gw.file, "--owner", "till", "--scope", "b"]
    key = subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
    token = by(corp.token(scope="a"))
    for fields in ([], [token], [f"X-API-Key: {key}"], [token, f"X-API-Key: {key[:-1]}"]):
        assert ask(gw, "/all/some", *fields).status == 401
    assert ask(gw, "/all/less", by(corp.token()), f"X-API-Key: {key}").status == 403
    answer = ask(gw, "/all/both", token, f"X-API-Key: {key}")
    found = told(answer)
    assert (found["x-user-id"], found["x-auth-method"], found["x-auth-scopes"]) == ("alice", "jwt", "a b")
    assert not {"authorization", "x-api-key"} & dict(seen(answer)).keys()
    line = watch.line("/all/both")
    assert (line["identity"], line["key"]) == ("alice", key.split("_")[2])


def test_a_credential_that_is_no_good_is_called_that_and_no_more(gw, watch, corp, origin):
    answer = ask(gw, "/any/expired", by(corp.token(lifetime=-600)))
    assert (answer.status, answer.code) == (401, "unauthorized")
    assert answer.all("www-authenticate") == ['Bearer realm="suuupra", error="invalid_token"']
    assert b"expired" not in answer.body
    assert watch.line("/any/expired")["auth"] == "expired"
    assert not origin.requests["/any/expired"]


def test_two_credentials_of_one_kind_are_refused_even_if_both_are_good(gw, corp, partner, origin):
    answer = ask(gw, "/any/two", by(corp.token()), by(partner.token()))
    assert (answer.status, answer.code) == (400, "bad_request")
    assert not origin.requests["/any/two"]


GOOD = {"scope": "orders.read orders.write", "roles": ["clerk"], "department": "sales"}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"scope": "orders.write"}, "insufficient_scope"),
        ({"roles": ["guest"]}, "missing_role"),
        ({"department": "legal"}, "claim_mismatch"),
    ],
)
def test_who_is_known_and_may_not_is_told_only_what_the_standard_says(gw, watch, corp, origin, change, reason):
    path = f"/orders/{reason}"
    answer = ask(gw, path, by(corp.token("bob", **(GOOD | change))))
    assert (answer.status, answer.code) == (403, "forbidden")
    challenge = 'Bearer realm="suuupra", error="insufficient_scope", scope="orders.read"'
    assert answer.all("www-authenticate") == ([challenge] if reason == "insufficient_scope" else [])
    line = watch.line(path)
    assert (line["identity"], line["auth"]) == ("bob", reason)
    assert not origin.requests[path]


def test_who_has_all_that_is_required_gets_in(gw, corp):
    answer = ask(gw, "/orders/1", by(corp.token(**GOOD)))
    assert told(answer) == {
        "x-user-id": "alice",
        "x-user-roles": "clerk",
        "x-auth-scopes": "orders.read orders.write",
        "x-auth-method": "jwt",
    }


def test_decisions_are_counted(gw, watch, corp):
    def counted(**labels):
        return watch.count("suuupra_auth_decisions_total", **labels)

    before = counted(provider="corp", result="accepted"), counted(provider="corp", result="forbidden")
    ask(gw, "/orders/counted", by(corp.token(**GOOD)))
    ask(gw, "/orders/counted", by(corp.token(**GOOD | {"roles": []})))
    assert (counted(provider="corp", result="accepted"), counted(provider="corp", result="forbidden")) == (
        before[0] + 1,
        before[1] + 1,
    )


# -- who says so ------------------------------------------------------------------------------------------------------

SPOOFS = [
    "X-User-Id: root",
    "x-user-id: root",
    "X-USER-ID: root",
    "X_User_Id: root",
    "X-User_Id: root",
    "X.User.Id: root",
    "X-User-Roles: boss",
    "X_Tenant_Id: all",
    "X-Consumer-Key-Id: k",
    "X-Consumer-Anything: k",
    "X-Auth-Scopes: everything",
    "X-Auth-Mail: root@corp.example",
    "X-Suuupra-Identity: eyJ.e30.",
    "X_Suuupra_Identity: eyJ.e30.",
    "X-Suuupra-Auth: live",
]


@pytest.mark.parametrize("path", ["/public/spoofed", "/any/spoofed", "/silent/spoofed"])
def test_nobody_else_says_who_is_calling(gw, corp, path):
    fields = [by(corp.token())] if path != "/public/spoofed" else []
    found = seen(ask(gw, path, *SPOOFS, *fields))
    assert not {"root", "boss", "all", "k", "everything", "root@corp.example", "eyJ.e30.", "live"} & {
        value for _, value in found
    }
    names = [name.replace("_", "-").replace(".", "-") for name, _ in found]
    assert names.count("x-user-id") == (1 if path == "/any/spoofed" else 0)


def test_spoofs_in_trailers_are_dropped_too(gw, corp, origin):
    with Wire(gw.address()) as client:
        client.head("POST", "/any/trailers", by(corp.token()), "Transfer-Encoding: chunked", "Trailer: X-User-Id")
        client.send(b"1\r\nx\r\n0\r\nX-User-Id: root\r\nX_User_Id: root\r\n\r\n")
        assert client.answer("POST").status == 200
    (request,) = origin.requests["/any/trailers"]
    assert [name for name, _ in request.trailers if "user" in name.lower()] == []


@pytest.mark.parametrize(
    "nominated", ["X-User-Id", "x-user-id, X-Suuupra-Identity", "x-auth-method, close", "Authorization"]
)
def test_nominations_take_nothing_away_that_the_gateway_says(gw, corp, nominated):
    found = dict(seen(ask(gw, "/any/nominated", by(corp.token()), f"Connection: {nominated}")))
    assert found["x-user-id"] == "alice"
    assert found["x-auth-method"] == "jwt"
    assert found["x-suuupra-identity"].count(".") == 2


def test_what_a_claim_says_stays_inside_one_field(gw, corp):
    evil = 'a\r\nX-User-Roles: boss\r\n\r\nGET / HTTP/1.1, zo\u00eb %41 "'
    found = told(ask(gw, "/any/claims", by(corp.token(evil, roles=["a,boss", "b c"], email="\u2028"))))
    assert found == {
        "x-user-id": 'a%0D%0AX-User-Roles: boss%0D%0A%0D%0AGET / HTTP/1.1, zo%C3%AB %2541 "',
        "x-user-roles": "a%2Cboss,b%20c",
        "x-auth-method": "jwt",
        "x-auth-mail": "%E2%80%A8",
    }


# -- credentials ------------------------------------------------------------------------------------------------------


def test_credentials_end_at_the_gateway(gw, corp):
    assert "authorization" not in dict(seen(ask(gw, "/any/ended", by(corp.token()))))


def test_credentials_are_forwarded_on_purpose_only(gw, corp):
    token = corp.token()
    assert dict(seen(ask(gw, "/forwarding/x", by(token))))["authorization"] == f"Bearer {token}"


def test_credentials_of_public_routes_are_not_ours(gw):
    assert dict(seen(ask(gw, "/public/basic", "Authorization: Basic YTpi")))["authorization"] == "Basic YTpi"


def test_upstreams_are_told_nothing_where_that_is_wished(gw, corp):
    found = dict(seen(ask(gw, "/silent/x", by(corp.token()))))
    assert not {"x-user-id", "x-auth-method", "x-suuupra-identity", "authorization"} & found.keys()


# -- the signed statement ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/guarded/x", "/resources/x"])
def test_the_service_behind_knows_who_is_calling(gw, corp, path):
    answer = ask(gw, path, by(corp.token("zo\u00eb", scope="b a", roles=["clerk"])))
    assert answer.status == 200
    said = answer.json
    expected = {
        "subject": "zo\u00eb",
        "credential": "jwt",
        "provider": "corp",
        "scopes": ["a", "b"],
        "roles": ["clerk"],
    }
    assert {name: said[name] for name in expected} == expected
    assert said["attempt"] == 1
    assert 0 < said["left"] <= 15


@pytest.mark.parametrize("service", ["guarded", "resources"])
def test_nobody_gets_past_the_gateway(gw, request, corp, service):
    address = request.getfixturevalue(service)
    answer = fetch(address, "/x", headers={"Authorization": f"Bearer {corp.token()}", "X-User-Id": "alice"})
    assert answer.status == 401
    assert fetch(address, "/x", headers={"X-Suuupra-Identity": corp.token()}).status == 401


def test_a_statement_for_another_service_is_worth_nothing(gw, guarded, corp):
    stolen = dict(seen(ask(gw, "/any/stolen", by(corp.token()))))["x-suuupra-identity"]
    assert fetch(guarded, "/guarded/x", headers={"X-Suuupra-Identity": stolen}).status == 401


def test_public_routes_to_a_guarded_service_reach_what_is_open_only(gw):
    assert ask(gw, "/healthz").json == {"open": True}
    assert ask(gw, "/unsigned/x").status == 401


def test_keys_are_shown_and_hold_no_secret(gw):
    answer = ask(gw, "/.well-known/suuupra-identity.json")
    assert (answer.status, answer.get("content-type")) == (200, "application/jwk-set+json")
    (key,) = answer.json["keys"]
    assert key.keys() == {"kty", "crv", "x", "y", "kid", "use", "alg"}
    assert "private" not in json.dumps(answer.json).lower()
    assert ask(gw, "/.well-known/suuupra-identity.json", method="HEAD").status == 200
    assert ask(gw, "/.well-known/suuupra-identity.json", method="POST").status == 405
