"""A TCP relay that does to its connections what networks do, for tests of real processes.

::

    async with open_relay("127.0.0.1", 9100) as relay:
        ...  # programs connect to 127.0.0.1:{relay.port} and get to port 9100
        relay.cut()  # every connection is reset, both ends see it at once
        relay.cut_after(17)  # ... when 17 more bytes have passed
        relay.delay, relay.rate = 0.2, 64_000  # a bad radio link
        relay.stall()  # a partition: nothing passes, and nobody is told

It sits where a radio link or a firewall would be: between an endpoint and its node, between two
nodes, between a node and etcd.
"""

from __future__ import annotations

import math
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final, TypeAlias

import trio

from edge_tunnel.link.groups import open_plain_nursery
from edge_tunnel.link.splice import reset_socket

__all__ = ["Relay", "open_relay"]

_READ: Final = 256 * 1024
"""Bytes of one read. A relay in the way of a benchmark should not be what is measured."""

_IN_FLIGHT: Final = 64
"""Reads that are on their way, each way of a connection: 16 MiB, a long fat network's worth."""

_HEAD: Final = 1024
"""Bytes of a connection's beginning that are kept to tell it from others: a whole greeting."""

_SLICE: Final = 0.05
"""Seconds of a limited rate that are sent at once: finer than a person notices."""

_Which: TypeAlias = Callable[[bytes], bool]


class _Connection:
    """One, through the relay."""

    def __init__(self, near: trio.SocketStream, far: trio.SocketStream) -> None:
        self.near = near
        self.far = far
        self.head = b""
        """The first bytes that its dialler sent."""

        self.scope = trio.CancelScope()

    def end(self) -> None:
        for sock in (self.near, self.far):
            if self.scope.cancel_called:
                reset_socket(sock)
            else:
                sock.socket.close()


class Relay:
    """Forwards connections to one address. Use `open_relay`."""

    def __init__(self, host: str, port: int, queue: int | None = None) -> None:
        self.queue = queue
        """Bytes that wait here at most, each way of a connection; None: 16 MiB, for long paths."""

        self.delay = 0.0
        """Seconds that each byte is on its way, each way. May be changed at any time."""

        self.rate = math.inf
        """Bytes a second, each way of each connection. May be changed at any time."""

        self.cuts = 0
        """Connections that `cut` and `cut_after` have reset so far."""

        self.passed = 0
        """Bytes that were delivered so far, both ways together."""

        self.port = 0
        """Where it listens, on 127.0.0.1."""

        self._target = (host, port)
        self._connections: set[_Connection] = set()
        self._cut_at: int | None = None  # when so many bytes have passed
        self._holds: _Which = _none
        self._changed = trio.Event()

    @property
    def connections(self) -> int:
        """How many there are now."""
        return len(self._connections)

    def cut(self) -> int:
        """Reset every connection at both ends (RST); returns how many. New ones are taken."""
        count = len(self._connections)
        for connection in self._connections:
            connection.scope.cancel()
        self.cuts += count
        self._cut_at = None
        return count

    def cut_after(self, count: int) -> None:
        """`cut` when exactly `count` more bytes have been delivered, both ways together.

        The bytes after those are lost. 0: with the next byte that would be delivered.
        """
        self._cut_at = self.passed + count

    def stall(self, which: _Which | None = None) -> None:
        """Deliver nothing more, either way, and close nothing: a dead network, as seen by TCP.

        `which`: only connections, new ones included, whose dialler's first bytes (up to 1 KiB) it
        accepts; those that were stalled by an earlier call and are not accepted now go on.
        """
        self._holds = which or _all
        self._wake()

    def go_on(self) -> None:
        """The end of `stall`; what was held back is delivered."""
        self._holds = _none
        self._wake()

    # -- inside

    def _wake(self) -> None:
        self._changed.set()
        self._changed = trio.Event()

    async def serve(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Take connections until cancelled."""
        listeners = await trio.open_tcp_listeners(self.port, host="127.0.0.1")
        self.port = listeners[0].socket.getsockname()[1]
        task_status.started()
        await trio.serve_listeners(self._connect, listeners)

    async def _connect(self, near: trio.SocketStream) -> None:
        try:
            far = await trio.open_tcp_stream(*self._target)
        except OSError:
            reset_socket(near)  # nobody is there: so it looks through a port forward
            return
        if self.queue is not None:
            for sock in (near, far):
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self.queue // 2)
        connection = _Connection(near, far)
        self._connections.add(connection)
        try:
            with connection.scope:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._carry, connection, near, far)
                    nursery.start_soon(self._carry, connection, far, near)
        finally:
            self._connections.discard(connection)
            connection.end()

    async def _carry(
        self, connection: _Connection, source: trio.SocketStream, sink: trio.SocketStream
    ) -> None:
        """One way. A reset of either end resets the other."""
        reads = _IN_FLIGHT if self.queue is None else 0
        sender, receiver = trio.open_memory_channel[tuple[float, bytes]](reads)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._deliver, connection, receiver, sink)
            await self._take(connection, source, sender)

    async def _take(
        self,
        connection: _Connection,
        source: trio.SocketStream,
        channel: trio.MemorySendChannel[tuple[float, bytes]],
    ) -> None:
        # caught here and not around the nursery: there it may come in a group with a Cancelled
        try:
            async with channel:
                most = _READ if self.queue is None else self.queue // 4
                while data := await source.receive_some(most):
                    if source is connection.near and len(connection.head) < _HEAD:
                        connection.head += data[: _HEAD - len(connection.head)]
                    await channel.send((trio.current_time() + self.delay, bytes(data)))
        except trio.BrokenResourceError:
            await self._flows(connection)
            connection.scope.cancel()

    async def _deliver(
        self,
        connection: _Connection,
        channel: trio.MemoryReceiveChannel[tuple[float, bytes]],
        sink: trio.SocketStream,
    ) -> None:
        try:
            async for due, data in channel:
                if due > trio.current_time():
                    await trio.sleep_until(due)
                await self._send(connection, sink, data)
            await self._flows(connection)
            await sink.send_eof()
        except trio.BrokenResourceError:
            await self._flows(connection)
            connection.scope.cancel()

    async def _send(self, connection: _Connection, sink: trio.SocketStream, data: bytes) -> None:
        while data:
            await self._flows(connection)
            if self.rate < math.inf:
                await trio.sleep(min(len(data), self.rate * _SLICE) / self.rate)
            part = data[: self._room()]
            if not part:
                self.cut()
                await trio.sleep_forever()
            data = data[len(part) :]
            self.passed += len(part)  # before it waits: the other way counts, too
            await sink.send_all(part)
            if self.passed == self._cut_at:
                self.cut()
                await trio.sleep_forever()

    def _room(self) -> int:
        """Bytes that may be sent at once."""
        slice_ = _READ if self.rate == math.inf else max(1, int(self.rate * _SLICE))
        return slice_ if self._cut_at is None else min(slice_, self._cut_at - self.passed)

    async def _flows(self, connection: _Connection) -> None:
        """Wait until it is not stalled."""
        while self._holds(connection.head):
            await self._changed.wait()


def _all(_head: bytes) -> bool:
    return True


def _none(_head: bytes) -> bool:
    return False


@asynccontextmanager
async def open_relay(host: str, port: int, queue: int | None = None) -> AsyncIterator[Relay]:
    """A relay to this address for the length of the block, on a free port of 127.0.0.1.

    `queue`: bytes that wait in it at most, each way of a connection.
    """
    relay = Relay(host, port, queue)
    async with open_plain_nursery() as nursery:
        await nursery.start(relay.serve)
        yield relay
        nursery.cancel_scope.cancel()
