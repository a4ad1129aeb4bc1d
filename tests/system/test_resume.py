"""Whole roles on an in-process cluster in virtual time: links and nodes die, bytes do not."""

from __future__ import annotations

import random
from contextlib import AbstractAsyncContextManager

import pytest
import trio
import trio.testing

from edge_tunnel import LinkLost, TunnelStream
from edge_tunnel.link.transport import Transport
from tests.conftest import Bench, OpenBench, echo


async def exchange(bench: Bench, size: int, rng: random.Random) -> None:
    """Send `size` random bytes through the echo service and compare."""
    data = rng.randbytes(size)
    stream = await bench.remote.open_stream("device", "echo")

    async def send() -> None:
        done = 0
        while done < size:
            part = rng.randrange(1, 100_000)
            await stream.send_all(data[done : done + part])
            done += part
        await stream.send_eof()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(send)
        received = bytearray()
        async for chunk in stream:
            received += chunk
            if rng.random() < 0.2:
                await trio.sleep(rng.random() * 0.05)
    assert received == data
    await stream.aclose()


async def break_things(bench: Bench, victim: str, rng: random.Random) -> None:
    """Cut links or kill the node at random moments, until cancelled."""
    while True:
        await trio.sleep(rng.random() * 0.5)
        bench.cluster.delay = rng.random() * 0.02
        if victim == "node":
            bench.cluster.kill()
            await trio.sleep(rng.random())
            bench.cluster.start()
        for who in ("edge", "remote"):
            if victim in (who, "both"):
                bench.cluster.cut(who)


@pytest.mark.parametrize(
    "websocket", [False, pytest.param(True, marks=pytest.mark.slow)], ids=["messages", "websocket"]
)
@pytest.mark.parametrize("victim", ["edge", "remote", "both", "node"])
@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.slow)])
async def test_cut_at_any_moment(
    open_bench: OpenBench,
    autojump_clock: trio.testing.MockClock,
    victim: str,
    seed: int,
    *,
    websocket: bool,
) -> None:
    """Cuts of either link, of both, and kills of the node at random moments lose no byte."""
    rng = random.Random(seed)
    size = (1_000_000 if websocket else 1_500_000) if seed else 500_000
    resumed: list[object] = []
    with trio.fail_after(5000):
        async with open_bench(websocket=websocket, delay=0.01, capacity=10_000) as bench:
            bench.remote.notices.call(
                lambda notice: resumed.append(notice) if notice.event == "resumed" else None
            )
            await bench.remote.open_tunnel("device", "echo")
            async with trio.open_nursery() as nursery:
                nursery.start_soon(break_things, bench, victim, rng)
                async with trio.open_nursery() as transfers:
                    for _ in range(5):
                        transfers.start_soon(exchange, bench, size, rng)
                nursery.cancel_scope.cancel()
    assert resumed, "the cuts came when nothing was under way: this proved nothing"


async def test_silent_link_is_left(
    open_bench: OpenBench, autojump_clock: trio.testing.MockClock
) -> None:
    """A link that freezes without a word is given up after interval and timeout; bytes go on."""
    with trio.fail_after(500):
        async with open_bench() as bench:
            rng = random.Random(1)
            await exchange(bench, 100_000, rng)
            for who in ("edge", "remote"):
                start = trio.current_time()
                bench.cluster.stall(who)
                await exchange(bench, 100_000, rng)
                assert trio.current_time() - start < 5 + 10 + 3  # virtual seconds


@pytest.mark.parametrize("count", [100, pytest.param(500, marks=pytest.mark.slow)])
async def test_nothing_is_left_behind(
    open_bench: OpenBench, autojump_clock: trio.testing.MockClock, count: int
) -> None:
    """After so many streams at once and twice as many in a row, every table is as before."""
    with trio.fail_after(5000):
        async with open_bench() as bench:
            tunnel = await bench.remote.open_tunnel("device", "echo")
            tasks = trio.lowlevel.current_statistics().tasks_living

            async def use() -> None:
                stream = await bench.remote.open_stream("device", "echo")
                await stream.send_all(b"hello")
                await stream.send_eof()
                assert await stream.receive_some() == b"hello"
                assert await stream.receive_some() == b""
                await stream.aclose()

            for _ in range(2 * count):
                await use()
            async with trio.open_nursery() as nursery:
                for _ in range(count):
                    nursery.start_soon(use)
            await trio.sleep(1)
            far = next(iter(bench.edge.tunnels.values()))
            node = bench.cluster.nodes["node"]
            route = node.routes._routes[tunnel.id]
            assert tunnel.opened == far.opened == 3 * count
            assert (tunnel.streams, far.streams, route.queues) == ({}, {}, {})
            assert (tunnel._owing, far._owing) == ({}, {})
            assert tunnel.budget.left == far.budget.left == type(far.budget)().left
            assert trio.lowlevel.current_statistics().tasks_living == tasks
            await bench.remote.close_tunnel(tunnel, linger=1)
            await trio.sleep(1)
            assert (len(node.routes), bench.edge.tunnels, bench.remote.tunnels) == (0, {}, {})


async def test_stalled_readers_do_not_slow_the_others(
    open_bench: OpenBench, autojump_clock: trio.testing.MockClock
) -> None:
    """50 users that stop reading hold one window each, and nobody else waits for them."""

    async def flood(stream: TunnelStream) -> None:
        while True:
            await stream.send_all(bytes(50_000))

    with trio.fail_after(500):
        async with open_bench(services={"flood": flood, "echo": echo}) as bench:
            stalled = [await bench.remote.open_stream("device", "flood") for _ in range(50)]
            await trio.sleep(1)
            await exchange(bench, 3_000_000, random.Random(2))
            for stream in stalled:
                window = stream.core.incoming.window.size
                assert stream.core.incoming.received <= window == 256 * 1024
            far = next(each for each in bench.edge.tunnels.values() if len(each.streams) == 50)
            held = sum(each.outgoing.buffered for each in far.streams.values())
            assert held <= 50 * 256 * 1024


async def test_remote_is_killed(
    open_bench: OpenBench, autojump_clock: trio.testing.MockClock
) -> None:
    """A remote that vanishes: the service sees a reset after the resume timeout, not before."""
    ended: list[tuple[float, str]] = []

    async def here(stream: TunnelStream) -> None:
        try:
            async for _ in stream:
                pass
            ended.append((trio.current_time(), "clean"))
        except trio.BrokenResourceError as error:
            ended.append((trio.current_time(), str(error.__cause__)))

    with trio.fail_after(500):
        async with open_bench(services={"here": here}, resume_timeout=40) as bench:
            stream = await bench.remote.open_stream("device", "here")
            await stream.send_all(b"half a file")
            await trio.sleep(1)
            start = trio.current_time()
            # as SIGKILL: the link breaks, nobody says goodbye, nobody comes back
            bench.remote._dial = _nowhere
            bench.cluster.cut("remote")
            await trio.sleep(39)
            assert ended == []
            await trio.sleep(2)
            [(when, why)] = ended
            assert why == "detached for 40 s"
            assert when - start == pytest.approx(40, abs=0.5)


def _nowhere(_url: str) -> AbstractAsyncContextManager[Transport]:
    raise LinkLost("gone")
