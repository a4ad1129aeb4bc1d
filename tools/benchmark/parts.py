"""Our three processes, each a small program through the public SDK.

``python -m benchmark.parts node PORT | edge NODE_PORT SERVICE_PORT | remote NODE_PORT |
relay PORT | edges NODE_PORT COUNT``. Each prints a line of JSON when it serves; `edges` is many
idle edges in one process, of which all but the first wait for a line on stdin; `relay` is trio and
nothing of ours.
"""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from functools import partial
from typing import Final

import trio

import edge_tunnel

HOST: Final = "127.0.0.1"
KEY: Final = "benchmark"


def say(**what: object) -> None:
    """One line of JSON for the bench."""
    print(json.dumps(what), flush=True)


async def node(port: int = 0) -> None:
    """A proxy node."""
    settings = edge_tunnel.NodeSettings(name="benchmark")
    served = edge_tunnel.Node(settings, edge_tunnel.DevelopmentKey(KEY))
    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(served.serve, HOST, port)
        say(port=listeners[0].socket.getsockname()[1])


async def edge(node_port: int, service_port: int) -> None:
    """An edge with one thing and one service."""
    service = edge_tunnel.Service(name="service", host=HOST, port=service_port)
    async with edge_tunnel.open_edge(_config(node_port, "thing", service)) as opened:
        await opened.wait_bound()
        say(bound=True)
        await trio.sleep_forever()


async def remote(node_port: int) -> None:
    """A remote with one forwarded local port."""
    async with (
        edge_tunnel.open_remote([f"ws://{HOST}:{node_port}"], KEY) as opened,
        trio.open_nursery() as nursery,
    ):
        _, port = await nursery.start(opened.forward, "thing", "service")
        await opened.open_tunnel("thing", "service")
        say(port=port)


async def relay(target: int) -> None:
    """A bare trio relay, one connection for each: a third of the floor that trio itself sets."""

    async def pass_on(source: trio.SocketStream, sink: trio.SocketStream) -> None:
        with contextlib.suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            async for data in source:
                await sink.send_all(data)
            await sink.send_eof()

    async def carry(sock: trio.SocketStream) -> None:
        async with await trio.open_tcp_stream(HOST, target) as far, trio.open_nursery() as nursery:
            nursery.start_soon(pass_on, sock, far)
            nursery.start_soon(pass_on, far, sock)

    async with trio.open_nursery() as nursery:
        serve = partial(trio.serve_tcp, carry, 0, host=HOST, backlog=1024)
        listeners = await nursery.start(serve)
        say(port=listeners[0].socket.getsockname()[1])


async def edges(node_port: int, count: int) -> None:
    """Many idle edges."""
    async with AsyncExitStack() as stack:
        for number in range(count):
            config = _config(node_port, f"thing-{number}")
            opened = await stack.enter_async_context(edge_tunnel.open_edge(config))
            await opened.wait_bound()
            if number == 0:
                say(bound=1)
                await trio.to_thread.run_sync(sys.stdin.readline)
        say(bound=count)
        await trio.sleep_forever()


def _config(node_port: int, thing: str, *services: edge_tunnel.Service) -> edge_tunnel.EdgeConfig:
    return edge_tunnel.EdgeConfig(
        servers=(edge_tunnel.Server(host=HOST, port=node_port),),
        app_key=edge_tunnel.Secret(KEY),
        things=(thing,),
        services=services,
        link=edge_tunnel.LinkSettings(encrypted=False),
    )


def main() -> None:
    """One part, as the command line says."""
    parts: dict[str, Callable[..., Awaitable[None]]]
    parts = {each.__name__: each for each in (node, edge, remote, relay, edges)}
    trio.run(parts[sys.argv[1]], *map(int, sys.argv[2:]))


if __name__ == "__main__":
    main()
