"""
From decisions to what a credential answers.
"""

from __future__ import annotations

from collections.abc import Awaitable
from typing import TYPE_CHECKING, Final, Literal

import attrs

from suuupra_gateway.auth.decisions import Found
from suuupra_gateway.auth.principal import Cached, Principal, Refused, Undecided
from suuupra_gateway.http.message import Reply

if TYPE_CHECKING:
    from suuupra_gateway.interfaces import Answer

Stale = Literal["allow", "read-only", "never"]
"""``stale`` of a route's ``auth``."""

_SAFE: Final = (b"GET", b"HEAD")


def stale_will_do(stale: Stale, method: bytes) -> bool:
    """Whether a route takes a stale decision for a request."""
    return stale == "allow" or (stale == "read-only" and method in _SAFE)


def answer(
    found: Found[Principal | Refused | Reply] | Undecided | Awaitable[Found[Principal | Refused | Reply] | Undecided],
) -> Answer | Awaitable[Answer]:
    """What a credential answers after ``found``."""
    if isinstance(found, Found | Undecided):
        return _answer(found)
    return _later(found)


async def _later(found: Awaitable[Found[Principal | Refused | Reply] | Undecided]) -> Answer:
    return _answer(await found)


def _answer(found: Found[Principal | Refused | Reply] | Undecided) -> Answer:
    if isinstance(found, Undecided):
        return found
    made = found.made
    if found.source == "live":
        return made
    if isinstance(made, Principal):
        return Cached(made, found.source, found.age)
    return attrs.evolve(made, source=found.source) if isinstance(made, Refused) else made
