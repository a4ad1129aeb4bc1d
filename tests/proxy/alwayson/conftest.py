"""A node with a device and a remote, in memory."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial

import trio

from edge_tunnel import Remote, Service, open_remote
from edge_tunnel.config.alwayson import AlwaysOnSettings
from edge_tunnel.testing.cluster import KEY, Cluster, open_cluster
from edge_tunnel.testing.wire import WireStream
from tests.proxy.alwayson.device import Device, Target

SSH, WEB, NOWHERE = 22, 80, 9
THING = "SteamSensor1"


def offer(name: str, port: int) -> Service:
    return Service(name=name, host="127.0.0.1", port=port)


SETTINGS = AlwaysOnSettings(
    services=(offer("ssh", SSH), offer("web", WEB), offer("nowhere", NOWHERE)), notify=False
)


async def echo(stream: WireStream) -> None:
    """A service that sends back what it gets."""
    async for data in stream:
        await stream.send_all(data)


async def greeting(stream: WireStream) -> None:
    """A service that speaks first, and closes."""
    await stream.send_all(b"hello from the device")


async def all_of(stream: trio.abc.ReceiveStream) -> bytes:
    return b"".join([part async for part in stream])


class Stage:
    """What a test has."""

    def __init__(self, cluster: Cluster, nursery: trio.Nursery) -> None:
        self.cluster = cluster
        self.nursery = nursery

    def device(
        self,
        *things: str,
        node: str = "node",
        key: str = KEY,
        style: str = "c",
        targets: dict[int, Target] | None = None,
    ) -> Device:
        """One that is not started. Its connections all go to this node."""
        connect = partial(self.cluster.connect, "device", node)
        usual: dict[int, Target] = {SSH: echo, WEB: greeting}
        named = usual if targets is None else targets
        return Device(connect, self.nursery, *things, key=key, style=style, targets=named)

    async def bound(self, *things: str, **more: object) -> Device:
        """One that runs, with its things bound."""
        device = self.device(*(things or (THING,)), **more)  # type: ignore[arg-type]
        self.nursery.start_soon(device.run)
        await device.bound.wait()
        return device


@asynccontextmanager
async def open_stage(
    *nodes: str, capacity: int = 256 * 1024, **settings: object
) -> AsyncIterator[tuple[Stage, Remote]]:
    names = nodes or ("node",)
    urls = tuple(f"mem://{name}" for name in names)
    with trio.fail_after(10_000):
        async with (
            open_cluster(
                *names,
                capacity=capacity,
                alwayson=replace(SETTINGS, **settings),  # type: ignore[arg-type]
            ) as cluster,
            trio.open_nursery() as nursery,
        ):
            async with open_remote(urls, KEY, dial=cluster.dial_as("remote")) as remote:
                yield Stage(cluster, nursery), remote
            nursery.cancel_scope.cancel()
