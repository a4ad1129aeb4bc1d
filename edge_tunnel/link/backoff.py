"""When to dial again."""

from __future__ import annotations

import random
from typing import Final

__all__ = ["Backoff"]

_FIRST: Final = 0.2
"""Seconds. A node that restarts is back within a second or two; the first tries are quick."""


class Backoff:
    """Exponential, with full jitter, so that the devices of a dead node do not come in step."""

    def __init__(self, longest: float, rng: random.Random | None = None) -> None:
        """`longest`: seconds that a wait never exceeds."""
        self.longest = longest
        self._random = rng or random.Random()
        self._tries = 0

    def succeeded(self) -> None:
        """A link was greeted: the next loss starts from the shortest wait again."""
        self._tries = 0

    def next_delay(self, longest: float | None = None) -> float:
        """Seconds to wait now; `longest` may be lower this time (somebody is waiting)."""
        top = self.longest if longest is None else min(self.longest, longest)
        delay = self._random.uniform(0, min(top, _FIRST * 2**self._tries))
        self._tries = min(self._tries + 1, 16)
        return delay
