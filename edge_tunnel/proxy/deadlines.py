"""Whose time is over, of many, at the price of those whose it is. Pure: times are passed in.

A heap in which a deadline that was put off or taken back stays until it is due, or until such ones
are more than those that hold. So to put one off costs no search, and memory follows what lives.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Hashable
from itertools import count
from typing import Final, Generic, TypeVar

__all__ = ["Deadlines"]

K = TypeVar("K", bound=Hashable)

_ROOM: Final = 64
"""Entries that do not hold any more, beside as many as do: a small heap is not made anew at each
change."""


class Deadlines(Generic[K]):
    """At most one deadline for each key."""

    def __init__(self) -> None:
        self._at: dict[K, float] = {}
        self._heap: list[tuple[float, int, K]] = []
        self._turn = count()  # keys need no order

    def __len__(self) -> int:
        return len(self._at)

    def put(self, key: K, when: float) -> None:
        """In place of the one that it had; infinity: it has none from here on."""
        if when == math.inf:
            self.drop(key)
            return
        if self._at.get(key) == when:
            return
        self._at[key] = when
        heapq.heappush(self._heap, (when, next(self._turn), key))
        self._tidy()

    def drop(self, key: K) -> None:
        """It has none."""
        if self._at.pop(key, None) is not None:
            self._tidy()

    def take(self, now: float) -> list[K]:
        """Those whose time has come, the earliest first; they have none any more."""
        due = []
        while self._heap and self._heap[0][0] <= now:
            when, _, key = heapq.heappop(self._heap)
            if self._at.get(key) == when:
                del self._at[key]
                due.append(key)
        return due

    def _tidy(self) -> None:
        if len(self._heap) > 2 * len(self._at) + _ROOM:
            self._heap = [(when, next(self._turn), key) for key, when in self._at.items()]
            heapq.heapify(self._heap)
