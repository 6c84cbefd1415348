"""What the other end has shown."""

from __future__ import annotations

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from OpenSSL.crypto import X509

from suuupra_gateway.net.peer import certificate_of
from tests.net.certificates import Authority


class Plain:
    """A transport without TLS."""


class Secured:
    def __init__(self, shown: X509 | None) -> None:
        self.shown = shown

    def getPeerCertificate(self) -> X509 | None:
        return self.shown


def test_the_certificate_comes_as_it_was_on_the_wire(tmp_path):
    path = Authority(tmp_path).issue("alice")
    with open(path, "rb") as file:
        certificate = x509.load_pem_x509_certificate(file.read())
    assert certificate_of(Secured(X509.from_cryptography(certificate))) == certificate.public_bytes(Encoding.DER)


def test_none_was_shown():
    assert certificate_of(Secured(None)) is None


def test_there_is_no_tls():
    assert certificate_of(Plain()) is None
    assert certificate_of(None) is None
