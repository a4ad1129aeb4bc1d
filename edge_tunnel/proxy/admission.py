"""Who may come in now, and when the others may ask again.

When a node dies, thousands of devices ask the others for a link at once. A greeting, a bind and its
way through the registry cost some milliseconds of processor; a node that takes all at once serves
nobody for a while, is taken for dead, and its own devices join the crowd. So a node takes new links
at a rate, and tells the others when to come back: each a moment of its own, one behind the other.

* What is unused is saved up to a burst: in daily life nobody waits.
* The moments that are promised are never closer to each other than the rate allows. A place is not
  kept for anybody: who comes back may come by a balancer to another node, or not at all.
* Who is in a hurry (remotes, and edges that have live tunnels: somebody waits) has a share of the
  rate for itself, and what the others leave of theirs.

No clock: times are passed in.
"""

from __future__ import annotations

import math
from typing import Final

__all__ = ["Admission", "Bucket"]

_SHARE: Final = 0.25
"""Of the rate, for those in a hurry. Few devices are in use at any moment; a quarter is more than
their part, and costs the others a third more time to be back after a node's death."""

_ROUNDING: Final = 1e-6
"""Of an admission: who comes at the very moment that was promised is not to fail by a last bit."""


class Bucket:
    """Admissions at a rate, and the promised times to ask again."""

    def __init__(self, rate: float, burst: float) -> None:
        """`rate`: admissions a second; `burst`: how many are saved up while nobody comes."""
        self.rate = rate
        self.burst = max(burst, 1.0)
        self._saved = self.burst
        self._counted = -math.inf  # `_saved` is as of this moment
        self._promised = -math.inf  # the latest moment that was promised to anybody

    def take(self, now: float) -> bool:
        """Whether there is one to take; then it is taken."""
        since = max(now - self._counted, 0.0)
        self._counted = max(now, self._counted)
        self._saved = min(self.burst, self._saved + since * self.rate)
        if self._saved < 1 - _ROUNDING:
            return False
        self._saved -= 1
        return True

    def promise(self, now: float) -> float:
        """The seconds after which to ask again: behind everybody who was told so before."""
        self._promised = max(self._promised, now) + 1 / self.rate
        return self._promised - now


class Admission:
    """One node's door."""

    def __init__(self, rate: float, burst: float) -> None:
        """`rate`: new links a second, of all kinds; `burst`: as many may come at once."""
        self._hurried = Bucket(rate * _SHARE, burst * _SHARE)
        self._others = Bucket(rate * (1 - _SHARE), burst * (1 - _SHARE))
        self.refused = 0
        """How often somebody was told to come back later."""

    def ask(self, now: float, *, hurried: bool = False) -> float:
        """0: come in. Else the seconds after which to ask again."""
        if (hurried and self._hurried.take(now)) or self._others.take(now):
            return 0.0
        self.refused += 1
        return (self._hurried if hurried else self._others).promise(now)
