"""The hazards of the stack (DESIGN.md sections 4 and 9), each reproduced once and guarded since.

They run over real WebSockets on a bounded wire, in virtual time, but for the RST, which needs TCP.
"""

from __future__ import annotations

import contextlib
import random
import socket
import struct

import pytest
import trio
import trio.testing

from edge_tunnel import DevelopmentKey, LinkLost, Node, NodeSettings, TunnelStream, open_remote
from edge_tunnel.errors import RemoteProtocolError
from edge_tunnel.link.link import Link
from edge_tunnel.link.websocket import open_client, serve
from edge_tunnel.protocol.frames import MAX_DATA, MAX_MESSAGE
from edge_tunnel.testing.wire import wire_pair
from tests.conftest import OpenBench

RST = struct.pack("ii", 1, 0)


async def test_torn_frame_on_cancellation(
    open_bench: OpenBench, autojump_clock: trio.testing.MockClock
) -> None:
    """A user whose send is cancelled in the middle of a frame leaves the link whole.

    trio_websocket's own send_message, cancelled there, would leave a connection that looks open and
    never delivers again.
    """
    rng = random.Random(1)
    with trio.fail_after(1000):
        async with open_bench(websocket=True, capacity=1000, delay=0.01) as bench:
            stream = await bench.remote.open_stream("device", "echo")
            other = await bench.remote.open_stream("device", "echo")
            for _ in range(20):
                with trio.move_on_after(rng.random() * 0.1):
                    await stream.send_all(bytes(3 * MAX_DATA))
            await other.send_all(b"still there")
            assert await other.receive_some() == b"still there"
            assert bench.remote.tunnels


async def test_two_way_bulk_with_keep_alive(
    open_bench: OpenBench, autojump_clock: trio.testing.MockClock
) -> None:
    """Bulk both ways over full buffers, with pings due all the time, ends. WebSocket pings hang."""
    amount = 300_000

    async def flood(stream: TunnelStream) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(stream.send_all, bytes(amount))
            got = 0
            while got < amount:
                got += len(await stream.receive_some())
        await stream.send_eof()

    with trio.fail_after(10_000):
        async with open_bench(services={"flood": flood}, websocket=True, capacity=1000) as bench:
            bench.cluster.delay = 0.05  # 20 kB/s: the transfer takes many ping intervals
            for who in ("edge", "remote"):
                bench.cluster.cut(who)
            stream = await bench.remote.open_stream("device", "flood")
            losses: list[object] = []
            bench.remote.notices.call(
                lambda notice: losses.append(notice) if notice.event == "link_lost" else None
            )
            start = trio.current_time()
            await flood(stream)
            assert trio.current_time() - start > 12
            assert losses == []


async def test_unread_peer_is_left(autojump_clock: trio.testing.MockClock) -> None:
    """A peer that stops reading and says nothing costs the link after its silence, no more."""
    with trio.fail_after(100):
        near, far = wire_pair(1000)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_serve_and_ignore, far)
            async with open_client(near, host="h", path="/", peer="p", timeout=5) as transport:
                link = Link(transport, silence=15, ping_interval=5)
                link.outlet.push(bytes(100_000))  # the writer is stuck in the middle of this
                with pytest.raises(LinkLost, match="silent for 15 s"):
                    await link.run(lambda _message: None)
            nursery.cancel_scope.cancel()


async def _serve_and_ignore(stream: trio.abc.Stream) -> None:
    async def ignore(_transport: object) -> None:
        await trio.sleep_forever()

    await serve(stream, ignore, peer="test", timeout=5)


@pytest.mark.parametrize("bytes_sent", [0, 10, 10_000])
async def test_rst_before_accept_leaves_the_server_alive(bytes_sent: int) -> None:
    """A client that resets in the opening handshake, at once or after its request, hurts nobody."""
    request = (
        b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
        b"Sec-WebSocket-Protocol: edge-tunnel.1\r\n\r\n"
    )
    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            node = Node(NodeSettings(), DevelopmentKey("k"))
            listeners = await nursery.start(node.serve, "127.0.0.1", 0)
            port = listeners[0].socket.getsockname()[1]
            for _ in range(50):
                with socket.create_connection(("127.0.0.1", port)) as sock:
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RST)
                    sock.sendall(request[:bytes_sent])
                await trio.lowlevel.checkpoint()
            async with open_remote([f"ws://127.0.0.1:{port}"], "k") as remote:
                async for notice in remote.events():
                    if notice.event == "linked":
                        break
            nursery.cancel_scope.cancel()


@pytest.mark.parametrize(
    "garbage",
    [b"\x00" * 100, b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\x02\x00", b"GET /" + b"a" * 100_000],
    ids=["zeros", "no upgrade", "tls", "endless line"],
)
async def test_garbage_instead_of_a_handshake(
    garbage: bytes, autojump_clock: trio.testing.MockClock
) -> None:
    """Whatever a port scanner sends ends its own connection and nothing else."""
    near, far = wire_pair()
    called: list[object] = []

    async def handler(transport: object) -> None:
        called.append(transport)

    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(lambda: serve(far, handler, peer="test", timeout=5))
            await _send_until_closed(near, garbage)
    assert called == []


async def _send_until_closed(stream: trio.abc.Stream, data: bytes) -> None:
    with contextlib.suppress(trio.BrokenResourceError):
        await stream.send_all(data)
        while await stream.receive_some():
            pass


async def test_client_sees_at_once_that_a_handshake_is_over(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """A node that dies in the handshake is left at once, not after the timeout."""
    near, far = wire_pair()
    with trio.fail_after(100):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(far.aclose)
            start = trio.current_time()
            with pytest.raises(LinkLost, match=r"lost|closed in the WebSocket handshake"):
                async with open_client(near, host="h", path="/", peer="p", timeout=50):
                    raise AssertionError
            assert trio.current_time() - start < 1


@pytest.mark.parametrize("size", [MAX_MESSAGE, MAX_MESSAGE + 1, MAX_MESSAGE + 2])
async def test_message_limit(size: int, autojump_clock: trio.testing.MockClock) -> None:
    """The largest message passes; one byte more ends the connection, nothing is cut short."""
    near, far = wire_pair()
    got: list[int] = []

    async def handler(transport: object) -> None:
        got.append(len(await transport.receive()))  # type: ignore[attr-defined]

    with trio.fail_after(100):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(lambda: serve(far, handler, peer="test", timeout=5))
            async with open_client(near, host="h", path="/", peer="p", timeout=5) as transport:
                await transport.send(bytes(size))
                with pytest.raises(LinkLost):
                    await transport.receive()
    assert got == ([size] if size <= MAX_MESSAGE else [])


async def test_text_message_is_refused(autojump_clock: trio.testing.MockClock) -> None:
    """Frames are binary; text is the peer's error."""
    near, far = wire_pair()
    seen: list[BaseException] = []

    async def handler(transport: object) -> None:
        try:
            await transport.receive()  # type: ignore[attr-defined]
        except RemoteProtocolError as error:
            seen.append(error)

    with trio.fail_after(100):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(lambda: serve(far, handler, peer="test", timeout=5))
            async with open_client(near, host="h", path="/", peer="p", timeout=5) as transport:
                await transport._connection.send_message("text")  # type: ignore[attr-defined]
                with pytest.raises(LinkLost):
                    await transport.receive()
    assert len(seen) == 1
