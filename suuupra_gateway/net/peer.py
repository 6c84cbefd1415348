"""
Who the other end of a connection has shown itself to be.
"""

from __future__ import annotations

from typing import Any

from cryptography.hazmat.primitives.serialization import Encoding


def certificate_of(transport: Any) -> bytes | None:
    """
    The certificate that the peer of ``transport`` has shown, in DER; None without one, and without TLS.

    A listener that asks for certificates verifies them in the handshake, and fails it if they are not good: none is let through.
    """
    ask = getattr(transport, "getPeerCertificate", None)
    if ask is None:
        return None
    shown = ask()
    if shown is None:
        return None
    encoded: bytes = shown.to_cryptography().public_bytes(Encoding.DER)
    return encoded
