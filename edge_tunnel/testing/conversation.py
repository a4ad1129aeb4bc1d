"""Bytes through an echo service, compared as they come back, for as long as a test likes.

What is sent is random and never the same twice, so a byte that is lost, repeated or moved shows at
once and with its offset. A steady trickle shows pauses: the longest time in which nothing came.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Final

import trio

from edge_tunnel.errors import EdgeTunnelError
from edge_tunnel.link.groups import open_plain_nursery

__all__ = ["Conversation", "WrongBytes", "serve_echo"]

_PART: Final = 8192
_PACE: Final = 0.005
"""1.6 MB/s each way: a few conversations leave room on two cores for what they go through, and a
pause of some milliseconds can be seen."""


class WrongBytes(EdgeTunnelError):
    """What came back is not what was sent."""


async def serve_echo(sock: trio.SocketStream) -> None:
    """A service for `trio.serve_tcp`."""
    try:
        async for data in sock:
            await sock.send_all(data)
        await sock.send_eof()
    except trio.BrokenResourceError:
        pass  # its user sees that as well, and may call it an error


@dataclass
class Conversation:
    """One stream to an echo service."""

    sent: int = 0
    received: int = 0
    longest_pause: float = 0.0
    """Seconds between two arrivals, at the most, since `begin_anew`."""

    ended: trio.Event = field(default_factory=trio.Event)
    """Set when it ended as it should."""

    _last: float = 0.0
    _arrived: trio.Event = field(default_factory=trio.Event)

    def begin_anew(self) -> None:
        """Forget the pauses so far."""
        self._last, self.longest_pause = trio.current_time(), 0.0

    async def hear(self, count: int) -> None:
        """Wait until so many bytes more have come back."""
        goal = self.received + count
        while self.received < goal:
            await self._arrived.wait()

    async def hold(self, sock: trio.abc.HalfCloseableStream, until: trio.Event) -> None:
        """Talk until the event, then end cleanly.

        Raises:
          WrongBytes: a byte is not the one that was sent, or the stream ended short.
          trio.BrokenResourceError: the stream was reset.
        """
        self.begin_anew()
        under_way = bytearray()
        async with open_plain_nursery() as nursery:
            nursery.start_soon(self._send, sock, until, under_way)
            async for data in sock:
                self._compare(data, under_way)
            if under_way or not until.is_set():
                raise WrongBytes(f"ended after {self.received} of {self.sent} bytes")
        self.ended.set()

    async def _send(
        self, sock: trio.abc.HalfCloseableStream, until: trio.Event, under_way: bytearray
    ) -> None:
        rng = random.Random()
        while not until.is_set():
            part = rng.randbytes(_PART)
            under_way += part
            self.sent += len(part)
            await sock.send_all(part)
            await trio.sleep(_PACE)
        await sock.send_eof()

    def _compare(self, data: bytes | bytearray, under_way: bytearray) -> None:
        now = trio.current_time()
        self.longest_pause = max(self.longest_pause, now - self._last)
        self._last = now
        if under_way[: len(data)] != data:
            raise WrongBytes(f"not what was sent, within {len(data)} bytes from {self.received} on")
        del under_way[: len(data)]
        self.received += len(data)
        self._arrived.set()
        self._arrived = trio.Event()
