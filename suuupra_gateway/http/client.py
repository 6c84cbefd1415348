"""
The client at the other end of a connection: who it is, whether we listen to it, and how we part in good order.
"""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, Any, Final

from twisted.internet.interfaces import ISSLTransport
from twisted.logger import Logger

from suuupra_gateway.http.intake import Intake
from suuupra_gateway.net.networks import normal

if TYPE_CHECKING:
    from suuupra_gateway.http.site import GatewaySite

HEADS: Final = 0
"""Between requests, or in a head."""

BUSY: Final = 1
"""An exchange is at hand."""

DRAINING: Final = 2
"""The exchange is over, and the rest of its body is being thrown away."""

LINGERING: Final = 3
"""The exchange is over, and the client has some time to read the answer before the connection is closed."""

OVER: Final = 4
"""Closing, closed, or somebody else's."""

DRAIN_BYTES: Final = 64 * 1024
"""How much of an unwanted body is read and thrown away so that the connection can be kept."""

LINGER: Final = 1.0
"""
Seconds between an answer that came before the request's end and the closing of the connection.

Closing with bytes unread makes the kernel send a reset, at which many clients throw away the answer (RFC 9112 section 9.6).
"""

GRACE: Final = 1.0
"""Seconds that a connection in use, or fresh, gets for one more request when the gateway drains."""


class ClientConnection:
    """
    What `channel.EdgeChannel` stands on. Lives as long as the connection.

    Of the transport only these are used: ``write``, ``loseConnection``, ``abortConnection``, ``pauseProducing``,
    ``resumeProducing``, ``registerProducer``, ``unregisterProducer``, ``getPeer``.
    """

    __slots__ = (
        "site",
        "transport",
        "peer",
        "trusted",
        "secure",
        "deadline",
        "keep",
        "stalled",
        "served",
        "intake",
        "phase",
        "in_head",
        "stall_due",
        "deaf",
        "_budget",
    )

    log = Logger()

    transport: Any
    """An `ITransport` that is a consumer and a push producer too, as all of Twisted's stream transports are."""

    peer: str
    """The other end in text form; empty for UNIX sockets."""

    trusted: bool
    """Whether the peer is one of the proxies that we believe."""

    secure: bool
    """Whether the connection itself is TLS."""

    deadline: float
    """When `expired` is due."""

    keep: bool
    """Whether another request may follow the one at hand."""

    stalled: bool
    """Whether the transport holds more of the answer than it likes to."""

    stall_due: float
    """When a stalled client is given up; inf while it keeps up."""

    served: int
    """Requests so far."""

    deaf: bool
    """Whether reading is paused."""

    phase: int
    in_head: bool
    """Whether a part of a head has come."""

    def __init__(self, site: GatewaySite) -> None:
        self.site = site
        self.peer = ""
        self.trusted = self.secure = False
        self.deadline = inf
        self.keep = True
        self.stalled = False
        self.served = 0
        self.intake = Intake(site.rules)
        self.phase = HEADS
        self.in_head = False
        self.stall_due = inf
        self.deaf = False
        self._budget = 0

    def attach(self, transport: Any) -> None:
        """Learn who is there."""
        self.transport = transport
        host = getattr(transport.getPeer(), "host", None) or ""
        self.peer = normal(host) or host
        self.trusted = self.peer in self.site.trusted
        if self.trusted:
            self.intake = Intake(self.site.trusting_rules)
        self.secure = ISSLTransport.providedBy(transport)

    def mute(self) -> None:
        """Stop reading."""
        if not self.deaf:
            self.deaf = True
            self.transport.pauseProducing()

    def listen(self) -> None:
        """Read on."""
        if self.deaf:
            self.deaf = False
            self.transport.resumeProducing()

    def due(self, seconds: float) -> None:
        """Be called ``seconds`` from now unless something else is due before."""
        self.deadline = min(self.stall_due, self.site.sweep.now + seconds)

    @property
    def drainable(self) -> bool:
        """
        Whether the rest of the body could be thrown away to come to the next request.

        Not if it is long; nor if the client waits for a 100 that never comes: it may then send the body, or not.
        """
        return self.intake.left <= DRAIN_BYTES and not self.intake.parser.expects

    # -- parting ----------------------------------------------------------------------------------------------------

    def drain(self) -> bool:
        """
        Begin to throw the rest of a body away, if it is short enough to be worth it; else linger.

        :return: whether `discard` is to be called.
        """
        if not self.drainable:
            self.linger()
            return False
        self.phase = DRAINING
        self._budget = DRAIN_BYTES
        self.due(self.site.timeouts.body)
        self.listen()
        return True

    def discard(self, size: int) -> bool:
        """
        Throw away what has come, ``size`` bytes of it new.

        :return: whether the body is over and another head may follow.
        """
        intake = self.intake
        self._budget -= size
        if intake.open:
            intake.body()
        if intake.open:
            if self._budget < 0:
                self.linger()
            return False
        return True

    def linger(self) -> None:
        """Give the client time to read the answer, without reading more from it."""
        self.phase = LINGERING
        self.mute()
        self.due(LINGER)

    def lose(self) -> None:
        """Close once all is sent, or the client has had the time for it."""
        self.phase = OVER
        self.deadline = self.site.sweep.now + self.site.timeouts.write
        # With a producer, TLS and full transports would wait for it to finish.
        self.transport.unregisterProducer()
        self.transport.loseConnection()

    def drop(self) -> None:
        """Close at once and, over TCP, with a reset, so that nobody takes what was sent for a whole message."""
        self.phase = OVER
        self.deadline = inf
        self.transport.abortConnection()

    def leave(self) -> None:
        """The gateway drains: go as soon as that loses nothing. Answers that begin from now on say that they are the last."""
        now = self.site.sweep.now
        if self.phase == HEADS and not self.in_head:
            # One that was busy a moment ago may have a request on its way; closing now would lose it without a trace.
            if self.served and self.deadline - self.site.idle < now - GRACE:
                self.lose()
            else:
                self.deadline = min(self.deadline, now + GRACE)
