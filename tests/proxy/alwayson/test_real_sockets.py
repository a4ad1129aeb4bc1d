"""What only the kernel can show of a device's connection."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

import pytest
import trio
from wsproto.connection import Connection, ConnectionType
from wsproto.events import TextMessage

from edge_tunnel import DevelopmentKey, Node, NodeSettings
from edge_tunnel.link.keepalive import socket_of
from edge_tunnel.proxy.alwayson.websocket import DeviceSocket, acknowledging
from tests.proxy.alwayson.conftest import SETTINGS, SSH, echo
from tests.proxy.alwayson.device import Device


@asynccontextmanager
async def tcp_pair() -> AsyncIterator[tuple[trio.SocketStream, trio.SocketStream]]:
    async with (await trio.open_tcp_listeners(0, host="127.0.0.1"))[0] as listener:
        port = listener.socket.getsockname()[1]
        async with (
            await trio.open_tcp_stream("127.0.0.1", port) as client,
            await listener.accept() as server,
        ):
            yield client, server


@pytest.mark.skipif(not hasattr(socket, "TCP_QUICKACK"), reason="Linux alone has it")
async def test_the_kernel_acknowledges_at_once() -> None:
    """After each read anew: the kernel forgets it as soon as we answer, and a C device, which
    writes head and payload apart, would wait 40 ms for each message."""
    with trio.fail_after(10):
        async with tcp_pair() as (client, server):
            quick_ack = acknowledging(socket_of(server))
            device = DeviceSocket(server, "device", most=1000, quick_ack=quick_ack)
            there = Connection(ConnectionType.CLIENT)

            def option(name: int) -> int:
                return server.socket.getsockopt(socket.IPPROTO_TCP, name)

            for _ in range(4):
                await client.send_all(there.send(TextMessage("hello")))
                assert await device.receive() == "hello"
                assert option(socket.TCP_QUICKACK)
                await device.send("and back")
                assert not option(socket.TCP_QUICKACK)
                await client.receive_some()
            assert option(socket.TCP_NODELAY)


async def test_a_device_over_tcp() -> None:
    """The double over a real listener: AUTH, BIND, and the end of its socket."""
    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            node = Node(NodeSettings(alwayson=SETTINGS), DevelopmentKey("k"))
            listeners = await nursery.start(partial(node.serve, "127.0.0.1", 0))
            port = listeners[0].socket.getsockname()[1]
            async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
                device = Device(lambda: stream, nursery, "t", key="k", targets={SSH: echo})
                nursery.start_soon(device.run)
                await device.bound.wait()
                assert len(node.registry) == 1
            nursery.cancel_scope.cancel()
