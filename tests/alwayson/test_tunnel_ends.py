"""How a tunnel of our edge ends, by each of its two ends."""

from __future__ import annotations

import socket
import struct

import pytest
import trio

from edge_tunnel import (
    TunnelSettings,
)
from edge_tunnel.alwayson.messages import (
    Response,
)
from edge_tunnel.alwayson.tunnels import CompleteTunnel
from tests.alwayson.edge_bench import TID, Ends, bench, echo, target


async def test_the_end_of_the_service() -> None:
    """An EOF: the rest of the bytes, then 1000. C devices say nothing, Java devices just vanish."""

    async def serve(stream: trio.SocketStream) -> None:
        await stream.send_all(b"last words")

    async with target(serve) as port, bench(port) as on:
        tunnel = await on.open(port)
        assert await tunnel.receive(10) == b"last words"
        assert await tunnel.closed() == (1000, "the service ended the connection")
        closed = await on.event("tunnel_closed")
        assert closed["reason"] == "the service ended the connection"
        assert await on.said() == []
        assert on.edge.statistics().tunnels == 0


async def test_a_reset_of_the_service() -> None:
    """It does not look like an end: 1011, and DISCONNECT once, where C devices say it for ever."""

    async def serve(stream: trio.SocketStream) -> None:
        await stream.receive_some(1)
        linger = struct.pack("ii", 1, 0)
        stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)

    async with target(serve) as port, bench(port) as on:
        tunnel = await on.open(port)
        await tunnel.send(b"x")
        assert await tunnel.closed() == (1011, "the service reset the connection")
        await on.event("tunnel_closed")
        assert await on.said() == ["DISCONNECT"]


@pytest.mark.parametrize(
    ("code", "how"), [(1000, "EOF"), (1001, "ECONNRESET"), (1011, "ECONNRESET")]
)
async def test_the_server_closes(code: int, how: str) -> None:
    """The user's end is the service's EOF, after all bytes; anything else is a reset."""
    ends = Ends()
    async with target(ends.serve) as port, bench(port) as on:
        tunnel = await on.open(port)
        await tunnel.send(b"x" * 100_000)
        await tunnel.close(code)
        await ends.ended.wait()
        assert ends.how == how
        assert how != "EOF" or len(ends.data) == 100_000
        await on.event("tunnel_closed")
        assert await on.said() == []


async def test_the_server_dies() -> None:
    """A connection that breaks is no end: the service sees a reset."""
    ends = Ends()
    async with target(ends.serve) as port, bench(port) as on:
        tunnel = await on.open(port)
        await tunnel.send(b"half a file")
        await ends.began.wait()
        tunnel.cut()
        await ends.ended.wait()
        assert ends.how == "ECONNRESET"


async def test_the_users_end_leaves_a_talking_service_in_peace() -> None:
    """A service with something still to say reads all that came before the user's end."""
    ends = Ends()

    async def serve(stream: trio.SocketStream) -> None:
        await stream.send_all(b"y" * 300_000)
        await ends.serve(stream)

    async with target(serve) as port, bench(port) as on:
        tunnel = await on.open(port)
        await tunnel.send(b"x" * 100_000)
        await tunnel.close()
        await ends.ended.wait()
        assert (ends.how, len(ends.data)) == ("EOF", 100_000)


async def test_a_service_that_never_ends_is_not_heard_out() -> None:
    """A camera, when its user has left: it is cut off after a MiB, not read for ten seconds."""
    sent, over = 0, trio.Event()

    async def camera(stream: trio.SocketStream) -> None:
        nonlocal sent
        try:
            while True:
                await stream.send_all(b"y" * 65_536)
                sent += 65_536
        except trio.BrokenResourceError:
            over.set()

    async with target(camera) as port, bench(port) as on:
        tunnel = await on.open(port)
        await tunnel.receive(6000)
        await tunnel.close()
        await over.wait()
        assert sent < 64 * 2**20, "more than a MiB and what sockets hold"


async def test_complete_tunnel_does_not_overtake_bytes() -> None:
    """It comes on another socket than the bytes: these are delivered all the same."""
    ends = Ends()
    gate = trio.Event()

    async def serve(stream: trio.SocketStream) -> None:
        await gate.wait()
        await ends.serve(stream)

    async with target(serve) as port, bench(port) as on:
        tunnel = await on.open(port)
        done = CompleteTunnel(TID, "alice", "done").request("device")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(tunnel.send, b"x" * 100_000)
            assert await on.device.call(done) == Response()
            gate.set()
        await tunnel.close()
        await ends.ended.wait()
        assert (ends.how, len(ends.data)) == ("EOF", 100_000)


@pytest.mark.slow
async def test_a_complete_tunnel_that_is_not_closed() -> None:
    """After a while the device closes it; the service sees a reset, for nobody said EOF."""
    ends = Ends()
    async with target(ends.serve) as port, bench(port) as on:
        tunnel = await on.open(port)
        assert (await on.device.call(CompleteTunnel(TID, "alice").request("device"))).ok
        assert (await tunnel.closed())[0] == 1011
        await ends.ended.wait()
        assert ends.how == "ECONNRESET"


@pytest.mark.parametrize("ours", [True, False])
async def test_idle(ours: bool) -> None:
    """The shorter of the two times; bytes of either way count. C devices count one way only."""
    settings = TunnelSettings(idle_timeout=0.3 if ours else None)
    theirs = 60_000 if ours else 300
    async with target(echo) as port, bench(port, tunnel=settings) as on:
        tunnel = await on.open(port, idle_timeout=theirs)
        assert await tunnel.closed() == (1011, "no byte either way for 0.3 s")
        await on.event("tunnel_closed")
        assert await on.said() == ["CANCEL"]


async def test_a_one_way_stream_is_not_idle() -> None:
    """An upload to the device, for longer than the time: nothing comes back, and it goes on."""
    ends = Ends()
    async with target(ends.serve) as port, bench(port) as on:
        tunnel = await on.open(port, idle_timeout=300)
        for _ in range(12):
            await tunnel.send(b"x")
            await trio.sleep(0.05)
        await tunnel.close()
        await ends.ended.wait()
        assert (ends.how, ends.data) == ("EOF", b"x" * 12)
