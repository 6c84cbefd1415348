"""Verifying signed tokens, and everything that has been tried against it elsewhere."""

from __future__ import annotations

import base64
import contextlib
import itertools
import json

import attrs
import pytest
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from hypothesis import example, given
from hypothesis import strategies as st

from suuupra_gateway.auth.jwt import LONGEST, TokenError, UnknownKey, Verifier, names_one
from suuupra_gateway.auth.keyset import KeySet
from suuupra_gateway.config.model import ProviderSpec
from suuupra_gateway.config.units import Duration, Secret
from tests.auth.tokens import AUDIENCE, ISSUER, NOW, SECRET, claims, encoded, jwk, pem, private, signature, token

ALL = (
    "RS256",
    "RS384",
    "RS512",
    "PS256",
    "PS384",
    "PS512",
    "ES256",
    "ES384",
    "ES512",
    "EdDSA",
    "HS256",
    "HS384",
    "HS512",
)
PUBLISHED = KeySet.of_tree({"keys": [jwk(name, kid=name) for name in ("RS256", "ES256", "ES384", "ES512", "EdDSA")]})


def spec(**more) -> ProviderSpec:
    return ProviderSpec(**{"name": "idp", "issuer": ISSUER, "audiences": (AUDIENCE,), "algorithms": ALL, **more})


def verify(shown: bytes, keys: KeySet = PUBLISHED, now: float = NOW, **more):
    return Verifier(spec(**more)).verify(shown, keys, now)


def refused(shown: bytes, keys: KeySet = PUBLISHED, now: float = NOW, **more) -> str:
    """Why a token is refused."""
    with pytest.raises(TokenError) as caught:
        verify(shown, keys, now, **more)
    assert len(shown) < 40 or shown.decode("latin-1")[-40:] not in str(caught.value)
    return caught.value.reason


# -- good ones --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("algorithm", ALL)
def test_a_good_token_of_each_algorithm_has_its_claims(algorithm):
    keys = KeySet.of_secret(SECRET) if algorithm.startswith("HS") else PUBLISHED

    assert verify(token(algorithm=algorithm), keys) == claims()


def test_ed448_is_eddsa_too():
    keys = KeySet.of_tree({"keys": [jwk("Ed448", kid="a")]})
    message = encoded({"alg": "EdDSA", "kid": "a"}) + b"." + encoded(claims())

    assert verify(message + b"." + encoded(private("Ed448").sign(message)), keys) == claims()


def test_the_key_that_a_token_names_is_the_only_one_that_is_tried():
    keys = KeySet.of_tree({"keys": [jwk(kid="a"), jwk(number=1, kid="b")]})

    assert verify(token(kid="a"), keys)
    assert refused(token(kid="b"), keys) == "bad_signature"


def test_two_keys_of_one_name_are_both_tried():
    keys = KeySet.of_tree({"keys": [jwk(number=1, kid="a"), jwk(kid="a")]})

    assert verify(token(kid="a"), keys)


def test_a_token_that_names_a_key_is_verified_by_keys_without_names():
    assert verify(token(kid="2026-01"), KeySet.of_pem(pem()))
    assert verify(token(algorithm="HS256", kid="2026-01"), KeySet.of_secret(SECRET))


def test_not_more_than_a_few_keys_are_tried():
    keys = KeySet.of_tree({"keys": [*[jwk(number=1)] * 8, jwk()]})

    assert refused(token(), keys) == "bad_signature"


# -- algorithms and keys ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["none", "None", "NONE", "nOnE", "", "rs256", "RS256 ", "RS256\x00", "ES256K", "HS1", "dir"]
)
@pytest.mark.parametrize("signed", [b"", encoded(b"x"), token().rpartition(b".")[2]], ids=["none", "short", "good"])
def test_an_algorithm_that_is_not_configured_is_refused(name, signed):
    shown = encoded({"alg": name, "typ": "JWT"}) + b"." + encoded(claims()) + b"." + signed

    assert refused(shown) in ("algorithm_not_allowed", "malformed")


@pytest.mark.parametrize("name", [None, 7, ["RS256"], {"alg": "RS256"}, True, "missing"])
def test_an_algorithm_that_is_no_text_is_refused(name):
    header = {} if name == "missing" else {"alg": name}

    assert refused(token(header=header)) == "malformed"


def test_the_configuration_decides_about_algorithms_and_not_the_key_set():
    keys = KeySet.of_tree({"keys": [jwk(alg="PS256")]})

    assert refused(token(algorithm="PS256"), keys, algorithms=("RS256",)) == "algorithm_not_allowed"


@pytest.mark.parametrize("algorithm", ["HS256", "HS384", "HS512"])
@pytest.mark.parametrize(
    "secret",
    [
        pem(),
        pem().strip(),
        pem("ES256"),
        json.dumps(jwk()).encode(),
        json.dumps(jwk(kid="RS256"), separators=(",", ":")).encode(),
        json.dumps({"keys": [jwk()]}).encode(),
        base64.urlsafe_b64decode(jwk()["n"] + "=="),
        jwk()["n"].encode(),
    ],
    ids=range(8),
)
@pytest.mark.parametrize("kid", [{}, {"kid": "RS256"}, {"kid": "ES256"}])
def test_a_public_key_never_becomes_the_secret_of_an_hmac(algorithm, secret, kid):
    """CVE-2022-29217 and all the others, with every algorithm allowed by mistake."""
    shown = token(algorithm=algorithm, key=secret, **kid)

    assert refused(shown) == "unknown_key"
    assert refused(shown, KeySet.of_pem(pem())) == "unknown_key"


def test_a_signature_of_another_algorithm_of_the_same_key_is_refused():
    for said, done in (("RS256", "PS256"), ("PS256", "RS256"), ("RS256", "RS512"), ("HS512", "HS256")):
        keys = KeySet.of_secret(SECRET) if said.startswith("HS") else KeySet.of_pem(pem())
        assert refused(token(algorithm=said, sign_as=done), keys) == "bad_signature"


def test_an_empty_secret_is_not_the_secret():
    assert refused(token(algorithm="HS256", key=b"\x00"), KeySet.of_secret(SECRET)) == "bad_signature"


@pytest.mark.parametrize(
    "injected",
    [
        {"jwk": jwk(number=1)},
        {"jwk": jwk(number=1), "kid": "RS256"},
        {"jwk": {**jwk(number=1), "kid": "RS256"}, "kid": "RS256"},
        {"jku": "https://evil.example/keys.json", "kid": "RS256"},
        {"x5u": "https://evil.example/cert.pem"},
        {"x5c": ["MIIB"], "kid": "RS256"},
        {"x5t": "AAAA", "x5t#S256": "AAAA"},
    ],
    ids=itertools.count(),
)
def test_a_token_cannot_bring_its_key_along(injected):
    assert refused(token(key=private("RS256", 1), **injected)) == "bad_signature"
    assert verify(token(**injected))  # and with a good signature they mean nothing


@pytest.mark.parametrize(
    "kid",
    [
        "../../../dev/null",
        "/dev/null",
        "' OR 1=1 --",
        "x' UNION SELECT 'key';--",
        "|whoami",
        "\x00",
        "RS256\x00",
        "ö",
        "🔑",
        "a" * 1024,
    ],
)
def test_a_key_id_is_nothing_but_a_name(kid):
    assert refused(token(kid=kid, key=private("RS256", 1))) == "unknown_key"
    assert refused(token(algorithm="HS256", key=b"", kid=kid)) == "unknown_key"


@pytest.mark.parametrize("kid", [7, None, ["RS256"], {"a": 1}, True, "a" * 1025], ids=repr)
def test_a_key_id_that_is_no_short_text_is_refused(kid):
    assert refused(token(kid=kid)) == "malformed"


@pytest.mark.parametrize(
    "header",
    [
        {"crit": ["exp"]},
        {"crit": ["b64"], "b64": False},
        {"crit": ["b64"], "b64": True},
        {"crit": []},
        {"crit": None},
        {"crit": "exp"},
        {"crit": ["alg"]},
        {"b64": False},
        {"b64": True},
        {"zip": "DEF"},
        {"enc": "A256GCM"},
        {"cty": "JWT"},
        {"cty": ""},
    ],
    ids=json.dumps,
)
def test_what_must_be_understood_and_is_not_refuses(header):
    """RFC 7515 section 4.1.11, CVE-2026-32597, CVE-2025-59420."""
    assert refused(token(**header)) == "header_not_supported"


# -- signatures -------------------------------------------------------------------------------------------------------

ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
PRIME = 0xFFFFFFFF00000001000000000000000000000000FFFFFFFFFFFFFFFFFFFFFFFF
EDGES = (0, 1, 2, ORDER - 1, ORDER, ORDER + 1, PRIME, PRIME - ORDER, 2**256 - 1)


def resigned(shown: bytes, signed: bytes) -> bytes:
    return shown.rpartition(b".")[0] + b"." + encoded(signed)


def pair(r: int, s: int, size: int = 32) -> bytes:
    return r.to_bytes(size, "big") + s.to_bytes(size, "big")


@pytest.mark.parametrize("r", EDGES)
@pytest.mark.parametrize("s", EDGES)
def test_psychic_signatures_and_their_neighbours_are_refused(r, s):
    """CVE-2022-21449 and Wycheproof's special values."""
    assert refused(resigned(token(algorithm="ES256", kid="ES256"), pair(r, s))) == "bad_signature"


def test_numbers_of_an_ecdsa_signature_have_one_form():
    good = token(algorithm="ES256", kid="ES256")
    message = good.rpartition(b".")[0]
    raw = signature(message, "ES256")
    r, s = int.from_bytes(raw[:32], "big"), int.from_bytes(raw[32:], "big")
    assert verify(resigned(good, raw))

    from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

    for bad in (
        encode_dss_signature(r, s),
        pair(r, s, 33),
        pair(s, r),
        raw[:-1],
        raw + b"\x00",
        b"\x00" + raw,
        raw[:32],
        raw * 2,
        pair(r, s, 66),
        b"\x00" * 64,
        b"\x00",
        pair(0, 0) + raw,
    ):
        assert refused(resigned(good, bad)) == "bad_signature"
    assert decode_dss_signature(encode_dss_signature(r, s)) == (r, s)


@pytest.mark.parametrize("size", [0, 1, 31, 32, 63, 65, 128, 2000])
@pytest.mark.parametrize("algorithm", ["EdDSA", "RS256", "PS256", "ES384", "ES512"])
def test_a_signature_of_another_length_is_refused(algorithm, size):
    good = token(algorithm=algorithm, kid="RS256" if algorithm == "PS256" else algorithm)
    raw = base64.urlsafe_b64decode(good.rpartition(b".")[2] + b"==")
    assert size != len(raw)

    for bad in ((raw * 40)[:size], b"\x00" * size):
        assert refused(resigned(good, bad)) in ("bad_signature", "malformed")


def test_an_eddsa_signature_has_one_form():
    """RFC 8032 section 5.1.7: s beyond the order is refused, else there were two signatures."""
    good = token(algorithm="EdDSA", kid="EdDSA")
    raw = base64.urlsafe_b64decode(good.rpartition(b".")[2] + b"==")
    order = 2**252 + 27742317777372353535851937790883648493
    s = int.from_bytes(raw[32:], "little")

    assert verify(good)
    for bad in (s + order, s ^ 1, 0, order):
        assert refused(resigned(good, raw[:32] + bad.to_bytes(32, "little"))) == "bad_signature"
    assert refused(resigned(good, b"\x01" + b"\x00" * 63)) == "bad_signature"


@pytest.mark.parametrize("algorithm", ["RS256", "ES256", "EdDSA"])
def test_a_token_with_any_bit_flipped_is_refused(algorithm):
    good = token(algorithm=algorithm, kid=algorithm)
    for place in range(0, len(good), 7):
        for bit in (1, 4, 32):
            bad = bytearray(good)
            bad[place] ^= bit
            assert refused(bytes(bad))


# -- forms ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "shown",
    [
        b"",
        b".",
        b"..",
        b"...",
        b"a.b.c",
        b"opaque",
        token() + b".",
        b"." + token(),
        token() + b".AAAA",
        token().rpartition(b".")[0],
        token().rpartition(b".")[0] + b".",
        token().replace(b".", b"..", 1),
        token().partition(b".")[0] + b".." + token().rpartition(b".")[2],
        b" " + token(),
        token() + b"\n",
        token() + b"\x00",
        token() + b"=",
        token().replace(b".", b"=.", 1),
        token().replace(b".", b",", 1),
        b"\xff" + token(),
        token()[:-1],
        encoded({"alg": "RSA-OAEP", "enc": "A256GCM"}) + b".AAAA.AAAA.AAAA.AAAA",
        json.dumps({"payload": "e30", "signatures": [{"protected": "e30", "signature": "AAAA"}] * 2}).encode(),
        json.dumps({"payload": "e30", "protected": "e30", "signature": "AAAA"}).encode(),
        b"A" + token(),
        b"A.A.A",
    ],
    ids=range(26),
)
def test_what_is_not_three_parts_in_base64url_is_refused(shown):
    """Also the JSON serializations (several signatures), and encrypted tokens (five parts)."""
    assert refused(shown) == "malformed"


def test_a_form_of_base64_that_is_not_the_canonical_one_is_refused():
    """Else one token had several names, and revoking it by its hash would leave the others."""
    good = token(algorithm="ES256", kid="ES256")
    last = good[-1:]
    alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    neighbour = alphabet[alphabet.index(last) ^ 1 : (alphabet.index(last) ^ 1) + 1]

    assert base64.urlsafe_b64decode(good.rpartition(b".")[2] + b"==") == base64.urlsafe_b64decode(
        good.rpartition(b".")[2][:-1] + neighbour + b"=="
    )
    assert refused(good[:-1] + neighbour) == "malformed"


def test_the_alphabet_of_mail_is_refused():
    shown = token({**claims(), "x": "???>>>~~~"}).replace(b"-", b"+").replace(b"_", b"/")

    assert b"/" in shown or b"+" in shown
    assert refused(shown) == "malformed"


BROKEN = [
    b"",
    b"null",
    b"[]",
    b'"text"',
    b"7",
    b"true",
    b"{",
    b"{}}",
    b"{'alg': 'RS256'}",
    b'{"alg": "RS256",}',
    b'{"alg": "RS256"} x',
    b'{"alg": NaN}',
    b'{"alg": Infinity}',
    b'{"alg": 1e999}',
    b'{"alg": ' + b"9" * 5000 + b"}",
    b'{"alg": "\\ud800"}',
    b'{"\\udc00": 1}',
    b'{"alg": "\xed\xa0\x80"}',
    b'{"alg": "\xff"}',
    b'{"alg": "\x00"}',
    b'\xef\xbb\xbf{"alg": "RS256"}',
    '{"alg": "RS256"}'.encode("utf-16"),
    '{"alg": "RS256"}'.encode("utf-32-le"),
    b"[" * 5000,
    b'{"a":' * 1100,
    b"\x00" * 20,
]


@pytest.mark.parametrize("content", BROKEN, ids=lambda content: repr(content[:24]))
def test_headers_that_are_no_json_object_are_refused(content):
    shown = encoded(content) + b"." + encoded(claims()) + b"." + encoded(b"x" * 256)

    assert refused(shown) == "malformed"


@pytest.mark.parametrize("content", BROKEN, ids=lambda content: repr(content[:24]))
@pytest.mark.parametrize("key", [None, private("RS256", 1)], ids=["signed", "forged"])
def test_claims_that_are_no_json_object_are_refused_whoever_signed_them(content, key):
    assert refused(token(content, key=key)) in ("malformed", "bad_signature")


@pytest.mark.parametrize("deep", [10, 100, 400, 900, 1400])
def test_depth_is_refused_or_ignored_and_breaks_nothing(deep):
    nested = "[" * deep + "]" * deep
    header = f'{{"alg": {nested}}}'.encode()
    message = encoded(header) + b"." + encoded(claims()) + b".AAAA"

    assert refused(message) == "malformed"
    with contextlib.suppress(TokenError):
        assert verify(token(json.dumps(claims())[:-1] + f', "x": {nested}}}'))["sub"] == "alice"


def test_of_a_name_that_comes_twice_the_last_counts_for_everything():
    """RFC 7515 section 4: the verified value is the one that is used."""
    header = b'{"alg": "none", "alg": "RS256", "kid": "other", "kid": "RS256"}'
    twice = json.dumps(claims())[:-1] + ', "sub": "mallory", "sub": "bob"}'
    message = encoded(header) + b"." + encoded(twice)

    assert verify(message + b"." + encoded(signature(message, "RS256")))["sub"] == "bob"
    reverse = encoded(b'{"alg": "RS256", "alg": "none"}') + b"." + encoded(claims())
    assert refused(reverse + b"." + encoded(signature(reverse, "RS256"))) == "algorithm_not_allowed"


def test_a_nested_token_is_refused():
    assert refused(token(token())) == "malformed"
    assert refused(token(token(), cty="JWT")) == "header_not_supported"


def test_a_token_has_at_most_8_kib():
    empty = len(token({**claims(), "x": ""}))
    longest = token({**claims(), "x": "y" * ((LONGEST - empty) // 4 * 3)})

    assert LONGEST - 4 <= len(longest) <= LONGEST
    assert verify(longest)
    assert refused(token({**claims(), "x": "y" * 6000})) == "too_long"
    assert refused(b"A" * 10_000_000) == "too_long"


@given(st.binary(max_size=60), st.binary(max_size=60), st.binary(max_size=80))
@example(b'{"alg":"RS256"}', b"{}", b"")
def test_no_bytes_break_the_verifier(first, second, third):
    for shown in (b".".join((first, second, third)), b".".join(map(encoded, (first, second, third)))):
        assert refused(shown)


@given(
    st.dictionaries(
        st.sampled_from(["alg", "kid", "typ", "crit", "cty", "jwk"]),
        st.none() | st.integers() | st.text() | st.lists(st.text()),
    )
)
def test_no_header_breaks_the_verifier(header):
    assert refused(token(header=header, key=private("RS256", 1)))


@given(
    st.dictionaries(
        st.sampled_from(["iss", "aud", "sub", "exp", "nbf", "iat", "x"]),
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.lists(st.text()),
    )
)
def test_no_claims_break_the_verifier(content):
    shown = token(json.dumps(content), algorithm="HS256")
    try:
        found = verify(shown, KeySet.of_secret(SECRET))
    except TokenError:
        return
    assert found["iss"] == ISSUER
    assert found["exp"] > NOW - 31


# -- claims -----------------------------------------------------------------------------------------------------------


def said(**more) -> bytes:
    return token(claims(**more))


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ({"exp": NOW - 31}, "expired"),
        ({"exp": NOW - 30}, "expired"),
        ({"exp": 0}, "expired"),
        ({"exp": -1}, "expired"),
        ({"exp": None}, "missing_claim"),
        ({"nbf": NOW + 31}, "not_yet_valid"),
        ({"iat": NOW + 31}, "not_yet_valid"),
        ({"iat": NOW + 1e9, "exp": NOW + 2e9}, "not_yet_valid"),
        ({"iss": None}, "wrong_issuer"),
        ({"iss": ""}, "wrong_issuer"),
        ({"iss": ISSUER + "/"}, "wrong_issuer"),
        ({"iss": ISSUER[:-1]}, "wrong_issuer"),
        ({"iss": ISSUER.upper()}, "wrong_issuer"),
        ({"iss": "https"}, "wrong_issuer"),
        ({"iss": [ISSUER]}, "wrong_issuer"),
        ({"iss": {ISSUER: 1}}, "wrong_issuer"),
        ({"iss": f"{ISSUER} https://evil.example"}, "wrong_issuer"),
        ({"aud": None}, "wrong_audience"),
        ({"aud": ""}, "wrong_audience"),
        ({"aud": []}, "wrong_audience"),
        ({"aud": AUDIENCE[:-1]}, "wrong_audience"),
        ({"aud": AUDIENCE + "/"}, "wrong_audience"),
        ({"aud": AUDIENCE + " other"}, "wrong_audience"),
        ({"aud": ["other", [AUDIENCE], {AUDIENCE: 1}, 7, None]}, "wrong_audience"),
        ({"aud": {AUDIENCE: True}}, "wrong_audience"),
        ({"aud": 7}, "wrong_audience"),
        ({"aud": list("https://api.example.org")}, "wrong_audience"),
    ],
    ids=repr,
)
def test_wrong_claims_are_refused(content, reason):
    assert refused(said(**content)) == reason


@pytest.mark.parametrize(
    "content",
    [
        {"exp": NOW - 29},
        {"exp": NOW + 0.5},
        {"nbf": NOW + 29},
        {"nbf": NOW - 1e6},
        {"iat": NOW + 29},
        {"iat": None},
        {"nbf": None},
        {"aud": ["other", AUDIENCE]},
        {"aud": [AUDIENCE, {"a": 1}]},
    ],
    ids=repr,
)
def test_clocks_may_differ_a_little_and_audiences_may_be_several(content):
    assert verify(said(**content))["sub"] == "alice"


@pytest.mark.parametrize("name", ["exp", "nbf", "iat"])
@pytest.mark.parametrize("value", ["1800000600", True, [], {}, 1e13, -1e13, 10**30, "never"], ids=repr)
def test_a_time_that_is_no_number_is_refused(name, value):
    assert refused(said(**{name: value})) == "malformed"


@pytest.mark.parametrize("name", ["exp", "nbf", "iat"])
def test_a_time_that_is_null_is_refused(name):
    assert refused(token({**claims(), name: None})) == "malformed"


def test_leeway_is_as_configured():
    assert verify(said(exp=NOW - 119), leeway=Duration(120.0))
    assert refused(said(exp=NOW - 1), leeway=Duration(0.0)) == "expired"


def test_a_token_may_have_to_be_short_lived():
    day = Duration(86400.0)

    assert verify(said(iat=NOW, exp=NOW + 86400), max_lifetime=day)
    assert refused(said(iat=NOW - 1, exp=NOW + 86400), max_lifetime=day) == "lives_too_long"
    assert refused(said(iat=None), max_lifetime=day) == "missing_claim"


def test_no_audience_configured_takes_any():
    assert verify(said(aud=None), audiences=())
    assert verify(said(aud={"odd": 1}), audiences=())


def test_required_claims_must_be_there():
    assert verify(said(jti="1", client_id="x"), required=("jti", "client_id"))
    assert refused(said(jti="1"), required=("jti", "client_id")) == "missing_claim"
    assert refused(token({**claims(), "jti": None}), required=("jti",)) == "missing_claim"


@pytest.mark.parametrize("kind", ["at+jwt", "AT+JWT", "application/at+jwt", "Application/At+Jwt"])
def test_the_type_may_have_to_be_that_of_an_access_token(kind):
    assert verify(token(typ=kind), type="at+jwt")
    assert verify(token(typ="at+jwt"), type=kind)


@pytest.mark.parametrize("header", [{}, {"typ": "JWT"}, {"typ": "at+jwt "}, {"typ": "id+jwt"}, {"typ": ""}])
def test_another_type_is_refused_then(header):
    assert refused(token(**header), type="at+jwt") == "wrong_type"


@pytest.mark.parametrize("kind", ["logout+jwt", "dpop+jwt", "secevent+jwt", "application/LOGOUT+JWT"])
def test_what_is_known_to_be_no_access_token_is_refused_in_any_case(kind):
    assert refused(token(typ=kind)) == "wrong_type"


@pytest.mark.parametrize("kind", [7, None, ["JWT"]])
def test_a_type_that_is_no_text_is_refused(kind):
    assert refused(token(typ=kind)) == "malformed"


def test_audiences_are_compared_whole():
    assert names_one({"aud": "a"}, frozenset({"a", "b"}))
    assert names_one({"aud": ["c", "b"]}, frozenset({"a", "b"}))
    assert not names_one({"aud": "ab"}, frozenset({"a", "b"}))
    assert not names_one({}, frozenset({"a"}))


# -- who is to be asked for newer keys --------------------------------------------------------------------------------


def test_a_key_that_is_unknown_may_be_in_a_newer_set():
    with pytest.raises(UnknownKey) as caught:
        verify(token(kid="next", key=private("RS256", 1)))
    assert (caught.value.kid, caught.value.reason) == ("next", "unknown_key")

    with pytest.raises(UnknownKey) as caught:
        verify(token(), KeySet())
    assert (caught.value.kid, caught.value.reason) == ("", "unknown_key")


def test_a_token_without_key_id_that_no_key_verifies_may_be_of_a_newer_one():
    with pytest.raises(UnknownKey) as caught:
        verify(token(key=private("RS256", 1)))
    assert (caught.value.kid, caught.value.reason) == ("", "bad_signature")


@pytest.mark.parametrize("content", [claims(iss="https://other.example"), "no JSON", [1], {}])
def test_a_token_of_somebody_else_is_no_reason_to_ask(content):
    with pytest.raises(TokenError) as caught:
        verify(token(content, kid="next", key=private("RS256", 1)))
    assert not isinstance(caught.value, UnknownKey)


def test_a_bad_signature_of_a_known_key_is_no_reason_to_ask():
    with pytest.raises(TokenError) as caught:
        verify(token(kid="RS256", key=private("RS256", 1)))
    assert not isinstance(caught.value, UnknownKey)


# -- other tokens -----------------------------------------------------------------------------------------------------

OTHER = {"audience": "client", "types": frozenset({"", "jwt"})}


def test_an_id_token_is_verified_for_its_client():
    verifier = Verifier(spec(type="at+jwt"))

    assert verifier.verify_other(said(aud="client"), PUBLISHED, NOW, **OTHER)["sub"] == "alice"
    for bad, reason in (
        (said(), "wrong_audience"),
        (said(aud="client", exp=NOW - 100), "expired"),
        (said(aud="client", iss="other"), "wrong_issuer"),
        (token(claims(aud="client"), typ="at+jwt"), "wrong_type"),
        (token(claims(aud="client"), typ="logout+jwt"), "wrong_type"),
        (token(claims(aud="client"), key=private("RS256", 1)), "bad_signature"),
        (token(claims(aud="client"), algorithm="none", sign_as="RS256"), "algorithm_not_allowed"),
    ):
        with pytest.raises(TokenError) as caught:
            verifier.verify_other(bad, PUBLISHED, NOW, **OTHER)
        assert caught.value.reason == reason


def test_what_is_asked_of_access_tokens_is_not_asked_of_others():
    verifier = Verifier(spec(max_lifetime=Duration(60.0), required=("scope",)))
    with pytest.raises(TokenError):
        verifier.verify(said(), PUBLISHED, NOW)

    assert verifier.verify_other(said(aud="client"), PUBLISHED, NOW, **OTHER)["sub"] == "alice"


def test_a_logout_token_need_not_expire():
    verifier = Verifier(spec())
    shown = token(claims(aud="client", exp=None, iat=None), typ="logout+jwt")
    types = frozenset({"logout+jwt"})

    assert verifier.verify_other(shown, PUBLISHED, NOW, audience="client", types=types, required=False)
    with pytest.raises(TokenError):
        verifier.verify_other(shown, PUBLISHED, NOW, audience="client", types=types)


# -- what is remembered -----------------------------------------------------------------------------------------------


def test_headers_that_are_remembered_are_few_and_never_bad_ones():
    verifier = Verifier(spec())
    for number in range(600):
        with pytest.raises(UnknownKey):
            verifier.verify(token(kid=f"k{number}", key=b"", algorithm="HS256"), PUBLISHED, NOW)
    with pytest.raises(UnknownKey):
        verifier.verify(token(kid="k" * 1000, key=b"", algorithm="HS256"), PUBLISHED, NOW)
    with pytest.raises(TokenError):
        verifier.verify(token(crit=["x"]), PUBLISHED, NOW)

    assert len(verifier._headers) <= 256
    assert all(len(segment) <= 1024 for segment in verifier._headers)
    assert verifier.verify(token(), PUBLISHED, NOW)
    assert verifier.verify(token(), PUBLISHED, NOW)


def test_an_error_says_what_and_not_with_which_token():
    error = TokenError("expired")
    assert (str(error), error.reason, error.detail) == ("expired", "expired", "")
    assert str(TokenError("expired", "5 s ago")) == "5 s ago"
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        next(iter(PUBLISHED.keys)).kid = "x"
    assert Secret(SECRET).reveal() == SECRET
