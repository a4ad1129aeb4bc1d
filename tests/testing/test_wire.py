"""testing/wire.py: a double that keeps trio's contract, or what it stands in for is not tested."""

from __future__ import annotations

from contextlib import suppress
from functools import partial

import pytest
import trio
import trio.testing

from edge_tunnel.testing.wire import WireStream, wire_pair


async def _pair() -> tuple[WireStream, WireStream]:
    return wire_pair(100)


async def _clogged() -> tuple[WireStream, WireStream]:
    one, other = wire_pair(100)
    await one.send_all(bytes(100))
    await other.send_all(bytes(100))
    return one, other


async def test_trio_contract(autojump_clock: trio.testing.MockClock) -> None:
    """trio's own checks, back-pressure and all."""
    with trio.fail_after(1000):
        await trio.testing.check_half_closeable_stream(_pair, _clogged)


@pytest.mark.parametrize("what", ["receive_some", "send_all"])
async def test_closing_wakes_our_own_tasks(
    what: str, autojump_clock: trio.testing.MockClock
) -> None:
    """Whoever waits on a stream that is closed is told, and does not hang."""
    one, _other = await _clogged() if what == "send_all" else await _pair()
    wait = partial(one.send_all, b"x") if what == "send_all" else one.receive_some

    async def wait_in_vain() -> None:
        with pytest.raises(trio.ClosedResourceError):
            await wait()

    with trio.fail_after(100):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait_in_vain)
            await trio.testing.wait_all_tasks_blocked()
            await one.aclose()


@pytest.mark.parametrize("count", [0, 1, 5, 9])
async def test_cut_after_so_many_bytes(count: int) -> None:
    """Exactly so many are read, both ways together; then both ends see a reset."""
    with trio.fail_after(5):
        one, other = wire_pair()
        one.cut_after(count)
        read = 0
        for source, sink in ((one, other), (other, one)):
            with suppress(trio.BrokenResourceError):
                await source.send_all(b"12345")
                while read < 10:
                    read += len(await sink.receive_some(3))
                    if read == 5:
                        break
        assert read == one.passed == count
        for end in (one, other):
            with pytest.raises(trio.BrokenResourceError):
                await end.receive_some()
