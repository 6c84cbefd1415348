"""
The seams of the gateway, as `zope.interface` interfaces.

Filters and targets know a request only as `IExchange`, and live things only through the `IResidents` they are handed.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Hashable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from zope.interface import Attribute, Interface

if TYPE_CHECKING:
    from twisted.internet.defer import Deferred
    from twisted.internet.interfaces import ITransport

    from suuupra_gateway.auth.issuing import Issuing
    from suuupra_gateway.auth.principal import Cached, Principal, Refused, Undecided
    from suuupra_gateway.errors import GatewayError
    from suuupra_gateway.http.message import Reply, RequestHead, ResponseHead
    from suuupra_gateway.http.outcome import Outcome

    Answer = Principal | Cached | Refused | Undecided | Reply | None
    """What a credential can answer; see `auth.principal`."""


class BodySink(Protocol):
    """What receives the body of a request, in this order: ``feed*``, then exactly one of ``end`` or ``cut``."""

    def feed(self, data: bytes) -> None:
        """A piece of the body, never empty."""

    def end(self, trailers: list[tuple[bytes, bytes]]) -> None:
        """The body is complete. Trailers never mix with header fields (RFC 9110 section 6.5)."""

    def cut(self, error: GatewayError) -> None:
        """The body will never be complete: the client left, sent too much, too slowly, or nonsense."""


class IBody(Interface):
    """The body of a request. Nothing is read ahead of a subscriber beyond one transport read."""

    limit: int = Attribute("Most bytes that may come; filters may change it before anybody subscribes.")
    received: int = Attribute("Bytes delivered so far.")
    complete: bool = Attribute("Whether the last byte has been received.")

    def subscribe(sink: BodySink) -> None:
        """
        Deliver the body to ``sink``, starting now (what is buffered at once, in this call).

        A ``100 (Continue)`` is sent here if the client waits for one (RFC 9110 section 10.1.1).

        :raises BodyTooLarge: at once, when the declared length exceeds `limit`.
        """

    def pause() -> None:
        """Stop delivery and reading (back-pressure). Idempotent."""

    def resume() -> None:
        """Go on. Idempotent."""

    def collect(limit: int) -> Deferred[bytes]:
        """
        The whole body, for those who must see it at once.

        Errback `BodyTooLarge` past ``limit`` bytes, `ClientGone`, `RequestTimeout` or `BadRequest` if it is cut.
        """


class IRoute(Protocol):
    """What the layers below routing may know of the route that an exchange is pinned to."""

    name: str
    request_hooks: Sequence[Callable[[IExchange], Any]]
    response_hooks: Sequence[Callable[[IExchange, ResponseHead], Any]]
    transform_hooks: Sequence[Callable[[IExchange, ResponseHead], Transform | None]]
    reply_hooks: Sequence[Callable[[IExchange, ResponseHead], None]]
    done_hooks: Sequence[Callable[[IExchange], None]]


class IExchange(Interface):
    """One request and its response. Lives from the request's head to the last byte of the answer."""

    head: RequestHead = Attribute("The request's head; filters may edit it.")
    client: str = Attribute("Address of the client in text form, trusted proxies already taken away; unix: is ''.")
    peer: str = Attribute("Address of the socket's other end in text form.")
    secure: bool = Attribute("Whether the client spoke TLS (to us, or to a trusted proxy that says so).")
    id: bytes = Attribute("Request id, [A-Za-z0-9_-]{1,64}.")
    arrived: float = Attribute("time.monotonic() when the head was complete.")
    deadline: float = Attribute("time.monotonic() after which the exchange is abandoned; inf for never.")
    route: IRoute | None = Attribute("The RouteResource that was matched, or None.")
    principal: Principal | None = Attribute("Who is calling; None before that is known, and on public routes.")
    certificate: bytes | None = Attribute("The client's certificate in DER if TLS has verified one; None otherwise.")
    body: IBody = Attribute("The request's body; `head.has_body` tells whether there is one.")
    outcome: Outcome = Attribute("What is known so far for log and metrics.")
    slots: list[object] = Attribute("One place per filter that asked the plan for it.")

    def respond(reply: Reply) -> None:
        """Answer with a complete reply of our own. A rest of the request's body is drained or the connection closed."""

    def start(head: ResponseHead) -> None:
        """Begin the answer. The bytes may be held until the first `write` or `finish`."""

    def write(data: bytes) -> None:
        """Send a piece of the answer's body; silently dropped for HEAD, 204 and 304."""

    def finish(trailers: list[tuple[bytes, bytes]] | None = None) -> None:
        """The answer is complete. Too few bytes for the announced length abort the connection instead."""

    def abort(error: GatewayError) -> None:
        """End the exchange with an error: a reply if nothing was sent yet, else the connection is cut so that all see it."""

    def register(producer: object) -> None:
        """Let ``producer`` (``pauseProducing``, ``resumeProducing``, ``stopProducing``) follow the client's pace."""

    def on_gone(callback: object) -> None:
        """Call ``callback(error)`` if the client leaves before `finish`; at most one callback, None to take it away."""

    def detach() -> tuple[ITransport, bytes]:
        """
        Hand over the connection: the transport (nobody reading it, paused) and the bytes already read beyond the head.

        The exchange is over for log and metrics only when its new owner calls ``outcome``'s owner `settle`.
        """

    def settle() -> None:
        """Run done-hooks and accounting now. Called by the exchange itself, and by whoever called `detach`."""


class Transform(Protocol):
    """A codec on the body of a response."""

    def feed(self, data: bytes) -> bytes:
        """Zero or more bytes out for some bytes in."""

    def finish(self) -> bytes:
        """What is left."""


class IResidents(Interface):
    """Live things that outlive plans, found by the value of their spec."""

    def claim(spec: Hashable) -> object:
        """
        The live thing for ``spec``, made on the first claim. Same (equal) spec, same thing, over all plans.

        It opens no connection before `settle`; it is retired when no plan claims it any more and it is idle.
        """


class Resident(Protocol):
    """What residents keep. Both methods are called by them only."""

    def start(self) -> None:
        """Called once, after the plan that first claimed it took effect."""

    def retire(self) -> Awaitable[None] | None:
        """No plan claims it any more: finish what is in flight, take nothing new, give everything back."""


class Credential(Protocol):
    """One way of proving who one is, as a route asks for it. Lives as long as its plan; what is remembered lives elsewhere."""

    kind: str
    """Its key in configuration files: ``jwt``, ``api-key``, …"""

    provider: str
    """Name of who vouches, for metrics; empty if that is us."""

    challenge: bytes
    """What `WWW-Authenticate` says of it on a 401, without error parameters (RFC 9110 section 11.6.1); empty for nothing."""

    def check(self, exchange: IExchange) -> Answer | Awaitable[Answer]:
        """
        What this request's credential is worth. Has no effect on the exchange.

        Synchronous whenever nobody has to be asked. Raises nothing but bugs; never blocks.
        """

    def conceal(self, head: RequestHead) -> None:
        """Take what it reads out of the head, before upstreams see it. Idempotent."""

    def presented(self, head: RequestHead) -> bool:
        """Whether the head holds anything that it would read; for ``explain``."""


class Board(Protocol):
    """
    What the supervisor knows and all workers should, as seen by one worker.

    A topic is a short text such as ``provider:suuupra:1f2e``. *Values* stay: whoever watches a topic learns the latest one,
    also after a restart. *Events* pass: only who listens hears them. Both are bytes, of at most 4 MiB and 8 KiB. All callbacks
    are called from the reactor; one that raises is logged.
    """

    def watch(self, topic: str, callback: Callable[[bytes], None]) -> Callable[[], None]:
        """Call back with the value of ``topic``, now if there is one and at each change. Call what is returned to end it."""

    def listen(self, topic: str, callback: Callable[[bytes], None]) -> Callable[[], None]:
        """Call back with each event of ``topic``. Call what is returned to end it."""

    def ask(self, topic: str, question: bytes) -> Deferred[bytes]:
        """Ask the supervisor. Errback `NoAnswer` if it cannot be asked, does not know the topic, or takes over 10 seconds."""

    def tell(self, topic: str, event: bytes) -> None:
        """Let the supervisor, and through it all workers (this one too), hear an event. Best effort."""


class NoAnswer(Exception):
    """The supervisor did not answer; the message says why."""


class IControl(Interface):
    """What the admin listener may ask of the supervisor."""

    def plan() -> dict[str, object]:
        """Generation, digest, age, and the effective configuration with secrets masked."""

    def workers() -> list[dict[str, object]]:
        """One entry per worker: slot, pid, state, generation, started, restarts, last answer."""

    def snapshots() -> Deferred[list[bytes]]:
        """A fresh tally of every live worker plus what dead ones left behind (`tally.Snapshot`, encoded)."""

    def healthy() -> bool:
        """Whether the supervisor itself works."""

    def ready() -> tuple[bool, str]:
        """Whether at least one worker serves a plan, and if not, why."""

    def reload(reason: str) -> Deferred[None]:
        """Load the configuration file again. Errback `ConfigErrors`, or `ReloadFailed` if a worker refused."""

    def issuing() -> Issuing | None:
        """Who makes and ends API keys; None if the configuration has none. Good for one request: reloads change it."""

    def revoke(tags: Sequence[str]) -> Deferred[bool]:
        """
        Take back what was decided and issued under ``tags`` (see `auth.revocations`).

        Fires when all of this host have been told, with whether those of other hosts are: there is a store. Errback
        `StoreUnavailable` if they should be and could not.
        """
