"""proxy/hop.py and the rules of traffic.py: a tunnel takes one hop, never two."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from edge_tunnel import (
    Notice,
    Reason,
)
from edge_tunnel.protocol.codec import encode
from edge_tunnel.protocol.frames import (
    Bind,
    Bound,
    Close,
    Data,
    Detached,
    Probe,
    Unbound,
    Welcome,
)
from edge_tunnel.proxy.port import Port
from edge_tunnel.proxy.route import Candidate
from tests.proxy.hops import across, bound, cluster_of, hop, link
from tests.proxy.peers import TUNNEL, attach, attached


async def test_frames_pass_unchanged(autojump_clock: trio.testing.MockClock) -> None:
    """Both ways, control and data; CLOSE ends the tunnel on both nodes."""
    async with cluster_of("a", "b") as cluster:
        edge, remote = await across(cluster)
        for frame in (Data(TUNNEL, 1, 1, 0, b"xyz"), Probe(TUNNEL, 0, 1, 5)):
            await remote.say(frame)
            assert await edge.hear() == frame
            await edge.say(frame)
            assert await remote.hear() == frame
        await edge.say(Close(TUNNEL, 0, 1, 0, "enough"))
        assert await remote.hear() == Close(TUNNEL, 0, 1, 0, "enough")
        assert [len(node.routes) for node in cluster.nodes.values()] == [0, 0]


async def test_refusal_comes_back(autojump_clock: trio.testing.MockClock) -> None:
    """The edge's no goes to the remote, and neither node keeps the attach."""
    async with cluster_of("a", "b") as cluster:
        edge, remote = await bound(cluster, "a"), await link(cluster, "b", "remote")
        await remote.say(attach())
        await edge.hear()
        refusal = Close(TUNNEL, 0, 1, Reason.SERVICE_NOT_ALLOWED, "no")
        await edge.say(refusal)
        assert await remote.hear() == refusal
        assert [len(node.routes) for node in cluster.nodes.values()] == [0, 0]


async def test_never_two_hops(autojump_clock: trio.testing.MockClock) -> None:
    """An ATTACH that came over a hop for a thing of a third node is sent back, not on."""
    async with cluster_of("a", "b", "c") as cluster:
        edge = await bound(cluster, "c")
        other = await hop(cluster, "a")
        assert isinstance(await other.hear(), Welcome)
        await other.say(attach())
        answer = await other.hear()
        assert isinstance(answer, Detached)
        assert (answer.epoch, answer.reason) == (1, Reason.NO_SUCH_THING)
        assert await edge.silent()
        assert len(cluster.nodes["a"].routes) == 0
        assert cluster.lines_between("a", "c") == []


async def test_an_attach_that_came_too_late_follows_the_thing(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """The thing moved from a to c while b still believed in a: the same ATTACH arrives at c."""
    async with cluster_of("a", "b", "c") as cluster:
        await bound(cluster, "a")
        remote = await link(cluster, "b", "remote")
        cluster.registry.views["b"].cut()
        edge = await bound(cluster, "c", epoch=2)
        await remote.say(attach())
        assert await edge.silent()
        cluster.registry.views["b"].join_again()
        assert await edge.hear() == attach()
        assert await remote.silent()


@pytest.mark.parametrize("back", ["a", "c"])
async def test_an_attach_waits_at_the_things_node(
    autojump_clock: trio.testing.MockClock, back: str
) -> None:
    """The thing's link was just lost: its node keeps the ATTACH until it is back, here or there."""
    async with cluster_of("a", "b", "c") as cluster:
        edge = await bound(cluster, "a")
        cluster.registry.lag = 3.0
        edge.transport.cut()
        await trio.sleep(0.1)
        remote = await link(cluster, "b", "remote")
        await remote.say(attach())  # b does not know that the link was lost
        await trio.sleep(1)
        edge = await link(cluster, back, "edge")
        await edge.say(Bind("t", 2))
        assert await edge.hear() == Bound("t", 2)
        if back == "c":  # the remote's node hears of it, and the remote asks again
            assert isinstance(await remote.hear(), Detached)
            await remote.say(attach(2))
            assert await edge.hear() == attach(2)
        else:
            assert await edge.hear() == attach()
        await trio.sleep(1)
        assert [len(node.waiting) for node in cluster.nodes.values()] == [0, 0, 0]


async def test_displaced_by_another_node(autojump_clock: trio.testing.MockClock) -> None:
    """The higher epoch wins: the loser is told, its tunnels detached, its late bytes dropped."""
    async with cluster_of("a", "b", "c") as cluster:
        old, remote = await across(cluster)
        new = await bound(cluster, "c", epoch=2)
        told = await old.hear()
        assert isinstance(told, Unbound)
        assert (told.epoch, told.reason) == (2, Reason.SUPERSEDED)
        detached = await remote.hear()
        assert isinstance(detached, Detached)
        await old.say(Data(TUNNEL, 1, 1, 0, b"late"))
        assert await remote.silent()
        await remote.say(attach(2, fresh=False))
        assert await new.hear() == attach(2, fresh=False)
        await new.say(attached(2))
        assert await remote.hear() == attached(2)
        await old.say(Data(TUNNEL, 1, 2, 0, b"late, and lies"))
        assert await remote.silent()
        assert len(cluster.nodes["a"].routes) == 0


@pytest.mark.parametrize("what", ["remote", "edge", "hop", "node a", "node b"])
async def test_whoever_is_lost_the_others_are_told(
    autojump_clock: trio.testing.MockClock, what: str
) -> None:
    """The end of a link, hop or node detaches the tunnel at the other end; no route stays."""
    async with cluster_of("a", "b") as cluster:
        edge, remote = await across(cluster)
        if what in ("remote", "edge"):
            (remote if what == "remote" else edge).transport.cut()
        elif what == "hop":
            cluster.lines_between("a", "b")[0].cut()
        else:
            cluster.kill(what[-1])
        told = [
            peer
            for peer, lost in ((edge, ("edge", "node a")), (remote, ("remote", "node b")))
            if what not in lost
        ]
        for peer in told:
            answer = await peer.hear()
            assert isinstance(answer, Detached)
            assert answer.epoch == 1
        await trio.sleep(1)
        for node in cluster.nodes.values():
            for route in node.routes._routes.values():
                ends = [end for end in (route.edge, route.remote) if end is not None]
                assert [end for end in ends if not end.is_hop], "no end is on this node"


async def test_a_remote_that_left_before_the_answer(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """The edge accepts an attach whose remote is gone: it is told, so that its tunnel can end."""
    async with cluster_of("a", "b") as cluster:
        for node in "ab":
            edge, remote = await bound(cluster, "a", ord(node)), await link(cluster, node, "remote")
            await remote.say(attach())
            assert await edge.hear() == attach()
            remote.transport.cut()
            await trio.sleep(0.1)
            await edge.say(attached())
            assert isinstance(await edge.hear(), Detached)
            await trio.sleep(0.1)
            assert [len(each.routes) for each in cluster.nodes.values()] == [0, 0]


async def test_candidate_waits_for_the_edges_word_across_a_hop(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """A thief on another node takes nothing: the owner's path stands until ATTACHED."""
    async with cluster_of("a", "b", "c") as cluster:
        edge, remote = await across(cluster)
        thief = await link(cluster, "c", "remote")
        await thief.say(attach(2, fresh=False))
        assert await edge.hear() == attach(2, fresh=False)
        await edge.say(Probe(TUNNEL, 0, 1, 5))
        assert await remote.hear() == Probe(TUNNEL, 0, 1, 5)
        await thief.say(Data(TUNNEL, 1, 2, 0, b"evil"))
        assert await edge.silent()
        await edge.say(Close(TUNNEL, 0, 2, Reason.UNKNOWN_TUNNEL, ""))
        assert isinstance(await thief.hear(), Close)
        await remote.say(Probe(TUNNEL, 0, 1, 6))
        assert await edge.hear() == Probe(TUNNEL, 0, 1, 6)


async def test_a_thief_that_has_a_device(autojump_clock: trio.testing.MockClock) -> None:
    """Its own device accepts whatever it likes: that is no word of the tunnel's device."""
    async with cluster_of("a", "b", "c") as cluster:
        edge, remote = await across(cluster)
        accomplice, thief = await link(cluster, "a", "edge"), await link(cluster, "c", "remote")
        await accomplice.say(Bind("u", 1))
        assert await accomplice.hear() == Bound("u", 1)
        await trio.sleep(0.1)
        await thief.say(attach(2, thing="u"))
        await trio.sleep(0.1)
        await accomplice.say(attached(2))
        assert isinstance(await accomplice.hear(), Detached)
        await remote.say(Probe(TUNNEL, 0, 1, 6))
        assert await edge.hear() == Probe(TUNNEL, 0, 1, 6)
        await edge.say(Probe(TUNNEL, 0, 1, 5))
        assert await remote.hear() == Probe(TUNNEL, 0, 1, 5)
        assert await thief.silent()


async def test_two_nodes_that_disagree_do_not_play_ping_pong(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """a says the thing is at b, b says it is at a: the ATTACH waits until the registry changes."""
    async with cluster_of("a", "b", "c") as cluster:
        edge, remote = await bound(cluster, "a"), await link(cluster, "b", "remote")
        views = cluster.registry.views
        there = views["a"].map["t"]
        views["a"].hear("t", there, there._replace(epoch=2, node="b"))
        assert isinstance(await edge.hear(), Unbound)
        denials: list[Detached] = []
        traffic = cluster.nodes["b"].traffic
        detached = traffic.routes.detached

        def count(frame: Detached, message: bytes, hop: Port) -> Candidate | None:
            denials.append(frame)
            assert len(denials) < 100, "the same node is asked again and again"
            return detached(frame, message, hop)

        traffic.routes.detached = count  # type: ignore[method-assign]
        await remote.say(attach(3, fresh=False))
        assert await remote.silent()
        assert [each.reason for each in denials] == [Reason.NO_SUCH_THING]
        assert len(traffic.waiting) == 1
        newer = await bound(cluster, "c", epoch=3)
        assert await newer.hear() == attach(3, fresh=False)


@pytest.mark.parametrize("frame", [Detached(TUNNEL, 0, 2, 25, ""), Close(TUNNEL, 0, 2, 0, "")])
async def test_what_ends_an_older_attach_comes_late(
    autojump_clock: trio.testing.MockClock, frame: Detached | Close
) -> None:
    """An ATTACH that waits is taken back by a frame of its own epoch or a newer one, only."""
    async with cluster_of("a") as cluster:
        other = await hop(cluster, "a")
        await other.hear()
        waiting = cluster.nodes["a"].waiting
        await other.say(attach(3, fresh=False), frame)
        await trio.sleep(0.1)
        assert len(waiting) == 1
        await other.say(frame._replace(epoch=3))
        await trio.sleep(0.1)
        assert len(waiting) == 0


@pytest.mark.parametrize("epoch", [2, 4])
async def test_two_that_wait_at_the_things_node(
    autojump_clock: trio.testing.MockClock, epoch: int
) -> None:
    """A thief at the owner's node, and so on the same hop, does not take the owner's place."""
    async with cluster_of("a") as cluster:
        other = await hop(cluster, "a")
        await other.hear()
        await other.say(attach(3, fresh=False), attach(epoch, fresh=False))
        await trio.sleep(0.1)
        edge = await bound(cluster, "a")
        assert [await edge.hear(), await edge.hear()] == [
            attach(3, fresh=False),
            attach(epoch, fresh=False),
        ]
        assert len(cluster.nodes["a"].waiting) == 0


@pytest.mark.parametrize("who", ["remote", "node"])
async def test_who_waits_for_two_things_with_one_id(
    autojump_clock: trio.testing.MockClock, who: str
) -> None:
    """Nonsense, and in the wrong order: the last of a place counts, and nothing is left behind."""
    async with cluster_of("a") as cluster:
        other = await hop(cluster, "a") if who == "node" else await link(cluster, "a", "remote")
        if who == "node":
            await other.hear()
        for epoch, thing in ((3, "u"), (2, "v"), (2, "t")):
            await other.say(attach(epoch, fresh=False, thing=thing))
        await trio.sleep(0.1)
        waiting = cluster.nodes["a"].waiting
        assert len(waiting) == (2 if who == "node" else 1)
        edge = await bound(cluster, "a")
        assert await edge.hear() == attach(2, fresh=False)
        await edge.say(Bind("u", 2), Bind("v", 3))
        await trio.sleep(0.1)
        assert len(waiting) == 0


async def test_more_resumes_wait_than_there_is_room_for(
    autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A new tunnel is told so; a refusal would end one that lives, and so that one asks again."""
    monkeypatch.setattr("edge_tunnel.proxy.waiting.MAX_WAITING", 1)
    async with cluster_of("a") as cluster:
        remote = await link(cluster, "a", "remote")
        for number in range(3):
            await remote.say(attach(2, fresh=False)._replace(tunnel=bytes([number]) * 16))
        assert await remote.silent()
        assert len(cluster.nodes["a"].waiting) == 1


async def test_a_late_detached_leaves_what_stands(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """DETACHED of an older epoch, over the very hop that the tunnel uses, changes nothing."""
    async with cluster_of("a") as cluster:
        edge, other = await bound(cluster, "a"), await hop(cluster, "a")
        await other.hear()
        for epoch in (1, 2):
            await other.say(attach(epoch))
            await edge.hear()
            await edge.say(attached(epoch))
            assert await other.hear() == attached(epoch)
        await other.say(Detached(TUNNEL, 0, 1, 25, "late"))
        assert await edge.silent()
        await other.say(Probe(TUNNEL, 0, 2, 5))
        assert await edge.hear() == Probe(TUNNEL, 0, 2, 5)
        await other.say(Detached(TUNNEL, 0, 2, 25, "gone"))
        assert isinstance(await edge.hear(), Detached)


async def test_a_tunnel_whose_ends_are_both_gone_is_told_as_closed(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Each node says how much it carried, and why it knows nothing of the tunnel any more."""
    async with cluster_of("a", "b") as cluster:
        edge, remote = await across(cluster)
        closed: dict[str, Notice] = {}
        for name, node in cluster.nodes.items():

            def note(notice: Notice, name: str = name) -> None:
                if notice.event == "tunnel_closed":
                    assert name not in closed
                    closed[name] = notice

            node.notices.call(note)
        message = encode(Data(TUNNEL, 1, 1, 0, b"xyz"))
        await remote.say(message)
        await edge.hear()
        edge.transport.cut()
        remote.transport.cut()
        await trio.sleep(1)
        assert sorted(closed) == ["a", "b"]
        assert {each["from_remote"] for each in closed.values()} == {len(message)}
        assert all(
            "no end is left at this node: " in str(each["reason"]) for each in closed.values()
        )
