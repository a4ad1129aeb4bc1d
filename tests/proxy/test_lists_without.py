"""Lists of a cluster some nodes of which do not answer."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio
import trio.testing

from edge_tunnel import LinkLost, LinkRefused, Reason
from edge_tunnel.link.transport import Transport
from edge_tunnel.protocol.codec import decode, encode
from edge_tunnel.protocol.frames import (
    Ask,
    Bye,
    Join,
    Ping,
    Pong,
    Welcome,
)
from edge_tunnel.protocol.listing import Missing
from edge_tunnel.remote.lists import open_lister
from edge_tunnel.testing.cluster import KEY
from edge_tunnel.testing.transports import transport_pair
from tests.proxy.hops import cluster_of
from tests.proxy.listed import SILENT, bound, lister_of, nothing_is_kept


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
