"""link/shared.py: two users of one connection, and neither writes into the other's frame."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio
import trio.testing

from edge_tunnel.errors import LinkLost
from edge_tunnel.link.shared import SharedConnection
from edge_tunnel.link.transport import Transport
from edge_tunnel.link.websocket import open_client, serve
from edge_tunnel.testing.wire import wire_pair

CAPACITY = 1000
FRAME_HEAD = 8  # of a masked frame of this size
REST = 4  # bytes of the torn frame that did not get out: fewer than CLOSE has


async def test_what_follows_a_torn_frame_is_not_taken_for_its_rest(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """A send is cancelled in a frame, and the goodbye must not fill the hole that it left."""
    near, far = wire_pair(CAPACITY)
    cancelled = trio.Event()
    got: list[bytes] = []

    async def listen(transport: Transport) -> None:
        await cancelled.wait()
        with pytest.raises(LinkLost):
            await _receive_all(transport, got)

    with trio.fail_after(100):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(lambda: serve(far, listen, peer="test", timeout=5))
            async with open_client(near, host="h", path="/", peer="p", timeout=5) as transport:
                with trio.move_on_after(1):
                    await transport.send(b"x" * (CAPACITY - FRAME_HEAD + REST))
                cancelled.set()
                with pytest.raises(LinkLost):
                    await transport.send(b"more")
    assert got == []


async def _receive_all(transport: Transport, got: list[bytes]) -> None:
    while True:
        got.append(await transport.receive())


async def test_whoever_waits_for_a_torn_frame_writes_nothing(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """The library's answer may wait for our frame; when that is torn, so is the connection."""
    near, far = wire_pair(CAPACITY)
    shared = SharedConnection(near)
    with trio.fail_after(100):
        async with trio.open_nursery() as nursery:
            frame = await nursery.start(_send_cancellable, shared)
            await trio.testing.wait_all_tasks_blocked()
            nursery.start_soon(_send_in_vain, shared)
            await trio.testing.wait_all_tasks_blocked()
            frame.cancel()
        assert await far.receive_some() == b"x" * CAPACITY
        assert near.pending() == 0


async def _send_cancellable(
    shared: SharedConnection, task_status: trio.TaskStatus[trio.CancelScope]
) -> None:
    with trio.CancelScope() as scope:
        task_status.started(scope)
        await shared.send_all(b"x" * (CAPACITY + REST))


async def _send_in_vain(shared: SharedConnection) -> None:
    with pytest.raises(trio.BrokenResourceError):
        await shared.send_all(b"y")


async def test_pings_that_nobody_reads_the_answers_of(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """WebSocket pings without end, and no answer is read: the link is lost, no memory is."""
    near, far = wire_pair(CAPACITY)
    sent = 0

    async def send_pings() -> None:
        nonlocal sent
        while sent < 10_000_000:
            await near.send_all(b"\x89\xfd" + bytes(4 + 125))
            sent += 131

    async def listen(transport: Transport) -> None:
        with pytest.raises(LinkLost, match="pings faster"):
            await transport.receive()

    async def flood() -> None:
        async with open_client(near, host="h", path="/", peer="p", timeout=5):
            with pytest.raises(trio.BrokenResourceError):
                await send_pings()

    with trio.fail_after(100):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(lambda: serve(far, listen, peer="test", timeout=5))
            nursery.start_soon(flood)
    assert sent < 1_000_000


async def test_a_rest_that_nobody_sends(autojump_clock: trio.testing.MockClock) -> None:
    """The link ended with a frame half sent: the goodbye waits for nothing, and is not sent."""
    async with tcp_pair() as (near, far):
        shared = SharedConnection(near)
        with trio.fail_after(100):
            while shared.send_now([bytes(1_000_000)]):
                pass
            shared.abandon()
            with pytest.raises(trio.BrokenResourceError):
                await shared.send_all(b"goodbye")
            with pytest.raises(trio.BrokenResourceError):
                shared.send_now([b"more"])
        await trio.aclose_forcefully(far)


@asynccontextmanager
async def tcp_pair() -> AsyncIterator[tuple[trio.SocketStream, trio.SocketStream]]:
    """Two connected sockets."""
    async with (await trio.open_tcp_listeners(0, host="127.0.0.1"))[0] as listener:
        near = await trio.open_tcp_stream(*listener.socket.getsockname())
        far = await listener.accept()
    async with near, far:
        yield near, far
