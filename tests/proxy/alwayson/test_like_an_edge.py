"""To everyone else it is an edge: policy, tickets, audit, lists and drain know no difference."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio
import trio.testing

from edge_tunnel import Reason, Remote, TunnelEnded, open_edge, open_remote
from edge_tunnel.config.alwayson import AlwaysOnSettings
from edge_tunnel.protocol.tunnel import RESUME_TIMEOUT
from edge_tunnel.proxy.alwayson.identity import stand_in
from edge_tunnel.remote.lists import open_lister
from edge_tunnel.testing.cluster import KEY, open_cluster
from tests.access.house import ROOT, House
from tests.conftest import mem_config
from tests.proxy.alwayson.conftest import THING, Stage, open_stage
from tests.proxy.test_recording import Kept

BARE = AlwaysOnSettings(notify=False)
POLICY = """format = 1
[[services]]
name = "ssh"
host = "127.0.0.1"
port = 22
things = ["pump-*"]
[[allow]]
users = ["anna"]
things = ["pump-*"]
services = ["ssh"]
"""


class Plant(Stage):
    """A stage with keys and a policy."""

    house: House
    record_id: str
    device_key: str

    @asynccontextmanager
    async def remote(self, key: str) -> AsyncIterator[Remote]:
        dial = self.cluster.dial_as("anna")
        async with open_remote(("mem://node",), key, dial=dial) as remote:
            yield remote


@asynccontextmanager
async def open_plant() -> AsyncIterator[Plant]:
    house = await House().open()
    house.now = time.time()  # a node's own clock is the real one
    await house.admin.push(POLICY, 1, "", ROOT)
    with trio.fail_after(10_000):
        async with (
            open_cluster(authority=lambda: house.authority, alwayson=BARE) as cluster,
            trio.open_nursery() as nursery,
        ):
            plant = Plant(cluster, nursery)
            plant.house = house
            plant.device_key, record = await house.key("edge", "pump-1", things=("pump-1",))
            plant.record_id = record.id
            yield plant
            nursery.cancel_scope.cancel()


async def talk(remote: Remote, thing: str = "pump-1") -> None:
    stream = await remote.open_stream(thing, "ssh")
    await stream.send_all(b"hello")
    assert await stream.receive_some() == b"hello"


async def test_keys_and_policy(autojump_clock: trio.testing.MockClock) -> None:
    """The same application keys as our edges'; services and rights as the policy names them."""
    async with open_plant() as plant:
        device = await plant.bound("pump-1", key=plant.device_key)
        key, _ = await plant.house.key("remote", "anna")
        async with plant.remote(key) as remote:
            await talk(remote)
            with pytest.raises(TunnelEnded) as caught:
                await remote.open_stream("pump-1", "web")
            assert caught.value.reason is Reason.SERVICE_NOT_ALLOWED
        stranger, _ = await plant.house.key("remote", "bert")
        async with plant.remote(stranger) as remote:
            with pytest.raises(TunnelEnded):
                await talk(remote)
        assert len(device.starts) == 1
        assert device.completed[0].peer_name == "anna"


async def test_a_users_key_is_no_devices(autojump_clock: trio.testing.MockClock) -> None:
    """Whoever reaches devices cannot be one."""
    async with open_plant() as plant:
        key, _ = await plant.house.key("remote", "anna")
        with pytest.raises(PermissionError, match="0x81"):
            await plant.device("pump-1", key=key).log_in()


async def test_a_ticket(autojump_clock: trio.testing.MockClock) -> None:
    """One session, to one service of one thing."""
    async with open_plant() as plant:
        await plant.bound("pump-1", key=plant.device_key)
        async with plant.remote(await plant.house.ticket()) as remote:
            await talk(remote)


async def test_a_revoked_key_ends_the_main_socket(autojump_clock: trio.testing.MockClock) -> None:
    """At once, and its tunnels with it; it does not come back."""
    async with open_plant() as plant:
        device = await plant.bound("pump-1", key=plant.device_key)
        key, _ = await plant.house.key("remote", "anna")
        async with plant.remote(key) as remote:
            stream = await remote.open_stream("pump-1", "ssh")
            await plant.house.admin.revoke_key(plant.record_id, ROOT)
            await trio.sleep(3)
            assert device.main is not None
            assert device.main.closed is not None
            with pytest.raises(PermissionError):
                await plant.device("pump-1", key=plant.device_key).log_in()
            with pytest.raises(trio.BrokenResourceError):
                await stream.receive_some()


async def test_a_policy_that_takes_a_service_back(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Tunnels to it end, new ones are refused; the others stay."""
    async with open_plant() as plant:
        await plant.bound("pump-1", key=plant.device_key)
        key, _ = await plant.house.key("remote", "anna")
        async with plant.remote(key) as remote:
            stream = await remote.open_stream("pump-1", "ssh")
            await plant.house.admin.push(POLICY.replace("anna", "bert"), 2, "", ROOT)
            with pytest.raises(trio.BrokenResourceError):
                await stream.receive_some()


async def test_a_policy_that_names_no_service_any_more(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Who may use it is one thing, and what there is to use another: live tunnels end, too."""
    async with open_plant() as plant:
        await plant.bound("pump-1", key=plant.device_key)
        key, _ = await plant.house.key("remote", "anna")
        other = POLICY.partition("[[services]]")[0] + "[[allow]]" + POLICY.partition("[[allow]]")[2]
        async with plant.remote(key) as remote:
            stream = await remote.open_stream("pump-1", "ssh")
            await plant.house.admin.push(other, 2, "", ROOT)
            with pytest.raises(trio.BrokenResourceError) as caught:
                await stream.receive_some()
            assert isinstance(caught.value.__cause__, TunnelEnded)
            assert caught.value.__cause__.reason is Reason.SERVICE_NOT_ALLOWED


async def test_a_service_that_moves(autojump_clock: trio.testing.MockClock) -> None:
    """The next stream goes where the policy says now."""
    async with open_plant() as plant:
        device = await plant.bound("pump-1", key=plant.device_key)
        key, _ = await plant.house.key("remote", "anna")
        async with plant.remote(key) as remote:
            await talk(remote)
            moved = POLICY.replace('host = "127.0.0.1"\nport = 22', 'host = "plc"\nport = 80')
            await plant.house.admin.push(moved, 2, "", ROOT)
            await remote.open_stream("pump-1", "ssh")
        assert [(each.host, each.port) for each in device.starts] == [
            ("127.0.0.1", 22),
            ("plc", 80),
        ]


async def test_audit(autojump_clock: trio.testing.MockClock) -> None:
    """Who, from where, what, and how it ended: word for word as of an edge."""
    kept = Kept()
    async with open_stage() as (stage, remote):
        stage.cluster.nodes["node"].traffic.recording.audit = kept
        device = await stage.bound(THING)
        stream = await remote.open_stream(THING, "ssh")
        await stream.aclose()
        tunnel = next(iter(remote.tunnels.values()))
        tunnel.close(Reason.DONE)
        remote.tell(tunnel)
        await trio.sleep(1)
        await device.unbind(THING)
        assert device.main is not None
        device.main.cut()
        await trio.sleep(1)
        edge = [event.kind.value for event in kept.events if event.role == "edge"]
        assert edge == ["link_opened", "bound", "unbound", "link_closed"]
        assert kept.tunnels() == ["tunnel_opened", "tunnel_closed"]
        assert {event.address for event in kept.events if event.role == "edge"} == {"device"}


async def test_lists(autojump_clock: trio.testing.MockClock) -> None:
    """A row as any, with a mark; and whose identity remotes see: the cluster's."""
    async with open_stage("a", "b") as (stage, remote):
        await stage.bound(THING, node="a")
        edge_dial = stage.cluster.dial_as("edge")
        async with open_edge(mem_config("b"), {"own": trio.sleep_forever}, dial=edge_dial) as edge:  # type: ignore[dict-item]
            await edge.wait_bound()
            async with open_lister(["mem://b"], KEY, stage.cluster.dial_as("lister")) as lister:
                ours, theirs = sorted((await lister.things()).rows, key=lambda row: row.protocol)
        assert (ours.thing, ours.protocol) == ("device", "")
        assert (theirs.thing, theirs.protocol, theirs.node) == (THING, "alwayson", "a")
        assert theirs.services == ("nowhere", "ssh", "web")
        assert theirs.fingerprint == stand_in(KEY).fingerprint != ours.fingerprint
        await remote.open_stream(THING, "ssh")
        tunnel = next(iter(remote.tunnels.values()))
        assert tunnel.sealed  # type: ignore[attr-defined]


def test_one_identity_for_a_cluster() -> None:
    """Every node derives it from the same secret; another cluster has another."""
    assert stand_in("secret").fingerprint == stand_in("secret").fingerprint
    assert stand_in("secret").fingerprint != stand_in("other").fingerprint
    assert stand_in("").fingerprint != stand_in("").fingerprint


async def test_drain(autojump_clock: trio.testing.MockClock) -> None:
    """A device without streams is sent away at once; one with a stream when that is over."""
    async with open_stage("a", "b") as (stage, remote):
        idle = await stage.bound("idle", node="a")
        busy = await stage.bound("busy", node="a")
        stream = await remote.open_stream("busy", "ssh")
        await stream.send_all(b"x")
        await stream.receive_some()
        stage.nursery.start_soon(stage.cluster.nodes["a"].drain, 300)
        await trio.sleep(5)
        assert idle.main is not None
        assert busy.main is not None
        assert idle.main.closed is not None
        assert busy.main.closed is None
        await stream.send_all(b"still")
        assert await stream.receive_some() == b"still"
        await stream.aclose()
        await trio.sleep(10)
        assert busy.main.closed is not None


async def test_a_drain_that_takes_too_long(autojump_clock: trio.testing.MockClock) -> None:
    """The stream ends with the node, and the remote hears why: no end of file."""
    async with open_stage("a", "b") as (stage, remote):
        await stage.bound(THING, node="a")
        stream = await remote.open_stream(THING, "ssh")
        stage.nursery.start_soon(stage.cluster.nodes["a"].drain, 20)
        with pytest.raises(trio.BrokenResourceError) as caught:
            await stream.receive_some()
        assert isinstance(caught.value.__cause__, TunnelEnded)
        assert caught.value.__cause__.reason is Reason.SHUTTING_DOWN


async def test_a_namesake_takes_one_of_two_things(autojump_clock: trio.testing.MockClock) -> None:
    """The tunnels to that one wait their time out, and no longer; the other's do not notice."""
    async with open_stage("a", "b") as (stage, remote):
        await stage.bound("lost", "kept", node="a")
        lost, kept = (
            await remote.open_stream("lost", "ssh"),
            await remote.open_stream("kept", "ssh"),
        )
        door = stage.cluster.nodes["a"].alwayson
        assert door is not None
        of = {tunnel.thing: tunnel for tunnel in door.front.ends.tunnels.values()}
        await stage.bound("lost", node="b")
        with pytest.raises(trio.BrokenResourceError):  # node b knows nothing of it
            await lost.receive_some()
        assert not of["lost"].attached
        await kept.send_all(b"still")
        assert await kept.receive_some() == b"still"
        await trio.sleep(RESUME_TIMEOUT + 1)
        assert list(door.front.ends.tunnels.values()) == [of["kept"]]
