"""What a service believes of what it is told, and how it comes by the keys for that."""

import ast
import hmac
import json
import threading
import time
from base64 import urlsafe_b64decode, urlsafe_b64encode
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

import suuupra_gateway.assertion
from suuupra_gateway.assertion import guard as module
from suuupra_gateway.assertion.guard import GatewayKeys, Refused
from tests.assertion.statements import HEADER, Network, guarding


def refusal(guard, *values, **fields):
    with pytest.raises(Refused) as caught:
        guard.admit({HEADER: list(values), **fields})
    return caught.value


def test_a_statement_of_the_gateway_says_who_is_calling(guard, signing):
    token = signing.token("zo\u00eb", provider="corp", scopes=frozenset("ba"), roles=frozenset("r"), tenant="t")
    call = guard.admit({HEADER: [token]})
    assert (call.subject, call.credential, call.provider, call.tenant, call.key) == ("zo\u00eb", "jwt", "corp", "t", "")
    assert (call.scopes, call.roles) == ({"a", "b"}, {"r"})
    assert (call.deadline, call.attempt, call.left()) == (float("inf"), 1, float("inf"))


def test_how_long_somebody_waits_and_how_often_it_was_tried_is_told(guard, signing):
    call = guard.admit({HEADER: [signing.token()], "x-request-timeout-ms": ["1500"], "x-request-attempt": ["2"]})
    assert call.attempt == 2
    assert 1.4 < call.left() <= 1.5


@pytest.mark.parametrize("values", [[], ["x"], ["-1"], ["1.5"], ["\u0662"], [""], ["1", "2"]])
def test_what_makes_no_sense_of_that_is_not_there(guard, signing, values):
    call = guard.admit({HEADER: [signing.token()], "x-request-timeout-ms": values, "x-request-attempt": values})
    assert (call.deadline, call.attempt) == (float("inf"), 1)


def test_a_request_without_statement_did_not_come_through_the_gateway(guard, network):
    refused = refusal(guard)
    assert (refused.status, str(refused)) == (401, "InvalidTokenError: 0 statements of the gateway")
    assert network.fetches == 0, "strangers cause no work"


def test_two_statements_are_none(guard, signing):
    assert refusal(guard, signing.token(), signing.token()).status == 401
    assert refusal(guard, f"{signing.token()},{signing.token()}").status == 401


@pytest.mark.parametrize("token", ["", "x", "a.b.c", "..", "eyJhbGciOiJub25lIn0.e30.", "\u00e4"])
def test_rubbish_is_refused(guard, token):
    assert refusal(guard, token).status == 401


@pytest.mark.parametrize(
    "change",
    [
        {"iss": "https://other.example"},
        {"aud": "payments"},
        {"aud": ["payments"]},
        {"exp": 1},
        {"iat": 4_000_000_000},
        {"iss": None},
        {"aud": None},
        {"sub": None},
        {"exp": None},
        {"iat": None},
        {"header": {"typ": "JWT"}},
        {"header": {"typ": "at+jwt"}},
        {"header": {"kid": "other"}},
        {"key": ec.generate_private_key(ec.SECP256R1())},
        {"key": "secret-of-32-bytes-0123456789abcdef", "algorithm": "HS256"},
    ],
    ids=" ".join,
)
def test_what_the_gateway_did_not_say_to_us_now_is_refused(guard, signing, change):
    assert guard.admit({HEADER: [signing.forged()]}).subject == "alice", "the forger knows the craft"
    assert refusal(guard, signing.forged(**change)).status == 401


def resigned(signing, algorithm):
    """What would have to be signed with another algorithm."""
    header, payload, _ = signing.token().split(".")
    fields = json.loads(urlsafe_b64decode(header + "==")) | {"alg": algorithm}
    return f"{urlsafe_b64encode(json.dumps(fields).encode()).decode().rstrip('=')}.{payload}"


def test_the_public_key_is_no_secret(guard, signing):
    """Key confusion: a signature by HMAC with what everybody knows."""
    for encoding in (Encoding.DER, Encoding.PEM):
        public = signing.key.public_key().public_bytes(encoding, PublicFormat.SubjectPublicKeyInfo)
        message = resigned(signing, "HS256")
        signature = urlsafe_b64encode(hmac.digest(public, message.encode(), "sha256")).decode().rstrip("=")
        assert refusal(guard, f"{message}.{signature}").status == 401


@pytest.mark.parametrize("algorithm", ["none", "None", "ES256"])
@pytest.mark.parametrize("signature", ["", "AA", "A" * 86])
def test_a_signature_is_needed_and_zeros_are_none(guard, signing, algorithm, signature):
    """``none`` in any case, and the signature of CVE-2022-21449."""
    assert refusal(guard, f"{resigned(signing, algorithm)}.{signature}").status == 401


def test_several_services_may_be_meant(guard, signing):
    assert guard.admit({HEADER: [signing.forged(aud=["payments", "orders"])]}).subject == "alice"


def test_another_name_of_the_field_can_be_chosen(signing, network):
    guard = module.Guard(
        GatewayKeys("u", fetch=network), issuer="https://gw.example", audience="orders", header="X-Who"
    )
    assert guard.admit({"x-who": [signing.token()]}).subject == "alice"


# -- keys -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def clock(monkeypatch):
    """The monotonic clock as the keys see it."""

    class Clock:
        now = 1000.0

        def monotonic(self):
            return self.now

    made = Clock()
    monkeypatch.setattr(module, "time", made)
    return made


def test_keys_are_fetched_when_they_are_first_needed(guard, signing, network, clock):
    token = signing.token()
    for _ in range(3):
        assert guard.blocks({HEADER: [token]}) == (network.fetches == 0)
        guard.admit({HEADER: [token]})
    assert network.fetches == 1


def test_keys_are_fetched_again_after_a_while(guard, signing, network, clock):
    guard.admit({HEADER: [signing.token()]})
    clock.now += 299
    guard.admit({HEADER: [signing.token()]})
    assert network.fetches == 1
    clock.now += 1
    guard.admit({HEADER: [signing.token()]})
    assert network.fetches == 2


def test_an_unknown_key_is_looked_for_with_pauses(guard, signing, network, clock):
    guard.admit({HEADER: [signing.token()]})
    signing.renew()
    assert refusal(guard, signing.token()).status == 401
    assert network.fetches == 1, "just fetched"
    clock.now += 30
    assert guard.blocks({HEADER: [signing.token()]})
    assert guard.admit({HEADER: [signing.token()]}).subject == "alice"
    for _ in range(100):
        assert refusal(guard, signing.forged(header={"kid": "made-up"})).status == 401
    assert network.fetches == 2


def test_keys_are_good_for_a_day_without_the_gateway(guard, signing, network, clock):
    token = signing.forged(exp=4_000_000_000)
    guard.admit({HEADER: [token]})
    network.up = False
    clock.now += 86_399
    assert guard.admit({HEADER: [token]}).subject == "alice"
    clock.now += 1
    refused = refusal(guard, token)
    assert refused.status == 503
    assert ("Retry-After", "5") in refused.fields
    network.up = True
    assert refusal(guard, token).status == 503, "not at once"
    clock.now += 5
    assert guard.admit({HEADER: [token]}).subject == "alice"


@pytest.mark.parametrize("answer", [b"", b"{", b"[]", b'{"keys": []}', b'{"keys": [{"kty": "x"}]}', b"\xff"])
def test_a_key_set_that_is_none_is_not_taken(guard, signing, network, clock, answer):
    guard.admit({HEADER: [signing.token()]})
    network.answer = answer
    clock.now += 300
    assert guard.admit({HEADER: [signing.token()]}).subject == "alice"
    assert network.fetches == 2


def test_keys_for_other_purposes_are_not_used(guard, signing, network):
    network.answer = signing.jwks.replace(b'"ES256"', b'"ES384"')
    assert refusal(guard, signing.token()).status in (401, 503)


def test_many_who_need_keys_fetch_them_once_and_all_get_in(guard, signing, network):
    network.hold = threading.Event()
    token = signing.token()
    found = []
    threads = [threading.Thread(target=lambda: found.append(guard.admit({HEADER: [token]}).subject)) for _ in range(20)]
    for thread in threads:
        thread.start()
    time.sleep(0.05)
    network.hold.set()
    for thread in threads:
        thread.join(30)
    assert found == ["alice"] * 20
    assert network.fetches == 1


def test_nobody_waits_for_keys_that_are_there(signing):
    network = Network(signing)
    guard = guarding(network, refresh=0.0, cooldown=0.0)
    token = signing.token()
    guard.admit({HEADER: [token]})
    network.hold = threading.Event()
    first = threading.Thread(target=lambda: guard.admit({HEADER: [token]}))
    first.start()
    try:
        while network.fetches < 2:
            time.sleep(0.01)
        assert guard.admit({HEADER: [token]}).subject == "alice"
    finally:
        network.hold.set()
        first.join(30)


def test_keys_come_over_http(tmp_path, signing):
    path = tmp_path / "keys.json"
    path.write_bytes(signing.jwks)
    guard = module.Guard(path.as_uri(), issuer="https://gw.example", audience="orders")
    assert guard.admit({HEADER: [signing.token()]}).subject == "alice"


# -- the part itself --------------------------------------------------------------------------------------------------


def test_it_needs_nothing_of_the_gateway_and_fits_on_a_few_pages():
    files = sorted(Path(suuupra_gateway.assertion.__file__).parent.glob("*.py"))
    code = 0
    for file in files:
        text = file.read_text()
        code += sum(1 for line in text.splitlines() if line.strip())
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.ImportFrom) and node.module.startswith("suuupra_gateway"):
                assert node.module.startswith("suuupra_gateway.assertion")
    assert code <= 300
