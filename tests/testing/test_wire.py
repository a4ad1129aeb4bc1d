"""testing/wire.py: a double that keeps trio's contract, or what it stands in for is not tested."""

from __future__ import annotations

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
