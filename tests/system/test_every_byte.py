"""A resume is cut at every byte: HTTP upgrade, greeting, bind, ATTACH and ATTACHED."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest
import trio
import trio.testing

from edge_tunnel import DevelopmentKey, Node, NodeSettings, TunnelStream, open_edge, open_remote
from edge_tunnel.config.model import EdgeConfig, LinkSettings, Server
from edge_tunnel.config.secret import Secret
from edge_tunnel.testing import open_relay
from tests.conftest import Bench, OpenBench, echo

STRIDE = 41
"""Of the fast test: prime to every length that a frame has here, so that the cuts wander."""


ROUNDS = 15
"""Over TCP: about one second each, because that is what an endpoint waits at most."""


async def say(stream: TunnelStream, data: bytes) -> None:
    """Through the echo service and back, compared."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(stream.send_all, data)
        heard = bytearray()
        while len(heard) < len(data):
            part = await stream.receive_some()
            assert part, "a clean end before all was there"
            heard += part
    assert heard == data, "bytes were lost, repeated or reordered"


async def exchange_length(bench: Bench, who: str) -> int:
    """Bytes over a new link of this endpoint until the tunnel is attached again and quiet."""
    bench.cluster.cut(who)
    await trio.sleep(3)  # virtual: longer than any wait between two attempts
    return bench.cluster.passed(who)


def boundaries(length: int, stride: int) -> Iterator[int]:
    """The lengths at which to cut: all of them, or some that wander over all frames."""
    yield from range(0, length + 1, stride)


@pytest.mark.parametrize("who", ["edge", "remote"])
@pytest.mark.parametrize("stride", [STRIDE, pytest.param(1, marks=pytest.mark.slow)])
async def test_cut_at_every_byte_of_a_resume(
    open_bench: OpenBench, autojump_clock: trio.testing.MockClock, who: str, stride: int
) -> None:
    """One tunnel, one stream: its link is cut at byte 0, 1, 2, ... of each resume; no byte is lost.

    The exchange is some hundred bytes long, WebSocket frames and HTTP included; the data that
    follow it are cut, too.
    """
    rng = random.Random(1)
    resumed: list[object] = []
    with trio.fail_after(100_000):
        async with open_bench(websocket=True, delay=0.001) as bench:
            bench.remote.notices.call(
                lambda notice: resumed.append(notice) if notice.event == "resumed" else None
            )
            stream = await bench.remote.open_stream("device", "echo")
            await say(stream, b"hello")
            length = await exchange_length(bench, who)
            assert length > 400, "no greeting and no attach went over this link"
            cuts = 0
            for count in boundaries(length + 200, stride):
                bench.cluster.cut_next(who, count)
                bench.cluster.cut(who)
                cuts += 1
                await say(stream, rng.randbytes(3000))
            assert len(bench.remote.tunnels) == 1
            await stream.send_eof()
            assert await stream.receive_some() == b""
    assert len(resumed) >= cuts


@pytest.mark.slow
@pytest.mark.parametrize("who", ["edge", "remote"])
async def test_the_same_over_tcp(nursery: trio.Nursery, who: str) -> None:
    """Real sockets, through the relay: at random boundaries, because waits are real here."""
    node, key = Node(NodeSettings(), DevelopmentKey("k")), "k"
    rng = random.Random(2)
    with trio.fail_after(100):
        listeners = await nursery.start(node.serve, "127.0.0.1", 0)
        port = listeners[0].socket.getsockname()[1]
        async with open_relay("127.0.0.1", port) as one, open_relay("127.0.0.1", port) as other:
            config = EdgeConfig(
                servers=(Server(host="127.0.0.1", port=one.port),),
                app_key=Secret(key),
                things=("device",),
                link=LinkSettings(encrypted=False),
            )
            relay = one if who == "edge" else other
            async with (
                open_edge(config, {"echo": echo}) as edge,
                open_remote([f"ws://127.0.0.1:{other.port}"], key) as remote,
            ):
                await edge.wait_bound()
                stream = await remote.open_stream("device", "echo")
                for _ in range(ROUNDS):
                    relay.cut()
                    relay.cut_after(rng.randrange(1200))
                    await say(stream, rng.randbytes(3000))
                await stream.send_eof()
                assert await stream.receive_some() == b""
            assert relay.cuts >= ROUNDS
