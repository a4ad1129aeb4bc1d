"""link/streams.py: a tunnel's stream keeps trio's contract, also across reconnects."""

from __future__ import annotations

import contextlib
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


@pytest.mark.parametrize("how", ["error", "timeout", "group"])
async def test_a_service_that_breaks_off_makes_no_end(
    open_bench: OpenBench, autojump_clock: trio.testing.MockClock, how: str
) -> None:
    """An application's own service fails in its answer: its user must not take that for all."""

    async def half(stream: TunnelStream) -> None:
        if how == "timeout":
            with trio.fail_after(1):
                await stream.send_all(b"half of ")
                await trio.sleep_forever()
        async with trio.open_nursery() as nursery:
            await stream.send_all(b"half of ")
            nursery.start_soon(_fail)
            if how == "error":
                raise ZeroDivisionError

    with trio.fail_after(100):
        async with open_bench(services={"half": half}) as bench:
            for _ in range(40):  # an END on its way before the RESET is not always read before it
                stream = await bench.remote.open_stream("device", "half")
                with pytest.raises(trio.BrokenResourceError):
                    await _read_without_an_end(stream)


async def _read_without_an_end(stream: TunnelStream) -> None:
    while True:
        assert await stream.receive_some()


async def _fail() -> None:
    raise trio.BrokenResourceError


@pytest.mark.parametrize("how", ["error", "cancelled", "forcefully"])
async def test_a_stream_that_is_left_in_the_middle_is_reset(
    open_bench: OpenBench, autojump_clock: trio.testing.MockClock, how: str
) -> None:
    """Whoever leaves its block by an error, or is cancelled in it, has not sent all."""
    got: list[bytes | None] = []

    async def listen(stream: TunnelStream) -> None:
        try:
            while data := await stream.receive_some():
                got.append(data)
            got.append(b"")
        except trio.BrokenResourceError:
            got.append(None)
            raise

    with trio.fail_after(100):
        async with open_bench(services={"listen": listen}) as bench:
            stream = await bench.remote.open_stream("device", "listen")
            if how == "forcefully":
                await stream.send_all(b"half")
                await trio.aclose_forcefully(stream)
            else:
                await _leave(stream, how)
            await trio.sleep(1)
    assert got[-1] is None


async def _leave(stream: TunnelStream, how: str) -> None:
    with contextlib.suppress(ZeroDivisionError), trio.CancelScope() as scope:
        async with stream:
            await stream.send_all(b"half")
            if how == "error":
                raise ZeroDivisionError
            scope.cancel()
            await stream.send_all(b" and the rest")


async def test_what_was_ended_stays_ended(
    open_bench: OpenBench, autojump_clock: trio.testing.MockClock
) -> None:
    """After `send_eof` the stream may be left in any way: what was sent is whole."""
    got: list[bytes] = []

    async def listen(stream: TunnelStream) -> None:
        got.append(b"".join([data async for data in stream]))

    with trio.fail_after(100):
        async with open_bench(services={"listen": listen}) as bench:
            stream = await bench.remote.open_stream("device", "listen")
            await stream.send_all(b"all")
            await stream.send_eof()
            await trio.aclose_forcefully(stream)
            await trio.sleep(1)
    assert got == [b"all"]


@pytest.mark.parametrize("read", [0, 2, 100])
async def test_what_was_dropped_was_not_delivered(
    open_bench: OpenBench, autojump_clock: trio.testing.MockClock, read: int
) -> None:
    """A service leaves with bytes before it, and the end behind them: it did not take them all."""

    async def picky(stream: TunnelStream) -> None:
        await trio.sleep(1)
        if read:
            await stream.receive_some(read)
        stream.stop_receiving()
        await trio.sleep(1)

    with trio.fail_after(100):
        async with open_bench(services={"picky": picky}) as bench:
            stream = await bench.remote.open_stream("device", "picky")
            await stream.send_all(bytes(100))
            await stream.send_eof()
            if read < 100:
                with pytest.raises(trio.BrokenResourceError, match="receives no more"):
                    await stream.wait_delivered()
            else:
                await stream.wait_delivered()
