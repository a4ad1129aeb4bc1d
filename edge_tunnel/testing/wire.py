"""A bounded byte stream in memory, with the faults of a TCP connection."""

from __future__ import annotations

import trio

from edge_tunnel.link.streams import Turn, checked_size

__all__ = ["WireStream", "wire_pair"]


class _Meter:
    """Counts what both ways have delivered, and may know when that is enough."""

    def __init__(self) -> None:
        self.passed = 0
        self.end: int | None = None

    def room(self, most: int) -> int:
        """How many of these bytes may still be delivered."""
        return most if self.end is None else min(most, self.end - self.passed)


class _Pipe:
    """One way. Holds at most `capacity` bytes, as two socket buffers do."""

    def __init__(self, capacity: int, delay: float, meter: _Meter) -> None:
        self.capacity = capacity
        self.delay = delay
        self.meter = meter
        self.data = bytearray()
        self.ended = False  # the writer has ended
        self.deaf = False  # the reader has gone, and reads no more itself
        self.broken = False  # RST
        self.stalled = False  # bytes stay where they are
        self.changed = trio.lowlevel.ParkingLot()

    def wake(self) -> None:
        self.changed.unpark_all()

    async def write(self, data: memoryview) -> None:
        while data:
            part = data[: await self.room()]
            self.data += part
            data = data[len(part) :]
            self.wake()

    async def room(self) -> int:
        """Wait until there is some."""
        while True:
            if self.ended:
                raise trio.ClosedResourceError("closed")
            if self.broken or self.deaf:
                raise trio.BrokenResourceError("the wire is cut")
            if len(self.data) < self.capacity:
                return self.capacity - len(self.data)
            await self.changed.park()

    async def read(self, most: int) -> bytes:
        while True:
            if self.deaf:
                raise trio.ClosedResourceError("closed")
            if self.broken:
                raise trio.BrokenResourceError("the wire is cut")
            if self.data and not self.stalled:
                if self.delay:
                    await trio.sleep(self.delay)
                    if self.broken or self.stalled:
                        continue
                part = bytes(self.data[: self.meter.room(most)])
                del self.data[: len(part)]
                self.meter.passed += len(part)
                self.wake()
                return part
            if self.ended and not self.stalled:
                return b""
            await self.changed.park()


class WireStream(trio.abc.HalfCloseableStream):
    """One end of `wire_pair`."""

    def __init__(self, outgoing: _Pipe, incoming: _Pipe) -> None:
        self._outgoing = outgoing
        self._incoming = incoming
        self._sending = Turn("another task is sending on this wire")
        self._receiving = Turn("another task is receiving from this wire")

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        with self._sending:
            await trio.lowlevel.checkpoint()
            if not data and self._outgoing.ended:
                raise trio.ClosedResourceError("closed")
            await self._outgoing.write(memoryview(data))

    async def wait_send_all_might_not_block(self) -> None:
        with self._sending:
            await trio.lowlevel.checkpoint()
            await self._outgoing.room()

    async def send_eof(self) -> None:
        with self._sending:
            await trio.lowlevel.checkpoint()
            if self._incoming.deaf:
                raise trio.ClosedResourceError("closed")
            self._outgoing.ended = True
            self._outgoing.wake()

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        most = checked_size(max_bytes)
        with self._receiving:
            await trio.lowlevel.checkpoint()
            part = await self._incoming.read(most)
        if self._incoming.meter.passed == self._incoming.meter.end:
            self.cut()
            if not part:
                raise trio.BrokenResourceError("the wire is cut")
        return part

    async def aclose(self) -> None:
        self._outgoing.ended = True
        self._incoming.deaf = True
        self._outgoing.wake()
        self._incoming.wake()
        await trio.lowlevel.checkpoint()

    # -- faults

    @property
    def stalled(self) -> bool:
        """Whether nothing arrives any more, the end of the connection included."""
        return self._outgoing.stalled

    def cut(self) -> None:
        """Both ends see a reset; what was under way is lost."""
        for pipe in (self._outgoing, self._incoming):
            pipe.broken = True
            pipe.data.clear()
            pipe.wake()

    def cut_after(self, count: int) -> None:
        """`cut` when exactly `count` more bytes have been read, both ways together."""
        meter = self._incoming.meter
        meter.end = meter.passed + count

    @property
    def passed(self) -> int:
        """Bytes that were read so far, both ways together."""
        return self._incoming.meter.passed

    def stall(self, *, stalled: bool = True) -> None:
        """Nothing arrives at either end any more, and nobody is told (or: it does again)."""
        for pipe in (self._outgoing, self._incoming):
            pipe.stalled = stalled
            pipe.wake()

    def pending(self) -> int:
        """Bytes written here that the other end has not read."""
        return len(self._outgoing.data)


def wire_pair(capacity: int = 64 * 1024, delay: float = 0.0) -> tuple[WireStream, WireStream]:
    """Two connected ends; each direction holds at most `capacity` bytes.

    `delay`: seconds that each read takes, so the wire carries `capacity` / `delay` bytes a second.
    """
    meter = _Meter()
    one, other = _Pipe(capacity, delay, meter), _Pipe(capacity, delay, meter)
    return WireStream(one, other), WireStream(other, one)
