"""link/writer.py: at once where that is possible, in order in any case."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest
import trio
import trio.testing

from edge_tunnel.errors import LinkLost
from edge_tunnel.link.batch import batch
from edge_tunnel.link.transport import Transport
from edge_tunnel.link.writer import Writer
from edge_tunnel.protocol.outlet import Outlet


class Prompt(Transport):
    """Takes `room` bytes at once; a flush takes the rest, when `open_up` was called."""

    group = 100

    def __init__(self, room: int) -> None:
        self.room = room
        self.writes: list[bytes] = []
        self.lost = False
        self._rest: list[bytes] = []
        self._opened = trio.Event()

    def send_now(self, messages: Sequence[bytes]) -> bool:
        assert not self._rest, "sent into the middle of a message"
        if self.lost:
            raise LinkLost("gone")
        if sum(map(len, messages)) > self.room:
            self._rest = list(messages)
            return False
        self.room -= sum(map(len, messages))
        self.writes.append(b"".join(messages))
        return True

    def open_up(self, room: int) -> None:
        """The peer reads."""
        self.room = room
        self._opened.set()

    async def flush(self) -> None:
        await self._opened.wait()
        self._opened = trio.Event()
        self.writes.append(b"".join(self._rest))
        self._rest = []

    async def send(self, message: bytes) -> None:
        raise AssertionError(message)

    async def receive(self) -> bytes:
        raise AssertionError


@asynccontextmanager
async def writing(transport: Transport) -> AsyncIterator[tuple[Outlet, Writer, list[str]]]:
    """A writer that runs."""
    outlet, lost = Outlet(), list[str]()
    writer = Writer(transport, outlet, lost.append)
    with trio.fail_after(50):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(writer.run)
            await trio.testing.wait_all_tasks_blocked()
            yield outlet, writer, lost
            nursery.cancel_scope.cancel()


async def test_sent_when_the_batch_ends(autojump_clock: trio.testing.MockClock) -> None:
    """Without a turn of the scheduler, and small messages in one write."""
    transport = Prompt(1000)
    async with writing(transport) as (outlet, _, _):
        with batch():
            outlet.push(b"one")
            outlet.push(b"two")
            assert transport.writes == []
        assert transport.writes == [b"onetwo"]


async def test_a_large_one_is_alone(autojump_clock: trio.testing.MockClock) -> None:
    """What is pushed later waits for no more than what the transport has."""
    transport = Prompt(1000)
    async with writing(transport) as (outlet, _, _):
        with batch():
            for size in (200, 60, 60, 1):
                outlet.push(bytes(size))
        assert [len(each) for each in transport.writes] == [200, 120, 1]


async def test_outside_a_batch_the_task_sends(autojump_clock: trio.testing.MockClock) -> None:
    """Whoever pushes from somewhere else need not know."""
    transport = Prompt(1000)
    async with writing(transport) as (outlet, _, _):
        outlet.push(b"one")
        assert transport.writes == []
        await trio.testing.wait_all_tasks_blocked()
        assert transport.writes == [b"one"]


async def test_nothing_overtakes_a_rest(autojump_clock: trio.testing.MockClock) -> None:
    """A full transport is flushed by the task; what comes meanwhile goes behind it."""
    transport = Prompt(0)
    async with writing(transport) as (outlet, _, _):
        for message in (b"one", b"two", b"three"):
            with batch():
                outlet.push(message)
            await trio.testing.wait_all_tasks_blocked()
        transport.open_up(1000)
        await trio.testing.wait_all_tasks_blocked()
        assert b"".join(transport.writes) == b"onetwothree"


async def test_nothing_follows_a_farewell(autojump_clock: trio.testing.MockClock) -> None:
    """Also where it has to wait; `run` returns when it is sent."""
    for room in (1000, 0):
        transport = Prompt(room)
        outlet = Outlet()
        writer = Writer(transport, outlet, pytest.fail)
        writer.farewell = b"".join((b"by", b"e"))
        with trio.fail_after(50):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(writer.run)
                await trio.testing.wait_all_tasks_blocked()
                with batch():
                    outlet.push(b"last ")
                    outlet.push(writer.farewell)
                    outlet.push(b"never")
                await trio.testing.wait_all_tasks_blocked()
                transport.open_up(1000)
        assert transport.writes == [b"last bye"]


async def test_a_lost_transport_is_its_own_links_end(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Not that of the link whose reader came to write there."""
    transport = Prompt(1000)
    async with writing(transport) as (outlet, _, lost):
        transport.lost = True
        with batch():
            outlet.push(b"x")
        assert lost == ["gone"]
