"""A tunnel socket that came to the wrong node, on its way to the right one.

Behind a balancer a device's tunnel socket may come to any node, and its tid names the one that
asked for it. That one is reached as for a hop, with the same certificates or key, but by a
connection of its own: so one slow device delays no other, and TCP's back-pressure reaches it. After
JOIN (which names the feature ``passing``) and WELCOME there are no frames. The first message is the
device's address, a line feed, and its request as it came; all others are its bytes, both ways; an
empty one is the end of them.
"""

from __future__ import annotations

import math
from contextlib import suppress
from typing import Final

import trio

from edge_tunnel.errors import LinkLost, RemoteProtocolError
from edge_tunnel.link.groups import open_plain_nursery
from edge_tunnel.link.transport import Transport
from edge_tunnel.proxy.alwayson.visitor import Visitor
from edge_tunnel.proxy.hop import Hops

__all__ = ["PassedStream", "hear_out", "pass_on"]

_PART: Final = 64 * 1024
"""Bytes of one message: the best of a hop, as measured."""

_LET_IN: Final = b"HTTP/1.1 101"
"""How the answer begins if the other node has let the device in."""


class PassedStream(trio.abc.Stream):
    """A connection that another node passes on, at the node that it is for."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._unread = b""
        self._closed = False

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        if self._closed:
            raise trio.ClosedResourceError("closed")
        await trio.lowlevel.checkpoint()
        try:
            with memoryview(data) as view:
                for start in range(0, len(view), _PART):
                    await self._transport.send(bytes(view[start : start + _PART]))
        except LinkLost as error:
            raise trio.BrokenResourceError(str(error)) from error

    async def wait_send_all_might_not_block(self) -> None:
        await trio.lowlevel.checkpoint()

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        if self._closed:
            raise trio.ClosedResourceError("closed")
        if not self._unread:
            try:
                self._unread = await self._transport.receive()
            except (LinkLost, RemoteProtocolError) as error:
                raise trio.BrokenResourceError(str(error)) from error
        most = len(self._unread) if max_bytes is None else max_bytes
        data, self._unread = self._unread[:most], self._unread[most:]
        return data

    async def aclose(self) -> None:
        """Whoever serves the connection ends it."""
        self._closed = True
        await trio.lowlevel.checkpoint()


async def hear_out(transport: Transport, timeout: float) -> tuple[str, bytes] | None:
    """The address and the request of a device that another node passes on; None: none came."""
    with trio.move_on_after(timeout):
        peer, line_feed, head = (await transport.receive()).partition(b"\n")
        if line_feed:
            return peer.decode("utf-8", "replace"), head
    return None


async def pass_on(hops: Hops, node: str, visitor: Visitor) -> None:
    """Carry a device's connection to the node that it is for, until either has ended it.

    Raises:
      LinkLost: the node cannot be reached.
    """
    stream = visitor.stream
    with trio.CancelScope() as patience:
        patience.deadline = trio.current_time() + hops.settings.connect_timeout
        async with hops.open_passage(node) as transport:
            await transport.send(visitor.peer.encode() + b"\n" + visitor.head)
            answer = await transport.receive()
            patience.deadline = math.inf
            if answer.startswith(_LET_IN):
                visitor.let_in()
            with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
                await stream.send_all(answer)
                async with open_plain_nursery() as nursery:
                    nursery.start_soon(_to_node, visitor, transport, nursery.cancel_scope)
                    if await _to_device(transport, stream):
                        nursery.cancel_scope.cancel()
            return
    raise LinkLost(f"node {node} did not answer")


async def _to_node(visitor: Visitor, transport: Transport, scope: trio.CancelScope) -> None:
    """An end is passed on, and what the node still says comes back; a cut is the end of both."""
    try:
        while data := await visitor.stream.receive_some(_PART):
            visitor.quick_ack()
            await transport.send(bytes(data))
        await transport.send(b"")
    except (LinkLost, trio.BrokenResourceError, trio.ClosedResourceError):
        scope.cancel()


async def _to_device(transport: Transport, stream: trio.abc.Stream) -> bool:
    """True: the node has ended it. False: the device takes no more; what it said before that, and
    that it is the end, is still passed on."""
    with suppress(LinkLost, RemoteProtocolError):
        while data := await transport.receive():
            try:
                await stream.send_all(data)
            except trio.BrokenResourceError:
                return False
    return True
