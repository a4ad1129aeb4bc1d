"""proxy/framed.py: messages on a stream."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from edge_tunnel import (
    LinkLost,
    RemoteProtocolError,
)
from edge_tunnel.proxy.framed import FramedTransport
from edge_tunnel.testing.wire import wire_pair


async def test_framed_messages(autojump_clock: trio.testing.MockClock) -> None:
    """Messages of every size arrive whole, also when their bytes come one at a time."""
    one, other = wire_pair(capacity=3)
    sender, receiver = FramedTransport(one, "x"), FramedTransport(other, "y")
    with trio.fail_after(50):
        async with trio.open_nursery() as nursery:
            for size in (0, 1, 4, 1000):
                nursery.start_soon(sender.send, bytes(size))
                assert await receiver.receive() == bytes(size)


async def test_framed_garbage(autojump_clock: trio.testing.MockClock) -> None:
    """A length beyond the limit is an error before anything is read for it; an end is a loss."""
    with trio.fail_after(5):
        one, other = wire_pair()
        await one.send_all(b"\xff\xff\xff\xff")
        with pytest.raises(RemoteProtocolError, match="4294967295"):
            await FramedTransport(other, "y").receive()
        one, other = wire_pair()
        await one.send_all(b"\x00\x00\x00\x05ab")
        await one.aclose()
        with pytest.raises(LinkLost):
            await FramedTransport(other, "y").receive()
