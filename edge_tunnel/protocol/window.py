"""How much a receiver lets its sender have under way.

A window starts small and follows what the path carries: twice the delivery rate times the lowest
round trip (twice, so that it can be seen to grow). Idle streams therefore cost little, long fat
networks are filled, and a slow link does not pile up megabytes in a node in front of a keystroke.
Growth beyond the initial size comes out of a budget that all streams of a tunnel share.

On a short path it is not the path that is filled but the processes on it, and who fills them makes
everybody wait. So a window may be larger there than the path needs, which is fastest, until another
stream of the tunnel is *thin*: somebody types, or a machine asks and waits. Meanwhile, and for a
moment after, windows are what the path carries and no more.
"""

from __future__ import annotations

import math
from typing import Final

__all__ = [
    "INITIAL_WINDOW",
    "LEAST_WINDOW",
    "MAX_WINDOW",
    "MOST_UNTOLD",
    "THIN",
    "TUNNEL_BUDGET",
    "Budget",
    "Window",
]

INITIAL_WINDOW: Final = 256 * 1024
"""Four DATA frames: enough for an interactive stream, and for 25 Mbit/s at 80 ms."""

MAX_WINDOW: Final = 32 * 1024 * 1024
"""2.6 Gbit/s at 100 ms. With 16 MiB, as Teleport's resumption buffer has it, a download over 100 ms
without another limit had a quarter of what a plain TCP connection has, with 24 MiB 0.38, with this
0.50 (tools/long-and-slow); the rest is `MOST_UNTOLD`."""

MOST_UNTOLD: Final = 1024 * 1024
"""Bytes that are delivered before the far end is told, at the most, on a path that is not short:
while it waits for half of a large window the path is empty. Over 100 ms without another limit:
0.84 of plain TCP with 1 MiB, 0.76 with 4, 0.50 with half a window (the same). On loopback it only
fills the caches."""

TUNNEL_BUDGET: Final = 64 * 1024 * 1024
"""What all windows of a tunnel may grow by: two streams of full size."""

_SHORTEST_TRIP: Final = 0.008
"""Seconds. On loopback the round trip of a probe says little about a pipeline of three busy
processes; without this floor the window stays too small to keep them all at work."""

_PAUSE: Final = 4
"""Round trips without a byte."""

THIN: Final = 1024
"""Bytes that are all there is to be read: fewer are a keystroke, a question or its answer. A bulk
transfer comes in frames of 4 KiB at least (pacing.py), or has more behind the small ones."""

LEAST_WINDOW: Final = 192 * 1024
"""Three DATA frames, to which a window goes down beside a thin stream: with two the processes wait
for each other, and bulk has half of what three leave it (measured with tools/bench)."""

_COMPANY: Final = 0.25
"""Seconds that a thin stream is thought of: who types or asks again and again is faster, and who
is slower does not notice the 2 ms of the first time. On a machine with two processors bulk has 0.6
of its speed meanwhile, and a round trip beside it takes 2.5 times as long as alone; without this
seven times (measured with tools/bench)."""


class _Latest:
    """When somebody was last seen, and when anybody else was."""

    __slots__ = ("_before", "_seen", "_who")

    def __init__(self) -> None:
        self._who: Window | None = None
        self._seen = self._before = -math.inf

    def see(self, who: Window, now: float) -> None:
        if self._who is not who:
            self._who, self._before = who, self._seen
        self._seen = now

    def but(self, who: Window) -> float:
        """The last time of any other one."""
        return self._before if self._who is who else self._seen


class Budget:
    """Bytes of growth that the streams of one tunnel share, and what they know of its path."""

    __slots__ = ("_total", "left", "proven", "thin", "users")

    def __init__(self, total: int = TUNNEL_BUDGET) -> None:
        self._total = total
        self.users = _Latest()
        """Who delivers."""
        self.thin = _Latest()
        """Who is thin."""
        self.left = total
        self.proven = 0
        """The largest window that the path has filled since the tunnel was attached."""

    @property
    def is_short(self) -> bool:
        """Whether streams should give back what they do not need."""
        return self.left < self._total // 4

    def take(self, wanted: int) -> int:
        """As much of `wanted` as there is."""
        granted = max(0, min(wanted, self.left))
        self.left -= granted
        return granted

    def give_back(self, granted: int) -> None:
        """The stream that took it is gone."""
        self.left += granted


class Window:
    """The window of one stream. `size` grows; it shrinks beside a thin stream, and when the
    tunnel's budget is short."""

    __slots__ = ("_budget", "_bytes", "_initial", "_since", "held", "size", "step")

    def __init__(self, budget: Budget, initial: int = INITIAL_WINDOW) -> None:
        self._budget = budget
        self._initial = initial
        self._since = 0.0
        self._bytes = 0
        self.held = initial
        """Bytes of the budget, and those that it began with: `size`, or more as long as the far end
        may send more."""

        self.size = initial
        """Bytes beyond what is delivered that the far end is to be granted."""

        self.step = initial // 2
        """Bytes that are worth a CREDIT."""

    def delivered(self, count: int, now: float, trip: float, promised: int = 0) -> None:
        """`count` more bytes were delivered; `trip` is the lowest round trip seen (seconds).

        `promised`: bytes that the far end has sent or may send beyond what was delivered.
        """
        span = max(_SHORTEST_TRIP, trip)
        elapsed = now - self._since
        self._budget.users.see(self, now)
        self._bytes += count
        if elapsed >= span:
            rate = self._bytes / elapsed
            self._since, self._bytes = now, 0
            self._follow(rate, elapsed, now, trip)
            self._settle(promised)
            half = self.size // 2
            self.step = half if trip < _SHORTEST_TRIP else min(half, MOST_UNTOLD)

    def thin(self, now: float) -> None:
        """Fewer than `THIN` bytes were delivered, and nothing is behind them."""
        self._budget.thin.see(self, now)

    def release(self) -> None:
        """The stream is over: its growth goes back to the tunnel."""
        self._budget.give_back(self.held - self._initial)
        self.size = self.held = self._initial

    def _follow(self, rate: float, elapsed: float, now: float, trip: float) -> None:
        """Bytes were delivered at `rate` (a second) for `elapsed` seconds."""
        budget = self._budget
        long = max(trip, _SHORTEST_TRIP)
        company = now - budget.thin.but(self) < _COMPANY
        least = min(LEAST_WINDOW, self._initial) if company else self._initial
        wanted = int(2 * rate * (trip if company else long))
        if wanted > self.size and elapsed < _PAUSE * long:  # a longer span had a pause in it
            # who fills a window alone gets at once what another has filled before: on a path of
            # 100 ms, growing twofold from the start again takes a second of each download
            alone = now - budget.users.but(self) > _PAUSE * long
            self._grow_to(max(wanted, budget.proven if alone else 0))
        elif company or budget.is_short:
            self.size = min(self.size, max(wanted, least))

    def _grow_to(self, wanted: int) -> None:
        wanted = min(wanted, MAX_WINDOW)
        if wanted > self.held:
            self.held += self._budget.take(wanted - self.held)
        self.size = max(self.size, min(wanted, self.held))
        self._budget.proven = max(self._budget.proven, self.size)

    def _settle(self, promised: int) -> None:
        """Give back what a smaller window does not need. What the far end was promised stays
        promised, and so it stays taken until it is delivered; else the streams of a tunnel could
        hold more than its budget."""
        needed = max(self.size, promised)
        if needed < self.held:
            self._budget.give_back(self.held - needed)
            self.held = needed
