"""A link's transport inside of one process: messages, in order, both ways, bounded.

A node's own end of a device's streams talks to the node as an edge does, by this in place of a
WebSocket: so no part of the node has to know a second kind of edge.
"""

from __future__ import annotations

from collections import deque
from typing import Final

import trio

from edge_tunnel.errors import LinkLost
from edge_tunnel.link.transport import Transport

__all__ = ["InProcessTransport", "in_process_pair"]

_CAPACITY: Final = 256 * 1024
"""Bytes that wait one way, or one message: what the buffers of a socket hold. Whoever sends waits
then, as for a socket, and its streams' windows do the rest."""


class _Way:
    """One direction."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.messages: deque[bytes] = deque()
        self.size = 0
        self.closed: str | None = None
        self.changed = trio.lowlevel.ParkingLot()

    def has_room(self, size: int) -> bool:
        return not self.messages or self.size + size <= self.capacity


class InProcessTransport(Transport):
    """One end; see `in_process_pair`."""

    def __init__(self, outgoing: _Way, incoming: _Way, peer: str) -> None:
        self._outgoing = outgoing
        self._incoming = incoming
        self.peer = peer

    async def send(self, message: bytes) -> None:
        way = self._outgoing
        while way.closed is None and not way.has_room(len(message)):
            await way.changed.park()
        if way.closed is not None:
            raise LinkLost(way.closed)
        way.messages.append(message)
        way.size += len(message)
        way.changed.unpark_all()

    async def receive(self) -> bytes:
        """What was sent before the other end closed is still received."""
        way = self._incoming
        while not way.messages:
            if way.closed is not None:
                raise LinkLost(way.closed)
            await way.changed.park()
        message = way.messages.popleft()
        way.size -= len(message)
        way.changed.unpark_all()
        return message

    def close(self, why: str) -> None:
        """Both ends are over."""
        for way in (self._outgoing, self._incoming):
            way.closed = way.closed or why
            way.changed.unpark_all()


def in_process_pair(
    peers: tuple[str, str], capacity: int = _CAPACITY
) -> tuple[InProcessTransport, InProcessTransport]:
    """Two ends; `peers`: what each is called by the other."""
    there, back = _Way(capacity), _Way(capacity)
    return InProcessTransport(there, back, peers[1]), InProcessTransport(back, there, peers[0])
