"""Nodes' registries at a real etcd, and what they were told."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from functools import partial

import trio
import trio.testing

from edge_tunnel.protocol.outlet import Outlet
from edge_tunnel.proxy.cluster import ClusterRegistry
from edge_tunnel.proxy.directory import Decision, NodeInfo
from edge_tunnel.proxy.etcd import EtcdClient
from edge_tunnel.proxy.port import Port
from edge_tunnel.proxy.registry import Registry
from edge_tunnel.proxy.rows import Keys, thing_claim
from edge_tunnel.testing.etcd import Etcd


def port(peer: str = "p") -> Port:
    return Port("edge", peer, Outlet())


class Told(ClusterRegistry):
    """Says when anything came from the engine, also what no callback is for."""

    news = trio.Event()

    def tell(self, decisions: Iterable[Decision]) -> None:
        super().tell(decisions)
        self.news.set()


class Node:
    """A registry that runs, and what it told its node."""

    def __init__(self, registry: Told, scope: trio.CancelScope) -> None:
        self.registry = registry
        self.heard: list[tuple[object, ...]] = []
        self._scope = scope
        registry.on_displaced = partial(self.hear, "displaced")
        registry.on_moved = partial(self.hear, "moved")
        registry.on_node_gone = partial(self.hear, "gone")

    def hear(self, event: str, *data: object, **more: object) -> None:
        self.heard.append((event, *data, *more.values()))
        self.registry.news.set()

    async def until(self, true: Callable[[], bool]) -> None:
        """Wait for news until something is true."""
        while not true():
            self.registry.news = trio.Event()
            await self.registry.news.wait()

    async def until_lease_is_over(self) -> None:
        """While the engine is away."""
        while self.registry.claiming:
            assert self.registry._lease is not None
            await trio.sleep_until(self.registry._lease.until)

    async def until_located(self, thing: str, place: object) -> None:
        await self.until(lambda: self.registry.locate(thing) == place)

    async def until_heard(self, event: str) -> None:
        await self.until(lambda: any(each[0] == event for each in self.heard))

    def told(self, event: str) -> int:
        return sum(each[0] == event for each in self.heard)

    def stop(self) -> None:
        self._scope.cancel()


class Nodes:
    """Registries on one engine."""

    def __init__(self, nursery: trio.Nursery, etcd: Etcd, prefix: str) -> None:
        self._nursery = nursery
        self.endpoints = etcd.endpoints
        self.prefix = prefix
        self.client = EtcdClient(etcd.endpoints)

    def start(
        self, name: str, *, address: str = "", ttl: float = 6.0, kind: type[Told] = Told
    ) -> Node:
        client = EtcdClient(self.endpoints, attempt=1.0)
        node: Node
        registry = kind(
            NodeInfo(name, address or f"{name}.example:9101"),
            client,
            prefix=self.prefix,
            ttl=ttl,
            emit=lambda event, **data: node.hear(event, **data),  # noqa: PLW0108 - made below
        )
        scope = trio.CancelScope()
        node = Node(registry, scope)
        self._nursery.start_soon(self._run, registry, scope)
        return node

    async def _run(self, registry: Registry, scope: trio.CancelScope) -> None:
        with scope:
            await registry.run()

    async def started(self, *names: str, ttl: float = 6.0) -> list[Node]:
        """Nodes that know each other."""
        nodes = [self.start(name, ttl=ttl) for name in names]
        for node in nodes:
            await node.registry.ready.wait()
            await node.until(lambda node=node: node.registry.nodes.keys() >= set(names))  # type: ignore[misc]
        return nodes

    async def rows(self) -> dict[str, tuple[int, str] | None]:
        """The things that the engine knows."""
        things = Keys(self.prefix).things
        page = await self.client.range(things)
        return {row.key.removeprefix(things): thing_claim(row.value) for row in page.rows}


@asynccontextmanager
async def open_nodes(etcd: Etcd, prefix: str, seconds: float = 30) -> AsyncIterator[Nodes]:
    with trio.fail_after(seconds):
        async with trio.open_nursery() as nursery:
            nodes = Nodes(nursery, etcd, prefix)
            yield nodes
            nursery.cancel_scope.cancel()
        await nodes.client.close()
