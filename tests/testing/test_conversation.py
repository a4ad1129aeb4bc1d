"""testing/conversation.py notices what it is for."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from edge_tunnel.testing.conversation import Conversation, WrongBytes
from edge_tunnel.testing.wire import WireStream, wire_pair

FAULTS = {
    "lost": lambda data: data[1:],
    "repeated": lambda data: data[:1] + data,
    "changed": lambda data: data[:-1] + bytes([data[-1] ^ 1]),
    "reordered": lambda data: data[::-1],
}


async def echo_with(fault: str, sock: WireStream, after: int) -> None:
    seen = 0
    async for data in sock:
        seen += len(data)
        if seen > after and fault == "ended":
            break
        await sock.send_all(FAULTS[fault](data) if seen > after and fault in FAULTS else data)
    await sock.send_eof()


@pytest.mark.parametrize("fault", ["none", "ended", *FAULTS])
async def test_faults(autojump_clock: trio.testing.MockClock, fault: str) -> None:
    """A clean end only if every byte came back, once and in order."""
    one, other = wire_pair()
    conversation, until = Conversation(), trio.Event()
    with trio.fail_after(100):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(echo_with, fault, other, 100_000)
            nursery.start_soon(set_after, until, 2.0)
            if fault == "none":
                await conversation.hold(one, until)
                assert conversation.sent == conversation.received > 1_000_000
                assert conversation.longest_pause < 0.1
            else:
                with pytest.raises(WrongBytes):
                    await conversation.hold(one, until)
            nursery.cancel_scope.cancel()


async def test_a_pause_is_measured(autojump_clock: trio.testing.MockClock) -> None:
    one, other = wire_pair()
    conversation, until = Conversation(), trio.Event()
    with trio.fail_after(100):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(echo_with, "none", other, 0)
            nursery.start_soon(conversation.hold, one, until)
            await trio.sleep(1)
            one.stall()
            await trio.sleep(3)
            one.stall(stalled=False)
            await trio.sleep(1)
            assert 2.9 < conversation.longest_pause < 3.1
            conversation.begin_anew()
            await trio.sleep(1)
            until.set()
    assert conversation.longest_pause < 0.1


async def set_after(event: trio.Event, seconds: float) -> None:
    await trio.sleep(seconds)
    event.set()
