"""proxy/cluster.py against a real etcd, which is hurt in every way that it has."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import pytest
import trio
import trio.testing

from edge_tunnel.protocol.outlet import Outlet
from edge_tunnel.proxy.cluster import ClusterRegistry
from edge_tunnel.proxy.directory import Decision, NodeInfo
from edge_tunnel.proxy.etcd import EngineAway, EtcdClient, Watch
from edge_tunnel.proxy.port import Port
from edge_tunnel.proxy.registry import Registry
from edge_tunnel.proxy.rows import Keys, thing_claim
from edge_tunnel.testing.etcd import Etcd, Member, open_etcd


def port(peer: str = "p") -> Port:
    return Port("edge", peer, Outlet())


class Told(ClusterRegistry):
    """Says when anything came from the engine, also what no callback is for."""

    news = trio.Event()

    def tell(self, decisions: Iterable[Decision]) -> None:
        super().tell(decisions)
        self.news.set()


class Node:
    """A registry that runs, and what it told its node."""

    def __init__(self, registry: Told, scope: trio.CancelScope) -> None:
        self.registry = registry
        self.heard: list[tuple[object, ...]] = []
        self._scope = scope
        registry.on_displaced = partial(self.hear, "displaced")
        registry.on_moved = partial(self.hear, "moved")
        registry.on_node_gone = partial(self.hear, "gone")

    def hear(self, event: str, *data: object, **more: object) -> None:
        self.heard.append((event, *data, *more.values()))
        self.registry.news.set()

    async def until(self, true: Callable[[], bool]) -> None:
        """Wait for news until something is true."""
        while not true():
            self.registry.news = trio.Event()
            await self.registry.news.wait()

    async def until_lease_is_over(self) -> None:
        """While the engine is away."""
        while self.registry.claiming:
            assert self.registry._lease is not None
            await trio.sleep_until(self.registry._lease.until)

    async def until_located(self, thing: str, place: object) -> None:
        await self.until(lambda: self.registry.locate(thing) == place)

    async def until_heard(self, event: str) -> None:
        await self.until(lambda: any(each[0] == event for each in self.heard))

    def told(self, event: str) -> int:
        return sum(each[0] == event for each in self.heard)

    def stop(self) -> None:
        self._scope.cancel()


class Nodes:
    """Registries on one engine."""

    def __init__(self, nursery: trio.Nursery, etcd: Etcd, prefix: str) -> None:
        self._nursery = nursery
        self.endpoints = etcd.endpoints
        self.prefix = prefix
        self.client = EtcdClient(etcd.endpoints)

    def start(
        self, name: str, *, address: str = "", ttl: float = 6.0, kind: type[Told] = Told
    ) -> Node:
        client = EtcdClient(self.endpoints, attempt=1.0)
        node: Node
        registry = kind(
            NodeInfo(name, address or f"{name}.example:9101"),
            client,
            prefix=self.prefix,
            ttl=ttl,
            emit=lambda event, **data: node.hear(event, **data),  # noqa: PLW0108 - made below
        )
        scope = trio.CancelScope()
        node = Node(registry, scope)
        self._nursery.start_soon(self._run, registry, scope)
        return node

    async def _run(self, registry: Registry, scope: trio.CancelScope) -> None:
        with scope:
            await registry.run()

    async def started(self, *names: str, ttl: float = 6.0) -> list[Node]:
        """Nodes that know each other."""
        nodes = [self.start(name, ttl=ttl) for name in names]
        for node in nodes:
            await node.registry.ready.wait()
            await node.until(lambda node=node: node.registry.nodes.keys() >= set(names))  # type: ignore[misc]
        return nodes

    async def rows(self) -> dict[str, tuple[int, str] | None]:
        """The things that the engine knows."""
        things = Keys(self.prefix).things
        page = await self.client.range(things)
        return {row.key.removeprefix(things): thing_claim(row.value) for row in page.rows}


@asynccontextmanager
async def open_nodes(etcd: Etcd, prefix: str, seconds: float = 30) -> AsyncIterator[Nodes]:
    with trio.fail_after(seconds):
        async with trio.open_nursery() as nursery:
            nodes = Nodes(nursery, etcd, prefix)
            yield nodes
            nursery.cancel_scope.cancel()
        await nodes.client.close()


# -- the same for both registries


@pytest.fixture(params=["alone", "cluster"])
async def registry(request: pytest.FixtureRequest, prefix: str) -> AsyncIterator[Registry]:
    if request.param == "alone":
        with trio.fail_after(30):
            yield Registry(NodeInfo("n", "n.example:9101"))
    else:
        async with open_nodes(request.getfixturevalue("etcd"), prefix) as nodes:
            yield (await nodes.started("n"))[0].registry


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


# -- leases


async def test_rows_vanish_while_the_node_lives(etcd: Etcd, prefix: str) -> None:
    """Its lease expired (here: was revoked): a new one, and all binds are announced again."""
    async with open_nodes(etcd, prefix) as nodes:
        a, b = await nodes.started("a", "b", ttl=2)
        edge = port()
        a.registry.bind("t", 1, edge)
        await b.until_located("t", "a")
        assert a.registry._lease is not None
        await nodes.client.revoke(a.registry._lease.id)
        await b.until_heard("gone")
        await b.until_located("t", "a")
        assert (edge.binds, a.told("displaced")) == ({"t": 1}, 0)


_DIE = """
import sys, trio
from edge_tunnel.protocol.outlet import Outlet
from edge_tunnel.proxy.cluster import ClusterRegistry
from edge_tunnel.proxy.directory import NodeInfo
from edge_tunnel.proxy.etcd import EtcdClient, endpoints_of
from edge_tunnel.proxy.port import Port
url, prefix = sys.argv[1:]
registry = ClusterRegistry(
    NodeInfo("mortal", "h:1"), EtcdClient(endpoints_of(url)), prefix=prefix, ttl=2
)
registry.bind("t", 5, Port("edge", "p", Outlet()))
trio.run(registry.run)
"""


async def test_a_killed_node_is_forgotten(etcd: Etcd, prefix: str) -> None:
    """Its rows go with its lease; until then its thing may be bound elsewhere, above."""
    async with open_nodes(etcd, prefix) as nodes:
        (a,) = await nodes.started("a", ttl=2)
        command = [sys.executable, "-c", _DIE, etcd.url, prefix]
        mortal = await trio.lowlevel.open_process(command)
        try:
            await a.until_located("t", "mortal")
        finally:
            mortal.kill()
            await mortal.wait()
        assert a.registry.bind("t", 6, port())[0]
        await a.until_heard("gone")
        assert await nodes.rows() == {"t": (6, "a")}


async def test_node_restarted_under_its_name(etcd: Etcd, prefix: str) -> None:
    """Rows that its earlier life left behind are withdrawn, or taken over by its new lease."""
    async with open_nodes(etcd, prefix) as nodes:
        lease, _ = await nodes.client.grant(60)
        keys = Keys(prefix)
        for thing in ("gone", "higher", "same"):
            epoch = 9 if thing == "higher" else 5
            await nodes.client.put(f"{keys.things}{thing}", f"{epoch:019} a", lease)
        (a, b) = await nodes.started("a", "b")
        edge = port()
        for thing in ("higher", "same"):
            assert a.registry.bind(thing, 5, edge) == (True, 5, None)
        await b.until(
            lambda: {t: c.epoch for t, c in b.registry.things()} == {"higher": 5, "same": 5}
        )
        await nodes.client.revoke(lease)
        assert await nodes.rows() == {"higher": (5, "a"), "same": (5, "a")}


class SlowEngine(EtcdClient):
    """An engine that does everything at once, and answers renewals after `delay` seconds."""

    def __init__(self, delay: float) -> None:
        super().__init__([])
        self.delay = delay
        self.renewed_at: list[float] = []
        self.leases = 0
        self.lease_is_gone = False
        self.written: list[int] = []
        """The lease of each transaction."""
        self.transactions: list[list[dict[str, Any]]] = []
        self.right: Iterator[bool] = iter(())
        """Whether the comparisons of the next nested transactions hold; from then on they do."""

    async def call(self, path: str, body: dict[str, Any]) -> dict[str, object]:
        await trio.lowlevel.checkpoint()
        if path == "/v3/lease/keepalive":
            self.renewed_at.append(trio.current_time())
            await trio.sleep(self.delay)
            return {"result": {"TTL": "0" if self.lease_is_gone else "10"}}
        if path == "/v3/lease/grant":
            self.lease_is_gone = False
            self.leases += 1
            return {"ID": str(self.leases), "TTL": "10"}
        if path == "/v3/kv/txn":
            self.written.append(self.leases)
            parts = body["success"]
            self.transactions.append(parts)
            right = [next(self.right, True) for _ in parts]
            return {"responses": [{"response_txn": {"succeeded": each}} for each in right]}
        if path == "/v3/kv/range":
            raise EngineAway("not needed")
        return {}


async def test_claims_end_with_the_lease(autojump_clock: trio.testing.MockClock) -> None:
    """A node counts from the moment it sent the renewal: a late answer is worth less."""
    with trio.fail_after(100):
        async with trio.open_nursery() as nursery:
            client = SlowEngine(delay=9)
            registry = ClusterRegistry(NodeInfo("n"), client, ttl=10)
            assert not registry.claiming
            nursery.start_soon(registry.run)
            await trio.sleep(9)
            assert registry.claiming  # the grant, of time 0
            await trio.sleep(2)
            assert not registry.claiming  # 11: the renewal of 3.3 is not answered yet
            await trio.sleep(2)
            assert registry.claiming  # 13: it was, at 12.3, and is worth one second more
            await trio.sleep(0.5)
            assert not registry.claiming  # 13.5
            assert client.renewed_at[0] == pytest.approx(10 / 3)
            nursery.cancel_scope.cancel()


async def test_new_lease_carries_all_binds(autojump_clock: trio.testing.MockClock) -> None:
    """Also while there is no watch that could tell that the rows of the old one are gone."""
    with trio.fail_after(100):
        async with trio.open_nursery() as nursery:
            client = SlowEngine(delay=0)
            registry = ClusterRegistry(NodeInfo("n"), client, ttl=10)
            nursery.start_soon(registry.run)
            registry.bind("t", 1, port())
            await trio.sleep(20)
            assert client.written == [1]  # once, while the lease stands
            client.lease_is_gone = True
            await trio.sleep(20)
            assert client.written == [1, 2]
            nursery.cancel_scope.cancel()


async def test_wrong_guesses_are_written_row_by_row(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """All rows of that group, also those that were as we believed; and of no other group."""
    with trio.fail_after(100):
        async with trio.open_nursery() as nursery:
            client = SlowEngine(delay=0)
            client.right = iter((True, False, True))
            registry = ClusterRegistry(NodeInfo("n"), client, ttl=10)
            nursery.start_soon(registry.run)
            for number in range(250):
                registry.bind(f"t{number}", 1, port())
            await trio.sleep(1)
            guesses, rows = client.transactions
            sizes = [len(each["request_txn"]["success"]) for each in guesses]
            assert sizes == [100, 100, 50]
            written = [each["request_txn"]["failure"][0]["request_put"] for each in rows]
            second = [each["request_put"] for each in guesses[1]["request_txn"]["success"]]
            assert written == second
            nursery.cancel_scope.cancel()


# -- an engine in pieces


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
