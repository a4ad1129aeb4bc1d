"""Rights that change while something lives by them."""

from __future__ import annotations

import time

import pytest
import trio

from edge_tunnel import Reason, open_remote
from edge_tunnel.access.rights import Credentials, Denial, Principal
from edge_tunnel.link.notices import Notice
from edge_tunnel.protocol.frames import (
    Bind,
    Bound,
    Bye,
    Close,
    Detached,
    Unbound,
    Welcome,
)
from edge_tunnel.protocol.tunnel import RESUME_TIMEOUT
from edge_tunnel.testing.cluster import Cluster
from tests.proxy.peers import TUNNEL, Peer, attach, attached
from tests.proxy.rules import NO, broken, ends, exchange, greeted, ruled


@pytest.mark.parametrize("node", ["a", "b"])
async def test_a_right_that_is_taken_ends_what_it_carried(
    autojump_clock: object, node: str
) -> None:
    """Both ends of the tunnel are reset; one whose right stands goes on."""
    async with ruled("a", "b") as (cluster, rules):
        rules.allow("bob")
        async with (
            ends(cluster, "alice", (f"mem://{node}",)) as (edge, alice),
            open_remote(("mem://b",), "bob", dial=cluster.dial_as("bob")) as bob,
        ):
            hers, his = await alice.open_stream("t", "ssh"), await bob.open_stream("t", "ssh")
            await exchange(hers)
            del rules.grants["alice", "t", "ssh"]
            rules.tell()
            assert NO.text in await broken(hers)
            await exchange(his)
            assert len(edge.tunnels) == 1


async def test_a_revoked_key_ends_its_links(autojump_clock: object) -> None:
    async with ruled("a") as (cluster, rules):
        remote = await greeted(cluster, "remote", "alice")
        assert isinstance(await remote.hear(), Welcome)
        rules.revoked.add("alice")
        rules.tell()
        assert await remote.hear() == Bye(NO.reason, NO.text, 0)


async def test_a_key_that_is_revoked_while_its_link_is_greeted(
    autojump_clock: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is no link yet when the nodes are told, and nobody tells them again."""
    async with ruled("a") as (cluster, rules):
        admit = rules.admit

        async def admit_at_the_last_moment(credentials: Credentials) -> Principal | Denial:
            principal = await admit(credentials)
            rules.revoked.add("alice")
            rules.tell()
            return principal

        monkeypatch.setattr(rules, "admit", admit_at_the_last_moment)
        remote = await greeted(cluster, "remote", "alice")
        assert isinstance(await remote.hear(), Welcome)
        assert await remote.hear() == Bye(NO.reason, NO.text, 0)


async def test_a_key_whose_time_is_over_ends_its_links(autojump_clock: object) -> None:
    """Nobody tells of that; and it is asked until it is so, the clocks of two may differ."""
    async with ruled("a") as (cluster, rules):
        rules.over["alice"] = time.time()
        remote = await greeted(cluster, "remote", "alice")
        assert isinstance(await remote.hear(), Welcome)
        await trio.sleep(3)
        rules.revoked.add("alice")
        assert await remote.hear() == Bye(NO.reason, NO.text, 0)


async def test_a_device_that_may_serve_a_thing_no_longer(autojump_clock: object) -> None:
    async with ruled("a") as (cluster, rules), ends(cluster) as (edge, remote):
        notices: list[Notice] = []
        edge.notices.call(notices.append)
        remote.notices.call(notices.append)
        stream = await remote.open_stream("t", "ssh")
        rules.things["device"].clear()
        rules.tell()
        assert cluster.nodes["a"].registry.locate("t") is None
        rules.things["device"].add("t")  # the edge asks again, after a while
        await exchange(stream)
        waits = {each.event: each["reason"] for each in notices if "detached" in each.event}
        assert waits == {
            "tunnel_detached": NO.text,
            "detached": "the device may not serve this thing any more",
        }


async def test_a_device_that_may_never_again(autojump_clock: object) -> None:
    """Both ends wait as for any link that was lost, and nobody for ever."""
    async with ruled("a") as (cluster, rules), ends(cluster) as (edge, remote):
        stream = await remote.open_stream("t", "ssh")
        rules.things["device"].clear()
        rules.tell()
        with trio.fail_after(2 * RESUME_TIMEOUT):
            assert "detached for 120 s" in await broken(stream)
        await trio.sleep(1)
        assert edge.link is not None
        assert not (edge.tunnels or remote.tunnels or len(cluster.nodes["a"].routes))


async def edge_and_alice(cluster: Cluster) -> tuple[Peer, Peer]:
    """Both played by the test, with one tunnel."""
    edge = await greeted(cluster, "edge", "device")
    remote = await greeted(cluster, "remote", "alice")
    for each in (edge, remote):
        assert isinstance(await each.hear(), Welcome)
    await edge.say(Bind("t", 1))
    assert await edge.hear() == Bound("t", 1)
    await remote.say(attach(1))
    assert await edge.hear() == attach(1)
    await edge.say(attached(1))
    assert await remote.hear() == attached(1)
    return edge, remote


async def test_a_refused_bind_takes_the_older_one_with_it(autojump_clock: object) -> None:
    """UNBOUND says that the link does not hold the thing: that has to be so, for tunnels too."""
    async with ruled("a") as (cluster, rules):
        edge, remote = await edge_and_alice(cluster)
        rules.things["device"].clear()  # and nobody tells the node
        await edge.say(Bind("t", 2))
        assert await edge.hear() == Unbound("t", 0, NO.reason, NO.text)
        told = await remote.hear()
        assert isinstance(told, Detached)
        assert cluster.nodes["a"].registry.locate("t") is None


async def test_a_refused_resume_is_the_end(autojump_clock: object) -> None:
    """The edge's link was lost, and the remote may attach no more: no end of it is left."""
    async with ruled("a") as (cluster, rules):
        edge, remote = await edge_and_alice(cluster)
        edge.transport.cut()
        assert isinstance(await remote.hear(), Detached)
        rules.grants.clear()  # and nobody tells the node
        await remote.say(attach(2, fresh=False))
        assert await remote.hear() == Close(TUNNEL, 0, 2, NO.reason, NO.text)
        assert len(cluster.nodes["a"].routes) == 0


async def test_a_node_that_does_not_understand_the_policy_ends_nothing_for_it(
    autojump_clock: object,
) -> None:
    """It is not ready for anything new; a key that is revoked ends its links all the same."""
    async with ruled("a") as (cluster, rules), ends(cluster) as (_, remote):
        stream = await remote.open_stream("t", "ssh")
        rules.unready = "policy 2 is not understood here"
        rules.grants.clear()
        rules.tell()
        await exchange(stream)
        newcomer = await greeted(cluster, "remote", "alice")
        assert await newcomer.hear() == Bye(Reason.TOO_MANY, rules.unready, 0)
        rules.revoked.add("alice")
        rules.tell()
        await broken(stream)


async def test_an_answer_is_asked_for_again_when_a_rule_ends(autojump_clock: object) -> None:
    """The right goes on with what the other rules say, or ends."""
    async with ruled("a") as (cluster, rules):
        rules.allow("alice", review=trio.current_time() + 100)
        async with ends(cluster) as (_, remote):
            stream = await remote.open_stream("t", "ssh")
            rules.allow("alice", review=trio.current_time() + 200)  # nobody tells the node
            await trio.sleep(150)
            await exchange(stream)
            rules.grants.clear()
            with trio.fail_after(100):
                assert NO.text in await broken(stream)
