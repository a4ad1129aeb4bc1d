"""One device, its remotes on nodes of a test's choice, and exchanges whose bytes are compared."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

import trio

from edge_tunnel import Edge, Remote, TunnelSettings, open_edge, open_remote
from edge_tunnel.config.model import EdgeConfig, LinkSettings, Server
from edge_tunnel.config.secret import Secret
from edge_tunnel.edge.services import ServiceTarget
from edge_tunnel.link.notices import Notice
from edge_tunnel.testing.cluster import KEY, Cluster, open_cluster
from tests.conftest import echo

__all__ = ["Site", "exchange", "open_site"]

NODES = ("a", "b", "c")


@dataclasses.dataclass
class Site:
    """A device and its remotes on a cluster of three nodes."""

    cluster: Cluster
    edge: Edge
    remotes: list[Remote]
    notices: list[Notice]
    """Of all remotes and the edge."""

    def count(self, event: str) -> int:
        """How often it happened."""
        return sum(notice.event == event for notice in self.notices)

    def hop_tunnels(self) -> int:
        """Tunnels that take a hop now, seen from their remotes' nodes."""
        return sum(
            route.edge is not None and route.edge.is_hop
            for node in self.cluster.nodes.values()
            for route in node.routes._routes.values()
        )


def _urls(first: str) -> tuple[str, ...]:
    """All nodes, this one first."""
    start = NODES.index(first)
    return tuple(f"mem://{name}" for name in NODES[start:] + NODES[:start])


class _MemConfig(EdgeConfig):
    def urls(self) -> tuple[str, ...]:
        return tuple(f"mem://{server.host}" for server in self.servers)


@asynccontextmanager
async def open_site(
    device: str,
    remotes: Sequence[str],
    *,
    services: Mapping[str, ServiceTarget] | None = None,
    delay: float = 0.001,
    lag: float = 0.005,
    capacity: int = 256 * 1024,
) -> AsyncIterator[Site]:
    """A device linked to the node `device`, and a remote for each node named in `remotes`."""
    config = _MemConfig(
        servers=tuple(Server(host=url.removeprefix("mem://"), port=0) for url in _urls(device)),
        app_key=Secret(KEY),
        things=("device",),
        link=LinkSettings(retry_interval=1.0),
        tunnel=TunnelSettings(),
    )
    async with AsyncExitStack() as stack:
        cluster = await stack.enter_async_context(open_cluster(*NODES, capacity=capacity))
        cluster.delay, cluster.registry.lag = delay, lag
        edge = await stack.enter_async_context(
            open_edge(config, services or {"echo": echo}, dial=cluster.dial_as("edge"))
        )
        site = Site(cluster, edge, [], [])
        edge.notices.call(site.notices.append)
        await edge.wait_bound()
        await trio.sleep(2 * lag)
        for number, node in enumerate(remotes):
            dial = cluster.dial_as(f"remote {number}")
            remote = await stack.enter_async_context(open_remote(_urls(node), KEY, dial=dial))
            remote.notices.call(site.notices.append)
            site.remotes.append(remote)
        yield site


async def exchange(remote: Remote, size: int, rng: random.Random) -> float:
    """Send `size` random bytes through the echo service, compare; the longest pause in seconds."""
    data = rng.randbytes(size)
    stream = await remote.open_stream("device", "echo")

    async def send() -> None:
        done = 0
        while done < size:
            part = rng.randrange(1, 60_000)
            await stream.send_all(data[done : done + part])
            done += part
        await stream.send_eof()

    received, last, longest = bytearray(), trio.current_time(), 0.0
    async with trio.open_nursery() as nursery:
        nursery.start_soon(send)
        async for chunk in stream:
            received += chunk
            now = trio.current_time()
            last, longest = now, max(longest, now - last)
    assert received == data, "bytes were lost, repeated or reordered"
    await stream.aclose()
    return longest
