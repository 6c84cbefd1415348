"""Client certificates as identity."""

from __future__ import annotations

import base64
import datetime
import ipaddress
import time

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from suuupra_gateway.auth.certificate import ClientCertificate
from suuupra_gateway.auth.principal import Principal, Refused
from suuupra_gateway.config.model import CertificateSpec, ClientCertificateSpec
from suuupra_gateway.http.message import RequestHead
from suuupra_gateway.memory import MemoryExchange
from suuupra_gateway.net.networks import Networks

PROXY = "10.0.0.1"
NOW = time.time()


def names(*commons: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common) for common in commons])


class Authority:
    def __init__(self, name: str = "authority") -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = names(name)
        self.certificate = self.sign(self.name, self.key)

    def sign(self, subject, key, *extensions, begins=NOW - 3600, ends=NOW + 3600):
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self.name)
            .public_key(key.public_key())
            .serial_number(4711)
            .not_valid_before(datetime.datetime.fromtimestamp(begins, datetime.UTC))
            .not_valid_after(datetime.datetime.fromtimestamp(ends, datetime.UTC))
        )
        for extension in extensions:
            builder = builder.add_extension(extension, critical=False)
        return builder.sign(self.key, hashes.SHA256())

    def issue(self, *commons: str, extensions=(), **dates: float) -> bytes:
        """A certificate in DER."""
        made = self.sign(names(*commons), ec.generate_private_key(ec.SECP256R1()), *extensions, **dates)
        return made.public_bytes(serialization.Encoding.DER)

    def pem(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.PEM)


AUTHORITY = Authority()
ALICE = AUTHORITY.issue("alice")


def told(encoded: bytes) -> bytes:
    return b":" + base64.b64encode(encoded) + b":"


def exchange(*fields: bytes, certificate: bytes | None = None, peer: str = PROXY) -> MemoryExchange:
    made = MemoryExchange(RequestHead(b"GET", b"/", [(b"client-cert", field) for field in fields]), client=peer)
    made.certificate = certificate
    return made


def credential(
    config: ClientCertificateSpec | None = None, spec: CertificateSpec | None = None, now: float = NOW
) -> ClientCertificate:
    config = config or ClientCertificateSpec(header="Client-Cert")
    return ClientCertificate(spec or CertificateSpec(), config, Networks([PROXY]), wall=lambda: now)


def reason(answer: object) -> tuple[str, int]:
    assert isinstance(answer, Refused)
    return answer.reason, answer.status


def test_the_certificate_of_our_own_handshake_is_who_is_calling():
    config = ClientCertificateSpec(roles=(("alice", "admin ops"),))
    found = credential(config).check(exchange(certificate=ALICE, peer="192.0.2.1"))
    assert isinstance(found, Principal)
    assert (found.subject, found.credential, found.provider) == ("alice", "client-certificate", "")
    assert found.roles == {"admin", "ops"}
    assert found.expires == pytest.approx(NOW + 3600, abs=1)
    assert found.claims["issuer"] == "CN=authority"
    assert found.claims["serial"] == f"{4711:x}"
    assert found.tags == (f"certificate:{found.claims['fingerprint']}",)


def test_a_trusted_proxy_tells_the_certificate():
    found = credential().check(exchange(told(ALICE)))
    assert isinstance(found, Principal)
    assert found.subject == "alice"


def test_the_same_certificate_is_read_once():
    one = credential()
    assert one.check(exchange(told(ALICE))) is one.check(exchange(told(ALICE)))


def test_what_is_remembered_is_bounded(monkeypatch):
    monkeypatch.setattr("suuupra_gateway.auth.certificate._REMEMBERED", 1)
    one = credential()
    first = one.check(exchange(told(ALICE)))
    one.check(exchange(told(AUTHORITY.issue("bob"))))
    assert one.check(exchange(told(ALICE))) is not first


def test_strangers_tell_nothing():
    assert credential().check(exchange(told(ALICE), peer="192.0.2.1")) is None


def test_without_a_certificate_there_is_nothing_to_say():
    assert credential().check(exchange()) is None
    assert credential(ClientCertificateSpec()).check(exchange(told(ALICE))) is None


def test_nobody_behind_a_proxy_is_taken_for_the_proxy():
    """It may show a certificate of its own to us: that says nothing of its clients."""
    balancer = AUTHORITY.issue("balancer")
    assert credential().check(exchange(certificate=balancer)) is None
    found = credential().check(exchange(told(ALICE), certificate=balancer))
    assert isinstance(found, Principal)
    assert found.subject == "alice"


def test_what_strangers_tell_does_not_touch_our_own_handshake():
    told_too = exchange(told(AUTHORITY.issue("mallory")), certificate=ALICE, peer="192.0.2.1")
    found = credential().check(told_too)
    assert isinstance(found, Principal)
    assert found.subject == "alice"


def test_two_certificates_are_ambiguous():
    assert reason(credential().check(exchange(told(ALICE), told(ALICE)))) == ("ambiguous_certificate", 400)


@pytest.mark.parametrize(
    "field",
    [
        b"",
        b"alice",
        b"::",
        b":AAAA",
        b":A:",
        b":AAA=AAA=:",
        b":" + b"A" * (16 * 1024) + b":",
        told(b"no certificate"),
        told(ALICE[:-1]),
        b"-----BEGIN CERTIFICATE-----",
    ],
)
def test_nonsense_is_refused(field):
    assert reason(credential().check(exchange(field)))[0] == "malformed_certificate"


def test_dates_hold():
    assert reason(credential(now=NOW + 7200).check(exchange(told(ALICE)))) == ("expired", 401)
    assert reason(credential(now=NOW - 7200).check(exchange(told(ALICE)))) == ("not_yet_valid", 401)


def test_only_those_who_are_named_may_come():
    spec = CertificateSpec(subjects=("bob",))
    assert reason(credential(spec=spec).check(exchange(told(ALICE)))) == ("subject_not_allowed", 403)
    assert isinstance(credential(spec=spec).check(exchange(told(AUTHORITY.issue("bob")))), Principal)


def test_a_certificate_for_servers_is_no_identity_of_a_client():
    server = AUTHORITY.issue("alice", extensions=[x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH])])
    both = AUTHORITY.issue(
        "alice", extensions=[x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH])]
    )
    assert reason(credential().check(exchange(told(server)))) == ("wrong_purpose", 401)
    assert isinstance(credential().check(exchange(told(both))), Principal)


def test_whoever_signed_it_must_be_in_the_file(tmp_path):
    file = tmp_path / "ca.pem"
    file.write_bytes(Authority("other").pem() + AUTHORITY.pem())
    config = ClientCertificateSpec(header="Client-Cert", ca_file=str(file))
    assert isinstance(credential(config).check(exchange(told(ALICE))), Principal)
    forged = Authority("authority").issue("alice")
    assert reason(credential(config).check(exchange(told(forged)))) == ("untrusted_certificate", 401)


def test_a_file_without_certificates_is_an_error(tmp_path):
    file = tmp_path / "ca.pem"
    file.write_bytes(b"nothing")
    with pytest.raises(ValueError, match="holds no certificates in PEM"):
        credential(ClientCertificateSpec(ca_file=str(file)))


ALTERNATIVES = x509.SubjectAlternativeName(
    [
        x509.DNSName("alice.example.org"),
        x509.UniformResourceIdentifier("spiffe://example.org/alice"),
        x509.RFC822Name("alice@example.org"),
        x509.IPAddress(ipaddress.ip_address("192.0.2.1")),
    ]
)


@pytest.mark.parametrize(
    ("part", "subject"),
    [
        ("san-dns", "alice.example.org"),
        ("san-uri", "spiffe://example.org/alice"),
        ("san-email", "alice@example.org"),
        ("common-name", "alice"),
    ],
)
def test_the_subject_can_be_any_part_of_it(part, subject):
    config = ClientCertificateSpec(header="Client-Cert", subject=part)
    found = credential(config).check(exchange(told(AUTHORITY.issue("alice", extensions=[ALTERNATIVES]))))
    assert isinstance(found, Principal)
    assert found.subject == subject


def test_the_fingerprint_can_be_the_subject():
    found = credential(ClientCertificateSpec(header="Client-Cert", subject="fingerprint")).check(exchange(told(ALICE)))
    assert isinstance(found, Principal)
    assert found.subject == x509.load_der_x509_certificate(ALICE).fingerprint(hashes.SHA256()).hex()


@pytest.mark.parametrize("commons", [(), ("alice", "bob")])
def test_no_name_or_two_names_are_nobody(commons):
    assert reason(credential().check(exchange(told(AUTHORITY.issue(*commons))))) == ("no_subject", 401)


def test_without_alternative_names_there_is_no_such_subject():
    config = ClientCertificateSpec(header="Client-Cert", subject="san-dns")
    assert reason(credential(config).check(exchange(told(ALICE)))) == ("no_subject", 401)


def test_upstreams_do_not_see_the_field():
    head = exchange(told(ALICE)).head
    one = credential()
    assert one.presented(head)
    one.conceal(head)
    one.conceal(head)
    assert head.headers == []
    assert not one.presented(head)
    silent = credential(ClientCertificateSpec())
    head = exchange(told(ALICE)).head
    silent.conceal(head)
    assert len(head.headers) == 1
    assert not silent.presented(head)
