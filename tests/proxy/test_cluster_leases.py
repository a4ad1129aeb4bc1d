"""What a node's lease carries, and what ends with it."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any, cast

import pytest
import trio
import trio.testing

from edge_tunnel.proxy.cluster import ClusterRegistry
from edge_tunnel.proxy.directory import NodeInfo
from edge_tunnel.proxy.etcd import (
    Changes,
    EngineAway,
    EngineError,
    EtcdClient,
    LeaseGone,
    Watch,
)
from edge_tunnel.proxy.rows import Keys
from edge_tunnel.testing.etcd import Etcd
from tests.proxy.registries import open_nodes, port


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


class HostileEngine(EtcdClient):
    """Answers each of these calls at once with an error, or each watch with its end."""

    def __init__(self, errors: dict[str, EngineError], *, watches_end: bool = False) -> None:
        super().__init__([])
        self.watches_end = watches_end
        self.errors = errors
        self.calls: Counter[str] = Counter()

    async def call(self, path: str, body: dict[str, Any]) -> dict[str, object]:  # noqa: ARG002
        await trio.lowlevel.checkpoint()
        name = path.rpartition("/")[2]
        self.calls[name] += 1
        assert self.calls[name] < 1000, "it asks as fast as it is answered"
        if name in self.errors:
            raise self.errors[name]
        return {"ID": "1", "TTL": "10", "result": {"TTL": "10"}, "header": {"revision": "7"}}

    @asynccontextmanager
    async def open_watch(self, prefix: str, revision: int) -> AsyncIterator[Watch]:  # noqa: ARG002
        await self.call("/v3/watch", {})
        yield cast("Watch", self)

    async def receive(self) -> Changes:
        if not self.watches_end:
            await trio.sleep_forever()
        raise EngineAway("the watch ended")


@pytest.mark.parametrize("path", ["grant", "put"])
async def test_an_engine_that_knows_no_lease(
    autojump_clock: trio.testing.MockClock, path: str
) -> None:
    """Not even the one that it has just given: the node waits between its tries, and says so."""
    told: list[str] = []
    client = HostileEngine({path: LeaseGone("etcd at h:1: Not Found")})
    registry = ClusterRegistry(
        NodeInfo("n"), client, emit=lambda event, **data: told.append(f"{event} {data}")
    )
    with trio.move_on_after(100):
        await registry.run()
    assert 40 < client.calls["grant"] < 300
    assert "engine_lost {'reason': 'etcd at h:1: Not Found'}" in told


async def test_watches_that_end_as_they_begin(autojump_clock: trio.testing.MockClock) -> None:
    """One that has brought nothing is opened again after a pause, as one that was refused."""
    told: list[str] = []
    client = HostileEngine({}, watches_end=True)
    registry = ClusterRegistry(NodeInfo("n"), client, emit=lambda event, **_: told.append(event))
    with trio.move_on_after(100):
        await registry.run()
    assert 40 < client.calls["watch"] < 300
    assert "engine_lost" in told
