"""A remote and a device that knows nothing of us: real ends, bounded wires, virtual time."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from edge_tunnel import Reason, StreamRefused, TunnelEnded
from tests.proxy.alwayson.conftest import open_stage

THING = "SteamSensor1"


async def all_of(stream: trio.abc.ReceiveStream) -> bytes:
    return b"".join([part async for part in stream])


@pytest.mark.parametrize("style", ["c", "java", "ours"])
async def test_bytes_go_both_ways(style: str, autojump_clock: trio.testing.MockClock) -> None:
    """Through an unmodified device, whichever SDK it has."""
    async with open_stage() as (stage, remote):
        device = await stage.bound(THING, style=style)
        stream = await remote.open_stream(THING, "ssh")
        payload = bytes(range(256)) * 400
        async with trio.open_nursery() as nursery:
            nursery.start_soon(stream.send_all, payload)
            got = bytearray()
            while len(got) < len(payload):
                got += await stream.receive_some()
        assert got == payload
        assert device.starts[0].port == 22
        await stream.aclose()
        await device.wait_completed(1)
