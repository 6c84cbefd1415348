"""Key sets: read tolerantly, and each key for the algorithms that fit it only."""

from __future__ import annotations

import contextlib
import datetime
import itertools
import json

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import dsa, ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st

from suuupra_gateway.auth.keyset import ALGORITHMS, LARGEST, MOST_KEYS, KeyFile, KeySet, KeySetError
from tests.auth.tokens import SECRET, encoded, jwk, pem, private, signature

RSA = frozenset({"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"})


def keys_of(*entries: object) -> KeySet:
    return KeySet.of_json(json.dumps({"keys": list(entries)}).encode())


def only(*entries: object) -> frozenset[str]:
    """The algorithms of the one key."""
    (key,) = keys_of(*entries).keys
    return key.algorithms


@pytest.mark.parametrize(
    ("algorithm", "fits"),
    [
        ("RS256", RSA),
        ("ES256", {"ES256"}),
        ("ES384", {"ES384"}),
        ("ES512", {"ES512"}),
        ("EdDSA", {"EdDSA"}),
        ("Ed448", {"EdDSA"}),
    ],
)
def test_what_a_key_may_verify_follows_from_its_type(algorithm, fits):
    assert only(jwk(algorithm)) == fits


def test_an_algorithm_in_the_set_narrows_and_never_widens():
    assert only(jwk("RS256", alg="RS256")) == {"RS256"}
    assert not keys_of(jwk("RS256", alg="HS256"), jwk("RS256", alg="none"), jwk("ES256", alg="ES384"))


def test_there_is_no_algorithm_none():
    assert "none" not in ALGORITHMS


@pytest.mark.parametrize(
    "entry",
    [
        {"kty": "oct", "k": "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow"},
        jwk(use="enc"),
        jwk(use=None),
        jwk(key_ops=["encrypt"]),
        jwk(key_ops="verify"),
        jwk(kid=7),
        jwk(kid="x" * 1025),
        jwk(alg=["RS256"]),
        jwk(kty=None),
        jwk(kty=["RSA"]),
        jwk(kty="rsa"),
        jwk(n=""),
        jwk(n=5),
        jwk(n="!!!!"),
        jwk(n="ö"),
        jwk(n="AA"),
        jwk(e=None),
        jwk(e="AA"),
        {"kty": "RSA"},
        jwk("ES256", x="AAAA"),
        jwk("ES256", y=jwk("ES256", 1)["y"]),
        jwk("ES256", crv="P-384"),
        jwk("ES256", crv="secp256k1"),
        jwk("ES256", crv=["P-256"]),
        {"kty": "EC", "crv": "P-256", "x": "A" * 43, "y": "A" * 43},
        jwk("EdDSA", crv="X25519"),
        jwk("EdDSA", x="AAAA"),
        jwk("EdDSA", x=3),
        "RSA",
        None,
        7,
        [],
        {},
    ],
    ids=itertools.count(),
)
def test_an_entry_that_is_not_for_us_is_left_out_and_the_others_stay(entry):
    found = keys_of(entry, jwk(kid="good"))

    assert [key.kid for key in found.keys] == ["good"]
    assert found.left_out == 1


def test_an_rsa_key_that_is_too_short_is_left_out():
    numbers = rsa.generate_private_key(65537, 1024).public_key().public_numbers()

    assert not keys_of(jwk(n=encoded(numbers.n.to_bytes(128, "big")).decode()))


def test_private_parts_of_a_published_key_are_not_taken_along():
    number = private("EdDSA").private_bytes(Encoding.Raw, PrivateFormat.Raw, NoEncryption())
    (key,) = keys_of(jwk("EdDSA", d=encoded(number).decode())).keys

    assert not hasattr(key.material, "sign")


@pytest.mark.parametrize("use", [{"use": "sig"}, {"key_ops": ["verify"]}, {"key_ops": ["sign", "verify"]}, {}])
def test_keys_for_signatures_are_taken(use):
    assert keys_of(jwk(**use))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"null",
        b"[]",
        b'"keys"',
        b"{}",
        b'{"keys": null}',
        b'{"keys": {}}',
        b'{"keys": "RSA"}',
        b"<html>",
        b"\xff\xfe",
        b'{"keys": ["\xff"]}',
        b'{"keys": [NaN]}',
        b'{"keys": [' + b"[" * 200_000,
        b'{"keys": [' + b"9" * 5000 + b"]}",
        '{"keys": []}'.encode("utf-16"),
        b'{"keys": []} ' + b" " * LARGEST,
    ],
    ids=lambda content: repr(content[:20]),
)
def test_what_is_no_key_set_is_refused(content):
    with pytest.raises(KeySetError):
        KeySet.of_json(content)


def test_a_set_has_a_bounded_number_of_keys():
    assert not keys_of(*[{}] * MOST_KEYS)
    with pytest.raises(KeySetError, match="101 keys"):
        keys_of(*[{}] * (MOST_KEYS + 1))


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(), lambda x: st.lists(x) | st.dictionaries(st.text(), x)
    )
)
def test_no_json_breaks_the_reader(tree):
    for content in (tree, {"keys": tree}, {"keys": [tree]}, {"keys": [{**jwk("ES256"), "x": tree}]}):
        with contextlib.suppress(KeySetError):
            KeySet.of_tree(content)


@given(st.binary(max_size=200))
def test_no_bytes_break_the_readers(content):
    for read in (KeySet.of_json, KeySet.of_pem):
        for piece in (content, b"-----BEGIN PUBLIC KEY-----\n" + content):
            with contextlib.suppress(KeySetError):
                read(piece)


# -- finding ----------------------------------------------------------------------------------------------------------


def test_keys_are_found_by_id_and_algorithm():
    found = keys_of(jwk("RS256", kid="a"), jwk("ES256", kid="b"), jwk("RS256", 1, kid="b"))

    assert [key.kid for key in found.find("a", "RS256")] == ["a"]
    assert found.find("a", "ES256") == []
    assert len(found.find("b", "ES256")) == 1
    assert found.find("c", "RS256") == []
    assert "a" in found
    assert "c" not in found


def test_a_token_without_an_id_is_tried_with_all_keys_that_fit():
    found = keys_of(jwk("RS256", kid="a"), jwk("ES256", kid="b"), jwk("RS256", 1, kid="b"))

    assert [key.kid for key in found.find("", "PS512")] == ["a", "b"]


def test_keys_without_an_id_are_tried_with_every_token():
    found = keys_of(jwk("RS256"), jwk("RS256", 1, kid="b"))

    assert [key.kid for key in found.find("b", "RS256")] == ["b", ""]
    assert [key.kid for key in found.find("else", "RS256")] == [""]


def test_equal_keys_have_equal_identities():
    assert keys_of(jwk(kid="a")).identities() == keys_of(jwk(kid="a", alg="RS256", use="sig")).identities()
    assert keys_of(jwk(kid="a")).identities() != keys_of(jwk(number=1, kid="a")).identities()
    assert keys_of(jwk(kid="a")).identities() != keys_of(jwk(kid="b")).identities()


def test_a_key_verifies():
    (key,) = keys_of(jwk("ES256")).keys
    signed = signature(b"message", "ES256")

    assert key.verifies("ES256", b"message", signed)
    assert not key.verifies("ES256", b"massage", signed)


def test_a_secret_is_for_hmac_only():
    (key,) = KeySet.of_secret(SECRET).keys

    assert key.algorithms == {"HS256", "HS384", "HS512"}
    assert key.verifies("HS256", b"message", signature(b"message", "HS256"))


# -- files ------------------------------------------------------------------------------------------------------------


def certificate(key) -> bytes:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "provider")])
    begins = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)
    builder = x509.CertificateBuilder(name, name, key.public_key(), 1, begins, begins + datetime.timedelta(days=36500))
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM)


def test_pem_files_hold_public_keys_and_certificates(tmp_path):
    file = tmp_path / "keys.pem"
    file.write_bytes(b"A comment\n" + pem("RS256") + pem("EdDSA") + certificate(private("ES256")))

    assert [key.algorithms for key in KeySet.of_file(str(file)).keys] == [RSA, {"EdDSA"}, {"ES256"}]


def test_json_files_hold_key_sets(tmp_path):
    file = tmp_path / "keys.json"
    file.write_text(json.dumps({"keys": [jwk(kid="a")]}))

    assert "a" in KeySet.of_file(str(file))


PRIVATE = private("ES256").private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
OTHER = dsa.generate_private_key(1024).public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
SHORT = rsa.generate_private_key(65537, 1024).public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
BITCOIN = (
    ec.generate_private_key(ec.SECP256K1()).public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (PRIVATE, "private key"),
        (pem("RS256") + PRIVATE, "private key"),
        (OTHER, "no allowed algorithm"),
        (SHORT, "no allowed algorithm"),
        (BITCOIN, "no allowed algorithm"),
        (b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n", "neither"),
        (b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "neither"),
        (b'{"keys": []}', "no key"),
        (b"", "no JSON"),
        (b"-----BEGIN PUBLIC KEY-----" + b" " * LARGEST, "more than"),
    ],
)
def test_a_file_that_cannot_be_used_says_why_and_shows_nothing(tmp_path, content, why):
    file = tmp_path / "keys"
    file.write_bytes(content)

    with pytest.raises(KeySetError, match=why) as caught:
        KeySet.of_file(str(file))
    assert "MI" not in str(caught.value)
    assert "AAAA" not in str(caught.value)


def test_a_file_is_news_once_and_again_when_it_was_replaced(tmp_path):
    path = tmp_path / "keys.pem"
    path.write_bytes(pem("RS256"))
    file = KeyFile(str(path))

    assert file.news()
    assert file.news() is None
    path.with_suffix(".new").write_bytes(pem("ES256"))
    path.with_suffix(".new").rename(path)
    found = file.news()
    assert found is not None
    assert found.find("", "ES256")


def test_a_file_that_is_gone_or_broken_is_complained_of_once(tmp_path):
    path = tmp_path / "keys.pem"
    path.write_bytes(pem("RS256"))
    file = KeyFile(str(path))
    file.news()

    path.unlink()
    with pytest.raises(OSError, match=r"keys\.pem"):
        file.news()
    assert file.news() is None
    path.write_bytes(b"half a")
    with pytest.raises(KeySetError):
        file.news()
    assert file.news() is None
    path.write_bytes(pem("RS256"))
    assert file.news()
