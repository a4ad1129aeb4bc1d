"""Registries at an engine in pieces: etcd's members are killed, stopped and compacted."""

from __future__ import annotations

from functools import partial

import pytest
import trio
import trio.testing

from edge_tunnel.proxy.cluster import ClusterRegistry
from edge_tunnel.proxy.directory import NodeInfo
from edge_tunnel.proxy.etcd import EtcdClient, Page, Watch
from edge_tunnel.testing.etcd import Etcd, Member, open_etcd
from tests.proxy.registries import Told, open_nodes, port


class Late(Told):
    """Its watch brings nothing, and says so to nobody: as one that is behind."""

    async def _follow(self, watch: Watch) -> None:  # noqa: ARG002
        await trio.sleep_forever()


async def test_what_the_watch_has_not_brought_is_looked_up(etcd: Etcd, prefix: str) -> None:
    """One read of the engine itself, and the node knows; what nobody has stays unknown."""
    async with open_nodes(etcd, prefix) as nodes:
        a, late = nodes.start("a"), nodes.start("b", kind=Late)
        await a.registry.ready.wait()
        await late.registry.ready.wait()
        late.registry.on_looked = partial(late.hear, "looked")
        late.registry.nodes["a"] = a.registry.me
        a.registry.bind("größe/1", 7, port())
        await a.until(lambda: a.registry.row("größe/1") is not None)  # its own watch has it
        assert late.registry.locate("größe/1") is None
        assert late.registry.look_up("größe/1")
        await late.until_located("größe/1", "a")
        assert late.registry.look_up("größe")  # no prefix of it
        await late.until(lambda: ("looked", "größe") in late.heard)
        assert late.registry.locate("größe") is None
        assert [each for each in late.heard if each[0] in ("moved", "looked")] == [
            ("moved", "größe/1"),
            ("looked", "größe/1"),
            ("looked", "größe"),
        ]


async def test_an_answer_that_the_watch_has_overtaken(etcd: Etcd, prefix: str) -> None:
    """The thing was bound when the engine was asked, and is not any more: it stays forgotten."""
    async with open_nodes(etcd, prefix) as nodes:
        a, b = await nodes.started("a", "b")
        edge = port()
        a.registry.bind("t", 1, edge)
        await b.until_located("t", "a")
        client, read, gate = b.registry._client, trio.Event(), trio.Event()
        get = client.get

        async def get_late(key: str) -> Page:
            page = await get(key)
            read.set()
            await gate.wait()
            return page

        client.get = get_late  # type: ignore[method-assign]
        b.registry.on_looked = partial(b.hear, "looked")
        assert b.registry.look_up("t")
        await read.wait()
        a.registry.unbind("t", edge)
        await b.until_located("t", None)
        gate.set()
        await b.until_heard("looked")
        assert b.registry.locate("t") is None


@pytest.mark.slow
async def test_compaction_while_the_watch_is_down(prefix: str) -> None:
    """The engine restarts and its history is gone: a new snapshot, with what was missed."""
    with open_etcd() as etcd:
        async with open_nodes(etcd, prefix) as nodes:
            a, b = await nodes.started("a", "b")
            edge = port()
            a.registry.bind("old", 1, edge)
            await b.until_located("old", "a")
            (member,) = etcd.members
            member.kill()
            await b.until_heard("engine_lost")
            await a.until_heard("engine_lost")
            # While it is away: the map stands, local binds go on, and one is changed.
            assert b.registry.locate("old") == "a"
            a.registry.unbind("old", edge)
            a.registry.bind("new", 1, edge)
            member.start_again()
            await trio.to_thread.run_sync(member.ready.wait)
            await nodes.client.close()
            revision = (await nodes.client.range(prefix)).revision
            await nodes.client.call("/v3/kv/compaction", {"revision": str(revision)})
            await b.until_heard("engine_back")
            await b.until_located("new", "a")
            await b.until_located("old", None)
            assert (a.told("displaced"), b.told("displaced")) == (0, 0)


async def test_compaction_of_the_very_revision_of_an_unbind(etcd: Etcd, prefix: str) -> None:
    """etcd drops that deletion from a watch which begins there; ours begins one before."""
    async with open_nodes(etcd, prefix, 10) as nodes:
        (a,) = await nodes.started("a", ttl=3600)
        edge = port()
        a.registry.bind("t", 1, edge)
        await a.until(lambda: "t" in a.registry._claims)
        b = ClusterRegistry(NodeInfo("b"), EtcdClient(etcd.endpoints), prefix=prefix)
        await b._load()
        assert b.locate("t") == "a"
        a.registry.unbind("t", edge)
        await a.until(lambda: "t" not in a.registry._claims)
        compaction = {"revision": str(a.registry._revision), "physical": True}
        await nodes.client.call("/v3/kv/compaction", compaction)
        known = trio.Event()
        b.on_moved = lambda _thing: known.set()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(b.run)
            await b.ready.wait()
            a.registry.bind("u", 1, edge)  # what comes behind it is there
            await known.wait()
            assert (b.locate("t"), b.locate("u")) == (None, "a")
            nursery.cancel_scope.cancel()


async def test_engine_is_away_at_the_start(prefix: str) -> None:
    """The node says what it waits for; when the engine comes, so do the binds made meanwhile."""
    with open_etcd() as etcd:
        async with open_nodes(etcd, prefix) as nodes:
            (member,) = etcd.members
            member.kill()
            a = nodes.start("a")
            await a.until_heard("engine_lost")
            assert a.heard == [("engine_lost", f"etcd at {member.endpoint}: connection refused")]
            assert not a.registry.ready.is_set()
            edge = port()
            assert a.registry.bind("t", 1, edge)[0]
            assert a.registry.locate("t") is edge
            member.start_again()
            await a.registry.ready.wait()
            await a.until_heard("engine_back")
            await nodes.client.close()
            b = nodes.start("b")
            await b.until_located("t", "a")


@pytest.mark.slow
async def test_leader_is_killed(prefix: str) -> None:
    """Binds go on after the election; nobody is displaced, and nothing is lost."""
    with open_etcd(3) as etcd:
        async with open_nodes(etcd, prefix, 90) as nodes:
            a, b = await nodes.started("a", "b")
            edge = port()
            for round_ in range(3):
                leader = await _leader(etcd)
                a.registry.bind(f"before {round_}", 1, edge)
                leader.kill()
                a.registry.bind(f"after {round_}", 1, edge)
                await b.until_located(f"after {round_}", "a")
                await b.until_located(f"before {round_}", "a")
                leader.start_again()
                await trio.to_thread.run_sync(leader.ready.wait)
            assert (a.told("displaced"), len(edge.binds)) == (0, 6)


@pytest.mark.slow
async def test_member_is_silent(prefix: str) -> None:
    """A stopped member, whose connections stand, is left by calls and watches."""
    with open_etcd(3) as etcd:
        async with open_nodes(etcd, prefix, 90) as nodes:
            a, b = await nodes.started("a", "b", ttl=4)
            edge = port()
            etcd.members[0].stop()  # the one that all are connected to
            a.registry.bind("t", 1, edge)
            await b.until_located("t", "a")
            etcd.members[0].go_on()
            a.registry.bind("u", 1, edge)
            await b.until_located("u", "a")


@pytest.mark.slow
async def test_minority_of_the_engine(prefix: str) -> None:
    """Two of three are down: the node stops claiming, the map stands; then all is said again."""
    with open_etcd(3) as etcd:
        async with open_nodes(etcd, prefix, 90) as nodes:
            a, b = await nodes.started("a", "b", ttl=4)
            edge = port()
            a.registry.bind("t", 1, edge)
            await b.until_located("t", "a")
            for member in etcd.members[1:]:
                member.kill()
            await a.until_heard("engine_lost")
            await b.until_heard("engine_lost")
            await a.until_lease_is_over()
            assert a.registry.locate("t") is edge
            assert b.registry.locate("t") == "a"
            assert a.registry.bind("u", 1, edge)[0]
            for member in etcd.members[1:]:
                member.start_again()
            await b.until_located("u", "a")
            await b.until_located("t", "a")
            await a.until(lambda: a.registry.claiming)


@pytest.mark.slow
async def test_all_members_are_away_for_longer_than_the_lease(prefix: str) -> None:
    """Killed with SIGKILL and started again later: binds and unbinds of the time between count."""
    with open_etcd(3) as etcd:
        async with open_nodes(etcd, prefix, 120) as nodes:
            a, b = await nodes.started("a", "b", ttl=2)
            edge, other = port(), port()
            for number in range(1000):
                a.registry.bind(f"t{number}", 1, edge)
            await b.until(lambda: b.told("moved") == 1000)
            for member in etcd.members:
                member.kill()
            await a.until_lease_is_over()
            await b.until_lease_is_over()
            assert b.registry.locate("t7") == "a"
            for number in range(500):
                a.registry.unbind(f"t{number}", edge)
            for number in range(500, 600):  # devices that moved meanwhile, unseen
                assert b.registry.bind(f"t{number}", 2, other)[0]
            for member in etcd.members:
                member.start_again()
            expected = {f"t{n}": "b" if n < 600 else "a" for n in range(500, 1000)}
            for node in (a, b):
                await node.until(
                    lambda node=node: (  # type: ignore[misc]
                        {t: claim.node for t, claim in node.registry.things()} == expected
                    )
                )
            assert a.told("displaced") == 100


async def _leader(etcd: Etcd) -> Member:
    """The member that leads."""
    for member in etcd.members:
        client = EtcdClient([member.endpoint])
        status = await client.call("/v3/maintenance/status", {})
        await client.close()
        if status["leader"] == status["header"]["member_id"]:
            return member
    raise AssertionError("no member leads")
