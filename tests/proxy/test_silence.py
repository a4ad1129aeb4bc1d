"""Links that are silent: who pings them, and who learns that they are dead."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio
import trio.testing

from edge_tunnel import Node
from edge_tunnel.protocol.frames import (
    Bind,
    Close,
    Ping,
    Pong,
)
from tests.proxy.peers import TUNNEL, Peer, attach, attached, hello, join, running

CALM = hello("edge", silence=15_000)._replace(features=("pings",), ping_ms=5_000, idle_ms=20_000)
"""An edge that leaves the pings to its node."""


@asynccontextmanager
async def watching() -> AsyncIterator[tuple[Node, trio.Nursery]]:
    """A node that also does what it does from time to time."""
    async with running() as (node, nursery):
        nursery.start_soon(node.watch_rights)
        await trio.testing.wait_all_tasks_blocked()
        yield node, nursery


async def test_link_silent_for_longer_than_announced(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """The node ends a link after the silence that its HELLO announced; PING breaks the silence."""
    async with running() as (node, nursery):
        edge = await join(node, nursery, "edge")
        await edge.say(Bind("t", 1))
        await edge.hear()
        for _ in range(3):
            await trio.sleep(29)
            await edge.say(Ping(7))
            assert await edge.hear() == Pong(7)
        assert len(node.registry) == 1
        await trio.sleep(31)
        assert (node.links, len(node.registry)) == (0, 0)


async def test_a_node_pings_the_edge_that_asks_for_it(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Seldom where no tunnel is, tightly with one; and each PONG breaks the silence."""
    async with watching() as (node, nursery):
        edge, remote = await calm_edge_and_remote(node, nursery)
        await edge.hear()
        assert [await answer(edge) for _ in range(3)] == [20, 20, 20]
        await trio.sleep(12)
        await remote.say(attach())
        start = trio.current_time()
        frames = [await edge.hear(), await edge.hear()]
        assert sorted(type(each).__name__ for each in frames) == ["Attach", "Ping"]
        assert trio.current_time() - start < 0.2  # it was quiet for longer than a tight one
        await edge.say(Pong(0))
        await edge.say(attached())
        assert [await answer(edge) for _ in range(3)] == [5, 5, 5]
        await remote.say(Close(TUNNEL, 0, 1, 0, ""))
        assert isinstance(await edge.hear(), Close)
        await answer(edge)
        assert [await answer(edge) for _ in range(2)] == [20, 20]
        assert node.links == 2


async def test_a_dead_edge_is_noticed_by_whoever_wants_it(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """In the silence of a link in use, counted from then, however long it was quiet before."""
    async with watching() as (node, nursery):
        _edge, remote = await calm_edge_and_remote(node, nursery)
        await trio.sleep(12)  # it is dead
        await remote.say(attach())
        await trio.sleep(14.5)
        assert node.links == 2
        await trio.sleep(1.5)
        assert node.links == 1


async def test_a_dead_edge_that_nobody_wants(autojump_clock: trio.testing.MockClock) -> None:
    """It may be quiet for its interval longer than one in use."""
    async with watching() as (node, nursery):
        await join(node, nursery, "edge", CALM)
        await trio.sleep(29.9)
        assert node.links == 1
        await trio.sleep(2)
        assert node.links == 0


async def test_an_edge_that_does_not_ask_is_not_pinged(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """One of an older version, one that knows the feature and does not want it, and a remote."""
    async with watching() as (node, nursery):
        peers = [
            await join(node, nursery, "edge"),
            await join(node, nursery, "edge", CALM._replace(ping_ms=0)),
            await join(node, nursery, "remote", CALM._replace(role="remote", ping_ms=0)),
        ]
        for _ in range(3):
            await trio.sleep(14)
            for number, peer in enumerate(peers):
                await peer.say(Ping(number))
                assert await peer.hear() == Pong(number)
        await trio.sleep(32)
        assert node.links == 0


async def answer(edge: Peer) -> float:
    """Answer the next PING; the whole seconds that it took to come."""
    start = trio.current_time()
    ping = await edge.hear()
    assert isinstance(ping, Ping)
    await edge.say(Pong(ping.nonce))
    return round(trio.current_time() - start)


async def calm_edge_and_remote(node: Node, nursery: trio.Nursery) -> tuple[Peer, Peer]:
    """An edge that is to be pinged, and that binds; and a remote that is alive."""
    edge = await join(node, nursery, "edge", CALM)
    remote = await join(node, nursery, "remote")
    nursery.start_soon(keep_pinging, remote)
    await edge.say(Bind("t", 1))
    return edge, remote


async def keep_pinging(remote: Peer) -> None:
    while True:
        await remote.say(Ping(0))
        await trio.sleep(5)
