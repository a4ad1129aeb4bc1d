"""link/streams.py: a tunnel's stream keeps trio's contract, also across reconnects."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest
import trio
import trio.testing

from edge_tunnel import Reason, StreamRefused, TunnelEnded, TunnelStream
from tests.conftest import Bench, OpenBench

Pair = tuple[TunnelStream, TunnelStream]


def pair_maker(
    bench: Bench, accepted: trio.MemoryReceiveChannel[TunnelStream], *, cut: bool
) -> Callable[[], Awaitable[Pair]]:
    """Makes streams whose ends both are ours; with `cut`, links break all the time."""

    async def make() -> Pair:
        near = await bench.remote.open_stream("device", "here")
        far = await accepted.receive()
        if cut:
            bench.cluster.cut("edge")
            bench.cluster.cut("remote")
        return near, far

    return make


@pytest.mark.parametrize("cut", [False, True], ids=["plain", "reconnecting"])
@pytest.mark.parametrize("side", ["remote", "edge"])
async def test_trio_contract(
    open_bench: OpenBench, autojump_clock: trio.testing.MockClock, *, cut: bool, side: str
) -> None:
    """Streams pass trio's own checks from both sides, plain and over links that were just cut."""
    give, accepted = trio.open_memory_channel[TunnelStream](100)

    async def here(stream: TunnelStream) -> None:
        await give.send(stream)
        await trio.sleep_forever()

    with trio.fail_after(3000):
        async with open_bench(services={"here": here}) as bench:
            make = pair_maker(bench, accepted, cut=cut)

            async def turned() -> Pair:
                near, far = await make()
                return (near, far) if side == "remote" else (far, near)

            async def clogged() -> Pair:
                near, far = await turned()
                for stream in (near, far):
                    while stream.core.outgoing.room:
                        await stream.send_all(bytes(stream.core.outgoing.room))
                return near, far

            await trio.testing.check_half_closeable_stream(turned, clogged)


async def test_reader_of_a_dead_tunnel_sees_an_error_not_an_end(
    open_bench: OpenBench, autojump_clock: trio.testing.MockClock
) -> None:
    """When the resume timeout is over, both users get BrokenResourceError with the reason."""
    give, accepted = trio.open_memory_channel[TunnelStream](1)

    async def here(stream: TunnelStream) -> None:
        await give.send(stream)
        await trio.sleep_forever()

    with trio.fail_after(1000):
        async with open_bench(services={"here": here}, resume_timeout=30) as bench:
            near = await bench.remote.open_stream("device", "here")
            far = await accepted.receive()
            start = trio.current_time()
            bench.cluster.kill()
            for stream in (near, far):
                with pytest.raises(trio.BrokenResourceError) as caught:
                    await stream.receive_some()
                cause = caught.value.__cause__
                assert isinstance(cause, TunnelEnded)
                assert cause.reason is Reason.RESUME_TIMEOUT
                assert "detached for 30 s" in str(cause)
            assert (
                29.9 < trio.current_time() - start < 31
            )  # virtual time: not before, not long after


async def test_refusals_have_a_cause(
    open_bench: OpenBench, autojump_clock: trio.testing.MockClock
) -> None:
    """A thing that is not there, an unknown service and a service that fails say so."""

    async def broken(stream: TunnelStream) -> None:
        raise ZeroDivisionError

    with trio.fail_after(100):
        async with open_bench(services={"broken": broken}) as bench:
            with pytest.raises(TunnelEnded) as ended:
                await bench.remote.open_stream("nobody", "ssh")
            assert ended.value.reason is Reason.NO_SUCH_THING
            with pytest.raises(TunnelEnded, match="it offers broken") as ended:
                await bench.remote.open_stream("device", "ssh")
            assert ended.value.reason is Reason.SERVICE_NOT_ALLOWED
            stream = await bench.remote.open_stream("device", "broken")
            with pytest.raises(trio.BrokenResourceError) as caught:
                await stream.receive_some()
            assert "the service failed: ZeroDivisionError" in str(caught.value.__cause__)
            assert not isinstance(caught.value.__cause__, StreamRefused)
