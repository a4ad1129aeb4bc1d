"""Who may ask for lists, and how much."""

from __future__ import annotations

import trio
import trio.testing

from edge_tunnel import Reason
from edge_tunnel.protocol.frames import (
    Ask,
    Bye,
    Join,
    Offer,
    Open,
    Page,
    Ping,
    Pong,
    Reset,
    Welcome,
)
from edge_tunnel.protocol.listing import List, Missing, ThingRow
from edge_tunnel.proxy.gather import MAX_DUE
from edge_tunnel.remote.lists import Sample
from edge_tunnel.testing.cluster import KEY
from edge_tunnel.testing.transports import transport_pair
from tests.proxy.hops import across, cluster_of, hop, link
from tests.proxy.listed import SILENT, bound, lister_of, nothing_is_kept
from tests.proxy.peers import TUNNEL, Peer, hello


async def test_an_edge_may_not_ask(autojump_clock: trio.testing.MockClock) -> None:
    """Nor may anybody answer who was not asked."""
    async with cluster_of("a") as cluster:
        for role, frame in (
            ("edge", Ask(1, 0, List.THINGS, "")),
            ("remote", Page(1, 0, List.THINGS, (), (), more=False)),
            ("remote", Offer("t", ("ssh",))),
        ):
            peer = await link(cluster, "a", role)
            await peer.say(frame)
            answer = await peer.hear()
            assert isinstance(answer, Bye) and answer.reason == Reason.PROTOCOL_ERROR


async def test_never_two_hops(autojump_clock: trio.testing.MockClock) -> None:
    """What a node asks another is answered from that one alone."""
    async with cluster_of("a", "b") as cluster:
        await bound(cluster, "a", "t")
        await bound(cluster, "b", "u")
        other = await hop(cluster, "a", Join(1, 1, "x", "edge_tunnel/0.1.0", KEY, 6000, ()))
        assert isinstance(await other.hear(), Welcome)
        await other.say(Ask(1, 0, List.THINGS, ""), Ask(1, 1, List.THINGS, ""))
        pages = [await other.hear(), await other.hear()]
        assert [row[0] for each in pages if isinstance(each, Page) for row in each.rows] == ["t"]
        assert cluster.lines_between("a", "b") == []
        await other.say(Ask(2, 5, List.THINGS, ""))
        given_up = Page(2, 5, List.THINGS, (), (Missing("a", "gave the list up"),), more=False)
        assert await other.hear() == given_up


async def test_pages_that_nobody_asked_for(autojump_clock: trio.testing.MockClock) -> None:
    """From another node: late, or invented; dropped."""
    async with cluster_of("a") as cluster:
        other = await hop(cluster, "a")
        assert isinstance(await other.hear(), Welcome)
        await other.say(Page(99, 0, List.THINGS, (), (), more=True), Ping(3))
        assert await other.hear() == Pong(3)


async def test_nobody_answers_for_another_node(autojump_clock: trio.testing.MockClock) -> None:
    """A page counts by the hop that was asked, and by no other."""
    async with cluster_of("a", "b") as cluster, lister_of(cluster, "a") as lister:
        await lister.nodes()
        cluster.freeze("b")
        other = await hop(cluster, "a", Join(1, 1, "x", "edge_tunnel/0.1.0", KEY, 60_000, ()))
        assert isinstance(await other.hear(), Welcome)
        false = ThingRow("false", "b", 1, True, 0, "", (), 0, 0, 0, 0)

        async def lie() -> None:
            await trio.sleep(1)
            for ask in range(10):
                await other.say(Page(ask, 0, List.THINGS, (false,), (), more=False))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(lie)
            assert await lister.things() == Sample[ThingRow]([], [Missing("b", SILENT)])


async def test_a_stranger_opens_no_stream(autojump_clock: trio.testing.MockClock) -> None:
    """Only the two ends of a tunnel are counted, as only they are heard."""
    async with cluster_of("a", "b") as cluster, lister_of(cluster, "a") as lister:
        edge, remote = await across(cluster)
        stranger = await link(cluster, "a", "remote")
        await stranger.say(Open(TUNNEL, 5, 1, 1000), Open(TUNNEL, 7, 1, 1000))
        await remote.say(Open(TUNNEL, 1, 1, 1000), Open(TUNNEL, 2, 1, 1000))
        await trio.sleep(0.1)
        assert [row.streams for row in (await lister.tunnels()).rows] == [2]
        await edge.say(Reset(TUNNEL, 1, 1, Reason.RESET, ""))
        await trio.sleep(0.1)
        assert [row.streams for row in (await lister.tunnels()).rows] == [1]


async def test_asking_without_end(autojump_clock: trio.testing.MockClock) -> None:
    """More pages than are due at once end the link; a list anew takes the older one's place."""
    async with cluster_of("a", "b") as cluster:
        async with lister_of(cluster, "a") as lister:
            await lister.nodes()
        cluster.freeze("b")  # now that there is a hop: so nothing can be answered
        greedy = await link(cluster, "a", "remote")
        for page in range(MAX_DUE + 2):
            await greedy.say(Ask(1, page, List.THINGS, ""))
        answer = await greedy.hear()
        while not isinstance(answer, Bye):
            answer = await greedy.hear()
        assert "64 pages" in answer.text
        restless = await link(cluster, "a", "remote")
        for ask in range(200):
            await restless.say(Ask(ask, 0, List.THINGS, ""))
        await trio.sleep(0.1)
        lists = cluster.nodes["a"].traffic.lists
        assert [len(each) for each in lists._open.values()] == [1]
        restless.transport.cut()
        await trio.sleep(3)
        assert lists._open == {} and nothing_is_kept(cluster)


async def test_who_does_not_read_costs_no_memory(autojump_clock: trio.testing.MockClock) -> None:
    """Pages wait as numbers, not as messages."""
    async with cluster_of("a") as cluster:
        await bound(cluster, "a", *(f"thing-{each}" for each in range(300)))
        near, far = transport_pair(capacity=1000)
        cluster._nursery.start_soon(cluster.nodes["a"].talk, far)
        peer = Peer(near)
        await peer.say(hello("remote", key=KEY))
        assert isinstance(await peer.hear(), Welcome)
        for page in range(MAX_DUE):
            await peer.say(Ask(1, page, List.THINGS, ""))
        await trio.sleep(0.1)
        [(port, lists)] = cluster.nodes["a"].traffic.lists._open.items()
        assert port.outlet.urgent_size == 0
        assert lists[1].gather._page <= 2, "made before it could be sent"
