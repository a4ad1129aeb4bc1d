"""A cluster in memory that is asked for its lists."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import trio
import trio.testing

from edge_tunnel.protocol.frames import (
    Bind,
    Bound,
    Offer,
)
from edge_tunnel.remote.lists import Lister, open_lister
from edge_tunnel.testing.cluster import KEY, Cluster
from tests.proxy.hops import link

SILENT = "did not answer within 2 s"


@asynccontextmanager
async def lister_of(cluster: Cluster, node: str) -> AsyncIterator[Lister]:
    async with open_lister([f"mem://{node}"], KEY, cluster.dial_as("lister")) as lister:
        yield lister


async def bound(cluster: Cluster, node: str, *things: str, services: tuple[str, ...] = ()) -> Any:
    """An edge with these things."""
    edge = await link(cluster, node, "edge")
    for thing in things:
        await edge.say(Bind(thing, 5))
        assert isinstance(await edge.hear(), Bound)
        await edge.say(Offer(thing, services))
    await trio.sleep(0.01)
    return edge


def nothing_is_kept(cluster: Cluster) -> bool:
    """No list, and no hop that believes to be needed for one."""
    ports = [
        each.port
        for node in cluster.nodes.values()
        if node.hops is not None
        for each in node.hops._dialled.values()
    ]
    return not any(port.asks for port in ports) and not any(
        node.traffic.lists._questions for node in cluster.nodes.values()
    )
