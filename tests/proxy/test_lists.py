"""proxy/lists.py and remote/lists.py: things, tunnels and nodes of the cluster, from any node."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
import trio.testing

from edge_tunnel import DevelopmentKey, LinkLost, LinkRefused, Node, NodeSettings, Reason
from edge_tunnel.access.rights import Principal
from edge_tunnel.link.transport import Transport
from edge_tunnel.protocol.codec import decode, encode
from edge_tunnel.protocol.frames import (
    Ask,
    Bind,
    Bound,
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
from edge_tunnel.protocol.listing import List, Missing, NodeRow, ThingRow, TunnelRow
from edge_tunnel.protocol.outlet import Outlet
from edge_tunnel.proxy import lists
from edge_tunnel.proxy.gather import MAX_DUE
from edge_tunnel.proxy.own_rows import LOOKS, Fits, fits
from edge_tunnel.proxy.port import Port
from edge_tunnel.remote.lists import Lister, Sample, open_lister
from edge_tunnel.testing.cluster import KEY, Cluster
from edge_tunnel.testing.transports import transport_pair
from tests.proxy.test_hop import across, cluster_of, hop, link
from tests.proxy.test_node import TUNNEL, Peer, hello
from tests.system.clusters import Site, exchange, open_site

SILENT = "did not answer within 2 s"


@asynccontextmanager
async def lister_of(cluster: Cluster, node: str) -> AsyncIterator[Lister]:
    async with open_lister([f"mem://{node}"], KEY, cluster.dial_as("lister")) as lister:
        yield lister


async def bound(cluster: Cluster, node: str, *things: str, services: tuple[str, ...] = ()) -> Any:
    """An edge with these things."""
    edge = await link(cluster, node, "edge")
    for thing in things:
        await edge.say(Bind(thing, 5))
        assert isinstance(await edge.hear(), Bound)
        await edge.say(Offer(thing, services))
    await trio.sleep(0.01)
    return edge


def nothing_is_kept(cluster: Cluster) -> bool:
    """No list, and no hop that believes to be needed for one."""
    ports = [
        each.port
        for node in cluster.nodes.values()
        if node.hops is not None
        for each in node.hops._dialled.values()
    ]
    return not any(port.asks for port in ports) and not any(
        node.traffic.lists._questions for node in cluster.nodes.values()
    )


# -- what is in the lists


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


# -- nodes that do not answer


async def test_a_frozen_node(autojump_clock: trio.testing.MockClock) -> None:
    """Two seconds, not more; its things are shown as the map has them, itself as it was told."""
    async with cluster_of("a", "b", "c") as cluster:
        await bound(cluster, "a", "t")
        await bound(cluster, "b", "u")
        async with lister_of(cluster, "c") as lister:
            assert (await lister.things()).missing == []
            cluster.freeze("a")
            start = trio.current_time()
            sample = await lister.things()
            rows, missing = sample.rows, sample.missing
            assert 2 <= trio.current_time() - start < 2.5
            assert missing == [Missing("a", SILENT)]
            assert [(row.thing, row.node, row.epoch, row.known) for row in rows] == [
                ("t", "a", 5, False),
                ("u", "b", 5, True),
            ]
            nodes = await lister.nodes()
            assert [(row.node, row.known) for row in nodes.rows] == [
                ("a", False),
                ("b", True),
                ("c", True),
            ]
            assert nodes.missing == [Missing("a", SILENT)]
            await trio.sleep(10)  # the lease is over
            assert [row.node for row in (await lister.nodes()).rows] == ["b", "c"]
        assert nothing_is_kept(cluster)


async def test_a_dead_node_is_known_at_once(autojump_clock: trio.testing.MockClock) -> None:
    """A connection that is refused says more than silence, and sooner."""
    async with cluster_of("a", "b") as cluster:
        await trio.sleep(0.01)
        cluster.kill("a")
        async with lister_of(cluster, "b") as lister:
            start = trio.current_time()
            sample = await lister.nodes()
            rows, missing = sample.rows, sample.missing
            assert trio.current_time() - start < 0.5
            assert [row.node for row in rows] == ["a", "b"]
            assert missing == [Missing("a", "cannot reach a: connection refused")]


class OldNode:
    """A node of an older version, which takes hops and does not know lists."""

    def __init__(self) -> None:
        self.heard: list[object] = []

    async def take(self, transport: Transport, _names: None) -> None:
        assert isinstance(decode(await transport.receive()), Join)
        await transport.send(encode(Welcome(1, "a", "edge_tunnel/0.1.0", ("drain",), "")))
        while True:
            frame = decode(await transport.receive())
            self.heard.append(frame)
            assert isinstance(frame, Ping)
            await transport.send(encode(Pong(frame.nonce)))


async def test_an_older_node_is_not_asked(autojump_clock: trio.testing.MockClock) -> None:
    """A frame that it does not know would end the hop and detach its tunnels."""
    async with cluster_of("a", "b") as cluster:
        old = OldNode()
        cluster.nodes["a"].hops = old  # type: ignore[assignment]
        async with lister_of(cluster, "b") as lister:
            for _ in range(2):
                sample = await lister.nodes()
                nodes, missing = sample.rows, sample.missing
                assert missing == [Missing("a", "does not list; it is edge_tunnel/0.1.0")]
                assert [(row.node, row.known) for row in nodes] == [("a", False), ("b", True)]
        assert not any(isinstance(frame, Ask) for frame in old.heard)
        assert cluster.nodes["b"].hops is not None
        assert len(cluster.nodes["b"].hops) == 1, "the hop was ended"


async def test_an_older_node_is_named_to_who_asks_it(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """One clear line; no ASK is sent."""
    near, far = transport_pair()

    @asynccontextmanager
    async def dial(_url: str) -> AsyncIterator[Transport]:
        yield near

    async def old() -> None:
        await far.receive()
        await far.send(encode(Welcome(1, "n", "edge_tunnel/0.0.9", ("drain",), "")))

    with trio.fail_after(50):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(old)
            with pytest.raises(LinkRefused, match=r"node n does not list; it is edge_tunnel/0.0.9"):
                async with open_lister(["mem://n"], KEY, dial):
                    pass


async def test_a_hop_is_not_left_while_it_owes_a_page(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """No tunnel uses it, and an answer is under way all the time."""
    async with cluster_of("a", "b") as cluster, lister_of(cluster, "b") as lister:
        cluster.delay = 0.45
        for _ in range(100):
            assert (await lister.nodes()).missing == []


@pytest.mark.parametrize(
    ("reason", "error"),
    [
        (Reason.SHUTTING_DOWN, LinkLost),
        (Reason.TOO_MANY, LinkLost),
        (Reason.NOT_AUTHORISED, LinkRefused),
    ],
)
async def test_refusals(
    autojump_clock: trio.testing.MockClock, reason: Reason, error: type[Exception]
) -> None:
    """One that says nothing against us is tried again by who watches; the next node is, anyway."""
    async with cluster_of("b") as cluster:

        @asynccontextmanager
        async def dial(url: str) -> AsyncIterator[Transport]:
            near, far = transport_pair()
            if url == "mem://b":
                cluster._nursery.start_soon(cluster.nodes["b"].talk, far)
            else:
                await far.send(encode(Bye(reason, "no", 0)))
            yield near

        with pytest.raises(error, match="no"):
            async with open_lister(["mem://a"], KEY, dial):
                pass
        async with open_lister(["mem://a", "mem://b"], KEY, dial) as lister:
            assert lister.node == "b"


async def test_a_used_hop_is_not_left_and_an_unused_one_is(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Whoever watches for minutes never sees a node missing; afterwards the hop goes."""
    async with cluster_of("a", "b") as cluster:
        async with lister_of(cluster, "b") as lister:
            for _ in range(50):
                assert (await lister.nodes()).missing == []
                await trio.sleep(1.9)
        await trio.sleep(200)
        assert cluster.lines_between("a", "b") == []


# -- who may ask, and how much


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
