"""
What of a request names its sender: for hashing to a peer, and for staying on one branch of a split.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from suuupra_gateway.interfaces import IExchange

Key = Callable[["IExchange"], bytes]
"""The key of an exchange; empty if it has none."""


def key_of(text: str) -> Key:
    """
    The key that is configured as ``client``, ``path``, ``header:NAME`` or ``cookie:NAME``.

    :raises ValueError: for anything else.
    """
    kind, _, name = text.partition(":")
    if text == "client":
        return _client
    if text == "path":
        return _path
    if kind == "header" and name:
        return _Header(name)
    if kind == "cookie" and name:
        return _Cookie(name)
    raise ValueError(f"{text!r}: expected client, path, header:NAME or cookie:NAME")


def _client(exchange: IExchange) -> bytes:
    return exchange.client.encode("ascii", "replace")


def _path(exchange: IExchange) -> bytes:
    return exchange.head.path


class _Header:
    """The first field of a name. Immutable."""

    __slots__ = ("_name",)

    def __init__(self, name: str) -> None:
        self._name = name.lower().encode("ascii")

    def __call__(self, exchange: IExchange) -> bytes:
        return exchange.head.get(self._name) or b""


class _Cookie:
    """The first cookie of a name (RFC 6265 section 5.4). Immutable."""

    __slots__ = ("_start",)

    def __init__(self, name: str) -> None:
        self._start = name.encode("ascii") + b"="

    def __call__(self, exchange: IExchange) -> bytes:
        for name, value in exchange.head.headers:
            if name == b"cookie" and self._start in value:
                for pair in value.split(b";"):
                    pair = pair.strip(b" \t")
                    if pair.startswith(self._start):
                        return pair[len(self._start) :]
        return b""
