"""A relay in every connection: endpoint to node, node to node, node to etcd.

The ways of an endpoint: its own relay, HAProxy, the front of a node, the node; or, for some, the
fronts of all nodes, as a list in their configuration. A node's hops lead to the relay in front of
the other node, which knows by JOIN who connects.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from functools import partial

import trio

from edge_tunnel.errors import RemoteProtocolError
from edge_tunnel.protocol.codec import decode
from edge_tunnel.protocol.frames import Join
from edge_tunnel.testing.cluster_site import ClusterSite, NodeProcess
from edge_tunnel.testing.relay import Relay

__all__ = ["Network"]


class Network:
    """All relays, by what they stand in front of."""

    def __init__(self, site: ClusterSite, nursery: trio.Nursery) -> None:
        self._site = site
        self._nursery = nursery
        self.fronts: dict[str, Relay] = {}
        """For links, by node."""

        self.hops: dict[str, Relay] = {}
        """For hops to a node, by its name."""

        self.engines: dict[str, list[Relay]] = {}
        """To each member of etcd, by the node that connects."""

        self.links: dict[str, Relay] = {}
        """From an endpoint to HAProxy, by the endpoint's name."""

        self._parted: set[frozenset[str]] = set()  # pairs of nodes
        self._alone: set[str] = set()  # nodes

    async def surround(self, node: NodeProcess) -> int:
        """Put relays around a node that was not started; the port of its front."""
        name = node.name
        self.fronts[name] = await self._open(node.port)
        self.hops[name] = await self._open(node.hop_port)
        node.advertised = self.hops[name].port
        ports = [each.port for each in self._site.etcd.endpoints]
        self.engines[name] = [await self._open(port) for port in ports]
        node.engine = "etcd://" + ",".join(f"127.0.0.1:{e.port}" for e in self.engines[name])
        return self.fronts[name].port

    async def open_link(self, name: str) -> str:
        """The URL of an endpoint's own way to HAProxy."""
        assert self._site.haproxy is not None
        self.links[name] = await self._open(self._site.haproxy.port)
        return f"ws://127.0.0.1:{self.links[name].port}"

    def front_urls(self) -> list[str]:
        """Of all nodes."""
        return [f"ws://127.0.0.1:{relay.port}" for relay in self.fronts.values()]

    async def _open(self, port: int) -> Relay:
        relay = Relay("127.0.0.1", port)
        await self._nursery.start(relay.serve)
        return relay

    # -- partitions between nodes

    def part(self, one: str, other: str) -> None:
        """Nothing passes between these nodes any more, either way."""
        self._parted.add(frozenset((one, other)))
        self._stall_hops()

    def join(self, one: str, other: str) -> None:
        """The end of `part`."""
        self._parted.discard(frozenset((one, other)))
        self._stall_hops()

    def isolate(self, node: str) -> None:
        """Nothing passes between this node and any other."""
        self._alone.add(node)
        self._stall_hops()

    def reunite(self, node: str) -> None:
        """The end of `isolate`."""
        self._alone.discard(node)
        self._stall_hops()

    def _stall_hops(self) -> None:
        for node, relay in self.hops.items():
            relay.stall(partial(self._is_parted, node))

    def _is_parted(self, node: str, head: bytes) -> bool:
        dialler = _joiner(head)
        if self._alone & {node, dialler}:
            return True
        return frozenset((node, dialler)) in self._parted

    def stall_engine(self, node: str) -> None:
        """The node reaches no member of etcd any more."""
        for relay in self.engines[node]:
            relay.stall()

    def free_engine(self, node: str) -> None:
        """The end of `stall_engine`."""
        for relay in self.engines[node]:
            relay.go_on()

    def calm(self) -> None:
        """No fault anywhere."""
        self._parted.clear()
        self._alone.clear()
        for relay in self._all():
            relay.go_on()
            relay.delay, relay.rate = 0.0, float("inf")

    def _all(self) -> Iterable[Relay]:
        yield from (*self.fronts.values(), *self.hops.values(), *self.links.values())
        for relays in self.engines.values():
            yield from relays


def _joiner(head: bytes) -> str:
    """The node that dialled a hop, by its first message; "" as long as that is not here."""
    size = int.from_bytes(head[:4], "big")
    with contextlib.suppress(RemoteProtocolError):
        frame = decode(head[4 : 4 + size])
        if isinstance(frame, Join):
            return frame.node
    return ""
