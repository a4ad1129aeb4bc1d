"""One task that looks after all links of a node: who is to be pinged, and who is silent.

A task and two timers for each link would be most of what 10,000 idle ones cost.
"""

from __future__ import annotations

import math
from typing import Final, Protocol

import trio

from edge_tunnel.link.batch import batch
from edge_tunnel.protocol.wheel import Wheel

__all__ = ["Rounds"]

_GRAIN: Final = 0.25
"""Seconds: a ping may be so late. 10,000 links that rest are 80 pings at a time, four times a
second."""

_AT_ONCE: Final = 64
"""Looks before the others have a turn, as many as messages of one link (link.py): after a node was
away for a moment all links are due."""


class Checked(Protocol):
    """A link."""

    def check(self, now: float) -> float:
        """Do what is due; returns when to be asked again."""


class Rounds:
    """`run` must run; what is here before or without it is not looked at."""

    def __init__(self) -> None:
        self._wheel: Wheel[Checked] = Wheel(_GRAIN)
        self._sleep = trio.CancelScope()
        self._turn = trio.Lock()

    @property
    def running(self) -> bool:
        """Whether anybody looks."""
        return self._turn.locked()

    def due(self, link: Checked, at: float) -> None:
        """Look then; and not at another time that was said before."""
        self._wheel.put(link, at)
        self._sleep.deadline = min(self._sleep.deadline, self._wheel.next())

    def leave(self, link: Checked) -> None:
        """Look no more."""
        self._wheel.discard(link)

    async def run(self) -> None:
        """Until cancelled. Who runs it while another does takes over when that one ends."""
        async with self._turn:
            while True:
                with trio.CancelScope(deadline=self._wheel.next()) as self._sleep:
                    await trio.sleep_forever()
                await self._look()

    async def _look(self) -> None:
        self._sleep = trio.CancelScope(deadline=-math.inf)  # we are awake: nobody has to wake us
        while some := self._wheel.take(trio.current_time(), _AT_ONCE):
            with batch():
                for link in some:
                    self._wheel.put(link, link.check(trio.current_time()))
            await trio.lowlevel.checkpoint()
