"""Log lines that strangers cause: one of each kind now and then, however often they cause it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final

import trio

__all__ = ["Seldom"]

_PAUSE: Final = 10.0
"""Seconds in which a kind is told once. A misconfigured device that dials every second is still
seen at once, and a flood writes six lines a minute."""

_MOST_KINDS: Final = 64
"""Kinds in memory at once: the texts are ours, so there are few; a peer's words are not in them."""


class Seldom:
    """Warns of what connections did, `what` being the kind."""

    def __init__(self, log: logging.Logger, clock: Callable[[], float] = trio.current_time) -> None:
        self._log = log
        self._clock = clock
        self._told: dict[str, tuple[float, int]] = {}  # when last, and how many since

    def __call__(self, what: str, peer: str) -> None:
        """A peer did this."""
        now = self._clock()
        last, silent = self._told.get(what, (-_PAUSE, 0))
        if now - last < _PAUSE:
            self._told[what] = (last, silent + 1)
            return
        if len(self._told) >= _MOST_KINDS:
            self._told.clear()
        self._told[what] = (now, 0)
        more = f" (and {silent} more since the last such line)" if silent else ""
        self._log.warning("%s was not taken: %s%s", peer, what, more)
