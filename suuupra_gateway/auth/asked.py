"""
Somebody who is asked over HTTP and whose decisions are remembered: what introspection and forward-auth have in common.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator

from suuupra_gateway.auth.decisions import Decision, Decisions
from suuupra_gateway.auth.fetch import Fetch
from suuupra_gateway.auth.principal import Principal, Refused
from suuupra_gateway.auth.revocations import Revocations
from suuupra_gateway.auth.shared import Shared
from suuupra_gateway.config.model import CacheSpec
from suuupra_gateway.http.message import Reply
from suuupra_gateway.tally import Sample


class Asked:
    """The life of one, as a `Resident`."""

    def __init__(
        self,
        name: str,
        cache: CacheSpec,
        fetch: Fetch,
        shared: Shared | None,
        revocations: Revocations,
        *,
        decode: Callable[[Decision], Principal | Refused | Reply],
        meaning: str,
        wall: Callable[[], float],
        monotonic: Callable[[], float],
    ) -> None:
        """
        :param fetch: asks; closed when this is retired.
        :param shared: what all workers know.
        :param decode: see `Decisions`, as the rest.
        """
        self._fetch = fetch
        self._revocations = revocations
        self._wall = wall
        self._decisions: Decisions[Principal | Refused | Reply] = Decisions(
            name, cache, shared, decode=decode, meaning=meaning, wall=wall, monotonic=monotonic
        )
        self._end: Callable[[], None] | None = None

    def start(self) -> None:
        """See `Resident`."""
        self._end = self._revocations.subscribe(self._decisions.revoke)

    def retire(self) -> Awaitable[None]:
        """See `Resident`."""
        if self._end is not None:
            self._end()
        return self._fetch.close()

    def samples(self) -> Iterator[Sample]:
        """For metrics."""
        return self._decisions.samples()
