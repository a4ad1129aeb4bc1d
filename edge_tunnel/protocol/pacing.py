"""How much one DATA frame carries: what the path delivers in about 10 ms.

A frame is not divided on its way, so a keystroke waits for the one that is being sent. At 1 MB/s a
frame of 64 KiB takes 64 ms, which a person feels; at 100 MB/s it takes less than one, and smaller
ones would only cost more.
"""

from __future__ import annotations

from typing import Final

from edge_tunnel.protocol.frames import MAX_DATA

__all__ = ["FrameSize"]

_TIME: Final = 0.010
"""Seconds that a frame may take."""

_SMALLEST: Final = 4 * 1024
"""Bytes: smaller ones would cost a slow device more time than the path."""

_FIRST: Final = 16 * 1024
"""Bytes, until the path is known."""

_SPAN: Final = 64 * 1024
"""Bytes over which the rate is measured: fewer say more about the far end's timer."""


class FrameSize:
    """The size for one stream; the far end's credit tells how fast the path is."""

    __slots__ = ("_bytes", "_since", "size")

    def __init__(self) -> None:
        self.size = _FIRST
        self._since: float | None = None  # the last credit of which more was on its way behind
        self._bytes = 0

    def delivered(self, count: int, now: float, *, more: bool) -> None:
        """`count` more bytes were delivered; `more`: and others are on their way.

        A pause in what we send says nothing about the path, so nothing is measured over one.
        """
        if self._since is not None:
            self._bytes += count
            if self._bytes >= _SPAN and now > self._since:
                in_time = self._bytes / (now - self._since) * _TIME
                self.size = int(max(_SMALLEST, min(MAX_DATA, in_time)))
                self._since, self._bytes = now, 0
        else:
            self._since = now
        if not more:
            self._since, self._bytes = None, 0
