"""proxy/cluster.py against a real etcd that is well."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import trio
import trio.testing

from edge_tunnel.proxy.directory import NodeInfo
from edge_tunnel.proxy.registry import Registry
from edge_tunnel.proxy.rows import Keys, node_value
from edge_tunnel.testing.etcd import Etcd
from tests.proxy.registries import open_nodes, port


@pytest.fixture(params=["alone", "cluster"])
async def registry(request: pytest.FixtureRequest, prefix: str) -> AsyncIterator[Registry]:
    if request.param == "alone":
        with trio.fail_after(30):
            yield Registry(NodeInfo("n", "n.example:9101"))
    else:
        async with open_nodes(request.getfixturevalue("etcd"), prefix) as nodes:
            yield (await nodes.started("n"))[0].registry


# -- the same for both registries


async def test_higher_epoch_binds(registry: Registry) -> None:
    """The higher epoch holds; the port that lost is returned; what lost may not unbind."""
    one, two = port(), port()
    assert registry.bind("t", 5, one) == (True, 5, None)
    assert registry.bind("t", 5, one) == (True, 5, None)
    assert registry.bind("t", 5, two) == (False, 5, None)
    assert registry.bind("t", 4, two) == (False, 5, None)
    assert registry.bind("t", 6, one) == (True, 6, None)
    assert registry.bind("t", 7, two) == (True, 7, one)
    assert (one.binds, two.binds, len(registry)) == ({}, {"t": 7}, 1)
    assert registry.locate("t") is two
    assert not registry.unbind("t", one)
    assert registry.unbind("t", two)
    assert (two.binds, len(registry), registry.locate("t")) == ({}, 0, None)
    assert registry.bind("t", 1, one) == (True, 1, None)
    assert [(thing, claim.epoch) for thing, claim in registry.things()] == [("t", 1)]


async def test_a_node_describes_itself(registry: Registry) -> None:
    """Its own row is among the nodes; its address is host and port."""
    registry.describe(registry.me._replace(draining=True))
    assert registry.nodes["n"].draining
    assert registry.address("n") == ("n.example", 9101)
    assert registry.address("nobody") is None
    assert registry.claiming


# -- a healthy engine


async def test_others_locate_what_one_binds(etcd: Etcd, prefix: str) -> None:
    """A bind, an unbind and a leaving node are known to all; attaches that wait are told."""
    async with open_nodes(etcd, prefix) as nodes:
        a, b = await nodes.started("a", "b", ttl=3600)
        edge = port()
        a.registry.bind("plant/7 ä", 1, edge)
        await b.until_located("plant/7 ä", "a")
        assert b.registry.address("a") == ("a.example", 9101)
        assert b.told("moved") == 1
        a.registry.unbind("plant/7 ä", edge)
        await b.until_located("plant/7 ä", None)
        a.registry.bind("t", 1, edge)
        await b.until_located("t", "a")
        a.stop()
        await b.until_heard("gone")
        await b.until_located("t", None)
        await b.until(lambda: dict(b.registry.things()) == {})
        assert "a" not in b.registry.nodes


async def test_draining_is_seen_at_once(etcd: Etcd, prefix: str) -> None:
    """What a node says of itself does not wait for its next renewal."""
    async with open_nodes(etcd, prefix) as nodes:
        a, b = await nodes.started("a", "b", ttl=3600)
        a.registry.describe(a.registry.me._replace(draining=True, links=7))
        await b.until(lambda: b.registry.nodes["a"].draining)
        assert b.registry.nodes["a"].links == 7


@pytest.mark.slow
async def test_load_goes_with_each_renewal(etcd: Etcd, prefix: str) -> None:
    """What a node has to say of itself now is written where the lease is renewed anyway."""
    async with open_nodes(etcd, prefix) as nodes:
        a, b = await nodes.started("a", "b", ttl=2)
        a.registry.on_renew = lambda me: me._replace(links=me.links + 1, tunnels=5)
        await b.until(lambda: b.registry.nodes["a"].links >= 2)
        assert b.registry.nodes["a"].tunnels == 5


async def test_two_nodes_of_one_name(etcd: Etcd, prefix: str) -> None:
    """A fault of the configuration, which each names once; they do not fight over their rows."""
    async with open_nodes(etcd, prefix) as nodes:
        (a,) = await nodes.started("a", ttl=2)
        other = nodes.start("a", address="elsewhere.example:9101", ttl=2)
        await a.until_heard("name_taken")
        await other.until_heard("name_taken")
        edge = port()
        for number in range(10):
            a.registry.bind(f"t{number}", 1, edge)
            other.registry.bind(f"t{number}", 2, edge)
        before = (await nodes.client.range(prefix)).revision
        assert not a.registry.claiming
        other.stop()
        await a.until(lambda: a.registry.claiming and "t9" in a.registry._claims)
        assert (await nodes.client.range(prefix)).revision - before < 20
        assert [each for each in a.heard if each[0] == "name_taken"] == [
            ("name_taken", "a", "elsewhere.example:9101")
        ]


@pytest.mark.parametrize("ended", [False, True], ids=["killed", "ended"])
async def test_a_node_that_comes_back_at_another_address(
    etcd: Etcd, prefix: str, ended: bool
) -> None:
    """The watch begins with what the engine heard last, its earlier life: that is nobody else."""
    async with open_nodes(etcd, prefix) as nodes:
        lease, _ = await nodes.client.grant(60)
        row = Keys(prefix).nodes + "a"
        await nodes.client.put(row, node_value(NodeInfo("a", "former.example:9101")), lease)
        if ended:
            await nodes.client.revoke(lease)
        (a, b) = await nodes.started("a", "b")
        assert a.registry.bind("t", 1, port())[0]
        await b.until_located("t", "a")
        assert not a.told("name_taken")


async def test_device_that_moves(etcd: Etcd, prefix: str) -> None:
    """Bound with a higher epoch elsewhere, the old port is displaced, once; a lower one is not."""
    async with open_nodes(etcd, prefix) as nodes:
        a, b = await nodes.started("a", "b")
        old, new = port("old"), port("new")
        a.registry.bind("t", 5, old)
        await b.until_located("t", "a")
        assert b.registry.bind("t", 4, new) == (False, 5, None)
        assert b.registry.bind("t", 6, new) == (True, 6, None)
        await a.until_heard("displaced")
        assert [each for each in a.heard if each[0] == "displaced"] == [("displaced", "t", 6, old)]
        assert a.registry.locate("t") == "b"
        assert await nodes.rows() == {"t": (6, "b")}


async def test_a_late_node_knows_all(etcd: Etcd, prefix: str) -> None:
    """Its snapshot has more rows than a page, and what happens meanwhile is not missed."""
    async with open_nodes(etcd, prefix) as nodes:
        (a,) = await nodes.started("a")
        edge = port()
        for number in range(2500):
            a.registry.bind(f"t{number}", 1, edge)
        late = nodes.start("b")
        await late.until(lambda: len(list(late.registry.things())) == 2500)
        later = nodes.start("c")
        await later.registry.ready.wait()
        assert len(list(later.registry.things())) == 2500


@pytest.mark.parametrize("count", [1000, pytest.param(10_000, marks=pytest.mark.slow)])
async def test_binds_are_batched(etcd: Etcd, prefix: str, count: int) -> None:
    """A hundred or more in a transaction, which is one revision and one fsync."""
    async with open_nodes(etcd, prefix, 60) as nodes:
        a, b = await nodes.started("a", "b")
        edge = port()
        before = (await nodes.client.range(prefix)).revision
        for number in range(count):
            a.registry.bind(f"t{number}", 1, edge)
        await b.until(lambda: len(list(b.registry.things())) == count)
        after = (await nodes.client.range(prefix)).revision
        assert after - before < count / 50


async def test_split_brain(etcd: Etcd, prefix: str) -> None:
    """Bound on two nodes at once: the higher epoch wins on both, and one edge is told."""
    async with open_nodes(etcd, prefix) as nodes:
        a, b, c = await nodes.started("a", "b", "c")
        low, high = port("low"), port("high")
        for number in range(100):  # neither has heard of the other
            assert a.registry.bind(f"t{number}", 5 + number % 2, low)[0]
            assert b.registry.bind(f"t{number}", 6 - number % 2, high)[0]
        for number in range(100):
            await c.until_located(f"t{number}", "a" if number % 2 else "b")
        await a.until(lambda: a.told("displaced") == 50)
        await b.until(lambda: b.told("displaced") == 50)
        assert (len(low.binds), len(high.binds)) == (50, 50)
