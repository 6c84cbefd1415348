"""
What supervisor and worker say to each other: AMP commands over a socket pair.

In order: the worker says `Hello`; the supervisor answers with `Prepare` and `Commit`, upon which the worker begins to
accept, and again at each reload, or `Discard`; in between it asks for `Ping` and `Snapshot`; and at last `Drain`, upon which
the worker finishes what it has, says `Farewell` and goes. From `Hello` on, `Post`, `Retract`, `Event`, `Ask` and `Tell` carry
what the board knows (`process.board`); what is known already goes before the first `Prepare`. If either end closes the
connection the other half is dead: a worker then drains and goes by itself, a supervisor replaces the worker.

A worker may run newer code than its supervisor (it is started from what is installed *now*), so `Hello` carries the version
of this protocol. Raise it with every change that the other side must know of.
"""

from __future__ import annotations

from typing import ClassVar

from twisted.internet.interfaces import ITransport
from twisted.internet.protocol import connectionDone
from twisted.protocols import amp
from twisted.python.failure import Failure

VERSION = 2
"""Of this protocol, not of the gateway."""

_LONGEST = 8000


class PlanRefused(Exception):
    """A worker cannot take a plan. The message has one problem per line."""

    def __init__(self, why: str) -> None:
        # AMP values end at 65 535 bytes; nobody reads the ten thousandth line.
        super().__init__(why if len(why) <= _LONGEST else why[:_LONGEST].rpartition("\n")[0] + "\n…")


class VersionMismatch(Exception):
    """Supervisor and worker speak different versions of this protocol: the whole service must be restarted."""


class CannotServe(Exception):
    """A worker cannot accept connections."""


class Unanswered(Exception):
    """A question of a worker has no answer."""


class Hello(amp.Command):
    """Worker to supervisor, first of all: I run and can take a plan."""

    arguments: ClassVar = [(b"version", amp.Integer()), (b"slot", amp.Integer()), (b"release", amp.Unicode())]
    response: ClassVar = []
    errors: ClassVar = {VersionMismatch: b"VERSION"}


class Prepare(amp.Command):
    """Decode, compile and test a plan beside the one that serves; change nothing."""

    arguments: ClassVar = [(b"generation", amp.Integer()), (b"digest", amp.Unicode()), (b"path", amp.Unicode())]
    response: ClassVar = []
    errors: ClassVar = {PlanRefused: b"REFUSED"}


class Commit(amp.Command):
    """Serve by the plan prepared last. The first one opens the listeners."""

    arguments: ClassVar = [(b"generation", amp.Integer())]
    response: ClassVar = []
    errors: ClassVar = {PlanRefused: b"REFUSED", CannotServe: b"CANNOT-SERVE"}


class Discard(amp.Command):
    """Forget the plan prepared last."""

    arguments: ClassVar = [(b"generation", amp.Integer())]
    response: ClassVar = []


class Ping(amp.Command):
    """Are you there?"""

    arguments: ClassVar = []
    response: ClassVar = [(b"generation", amp.Integer()), (b"connections", amp.Integer()), (b"lag", amp.Float())]


class Snapshot(amp.Command):
    """Write your tally to the memory that we share, from its beginning, and say how many bytes it has."""

    arguments: ClassVar = []
    response: ClassVar = [(b"length", amp.Integer())]


class Adopt(amp.Command):
    """Accept on the sockets of another slot too: its worker is down."""

    arguments: ClassVar = [(b"slot", amp.Integer())]
    response: ClassVar = []
    errors: ClassVar = {CannotServe: b"CANNOT-SERVE"}


class Release(amp.Command):
    """Accept on the sockets of another slot no longer: its worker is back."""

    arguments: ClassVar = [(b"slot", amp.Integer())]
    response: ClassVar = []


class Reopen(amp.Command):
    """Open log files anew: they have been moved away."""

    arguments: ClassVar = []
    response: ClassVar = []


class Drain(amp.Command):
    """Accept nothing new, finish what is there within so many seconds, and go. Again with less to hurry."""

    arguments: ClassVar = [(b"grace", amp.Float())]
    response: ClassVar = []


class Post(amp.Command):
    """Supervisor to worker: a piece of a value of the board; see `process.board`."""

    arguments: ClassVar = [
        (b"topic", amp.Unicode()),
        (b"number", amp.Integer()),
        (b"last", amp.Boolean()),
        (b"piece", amp.String()),
    ]
    response: ClassVar = []


class Retract(amp.Command):
    """Supervisor to worker: a topic of the board is no more."""

    arguments: ClassVar = [(b"topic", amp.Unicode())]
    response: ClassVar = []


class Event(amp.Command):
    """Supervisor to worker: something happened."""

    arguments: ClassVar = [(b"topic", amp.Unicode()), (b"event", amp.String())]
    response: ClassVar = []


class Ask(amp.Command):
    """Worker to supervisor: a question."""

    arguments: ClassVar = [(b"topic", amp.Unicode()), (b"question", amp.String())]
    response: ClassVar = [(b"answer", amp.String())]
    errors: ClassVar = {Unanswered: b"UNANSWERED"}


class Tell(amp.Command):
    """Worker to supervisor: something happened."""

    arguments: ClassVar = [(b"topic", amp.Unicode()), (b"event", amp.String())]
    response: ClassVar = []


class Farewell(amp.Command):
    """Worker to supervisor, last of all: my final tally is in the memory that we share."""

    arguments: ClassVar = [(b"length", amp.Integer())]
    response: ClassVar = []


class End(amp.AMP):
    """Either end of the control connection; without the two log lines that AMP writes for each."""

    def makeConnection(self, transport: ITransport) -> None:
        amp.BinaryBoxProtocol.makeConnection(self, transport)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        amp.BinaryBoxProtocol.connectionLost(self, reason)
        self.transport = None
