"""
Live things that outlive plans: found by the value of their spec, started when a plan takes effect, retired when none claims
them.

In order: `register` how to make each type of thing; compile a plan, which claims through `Claims`; swap the plan in;
`settle` with what it claimed. A plan that failed to compile leaves things behind that never started: the next `settle`
(with the claims of the plan that stays) forgets them. At the end, `close`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Hashable, Iterable, Iterator
from typing import Any, TypeVar, cast

from twisted.internet.defer import Deferred, DeferredList
from twisted.logger import Logger
from zope.interface import implementer

from suuupra_gateway.interfaces import IResidents, Resident

S = TypeVar("S", bound=Hashable)

_Key = tuple[type, Hashable]


class _Held:
    """A resident and whether it was started. Lives until it is retired."""

    __slots__ = ("thing", "started")

    def __init__(self, thing: Resident) -> None:
        self.thing = thing
        self.started = False


@implementer(IResidents)
class Residents:
    """The residents of one process. Lives as long as that."""

    log = Logger()

    def __init__(self) -> None:
        self._makers: dict[type, Callable[[Any], Resident]] = {}
        self._held: dict[_Key, _Held] = {}
        self._retiring: set[Deferred[None]] = set()

    def register(self, spec_type: type[S], make: Callable[[S], Resident]) -> None:
        """
        Say how things for specs of exactly ``spec_type`` are made.

        :param make: called at the first claim; must open nothing (`Resident.start` does).
        """
        self._makers[spec_type] = make

    def claim(self, spec: Hashable) -> Resident:
        """
        The thing for ``spec``, made now if no equal spec has one.

        :raises LookupError: nobody registered its type.
        """
        key = (type(spec), spec)
        held = self._held.get(key)
        if held is None:
            make = self._makers.get(type(spec))
            if make is None:
                raise LookupError(f"nothing in this process can be claimed for a {type(spec).__name__}")
            held = self._held[key] = _Held(make(spec))
        return held.thing

    def settle(self, claims: Iterable[Hashable]) -> None:
        """
        A plan with these claims is in effect: start what is new, retire what none of them names.

        What is retired is forgotten at once, so that a later claim gets a new thing, though the old one may be busy yet.
        """
        wanted = {(type(spec), spec) for spec in claims}
        for key in [key for key in self._held if key not in wanted]:
            held = self._held.pop(key)
            if held.started:
                self._retire(held.thing)
        for held in self._held.values():
            if not held.started:
                held.started = True
                try:
                    held.thing.start()
                except Exception:
                    self.log.failure("{resident!r} failed to start", resident=held.thing)

    def _retire(self, thing: Resident) -> None:
        try:
            pending = thing.retire()
        except Exception:
            self.log.failure("{resident!r} failed to retire", resident=thing)
            return
        if pending is None:
            return
        retired: Deferred[None] = Deferred.fromCoroutine(_wait(pending))
        self._retiring.add(retired)

        def over(result: object) -> None:
            self._retiring.discard(retired)

        retired.addErrback(lambda failure: self.log.failure("{resident!r} failed to retire", failure, resident=thing))
        retired.addBoth(over)

    def samples(self) -> Iterator[Any]:
        """What those residents publish that have ``samples``: `tally.Sample`, for metrics."""
        for held in self._held.values():
            publish = getattr(held.thing, "samples", None)
            if held.started and publish is not None:
                yield from publish()

    def close(self) -> Deferred[None]:
        """Retire everything; fires when all that ever was retired is done. Never fails."""
        self.settle(())
        # Copies: what happens to the result of a wait must not become what the retirement itself ends with.
        done = cast("Deferred[object]", DeferredList([_echo(retired) for retired in self._retiring]))
        return done.addCallback(lambda _: None)


@implementer(IResidents)
class Claims:
    """Residents as one plan sees them: hands claims on and remembers them. Lives while the plan is compiled."""

    __slots__ = ("_residents", "_specs")

    def __init__(self, residents: IResidents) -> None:
        self._residents = residents
        self._specs: dict[_Key, Hashable] = {}

    def claim(self, spec: Hashable) -> Any:
        """As `Residents.claim`."""
        self._specs[type(spec), spec] = spec
        return self._residents.claim(spec)

    @property
    def specs(self) -> tuple[Hashable, ...]:
        """What was claimed, in order of the first claim, each once."""
        return tuple(self._specs.values())


async def _wait(pending: Awaitable[None]) -> None:
    await pending


def _echo(original: Deferred[None]) -> Deferred[None]:
    copy: Deferred[None] = Deferred()

    def fire(result: None) -> None:
        copy.callback(None)

    original.addCallback(fire)
    return copy
