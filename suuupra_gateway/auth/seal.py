"""
Sealing what is given to strangers to keep: cookies, and sessions in a store that others can read.

AES-256-GCM under a key of its own for each message: derived by HMAC from a key of the ring, a salt, and whatever secret is mixed
in. So nonces cannot run out, however many attempts strangers make. Opening costs the same whatever is wrong, and says only that
it is.
"""

from __future__ import annotations

import hmac
import os
from binascii import Error, a2b_base64, b2a_base64
from collections.abc import Sequence
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from suuupra_gateway.config.units import Secret

_VERSION: Final = b"\x01"
_NAME: Final = 3
_SALT: Final = 16
_NONCE: Final = 12
_TAG: Final = 16
_HEADER: Final = 1 + _NAME + _SALT + _NONCE

OVERHEAD: Final = _HEADER + _TAG
"""Bytes by which sealed messages are longer than plain ones."""

_TO_URL: Final = bytes.maketrans(b"+/", b"-_")
_FROM_URL: Final = bytes.maketrans(b"-_", b"+/")


def text_of(data: bytes) -> bytes:
    """base64url without padding (RFC 4648 section 5)."""
    return b2a_base64(data, newline=False).rstrip(b"=").translate(_TO_URL)


def bytes_of(text: bytes) -> bytes | None:
    """
    The inverse of `text_of`; None for anything that it never gives.

    Of several texts for the same bytes only one is taken: no byte of a cookie may be without meaning.
    """
    standard = text.translate(_FROM_URL)
    try:
        data = a2b_base64(standard + b"=" * (-len(standard) % 4))
    except Error:
        return None
    return data if text_of(data) == text else None


class Ring:
    """The keys for one purpose. The first one seals, all of them open. Immutable."""

    __slots__ = ("_keys", "_names", "_purpose")

    def __init__(self, keys: Sequence[Secret], purpose: str) -> None:
        """
        :param keys: at least one.
        :param purpose: what is sealed for another one cannot be opened, whatever else is equal.
        """
        self._purpose = purpose.encode("utf-8")
        masters = [
            hmac.digest(key.reveal().encode("utf-8"), b"suuupra seal " + self._purpose, "sha256") for key in keys
        ]
        self._names = [hmac.digest(master, b"name", "sha256")[:_NAME] for master in masters]
        self._keys = dict(zip(reversed(self._names), reversed(masters), strict=True))

    def seal(self, plain: bytes, about: bytes = b"", secret: bytes = b"") -> bytes:
        """
        ``plain``, so that nobody else can read or change it.

        :param about: what it belongs to; the same is needed for opening.
        :param secret: needed for opening beside the keys.
        """
        name = self._names[0]
        salt, nonce = os.urandom(_SALT), os.urandom(_NONCE)
        header = _VERSION + name + salt + nonce
        sealed = _cipher(self._keys[name], salt, secret).encrypt(nonce, plain, header + about)
        return header + sealed

    def open(self, sealed: bytes, about: bytes = b"", secret: bytes = b"") -> bytes | None:
        """What was sealed; None if this is not it, or not with these."""
        if len(sealed) < OVERHEAD or sealed[:1] != _VERSION:
            # As much work as for anything else.
            sealed = bytes(OVERHEAD)
        header = sealed[:_HEADER]
        key = self._keys.get(header[1 : 1 + _NAME]) or self._keys[self._names[0]]
        salt, nonce = header[1 + _NAME : 1 + _NAME + _SALT], header[1 + _NAME + _SALT :]
        try:
            return _cipher(key, salt, secret).decrypt(nonce, sealed[_HEADER:], header + about)
        except InvalidTag:
            return None

    def mark(self, text: bytes, about: bytes) -> bytes:
        """A keyed hash of ``text``, for ``about``: in base64url, 32 bytes long before that."""
        key = self._keys[self._names[0]]
        return text_of(hmac.digest(key, b"mark %d:%b%b" % (len(about), about, text), "sha256"))

    def marked(self, text: bytes, about: bytes, mark: bytes) -> bool:
        """Whether ``mark`` is what `mark` gives, or gave when another key was the first; in constant time."""
        right = False
        for name in self._names:
            made = text_of(hmac.digest(self._keys[name], b"mark %d:%b%b" % (len(about), about, text), "sha256"))
            right |= hmac.compare_digest(made, mark)
        return right


def _cipher(key: bytes, salt: bytes, secret: bytes) -> AESGCM:
    return AESGCM(hmac.digest(key, b"message" + salt + secret, "sha256"))
