"""Names that cannot be on the wire are said at once, and end no link."""

from __future__ import annotations

import dataclasses

import pytest
import trio
import trio.testing

from edge_tunnel import ConfigError, Reason, TunnelEnded, open_edge, open_remote
from tests.conftest import OpenBench, mem_config

BAD = ["", "x" * 257, "two\nlines", "a\u00a0blank", "half\udc80"]


@pytest.mark.parametrize("name", BAD)
async def test_of_a_thing_of_an_edge(name: str) -> None:
    """A node would end each link for it, and the edge would dial for ever."""
    config = dataclasses.replace(mem_config("node"), things=("device", name))
    with trio.fail_after(10), pytest.raises(ConfigError, match="1 to 256 characters"):
        async with open_edge(config):
            pass


async def test_of_another_configuration(
    open_bench: OpenBench, autojump_clock: trio.testing.MockClock
) -> None:
    """It changes nothing."""
    with trio.fail_after(1000):
        async with open_bench() as bench:
            before = bench.edge.config
            with pytest.raises(ConfigError, match="1 to 256 characters"):
                bench.edge.reconfigure(dataclasses.replace(before, things=("",)))
            assert bench.edge.config is before


@pytest.mark.parametrize("name", BAD)
async def test_of_what_a_remote_asks_for(
    name: str, open_bench: OpenBench, autojump_clock: trio.testing.MockClock
) -> None:
    """There is no such thing, and no such service; the other tunnels keep their link."""
    with trio.fail_after(1000):
        async with open_bench() as bench:
            link = bench.remote.link
            with pytest.raises(TunnelEnded, match="1 to 256 characters") as caught:
                await bench.remote.open_stream(name, "echo")
            assert caught.value.reason is Reason.NO_SUCH_THING
            with pytest.raises(TunnelEnded, match="1 to 256 characters") as caught:
                await bench.remote.open_stream("device", name)
            assert caught.value.reason is Reason.SERVICE_NOT_ALLOWED
            stream = await bench.remote.open_stream("device", "echo")
            await stream.aclose()
            assert bench.remote.link is link


async def test_no_node_at_all() -> None:
    """An error of ours, in words."""
    with trio.fail_after(10):
        with pytest.raises(ConfigError, match="no node"):
            async with open_remote([], "key"):
                pass
        with pytest.raises(ConfigError, match="no node"):
            async with open_edge(mem_config()):
                pass
