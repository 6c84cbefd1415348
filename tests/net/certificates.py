"""A certificate authority for tests: `Authority(directory).issue(...)` writes PEM files."""

import datetime
import ipaddress
import pathlib

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


def _name(text):
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _subject_alternative(name):
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


class Authority:
    """Issues certificates from a key of its own; ``file`` is its own certificate."""

    def __init__(self, directory, name="test authority"):
        self._directory = pathlib.Path(directory)
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _name(name)
        certificate = (
            self._builder(self._name, self._key)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .sign(self._key, hashes.SHA256())
        )
        self.file = str(self._directory / f"{name.replace(' ', '-')}.pem")
        pathlib.Path(self.file).write_bytes(certificate.public_bytes(serialization.Encoding.PEM))

    def _builder(self, subject, key, days=30):
        now = datetime.datetime.now(datetime.UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=60))
            .not_valid_after(now + datetime.timedelta(days=days))
        )

    def issue(self, *names, days=30, file=""):
        """Path of a PEM file with a key and a certificate for ``names``; negative ``days`` make an expired one."""
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = (
            self._builder(_name(names[0]), key, days)
            .add_extension(x509.SubjectAlternativeName(map(_subject_alternative, names)), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        path = self._directory / (file or f"{names[0].replace('*', 'star')}-{days}.pem")
        path.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
            + certificate.public_bytes(serialization.Encoding.PEM)
        )
        return str(path)
