"""Our processes, each a small program through the public SDK: ``python -m benchmark.parts ...``

::

    node PORT [TLS [SERVICE_PORT]]    edge NODE_PORT SERVICE_PORT [TLS [PROTOCOL]]
    remote NODE_PORT [TLS]            relay PORT
    edges NODE_PORT COUNT             crowd NODE_PORT TUNNELS STREAMS
    many_edges NODE_PORT SERVICE_PORT COUNT NAME
    many_remotes NODE_PORT COUNT NAME

TLS is a folder of ``edge-tunnel tls init``; without it links are plain. With a SERVICE_PORT the
node takes AlwaysOn devices, and that is their service. Each prints a line of JSON
when it serves. `edges` are idle, in one process, and all but the first wait for a line on stdin; so
does `crowd`, a remote with many idle tunnels and streams. `many_edges` and `many_remotes` are pairs
in two processes; their things are called NAME-1 and so on. `relay` is trio and nothing of ours.
"""

from __future__ import annotations

import contextlib
import json
import ssl
import sys
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import replace
from functools import partial
from typing import Final

import trio

import edge_tunnel
from edge_tunnel.cli.allocator import keep_freed_memory
from edge_tunnel.cli.open_files import allow_open_files
from edge_tunnel.config import NodeTls
from edge_tunnel.config.alwayson import AlwaysOnSettings
from edge_tunnel.proxy.tls import files_of, server_context

HOST: Final = "127.0.0.1"
KEY: Final = "benchmark"

_PER_LINK: Final = 1000
"""Tunnels, and streams in one tunnel: 1,024 are allowed of both."""

_kept: Final[list[object]] = []
"""What nobody closes."""


def say(**what: object) -> None:
    """One line of JSON for the bench."""
    print(json.dumps(what), flush=True)


async def node(port: int = 0, tls: str = "", alwayson: int = 0) -> None:
    """A proxy node."""
    allow_open_files(20_000)
    service = edge_tunnel.Service(name="service", host=HOST, port=alwayson)
    settings = edge_tunnel.NodeSettings(
        name="benchmark",
        # a fleet comes from one address here, and faster than the default allows
        max_unauthenticated_per_source=0,
        admission_rate=250.0,
        alwayson=AlwaysOnSettings(services=(service,)) if alwayson else None,
    )
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


async def edge(node_port: int, service_port: int, tls: str = "", protocol: str = "auto") -> None:
    """An edge with one thing and one service."""
    allow_open_files(20_000)
    service = edge_tunnel.Service(name="service", host=HOST, port=service_port)
    config = replace(_config(node_port, "thing", service, tls=tls), protocol=protocol)
    async with edge_tunnel.open_edge(config) as opened:
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


async def many_edges(node_port: int, service_port: int, count: int, name: str) -> None:
    """Edges with links of their own, each with one thing and the one service."""
    service = edge_tunnel.Service(name="service", host=HOST, port=service_port)
    async with AsyncExitStack() as stack:
        for number in range(count):
            config = _config(node_port, f"{name}-{number}", service)
            opened = await stack.enter_async_context(edge_tunnel.open_edge(config))
            await opened.wait_bound()
        say(bound=count)
        await trio.sleep_forever()


async def many_remotes(node_port: int, count: int, name: str) -> None:
    """Remotes with links of their own, each with a port for the thing of its number."""
    url, ports = f"ws://{HOST}:{node_port}", []
    async with AsyncExitStack() as stack:
        nursery = await stack.enter_async_context(trio.open_nursery())
        for number in range(count):
            thing = f"{name}-{number}"
            opened = await stack.enter_async_context(
                edge_tunnel.open_remote([url], KEY, thing=thing)  # as `edge-tunnel connect` does
            )
            _, port = await nursery.start(opened.forward, thing, "service")
            await opened.open_tunnel(thing, "service")
            ports.append(port)
        say(ports=ports)
        await trio.sleep_forever()


async def crowd(node_port: int, tunnels: int, streams: int) -> None:
    """Remotes with idle tunnels, and with idle streams in tunnels of their own."""
    allow_open_files(20_000)
    say(open=0)
    await trio.to_thread.run_sync(sys.stdin.readline)
    async with AsyncExitStack() as stack, trio.open_nursery() as nursery:
        links = [
            await stack.enter_async_context(
                edge_tunnel.open_remote([f"ws://{HOST}:{node_port}"], KEY, encryption=False)
            )
            for _ in range(-(-(tunnels + streams) // _PER_LINK))
        ]
        async with trio.open_nursery() as opening:
            for number, opened in enumerate(links):
                left = partial(min, _PER_LINK)
                first = number * _PER_LINK
                opening.start_soon(_open_tunnels, opened, max(0, left(tunnels - first)))
                opening.start_soon(_open_streams, opened, max(0, left(streams - first)))
        say(open=tunnels + streams)
        nursery.start_soon(trio.sleep_forever)


async def _open_tunnels(opened: edge_tunnel.Remote, count: int) -> None:
    while count:
        opened._by_name.clear()  # noqa: SLF001 - it would give us the one that is open
        try:
            await opened.open_tunnel("thing", "service")
        except edge_tunnel.TunnelEnded:  # a node takes only so many a second from one link
            await trio.sleep(0.5)
        else:
            count -= 1


async def _open_streams(opened: edge_tunnel.Remote, count: int) -> None:
    for _ in range(count):
        stream = await opened.open_stream("thing", "service")
        _kept.append(stream)
        await stream.send_all(b"i")
        await stream.receive_some(1)


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
    known = (node, edge, remote, relay, edges, crowd, many_edges, many_remotes)
    parts = {each.__name__: each for each in known}
    trio.run(parts[sys.argv[1]], *(int(w) if w.isdigit() else w for w in sys.argv[2:]))


if __name__ == "__main__":
    main()
