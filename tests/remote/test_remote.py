"""remote/remote.py: what becomes of a tunnel that is not there in time."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from edge_tunnel import TunnelEnded
from tests.conftest import OpenBench


async def test_a_tunnel_that_nobody_waits_for_is_closed(
    open_bench: OpenBench, autojump_clock: trio.testing.MockClock
) -> None:
    """After a timeout or a cancellation nothing goes on attaching; a later call begins anew."""
    with trio.fail_after(1000):
        async with open_bench() as bench:
            node = bench.cluster.nodes["node"]
            node.draining = True  # the edge cannot come back
            bench.cluster.cut("edge")
            await trio.sleep(0.01)
            assert (node.links, len(node.registry)) == (1, 0)
            with pytest.raises(trio.TooSlowError):
                await bench.remote.open_tunnel("device", "echo", timeout=5)
            with trio.move_on_after(1):
                await bench.remote.open_tunnel("device", "echo")
            assert bench.remote.tunnels == {}
            await trio.sleep(0.01)
            assert (len(node.waiting), len(node.routes)) == (0, 0)
            node.draining = False
            await bench.edge.wait_bound()
            stream = await bench.remote.open_stream("device", "echo")
            await stream.send_all(b"x")
            assert await stream.receive_some() == b"x"
            assert len(bench.edge.tunnels) == 1


async def test_one_who_waits_longer_keeps_the_tunnel(
    open_bench: OpenBench, autojump_clock: trio.testing.MockClock
) -> None:
    """Two wait for one tunnel; the impatient one takes nothing from the other."""
    with trio.fail_after(1000):
        async with open_bench() as bench, trio.open_nursery() as nursery:
            bench.cluster.stall("remote")  # the answer comes by the next link
            nursery.start_soon(bench.remote.open_tunnel, "device", "echo")
            await trio.testing.wait_all_tasks_blocked()
            [asking] = bench.remote.tunnels.values()
            with pytest.raises(trio.TooSlowError):
                await bench.remote.open_tunnel("device", "echo", timeout=1)
            tunnel = await bench.remote.open_tunnel("device", "echo")
            assert tunnel is asking


async def test_a_refusal_is_still_told(
    open_bench: OpenBench, autojump_clock: trio.testing.MockClock
) -> None:
    """A tunnel that ended before its time was over raises its reason."""
    with trio.fail_after(1000):
        async with open_bench() as bench:
            with pytest.raises(TunnelEnded, match="no device is bound"):
                await bench.remote.open_tunnel("nobody", "echo", timeout=5)
