"""
For the tests of those who write filters or configurations: one filter, or a whole gateway, in memory.

One filter::

    def test_the_pass_opens_the_door():
        exchange = request("GET /", headers={"X-Maintenance-Pass": "1"})
        assert run_filter(maintenance.kind, exchange, {"retry-after": "10m"}) is None

A whole configuration, with upstreams that answer at once::

    def test_users_are_found():
        gateway = Gateway(Path("gateway.yaml"), upstreams={"users": lambda seen: Answer(200, body=b"{}")})
        answer = gateway.ask("GET /v1/users/7", headers={"Host": "api.example.org"})
        assert (answer.status, gateway.seen[-1].path) == (200, b"/users/7")

Nothing here opens a connection, reads a clock or needs a reactor. What filters wait for is theirs to fire: an answer that
does not come is told by `Gateway.ask` with an `AssertionError`; `Gateway.begin` gives the exchange before its end.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import attrs
from twisted.internet.defer import Deferred
from twisted.web.resource import Resource

from suuupra_gateway.config.source import Document, load
from suuupra_gateway.errors import GatewayError
from suuupra_gateway.filters.base import Filter, FilterKind
from suuupra_gateway.hooks import Verdict, run, run_response
from suuupra_gateway.http.message import Pairs, Reply, ResponseHead
from suuupra_gateway.http.rules import HeadRules
from suuupra_gateway.interfaces import BodySink, IExchange, IResidents, Transform
from suuupra_gateway.memory import MemoryBody, MemoryExchange, Probe
from suuupra_gateway.residents import Residents
from suuupra_gateway.routing.resource import GatewayResource
from suuupra_gateway.trace import examine
from suuupra_gateway.walk import rules_of

__all__ = [
    "Answer",
    "Gateway",
    "MemoryBody",
    "MemoryExchange",
    "Seen",
    "make_filter",
    "request",
    "run_filter",
    "run_response_filter",
]


def request(
    line: str = "GET /",
    *,
    headers: Mapping[str, str] | tuple[tuple[str, str], ...] = (),
    body: bytes | None = None,
    client: str = "192.0.2.1",
    rules: HeadRules | None = None,
) -> MemoryExchange:
    """
    A request as the edge would have parsed it.

    :param line: method and URL; ``GET http://host/path``, or ``GET /path`` for localhost or the ``Host`` given.
    :param body: all of it; ``Content-Length`` is added. None for no body.
    :raises GatewayError: the edge would have refused it.
    """
    method, _, url = line.partition(" ")
    fields = tuple(headers.items()) if isinstance(headers, Mapping) else headers
    if body is not None:
        fields = (*fields, ("Content-Length", str(len(body))))
    probe = Probe(method, url, fields, client)
    coming = MemoryBody(body or b"", declared=len(body) if body is not None else None)
    coming.end()
    return MemoryExchange(probe.head(rules or HeadRules()), client=client, secure=probe.secure, body=coming)


def make_filter(
    kind: FilterKind, settings: Mapping[str, Any] | str | None = None, residents: IResidents | None = None
) -> Filter[Any]:
    """
    The filter that a configuration makes.

    :param settings: what stands below the filter's name in a file.
    :param residents: where it claims live things from; by default it has none to claim.
    :raises pydantic.ValidationError: the settings mean nothing.
    """
    spec = kind.spec.model_validate(settings if settings is not None else {}, by_alias=True, by_name=False)
    made: Filter[Any] = kind.filter(spec, residents if residents is not None else Residents())
    made.name = kind.name
    if made.wants_slot:
        made.slot = 0
    return made


def run_filter(
    kind: FilterKind, exchange: MemoryExchange, settings: Mapping[str, Any] | str | None = None
) -> Verdict | Deferred[Verdict]:
    """
    What the filter's request hook says to ``exchange``, as the gateway would take it: an exception is a 500 reply.

    :return: None, a `Reply`, or a Deferred of these if the filter waits.
    """
    made = make_filter(kind, settings)
    exchange.slots = [None] if made.wants_slot else []
    return run(iter([made.request]), exchange)


def run_response_filter(
    kind: FilterKind, exchange: MemoryExchange, head: ResponseHead, settings: Mapping[str, Any] | str | None = None
) -> Verdict | Deferred[Verdict]:
    """As `run_filter`, for the hook that sees the head of an upstream's answer."""
    return run_response(iter([make_filter(kind, settings).response]), exchange, head)


@attrs.frozen
class Answer:
    """What an upstream answers, or what a client gets."""

    status: int = 200
    headers: tuple[tuple[bytes, bytes], ...] = ()
    """Names in lower case."""

    body: bytes = b""
    error: GatewayError | None = None
    """Why the gateway broke the answer off; None for a whole one, of whatever status."""

    def get(self, name: bytes) -> bytes | None:
        """The first value of header ``name`` (lower-case), or None."""
        return next((value for key, value in self.headers if key == name), None)


@attrs.frozen
class Seen:
    """What an upstream gets to see."""

    upstream: str
    method: bytes
    path: bytes
    query: bytes | None
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes

    def get(self, name: bytes) -> bytes | None:
        """The first value of header ``name`` (lower-case), or None."""
        return next((value for key, value in self.headers if key == name), None)


class Gateway:
    """
    A configuration compiled as for serving, whose upstreams are functions. Lives as long as a test.

    Routing, filters in both directions, targets and header hygiene are the real ones; only what happens between the gateway
    and an upstream (peers, retries, timeouts) is left out.
    """

    seen: list[Seen]
    """What upstreams were asked, in order."""

    def __init__(
        self,
        configuration: Path | str | Mapping[str, Any],
        *,
        upstreams: Mapping[str, Callable[[Seen], Answer]] | None = None,
    ) -> None:
        """
        :param configuration: a file, YAML, or a tree of plain values. A listener is added if it has none.
        :param upstreams: what upstreams answer, by name; those that are not here answer 200 with an empty body.
        :raises ConfigErrors: with everything that is wrong, failing route tests included.
        """
        self.seen = []
        self._upstreams = upstreams or {}
        self.plan = examine(_document(configuration))
        for route in self.plan.routes.values():
            if route.spec.target.proxy is not None:
                route.target = _AnsweringUpstream(route.target, self._answer)
        self._resource = GatewayResource(self.plan)

    def begin(
        self,
        line: str = "GET /",
        *,
        headers: Mapping[str, str] | tuple[tuple[str, str], ...] = (),
        body: bytes | None = None,
        client: str = "192.0.2.1",
    ) -> MemoryExchange:
        """
        Let the gateway have a request; the exchange, which may not have ended yet.

        :raises GatewayError: the edge would have refused the request before any route saw it.
        """
        exchange = request(line, headers=headers, body=body, client=client, rules=rules_of(self.plan.config, client))
        exchange.body.limit = self.plan.config.listeners[0].limits.body
        self._resource.render(exchange)
        return exchange

    def ask(
        self,
        line: str = "GET /",
        *,
        headers: Mapping[str, str] | tuple[tuple[str, str], ...] = (),
        body: bytes | None = None,
        client: str = "192.0.2.1",
    ) -> Answer:
        """What the client gets. An `AssertionError` if a filter still waits for something."""
        exchange = self.begin(line, headers=headers, body=body, client=client)
        if not exchange.settled:
            raise AssertionError(f"no answer to {line}: a filter waits")
        return answer_of(exchange)

    def _answer(self, seen: Seen) -> Answer:
        self.seen.append(seen)
        answering = self._upstreams.get(seen.upstream)
        return answering(seen) if answering is not None else Answer()


def answer_of(exchange: MemoryExchange) -> Answer:
    """What the client of a settled exchange got."""
    if exchange.answer is None:
        raise AssertionError("there is no answer: the client left first")
    error = exchange.outcome.error if exchange.broken else None
    return Answer(exchange.answer.status, tuple(exchange.answer.headers), exchange.sent, error)


def _document(configuration: Path | str | Mapping[str, Any]) -> Document:
    if isinstance(configuration, Path):
        document = load(configuration)
    elif isinstance(configuration, str):
        with TemporaryDirectory() as directory:
            file = Path(directory) / "gateway.yaml"
            file.write_text(configuration, encoding="utf-8")
            document = load(file)
    else:
        document = Document.from_tree(dict(configuration))
    document.tree.setdefault("listeners", [{"name": "memory", "address": "127.0.0.1:0"}])
    return document


class _AnsweringUpstream(Resource):
    """In place of a proxy target: asks a function. Lives as long as the gateway of the test."""

    isLeaf = True

    def __init__(self, proxy: Any, answer: Callable[[Seen], Answer]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # twisted is not typed here
        self._proxy = proxy
        self._answer = answer

    def render(self, exchange: IExchange) -> None:  # targets render exchanges
        """Read the body, ask, run the response hooks, answer."""
        head = exchange.head
        fields = tuple(self._proxy.preview(exchange))
        upstream = self._proxy.choose(exchange).name

        def asked(body: bytes) -> None:
            self._asked(exchange, Seen(upstream, head.method, head.path, head.query, fields, body))

        def failed(error: GatewayError) -> None:
            exchange.abort(error)

        try:
            exchange.body.subscribe(_Reading(asked, failed))
        except GatewayError as error:
            failed(error)

    def _asked(self, exchange: IExchange, seen: Seen) -> None:
        answer = self._answer(seen)
        exchange.outcome.source = "upstream"
        exchange.outcome.upstream = seen.upstream
        head = ResponseHead(answer.status, list(answer.headers), length=len(answer.body))
        assert exchange.route is not None
        verdict = run_response(iter(exchange.route.response_hooks), exchange, head)
        if verdict is None or isinstance(verdict, Reply):
            self._conclude(exchange, verdict, head, answer)
        else:
            verdict.addCallback(lambda verdict: self._conclude(exchange, verdict, head, answer))

    def _conclude(self, exchange: IExchange, verdict: Verdict, head: ResponseHead, answer: Answer) -> None:
        if verdict is not None:
            exchange.respond(verdict)
            return
        assert exchange.route is not None
        found = [transform(exchange, head) for transform in exchange.route.transform_hooks]
        body = _transformed(answer.body, [transform for transform in found if transform is not None])
        exchange.start(head)
        if body:
            exchange.write(body)
        exchange.finish()


def _transformed(body: bytes, transforms: list[Transform]) -> bytes:
    for transform in transforms:
        body = transform.feed(body) + transform.finish()
    return body


class _Reading(BodySink):
    """Gathers a body."""

    def __init__(self, whole: Callable[[bytes], None], failed: Callable[[GatewayError], None]) -> None:
        self._whole = whole
        self._failed = failed
        self._pieces: list[bytes] = []

    def feed(self, data: bytes) -> None:
        self._pieces.append(data)

    def end(self, trailers: Pairs) -> None:
        self._whole(b"".join(self._pieces))

    def cut(self, error: GatewayError) -> None:
        self._failed(error)
