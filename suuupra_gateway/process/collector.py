"""
Keeping the garbage collector out of the way of requests.

A full collection stops a worker for as long as it has objects: 60 to 120 ms with the imports alone, 650 ms with a plan of ten
thousand routes (measured on CPython 3.11, about half a microsecond per object). What a worker holds between requests is
there to stay, plans contain no cycles, and requests are freed by their reference counts. So whatever lives when a plan takes
effect is moved out of the collector's sight, which costs nothing and leaves nothing to scan; while a plan is compiled the
collector rests, which also halves the time that takes; and else it runs on a few thousand new objects at a time.
"""

from __future__ import annotations

import gc

YOUNG = 5_000
"""Objects, born less died, after which the young ones are looked at: 2.5 ms of work at most."""


class Collector:
    """The collector of a process that serves nothing else. Each `rest` is followed by `settle` or `resume`."""

    def begin(self) -> None:
        """The process has been imported and does not serve yet."""
        gc.collect()
        gc.freeze()
        gc.set_threshold(YOUNG, 20, 100)

    def rest(self) -> None:
        """A plan is about to be compiled."""
        gc.disable()

    def settle(self) -> None:
        """The plan took effect."""
        gc.freeze()
        gc.enable()

    def resume(self) -> None:
        """The plan was given up."""
        gc.enable()


class Untouched(Collector):
    """Leaves the collector alone: for a process that is not ours to tune, such as one that serves from its supervisor."""

    def begin(self) -> None:
        """Nothing."""

    def rest(self) -> None:
        """Nothing."""

    def settle(self) -> None:
        """Nothing."""

    def resume(self) -> None:
        """Nothing."""
