"""A node in memory, and peers of it that speak frame by frame."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio
import trio.testing

from edge_tunnel import DevelopmentKey, Node, NodeSettings
from edge_tunnel.access.rights import Authority
from edge_tunnel.protocol.codec import decode, encode
from edge_tunnel.protocol.frames import (
    Attach,
    Attached,
    Bind,
    Bound,
    Frame,
    Hello,
    Welcome,
)
from edge_tunnel.testing.transports import MemoryTransport, transport_pair

TUNNEL = bytes(range(16))


class Peer:
    """An endpoint that says exactly what a test wants."""

    def __init__(self, transport: MemoryTransport) -> None:
        self.transport = transport

    async def say(self, *frames: Frame | bytes) -> None:
        for frame in frames:
            await self.transport.send(frame if isinstance(frame, bytes) else encode(frame))

    async def hear(self) -> Frame:
        return decode(await self.transport.receive())

    async def silent(self) -> bool:
        """Whether nothing comes, once everything has settled."""
        with trio.move_on_after(0.5):
            await self.transport.receive()
            return False
        return True


def hello(role: str, key: str = "k", silence: int = 30_000) -> Hello:
    return Hello(1, 1, role, "edge_tunnel/0.1.0", key, bytes(16), silence, ())


def attach(epoch: int = 1, *, fresh: bool = True, thing: str = "t") -> Attach:
    return Attach(TUNNEL, 0, epoch, thing, "ssh", fresh, bytes(32), 1000, (), bytes(32))


def attached(epoch: int = 1) -> Attached:
    return Attached(TUNNEL, 0, epoch, 0, 1000, (), bytes(32))


@asynccontextmanager
async def running(
    authority: Authority | None = None, **settings: float
) -> AsyncIterator[tuple[Node, trio.Nursery]]:
    authority = authority or DevelopmentKey("k")
    with trio.fail_after(1000):
        async with trio.open_nursery() as nursery:
            yield Node(NodeSettings(**settings), authority), nursery  # type: ignore[arg-type]
            nursery.cancel_scope.cancel()


async def join(node: Node, nursery: trio.Nursery, role: str, greeting: Hello | None = None) -> Peer:
    near, far = transport_pair()

    async def talk() -> None:
        await node.talk(far)
        far.cut("closed by the node")

    nursery.start_soon(talk)
    peer = Peer(near)
    await peer.say(greeting or hello(role))
    welcome = await peer.hear()
    assert isinstance(welcome, Welcome)
    assert ("pings" in welcome.features) == (greeting is not None and greeting.ping_ms > 0)
    return peer


async def edge_and_remote(node: Node, nursery: trio.Nursery) -> tuple[Peer, Peer]:
    """Attached to one tunnel."""
    edge, remote = await join(node, nursery, "edge"), await join(node, nursery, "remote")
    await edge.say(Bind("t", 1))
    assert await edge.hear() == Bound("t", 1)
    await remote.say(attach())
    assert await edge.hear() == attach()
    await edge.say(attached())
    assert await remote.hear() == attached()
    return edge, remote
