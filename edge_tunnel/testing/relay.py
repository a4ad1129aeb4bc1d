"""A TCP relay whose connections can be cut, stalled and slowed down, for tests of real processes.

::

    async with open_relay("127.0.0.1", 9100) as relay:
        ...  # programs connect to 127.0.0.1:{relay.port} and get to port 9100
        relay.cut()  # every connection is reset, both ends see it at once

It sits where a radio link or a firewall would be: between an endpoint and its node.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import trio

from edge_tunnel.link.groups import open_plain_nursery
from edge_tunnel.link.splice import reset_socket

__all__ = ["Relay", "open_relay"]

_READ: Final = 256 * 1024
"""Bytes of one read. A relay in the way of a benchmark should not be what is measured."""

_IN_FLIGHT: Final = 64
"""Reads that are on their way, each way of a connection: 16 MiB, a long fat network's worth."""


class Relay:
    """Forwards connections to one address. Use `open_relay`."""

    def __init__(self, host: str, port: int) -> None:
        self.delay = 0.0
        """Seconds that each byte is on its way, each way. May be changed at any time."""

        self.cuts = 0
        """Connections that `cut` has reset so far."""

        self.port = 0
        """Where it listens, on 127.0.0.1."""

        self._target = (host, port)
        self._connections: set[trio.CancelScope] = set()
        self._flowing = trio.Event()
        self._flowing.set()

    @property
    def connections(self) -> int:
        """How many there are now."""
        return len(self._connections)

    def cut(self) -> int:
        """Reset every connection at both ends (RST); returns how many. New ones are taken."""
        count = len(self._connections)
        for scope in self._connections:
            scope.cancel()
        self.cuts += count
        return count

    def stall(self) -> None:
        """Deliver nothing more, either way, and close nothing: a dead network, as seen by TCP."""
        if self._flowing.is_set():
            self._flowing = trio.Event()

    def go_on(self) -> None:
        """The end of `stall`; what was held back is delivered."""
        self._flowing.set()

    # -- inside

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
        with trio.CancelScope() as scope:
            self._connections.add(scope)
            try:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._carry, near, far, scope)
                    nursery.start_soon(self._carry, far, near, scope)
            finally:
                self._connections.discard(scope)
                end = reset_socket if scope.cancel_called else _close
                end(near)
                end(far)

    async def _carry(
        self, source: trio.SocketStream, sink: trio.SocketStream, scope: trio.CancelScope
    ) -> None:
        """One way. A reset of either end resets the other."""
        sender, receiver = trio.open_memory_channel[tuple[float, bytes]](_IN_FLIGHT)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._deliver, receiver, sink, scope)
            await self._take(source, sender, scope)

    async def _take(
        self,
        source: trio.SocketStream,
        channel: trio.MemorySendChannel[tuple[float, bytes]],
        scope: trio.CancelScope,
    ) -> None:
        # caught here and not around the nursery: there it may come in a group with a Cancelled
        try:
            async with channel:
                while data := await source.receive_some(_READ):
                    await channel.send((trio.current_time() + self.delay, bytes(data)))
        except trio.BrokenResourceError:
            scope.cancel()

    async def _deliver(
        self,
        channel: trio.MemoryReceiveChannel[tuple[float, bytes]],
        sink: trio.SocketStream,
        scope: trio.CancelScope,
    ) -> None:
        try:
            async for due, data in channel:
                if due > trio.current_time():
                    await trio.sleep_until(due)
                await self._flowing.wait()
                await sink.send_all(data)
            await sink.send_eof()
        except trio.BrokenResourceError:
            scope.cancel()


def _close(sock: trio.SocketStream) -> None:
    sock.socket.close()


@asynccontextmanager
async def open_relay(host: str, port: int) -> AsyncIterator[Relay]:
    """A relay to this address for the length of the block, on a free port of 127.0.0.1."""
    relay = Relay(host, port)
    async with open_plain_nursery() as nursery:
        await nursery.start(relay.serve)
        yield relay
        nursery.cancel_scope.cancel()
