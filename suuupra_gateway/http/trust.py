"""
What a trusted proxy in front of us may say about an exchange.
"""

from __future__ import annotations

from collections.abc import Container
from typing import TYPE_CHECKING

from suuupra_gateway.http import grammar
from suuupra_gateway.http.message import values
from suuupra_gateway.net.networks import client_of

if TYPE_CHECKING:
    from suuupra_gateway.http.exchange import Exchange


def believe(exchange: Exchange, trusted: Container[str]) -> None:
    """Let the proxy that ``exchange`` came by say who the client is, how it spoke, and how the request is called."""
    head = exchange.head
    exchange.client = client_of(exchange.peer, values(head.headers, b"x-forwarded-for"), trusted)
    protocol = head.get(b"x-forwarded-proto")
    if protocol is not None:
        exchange.secure = protocol.rpartition(b",")[2].strip(b" \t").lower() == b"https"
    id = head.get(b"x-request-id")
    if id is not None and grammar.request_id(id):
        exchange.id = id
