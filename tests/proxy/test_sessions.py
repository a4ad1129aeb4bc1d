"""A session across nodes: moving begins no time anew, and a ticket survives an unlucky greeting."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest
import trio

from edge_tunnel import open_edge, open_remote
from edge_tunnel.access.administration import Administration, NewKey
from edge_tunnel.access.authority import PolicyAuthority
from edge_tunnel.access.keys import record_of
from edge_tunnel.access.rights import Credentials, Principal
from edge_tunnel.access.sessions import Sessions, Start, session_key
from edge_tunnel.access.store import MemoryStore
from edge_tunnel.config.proxy_access import AccessSettings
from edge_tunnel.protocol.frames import Bye, Close, Welcome
from edge_tunnel.protocol.outlet import Outlet
from edge_tunnel.proxy.guard import Guard
from edge_tunnel.proxy.node import Node, NodeSettings
from edge_tunnel.proxy.port import Port
from edge_tunnel.proxy.routes import Routes
from edge_tunnel.reasons import Reason
from edge_tunnel.testing.cluster import Cluster, open_cluster
from edge_tunnel.testing.etcd import Etcd
from edge_tunnel.testing.transports import transport_pair
from tests.conftest import echo
from tests.proxy.peers import TUNNEL, Peer, attach, hello
from tests.proxy.rules import broken, config, exchange
from tests.proxy.test_stores import open_etcd_store

ROOT = record_of("x" * 20, role="admin", name="root", created=0)
POLICY = """format = 1
[[allow]]
users = ["*"]
things = ["t"]
services = ["ssh"]
session = 300
"""


@dataclass
class House:
    """Nodes with one store, and what opens them."""

    store: MemoryStore
    admin: Administration
    device: str
    anna: str
    ben: str

    def authority(self) -> PolicyAuthority:
        return PolicyAuthority(self.store, AccessSettings(), now=trio.current_time)


async def build() -> House:
    store = MemoryStore(trio.current_time)
    authority = PolicyAuthority(store, AccessSettings(), now=trio.current_time)
    admin = Administration(authority)
    await admin.prepare()
    await admin.push(POLICY, 0, "", ROOT)
    wishes = (("edge", "t"), ("remote", "anna"), ("remote", "ben"))
    keys = [
        (await admin.new_key(NewKey(role=role, name=name, things=(name,) * (role == "edge")), None,
                             ROOT))[0]
        for role, name in wishes
    ]  # fmt: skip
    return House(store, admin, *keys)


@asynccontextmanager
async def three_nodes(house: House) -> AsyncIterator[Cluster]:
    with trio.fail_after(1000):
        async with open_cluster("a", "b", "c", authority=house.authority) as cluster:
            for node in cluster.nodes.values():
                node.traffic.guard._clock = trio.current_time
            yield cluster


async def test_a_session_that_moves_twice_ends_when_it_would_have(autojump_clock: object) -> None:
    """From b to c to a, each time because the node was killed."""
    house = await build()
    urls = ("mem://b", "mem://c", "mem://a")
    async with (
        three_nodes(house) as cluster,
        open_edge(config(house.device), {"ssh": echo}, dial=cluster.dial_as("edge")) as edge,
        open_remote(urls, house.anna, dial=cluster.dial_as("remote")) as remote,
    ):
        await edge.wait_bound()
        start = trio.current_time()
        stream = await remote.open_stream("t", "ssh")
        for _ in range(2):
            await trio.sleep(100)
            assert remote.url is not None
            if (name := remote.url.removeprefix("mem://")) == "a":
                cluster.cut("remote")  # the edge is there
            else:
                cluster.kill(name)
            await exchange(stream)
        assert "session" in await broken(stream)
        assert trio.current_time() - start == pytest.approx(300, abs=3)


async def test_a_start_that_comes_late_counts_all_the_same(autojump_clock: object) -> None:
    """A tunnel resumes where its row is not known yet: it goes on, and then the row is there."""
    house = await build()
    async with (
        three_nodes(house) as cluster,
        open_edge(config(house.device), {"ssh": echo}, dial=cluster.dial_as("edge")) as edge,
        open_remote(("mem://b",), house.anna, dial=cluster.dial_as("remote")) as remote,
    ):
        await edge.wait_bound()
        stream = await remote.open_stream("t", "ssh")
        (tunnel,) = remote.tunnels
        with remote.notices.subscribe() as events:
            earlier = Start(trio.current_time() - 200, "anna")
            late = Sessions(house.store, trio.current_time)  # of a node that was cut off
            late.remember(tunnel, earlier, 300.0)
            await trio.sleep(5)
            await late.write_down()
            while (notice := await anext(events)).event != "granted":
                pass
            assert notice["seconds"] == pytest.approx(95, abs=3)
        assert "session" in await broken(stream)
        assert trio.current_time() - earlier.began == pytest.approx(300, abs=3)


async def test_no_row_for_an_attach_that_no_edge_has_accepted(autojump_clock: object) -> None:
    """An ATTACH says whatever its sender likes; also when it waits for its thing."""
    house = await build()
    async with three_nodes(house) as cluster:
        for key in (house.anna, house.ben):
            near, far = transport_pair()
            cluster._nursery.start_soon(cluster.nodes["a"].talk, far)
            peer = Peer(near)
            await peer.say(hello("remote", key=key))
            assert isinstance(await peer.hear(), Welcome)
            await peer.say(attach())
        await trio.sleep(10)
        assert house.store.session(session_key(TUNNEL)) is None


@pytest.mark.parametrize("fresh", [True, False])
async def test_the_tunnel_of_somebody_else_at_another_node(
    autojump_clock: object, fresh: bool
) -> None:
    """This node never had it, but knows whose it is: as for one that never was."""
    house = await build()
    authority = house.authority()
    authority.remember(TUNNEL, 0.0, "anna", 300.0)
    await authority.sessions.write_down()

    def quiet(event: str, **data: object) -> None: ...

    guard = Guard(house.authority(), Routes(quiet), quiet, trio.current_time)
    answers = {}
    for key in (house.anna, house.ben):
        port = await _port(guard, key)
        answers[key] = guard.permit(port, attach(fresh=fresh), trio.current_time())
    refused = answers[house.ben]
    assert isinstance(refused, Close) and refused.reason == Reason.UNKNOWN_TUNNEL
    assert not isinstance(answers[house.anna], Close)


async def _port(guard: Guard, key: str) -> Port:
    who = await guard.authority.admit(Credentials(role="remote", key=key))
    assert isinstance(who, Principal)
    return Port("remote", "192.0.2.7:1", Outlet(), who, frozenset())


async def test_a_ticket_of_which_the_node_said_later(autojump_clock: object) -> None:
    """It was redeemed by then. The same process comes back and gets in, another does not."""
    house = await build()
    ticket, _ = await house.admin.new_ticket("anna", "t", "ssh", 15.0, ROOT)
    settings = NodeSettings(admission_rate=4, admission_burst=1)
    with trio.fail_after(1000):
        async with trio.open_nursery() as nursery:
            node = Node(settings, house.authority())

            async def greet(key: str, instance: bytes = b"1" * 16) -> object:
                near, far = transport_pair()
                nursery.start_soon(node.talk, far)
                peer = Peer(near)
                await peer.say(hello("remote", key=key)._replace(instance=instance))
                return await peer.hear()

            while isinstance(await greet(house.anna), Welcome):
                pass
            later = await greet(ticket)
            assert isinstance(later, Bye) and later.retry_after_ms
            await trio.sleep(5)
            other = await greet(ticket, b"2" * 16)
            assert isinstance(other, Bye) and other.reason == Reason.NOT_AUTHORISED
            assert isinstance(await greet(ticket), Welcome)
            nursery.cancel_scope.cancel()


async def test_a_session_on_etcd(etcd: Etcd, prefix: str) -> None:
    """Written by one node, known to another and to one that comes later; the earliest holds."""
    with trio.fail_after(60):
        async with (
            open_etcd_store(etcd, prefix, "a") as one,
            open_etcd_store(etcd, prefix, "b") as other,
        ):
            now = 1000.0
            first, second = Sessions(one, lambda: now), Sessions(other, lambda: now)
            first.remember(TUNNEL, Start(990.0, "anna"), 60.0)
            await first.write_down()
            await other.until(lambda: second.start(TUNNEL) == Start(990.0, "anna"))
            second.remember(TUNNEL, Start(980.0, "anna"), 60.0)
            await second.write_down()
            await one.until(lambda: first.start(TUNNEL) == Start(980.0, "anna"))
            async with open_etcd_store(etcd, prefix, "c") as late:
                assert Sessions(late, lambda: now).start(TUNNEL) == Start(980.0, "anna")
            assert not first._due and not second._due
