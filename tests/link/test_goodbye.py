"""An end that leaves says so, also where its block is cancelled: nobody waits for it."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from edge_tunnel import Notice, Reason, TunnelEnded, open_edge, open_remote
from edge_tunnel.testing.cluster import KEY, open_cluster
from tests.conftest import echo, mem_config


@pytest.mark.parametrize("websocket", [False, True])
async def test_an_edge_that_is_cancelled_ends_its_tunnels(
    autojump_clock: trio.testing.MockClock, websocket: bool
) -> None:
    """Its users are reset now, with the reason, and not when the resume timeout is over."""
    config = mem_config("node")
    with trio.fail_after(1000):
        async with (
            open_cluster("node", websocket=websocket) as cluster,
            open_remote(config.urls(), KEY, dial=cluster.dial_as("remote")) as remote,
        ):
            with trio.CancelScope() as leaving:
                async with open_edge(config, {"echo": echo}, dial=cluster.dial_as("edge")) as edge:
                    await edge.wait_bound()
                    stream = await remote.open_stream("device", "echo")
                    leaving.cancel()
                    await trio.lowlevel.checkpoint()
            with pytest.raises(trio.BrokenResourceError) as caught:
                await stream.receive_some()
            assert isinstance(caught.value.__cause__, TunnelEnded)
            assert caught.value.__cause__.reason is Reason.SHUTTING_DOWN
            assert len(cluster.nodes["node"].registry) == 0


@pytest.mark.parametrize("websocket", [False, True])
async def test_a_remote_that_is_cancelled_ends_its_tunnels(
    autojump_clock: trio.testing.MockClock, websocket: bool
) -> None:
    """The device keeps nothing for a user who will not come back."""
    config = mem_config("node")
    with trio.fail_after(1000):
        async with (
            open_cluster("node", websocket=websocket) as cluster,
            open_edge(config, {"echo": echo}, dial=cluster.dial_as("edge")) as edge,
        ):
            await edge.wait_bound()
            notices: list[Notice] = []
            edge.notices.call(notices.append)
            with trio.CancelScope() as leaving:
                async with open_remote(
                    config.urls(), KEY, dial=cluster.dial_as("remote")
                ) as remote:
                    await remote.open_stream("device", "echo")
                    leaving.cancel()
                    await trio.lowlevel.checkpoint()
            await trio.testing.wait_all_tasks_blocked()
            assert [each.event for each in notices][-1:] == ["tunnel_closed"]
            assert edge.tunnels == {}
