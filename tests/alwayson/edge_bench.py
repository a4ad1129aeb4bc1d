"""An edge of ours at a stand-in for a server that knows only AlwaysOn. Real sockets."""

from __future__ import annotations

import errno
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import trio

from edge_tunnel import (
    Edge,
    EdgeConfig,
    LinkSettings,
    Notice,
    Secret,
    Server,
    Service,
    open_edge,
)
from edge_tunnel.alwayson.messages import (
    Response,
)
from edge_tunnel.alwayson.tunnels import service
from edge_tunnel.link.groups import open_plain_nursery
from tests.alwayson.connection_server import (
    KEY,
    ConnectionServer,
    Device,
    TunnelSocket,
    connection_server,
)

TID = "0123456789abcdef0123456789abcdef"


Serve = Callable[[trio.SocketStream], Awaitable[None]]


@asynccontextmanager
async def target(serve: Serve) -> AsyncIterator[int]:
    """A service on the loopback; its port."""

    async def one(stream: trio.SocketStream) -> None:
        async with stream:
            with suppress(trio.BrokenResourceError):  # of a reset
                await serve(stream)

    async with open_plain_nursery() as nursery:
        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        nursery.start_soon(trio.serve_listeners, one, [listener])
        yield listener.socket.getsockname()[1]
        nursery.cancel_scope.cancel()


async def echo(stream: trio.SocketStream) -> None:
    async for data in stream:
        await stream.send_all(data)


def config_of(server: ConnectionServer, *ports: int, **fields: Any) -> EdgeConfig:
    return EdgeConfig(
        servers=(Server(host="127.0.0.1", port=server.port),),
        app_key=fields.pop("app_key", Secret(KEY)),
        things=fields.pop("things", ("device",)),
        services=tuple(
            Service(name=f"service-{number}", host="127.0.0.1", port=port)
            for number, port in enumerate(ports)
        ),
        link=fields.pop("link", LinkSettings(encrypted=False, retry_interval=0.1)),
        **fields,
    )


class Bench:
    """An edge that is bound, and what happens to it."""

    def __init__(self, server: ConnectionServer, edge: Edge, device: Device) -> None:
        self.server = server
        self.edge = edge
        self.device = device
        self.events: list[Notice] = []
        self._changed = trio.lowlevel.ParkingLot()
        edge.notices.call(self._take)

    def _take(self, notice: Notice) -> None:
        self.events.append(notice)
        self._changed.unpark_all()

    async def event(self, name: str) -> Notice:
        """The first of this name from now on, or that has come already."""
        while True:
            for each in self.events:
                if each.event == name:
                    return each
            await self._changed.park()

    async def said(self) -> list[str]:
        """What the device has said of tunnels up to now."""
        assert (await self.device.call(service("device", "NotifyPropertyUpdate"))).ok
        return [each.command for each in self.device.commands]

    async def open(self, port: int, tid: str = TID, **more: Any) -> TunnelSocket:
        """A tunnel."""
        response = await self.device.start("device", tid, port, **more)
        assert response == Response()
        return await self.server.tunnel()


@asynccontextmanager
async def bench(*ports: int, **fields: Any) -> AsyncIterator[Bench]:
    with trio.fail_after(30):
        async with (
            connection_server(ConnectionServer()) as server,
            open_edge(config_of(server, *ports, **fields)) as edge,
        ):
            device = await server.device()
            await edge.wait_bound()
            yield Bench(server, edge, device)


class Ends:
    """A service that remembers how its connection ended."""

    def __init__(self) -> None:
        self.data = b""
        self.began = trio.Event()
        self.how = ""
        self.ended = trio.Event()

    async def serve(self, stream: trio.SocketStream) -> None:
        try:
            async for data in stream:
                self.data += data
                self.began.set()
            self.how = "EOF"
        except trio.BrokenResourceError as error:
            cause = error.__cause__
            assert isinstance(cause, OSError)
            self.how = errno.errorcode[cause.errno or 0]
        self.ended.set()
