"""proxy/hop.py, peering.py, framed.py and the rules of traffic.py: who may be a hop, never two."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio
import trio.testing
import trustme

from edge_tunnel import (
    ConfigError,
    DevelopmentKey,
    LinkLost,
    Node,
    NodeSettings,
    Notice,
    Reason,
    RemoteProtocolError,
)
from edge_tunnel.config.versions import Demand, Demands
from edge_tunnel.link.transport import Transport
from edge_tunnel.protocol.codec import encode
from edge_tunnel.protocol.frames import (
    Bind,
    Bound,
    Bye,
    Close,
    Data,
    Detached,
    Hello,
    Join,
    Ping,
    Pong,
    Probe,
    Unbound,
    Welcome,
)
from edge_tunnel.proxy.framed import FramedTransport
from edge_tunnel.proxy.hop import HopSettings
from edge_tunnel.proxy.peering import HopTls, dial_hops, load_hop_tls, serve_hops
from edge_tunnel.proxy.port import Port
from edge_tunnel.proxy.routes import Candidate
from edge_tunnel.testing.cluster import KEY, Cluster, open_cluster
from edge_tunnel.testing.transports import transport_pair
from edge_tunnel.testing.wire import wire_pair
from tests.proxy.test_node import TUNNEL, Peer, attach, attached, hello

JOIN = Join(1, 1, "b", "edge_tunnel/0.1.0", KEY, 6000, ())


@asynccontextmanager
async def cluster_of(*names: str) -> AsyncIterator[Cluster]:
    with trio.fail_after(1000):
        async with open_cluster(*names) as cluster:
            yield cluster


async def link(cluster: Cluster, node: str, role: str) -> Peer:
    """An endpoint that says what a test wants."""
    near, far = transport_pair()
    cluster._nursery.start_soon(cluster.nodes[node].talk, far)
    peer = Peer(near)
    await peer.say(hello(role, key=KEY))
    assert isinstance(await peer.hear(), Welcome)
    return peer


async def hop(cluster: Cluster, node: str, join: Join = JOIN) -> Peer:
    """Another node, played by the test."""
    near, far = transport_pair()
    hops = cluster.nodes[node].hops
    assert hops is not None
    cluster._nursery.start_soon(hops.take, far, None)
    peer = Peer(near)
    await peer.say(join)
    return peer


async def bound(cluster: Cluster, node: str, epoch: int = 1) -> Peer:
    edge = await link(cluster, node, "edge")
    await edge.say(Bind("t", epoch))
    assert await edge.hear() == Bound("t", epoch)
    await trio.sleep(0.01)
    return edge


async def across(cluster: Cluster) -> tuple[Peer, Peer]:
    """A tunnel whose edge is on a, its remote on b."""
    edge, remote = await bound(cluster, "a"), await link(cluster, "b", "remote")
    await remote.say(attach())
    assert await edge.hear() == attach()
    await edge.say(attached())
    assert await remote.hear() == attached()
    return edge, remote


# -- one hop


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


# -- who may be a hop


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


# -- messages on a stream


async def test_framed_messages(autojump_clock: trio.testing.MockClock) -> None:
    """Messages of every size arrive whole, also when their bytes come one at a time."""
    one, other = wire_pair(capacity=3)
    sender, receiver = FramedTransport(one, "x"), FramedTransport(other, "y")
    with trio.fail_after(50):
        async with trio.open_nursery() as nursery:
            for size in (0, 1, 4, 1000):
                nursery.start_soon(sender.send, bytes(size))
                assert await receiver.receive() == bytes(size)


async def test_framed_garbage(autojump_clock: trio.testing.MockClock) -> None:
    """A length beyond the limit is an error before anything is read for it; an end is a loss."""
    with trio.fail_after(5):
        one, other = wire_pair()
        await one.send_all(b"\xff\xff\xff\xff")
        with pytest.raises(RemoteProtocolError, match="4294967295"):
            await FramedTransport(other, "y").receive()
        one, other = wire_pair()
        await one.send_all(b"\x00\x00\x00\x05ab")
        await one.aclose()
        with pytest.raises(LinkLost):
            await FramedTransport(other, "y").receive()


# -- mutual TLS, over real sockets


class Certificates:
    """A CA, and what it signed."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.ca = trustme.CA()

    def tls(self, name: str) -> Callable[[], HopTls]:
        folder = self._folder / name
        folder.mkdir()
        certificate = self.ca.issue_cert(name)
        certificate.private_key_and_cert_chain_pem.write_to_path(str(folder / "cert.pem"))
        self.ca.cert_pem.write_to_path(str(folder / "ca.pem"))
        (folder / "cert.pem").chmod(0o600)
        path = str(folder / "cert.pem")
        loaded = load_hop_tls(path, path, str(folder / "ca.pem"))
        return lambda: loaded


def make_node(
    name: str, ports: dict[str, int], tls: Callable[[], HopTls] | None, key: str = ""
) -> Node:
    def address(node: str) -> tuple[str, int] | None:
        return ("127.0.0.1", ports[node]) if node in ports else None

    settings = NodeSettings(name=name, hops=HopSettings(key=key))
    return Node(settings, DevelopmentKey("k"), None, dial_hops(address, tls))


async def joined(ports: dict[str, int], dialler: Node, target: str) -> str:
    """Dial from one node to the other; "" if the hop stands, or why it was lost."""
    lost: list[str] = []
    hops = dialler.hops
    assert hops is not None
    dialler.notices.call(lambda notice: lost.append(str(notice["reason"])))
    hops.to(target)
    while not lost:
        hop = hops._dialled[target]
        if hop.link is not None:
            return ""
        await trio.sleep(0.005)
    return lost[0]


@pytest.mark.parametrize(
    ("names", "problem"),
    [
        (("a", "b", "a"), ""),
        (("a", "b", "x"), "certificate is for x, not for a"),
        (("a", "x", "a"), "Hostname mismatch"),
        (("x", "b", "a"), "not in the cluster"),
    ],
)
async def test_certificates_speak_for_nodes(
    tmp_path: Path, names: tuple[str, str, str], problem: str
) -> None:
    """The certificate of either side must name the node that it says it is."""
    known, served, shown = names
    ca = Certificates(tmp_path)
    ports: dict[str, int] = {}
    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            target = make_node("b", ports, None)
            assert target.hops is not None
            tls = ca.tls(served)
            listeners = await nursery.start(serve_hops, target.hops, "127.0.0.1", 0, tls)
            if known == "a":
                ports["b"] = listeners[0].socket.getsockname()[1]
            dialler = make_node("a", ports, ca.tls(f"{shown}") if shown != served else tls)
            assert dialler.hops is not None
            await nursery.start(dialler.hops.run)
            assert problem in await joined(ports, dialler, "b")
            nursery.cancel_scope.cancel()


async def test_a_stranger_gets_no_hop(tmp_path: Path) -> None:
    """Neither a certificate of another CA, nor none, nor no TLS at all, gets as far as JOIN."""
    (tmp_path / "ours").mkdir()
    (tmp_path / "theirs").mkdir()
    ours, theirs = Certificates(tmp_path / "ours"), Certificates(tmp_path / "theirs")
    bare = ssl.create_default_context(ssl.Purpose.SERVER_AUTH)  # it has no certificate
    ours.ca.configure_trust(bare)
    ports: dict[str, int] = {}
    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            target = make_node("b", ports, None)
            assert target.hops is not None
            tls = ours.tls("b")
            listeners = await nursery.start(serve_hops, target.hops, "127.0.0.1", 0, tls)
            ports["b"] = listeners[0].socket.getsockname()[1]
            other = theirs.tls("a")
            for chosen in (other, lambda: HopTls(tls().server, bare), None):
                dialler = make_node("a", ports, chosen)
                assert dialler.hops is not None
                await nursery.start(dialler.hops.run)
                assert await joined(ports, dialler, "b")
            await trio.testing.wait_all_tasks_blocked(0.05)
            assert target.hops.taken == {}
            nursery.cancel_scope.cancel()


async def test_plain_hops_stay_at_home() -> None:
    """Without certificates: loopback only, and only with a key."""
    node = make_node("a", {}, None, key="k")
    assert node.hops is not None
    with pytest.raises(ConfigError, match="without certificates"):
        await serve_hops(node.hops, "0.0.0.0", 0, None)
    keyless = make_node("a", {}, None)
    assert keyless.hops is not None
    with pytest.raises(ConfigError, match="with a key"):
        await serve_hops(keyless.hops, "127.0.0.1", 0, None)
    with pytest.raises(LinkLost, match="certificates"):
        async with dial_hops(lambda _node: ("192.0.2.1", 1), None)("b"):
            raise AssertionError


def test_contexts_that_let_strangers_in() -> None:
    """A context that does not verify is refused when the node is made, not found out later."""
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    client = ssl.create_default_context()
    with pytest.raises(ConfigError, match="demand"):
        HopTls(server, client)
    server.verify_mode = ssl.CERT_REQUIRED
    client.check_hostname = False
    with pytest.raises(ConfigError, match="verify"):
        HopTls(server, client)
    with pytest.raises(ConfigError, match=r"^cluster.node_cert: .* cannot be read: no such file"):
        load_hop_tls("/nowhere.pem", "/nowhere.pem", "/nowhere.pem")
