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


def chosen(site: Site, victims: str) -> list[str]:
    """The nodes to break: where the device is at this moment, where the first remote is, or all."""
    urls = {"edge": [site.edge.url], "remote": [site.remotes[0].url]}
    urls["both"] = urls["edge"] + urls["remote"]
    urls["all"] = [f"mem://{name}" for name in NODES]
    names = {url.removeprefix("mem://") for url in urls[victims] if url is not None}
    return sorted(names & set(site.cluster.nodes))


async def break_nodes(site: Site, victims: str, how: str, rng: random.Random) -> None:
    """Kill or freeze nodes at random moments and start them again, until cancelled."""
    while True:
        await trio.sleep(0.2 + rng.random())
        site.cluster.delay = rng.random() * 0.02
        site.cluster.registry.lag = rng.random() * 0.05
        broken = chosen(site, victims)
        for name in broken:
            (site.cluster.kill if how == "kill" else site.cluster.freeze)(name)
        await trio.sleep(rng.random() * 3)
        for name in broken:
            site.cluster.start(name)


async def break_hops(site: Site, rng: random.Random) -> None:
    """Cut all hops at random moments, until cancelled."""
    while True:
        await trio.sleep(0.2 + rng.random())
        for pair in list(site.cluster.hops):
            for line in site.cluster.lines_between(*pair):
                line.cut()


async def keep_busy(site: Site, remote: Remote, resumes: int, rng: random.Random) -> None:
    """Exchange until tunnels have been resumed so often."""
    while site.count("resumed") < resumes:
        await exchange(remote, 150_000, rng)
        await trio.sleep(rng.random() / 2)  # what is sent between two faults costs real time


@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    ("victims", "how"),
    [("edge", "kill"), ("remote", "kill"), ("both", "kill"), ("all", "kill"), ("edge", "freeze")],
)
async def test_nodes_die_at_any_moment(
    autojump_clock: trio.testing.MockClock, victims: str, how: str, seed: int
) -> None:
    """Whatever dies, every byte arrives once and in order, and no stream ends short."""
    rng = random.Random(seed)
    with trio.fail_after(500):
        async with (
            open_site("a", list("abc"), delay=0.005, capacity=20_000) as site,
            trio.open_nursery() as nursery,
        ):
            nursery.start_soon(break_nodes, site, victims, how, rng)
            async with trio.open_nursery() as transfers:
                for remote in site.remotes:
                    transfers.start_soon(keep_busy, site, remote, 10, rng)
            nursery.cancel_scope.cancel()


async def test_hops_are_cut_at_any_moment(autojump_clock: trio.testing.MockClock) -> None:
    """A hop that breaks, with both nodes alive, is dialled again, and no byte is lost."""
    rng = random.Random(1)
    with trio.fail_after(500):
        async with open_site("a", list("abc"), delay=0.005, capacity=20_000) as site:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(break_hops, site, rng)
                async with trio.open_nursery() as transfers:
                    for remote in site.remotes:
                        transfers.start_soon(keep_busy, site, remote, 10, rng)
                nursery.cancel_scope.cancel()
            for remote in site.remotes:
                await exchange(remote, 1000, rng)  # over whatever was just cut
            assert site.hop_tunnels() == 2


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
                    nursery.start_soon(keep_busy, site, remote, 2, random.Random(3))
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
