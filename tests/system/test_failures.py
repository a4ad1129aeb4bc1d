"""Real failures of a real cluster, under load: a node that hangs, a network that is cut, etcd away.

Each conversation compares every byte that comes back; none may be lost, repeated or reordered, and
none may end. How long something took is printed at most, never asserted.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import trio

from tests.system.stage import OwnNetwork, Stage, open_stage, why_no_network

pytestmark = pytest.mark.slow

AWAY = float(os.environ.get("EDGE_TUNNEL_TEST_ETCD_AWAY", "15"))
"""Seconds that etcd is away: longer than a lease, 10 s. By hand a minute, or an hour."""


async def begin(stage: Stage) -> None:
    """A device on the first node; a technician there, and one on another node (by a hop)."""
    for urls in ("abc", "bca"):
        await stage.talk(await stage.remote(stage.urls(urls)), "device", 2)
    await stage.flows()


async def is_reached_through(stage: Stage, name: str, thing: str = "device") -> None:
    """A new technician at this node alone gets to the device."""
    await stage.flows(await stage.talk(await stage.remote(stage.urls(name)), thing))


def is_at(stage: Stage, name: str, bound: dict[str, Any]) -> bool:
    """Whether an edge's event is about its link to this node."""
    return str(bound["url"]).startswith(stage.site.nodes[name].url + "/")


async def test_a_node_hangs_and_comes_back(tmp_path: Path) -> None:
    """SIGSTOP: its device and its technician go by its silence. SIGCONT: it is told what it lost.

    It still believes to hold the device when it wakes (split brain), for longer than its lease.
    """
    with trio.fail_after(90):
        async with open_stage(tmp_path) as stage:
            edge = await stage.device("device", stage.urls("abc"))
            await begin(stage)
            node = stage.site.nodes["a"]
            node.stop()
            assert is_at(stage, "b", await edge.event("bound", 2))
            assert "silent" in (await edge.event("link_lost"))["reason"]
            await stage.flows()
            await stage.nodes_known("b", "c")  # its lease is over
            node.go_on()
            assert node.child is not None
            unbound = await node.child.event("unbound")
            assert unbound["thing"] == "device"
            await stage.nodes_known("a", "b", "c")
            await is_reached_through(stage, "a")
            await stage.claimed(device="b")
            assert [each["epoch"] for each in node.child.events if each["event"] == "bound"] == [
                (await edge.event("bound"))["epoch"]
            ]
            await stage.finish()


async def test_the_network_of_a_node_is_cut(tmp_path: Path) -> None:
    """iptables drops all packets of one node: nobody hears of it, and everybody goes elsewhere.

    The packets that it queued meanwhile arrive when the network is back, and change nothing.
    """
    missing = why_no_network()
    if missing:
        pytest.skip(missing)
    with trio.fail_after(110), OwnNetwork(1 + hash(str(tmp_path)) % 250) as network:
        async with open_stage(tmp_path, "") as stage:
            for name in "abc":
                stage.site.add_node(name)
            node = stage.site.nodes["a"]
            network.move_in(node)
            await stage.site.start_all()
            edge = await stage.device("device", stage.urls("abc"))
            await begin(stage)
            network.cut()
            assert is_at(stage, "b", await edge.event("bound", 2))
            await stage.flows()
            await stage.nodes_known("b", "c")
            assert node.child is not None
            await node.child.event("engine_lost")
            network.mend()
            await node.child.event("unbound")
            await stage.nodes_known("a", "b", "c")
            await is_reached_through(stage, "a")
            await stage.claimed(device="b")
            await stage.finish()


@pytest.mark.parametrize("how", ["killed", "stopped"])
async def test_etcd_is_away(tmp_path: Path, how: str) -> None:
    """All members: tunnels go on, new ones are made from the map in memory, and all binds return.

    A node that starts meanwhile says what it waits for; a device that binds meanwhile is in etcd
    afterwards.
    """
    with trio.fail_after(100 + AWAY):
        async with open_stage(tmp_path) as stage:
            site = stage.site
            await stage.device("device", stage.urls("abc"))
            other = await stage.device("other", stage.urls("cba"))
            await begin(stage)
            before = await stage.claims()
            start = trio.current_time()
            for member in site.etcd.members:
                member.kill() if how == "killed" else member.stop()
            for node in site.nodes.values():
                assert node.child is not None
                await node.child.event("engine_lost")
            late = site.add_node("d")
            await late.launch()
            assert late.child is not None
            assert "etcd" in (await late.child.event("waiting"))["what"]
            await late.child.event("engine_lost")
            await is_reached_through(stage, "b")
            await is_reached_through(stage, "c")
            known = list(stage.conversations)
            await is_reached_through(stage, "a", "other")  # stands still from here on:
            await site.nodes["c"].kill()  # a does not hear where "other" goes
            assert is_at(stage, "b", await other.event("bound", 2))
            await stage.device("new", stage.urls("b"))
            await is_reached_through(stage, "b", "new")
            await is_reached_through(stage, "b", "other")
            await trio.sleep_until(start + AWAY)
            await stage.flows(known[:5])  # the sixth is at c only
            assert not [each for each in late.child.events if each["event"] == "listening"]
            for member in site.etcd.members:
                member.start_again() if how == "killed" else member.go_on()
            await late.child.event("listening")
            await stage.claimed(device="a", other="b", new="b")
            after = await stage.claims()
            assert after["device"] == before["device"]
            assert after["other"] > before["other"]
            await site.nodes["c"].start()
            await is_reached_through(stage, "c", "new")
            await is_reached_through(stage, "d", "other")
            await stage.flows()
            await stage.finish()


async def test_haproxy_in_front(tmp_path: Path) -> None:
    """All come through the shipped HAProxy configuration; the node of the device is killed."""
    with trio.fail_after(90):
        async with open_stage(tmp_path, haproxy=True) as stage:
            edge = await stage.device("device", stage.site.front())
            for _ in range(4):  # leastconn spreads them over the nodes
                await stage.talk(await stage.remote(stage.site.front()), "device")
            await stage.flows()
            for number in (2, 3):
                holder = (await stage.claims())["device"].node
                await stage.site.nodes[holder].kill()
                await edge.event("bound", number)
                await stage.flows()
                await stage.site.nodes[holder].start()
            await stage.finish()


async def test_rolling_restart(tmp_path: Path) -> None:
    """All nodes, one after the other, end by SIGTERM and start again: no stream is cut."""
    with trio.fail_after(110):
        async with open_stage(tmp_path) as stage:
            for thing, urls in (("one", "abc"), ("two", "bca")):
                await stage.device(thing, stage.urls(urls))
                for first in ("abc", "cab"):
                    await stage.talk(await stage.remote(stage.urls(first)), thing, 2)
            await stage.flows()
            for each in stage.conversations:
                each.begin_anew()
            for name in "abc":
                node = stage.site.nodes[name]
                assert await node.terminate() == 0
                await node.start()
                await stage.flows()
            await stage.finish()
            pauses = sorted(each.longest_pause * 1000 for each in stage.conversations)
            print("longest pauses of the streams:", *(f"{each:.0f} ms" for each in pauses))
