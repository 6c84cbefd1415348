"""
How one of many is chosen: least request of two, smooth round robin, weighted random, rendezvous hash.

Pure: a balancer is made of its choices and their weights and is thrown away when these change. Weights are whole numbers;
whoever has none gets nothing. ``avoid`` is a wish: when all others are excluded too, it is ignored.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Collection, Sequence
from hashlib import blake2b
from itertools import accumulate
from typing import Final, Generic, Protocol, TypeVar


class Choice(Protocol):
    """What balancers choose among. Compared by identity."""

    active: int
    """Requests in flight."""


C = TypeVar("C", bound=Choice)
T = TypeVar("T")

Random = Callable[[], float]
"""`random.random` or something like it: 0.0 <= x < 1.0."""


class Balancer(Protocol[T]):
    """What all policies look like."""

    def choose(self, key: bytes, avoid: Collection[T]) -> T | None:
        """
        One of the choices, or None if there is none with a weight.

        :param key: what a hash policy hashes; the others ignore it.
        """


class WeightedRandom(Generic[T]):
    """Each with a chance of its share of the weight. Immutable but for the source of chance."""

    __slots__ = ("_choices", "_sums", "_random")

    def __init__(self, choices: Sequence[tuple[T, int]], random: Random) -> None:
        weighted = [(choice, weight) for choice, weight in choices if weight > 0]
        self._choices = [choice for choice, _ in weighted]
        self._sums = list(accumulate(weight for _, weight in weighted))
        self._random = random

    def choose(self, key: bytes, avoid: Collection[T] = ()) -> T | None:
        """See `Balancer`."""
        if avoid:
            rest = self._without(avoid)
            if rest is not None:
                return rest.choose(key)
        if not self._choices:
            return None
        return self._choices[bisect_right(self._sums, self._random() * self._sums[-1])]

    def _without(self, avoid: Collection[T]) -> WeightedRandom[T] | None:
        weights = [self._sums[0], *(after - before for before, after in zip(self._sums, self._sums[1:], strict=False))]
        pairs = [pair for pair in zip(self._choices, weights, strict=True) if pair[0] not in avoid]
        return WeightedRandom(pairs, self._random) if pairs else None


class LeastRequest(Generic[C]):
    """
    The less loaded of two that are drawn by weight (Mitzenmacher's power of two choices): nearly as even as looking at all of
    them, but without the herd that follows when many processes see the same minimum.

    Load is requests in flight over weight; a tie goes to the one drawn first, so quiet upstreams too follow their weights.
    """

    __slots__ = ("_choices", "_weights", "_draw", "_random", "_count")

    def __init__(self, choices: Sequence[tuple[C, int]], random: Random) -> None:
        weighted = [(choice, weight) for choice, weight in choices if weight > 0]
        self._choices = [choice for choice, _ in weighted]
        self._count = len(self._choices)
        even = len({weight for _, weight in weighted}) <= 1
        self._weights = None if even else {id(choice): weight for choice, weight in weighted}
        self._draw = WeightedRandom(weighted, random)
        self._random = random

    def choose(self, key: bytes, avoid: Collection[C] = ()) -> C | None:
        """See `Balancer`."""
        count = self._count
        if avoid:
            rest = [choice for choice in self._choices if choice not in avoid]
            if rest and len(rest) < count:
                weights = self._weights
                pairs = [(choice, 1 if weights is None else weights[id(choice)]) for choice in rest]
                return LeastRequest(pairs, self._random).choose(key)
        if count < 2:
            return self._choices[0] if count else None
        weights = self._weights
        if weights is not None:
            return self._choose_weighted(weights)
        choices = self._choices
        index = int(self._random() * count)
        one = choices[index]
        other = choices[(index + 1 + int(self._random() * (count - 1))) % count]
        return other if other.active < one.active else one

    def _choose_weighted(self, weights: dict[int, int]) -> C:
        one = self._draw.choose(b"")
        other = one
        for _ in range(_DRAWS):
            other = self._draw.choose(b"")
            if other is not one:
                break
        assert one is not None
        assert other is not None
        lighter = other.active * weights[id(one)] < one.active * weights[id(other)]
        return other if lighter else one


_DRAWS: Final = 4
"""How often a second choice is drawn when it keeps being the first."""


class RoundRobin(Generic[T]):
    """
    One after the other, by weight, the heavy ones spread over the round instead of in a row. Practice: nginx's smooth weighted
    round robin: each turn all gain their weight, the richest goes and pays the total.
    """

    __slots__ = ("_choices", "_weights", "_credit", "_total")

    def __init__(self, choices: Sequence[tuple[T, int]], random: Random) -> None:
        """:param random: where in the round to begin, so that many processes do not march in step."""
        weighted = [(choice, weight) for choice, weight in choices if weight > 0]
        self._choices = [choice for choice, _ in weighted]
        self._weights = [weight for _, weight in weighted]
        self._total = sum(self._weights)
        self._credit = [0] * len(weighted)
        for _ in range(int(random() * min(self._total, 1000))):
            self.choose(b"")

    def choose(self, key: bytes, avoid: Collection[T] = ()) -> T | None:
        """See `Balancer`."""
        credit = self._credit
        best = -1
        total = 0
        everywhere = not avoid or all(choice in avoid for choice in self._choices)
        for index, weight in enumerate(self._weights):
            if everywhere or self._choices[index] not in avoid:
                credit[index] += weight
                total += weight
                if best < 0 or credit[index] > credit[best]:
                    best = index
        if best < 0:
            return None
        credit[best] -= total
        return self._choices[best]


class Rendezvous(Generic[T]):
    """
    The highest random weight (Thaler and Ravishankar): a key stays with its choice, and when one goes only its own keys move.

    All processes agree, since nothing but names, weights and the key counts.
    """

    __slots__ = ("_choices",)

    def __init__(self, choices: Sequence[tuple[T, int]], name: Callable[[T], str]) -> None:
        """:param name: what identifies a choice, over restarts and processes."""
        self._choices = [(choice, -weight, _number(name(choice).encode())) for choice, weight in choices if weight > 0]

    def choose(self, key: bytes, avoid: Collection[T] = ()) -> T | None:
        """See `Balancer`."""
        hashed = _number(key)
        best: T | None = None
        highest = -1.0
        for preferred in (True, False):
            for choice, minus_weight, seed in self._choices:
                if preferred and choice in avoid:
                    continue
                # -weight / ln(u) with u uniform in (0, 1): weights shares exactly (Schindelhauer and Schomaker).
                score = minus_weight / math.log((_mix(hashed ^ seed) + 0.5) * _UNIT)
                if score > highest:
                    best, highest = choice, score
            if best is not None:
                break
        return best


_UNIT: Final = 2.0**-53
_MASK: Final = 2**64 - 1


def _number(name: bytes) -> int:
    return int.from_bytes(blake2b(name, digest_size=8).digest(), "big")


def _mix(number: int) -> int:
    """The upper 53 bits of splitmix64's finaliser: two good hashes made into one, ten times cheaper than hashing both."""
    number = ((number ^ (number >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    number = ((number ^ (number >> 27)) * 0x94D049BB133111EB) & _MASK
    return (number ^ (number >> 31)) >> 11
