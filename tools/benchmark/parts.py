"""Our three processes, each a small program through the public SDK.

``python -m benchmark.parts node PORT [TLS] | edge NODE_PORT SERVICE_PORT [TLS] |
remote NODE_PORT [TLS] | relay PORT | edges NODE_PORT COUNT``. TLS is a folder of ``edge-tunnel
tls init``; without it links are plain. Each prints a line of JSON when it serves; `edges` is many
idle edges in one process, of which all but the first wait for a line on stdin; `relay` is trio and
nothing of ours.
"""

from __future__ import annotations

import contextlib
import json
import ssl
import sys
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from functools import partial
from typing import Final

import trio

import edge_tunnel
from edge_tunnel.cli.allocator import keep_freed_memory
from edge_tunnel.config import NodeTls
from edge_tunnel.proxy.tls import files_of, server_context

HOST: Final = "127.0.0.1"
KEY: Final = "benchmark"


def say(**what: object) -> None:
    """One line of JSON for the bench."""
    print(json.dumps(what), flush=True)


async def node(port: int = 0, tls: str = "") -> None:
    """A proxy node."""
    settings = edge_tunnel.NodeSettings(name="benchmark")
    served = edge_tunnel.Node(settings, edge_tunnel.DevelopmentKey(KEY))
    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(served.serve, HOST, port, _shown(tls))
        say(port=listeners[0].socket.getsockname()[1])


def _shown(tls: str) -> Callable[[], ssl.SSLContext] | None:
    if not tls:
        return None
    settings = NodeTls(certificate=f"{tls}/node.pem", key=f"{tls}/node.key")
    context = server_context(settings, files_of(settings))
    return lambda: context


async def edge(node_port: int, service_port: int, tls: str = "") -> None:
    """An edge with one thing and one service."""
    service = edge_tunnel.Service(name="service", host=HOST, port=service_port)
    async with edge_tunnel.open_edge(_config(node_port, "thing", service, tls=tls)) as opened:
        await opened.wait_bound()
        say(bound=True)
        await trio.sleep_forever()


async def remote(node_port: int, tls: str = "", encryption: int = 1) -> None:
    """A remote with one forwarded local port."""
    url = f"{'wss' if tls else 'ws'}://{HOST}:{node_port}"
    async with (
        edge_tunnel.open_remote(
            [url], KEY, tls=_trusted(tls), encryption=bool(encryption)
        ) as opened,
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


def _trusted(tls: str) -> edge_tunnel.TlsSettings:
    return edge_tunnel.TlsSettings(ca_file=f"{tls}/ca.pem" if tls else None)


def _config(
    node_port: int, thing: str, *services: edge_tunnel.Service, tls: str = ""
) -> edge_tunnel.EdgeConfig:
    return edge_tunnel.EdgeConfig(
        servers=(edge_tunnel.Server(host=HOST, port=node_port),),
        app_key=edge_tunnel.Secret(KEY),
        things=(thing,),
        services=services,
        link=edge_tunnel.LinkSettings(encrypted=bool(tls)),
        tls=_trusted(tls),
    )


def main() -> None:
    """One part, as the command line says."""
    keep_freed_memory()  # as our programs do
    parts: dict[str, Callable[..., Awaitable[None]]]
    parts = {each.__name__: each for each in (node, edge, remote, relay, edges)}
    trio.run(parts[sys.argv[1]], *(int(w) if w.isdigit() else w for w in sys.argv[2:]))


if __name__ == "__main__":
    main()
