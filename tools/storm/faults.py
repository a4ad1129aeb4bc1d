"""Carries a schedule out."""

from __future__ import annotations

import contextlib
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Final, TypeAlias

import trio

from edge_tunnel.testing.cluster_site import ClusterSite, NodeProcess
from edge_tunnel.testing.etcd import Member
from tools.storm.network import Network
from tools.storm.schedule import Fault

__all__ = ["Faults"]

_DRAIN: Final = 45.0
"""Seconds for a node to end after SIGTERM: its drain_timeout (30), and a busy machine."""

_SETTLED: Final = 60.0
"""Seconds until everybody listens again, after the last fault."""


class Faults:
    """Makes each fault when it is due, and undoes it when its time is over."""

    def __init__(self, site: ClusterSite, network: Network, tell: Callable[[str], None]) -> None:
        self.made: Counter[str] = Counter()
        """By kind."""

        self.problems: list[str] = []
        """What the nodes themselves did wrong."""

        self._site = site
        self._network = network
        self._tell = tell
        self._locks: dict[str, trio.Lock] = defaultdict(trio.Lock)

    async def run(self, faults: Sequence[Fault]) -> None:
        """From the first to the undoing of the last."""
        start = trio.current_time()
        async with trio.open_nursery() as nursery:
            for fault in faults:
                await trio.sleep_until(start + fault.at)
                nursery.start_soon(self._make, fault)
        self._network.calm()
        await self._wait_until_all_listen()

    async def _make(self, fault: Fault) -> None:
        """One target has one fault of a kind at a time: a restart may take longer than planned."""
        async with contextlib.AsyncExitStack() as stack:
            for name in _exclusive(fault):
                await stack.enter_async_context(self._locks[name])
            self._tell(f"{fault.kind}: {fault.target} for {fault.seconds:.1f} s")
            self.made[fault.kind] += 1
            async with _WAYS[fault.kind](self, fault):
                await trio.sleep(fault.seconds)
            if fault.seconds:
                self._tell(f"  ... {fault.kind}: {fault.target} is over")

    async def _wait_until_all_listen(self) -> None:
        for node in self._site.nodes.values():
            await self._wait_until_it_listens(node)

    async def _wait_until_it_listens(self, node: NodeProcess) -> None:
        with trio.move_on_after(_SETTLED) as scope:
            while not _listens(node):  # noqa: ASYNC110 - it is a poll
                await trio.sleep(0.1)
        if scope.cancelled_caught:
            self.problems.append(f"node {node.name} took no links for {_SETTLED:g} s")

    # -- nodes

    @asynccontextmanager
    async def node_killed(self, fault: Fault) -> AsyncIterator[None]:
        node = await self._living(fault)
        await node.kill()
        yield
        await node.launch()

    @asynccontextmanager
    async def node_stopped(self, fault: Fault) -> AsyncIterator[None]:
        node = await self._living(fault)
        node.stop()
        yield
        node.go_on()

    @asynccontextmanager
    async def node_drained(self, fault: Fault) -> AsyncIterator[None]:
        node = await self._living(fault)
        await self._wait_until_it_listens(node)  # Python itself dies of SIGTERM while it starts
        with trio.move_on_after(_DRAIN) as scope:
            code = await node.terminate()
            if code != 0:
                self.problems.append(f"node {node.name} ended with {code} after SIGTERM")
        if scope.cancelled_caught:
            self.problems.append(f"node {node.name} did not end {_DRAIN:g} s after SIGTERM")
            await node.kill()
        yield
        await node.launch()

    async def _living(self, fault: Fault) -> NodeProcess:
        """The node, alive; one that has ended by itself is reported, and started again."""
        node = self._site.nodes[fault.target]
        assert node.child is not None
        code = node.child.process.poll()
        if code is not None:
            self.problems.append(str(node.child.failed(f"ended by itself (code {code})")))
            await node.launch()
        return node

    # -- networks of nodes

    @asynccontextmanager
    async def node_without_endpoints(self, fault: Fault) -> AsyncIterator[None]:
        self._network.fronts[fault.target].stall()
        yield
        self._network.fronts[fault.target].go_on()

    @asynccontextmanager
    async def node_without_etcd(self, fault: Fault) -> AsyncIterator[None]:
        self._network.stall_engine(fault.target)
        yield
        self._network.free_engine(fault.target)

    @asynccontextmanager
    async def node_without_anybody(self, fault: Fault) -> AsyncIterator[None]:
        self._network.isolate(fault.target)
        async with self.node_without_endpoints(fault), self.node_without_etcd(fault):
            yield
        self._network.reunite(fault.target)

    @asynccontextmanager
    async def nodes_parted(self, fault: Fault) -> AsyncIterator[None]:
        one, other = fault.target.split("-")
        self._network.part(one, other)
        yield
        self._network.join(one, other)

    @asynccontextmanager
    async def hops_cut(self, fault: Fault) -> AsyncIterator[None]:
        self._network.hops[fault.target].cut_after(int(fault.amount))
        yield

    # -- etcd

    @asynccontextmanager
    async def member_killed(self, fault: Fault) -> AsyncIterator[None]:
        member = self._member(fault)
        await trio.to_thread.run_sync(member.kill)
        yield
        member.start_again()

    @asynccontextmanager
    async def member_stopped(self, fault: Fault) -> AsyncIterator[None]:
        self._member(fault).stop()
        yield
        self._member(fault).go_on()

    @asynccontextmanager
    async def etcd_away(self, _fault: Fault) -> AsyncIterator[None]:
        for member in self._site.etcd.members:
            member.stop()
        yield
        for member in self._site.etcd.members:
            member.go_on()

    def _member(self, fault: Fault) -> Member:
        return next(each for each in self._site.etcd.members if each.name == fault.target)

    # -- HAProxy

    @asynccontextmanager
    async def haproxy_killed(self, _fault: Fault) -> AsyncIterator[None]:
        assert self._site.haproxy is not None
        await self._site.haproxy.kill()
        yield
        await self._site.haproxy.launch()

    @asynccontextmanager
    async def haproxy_stopped(self, _fault: Fault) -> AsyncIterator[None]:
        assert self._site.haproxy is not None
        self._site.haproxy.stop()
        yield
        self._site.haproxy.go_on()

    # -- links of endpoints

    @asynccontextmanager
    async def link_cut(self, fault: Fault) -> AsyncIterator[None]:
        self._network.links[fault.target].cut_after(int(fault.amount))
        yield

    @asynccontextmanager
    async def resume_cut(self, fault: Fault) -> AsyncIterator[None]:
        relay = self._network.links[fault.target]
        relay.cut()
        relay.cut_after(int(fault.amount))
        yield

    @asynccontextmanager
    async def link_stalled(self, fault: Fault) -> AsyncIterator[None]:
        self._network.links[fault.target].stall()
        yield
        self._network.links[fault.target].go_on()

    @asynccontextmanager
    async def link_delayed(self, fault: Fault) -> AsyncIterator[None]:
        self._network.links[fault.target].delay = fault.amount
        yield
        self._network.links[fault.target].delay = 0.0

    @asynccontextmanager
    async def link_slow(self, fault: Fault) -> AsyncIterator[None]:
        self._network.links[fault.target].rate = fault.amount
        yield
        self._network.links[fault.target].rate = float("inf")


_Way: TypeAlias = Callable[[Faults, Fault], AbstractAsyncContextManager[None]]

_WAYS: Final[dict[str, _Way]] = {
    "node killed": Faults.node_killed,
    "node stopped": Faults.node_stopped,
    "node drained": Faults.node_drained,
    "node without endpoints": Faults.node_without_endpoints,
    "node without etcd": Faults.node_without_etcd,
    "node without anybody": Faults.node_without_anybody,
    "nodes parted": Faults.nodes_parted,
    "hops cut": Faults.hops_cut,
    "member killed": Faults.member_killed,
    "member stopped": Faults.member_stopped,
    "etcd away": Faults.etcd_away,
    "haproxy killed": Faults.haproxy_killed,
    "haproxy stopped": Faults.haproxy_stopped,
    "link cut": Faults.link_cut,
    "resume cut": Faults.resume_cut,
    "link stalled": Faults.link_stalled,
    "link delayed": Faults.link_delayed,
    "link slow": Faults.link_slow,
}


def _exclusive(fault: Fault) -> list[str]:
    """What no other fault touches meanwhile, in an order that all of them keep."""
    if fault.kind.startswith(("node without", "nodes parted", "hops")):
        return [f"network of {each}" for each in sorted(fault.target.split("-"))]
    if fault.kind == "etcd away":
        return ["m0", "m1", "m2"]
    return [fault.target]


def _listens(node: NodeProcess) -> bool:
    assert node.child is not None
    return any(event["event"] == "listening" for event in node.child.events)
