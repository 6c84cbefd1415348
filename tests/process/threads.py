"""
A reactor that the test turns, which also takes what threads hand back.
"""

import queue
import time

from twisted.internet.testing import MemoryReactorClock

PATIENCE = 30.0


class Turning(MemoryReactorClock):
    """Clock and connections in memory; what is called from threads is called when the test turns it."""

    def __init__(self):
        super().__init__()
        self._handed = queue.SimpleQueue()

    def callFromThread(self, function, *arguments, **named):
        self._handed.put((function, arguments, named))

    def turn(self, seconds=0.0):
        """Once: what is due, and what has been handed back."""
        self.advance(seconds)
        while not self._handed.empty():
            function, arguments, named = self._handed.get()
            function(*arguments, **named)

    def until(self, what, seconds=0.0):
        """Turn, ``seconds`` at a time, until ``what()`` is true."""
        end = time.monotonic() + PATIENCE
        while not what():
            assert time.monotonic() < end
            self.turn(seconds)
            time.sleep(0.001)
