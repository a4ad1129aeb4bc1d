"""How much one DATA frame carries: what the path delivers in about 10 ms.

A frame is not divided on its way, so a keystroke waits for the one that is being sent. At 1 MB/s a
frame of 64 KiB takes 64 ms, which a person feels; at 100 MB/s it takes less than one, and smaller
ones would only cost more.
"""

from __future__ import annotations

from typing import Final

__all__ = ["FULL_FRAME", "Meter", "Pace"]

FULL_FRAME: Final = 63 * 1024
"""Bytes at the most. With its heads the frame still fits the largest segment that Linux makes, of
65,483 bytes on loopback and less elsewhere: 64 KiB are a segment and a splinter, each with a buffer
and an acknowledgement, and bulk has a tenth less (measured with tools/bench)."""

_TIME: Final = 0.010
"""Seconds that a frame may take."""

_SMALLEST: Final = 4 * 1024
"""Bytes: smaller ones would cost a slow device more time than the path."""

_FIRST: Final = 16 * 1024
"""Bytes, until the path is known."""

_SPAN: Final = 64 * 1024
"""Bytes over which the rate is measured: fewer say more about the far end's timer."""


class Pace:
    """What the streams of one tunnel know of its path, and the size of their frames."""

    __slots__ = ("delivered", "size")

    def __init__(self) -> None:
        self.delivered = 0
        """Bytes, of all streams."""

        self.size = _FIRST

    def begin(self) -> None:
        """It may be another path."""
        self.size = _FIRST


class Meter:
    """How one stream measures the path; the far end's credit tells.

    What counts are the bytes of all streams while this one has bytes on their way: it has its share
    of the path only, and by its own it would make small frames, and so get still less.
    """

    __slots__ = ("_before", "_pace", "_since")

    def __init__(self, pace: Pace) -> None:
        self._pace = pace
        self._since: float | None = None  # the last credit of which more was on its way behind
        self._before = 0  # bytes delivered then

    @property
    def size(self) -> int:
        """Bytes of a frame."""
        return self._pace.size

    def pause(self) -> None:
        """Nothing was on its way for a while."""
        self._since = None

    def delivered(self, count: int, now: float, *, more: bool) -> None:
        """`count` more bytes were delivered; `more`: and others are on their way.

        A pause in what we send says nothing about the path, so nothing is measured over one.
        """
        pace = self._pace
        pace.delivered += count
        if self._since is None:
            self._since, self._before = now, pace.delivered
        elif pace.delivered - self._before >= _SPAN and now > self._since:
            in_time = (pace.delivered - self._before) / (now - self._since) * _TIME
            pace.size = int(max(_SMALLEST, min(FULL_FRAME, in_time)))
            self._since, self._before = now, pace.delivered
        if not more:
            self.pause()
