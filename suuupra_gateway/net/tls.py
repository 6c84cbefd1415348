"""
How to trust upstreams: TLS contexts from what the configuration says.
"""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from suuupra_gateway.config.model import UpstreamTLS


@attrs.frozen
class ClientTLS:
    """What a TLS client needs to know. Contexts may be shared by any number of connections."""

    context: ssl.SSLContext
    server_name: str
    """Host name for SNI, or IP address (which is not sent, RFC 6066 section 3); the certificate must be for it."""

    def __attrs_post_init__(self) -> None:
        if self.context.check_hostname and not self.server_name:
            # `ssl.SSLObject` would verify the chain and silently take any name (only `ssl.SSLSocket` objects to that).
            raise ValueError("TLS needs a server name to verify, and a UNIX socket has none: set server-name")


def client_tls(spec: UpstreamTLS, host: str) -> ClientTLS:
    """
    TLS 1.2 or later; names and trust are verified unless ``spec.verify`` says otherwise.

    Reads files, and the system's trust store takes some 10 ms: make one per upstream and `attrs.evolve` the name.

    :param host: name to expect if ``spec`` has none.
    :raises ValueError: if a file cannot be read or used; its name is in the message.
    """
    name = spec.server_name or host
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    if not spec.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    elif spec.ca_file:
        try:
            context.load_verify_locations(cafile=spec.ca_file)
        except OSError as reason:
            raise ValueError(f"{spec.ca_file}: no usable certificates: {_words(reason)}") from reason
    else:
        context.load_default_certs(ssl.Purpose.SERVER_AUTH)
    if spec.certificate:
        try:
            # An empty password keeps OpenSSL from asking for one on the terminal.
            context.load_cert_chain(spec.certificate, spec.key or None, password="")
        except OSError as reason:
            files = f"{spec.certificate} with {spec.key}" if spec.key else spec.certificate
            raise ValueError(f"{files}: no usable certificate and key: {_words(reason)}") from reason
    elif spec.key:
        raise ValueError(f"{spec.key}: a key is of no use without a certificate")
    return ClientTLS(context, name)


def _words(reason: OSError) -> str:
    if isinstance(reason, ssl.SSLError):
        return (reason.reason or str(reason)).replace("_", " ").lower()
    return reason.strerror or str(reason)
