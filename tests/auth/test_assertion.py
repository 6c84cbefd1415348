"""Signed statements of who is calling: what they say, for how long, and that nobody else can make one."""

import json
import subprocess

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from suuupra_gateway.assertion import guard
from suuupra_gateway.auth.assertion import TYPE, Signer
from suuupra_gateway.auth.fields import FieldTooLong
from suuupra_gateway.auth.principal import Principal
from suuupra_gateway.config.model import AssertionSpec

NOW = 1_800_000_000.5


class Time:
    def __init__(self):
        self.now = NOW

    def __call__(self):
        return self.now


@pytest.fixture
def wall():
    return Time()


def key_file(path, key=None, encryption=None):
    key = key or ec.generate_private_key(ec.SECP256R1())
    path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption or NoEncryption()))
    return str(path)


@pytest.fixture
def signer(tmp_path, wall):
    spec = AssertionSpec(issuer="https://gw.example", keys=(key_file(tmp_path / "a.pem"), key_file(tmp_path / "b.pem")))
    return Signer(spec, wall=wall)


def opened(signer, pair, audience="orders"):
    """Header and claims, by somebody who has only the key set."""
    name, value = pair
    assert name == b"x-suuupra-identity"
    token = value.decode("ascii")
    header = jwt.get_unverified_header(token)
    key = next(key for key in jwt.PyJWKSet.from_json(signer.jwks.decode()).keys if key.key_id == header["kid"])
    claims = jwt.decode(
        token, key, algorithms=["ES256"], audience=audience, options={"verify_exp": False, "verify_iat": False}
    )
    return header, claims


def test_a_statement_says_who_to_whom_and_until_when(signer):
    known = Principal("zo\u00eb", "api-key", "corp", scopes=frozenset("ba"), roles=frozenset("r"), tenant="t", key="k1")
    header, claims = opened(signer, signer.sign(known, ("orders",)))
    assert header == {"alg": "ES256", "typ": TYPE, "kid": json.loads(signer.jwks)["keys"][0]["kid"]}
    assert claims == {
        "iss": "https://gw.example",
        "sub": "zo\u00eb",
        "aud": "orders",
        "iat": 1_800_000_000,
        "exp": 1_800_000_060,
        "credential": "api-key",
        "provider": "corp",
        "scope": "a b",
        "roles": ["r"],
        "tenant": "t",
        "key": "k1",
    }


def test_what_is_not_known_is_left_out_and_sessions_are_no_keys(signer):
    _, claims = opened(signer, signer.sign(Principal("a", "session", key="id"), ("orders",)))
    assert claims.keys() == {"iss", "sub", "aud", "iat", "exp", "credential"}


def test_several_services_may_be_meant(signer):
    pair = signer.sign(Principal("a", "jwt"), ("blue", "green"))
    assert opened(signer, pair, "green")[1]["aud"] == ["blue", "green"]


def test_both_sides_agree_how_a_statement_is_called():
    assert TYPE == guard.TYPE


def test_a_statement_is_made_anew_at_half_of_its_life(signer, wall):
    known = Principal("a", "jwt")
    first = signer.sign(known, ("orders",))
    wall.now += 29
    assert signer.sign(known, ("orders",)) is first
    wall.now += 1
    second = signer.sign(known, ("orders",))
    assert second is not first
    assert opened(signer, second)[1]["exp"] == 1_800_000_090


def test_statements_are_kept_per_caller_and_service(signer):
    known, other = Principal("a", "jwt"), Principal("a", "jwt")
    pairs = [signer.sign(known, ("x",)), signer.sign(known, ("y",)), signer.sign(other, ("x",))]
    assert len({id(pair) for pair in pairs}) == 3
    assert [signer.sign(known, ("x",)), signer.sign(known, ("y",)), signer.sign(other, ("x",))] == pairs


def test_no_statement_outlives_what_it_rests_on(signer, wall):
    known = Principal("a", "jwt", expires=NOW + 10.2)
    first = signer.sign(known, ("orders",))
    assert opened(signer, first)[1]["exp"] == 1_800_000_010
    wall.now += 9
    again = signer.sign(known, ("orders",))
    assert opened(signer, again)[1]["exp"] == 1_800_000_010
    wall.now += 0.5
    assert signer.sign(known, ("orders",)) is again, "not for every request of the last seconds"


def test_what_no_service_would_take_is_not_sent(signer):
    with pytest.raises(FieldTooLong, match="x-suuupra-identity would have"):
        signer.sign(Principal("a", "jwt", roles=frozenset(f"role-{n}" for n in range(2000))), ("orders",))


def test_keys_are_shown_once_each_without_their_private_halves(tmp_path, wall):
    path = key_file(tmp_path / "a.pem")
    spec = AssertionSpec(issuer="i", keys=(path, key_file(tmp_path / "b.pem"), path))
    keys = json.loads(Signer(spec, wall=wall).jwks)["keys"]
    assert [key.keys() for key in keys] == [{"kty", "crv", "x", "y", "kid", "use", "alg"}] * 2
    assert len({key["kid"] for key in keys}) == 2


def test_a_key_is_called_by_its_thumbprint(signer):
    """RFC 7638 section 3."""
    shown = json.loads(signer.jwks)["keys"][0]
    from base64 import urlsafe_b64encode
    from hashlib import sha256

    canonical = json.dumps({name: shown[name] for name in ("crv", "kty", "x", "y")}, separators=(",", ":"))
    assert shown["kid"] == urlsafe_b64encode(sha256(canonical.encode()).digest()).rstrip(b"=").decode()


def test_the_key_that_openssl_makes_will_do(tmp_path):
    path = tmp_path / "key.pem"
    path.write_bytes(
        subprocess.run(
            ["openssl", "ecparam", "-genkey", "-noout", "-name", "prime256v1"], check=True, capture_output=True
        ).stdout
    )
    Signer(AssertionSpec(issuer="i", keys=(str(path),)))


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (lambda path: path.write_text("sssh"), "holds no private key in PEM"),
        (lambda path: key_file(path, encryption=BestAvailableEncryption(b"x")), "without a passphrase"),
        (lambda path: key_file(path, ec.generate_private_key(ec.SECP384R1())), "holds no P-256 key"),
        (lambda path: key_file(path, rsa.generate_private_key(65537, 2048)), "holds no P-256 key"),
        (
            lambda path: path.write_bytes(
                ec.generate_private_key(ec.SECP256R1())
                .public_key()
                .public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
            ),
            "holds no private key in PEM",
        ),
    ],
)
def test_what_is_no_key_is_called_that_and_not_quoted(tmp_path, make, why):
    make(tmp_path / "key.pem")
    with pytest.raises(ValueError, match=why) as caught:
        Signer(AssertionSpec(issuer="i", keys=(str(tmp_path / "key.pem"),)))
    assert "sssh" not in str(caught.value)


def test_a_file_that_is_not_there_is_an_error_of_the_system(tmp_path):
    with pytest.raises(FileNotFoundError):
        Signer(AssertionSpec(issuer="i", keys=(str(tmp_path / "none.pem"),)))
