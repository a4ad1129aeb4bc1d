"""proxy/lists.py and remote/lists.py: things, tunnels and nodes of the cluster, from any node."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio
import trio.testing

from edge_tunnel import DevelopmentKey, Node, NodeSettings
from edge_tunnel.access.rights import Principal
from edge_tunnel.link.transport import Transport
from edge_tunnel.protocol.frames import (
    Ask,
    Bind,
)
from edge_tunnel.protocol.listing import List, NodeRow, ThingRow, TunnelRow
from edge_tunnel.protocol.outlet import Outlet
from edge_tunnel.proxy import lists
from edge_tunnel.proxy.own_rows import LOOKS, Fits, fits
from edge_tunnel.proxy.port import Port
from edge_tunnel.remote.lists import open_lister
from edge_tunnel.testing.cluster import KEY
from edge_tunnel.testing.transports import transport_pair
from tests.proxy.hops import cluster_of, link
from tests.proxy.listed import bound, lister_of, nothing_is_kept
from tests.system.clusters import Site, exchange, open_site


@pytest.mark.parametrize("asked", ["a", "b", "c"])
async def test_things_of_the_whole_cluster(
    autojump_clock: trio.testing.MockClock, asked: str
) -> None:
    """Whichever node is asked; with what only the thing's own node knows."""
    async with cluster_of("a", "b", "c") as cluster:
        await bound(cluster, "a", "pump-1", "pump-2", services=("ssh", "web"))
        await bound(cluster, "b", "valve-1")
        async with lister_of(cluster, asked) as lister:
            sample = await lister.things()
            rows, missing = sample.rows, sample.missing
            assert missing == []
            assert [(row.thing, row.node, row.epoch, row.known) for row in rows] == [
                ("pump-1", "a", 5, True),
                ("pump-2", "a", 5, True),
                ("valve-1", "b", 5, True),
            ]
            assert [row.services for row in rows] == [("ssh", "web")] * 2 + [()]
            assert all(row.since_ms and row.address for row in rows)
            assert [row.thing for row in (await lister.things("pump-*")).rows] == [
                "pump-1",
                "pump-2",
            ]
            assert (await lister.things("[z-a]")).rows == []
        assert nothing_is_kept(cluster)


async def test_ten_thousand_things(autojump_clock: trio.testing.MockClock) -> None:
    """In pages, each once, also of a node that is not the one that is asked."""
    names = {f"thing-{each:05}" for each in range(10_000)}
    async with cluster_of("a", "b") as cluster:
        for first, node in enumerate("ab"):
            first_name, *others = sorted(names)[first::2]
            await bound(cluster, node, first_name)
            ledger = cluster.nodes[node].traffic.lists.ledger
            for name in others:  # a link for each would take half a minute
                ledger.bound(name, 5, ledger.things[first_name].port, 1.0)
        async with lister_of(cluster, "b") as lister:
            sample = await lister.things()
            rows, missing = sample.rows, sample.missing
        assert {row.thing for row in rows} == names and len(rows) == len(names)
        assert missing == []


@pytest.mark.parametrize(("pattern", "found"), [("nothing-*", 0), ("*-99-*", 100)])
async def test_a_search_through_many_names_lets_others_have_their_turn(
    autojump_clock: trio.testing.MockClock,
    monkeypatch: pytest.MonkeyPatch,
    pattern: str,
    found: int,
) -> None:
    """However little is found: in no turn of the event loop more than LOOKS names are looked at."""
    looks, in_a_turn = 0, [0]

    def counted(pattern: str) -> Fits:
        wanted = fits(pattern)

        def look(name: str) -> object:
            nonlocal looks
            looks += 1
            return wanted(name)

        return look

    async def count_turns() -> None:
        while True:
            before = looks
            await trio.lowlevel.checkpoint()
            in_a_turn.append(looks - before)

    monkeypatch.setattr(lists, "fits", counted)
    async with cluster_of("a") as cluster, trio.open_nursery() as nursery:
        await bound(cluster, "a", "first")
        ledger = cluster.nodes["a"].traffic.lists.ledger
        for number in range(10_000):
            name = f"pump-{number // 100}-{number}"
            ledger.bound(name, 5, ledger.things["first"].port, 1.0)
        async with lister_of(cluster, "a") as lister:
            nursery.start_soon(count_turns)
            assert len((await lister.things(pattern)).rows) == found
        nursery.cancel_scope.cancel()
    assert looks == 10_001
    assert max(in_a_turn) <= 2 * LOOKS  # trio shuffles each turn: of two, late in one, early in one


async def test_a_writer_that_never_waits_gets_one_page_in_a_turn(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """A socket with room takes small pages at once: making many of them is to have its pauses."""
    node = Node(NodeSettings(), DevelopmentKey("k"))
    edge, remote = Port("edge", "e", Outlet()), Port("remote", "r", Outlet())
    remote.principal = Principal(role="remote", name="r", via="a test")
    for number in range(10 * LOOKS):
        node.traffic.lists.ledger.bound(f"pump-{number}", 5, edge, 1.0)
    for page in range(16):
        node.traffic.lists.asked(remote, Ask(1, page, List.THINGS, "nothing-*"))
    pages: list[int] = []
    with trio.fail_after(5):
        while sum(pages) < 11:
            pages.append(0)
            while remote.outlet.next_message() is not None:
                pages[-1] += 1
            await trio.lowlevel.checkpoint()
    assert max(pages) == 1


async def test_unbound_things_are_gone(autojump_clock: trio.testing.MockClock) -> None:
    """By the end of the link, by UNBIND, and where another node has it with a higher epoch."""
    async with cluster_of("a", "b") as cluster:
        edge = await bound(cluster, "a", "t", "u")
        await link(cluster, "b", "edge")
        async with lister_of(cluster, "b") as lister:
            other = await link(cluster, "b", "edge")
            await other.say(Bind("t", 6))
            await other.hear()
            await trio.sleep(0.1)
            rows = (await lister.things()).rows
            assert [(row.thing, row.node, row.epoch) for row in rows] == [
                ("t", "b", 6),
                ("u", "a", 5),
            ]
            edge.transport.cut()
            await trio.sleep(0.1)
            assert [row.thing for row in (await lister.things()).rows] == ["t"]
        assert cluster.nodes["a"].traffic.lists.ledger.things == {}


async def counted(site: Site, asked: str) -> tuple[list[ThingRow], list[TunnelRow], list[NodeRow]]:
    async with lister_of(site.cluster, asked) as lister:
        things, tunnels, nodes = (
            await lister.things(),
            await lister.tunnels(),
            await lister.nodes(),
        )
        assert things.missing == tunnels.missing == nodes.missing == []
        return things.rows, tunnels.rows, nodes.rows


async def test_a_tunnel_of_two_nodes_is_listed_once(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """With both addresses, and the same numbers whichever node is asked."""
    async with open_site("a", ["a", "b"]) as site:
        for remote in site.remotes:
            await exchange(remote, 50_000, random.Random(1))
        stream = await site.remotes[1].open_stream("device", "echo")
        lists = [await counted(site, asked) for asked in "abc"]
        for things, tunnels, nodes in lists:
            ends = sorted((row.edge_node, row.remote_node) for row in tunnels)
            assert ends == [("a", "a"), ("a", "b")]
            assert all(row.edge_address and row.remote_address for row in tunnels)
            assert sorted(row.streams for row in tunnels) == [0, 1]
            assert all(50_000 < row.from_edge < 60_000 for row in tunnels)
            assert all(50_000 < row.from_remote < 60_000 for row in tunnels)
            [thing] = things
            assert (thing.tunnels, thing.streams, thing.services) == (2, 1, ("echo",))
            assert thing.fingerprint == site.edge.fingerprint
            assert thing.from_edge >= sum(row.from_edge for row in tunnels)
            assert [(row.node, row.tunnels, row.things) for row in nodes] == [
                ("a", 2, 1),
                ("b", 1, 0),
                ("c", 0, 0),
            ]
            assert nodes[0].passed > nodes[1].passed > 100_000
        await stream.send_eof()
        assert await stream.receive_some() == b""
        await trio.sleep(1)
        assert [row.streams for row in (await counted(site, "c"))[1]] == [0, 0]


async def test_bytes_of_ended_tunnels_stay(autojump_clock: trio.testing.MockClock) -> None:
    """A thing's counters go on; the tunnel is gone from the list."""
    async with open_site("a", ["b"]) as site:
        [remote] = site.remotes
        await exchange(remote, 50_000, random.Random(1))
        await remote.close_tunnel(await remote.open_tunnel("device", "echo"), linger=1)
        await trio.sleep(1)
        [thing], tunnels, nodes = await counted(site, "c")
        assert tunnels == [] and (thing.tunnels, thing.streams) == (0, 0)
        assert thing.from_edge > 50_000 and thing.from_remote > 50_000
        assert nodes[1].passed > 100_000


async def test_nodes_that_drain(autojump_clock: trio.testing.MockClock) -> None:
    """The list says so, and so does what the node told the cluster."""
    async with cluster_of("a", "b") as cluster:
        await bound(cluster, "b", "t")
        async with lister_of(cluster, "a") as lister, trio.open_nursery() as nursery:
            rows = (await lister.nodes()).rows
            assert [(row.node, row.links, row.draining) for row in rows] == [
                ("a", 1, False),
                ("b", 1, False),
            ]
            nursery.start_soon(cluster.nodes["b"].drain, 50.0)
            await trio.sleep(0.1)
            rows = (await lister.nodes()).rows
            assert [row.draining for row in rows] == [False, True]
            told = cluster.nodes["b"].registry.me
            assert (told.draining, told.links, told.tunnels) == (True, 1, 0)
            nursery.cancel_scope.cancel()


async def test_a_node_that_is_alone(autojump_clock: trio.testing.MockClock) -> None:
    """Needs no cluster to list."""
    node = Node(NodeSettings(name="n"), DevelopmentKey(KEY))
    near, far = transport_pair()

    @asynccontextmanager
    async def dial(_url: str) -> AsyncIterator[Transport]:
        yield near

    with trio.fail_after(50):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(node.talk, far)
            async with open_lister(["mem://n"], KEY, dial) as lister:
                [row] = (await lister.nodes()).rows
                assert (row.node, row.known, row.links) == ("n", True, 1)
                assert row.software.startswith("edge_tunnel/") and row.started_ms
                things, tunnels = await lister.things(), await lister.tunnels()
                assert (things.rows, things.missing) == ([], [])
                assert (tunnels.rows, tunnels.missing) == ([], [])
            nursery.cancel_scope.cancel()
