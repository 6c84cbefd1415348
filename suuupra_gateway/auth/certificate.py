"""
Client certificates as identity: shown to us in the TLS handshake, or to a proxy that we trust and told by it (RFC 9440).

A certificate from our own handshake has been verified there. One that a proxy tells is believed because the proxy is, and a
certificate of the proxy's own then counts for nobody; with ``ca-file`` its signature and its dates are checked again.
"""

from __future__ import annotations

import base64
import binascii
import re
import time
from collections.abc import Callable, Container
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from suuupra_gateway.auth.principal import Principal, Refused
from suuupra_gateway.config.model import CertificateSpec, ClientCertificateSpec
from suuupra_gateway.http.message import RequestHead, remove, values
from suuupra_gateway.interfaces import IExchange

if TYPE_CHECKING:
    from suuupra_gateway.interfaces import Answer

_LONGEST: Final = 16 * 1024
"""Most bytes of a field that is looked at; certificates of clients have a few thousand."""

_REMEMBERED: Final = 1024
"""Certificates whose principals are kept."""

_SEQUENCE: Final = re.compile(rb":([A-Za-z0-9+/]*={0,2}):").fullmatch
"""A byte sequence of structured fields (RFC 8941 section 3.3.5)."""


class ClientCertificate:
    """The `Credential` of a client that has a certificate. Lives as long as its plan."""

    kind = "client-certificate"
    provider = ""
    challenge = b""

    def __init__(
        self,
        spec: CertificateSpec,
        config: ClientCertificateSpec,
        trusted: Container[str],
        *,
        wall: Callable[[], float] = time.time,
    ) -> None:
        """
        :param trusted: addresses of proxies that may tell of certificates.
        :raises ValueError: ``ca-file`` holds no certificates.
        :raises OSError: it cannot be read.
        """
        self._subjects = frozenset(spec.subjects)
        self._header = config.header.lower().encode("ascii")
        self._part = config.subject
        self._roles = {name: frozenset(roles.split()) for name, roles in config.roles}
        self._authorities = _authorities(config.ca_file) if config.ca_file else ()
        self._trusted = trusted
        self._wall = wall
        self._known: dict[bytes, Principal] = {}

    def check(self, exchange: IExchange) -> Answer:
        """See `Credential`."""
        encoded: bytes | Refused | None = exchange.certificate
        if self._header and exchange.peer in self._trusted:
            # Its own certificate, if it has one, says who the proxy is: not who is behind it, who may have none.
            encoded = self._told(exchange)
        if encoded is None or isinstance(encoded, Refused):
            return encoded
        known = self._known.get(encoded)
        if known is None:
            read = self._read(encoded)
            if isinstance(read, Refused):
                return read
            if len(self._known) >= _REMEMBERED:
                self._known.clear()
            known = self._known[encoded] = read
        if known.expires <= self._wall():
            return Refused("expired", f"the certificate of {known.subject!r}")
        if self._subjects and known.subject not in self._subjects:
            return Refused("subject_not_allowed", f"{known.subject!r} is not among subjects", status=403)
        return known

    glance = check
    """See `filters.rehearsal.Glancing`: nobody else is ever asked."""

    def conceal(self, head: RequestHead) -> None:
        """See `Credential`."""
        if self._header:
            remove(head.headers, self._header)

    def presented(self, head: RequestHead) -> bool:
        """See `Credential`."""
        return bool(self._header) and head.get(self._header) is not None

    def _told(self, exchange: IExchange) -> bytes | Refused | None:
        fields = values(exchange.head.headers, self._header)
        if not fields:
            return None
        if len(fields) > 1:
            return Refused("ambiguous_certificate", f"{len(fields)} certificates", "invalid_request", status=400)
        found = _SEQUENCE(fields[0].strip(b" \t")) if len(fields[0]) <= _LONGEST else None
        if found is None:
            return Refused("malformed_certificate", "no byte sequence of at most 16 KiB (RFC 9440 section 2.1)")
        try:
            return base64.b64decode(found[1], validate=True)
        except binascii.Error as error:
            return Refused("malformed_certificate", str(error))

    def _read(self, encoded: bytes) -> Principal | Refused:
        try:
            certificate = x509.load_der_x509_certificate(encoded)
            subject = _subject(certificate, self._part)
        except ValueError as error:
            return Refused("malformed_certificate", str(error))
        if subject is None:
            return Refused("no_subject", f"the certificate has no {self._part}")
        if self._authorities and not self._vouched(certificate):
            return Refused("untrusted_certificate", f"nobody in ca-file has signed the certificate of {subject!r}")
        if not _for_clients(certificate):
            return Refused(
                "wrong_purpose", f"the certificate of {subject!r} is not for clients (RFC 5280 section 4.2.1.12)"
            )
        begins = certificate.not_valid_before_utc
        if begins > datetime.fromtimestamp(self._wall(), UTC):
            return Refused("not_yet_valid", f"the certificate of {subject!r} is valid from {begins:%Y-%m-%d %H:%M}Z")
        fingerprint = certificate.fingerprint(SHA256()).hex()
        return Principal(
            subject,
            self.kind,
            roles=self._roles.get(subject, frozenset()),
            claims={
                "sub": subject,
                "fingerprint": fingerprint,
                "serial": f"{certificate.serial_number:x}",
                "issuer": certificate.issuer.rfc4514_string(),
                "subject": certificate.subject.rfc4514_string(),
            },
            expires=certificate.not_valid_after_utc.timestamp(),
            tags=(f"certificate:{fingerprint}",),
        )

    def _vouched(self, certificate: x509.Certificate) -> bool:
        for authority in self._authorities:
            try:
                certificate.verify_directly_issued_by(authority)
            except (ValueError, TypeError, InvalidSignature):
                continue
            return True
        return False


def _subject(certificate: x509.Certificate, part: str) -> str | None:
    """
    Who the certificate is for; None if it does not say so in this way, or says it several times.

    :raises ValueError: it is malformed.
    """
    if part == "fingerprint":
        return certificate.fingerprint(SHA256()).hex()
    found: list[str]
    if part == "common-name":
        found = [str(each.value) for each in certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
    else:
        try:
            names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        except x509.ExtensionNotFound:
            return None
        found = [str(name) for name in names.get_values_for_type(_NAMES[part])]
    # Two names are two callers: which one is meant is not ours to guess.
    return found[0] if len(found) == 1 and found[0] else None


def _for_clients(certificate: x509.Certificate) -> bool:
    try:
        purposes = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except x509.ExtensionNotFound:
        return True
    return any(purpose in (_CLIENTS, _ANY_PURPOSE) for purpose in purposes)


_CLIENTS: Final = ExtendedKeyUsageOID.CLIENT_AUTH
_ANY_PURPOSE: Final = ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE

_NAMES: Final[dict[str, type[x509.DNSName] | type[x509.UniformResourceIdentifier] | type[x509.RFC822Name]]] = {
    "san-dns": x509.DNSName,
    "san-uri": x509.UniformResourceIdentifier,
    "san-email": x509.RFC822Name,
}


def _authorities(path: str) -> tuple[x509.Certificate, ...]:
    with open(path, "rb") as file:
        try:
            return tuple(x509.load_pem_x509_certificates(file.read()))
        except ValueError as error:
            raise ValueError(f"{path} holds no certificates in PEM: {error}") from error
