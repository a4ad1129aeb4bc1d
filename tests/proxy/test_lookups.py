"""A thing that the watch has not brought yet: lookups.py, and what a node does with it.

In virtual time; tests/proxy/test_broken_engine.py has it with a real etcd.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
import trio
import trio.testing

from edge_tunnel import Reason
from edge_tunnel.protocol.frames import Bind, Bound, Close
from edge_tunnel.proxy.etcd_http import EngineAway
from edge_tunnel.proxy.lookups import Lookups
from edge_tunnel.testing.cluster import open_cluster
from edge_tunnel.testing.transports import transport_pair
from tests.proxy.hops import cluster_of, link
from tests.proxy.peers import TUNNEL, Peer, attach, attached, hello
from tests.proxy.rules import Rules


class Engine:
    """What is asked of it, and when it answers."""

    def __init__(self, delay: float = 0.01) -> None:
        self.delay = delay
        self.known: set[str] = set()
        self.asked: list[str] = []
        self.under_way = self.most_under_way = 0
        self.done: list[tuple[str, float]] = []
        self.away = False
        self.lookups = Lookups(self.read, self.finished)

    async def read(self, thing: str) -> bool:
        self.asked.append(thing)
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        try:
            await trio.sleep(self.delay)
        finally:
            self.under_way -= 1
        if self.away:
            raise EngineAway("etcd is away")
        return thing in self.known

    def finished(self, thing: str) -> None:
        self.done.append((thing, trio.current_time()))


@asynccontextmanager
async def engine(delay: float = 0.01) -> AsyncIterator[Engine]:
    with trio.fail_after(1000):
        async with trio.open_nursery() as nursery:
            found = Engine(delay)
            nursery.start_soon(found.lookups.run)
            await trio.testing.wait_all_tasks_blocked()
            yield found
            nursery.cancel_scope.cancel()


async def test_many_misses_of_one_thing_are_one_read(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """While it is under way; afterwards a miss is a new question."""
    async with engine() as etcd:
        etcd.known.add("t")
        assert all(etcd.lookups.ask("t") for _ in range(100))
        await trio.sleep(1)
        assert (etcd.asked, len(etcd.done)) == (["t"], 1)
        assert etcd.lookups.ask("t")
        await trio.sleep(1)
        assert len(etcd.asked) == 2


async def test_random_names_do_not_load_the_engine(autojump_clock: trio.testing.MockClock) -> None:
    """Few at once, some a second, and the others are answered from memory."""
    async with engine(delay=0.05) as etcd:
        taken = 0
        start = trio.current_time()
        for number in range(3000):
            taken += etcd.lookups.ask(f"guess-{number}")
            await trio.sleep(0.001)
        seconds = trio.current_time() - start
        await trio.sleep(2)
        assert taken == len(etcd.asked) == len(etcd.done)
        assert etcd.most_under_way <= 4
        assert 50 <= taken <= 100 + 50 * seconds
        assert etcd.lookups._pending == set()


async def test_a_slow_engine_is_not_waited_for(autojump_clock: trio.testing.MockClock) -> None:
    """A second, and a bind's own time; those that wait for their turn count from their question."""
    async with engine(delay=1e6) as etcd:
        start = trio.current_time()
        assert sum(etcd.lookups.ask(f"t{number}") for number in range(200)) == 64
        await trio.sleep(5)
        assert {round(at - start, 3) for _, at in etcd.done} == {1.2}
        assert len(etcd.done) == 64
        assert len(etcd.asked) == 4


async def test_an_engine_that_is_away(autojump_clock: trio.testing.MockClock) -> None:
    """Its users hear at once, and the task that asks goes on."""
    async with engine() as etcd:
        etcd.away = True
        start = trio.current_time()
        assert etcd.lookups.ask("t")
        await trio.sleep(1)
        ((_, at),) = etcd.done
        assert at - start == pytest.approx(0.01)
        etcd.away = False
        assert etcd.lookups.ask("t")
    assert not etcd.lookups.ask("t")  # it has ended


# -- at a node


async def test_a_device_that_was_bound_a_moment_ago_elsewhere(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """The watch is a minute behind: its remote gets there all the same, and at once."""
    async with cluster_of("a", "b") as cluster:
        cluster.registry.lag = 60
        edge, remote = await link(cluster, "a", "edge"), await link(cluster, "b", "remote")
        await edge.say(Bind("t", 1))
        assert await edge.hear() == Bound("t", 1)
        start = trio.current_time()
        await remote.say(attach())
        assert await edge.hear() == attach()
        assert trio.current_time() - start < 1
        await edge.say(attached())
        assert await remote.hear() == attached()


async def test_a_thing_that_nobody_has(autojump_clock: trio.testing.MockClock) -> None:
    """It is refused, as before; once for each who asked, and nobody waits any more."""
    async with cluster_of("a", "b") as cluster:
        remote = await link(cluster, "b", "remote")
        for number in range(3):
            await remote.say(attach(thing="ghost")._replace(tunnel=bytes([number]) + TUNNEL[1:]))
        for _ in range(3):
            answer = await remote.hear()
            assert isinstance(answer, Close) and answer.reason == Reason.NO_SUCH_THING
        assert await remote.silent()
        assert len(cluster.nodes["b"].waiting) == 0


async def test_while_the_engine_is_away_it_is_as_before(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """A node that is cut off answers from its map."""
    async with cluster_of("a", "b") as cluster:
        cluster.registry.views["b"].cut()
        remote = await link(cluster, "b", "remote")
        await remote.say(attach(thing="ghost"))
        answer = await remote.hear()
        assert isinstance(answer, Close) and answer.reason == Reason.NO_SUCH_THING


async def test_a_resume_waits_as_before(autojump_clock: trio.testing.MockClock) -> None:
    """For it the device is on its way, whatever the engine knows."""
    async with cluster_of("a", "b") as cluster:
        remote = await link(cluster, "b", "remote")
        await remote.say(attach(2, fresh=False, thing="ghost"))
        assert await remote.silent()
        assert len(cluster.nodes["b"].waiting) == 1


class Asked:
    """Which things the engine was asked for, by whomever."""

    def __init__(self, honest: Callable[[str], bool]) -> None:
        self.things: list[str] = []
        self._honest = honest

    def __call__(self, thing: str) -> bool:
        self.things.append(thing)
        return self._honest(thing)


async def test_only_who_may_reach_it_makes_the_node_ask(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Names of things that the policy does not give are no question to the engine."""
    rules = Rules()
    rules.allow("alice", tunnels_per_minute=1)
    with trio.fail_after(100):
        async with open_cluster("a", "b", authority=lambda: rules) as cluster:
            view = cluster.registry.views["b"]
            view.look_up = asked = Asked(view.look_up)  # type: ignore[method-assign]
            remote = await enter(cluster.nodes["b"].talk, cluster._nursery, "remote", "alice")
            await remote.say(attach(thing="not hers"))
            assert isinstance(await remote.hear(), Close)
            assert asked.things == []

            # and what has waited for the answer is not counted twice: she may open one a minute
            cluster.registry.lag = 60
            edge = await enter(cluster.nodes["a"].talk, cluster._nursery, "edge", "device")
            await edge.say(Bind("t", 1))
            assert await edge.hear() == Bound("t", 1)
            await remote.say(attach())
            assert await edge.hear() == attach()
            assert asked.things == ["t"]


async def enter(talk: object, nursery: trio.Nursery, role: str, key: str) -> Peer:
    near, far = transport_pair()
    nursery.start_soon(talk, far)  # type: ignore[arg-type]
    peer = Peer(near)
    await peer.say(hello(role, key=key))
    await peer.hear()
    return peer
