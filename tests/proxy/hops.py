"""Nodes of a cluster in memory, and peers of them that speak frame by frame."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio
import trio.testing

from edge_tunnel.protocol.frames import (
    Bind,
    Bound,
    Join,
    Welcome,
)
from edge_tunnel.testing.cluster import KEY, Cluster, open_cluster
from edge_tunnel.testing.transports import transport_pair
from tests.proxy.peers import Peer, attach, attached, hello

JOIN = Join(1, 1, "b", "edge_tunnel/0.1.0", KEY, 6000, ())


@asynccontextmanager
async def cluster_of(*names: str) -> AsyncIterator[Cluster]:
    with trio.fail_after(1000):
        async with open_cluster(*names) as cluster:
            yield cluster


async def link(cluster: Cluster, node: str, role: str) -> Peer:
    """An endpoint that says what a test wants."""
    near, far = transport_pair()
    cluster._nursery.start_soon(cluster.nodes[node].talk, far)
    peer = Peer(near)
    await peer.say(hello(role, key=KEY))
    assert isinstance(await peer.hear(), Welcome)
    return peer


async def hop(cluster: Cluster, node: str, join: Join = JOIN) -> Peer:
    """Another node, played by the test."""
    near, far = transport_pair()
    hops = cluster.nodes[node].hops
    assert hops is not None
    cluster._nursery.start_soon(hops.take, far, None)
    peer = Peer(near)
    await peer.say(join)
    return peer


async def bound(cluster: Cluster, node: str, epoch: int = 1) -> Peer:
    edge = await link(cluster, node, "edge")
    await edge.say(Bind("t", epoch))
    assert await edge.hear() == Bound("t", epoch)
    await trio.sleep(0.01)
    return edge


async def across(cluster: Cluster) -> tuple[Peer, Peer]:
    """A tunnel whose edge is on a, its remote on b."""
    edge, remote = await bound(cluster, "a"), await link(cluster, "b", "remote")
    await remote.say(attach())
    assert await edge.hear() == attach()
    await edge.say(attached())
    assert await remote.hear() == attached()
    return edge, remote
