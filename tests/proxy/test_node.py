"""proxy/node.py and its tables: who gets in, what garbage does, and who may speak for a tunnel."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

import pytest
import trio
import trio.testing

from edge_tunnel import DevelopmentKey, LinkLost, Node, NodeSettings, Reason
from edge_tunnel.access.rights import Authority, Credentials, Denial, PeerCertificate, Principal
from edge_tunnel.protocol.codec import decode, encode
from edge_tunnel.protocol.frames import (
    Attach,
    Attached,
    Bind,
    Bound,
    Bye,
    Close,
    Data,
    Detached,
    Frame,
    Hello,
    Ping,
    Pong,
    Probe,
    Unbound,
    Welcome,
)
from edge_tunnel.protocol.outlet import Outlet
from edge_tunnel.proxy import routes, traffic
from edge_tunnel.testing.transports import MemoryTransport, transport_pair

TUNNEL = bytes(range(16))


class Peer:
    """An endpoint that says exactly what a test wants."""

    def __init__(self, transport: MemoryTransport) -> None:
        self.transport = transport

    async def say(self, *frames: Frame | bytes) -> None:
        for frame in frames:
            await self.transport.send(frame if isinstance(frame, bytes) else encode(frame))

    async def hear(self) -> Frame:
        return decode(await self.transport.receive())

    async def silent(self) -> bool:
        """Whether nothing comes, once everything has settled."""
        with trio.move_on_after(0.5):
            await self.transport.receive()
            return False
        return True


def hello(role: str, key: str = "k", silence: int = 30_000) -> Hello:
    return Hello(1, 1, role, "edge_tunnel/0.1.0", key, bytes(16), silence, ())


CALM = hello("edge", silence=15_000)._replace(features=("pings",), ping_ms=5_000, idle_ms=20_000)
"""An edge that leaves the pings to its node."""


def attach(epoch: int = 1, *, fresh: bool = True, thing: str = "t") -> Attach:
    return Attach(TUNNEL, 0, epoch, thing, "ssh", fresh, bytes(32), 1000, (), bytes(32))


def attached(epoch: int = 1) -> Attached:
    return Attached(TUNNEL, 0, epoch, 0, 1000, (), bytes(32))


@asynccontextmanager
async def running(
    authority: Authority | None = None, **settings: float
) -> AsyncIterator[tuple[Node, trio.Nursery]]:
    authority = authority or DevelopmentKey("k")
    with trio.fail_after(1000):
        async with trio.open_nursery() as nursery:
            yield Node(NodeSettings(**settings), authority), nursery  # type: ignore[arg-type]
            nursery.cancel_scope.cancel()


@asynccontextmanager
async def watching() -> AsyncIterator[tuple[Node, trio.Nursery]]:
    """A node that also does what it does from time to time."""
    async with running() as (node, nursery):
        nursery.start_soon(node.watch_rights)
        await trio.testing.wait_all_tasks_blocked()
        yield node, nursery


async def join(node: Node, nursery: trio.Nursery, role: str, greeting: Hello | None = None) -> Peer:
    near, far = transport_pair()

    async def talk() -> None:
        await node.talk(far)
        far.cut("closed by the node")

    nursery.start_soon(talk)
    peer = Peer(near)
    await peer.say(greeting or hello(role))
    welcome = await peer.hear()
    assert isinstance(welcome, Welcome)
    assert ("pings" in welcome.features) == (greeting is not None and greeting.ping_ms > 0)
    return peer


async def edge_and_remote(node: Node, nursery: trio.Nursery) -> tuple[Peer, Peer]:
    """Attached to one tunnel."""
    edge, remote = await join(node, nursery, "edge"), await join(node, nursery, "remote")
    await edge.say(Bind("t", 1))
    assert await edge.hear() == Bound("t", 1)
    await remote.say(attach())
    assert await edge.hear() == attach()
    await edge.say(attached())
    assert await remote.hear() == attached()
    return edge, remote


# -- who gets in


async def test_what_the_decision_is_made_on(autojump_clock: object) -> None:
    """Role, key, address and the certificate that TLS has verified: nothing is left out."""
    certificate = PeerCertificate(names=("t.example",), fingerprint="ab" * 32, not_after=1e9)
    shown: list[Credentials] = []

    class Refuse(DevelopmentKey):
        async def admit(self, credentials: Credentials) -> Principal | Denial:
            shown.append(credentials)
            return Denial(reason=Reason.NOT_AUTHORISED, text="no")

    node = Node(NodeSettings(), Refuse("k"))
    far, near = transport_pair(peers=("192.0.2.7:4711", "node"))
    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(partial(node.talk, near, certificate=certificate))
            await far.send(encode(hello("edge", key="s3cret")))
            assert isinstance(decode(await far.receive()), Bye)
    assert shown == [
        Credentials(
            role="edge",
            key="s3cret",
            certificate=certificate,
            address="192.0.2.7:4711",
            instance=bytes(16),
        )
    ]
    assert "s3cret" not in repr(shown)


@pytest.mark.parametrize(
    ("first", "reason"),
    [
        (hello("edge", key="wrong"), Reason.NOT_AUTHORISED),
        (hello("edge", key=""), Reason.NOT_AUTHORISED),
        (hello("king"), Reason.PROTOCOL_ERROR),
        (hello("edge")._replace(oldest=7, newest=9), Reason.VERSION),
        (hello("edge")._replace(software="edge_tunnel/0.0.9"), Reason.VERSION),
        (Bind("t", 1), Reason.PROTOCOL_ERROR),
        (b"\xc1", Reason.PROTOCOL_ERROR),
        (b"", Reason.PROTOCOL_ERROR),
    ],
)
async def test_greeting_refused(
    first: Frame | bytes, reason: Reason, autojump_clock: trio.testing.MockClock
) -> None:
    """A first message that is not a good HELLO gets BYE with the reason, and the link ends."""
    async with running() as (node, nursery):
        near, far = transport_pair()
        nursery.start_soon(node.talk, far)
        peer = Peer(near)
        await peer.say(first)
        answer = await peer.hear()
        assert isinstance(answer, Bye)
        assert answer.reason == reason
        assert node.links == 0


async def test_silent_guest_is_shown_out(autojump_clock: trio.testing.MockClock) -> None:
    """No HELLO within the handshake timeout: the connection is given up."""
    async with running(handshake_timeout=5) as (node, _):
        _, far = transport_pair()
        start = trio.current_time()
        await node.talk(far)
        assert trio.current_time() - start == pytest.approx(5)


async def test_unauthenticated_connections_are_capped() -> None:
    """Beyond the cap a connection is closed at once; those that greeted do not count."""
    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            node = Node(NodeSettings(max_unauthenticated=2), DevelopmentKey("k"))
            listeners = await nursery.start(node.serve, "127.0.0.1", 0)
            port = listeners[0].socket.getsockname()[1]
            guests = [await trio.open_tcp_stream("127.0.0.1", port) for _ in range(3)]
            assert await guests[2].receive_some() == b""
            for guest in guests:
                await guest.aclose()
            nursery.cancel_scope.cancel()


async def test_link_silent_for_longer_than_announced(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """The node ends a link after the silence that its HELLO announced; PING breaks the silence."""
    async with running() as (node, nursery):
        edge = await join(node, nursery, "edge")
        await edge.say(Bind("t", 1))
        await edge.hear()
        for _ in range(3):
            await trio.sleep(29)
            await edge.say(Ping(7))
            assert await edge.hear() == Pong(7)
        assert len(node.registry) == 1
        await trio.sleep(31)
        assert (node.links, len(node.registry)) == (0, 0)


async def test_a_node_pings_the_edge_that_asks_for_it(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Seldom where no tunnel is, tightly with one; and each PONG breaks the silence."""
    async with watching() as (node, nursery):
        edge = await join(node, nursery, "edge", CALM)
        remote = await join(node, nursery, "remote")
        nursery.start_soon(keep_pinging, remote)
        await edge.say(Bind("t", 1))
        await edge.hear()
        assert [await answer(edge) for _ in range(3)] == [20, 20, 20]
        await trio.sleep(12)
        await remote.say(attach())
        start = trio.current_time()
        frames = [await edge.hear(), await edge.hear()]
        assert sorted(type(each).__name__ for each in frames) == ["Attach", "Ping"]
        assert trio.current_time() - start < 0.2  # it was quiet for longer than a tight one
        await edge.say(Pong(0))
        await edge.say(attached())
        assert [await answer(edge) for _ in range(3)] == [5, 5, 5]
        await remote.say(Close(TUNNEL, 0, 1, 0, ""))
        assert isinstance(await edge.hear(), Close)
        await answer(edge)
        assert [await answer(edge) for _ in range(2)] == [20, 20]
        assert node.links == 2


async def test_a_dead_edge_is_noticed_by_whoever_wants_it(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """In the silence of a link in use, counted from then, however long it was quiet before."""
    async with watching() as (node, nursery):
        edge = await join(node, nursery, "edge", CALM)
        remote = await join(node, nursery, "remote")
        nursery.start_soon(keep_pinging, remote)
        await edge.say(Bind("t", 1))
        await trio.sleep(12)  # it is dead
        await remote.say(attach())
        await trio.sleep(14.5)
        assert node.links == 2
        await trio.sleep(1.5)
        assert node.links == 1


async def test_a_dead_edge_that_nobody_wants(autojump_clock: trio.testing.MockClock) -> None:
    """It may be quiet for its interval longer than one in use."""
    async with watching() as (node, nursery):
        await join(node, nursery, "edge", CALM)
        await trio.sleep(29.9)
        assert node.links == 1
        await trio.sleep(2)
        assert node.links == 0


async def test_an_edge_that_does_not_ask_is_not_pinged(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """One of an older version, one that knows the feature and does not want it, and a remote."""
    async with watching() as (node, nursery):
        peers = [
            await join(node, nursery, "edge"),
            await join(node, nursery, "edge", CALM._replace(ping_ms=0)),
            await join(node, nursery, "remote", CALM._replace(role="remote", ping_ms=0)),
        ]
        for _ in range(3):
            await trio.sleep(14)
            for number, peer in enumerate(peers):
                await peer.say(Ping(number))
                assert await peer.hear() == Pong(number)
        await trio.sleep(32)
        assert node.links == 0


async def answer(edge: Peer) -> float:
    """Answer the next PING; the whole seconds that it took to come."""
    start = trio.current_time()
    ping = await edge.hear()
    assert isinstance(ping, Ping)
    await edge.say(Pong(ping.nonce))
    return round(trio.current_time() - start)


async def keep_pinging(remote: Peer) -> None:
    while True:
        await remote.say(Ping(0))
        await trio.sleep(5)


# -- garbage


@pytest.mark.parametrize(
    "garbage",
    [
        b"",
        b"\x00",
        b"\xc1" * 50,
        b"\x93\x21",
        b"\x91\x63",
        b"\x96\x20\xc4\x10" + TUNNEL,
        encode(Data(TUNNEL, 1, 1, 0, b"xyz"))[:-1],
        encode(Data(TUNNEL, 1, 1, 0, b"xyz")) + b"x",
        encode(Detached(TUNNEL, 0, 1, 25, "")),
        encode(Welcome(1, "n", "s", (), "")),
        encode(hello("edge")),
        encode(attached())[:-5],
        b"\xdc\xff\xff" + b"\x00" * 70_000,
        b"\x91" * 100_000,
    ],
)
async def test_garbage_ends_that_link_only(
    garbage: bytes, autojump_clock: trio.testing.MockClock
) -> None:
    """The sender gets BYE with a text; the tunnel beside it goes on."""
    async with running() as (node, nursery):
        edge, remote = await edge_and_remote(node, nursery)
        for role in ("edge", "remote"):
            bad = await join(node, nursery, role)
            await bad.say(garbage)
            answer = await bad.hear()
            assert isinstance(answer, Bye)
            assert answer.reason == Reason.PROTOCOL_ERROR
            assert answer.text
            with pytest.raises(LinkLost):
                await bad.hear()
        await remote.say(Probe(TUNNEL, 0, 1, 5))
        assert await edge.hear() == Probe(TUNNEL, 0, 1, 5)


# -- who may speak for a tunnel (invariant 6)


async def test_frames_of_links_that_are_not_attached_are_dropped(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Knowing a tunnel's id gives nothing: neither sending into it nor closing it."""
    async with running() as (node, nursery):
        edge, remote = await edge_and_remote(node, nursery)
        thief = await join(node, nursery, "remote")
        other = await join(node, nursery, "edge")
        for stranger in (thief, other):
            await stranger.say(Data(TUNNEL, 1, 1, 0, b"x"), Close(TUNNEL, 0, 1, 0, ""))
        assert await edge.silent()
        assert await remote.silent()


async def test_stolen_id_takes_nothing(autojump_clock: trio.testing.MockClock) -> None:
    """An ATTACH with a stolen id reaches the edge, is refused, and the owner notices nothing."""
    async with running() as (node, nursery):
        edge, remote = await edge_and_remote(node, nursery)
        thief = await join(node, nursery, "remote")
        await thief.say(attach(2, fresh=False))
        assert await edge.hear() == attach(2, fresh=False)
        await remote.say(Probe(TUNNEL, 0, 1, 5))  # the owner's path works meanwhile
        assert await edge.hear() == Probe(TUNNEL, 0, 1, 5)
        refusal = Close(TUNNEL, 0, 2, Reason.UNKNOWN_TUNNEL, "")
        await edge.say(refusal)
        assert await thief.hear() == refusal
        assert await remote.silent()
        await edge.say(Probe(TUNNEL, 0, 1, 6))
        assert await remote.hear() == Probe(TUNNEL, 0, 1, 6)


async def test_thief_with_the_same_epoch_gets_nothing(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Two attaches of one epoch: the first stands, and the edge's answer goes to its sender."""
    async with running() as (node, nursery):
        edge, owner = await edge_and_remote(node, nursery)
        thief = await join(node, nursery, "remote")
        await owner.say(attach(2, fresh=False))
        await edge.hear()
        await thief.say(attach(2, fresh=False), attach(1, fresh=False), attach(0, fresh=False))
        assert await edge.silent()
        await thief.say(attach(3, fresh=False))  # a higher one goes to the edge, which refuses it
        await edge.hear()
        await edge.say(attached(2), Close(TUNNEL, 0, 3, Reason.UNKNOWN_TUNNEL, ""))
        assert await owner.hear() == attached(2)
        assert await thief.hear() == Close(TUNNEL, 0, 3, Reason.UNKNOWN_TUNNEL, "")
        await edge.say(Data(TUNNEL, 1, 2, 0, b"for the owner"))
        assert await owner.hear() == Data(TUNNEL, 1, 2, 0, b"for the owner")
        assert await thief.silent()


async def test_two_that_wait_with_one_id(autojump_clock: trio.testing.MockClock) -> None:
    """A stranger that waits with the owner's tunnel id, and leaves, takes nothing along."""
    async with running() as (node, nursery):
        owner, thief = await join(node, nursery, "remote"), await join(node, nursery, "remote")
        await owner.say(attach(2, fresh=False))
        await thief.say(attach(3, fresh=False))
        await trio.sleep(0.1)
        thief.transport.cut()
        await trio.sleep(0.1)
        await owner.say(Ping(1))
        assert await owner.hear() == Pong(1)
        edge = await join(node, nursery, "edge")
        await edge.say(Bind("t", 1))
        assert [await edge.hear(), await edge.hear()] == [Bound("t", 1), attach(2, fresh=False)]


async def test_attached_moves_the_tunnel(autojump_clock: trio.testing.MockClock) -> None:
    """Only ATTACHED of the candidate's epoch moves it; then the old link's frames are dropped."""
    async with running() as (node, nursery):
        edge, old = await edge_and_remote(node, nursery)
        new = await join(node, nursery, "remote")
        await new.say(attach(5, fresh=False))
        await edge.hear()
        await edge.say(attached(4))
        assert await new.silent()
        assert await edge.hear() == Detached(TUNNEL, 0, 4, Reason.PEER_LEFT, "")
        await edge.say(attached(5))
        assert await new.hear() == attached(5)
        await old.say(Data(TUNNEL, 1, 1, 0, b"late"))
        assert await edge.silent()
        await new.say(Data(TUNNEL, 1, 5, 0, b"now"))
        assert await edge.hear() == Data(TUNNEL, 1, 5, 0, b"now")


async def test_unanswered_attach_is_asked_again(autojump_clock: trio.testing.MockClock) -> None:
    """The edge's link dies between ATTACH and its answer: the remote is told, with that epoch."""
    async with running() as (node, nursery):
        edge, remote = await edge_and_remote(node, nursery)
        await remote.say(attach(2, fresh=False))
        await edge.hear()
        edge.transport.cut()
        first, second = await remote.hear(), await remote.hear()
        assert {type(first), type(second)} == {Detached}
        assert {first.epoch, second.epoch} == {1, 2}  # type: ignore[union-attr]


async def test_resume_waits_for_the_thing(autojump_clock: trio.testing.MockClock) -> None:
    """An ATTACH of a tunnel that was open waits until its thing is bound; a new one is refused."""
    async with running() as (node, nursery):
        remote = await join(node, nursery, "remote")
        await remote.say(attach(2, fresh=False))
        assert await remote.silent()
        other = await join(node, nursery, "remote")
        await other.say(attach(1)._replace(tunnel=bytes(16)))
        refused = await other.hear()
        assert isinstance(refused, Close)
        assert refused.reason == Reason.NO_SUCH_THING
        edge = await join(node, nursery, "edge")
        await edge.say(Bind("t", 1))
        assert [type(await edge.hear()) for _ in range(2)] == [Bound, Attach]


async def test_new_tunnel_waits_a_little_for_a_device_that_was_just_here(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """A device that comes back at once is not "no such thing"; one that stays away is."""
    async with running() as (node, nursery):
        remote = await join(node, nursery, "remote")
        edge = await join(node, nursery, "edge")
        await edge.say(Bind("t", 1))
        await edge.hear()
        edge.transport.cut()
        await trio.sleep(1)
        await remote.say(attach())
        assert await remote.silent()
        edge = await join(node, nursery, "edge")
        await edge.say(Bind("t", 2))
        assert [type(await edge.hear()) for _ in range(2)] == [Bound, Attach]
        edge.transport.cut()
        assert isinstance(await remote.hear(), Detached)
        await remote.say(attach(2))
        await trio.sleep(11)
        await remote.say(Ping(1))
        assert await remote.hear() == Pong(1)
        refused = await remote.hear()
        assert isinstance(refused, Close)
        assert refused.reason == Reason.NO_SUCH_THING
        assert len(node.waiting) == 0


async def test_waiting_attach_leaves_with_its_remote(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Nothing of a remote that left, or took its attach back, reaches the edge later."""
    async with running() as (node, nursery):
        for farewell in ("close", "cut"):
            remote = await join(node, nursery, "remote")
            await remote.say(attach(2, fresh=False))
            if farewell == "close":
                await remote.say(Close(TUNNEL, 0, 2, 0, ""))
            else:
                remote.transport.cut()
            await trio.sleep(0.1)
        assert len(node.waiting) == 0


# -- binds


async def test_higher_epoch_wins(autojump_clock: trio.testing.MockClock) -> None:
    """The newer link of a device gets it; the older is told, and its tunnels are detached."""
    async with running() as (node, nursery):
        old, remote = await edge_and_remote(node, nursery)
        new = await join(node, nursery, "edge")
        await new.say(Bind("t", 2))
        assert await new.hear() == Bound("t", 2)
        told = await old.hear()
        assert isinstance(told, Unbound)
        assert (told.epoch, told.reason) == (2, Reason.SUPERSEDED)
        detached = await remote.hear()
        assert isinstance(detached, Detached)
        stale = await join(node, nursery, "edge")
        await stale.say(Bind("t", 1))
        answer = await stale.hear()
        assert isinstance(answer, Unbound)
        assert answer.epoch == 2


async def test_an_edge_that_goes_back(autojump_clock: trio.testing.MockClock) -> None:
    """A bind with a lower epoch by the link that holds the thing: it is told that it does not."""
    async with running() as (node, nursery):
        edge, remote = await edge_and_remote(node, nursery)
        await edge.say(Bind("t", 0))
        told = await edge.hear()
        assert isinstance(told, Unbound)
        assert (told.epoch, told.reason) == (1, Reason.SUPERSEDED)
        assert isinstance(await remote.hear(), Detached)
        await remote.say(attach(2, fresh=False))
        assert await edge.silent()
        await edge.say(Bind("t", 2))
        assert await edge.hear() == Bound("t", 2)
        assert await edge.hear() == attach(2, fresh=False)


async def test_a_bind_again_needs_no_room(
    autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An edge with all the things that it may have binds one of them anew."""
    monkeypatch.setattr(traffic, "MAX_BINDS", 1)
    async with running() as (node, nursery):
        edge, remote = await edge_and_remote(node, nursery)
        await edge.say(Bind("t", 2), Bind("u", 3))
        assert await edge.hear() == Bound("t", 2)
        refused = await edge.hear()
        assert isinstance(refused, Unbound)
        assert (refused.thing, refused.reason) == ("u", Reason.TOO_MANY)
        assert await remote.silent()


async def test_a_tunnel_that_the_next_edge_does_not_know(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """It is over for its remote, and so for the node: it would be counted as long as that stays."""
    async with running() as (node, nursery):
        _, remote = await edge_and_remote(node, nursery)
        clone = await join(node, nursery, "edge")
        await clone.say(Bind("t", 2))
        assert await clone.hear() == Bound("t", 2)
        assert isinstance(await remote.hear(), Detached)
        stranger = await join(node, nursery, "remote")
        for who, epochs in ((stranger, (2,)), (remote, (3, 4))):  # the owner asks once more
            for epoch in epochs:
                await who.say(attach(epoch, fresh=False))
                assert await clone.hear() == attach(epoch, fresh=False)
            for epoch in epochs:
                assert len(node.routes) == 1
                await clone.say(Close(TUNNEL, 0, epoch, Reason.UNKNOWN_TUNNEL, ""))
                assert isinstance(await who.hear(), Close)
            assert len(node.routes) == (1 if who is stranger else 0)


async def test_a_refusal_by_the_edge_that_is_attached(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """It changes nothing: the old route stands."""
    async with running() as (node, nursery):
        edge, remote = await edge_and_remote(node, nursery)
        await remote.say(attach(2, fresh=False))
        assert await edge.hear() == attach(2, fresh=False)
        await edge.say(Close(TUNNEL, 0, 2, Reason.UNKNOWN_TUNNEL, ""))
        assert isinstance(await remote.hear(), Close)
        await remote.say(Probe(TUNNEL, 0, 1, 6))
        assert await edge.hear() == Probe(TUNNEL, 0, 1, 6)


async def test_remote_cannot_bind(autojump_clock: trio.testing.MockClock) -> None:
    """Binding is for edges, attaching for remotes; anything else ends the link."""
    async with running() as (node, nursery):
        for role, frame in (("remote", Bind("t", 1)), ("edge", attach())):
            peer = await join(node, nursery, role)
            await peer.say(frame)
            assert isinstance(await peer.hear(), Bye)


# -- bounds (invariant 5)


async def test_sender_past_its_credit_loses_the_tunnel(
    autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A node holds what a window allows and no more, and the other tunnels do not notice."""
    monkeypatch.setattr(routes, "MAX_QUEUE", 300_000)
    async with running() as (node, nursery):
        edge, remote = await edge_and_remote(node, nursery)
        for part in range(20):  # the edge does not read
            await remote.say(Data(TUNNEL, 1, 1, part * 60_000, bytes(60_000)))
        closed = await remote.hear()
        assert isinstance(closed, Close)
        assert closed.reason == Reason.FLOW_CONTROL
        assert len(node.routes) == 0
        assert edge is not None


async def test_flood_of_control_frames(
    autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Control frames for a link that does not read are bounded as well."""
    monkeypatch.setattr(routes, "MAX_URGENT", 10_000)
    async with running() as (node, nursery):
        _edge, remote = await edge_and_remote(node, nursery)
        for nonce in range(20_000):
            await remote.say(Probe(TUNNEL, 0, 1, nonce))
            if len(node.routes) == 0:
                break
        closed = await remote.hear()
        assert isinstance(closed, Close)
        assert closed.reason == Reason.FLOW_CONTROL


async def test_everything_is_gone_with_its_links(autojump_clock: trio.testing.MockClock) -> None:
    """When both ends of a tunnel have left, the node knows nothing of it any more."""
    async with running() as (node, nursery):
        edge, remote = await edge_and_remote(node, nursery)
        await remote.say(Data(TUNNEL, 1, 1, 0, b"x"))
        edge.transport.cut()
        remote.transport.cut()
        await trio.sleep(1)
        assert (node.links, len(node.routes), len(node.registry)) == (0, 0, 0)


def test_outlet_is_fair() -> None:
    """Control frames first, then one message of each source in turn."""

    class Numbers:
        def __init__(self, name: bytes, count: int) -> None:
            self.messages = [name + str(n).encode() for n in range(count)]

        @property
        def pending(self) -> bool:
            return bool(self.messages)

        def next_message(self) -> bytes | None:
            return self.messages.pop(0) if self.messages else None

    outlet = Outlet()
    outlet.ready(Numbers(b"a", 3))
    outlet.ready(Numbers(b"b", 1))
    assert outlet.next_message() == b"a0"
    outlet.push(b"urgent")
    taken = [outlet.next_message() for _ in range(5)]
    assert taken == [b"urgent", b"b0", b"a1", b"a2", None]


# -- admission


async def test_more_links_than_the_rate_are_told_when_to_come(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Each at a moment of its own, and then it gets in; a wrong key takes nobody's place."""
    async with running(admission_rate=4, admission_burst=4) as (node, nursery):
        waits = []
        for key in ("k", "wrong", "wrong", "k", "k", "k", "k"):
            near, far = transport_pair()
            nursery.start_soon(node.talk, far)
            peer = Peer(near)
            await peer.say(hello("edge", key))
            answer = await peer.hear()
            if isinstance(answer, Bye) and answer.reason == Reason.TOO_MANY:
                waits.append(answer.retry_after_ms)
        assert waits == [334, 667]
        assert node.links == 3
        await trio.sleep(0.334)
        await join(node, nursery, "edge")
        assert node.links == 4


async def test_who_is_in_a_hurry_has_a_share(autojump_clock: trio.testing.MockClock) -> None:
    """A crowd of idle devices keeps out neither a technician nor a device that is in use."""
    async with running(admission_rate=4, admission_burst=8) as (node, nursery):
        for _ in range(20):
            near, far = transport_pair()
            nursery.start_soon(node.talk, far)
            await Peer(near).say(hello("edge"))
        await trio.testing.wait_all_tasks_blocked()
        assert (node.links, node.admission.refused) == (6, 14)
        await join(node, nursery, "remote")
        near, far = transport_pair()
        nursery.start_soon(node.talk, far)
        busy = Peer(near)
        await busy.say(hello("edge")._replace(features=("resuming",)))
        assert isinstance(await busy.hear(), Welcome)
