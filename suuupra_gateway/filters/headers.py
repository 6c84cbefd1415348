"""
Set, add, remove and rename header fields of requests and answers.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Final

from pydantic import AfterValidator, TypeAdapter

from suuupra_gateway.config.findings import Loc
from suuupra_gateway.config.model import HeaderName, HeaderPairs, Spec
from suuupra_gateway.filters.base import Filter, FilterKind, FilterSpec
from suuupra_gateway.hooks import Verdict
from suuupra_gateway.http import message
from suuupra_gateway.http.message import ResponseHead
from suuupra_gateway.interfaces import IExchange, IResidents

_FRAMING: Final = frozenset(
    {
        "connection",
        "content-length",
        "keep-alive",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
"""Fields of one connection or of the framing (RFC 9110 section 7.6.1): the gateway's own, in both directions."""


def _allowed(name: str) -> str:
    if name.lower() in _FRAMING:
        raise ValueError(f"{name} belongs to the connection and is the gateway's to set")
    if name.lower() == "host":
        raise ValueError("Host is chosen by the target: see `host` of proxy")
    return name


def _fields(pairs: tuple[tuple[str, str], ...]) -> tuple[tuple[str, str], ...]:
    for name, value in pairs:
        _allowed(name)
        if value != value.strip(" \t"):
            raise ValueError(f"the value of {name} has spaces around it, which no parser would keep")
    return pairs


def _renames(pairs: tuple[tuple[str, str], ...]) -> tuple[tuple[str, str], ...]:
    for old, new in pairs:
        _allowed(old)
        _allowed(_NAME.validate_python(new))
    return pairs


_NAME: Final[TypeAdapter[str]] = TypeAdapter(HeaderName)

FieldName = Annotated[HeaderName, AfterValidator(_allowed)]
Fields = Annotated[HeaderPairs, AfterValidator(_fields)]
Renames = Annotated[HeaderPairs, AfterValidator(_renames)]


class HeaderEdits(Spec):
    """Changes of one head, made in the order remove, rename, set, add. Names are compared without case."""

    remove: tuple[FieldName, ...] = ()
    """Fields to drop."""

    rename: Renames = ()
    """Old name to new name; values, order and number of the fields stay."""

    set: Fields = ()
    """Fields to have exactly once, with this value, whatever came."""

    add: Fields = ()
    """Fields to have besides those that came."""


class HeadersSpec(FilterSpec):
    """Which fields to change where."""

    request: HeaderEdits = HeaderEdits()
    """What upstreams see. Identity headers (``gateway.identity-headers``) are not for filters to set."""

    response: HeaderEdits = HeaderEdits()
    """What clients see, also on answers that the gateway makes itself."""


class _Edit:
    """`HeaderEdits` prepared for use: one pass over the fields, then one extension. Immutable."""

    __slots__ = ("_dropped", "_renamed", "_appended")

    def __init__(self, edits: HeaderEdits) -> None:
        given = [_encoded(pair) for pair in edits.set]
        self._renamed = {_lower(old): _lower(new) for old, new in edits.rename}
        # A field that is renamed to the name of one that is set goes with the others of that name.
        goes = {name for name, _ in given}
        goes.update(old for old, new in self._renamed.items() if new in goes)
        self._dropped = frozenset(map(_lower, edits.remove)) | goes
        self._appended = [*given, *map(_encoded, edits.add)]

    def apply(self, fields: message.Pairs) -> None:
        if self._dropped:
            dropped = self._dropped
            fields[:] = [pair for pair in fields if pair[0] not in dropped]
        if self._renamed:
            renamed = self._renamed
            fields[:] = [(renamed.get(name, name), value) for name, value in fields]
        fields += self._appended


def _lower(name: str) -> bytes:
    return name.lower().encode("ascii")


def _encoded(pair: tuple[str, str]) -> message.Pair:
    return _lower(pair[0]), pair[1].encode("latin-1")


class Headers(Filter[HeadersSpec]):
    """Edit the fields of the request, of the upstream's answer and of the gateway's own answers."""

    on_error = "It cannot fail: names and values are checked when the configuration is read."

    def __init__(self, spec: HeadersSpec, residents: IResidents) -> None:
        super().__init__(spec, residents)
        self._request = _Edit(spec.request)
        self._response = _Edit(spec.response)

    def request(self, exchange: IExchange) -> Verdict:
        """Edit what the upstream will see."""
        self._request.apply(exchange.head.headers)
        return None

    def response(self, exchange: IExchange, head: ResponseHead) -> Verdict:
        """Edit what the upstream answered."""
        self._response.apply(head.headers)
        return None

    def reply(self, exchange: IExchange, head: ResponseHead) -> None:
        """Edit what the gateway answers by itself."""
        self._response.apply(head.headers)

    def edits(self) -> Iterable[tuple[Loc, str]]:
        """All fields of the request that are named, old names and new ones."""
        edits = self.spec.request
        yield from ((("request", "remove", place), name) for place, name in enumerate(edits.remove))
        for old, new in edits.rename:
            yield ("request", "rename", old), old
            yield ("request", "rename", old), new
        yield from ((("request", "set", name), name) for name, _ in edits.set)
        yield from ((("request", "add", name), name) for name, _ in edits.add)

    def explain(self, exchange: IExchange) -> str:
        """The changes of the answer; those of the request are shown by making them."""
        edits = self.spec.response
        parts = [
            *(f"remove {name}" for name in edits.remove),
            *(f"rename {old} to {new}" for old, new in edits.rename),
            *(f"set {name}" for name, _ in edits.set),
            *(f"add {name}" for name, _ in edits.add),
        ]
        return f"on the answer: {', '.join(parts)}" if parts else ""


kind = FilterKind("headers", HeadersSpec, Headers)
