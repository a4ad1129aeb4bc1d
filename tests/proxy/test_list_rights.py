"""Lists by policy: a user is shown what he may reach, whichever node has it and is asked."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio
import trio.testing

from edge_tunnel import LinkLost, Reason
from edge_tunnel.audit.records import Kind
from edge_tunnel.protocol.frames import Bind, Bound, Bye, Close, Offer, Welcome
from edge_tunnel.remote.lists import Lister, open_lister
from edge_tunnel.testing.cluster import Cluster, open_cluster
from edge_tunnel.testing.transports import transport_pair
from tests.access.house import POLICY, ROOT, House
from tests.proxy.peers import TUNNEL, Peer, attach, attached, hello
from tests.proxy.test_recording import Kept

MORE = """
[[allow]]
users = ["boss"]
things = ["*"]
services = ["*"]
"""


class Plant:
    """A cluster under a policy: pumps and a press at each node; the keys of its users."""

    def __init__(self, cluster: Cluster, house: House) -> None:
        self.cluster = cluster
        self.house = house
        self.keys: dict[str, str] = {}

    async def link(self, node: str, role: str, key: str) -> Peer:
        near, far = transport_pair()
        self.cluster._nursery.start_soon(self.cluster.nodes[node].talk, far)
        peer = Peer(near)
        await peer.say(hello(role, key=key))
        assert isinstance(await peer.hear(), Welcome)
        return peer

    async def edge(self, node: str, *things: str) -> Peer:
        key, _ = await self.house.key("edge", f"edge-{node}", things=things)
        edge = await self.link(node, "edge", key)
        for thing in things:
            await edge.say(Bind(thing, 5))
            assert isinstance(await edge.hear(), Bound)
            await edge.say(Offer(thing, ("ssh",)))
        return edge

    async def tunnel(self, edge: Peer, node: str, thing: str, number: int) -> Peer:
        """One of the boss."""
        remote = await self.link(node, "remote", self.keys["boss"])
        tunnel = bytes([number]) + TUNNEL[1:]
        await remote.say(attach(thing=thing)._replace(tunnel=tunnel))
        await edge.hear()
        await edge.say(attached()._replace(tunnel=tunnel))
        await remote.hear()
        return remote

    @asynccontextmanager
    async def lister(self, node: str, user: str) -> AsyncIterator[Lister]:
        dial = self.cluster.dial_as("lister")
        key = self.keys.get(user, user)
        async with open_lister([f"mem://{node}"], key, dial) as lister:
            yield lister


@asynccontextmanager
async def open_plant() -> AsyncIterator[Plant]:
    house = await House().open()
    await house.admin.push(POLICY + MORE, 1, "", ROOT)
    with trio.fail_after(500):
        async with open_cluster("a", "b", authority=lambda: house.authority) as cluster:

            def tell_all() -> None:
                for node in cluster.nodes.values():
                    node._judge_again()

            house.authority.on_change = tell_all
            plant = Plant(cluster, house)
            for user in ("anna", "boss", "nobody"):
                plant.keys[user], _ = await house.key("remote", user)
            for number, node in enumerate("ab"):
                edge = await plant.edge(node, f"pump-{node}", f"press-{node}")
                await plant.tunnel(edge, "a", f"pump-{node}", 10 + number)
                await plant.tunnel(edge, "b", f"press-{node}", 20 + number)
            await trio.sleep(0.1)
            yield plant


async def seen(lister: Lister) -> tuple[list[str], list[str], list[str]]:
    """Names of things, things of tunnels, and nodes."""
    things, tunnels, nodes = await lister.things(), await lister.tunnels(), await lister.nodes()
    assert things.missing == tunnels.missing == nodes.missing == []
    return (
        [row.thing for row in things.rows],
        [row.thing for row in tunnels.rows],
        [row.node for row in nodes.rows],
    )


PUMPS, ALL = ["pump-a", "pump-b"], ["press-a", "press-b", "pump-a", "pump-b"]


@pytest.mark.parametrize("node", ["a", "b"])
@pytest.mark.parametrize(("user", "names"), [("anna", PUMPS), ("boss", ALL), ("nobody", [])])
async def test_a_user_is_shown_what_he_may_reach(
    autojump_clock: trio.testing.MockClock, node: str, user: str, names: list[str]
) -> None:
    """Things and tunnels, of the node that is asked and of the others; nodes are for all."""
    async with open_plant() as plant, plant.lister(node, user) as lister:
        assert await seen(lister) == (names, names, ["a", "b"])
        hidden = [row.thing for row in (await lister.things("press-*")).rows]
        assert hidden == [name for name in names if name.startswith("press")]


async def test_a_ticket_lists_its_thing(autojump_clock: trio.testing.MockClock) -> None:
    """And no other, though its user might."""
    async with open_plant() as plant:
        ticket, _ = await plant.house.admin.new_ticket("boss", "press-b", "ssh", None, ROOT)
        async with plant.lister("a", ticket) as lister:
            assert await seen(lister) == (["press-b"], ["press-b"], ["a", "b"])


async def test_a_silent_node_gives_nothing_away(autojump_clock: trio.testing.MockClock) -> None:
    """What the map knows of its things passes the same sieve."""
    async with open_plant() as plant, plant.lister("a", "anna") as lister:
        plant.cluster.freeze("b")
        sample = await lister.things()
        assert [(row.thing, row.known) for row in sample.rows] == [
            ("pump-a", True),
            ("pump-b", False),
        ]
        assert [each.node for each in sample.missing] == ["b"]


async def test_a_right_that_goes_takes_its_rows(autojump_clock: trio.testing.MockClock) -> None:
    """Also from a user whose link stays, and who looks again."""
    async with open_plant() as plant, plant.lister("b", "anna") as lister:
        assert (await seen(lister))[0] == PUMPS
        await plant.house.admin.push(POLICY.replace("pump-*", "press-a") + MORE, 2, "", ROOT)
        assert (await seen(lister))[0] == ["press-a"]


@pytest.mark.parametrize("node", ["a", "b"])
async def test_an_administrator_lists_all(
    autojump_clock: trio.testing.MockClock, node: str
) -> None:
    """With the key that he has for the API; the audit says so, once for what he looks at."""
    async with open_plant() as plant:
        audit = plant.cluster.nodes[node].traffic.recording.audit = Kept()
        key, record = await plant.house.key("admin", "root")
        async with plant.lister(node, key) as lister:
            assert await seen(lister) == (ALL, ALL, ["a", "b"])
            for _ in range(3):
                await lister.things("press-*")
            await plant.house.admin.revoke_key(record.id, ROOT)
            await trio.sleep(2)
            with pytest.raises(LinkLost):
                await lister.things()
        listed = [each for each in audit.events if each.kind is Kind.LISTED]
        assert [each.detail for each in listed] == ["things", "tunnels", "nodes", "things press-*"]
        assert {(each.who, each.role, each.via) for each in listed} == {
            ("root", "admin", f"key {record.id}")
        }
        assert plant.cluster.nodes[node].traffic.lists._recorded == {}


async def test_an_administrator_opens_nothing(autojump_clock: trio.testing.MockClock) -> None:
    """Also not as a user of the same name, nor a tunnel whose id he has seen."""
    async with open_plant() as plant:
        audit = plant.cluster.nodes["a"].traffic.recording.audit = Kept()
        key, _ = await plant.house.key("admin", "boss")
        admin = await plant.link("a", "remote", key)
        known = bytes([10]) + TUNNEL[1:]
        for tunnel, epoch, fresh in ((bytes(16), 1, True), (known, 2, False)):
            await admin.say(attach(epoch, fresh=fresh, thing="pump-a")._replace(tunnel=tunnel))
            answer = await admin.hear()
            assert isinstance(answer, Close) and answer.reason == Reason.NOT_AUTHORISED
        assert audit.kinds.count("tunnel_denied") == 2
        await admin.say(Bind("pump-a", 99))
        answer = await admin.hear()
        assert isinstance(answer, Bye) and answer.reason == Reason.PROTOCOL_ERROR
