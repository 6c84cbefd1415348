"""
What can go wrong with Redis. Apart from `net.redis`, as its library reaches for the global reactor, which not everybody needs.
"""


class StoreUnavailable(Exception):
    """Redis is not there, or did not answer in time; whether the command was done is not known."""


class StoreError(Exception):
    """Redis refused a command. The message is its own."""
