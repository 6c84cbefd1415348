"""TLS contexts from configuration: what they demand of servers, and what is said about files that are of no use."""

import ssl

import pytest

from suuupra_gateway.config.model import UpstreamTLS
from suuupra_gateway.net.tls import ClientTLS, client_tls
from tests.net.certificates import Authority


@pytest.fixture
def authority(tmp_path):
    return Authority(tmp_path)


def test_names_and_trust_are_verified_from_tls_1_2_on(authority):
    tls = client_tls(UpstreamTLS(ca_file=authority.file), "users.example")
    assert tls.server_name == "users.example"
    assert tls.context.check_hostname
    assert tls.context.verify_mode == ssl.CERT_REQUIRED
    assert tls.context.minimum_version == ssl.TLSVersion.TLSv1_2
    assert len(tls.context.get_ca_certs()) == 1, "only the given authority, not the system's as well"


def test_the_systems_authorities_are_trusted_by_default():
    context = client_tls(UpstreamTLS(), "users.example").context
    assert context.verify_mode == ssl.CERT_REQUIRED
    assert context.cert_store_stats() == ssl.create_default_context().cert_store_stats()


def test_a_configured_name_wins_over_the_endpoints(authority):
    assert (
        client_tls(UpstreamTLS(ca_file=authority.file, server_name="a.example"), "10.0.0.1").server_name == "a.example"
    )


def test_verification_can_be_turned_off(authority):
    context = client_tls(UpstreamTLS(verify=False), "").context
    assert not context.check_hostname
    assert context.verify_mode == ssl.CERT_NONE
    assert context.minimum_version == ssl.TLSVersion.TLSv1_2


def test_a_name_is_needed_to_verify_one(authority):
    with pytest.raises(ValueError, match="server-name"):
        client_tls(UpstreamTLS(ca_file=authority.file), "")
    with pytest.raises(ValueError, match="server-name"):
        ClientTLS(ssl.create_default_context(), "")


def test_a_client_certificate_may_hold_its_key_or_not(authority, tmp_path):
    both = authority.issue("gateway.example")
    client_tls(UpstreamTLS(ca_file=authority.file, certificate=both), "a")
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    text = (tmp_path / both).read_text()
    split = text.index("-----BEGIN CERTIFICATE")
    key.write_text(text[:split])
    certificate.write_text(text[split:])
    client_tls(UpstreamTLS(ca_file=authority.file, certificate=str(certificate), key=str(key)), "a")


@pytest.mark.parametrize("field", ["ca_file", "certificate"])
@pytest.mark.parametrize(
    "content", [None, b"", b"rubbish", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"]
)
def test_files_that_are_of_no_use_are_named(tmp_path, field, content):
    path = tmp_path / "broken.pem"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ValueError, match=r"broken\.pem: no usable"):
        client_tls(UpstreamTLS(**{field: str(path)}), "a")


def test_a_key_that_is_not_the_certificates_is_named(authority):
    one, other = authority.issue("one.example"), authority.issue("other.example")
    with pytest.raises(
        ValueError, match=r"one\.example.* with .*other\.example.*: no usable certificate and key: key values"
    ):
        client_tls(UpstreamTLS(ca_file=authority.file, certificate=one, key=other), "a")


def test_an_encrypted_key_is_refused_and_not_asked_for_on_the_terminal(authority, tmp_path):
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    path = tmp_path / "locked.pem"
    path.write_bytes(
        ec.generate_private_key(ec.SECP256R1()).private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"secret"),
        )
    )
    with pytest.raises(ValueError, match=r"locked\.pem"):
        client_tls(UpstreamTLS(ca_file=authority.file, certificate=authority.issue("a"), key=str(path)), "a")


def test_a_key_alone_is_of_no_use(authority):
    with pytest.raises(ValueError, match=r"key\.pem"):
        client_tls(UpstreamTLS(ca_file=authority.file, key="key.pem"), "a")


def test_unreadable_is_said_as_such(tmp_path):
    with pytest.raises(ValueError, match="No such file"):
        client_tls(UpstreamTLS(ca_file=str(tmp_path / "missing.pem")), "a")
