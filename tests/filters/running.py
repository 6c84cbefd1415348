"""What the tests of filters share: a request, a filter made from configuration, and what came of it."""

from __future__ import annotations

from typing import Any

from suuupra_gateway.filters.base import Filter, FilterKind
from suuupra_gateway.http.message import Pairs, ResponseHead
from suuupra_gateway.http.rules import HeadRules
from suuupra_gateway.memory import MemoryExchange, Probe
from suuupra_gateway.residents import Residents


def exchange(line: str = "GET /", *fields: tuple[str, str], client: str = "192.0.2.1") -> MemoryExchange:
    """A request such as ``GET /x?y`` with the given fields."""
    method, _, url = line.partition(" ")
    probe = Probe(method, url, fields, client)
    return MemoryExchange(probe.head(HeadRules()), client=client)


def made(kind: FilterKind, **settings: Any) -> Filter[Any]:
    """The filter that this configuration makes; keys with ``_`` for ``-``."""
    spec = kind.spec.model_validate({key.replace("_", "-"): value for key, value in settings.items()})
    return kind.filter(spec, Residents())


def answered(*fields: tuple[bytes, bytes]) -> ResponseHead:
    """The head of an upstream's answer."""
    headers: Pairs = list(fields)
    return ResponseHead(200, headers, length=0)
