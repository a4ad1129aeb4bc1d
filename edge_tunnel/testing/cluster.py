"""Real nodes in one process, dialled by name; links that can be cut, stalled and slowed down."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial

import trio

from edge_tunnel.errors import LinkLost
from edge_tunnel.link.dialling import Dial
from edge_tunnel.link.groups import open_plain_nursery
from edge_tunnel.link.transport import Transport
from edge_tunnel.link.websocket import open_client
from edge_tunnel.proxy.node import Node, NodeSettings, one_key
from edge_tunnel.testing.transports import MemoryTransport, transport_pair
from edge_tunnel.testing.wire import WireStream, wire_pair

__all__ = ["KEY", "Cluster", "open_cluster"]

KEY = "a key for tests"
"""What the nodes of a test cluster accept."""


class Line:
    """What a link runs over, to be broken by a test."""

    def __init__(self, url: str, end: WireStream | MemoryTransport) -> None:
        self.url = url
        self.cut = end.cut
        self.stall = end.stall


class Cluster:
    """Nodes by name. A name is dialled as the URL ``mem://NAME``. Use `open_cluster`."""

    def __init__(self, nursery: trio.Nursery, *, websocket: bool, capacity: int) -> None:
        self.nodes: dict[str, Node] = {}
        self.links: dict[str, list[Line]] = {}
        """The client's ends of the live links, by who dialled."""

        self.delay = 0.0
        """Seconds that what goes over links dialled from now on is under way, each way."""

        self._nursery = nursery
        self._websocket = websocket
        self._capacity = capacity
        self._serving: dict[str, set[trio.CancelScope]] = {}

    def start(self, name: str = "node") -> Node:
        """Start a node, or start it again after `kill`."""
        node = self.nodes[name] = Node(NodeSettings(name=name), one_key(KEY))
        self._serving[name] = set()
        return node

    def kill(self, name: str = "node") -> None:
        """End a node as SIGKILL does: nobody is told, every connection breaks."""
        del self.nodes[name]
        for scope in self._serving.pop(name):
            scope.cancel()
        for links in self.links.values():
            for line in links:
                if line.url == f"mem://{name}":
                    line.cut()

    def dial_as(self, who: str) -> Dial:
        """How the endpoint that tests call `who` opens its links."""

        @asynccontextmanager
        async def dial(url: str) -> AsyncIterator[Transport]:
            name = url.removeprefix("mem://")
            await trio.lowlevel.checkpoint()
            if name not in self.nodes:
                raise LinkLost(f"cannot reach {name}: connection refused")
            opened = self._over_websocket if self._websocket else self._over_messages
            async with opened(name, who, url) as (line, transport):
                lines = self.links.setdefault(who, [])
                lines.append(line)
                try:
                    yield transport
                finally:
                    lines.remove(line)

        return dial

    @asynccontextmanager
    async def _over_messages(
        self, name: str, who: str, url: str
    ) -> AsyncIterator[tuple[Line, Transport]]:
        near, far = transport_pair(self._capacity, peers=(who, url))
        near.slow_down(self.delay)
        self._nursery.start_soon(self._serve, name, partial(self.nodes[name].talk, far), near)
        try:
            yield Line(url, near), near
        finally:
            near.cut("closed")

    @asynccontextmanager
    async def _over_websocket(
        self, name: str, who: str, url: str
    ) -> AsyncIterator[tuple[Line, Transport]]:
        near, far = wire_pair(self._capacity, self.delay)
        serve = partial(self.nodes[name].take, far, who)
        self._nursery.start_soon(self._serve, name, serve, near)
        async with open_client(near, host=name, path="/", peer=url, timeout=10) as transport:
            yield Line(url, near), transport

    def cut(self, who: str) -> None:
        """Cut the links of one endpoint."""
        for line in list(self.links.get(who, ())):
            line.cut()

    def stall(self, who: str) -> None:
        """Freeze the links of one endpoint, silently; new ones work."""
        for line in list(self.links.get(who, ())):
            line.stall()

    async def _serve(
        self, name: str, serve: Callable[[], Awaitable[None]], near: WireStream | MemoryTransport
    ) -> None:
        if name in self.nodes:
            with trio.CancelScope() as scope:
                self._serving[name].add(scope)
                await serve()
            self._serving.get(name, set()).discard(scope)
        near.cut()


@asynccontextmanager
async def open_cluster(
    *names: str, websocket: bool = False, capacity: int = 256 * 1024
) -> AsyncIterator[Cluster]:
    """A cluster for the length of the block, with these nodes started (one, if none is named).

    Args:
      names: the nodes.
      websocket: links are real WebSockets over a bounded byte stream; else they carry messages.
      capacity: bytes that one way of a link holds.
    """
    async with open_plain_nursery() as nursery:
        cluster = Cluster(nursery, websocket=websocket, capacity=capacity)
        for name in names or ("node",):
            cluster.start(name)
        yield cluster
        nursery.cancel_scope.cancel()
