#!/usr/bin/env python3
"""Record the greetings of this version, for tests/vectors/greetings-MINOR.json.

    tools/record_greetings.py > tests/vectors/greetings-0.1.json

Once for each minor version, when it is released. tests/system/test_neighbours.py plays what was
recorded against the code of its day, so that nodes and endpoints can be upgraded one by one.
"""

from __future__ import annotations

import json
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import trio

sys.path.insert(0, str(Path(__file__).parents[1]))

from edge_tunnel import EdgeConfig, Secret, Server, open_edge, open_remote
from edge_tunnel.link.transport import Transport
from edge_tunnel.protocol.frames import Kind
from edge_tunnel.protocol.greeting import FEATURES, SOFTWARE
from edge_tunnel.testing.cluster import KEY, Cluster, open_cluster

Opens = Callable[[str], AbstractAsyncContextManager[Transport]]


class Tape(Transport):
    """A transport that keeps the first message of each way."""

    def __init__(self, inner: Transport, said: list[bytes], heard: list[bytes]) -> None:
        self.inner, self.said, self.heard = inner, said, heard
        self.peer = inner.peer

    async def send(self, message: bytes) -> None:
        if not self.said:
            self.said.append(message)
        await self.inner.send(message)

    async def receive(self) -> bytes:
        message = await self.inner.receive()
        if not self.heard:
            self.heard.append(message)
        return message

    def close(self, why: str = "closed") -> None:
        self.inner.close(why)


class Recorder:
    """Greetings by who dialled."""

    def __init__(self) -> None:
        self.first: dict[str, tuple[list[bytes], list[bytes]]] = {}

    def dial(self, who: str, opens: Opens) -> Opens:
        @asynccontextmanager
        async def dial(target: str) -> AsyncIterator[Transport]:
            async with opens(target) as transport:
                yield Tape(transport, *self.first.setdefault(who, ([], [])))

        return dial


async def greet_all(recorder: Recorder, cluster: Cluster) -> None:
    """An edge, a remote, and a hop between two nodes."""
    config = EdgeConfig(
        servers=(Server(host="a", port=0),), app_key=Secret(KEY), things=("device",)
    )
    hops = cluster.nodes["b"].hops
    assert hops is not None
    hops._dial = recorder.dial("node", hops._dial)  # noqa: SLF001

    def to(name: str, who: str) -> Opens:
        inner = cluster.dial_as(who)
        return recorder.dial(who, lambda _url: inner(f"mem://{name}"))

    async with (
        open_edge(config, dial=to("a", "edge")) as edge,
        open_remote(["ws://b"], KEY, dial=to("b", "remote")) as remote,
    ):
        await edge.wait_bound()
        with trio.move_on_after(1):
            await remote.open_tunnel("device", "none")


async def main() -> None:
    recorder = Recorder()
    async with open_cluster("a", "b") as cluster:
        try:
            await greet_all(recorder, cluster)
        except Exception as error:
            if not recorder.first.get("node", ([], []))[1]:
                raise
            print(f"(the tunnel was refused, as it should be: {error})", file=sys.stderr)
    recorded = {
        "about": "made by tools/record_greetings.py; the key and the nodes' names are the tests'",
        "software": SOFTWARE,
        "features": FEATURES,
        "kinds": [int(kind) for kind in Kind],
    }
    for who, (said, heard) in recorder.first.items():
        recorded |= {who: said[0].hex(), f"welcome to {who}": heard[0].hex()}
    print(json.dumps(recorded, indent=1))


trio.run(main)
