"""A device's WebSocket: what comes in many small pieces."""

from __future__ import annotations

from typing import Any

import pytest
import trio
import trio.testing
from wsproto.connection import Connection, ConnectionType
from wsproto.events import BytesMessage, Message, Pong, TextMessage

from edge_tunnel.proxy.alwayson.websocket import DeviceSocket
from edge_tunnel.testing.wire import wire_pair


@pytest.mark.parametrize("kind", [TextMessage, BytesMessage])
async def test_a_message_in_thousands_of_frames(
    kind: type[Message[Any]], autojump_clock: trio.testing.MockClock
) -> None:
    """It is whole in the end, empty ones and all; and another one may follow."""
    letters = "".join(chr(97 + number % 26) for number in range(5000))
    whole = letters if kind is TextMessage else letters.encode()
    there, here = wire_pair()
    device = DeviceSocket(here, "device", most=len(whole))
    client = Connection(ConnectionType.CLIENT)

    async def say() -> None:
        for at in range(len(whole)):
            for part in (whole[at : at + 1], whole[:0]):
                await there.send_all(client.send(kind(part, message_finished=False)))
        await there.send_all(client.send(kind(whole[:0], message_finished=True)))
        await there.send_all(client.send(kind(whole[:3], message_finished=True)))

    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(say)
            assert await device.receive() == whole
            assert await device.receive() == whole[:3]


@pytest.mark.parametrize("event", [BytesMessage(b"", message_finished=False), Pong()])
async def test_others_have_their_turn(
    event: Message[Any] | Pong, autojump_clock: trio.testing.MockClock
) -> None:
    """One read may hold ten thousand frames that are no message."""
    there, here = wire_pair()
    device = DeviceSocket(here, "device", most=1000)
    client = Connection(ConnectionType.CLIENT)
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            await trio.lowlevel.checkpoint()
            turns += 1

    with trio.fail_after(60):
        events = [*[event] * 6400, BytesMessage(b"end")]
        await there.send_all(b"".join(map(client.send, events)))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(count)
            assert await device.receive() == b"end"
            nursery.cancel_scope.cancel()
    assert turns >= 90
