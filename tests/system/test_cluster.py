"""A device on one node, its remotes on others: one hop, and any node may die at any moment."""

from __future__ import annotations

import random

import pytest
import trio
import trio.testing

from edge_tunnel import Remote
from edge_tunnel.proxy.port import Port
from tests.system.clusters import NODES, Site, exchange, open_site


async def test_one_hop(autojump_clock: trio.testing.MockClock) -> None:
    """Remotes on three nodes reach the device on one; two of them by a hop, one without."""
    with trio.fail_after(500):
        async with open_site("a", ["a", "b", "c"]) as site:
            async with trio.open_nursery() as nursery:
                for remote in site.remotes:
                    nursery.start_soon(exchange, remote, 300_000, random.Random(1))
            hops = {pair for pair, lines in site.cluster.hops.items() if lines}
            assert hops == {("b", "a"), ("c", "a")}
            assert site.hop_tunnels() == 2


async def test_ten_tunnels_share_a_hop(autojump_clock: trio.testing.MockClock) -> None:
    """Ten remotes on three nodes: one hop between two nodes, however many tunnels it carries."""
    with trio.fail_after(500):
        async with open_site("a", [NODES[each % 3] for each in range(10)]) as site:
            async with trio.open_nursery() as nursery:
                for each, remote in enumerate(site.remotes):
                    nursery.start_soon(exchange, remote, 200_000, random.Random(each))
            assert {pair: len(lines) for pair, lines in site.cluster.hops.items()} == {
                ("b", "a"): 1,
                ("c", "a"): 1,
            }
            assert site.hop_tunnels() == 6


async def break_nodes(site: Site, victims: list[str], rng: random.Random, how: str) -> None:
    """Kill or freeze nodes at random moments and start them again, until cancelled."""
    while True:
        await trio.sleep(rng.random() * 1.5)
        site.cluster.delay = rng.random() * 0.02
        site.cluster.registry.lag = rng.random() * 0.05
        chosen = [name for name in victims if name in site.cluster.nodes]
        if how == "hop":
            for pair in list(site.cluster.hops):
                for line in site.cluster.lines_between(*pair):
                    line.cut()
            continue
        for name in chosen:
            (site.cluster.kill if how == "kill" else site.cluster.freeze)(name)
        await trio.sleep(rng.random() * 3)
        for name in chosen:
            site.cluster.start(name)


async def keep_busy(site: Site, remote: Remote, resumes: int, rng: random.Random) -> None:
    """Exchange until tunnels have been resumed so often."""
    while site.count("resumed") < resumes:
        await exchange(remote, 400_000, rng)


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize(
    ("victims", "how"),
    [("a", "kill"), ("b", "kill"), ("ab", "kill"), ("abc", "kill"), ("a", "freeze"), ("", "hop")],
    ids=["edge's", "remote's", "both", "all", "frozen", "hops cut"],
)
async def test_nodes_die_at_any_moment(
    autojump_clock: trio.testing.MockClock, victims: str, how: str, seed: int
) -> None:
    """Whatever dies, every byte arrives once and in order, and no stream ends short."""
    rng = random.Random(seed)
    with trio.fail_after(5000):
        async with open_site("a", list("abc"), delay=0.005, capacity=20_000) as site:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(break_nodes, site, list(victims), rng, how)
                async with trio.open_nursery() as transfers:
                    for remote in site.remotes:
                        transfers.start_soon(keep_busy, site, remote, 20, rng)
                nursery.cancel_scope.cancel()


async def test_a_stalled_hop_is_left(autojump_clock: trio.testing.MockClock) -> None:
    """A hop that freezes without a word is given up after its ping interval and timeout."""
    with trio.fail_after(500):
        async with open_site("a", ["b"]) as site:
            rng = random.Random(1)
            [remote] = site.remotes
            await exchange(remote, 100_000, rng)
            for line in site.cluster.lines_between("a", "b"):
                line.stall()
            start = trio.current_time()
            await exchange(remote, 100_000, rng)
            assert 1 < trio.current_time() - start < 2 + 4 + 2
            assert site.count("resumed") >= 1


async def test_an_unused_hop_is_left(autojump_clock: trio.testing.MockClock) -> None:
    """When no tunnel uses it, a hop goes after a while; the next tunnel gets a new one."""
    with trio.fail_after(500):
        async with open_site("a", ["b"]) as site:
            [remote] = site.remotes
            await exchange(remote, 1000, random.Random(1))
            tunnel = await remote.open_tunnel("device", "echo")
            await trio.sleep(200)
            assert len(site.cluster.lines_between("a", "b")) == 1
            await remote.close_tunnel(tunnel, linger=1)
            await trio.sleep(100)
            assert site.cluster.lines_between("a", "b") == []
            await exchange(remote, 1000, random.Random(1))


async def test_split_brain(autojump_clock: trio.testing.MockClock) -> None:
    """Two nodes believe to hold the device: bytes flow, none twice; then the higher epoch wins."""
    with trio.fail_after(500):
        async with open_site("a", ["b", "a"]) as site:
            views = site.cluster.registry.views
            async with trio.open_nursery() as nursery:
                for remote in site.remotes:
                    nursery.start_soon(exchange, remote, 30_000_000, random.Random(3))
                await trio.sleep(0.1)
                views["a"].cut()
                site.cluster.stall("edge")
                assert site.edge.link is not None
                site.edge.link._over("the network is gone")  # the device notices, its node does not
                await trio.sleep(1)
                assert isinstance(views["a"].locate("device"), Port)
                assert isinstance(views["b"].locate("device"), Port)
                start = trio.current_time()
                views["a"].join_again()
            assert trio.current_time() - start < 10  # before node a noticed the silence
            assert [views[name].locate("device") for name in "ac"] == ["b", "b"]
            assert site.count("resumed") >= 2


async def test_nothing_is_left_behind(autojump_clock: trio.testing.MockClock) -> None:
    """After tunnels, moves and deaths, no node keeps a route, a wait or a port."""
    with trio.fail_after(500):
        async with open_site("a", ["b", "c", "a"]) as site:
            for remote in site.remotes:
                await exchange(remote, 10_000, random.Random(1))
            site.cluster.cut("edge")
            for remote in site.remotes:
                await exchange(remote, 10_000, random.Random(1))
            site.cluster.cut("remote 0")
            for remote in site.remotes:
                await exchange(remote, 10_000, random.Random(1))
            await trio.sleep(1)
            for remote in site.remotes:
                await remote.close_tunnel(await remote.open_tunnel("device", "echo"), linger=1)
            await trio.sleep(1)
            for node in site.cluster.nodes.values():
                assert (len(node.routes), node.routes._by_thing, len(node.waiting)) == (0, {}, 0)
            assert site.edge.tunnels == {}
