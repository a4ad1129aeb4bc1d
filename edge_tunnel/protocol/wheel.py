"""Who is due when, for very many who are due now and then: one timer for all of them.

Buckets of a fraction of a second. Putting, moving and taking are a dictionary's, however many there
are; a heap knows only the buckets.
"""

from __future__ import annotations

import math
from heapq import heappop, heappush
from typing import Final, Generic, TypeVar

__all__ = ["Wheel"]

T = TypeVar("T")


class Wheel(Generic[T]):
    """Items are due never early, and at most `grain` seconds late."""

    def __init__(self, grain: float) -> None:
        self._grain: Final = grain
        self._buckets: dict[int, dict[T, None]] = {}
        self._order: list[int] = []  # a heap of the buckets' numbers
        self._places: dict[T, int] = {}

    def __len__(self) -> int:
        return len(self._places)

    def put(self, item: T, due: float) -> None:
        """It is due then, and at no other time. An infinite time is never."""
        self.discard(item)
        if due == math.inf:
            return
        number = math.ceil(due / self._grain)
        bucket = self._buckets.get(number)
        if bucket is None:
            bucket = self._buckets[number] = {}
            heappush(self._order, number)
        bucket[item] = None
        self._places[item] = number

    def discard(self, item: T) -> None:
        """It is never due."""
        number = self._places.pop(item, None)
        if number is not None:
            del self._buckets[number][item]

    def next(self) -> float:
        """When somebody is due; `math.inf`: nobody is."""
        while self._order and not self._buckets[self._order[0]]:
            del self._buckets[heappop(self._order)]
        return self._order[0] * self._grain if self._order else math.inf

    def take(self, now: float, most: int) -> list[T]:
        """Whoever is due, up to so many, in the order of their times; they are due no more."""
        taken: list[T] = []
        while len(taken) < most and self.next() <= now:
            bucket = self._buckets[self._order[0]]
            while bucket and len(taken) < most:
                item = next(iter(bucket))
                self.discard(item)
                taken.append(item)
        return taken
