"""Real nodes in one process, dialled by name; links and hops that can be cut, stalled, slowed down.

The nodes are a cluster: they share a registry (`registry.py`), and reach each other by hops in
memory.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial

import trio

from edge_tunnel.access.rights import Authority, DevelopmentKey
from edge_tunnel.config.alwayson import AlwaysOnSettings
from edge_tunnel.errors import LinkLost
from edge_tunnel.link.dialling import Dial
from edge_tunnel.link.groups import open_plain_nursery
from edge_tunnel.link.transport import Transport
from edge_tunnel.link.websocket import open_client
from edge_tunnel.proxy.hop import HopDial, HopSettings
from edge_tunnel.proxy.node import Node, NodeSettings
from edge_tunnel.testing.registry import RegistryView, SharedRegistry
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
        self.end = end


class Cluster:
    """Nodes by name. A name is dialled as the URL ``mem://NAME``. Use `open_cluster`."""

    def __init__(
        self,
        nursery: trio.Nursery,
        *,
        websocket: bool,
        capacity: int,
        authority: Callable[[], Authority],
        alwayson: AlwaysOnSettings | None = None,
    ) -> None:
        self.nodes: dict[str, Node] = {}
        self.links: dict[str, list[Line]] = {}
        """The client's ends of the live links, by who dialled."""

        self.delay = 0.0
        """Seconds that what goes over links dialled from now on is under way, each way."""

        self.registry = SharedRegistry(nursery)
        self.lease = 5.0
        """Seconds until the others believe that a killed or frozen node is dead."""

        self.hops: dict[tuple[str, str], list[Line]] = {}
        """The live hops, by who dialled whom."""

        self._nursery = nursery
        self._websocket = websocket
        self._capacity = capacity
        self._authority = authority
        self._alwayson = alwayson
        self._serving: dict[str, set[trio.CancelScope]] = {}
        self._frozen: set[str] = set()
        self._cut_next: dict[str, int] = {}

    def start(self, name: str = "node") -> Node:
        """Start a node, or start it again after `kill`."""
        if name in self.registry.views:
            self.registry.expire(name)  # a node that comes back revokes its old lease
        settings = NodeSettings(name=name, hops=HopSettings(key=KEY), alwayson=self._alwayson)
        self._frozen.discard(name)
        view = self.registry.join(name)
        node = self.nodes[name] = Node(settings, self._authority(), view, self._hop_dial(name))
        self._serving[name] = set()
        assert node.hops is not None
        self._nursery.start_soon(self._run, name, node.hops.run)
        self._nursery.start_soon(self._run, name, node.watch_rights)
        return node

    def kill(self, name: str = "node") -> None:
        """End a node as SIGKILL does: nobody is told, every connection breaks."""
        del self.nodes[name]
        for line in self._lines_of(name):
            line.cut()
        for scope in self._serving.pop(name):
            scope.cancel()
        self._nursery.start_soon(self._expire, name, self.registry.views[name])

    def freeze(self, name: str = "node") -> None:
        """As SIGSTOP, or a network that is gone: nothing is closed, nothing comes any more.

        Who connects now is not refused, and hears nothing either.
        """
        del self.nodes[name]
        self._frozen.add(name)
        for line in self._lines_of(name):
            line.stall()
        view = self.registry.views[name]
        view.cut()
        self._nursery.start_soon(self._expire, name, view)

    async def _expire(self, name: str, view: RegistryView) -> None:
        await trio.sleep(self.lease)
        if self.registry.views.get(name) is view:
            self.registry.expire(name)

    def _lines_of(self, name: str) -> list[Line]:
        links = [line for lines in self.links.values() for line in lines]
        hops = [line for pair, lines in self.hops.items() if name in pair for line in lines]
        return [line for line in links if line.url == f"mem://{name}"] + hops

    def _hop_dial(self, source: str) -> HopDial:
        @asynccontextmanager
        async def dial(target: str) -> AsyncIterator[Transport]:
            await self._reach(target)
            near, far = transport_pair(self._capacity, peers=(source, target))
            near.slow_down(self.delay)

            async def take() -> None:
                hops = self.nodes[target].hops
                assert hops is not None
                await hops.take(far, None)

            self._nursery.start_soon(self._serve, target, take, near)
            line = Line(f"hop://{target}", near)
            lines = self.hops.setdefault((source, target), [])
            lines.append(line)
            try:
                yield near
            finally:
                lines.remove(line)
                near.close()

        return dial

    def lines_between(self, one: str, other: str) -> list[Line]:
        """The live hops between two nodes, whoever dialled."""
        return [line for pair in ((one, other), (other, one)) for line in self.hops.get(pair, [])]

    def dial_as(self, who: str) -> Dial:
        """How the endpoint that tests call `who` opens its links."""

        @asynccontextmanager
        async def dial(url: str) -> AsyncIterator[Transport]:
            name = url.removeprefix("mem://")
            await self._reach(name)
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
        self._nursery.start_soon(self._serve, name, lambda: self.nodes[name].talk(far), near)
        try:
            yield Line(url, near), near
        finally:
            near.close()

    @asynccontextmanager
    async def _over_websocket(
        self, name: str, who: str, url: str
    ) -> AsyncIterator[tuple[Line, Transport]]:
        near, far = wire_pair(self._capacity, self.delay)
        if who in self._cut_next:
            near.cut_after(self._cut_next.pop(who))
        self._nursery.start_soon(self._serve, name, lambda: self.nodes[name].take(far, who), near)
        async with open_client(near, host=name, path="/", peer=url, timeout=10) as transport:
            yield Line(url, near), transport

    def connect(self, who: str, name: str = "node") -> WireStream:
        """A connection to a node's listener, as the network has it; nothing is said yet."""
        near, far = wire_pair(self._capacity, self.delay)
        if name in self.nodes:
            serve = partial(self.nodes[name].take, far, who)
            self._nursery.start_soon(self._run, name, serve)  # it closes what it takes
            self.links.setdefault(who, []).append(Line(f"mem://{name}", near))
        else:
            near.cut()
        return near

    def cut(self, who: str) -> None:
        """Cut the links of one endpoint."""
        for line in list(self.links.get(who, ())):
            line.cut()

    def cut_next(self, who: str, count: int) -> None:
        """Cut the next link that this endpoint dials when exactly `count` bytes have passed over
        it, both ways together. WebSockets only: messages have no inner boundaries."""
        self._cut_next[who] = count

    def passed(self, who: str) -> int:
        """Bytes that have passed over the last link of this endpoint. WebSockets only."""
        end = self.links[who][-1].end
        assert isinstance(end, WireStream)
        return end.passed

    def stall(self, who: str) -> None:
        """Freeze the links of one endpoint, silently; new ones work."""
        for line in list(self.links.get(who, ())):
            line.stall()

    async def _reach(self, name: str) -> None:
        await trio.lowlevel.checkpoint()
        if name not in self.nodes and name not in self._frozen:
            raise LinkLost(f"cannot reach {name}: connection refused")

    async def _run(self, name: str, run: Callable[[], Awaitable[None]]) -> None:
        """Something of a node, until it is killed."""
        with trio.CancelScope() as scope:
            self._serving[name].add(scope)
            await run()

    async def _serve(
        self, name: str, serve: Callable[[], Awaitable[None]], near: WireStream | MemoryTransport
    ) -> None:
        if name in self._frozen:
            near.stall()
        elif name in self.nodes:
            with trio.CancelScope() as scope:
                self._serving[name].add(scope)
                with suppress(LinkLost):  # as a node's listener does
                    await serve()
            self._serving.get(name, set()).discard(scope)
        if not near.stalled:
            near.cut()


@asynccontextmanager
async def open_cluster(
    *names: str,
    websocket: bool = False,
    capacity: int = 256 * 1024,
    authority: Callable[[], Authority] = lambda: DevelopmentKey(KEY),
    alwayson: AlwaysOnSettings | None = None,
) -> AsyncIterator[Cluster]:
    """A cluster for the length of the block, with these nodes started (one, if none is named).

    Args:
      names: the nodes.
      websocket: links are real WebSockets over a bounded byte stream; else they carry messages.
      capacity: bytes that one way of a link holds.
      authority: makes what each node asks who may do what; `KEY` opens everything if left out.
      alwayson: the nodes take ThingWorx devices, too (`Cluster.connect` is their network).
    """
    async with open_plain_nursery() as nursery:
        cluster = Cluster(
            nursery,
            websocket=websocket,
            capacity=capacity,
            authority=authority,
            alwayson=alwayson,
        )
        for name in names or ("node",):
            cluster.start(name)
        yield cluster
        nursery.cancel_scope.cancel()
