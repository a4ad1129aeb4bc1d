"""How often each of many may do something: churn costs a node as much as crowds do.

A link that binds and unbinds, an address that tries one key after the other: each step is allowed,
and a thousand a second are an attack (as HTTP/2's rapid reset was, CVE-2023-44487). For each key
one number is kept, the time at which all that it took would be paid for at the rate (the "generic
cell rate algorithm"); so a table of many costs little, and a key that paid is as one never seen.

No clock: times are passed in, in seconds.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from typing import Final

__all__ = ["Pace"]

_MOST_KEYS: Final = 20_000
"""Keys that are told apart, as many as a node takes links; the one that was quiet for the longest
is forgotten for a new one. Whoever has more addresses than that is not held by counting them."""

_ROUNDING: Final = 1e-6
"""Seconds: nobody is sent away for the last bit of a sum."""


class Pace:
    """At most `burst` at once, and `rate` a second, of each key."""

    def __init__(self, rate: float, burst: float, most_keys: int = _MOST_KEYS) -> None:
        self.rate = rate
        self.burst = burst
        self._most_keys = most_keys
        self._paid_at: OrderedDict[Hashable, float] = OrderedDict()

    def __len__(self) -> int:
        return len(self._paid_at)

    def wait(self, key: Hashable, now: float, cost: float = 1.0) -> float:
        """The seconds until there is room for this much; 0: there is."""
        debt = max(self._paid_at.get(key, now) - now, 0.0)
        # more than fits at once waits until nothing is owed, not for ever
        room = max((self.burst - cost) / self.rate, 0.0)
        return debt - room if debt - room > _ROUNDING else 0.0

    def spend(self, key: Hashable, now: float, cost: float = 1.0) -> None:
        """It happened, whether there was room or not."""
        self._paid_at[key] = max(self._paid_at.get(key, now), now) + cost / self.rate
        self._paid_at.move_to_end(key)
        if len(self._paid_at) > self._most_keys:
            self._paid_at.popitem(last=False)

    def take(self, key: Hashable, now: float, cost: float = 1.0) -> float:
        """0: there was room, and it is taken. Else the seconds after which to ask again."""
        wait = self.wait(key, now, cost)
        if not wait:
            self.spend(key, now, cost)
        return wait

    def forget(self, key: Hashable) -> None:
        """The key will not come again."""
        self._paid_at.pop(key, None)
