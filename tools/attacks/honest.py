"""The honest ones: streams that move data and compare it, and time a round trip each second."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass, field
from typing import Final

import trio

from edge_tunnel.link.groups import open_plain_nursery

__all__ = ["Feelings", "Honest", "serve_echo", "serve_endless"]

_BLOCK: Final = 64 * 1024
_SMALL: Final = 64
_PATIENCE: Final = 30.0
"""Seconds for a block to come back; beyond it the stream has failed."""


@dataclass
class Feelings:
    """What they felt in one stretch of time."""

    trips: list[float] = field(default_factory=list)
    moved: int = 0
    errors: list[str] = field(default_factory=list)
    mismatches: int = 0

    def percentile(self, part: float) -> float:
        """Seconds; 0 if nothing was timed."""
        ordered = sorted(self.trips)
        return ordered[min(int(part * len(ordered)), len(ordered) - 1)] if ordered else 0.0


class Honest:
    """Streams to the technician's local port, each open from the first second to the last."""

    def __init__(self, port: int, count: int) -> None:
        self.now = Feelings()
        """Of this stretch; `turn` begins another."""

        self.waiting: dict[int, float] = {}
        """Since when each stream waits for an answer."""

        self._port = port
        self._count = count

    def turn(self) -> Feelings:
        """What was felt since the last turn. Who waits just now has waited so long at least."""
        felt, self.now = self.now, Feelings()
        felt.trips += [trio.current_time() - since for since in self.waiting.values()]
        return felt

    async def run(self) -> None:
        """Until cancelled."""
        async with trio.open_nursery() as nursery:
            for number in range(self._count):
                nursery.start_soon(self._talk, number)

    async def _talk(self, number: int) -> None:
        try:
            await trio.sleep(number / self._count)
            async with await trio.open_tcp_stream("127.0.0.1", self._port) as stream:
                while True:
                    due = trio.current_time() + 1
                    self.waiting[number] = trio.current_time()
                    await self._echo(stream, _SMALL)
                    self.now.trips.append(trio.current_time() - self.waiting.pop(number))
                    await self._echo(stream, _BLOCK)
                    await trio.sleep_until(due)
        except (OSError, EOFError, trio.BrokenResourceError, trio.TooSlowError) as error:
            self.waiting.pop(number, None)
            self.now.errors.append(f"stream {number}: {error or type(error).__name__}")

    async def _echo(self, stream: trio.SocketStream, size: int) -> None:
        data = os.urandom(size)
        back = hashlib.sha256()
        with trio.fail_after(_PATIENCE):
            async with open_plain_nursery() as nursery:
                nursery.start_soon(stream.send_all, data)
                left = size
                while left:
                    part = await stream.receive_some(left)
                    if not part:
                        raise EOFError("ended")
                    back.update(part)
                    left -= len(part)
        self.now.moved += size
        self.now.mismatches += back.digest() != hashlib.sha256(data).digest()


async def serve_echo(stream: trio.SocketStream) -> None:
    """The device's honest service."""
    try:
        async for data in stream:
            await stream.send_all(data)
    except trio.BrokenResourceError:
        pass


async def serve_endless(stream: trio.SocketStream) -> None:
    """The one that sends until nobody takes it."""
    block = bytes(_BLOCK)
    try:
        while True:
            await stream.send_all(block)
    except trio.BrokenResourceError:
        pass
