"""A bounded message transport in memory, with faults."""

from __future__ import annotations

from collections import deque

import trio

from edge_tunnel.errors import LinkLost
from edge_tunnel.link.transport import Transport

__all__ = ["MemoryTransport", "transport_pair"]


class _Way:
    """Messages one way: (time when it is there, message), at most `capacity` bytes of them."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.delay = 0.0
        self.stalled = False
        self.lost: str | None = None
        self.messages: deque[tuple[float, bytes]] = deque()
        self.size = 0
        self.changed = trio.lowlevel.ParkingLot()

    def wake(self) -> None:
        self.changed.unpark_all()


class MemoryTransport(Transport):
    """One end of `transport_pair`."""

    def __init__(self, outgoing: _Way, incoming: _Way, peer: str) -> None:
        self._outgoing = outgoing
        self._incoming = incoming
        self._closed: str | None = None
        self.peer = peer

    async def send(self, message: bytes) -> None:
        await trio.lowlevel.checkpoint()
        way = self._outgoing
        self._check()
        while way.lost is None and way.size and way.size + len(message) > way.capacity:
            await way.changed.park()
        if way.lost is not None:
            raise LinkLost(way.lost)
        way.messages.append((trio.current_time() + way.delay, message))
        way.size += len(message)
        way.wake()

    async def receive(self) -> bytes:
        await trio.lowlevel.checkpoint()
        way = self._incoming
        while True:
            self._check()
            if way.lost is not None:
                raise LinkLost(way.lost)
            if way.messages and not way.stalled:
                due, message = way.messages[0]
                if due <= trio.current_time():
                    way.messages.popleft()
                    way.size -= len(message)
                    way.wake()
                    return message
                await trio.sleep_until(due)
            else:
                await way.changed.park()

    def _check(self) -> None:
        if self._closed is not None:
            raise LinkLost(self._closed)

    def close(self, why: str = "closed") -> None:
        """This end is over. The other end hears of it, unless the transport is stalled."""
        self._closed = why
        if self._outgoing.stalled:
            self._incoming.wake()
        else:
            self.cut(why)

    # -- faults

    @property
    def stalled(self) -> bool:
        """Whether nothing arrives any more, the end of the connection included."""
        return self._outgoing.stalled

    def cut(self, why: str = "the connection was lost") -> None:
        """Both ends lose the transport at once; what was under way is gone."""
        for way in (self._outgoing, self._incoming):
            way.lost = way.lost or why
            way.messages.clear()
            way.size = 0
            way.wake()

    def stall(self, *, stalled: bool = True) -> None:
        """Nothing arrives at either end any more, and nobody is told (or: it does again)."""
        for way in (self._outgoing, self._incoming):
            way.stalled = stalled
            way.wake()

    def slow_down(self, delay: float) -> None:
        """Each message sent from now on is under way for `delay` seconds, each way."""
        for way in (self._outgoing, self._incoming):
            way.delay = delay


def transport_pair(
    capacity: int = 256 * 1024, peers: tuple[str, str] = ("one", "other")
) -> tuple[MemoryTransport, MemoryTransport]:
    """Two connected ends; each direction holds at most `capacity` bytes (or one message)."""
    there, back = _Way(capacity), _Way(capacity)
    return MemoryTransport(there, back, peers[1]), MemoryTransport(back, there, peers[0])
