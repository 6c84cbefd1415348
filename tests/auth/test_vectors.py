"""Signatures of the RFCs and of Project Wycheproof."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest

from suuupra_gateway.auth.jwt import TokenError, Verifier
from suuupra_gateway.auth.keyset import SECRET_ALGORITHMS, Key, KeySet
from suuupra_gateway.config.model import ProviderSpec

WYCHEPROOF = json.loads((Path(__file__).parent / "vectors" / "wycheproof_jws.json").read_text())
ALL = ("RS256", "ES256", "ES512", "EdDSA", "HS256", "HS384", "HS512")

A1 = {"kty": "oct", "k": "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow"}
A2 = {
    "kty": "RSA",
    "n": "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMs"
    "D1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdV"
    "MTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ",
    "e": "AQAB",
}
A3 = {
    "kty": "EC",
    "crv": "P-256",
    "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
    "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
}
A4 = {
    "kty": "EC",
    "crv": "P-521",
    "x": "AekpBQ8ST8a8VcfVOTNl353vSrDCLLJXmPk06wTjxrrjcBpXp5EOnYG_NjFZ6OvLFV1jSfS9tsz4qUxcWceqwQGk",
    "y": "ADSmRA43Z1DSNx_RvcLI87cdL07l6jQyyBXMoxVg_l2Th-x3S1WDhjDly79ajL4Kkd0AZMaZmh9ubmf63e3kyMj2",
}
OKP = {"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}

JOE = "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ"
TOKENS = {
    "RFC 7515 A.1 and 7519 3.1": (
        A1,
        f"eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9.{JOE}.dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk",
    ),
    "RFC 7515 A.2": (
        A2,
        f"eyJhbGciOiJSUzI1NiJ9.{JOE}.cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5"
        "jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_d"
        "O--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77"
        "Rw",
    ),
    "RFC 7515 A.3": (
        A3,
        f"eyJhbGciOiJFUzI1NiJ9.{JOE}.DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q",
    ),
}
BYTES = {
    "RFC 7515 A.4": (
        A4,
        "ES512",
        "eyJhbGciOiJFUzUxMiJ9.UGF5bG9hZA",
        "AdwMgeerwtHoh-l192l60hp9wAHZFVJbLfD_UxMi70cwnZOYaRI1bKPWROc-mZZqwqT2SI-KGDKB34XO0aw_7XdtAG8GaSwFKdCAPZgoXD2YBJZCPEX3xKpRwcdO"
        "O8KpEHwJjyqOgzDO7iKvU8vcnwNrmxYbSW9ERBXukOXolLzeO_Jn",
    ),
    "RFC 8037 A.4": (
        OKP,
        "EdDSA",
        "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc",
        "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg",
    ),
}


def raw(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "==")


def keys_of(entry) -> KeySet:
    if entry["kty"] == "oct":
        return KeySet([Key(entry.get("kid", ""), SECRET_ALGORITHMS, raw(entry["k"]), entry["k"])])
    return KeySet.of_tree({"keys": [entry]})


@pytest.mark.parametrize("name", TOKENS)
def test_tokens_of_the_rfcs_are_verified_and_expire(name):
    entry, shown = TOKENS[name]
    verifier = Verifier(ProviderSpec(issuer="joe", algorithms=ALL))

    found = verifier.verify(shown.encode(), keys_of(entry), 1300819380.0)
    assert found == {"iss": "joe", "exp": 1300819380, "http://example.com/is_root": True}
    with pytest.raises(TokenError, match="ago"):
        verifier.verify(shown.encode(), keys_of(entry), 1300819411.0)


@pytest.mark.parametrize("name", BYTES)
def test_signatures_of_the_rfcs_are_verified(name):
    entry, algorithm, message, signature = BYTES[name]
    (key,) = keys_of(entry).keys

    assert key.verifies(algorithm, message.encode(), raw(signature))
    assert not key.verifies(algorithm, message.encode() + b".", raw(signature))


@pytest.mark.parametrize("shown", ["eyJhbGciOiJub25lIn0.{}.", "eyJhbGciOiJub25lIn0.{}.AAAA"])
def test_unsecured_tokens_are_refused(shown):
    """RFC 7515 A.5, RFC 7519 6.1."""
    with pytest.raises(TokenError):
        Verifier(ProviderSpec(issuer="joe", algorithms=ALL)).verify(
            shown.format(JOE).encode(), keys_of(A2), 1300819380.0
        )


@pytest.mark.parametrize(
    ("group", "case"),
    [
        pytest.param(group, case, id=f"{case['tcId']}-{case['comment']}")
        for group in WYCHEPROOF["testGroups"]
        for case in group["tests"]
    ],
)
def test_wycheproof(group, case):
    """What these sign is no JSON, so a good signature is told by what is complained of: what comes after it."""
    keys = keys_of(group.get("public") or group["private"])

    with pytest.raises(TokenError) as caught:
        Verifier(ProviderSpec(issuer="joe", algorithms=ALL)).verify(case["jws"].encode(), keys, 0.0)
    error = caught.value
    signed = error.detail == "the claims are no JSON"
    assert signed is (case["result"] == "valid"), (error.reason, error.detail)
