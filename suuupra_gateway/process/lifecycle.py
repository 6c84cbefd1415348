"""
The life of a worker as a machine, and when to start its successor.
"""

from __future__ import annotations

from typing import Protocol

from automat import TypeMachineBuilder


class Life(Protocol):
    """
    What happens to a worker. Any input that a state does not list raises `automat.NoTransition`.

    ========  ==============  ================  ============  ========
    state     serving         drain             lost          exited
    ========  ==============  ================  ============  ========
    Starting  Ready           Draining (end)    Draining      Gone
    Ready     -               Draining (tell)   Draining      Gone
    Draining  Draining        Draining (tell)   Draining      Gone
    Gone      -               Gone              Gone          -
    ========  ==============  ================  ============  ========
    """

    def serving(self) -> None:
        """It has committed a plan and accepts connections."""

    def drain(self, grace: float) -> None:
        """It is to finish within ``grace`` seconds and to go."""

    def lost(self) -> None:
        """Its control connection is gone; it drains by itself."""

    def exited(self, why: str) -> None:
        """Its process has ended."""


class Subject(Protocol):
    """Whose life it is: what the machine calls when a state is entered."""

    state: str
    """``starting``, ``ready``, ``draining`` or ``gone``."""

    def became_ready(self) -> None:
        """It serves from now on."""

    def tell_drain(self, grace: float) -> None:
        """Send it word."""

    def end(self) -> None:
        """It holds no connection: end it without ceremony."""

    def stopped_serving(self) -> None:
        """It has left `Ready`, for whatever reason."""

    def became_gone(self, why: str) -> None:
        """Nothing is left of it."""


_builder = TypeMachineBuilder(Life, Subject)  # type: ignore[type-abstract]  # only annotates

_starting = _builder.state("Starting")
_ready = _builder.state("Ready")
_draining = _builder.state("Draining")
_gone = _builder.state("Gone")


@_starting.upon(Life.serving).to(_ready)
def _begin(life: Life, subject: Subject) -> None:
    subject.state = "ready"
    subject.became_ready()


@_starting.upon(Life.drain).to(_draining)
def _end(life: Life, subject: Subject, grace: float) -> None:
    subject.state = "draining"
    subject.end()


@_starting.upon(Life.lost).to(_draining)
def _end_lost(life: Life, subject: Subject) -> None:
    subject.state = "draining"
    subject.end()


@_starting.upon(Life.exited).to(_gone)
@_draining.upon(Life.exited).to(_gone)
def _bury(life: Life, subject: Subject, why: str) -> None:
    subject.state = "gone"
    subject.became_gone(why)


@_ready.upon(Life.drain).to(_draining)
def _drain(life: Life, subject: Subject, grace: float) -> None:
    subject.state = "draining"
    subject.tell_drain(grace)
    subject.stopped_serving()


@_ready.upon(Life.lost).to(_draining)
def _lose(life: Life, subject: Subject) -> None:
    subject.state = "draining"
    subject.stopped_serving()


@_ready.upon(Life.exited).to(_gone)
def _die(life: Life, subject: Subject, why: str) -> None:
    subject.state = "gone"
    subject.stopped_serving()
    subject.became_gone(why)


@_draining.upon(Life.drain).loop()
def _hurry(life: Life, subject: Subject, grace: float) -> None:
    subject.tell_drain(grace)


_draining.upon(Life.serving).loop().returns(None)
_draining.upon(Life.lost).loop().returns(None)
_gone.upon(Life.drain).loop().returns(None)
_gone.upon(Life.lost).loop().returns(None)

live = _builder.build()
"""``live(subject)`` begins a life, in `Starting`."""


class Backoff:
    """How long to wait before a worker is started again: doubled each time it dies young, reset when one lived long."""

    __slots__ = ("_first", "_longest", "_next")

    def __init__(self, first: float, longest: float) -> None:
        """Seconds both."""
        self._first = first
        self._longest = longest
        self._next = first

    def pause(self, lived: float) -> float:
        """Seconds to wait after one that lived for ``lived`` seconds; longer than the longest pause is long."""
        if lived > self._longest:
            self._next = self._first
        pause = self._next
        self._next = min(self._longest, pause * 2)
        return pause
