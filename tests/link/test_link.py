"""link/link.py on transports in our hands: who gets a turn, and when a link is silent."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from edge_tunnel import LinkLost
from edge_tunnel.link.link import Link
from edge_tunnel.link.transport import Transport
from edge_tunnel.testing.transports import transport_pair


class Greedy(Transport):
    """Takes everything at once, as a socket with a fast reader behind it does."""

    def __init__(self) -> None:
        self.taken = 0

    async def send(self, message: bytes) -> None:
        self.taken += len(message)

    async def receive(self) -> bytes:
        await trio.sleep_forever()
        raise AssertionError


async def test_a_writer_that_never_waits_lets_others_have_a_turn() -> None:
    """A bulk transfer over a fast connection must not stop every other task meanwhile."""
    transport = Greedy()
    link = Link(transport, silence=10)
    seen: set[int] = set()
    for _ in range(1000):
        link.outlet.push(bytes(64 * 1024))
    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_run, link)
            while transport.taken < 1000 * 64 * 1024:
                seen.add(transport.taken)
                await trio.lowlevel.checkpoint()
            nursery.cancel_scope.cancel()
    assert len(seen) > 20


class Flooded(Transport):
    """Always has another message, as a read of 128 KiB of the smallest frames has."""

    def __init__(self) -> None:
        self.given = 0

    async def send(self, message: bytes) -> None:  # noqa: ARG002
        await trio.lowlevel.checkpoint()

    async def receive(self) -> bytes:
        self.given += 1
        if self.given > 20_000:
            raise LinkLost("over")
        return b"x"


async def test_a_flood_on_one_link_lets_others_have_a_turn() -> None:
    """A peer that sends the smallest messages without end must not hold up all other links."""
    assert await _turns_beside(Flooded()) > 200


async def _turns_beside(transport: Flooded) -> int:
    """How often another task has a turn while a link takes what there is."""
    turns = 0
    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_run_to_its_end, Link(transport, silence=10))
            while transport.given < 20_000:
                turns += 1
                await trio.lowlevel.checkpoint()
    return turns


async def _run_to_its_end(link: Link) -> None:
    with pytest.raises(LinkLost, match="over"):
        await link.run(lambda _message: None)


async def _run(link: Link) -> None:
    await link.run(lambda _message: None)


@pytest.mark.parametrize("gap", [0.3, 0.6, 1, 5, 9])
async def test_silence_is_counted_from_the_last_message(
    gap: float, autojump_clock: trio.testing.MockClock
) -> None:
    """Never cut before the time is over, or a peer that pings just in time loses its link."""
    near, far = transport_pair()
    link = Link(near, silence=10)
    with trio.fail_after(1000):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_say_and_fall_silent, far, gap)
            with pytest.raises(LinkLost, match="silent for 10 s"):
                await link.run(lambda _message: None)
            assert 9.99 < trio.current_time() - link.last_received < 10.5


async def _say_and_fall_silent(far: Transport, gap: float) -> None:
    for _ in range(10):
        await far.send(b"x")
        await trio.sleep(gap)


class Prefetched(Flooded):
    """The same, and they are all here already."""

    def receive_now(self) -> bytes | None:
        self.given += 1
        return None if self.given > 20_000 else b"x"


async def test_a_flood_in_one_read_lets_others_have_a_turn() -> None:
    """What one read brought is taken in parts."""
    assert await _turns_beside(Prefetched()) > 200
