"""
What an authenticating filter would say without asking anybody: for ``explain`` and route tests.
"""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import attrs

from suuupra_gateway.auth.principal import Principal
from suuupra_gateway.hooks import Verdict
from suuupra_gateway.interfaces import IExchange


@attrs.frozen
class Rehearsal:
    """How a request would fare at an authenticating filter."""

    verdict: Verdict
    """As its ``request`` would return; None too while that depends on `asks`."""

    says: str
    """What was found of each credential, and why; no credential itself."""

    asks: str = ""
    """Who would have to be asked; empty if nobody."""


@runtime_checkable
class Rehearsing(Protocol):
    """A filter that can be rehearsed."""

    name: str

    def rehearse(self, exchange: IExchange, principal: Principal | None) -> Rehearsal:
        """
        Do to ``exchange`` what ``request`` would do, without I/O, counting and waiting.

        :param principal: who is to be taken for the caller, whatever the head says; None to go by the head.
        """
