"""proxy/peering.py: who may be a hop, and what becomes of one that is no good."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from edge_tunnel import (
    LinkLost,
    Notice,
    Reason,
)
from edge_tunnel.config.versions import Demand, Demands
from edge_tunnel.link.transport import Transport
from edge_tunnel.protocol.codec import encode
from edge_tunnel.protocol.frames import (
    Bind,
    Bye,
    Detached,
    Hello,
    Join,
    Ping,
    Pong,
    Probe,
)
from edge_tunnel.testing.cluster import KEY
from tests.proxy.hops import JOIN, across, bound, cluster_of, hop, link
from tests.proxy.peers import TUNNEL, attach, hello


@pytest.mark.parametrize(
    ("first", "reason"),
    [
        (JOIN._replace(key="wrong"), Reason.NOT_AUTHORISED),
        (JOIN._replace(node="a"), Reason.NOT_AUTHORISED),
        (JOIN._replace(oldest=2, newest=3), Reason.VERSION),
        (JOIN._replace(software="edge_tunnel/0.0.1"), Reason.VERSION),
        (hello("edge", key=KEY), Reason.PROTOCOL_ERROR),
        (b"\xc1", Reason.PROTOCOL_ERROR),
    ],
)
async def test_join_refused(
    autojump_clock: trio.testing.MockClock, first: Join | Hello | bytes, reason: Reason
) -> None:
    """A stranger, a namesake, one that is too old, and garbage get BYE with the reason."""
    async with cluster_of("a") as cluster:
        other = await hop(cluster, "a", first)  # type: ignore[arg-type]
        answer = await other.hear()
        assert isinstance(answer, Bye)
        assert answer.reason == reason
        hops = cluster.nodes["a"].hops
        assert hops is not None and len(hops) == 0


async def test_a_node_that_is_too_old_is_not_asked_either(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """The node that dials has its minimum, too, and says why there is no hop."""
    async with cluster_of("a", "b") as cluster:
        await bound(cluster, "a")
        hops = cluster.nodes["b"].hops
        assert hops is not None
        hops._demands = Demands(node=Demand(minimum="98.0"))
        remote = await link(cluster, "b", "remote")
        told: list[Notice] = []
        cluster.nodes["b"].notices.call(told.append)
        await remote.say(attach())
        assert isinstance(await remote.hear(), Detached)
        [lost] = told
        assert lost.event == "hop_lost"
        assert "needs edge_tunnel 98.0 or newer, the other node is" in str(lost["reason"])


async def test_a_node_older_than_recommended(autojump_clock: trio.testing.MockClock) -> None:
    """The hop works, and the older node's operator is told, once."""
    async with cluster_of("a", "b") as cluster:
        hops = cluster.nodes["a"].hops
        assert hops is not None
        hops._demands = Demands(node=Demand(recommended="98.0"))
        told: list[Notice] = []
        cluster.nodes["b"].notices.call(told.append)
        await across(cluster)
        cluster.lines_between("a", "b")[0].cut()
        await trio.sleep(1)
        remote = await link(cluster, "b", "remote")
        await remote.say(attach(2))
        await trio.sleep(1)
        assert len(cluster.lines_between("a", "b")) == 1
        [notice] = [each for each in told if each.event == "notice"]
        assert notice["node"] == "a"
        assert "edge_tunnel 98.0 or newer is recommended" in str(notice["text"])


class Deaf(Transport):
    """Says one thing, or nothing, and is gone."""

    peer = "a stranger"

    def __init__(self, says: bytes) -> None:
        self._says = says

    async def send(self, message: bytes) -> None:  # noqa: ARG002
        raise LinkLost("gone")

    async def receive(self) -> bytes:
        if not self._says:
            raise LinkLost("gone")
        return self._says

    def close(self, why: str = "closed") -> None:
        pass


@pytest.mark.parametrize(
    "says", [b"", b"not a frame", encode(JOIN), encode(hello("edge", key=KEY))]
)
async def test_who_is_gone_before_the_greeting_ends_is_no_error(
    autojump_clock: trio.testing.MockClock, says: bytes
) -> None:
    async with cluster_of("a") as cluster:
        node = cluster.nodes["a"]
        assert node.hops is not None
        await node.talk(Deaf(says))
        await node.hops.take(Deaf(says), None)


async def test_endpoints_cannot_speak_for_nodes(autojump_clock: trio.testing.MockClock) -> None:
    """DETACHED, JOIN and DRAIN from an edge or a remote end its link."""
    async with cluster_of("a") as cluster:
        for role in ("edge", "remote"):
            for frame in (Detached(TUNNEL, 0, 1, 25, ""), JOIN):
                peer = await link(cluster, "a", role)
                await peer.say(frame)
                assert isinstance(await peer.hear(), Bye)


async def test_a_node_that_binds_is_shown_out(autojump_clock: trio.testing.MockClock) -> None:
    """A hop carries tunnels and nothing else; PING on it is answered."""
    async with cluster_of("a") as cluster:
        other = await hop(cluster, "a")
        await other.hear()
        await other.say(Ping(3), Pong(1))
        assert await other.hear() == Pong(3)
        await other.say(Bind("t", 1))
        assert isinstance(await other.hear(), Bye)


async def test_a_silent_hop_is_over(autojump_clock: trio.testing.MockClock) -> None:
    """The node that accepted it ends a hop that says nothing for as long as JOIN announced."""
    async with cluster_of("a") as cluster:
        other = await hop(cluster, "a")
        await other.hear()
        await trio.sleep(6.5)
        hops = cluster.nodes["a"].hops
        assert hops is not None
        assert hops.taken == {}


async def test_a_node_that_cannot_be_reached(autojump_clock: trio.testing.MockClock) -> None:
    """Remotes are told to ask again, and the dead node is dialled at a bearable rate."""
    async with cluster_of("a", "b") as cluster:
        await bound(cluster, "a")
        cluster.lease = 1000
        cluster.kill("a")
        lost: list[float] = []
        cluster.nodes["b"].notices.call(lambda _notice: lost.append(trio.current_time()))
        remote = await link(cluster, "b", "remote")
        for epoch in range(1, 30):
            await remote.say(attach(epoch, fresh=False))
            answer = await remote.hear()
            assert isinstance(answer, Detached)
            assert answer.epoch == epoch
        assert lost[-1] - lost[0] > 5


async def test_a_bug_met_by_one_hop_is_not_the_nodes_end(
    autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    """The tunnel's remote is told to ask again, the operator is told of the bug."""
    async with cluster_of("a", "b") as cluster:
        await bound(cluster, "b")
        await trio.sleep(1)
        hops = cluster.nodes["a"].hops
        assert hops is not None
        dial, hops._dial = hops._dial, lambda _node: 1 / 0  # type: ignore[assignment,return-value]
        remote = await link(cluster, "a", "remote")
        await remote.say(attach(1))
        assert isinstance(await remote.hear(), Detached)
        assert "ZeroDivisionError" in caplog.text
        hops._dial = dial
        await remote.say(attach(2))
        assert await remote.silent()  # the edge has it, and a test's edge does not answer
        assert cluster.nodes["a"].routes


async def test_a_node_whose_lease_is_over_but_that_talks(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Its hop stays: what a registry believes is worth less than what was just received."""
    async with cluster_of("a", "b") as cluster:
        edge, remote = await across(cluster)
        hops = cluster.nodes["b"].hops
        assert hops is not None
        await trio.sleep(20)
        hops.gone("a")
        await remote.say(Probe(TUNNEL, 0, 1, 5))
        assert await edge.hear() == Probe(TUNNEL, 0, 1, 5)
        cluster.lines_between("a", "b")[0].stall()
        await trio.sleep(3.5)
        hops.gone("a")
        assert isinstance(await remote.hear(), Detached)
