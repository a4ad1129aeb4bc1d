"""Which nodes may be dialled now: a node can ask to be left alone for a while."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from typing import Final

import trio

from edge_tunnel.protocol.frames import Bye

__all__ = ["Candidates"]

_LONGEST_HOLD_OFF: Final = 3600.0
"""Seconds that a node can keep an endpoint away (BYE's retry_after), whatever number it sends."""

_JITTER: Final = 0.1
_LONGEST_JITTER: Final = 10.0
"""Part of such a time, and seconds of it at the most, that are added at random: not every node
spreads those whom it sends away."""


class Candidates:
    """Remembers, for each URL, when its node wants to see us again."""

    def __init__(self) -> None:
        self._not_before: dict[str, float] = {}

    def hold_off(self, url: str, frame: Bye) -> None:
        """The node said goodbye, and perhaps for how long."""
        wait = min(frame.retry_after_ms / 1000, _LONGEST_HOLD_OFF)
        wait += random.uniform(0, min(_JITTER * wait, _LONGEST_JITTER))
        self._not_before[url] = trio.current_time() + wait

    async def wait(self, delay: float) -> None:
        """So many seconds; or less, until a node that said when to come back wants to see us."""
        now = trio.current_time()
        promised = (each for each in self._not_before.values() if each > now)
        await trio.sleep_until(min((now + delay, *promised)))

    def is_promised(self, url: str) -> bool:
        """Whether its node said when to come back, and that is still to come."""
        return self._not_before.get(url, -math.inf) > trio.current_time()

    def forget(self) -> None:
        """Another configuration: what was said does not hold any more."""
        self._not_before.clear()

    async def due(self, urls: Sequence[str]) -> list[str]:
        """Those that may be dialled now, in their order; waits until there is one."""
        due = {url: self._not_before.get(url, -math.inf) for url in urls}
        await trio.sleep_until(min(due.values()))
        return [url for url in urls if due[url] <= trio.current_time()]
