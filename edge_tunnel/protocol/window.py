"""How much a receiver lets its sender have under way.

A window starts small and follows what the path carries: twice the delivery rate times the lowest
round trip (twice, so that it can be seen to grow). Idle streams therefore cost little, long fat
networks are filled, and a slow link does not pile up megabytes in a node in front of a keystroke.
Growth beyond the initial size comes out of a budget that all streams of a tunnel share.
"""

from __future__ import annotations

import math
from typing import Final

__all__ = ["INITIAL_WINDOW", "MAX_WINDOW", "TUNNEL_BUDGET", "Budget", "Window"]

INITIAL_WINDOW: Final = 256 * 1024
"""Four DATA frames: enough for an interactive stream, and for 25 Mbit/s at 80 ms."""

MAX_WINDOW: Final = 16 * 1024 * 1024
"""1.3 Gbit/s at 100 ms; the same as Teleport's resumption buffer."""

TUNNEL_BUDGET: Final = 64 * 1024 * 1024
"""What all windows of a tunnel may grow by: four streams of full size."""

_SHORTEST_TRIP: Final = 0.008
"""Seconds. On loopback the round trip of a probe says little about a pipeline of three busy
processes; without this floor the window stays too small to keep them all at work."""

_PAUSE: Final = 4
"""Round trips without a byte."""


class Budget:
    """Bytes of growth that the streams of one tunnel share, and what they know of its path."""

    __slots__ = ("_other_seen", "_seen", "_total", "_user", "left", "proven")

    def __init__(self, total: int = TUNNEL_BUDGET) -> None:
        self._total = total
        self._user: Window | None = None
        self._seen = self._other_seen = -math.inf
        self.left = total
        self.proven = 0
        """The largest window that the path has filled since the tunnel was attached."""

    @property
    def is_short(self) -> bool:
        """Whether streams should give back what they do not need."""
        return self.left < self._total // 4

    def uses(self, window: Window, now: float) -> float:
        """This window delivers. Returns the time of the last delivery of any other one."""
        if self._user is not window:
            self._user, self._other_seen = window, self._seen
        self._seen = now
        return self._other_seen

    def take(self, wanted: int) -> int:
        """As much of `wanted` as there is."""
        granted = max(0, min(wanted, self.left))
        self.left -= granted
        return granted

    def give_back(self, granted: int) -> None:
        """The stream that took it is gone."""
        self.left += granted


class Window:
    """The window of one stream. `size` grows; it shrinks when the tunnel's budget is short."""

    __slots__ = ("_budget", "_bytes", "_initial", "_since", "size")

    def __init__(self, budget: Budget, initial: int = INITIAL_WINDOW) -> None:
        self._budget = budget
        self._initial = initial
        self._since = 0.0
        self._bytes = 0
        self.size = initial

    def delivered(self, count: int, now: float, trip: float, promised: int = 0) -> None:
        """`count` more bytes were delivered; `trip` is the lowest round trip seen (seconds).

        `promised`: bytes that the far end has sent or may send beyond what was delivered.
        """
        trip = max(trip, _SHORTEST_TRIP)
        elapsed = now - self._since
        other = self._budget.uses(self, now)
        self._bytes += count
        if elapsed < trip:
            return
        wanted = int(2 * self._bytes / elapsed * trip)
        self._since, self._bytes = now, 0
        if wanted > self.size and elapsed < _PAUSE * trip:  # a longer span had a pause in it
            # who fills a window alone gets at once what another has filled before: on a path of
            # 100 ms, growing twofold from the start again takes a second of each download
            alone = now - other > _PAUSE * trip
            self._grow_to(max(wanted, self._budget.proven if alone else 0))
        elif self._budget.is_short:
            self._shrink_to(max(wanted, promised))

    def release(self) -> None:
        """The stream is over: its growth goes back to the tunnel."""
        self._budget.give_back(self.size - self._initial)
        self.size = self._initial

    def _grow_to(self, wanted: int) -> None:
        wanted = min(wanted, MAX_WINDOW)
        if wanted > self.size:
            self.size += self._budget.take(wanted - self.size)
            self._budget.proven = max(self._budget.proven, self.size)

    def _shrink_to(self, wanted: int) -> None:
        """What the far end was promised stays promised, and so it stays taken: the window shrinks
        as that is delivered. Else the streams of a tunnel could hold more than its budget."""
        size = max(wanted, self._initial)
        if size < self.size:
            self._budget.give_back(self.size - size)
            self.size = size
