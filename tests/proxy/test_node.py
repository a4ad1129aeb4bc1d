"""proxy/node.py and its tables: who gets in, what garbage does, and what is bounded."""

from __future__ import annotations

import gc
from functools import partial

import pytest
import trio
import trio.testing

from edge_tunnel import DevelopmentKey, LinkLost, Node, NodeSettings, Notice, Reason
from edge_tunnel.access.rights import Credentials, Denial, PeerCertificate, Principal
from edge_tunnel.protocol.codec import decode, encode
from edge_tunnel.protocol.frames import (
    Bind,
    Bye,
    Close,
    Data,
    Detached,
    Frame,
    Ping,
    Probe,
    Welcome,
)
from edge_tunnel.protocol.outlet import Outlet
from edge_tunnel.proxy import routes
from edge_tunnel.proxy.port import Port
from edge_tunnel.testing.transports import transport_pair
from tests.proxy.peers import (
    TUNNEL,
    Peer,
    attach,
    attached,
    edge_and_remote,
    hello,
    join,
    running,
)

# -- who gets in


async def test_a_link_that_is_greeted_when_the_drain_begins(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """It was not asked to go with the others: it is refused, and the node need not wait for it."""
    asked, answer = trio.Event(), trio.Event()

    class Slow(DevelopmentKey):
        async def admit(self, credentials: Credentials) -> Principal | Denial:
            asked.set()
            await answer.wait()
            return await super().admit(credentials)

    async with running(Slow("k")) as (node, nursery):
        near, far = transport_pair()
        nursery.start_soon(node.talk, far)
        peer = Peer(near)
        await peer.say(hello("edge"))
        await asked.wait()
        nursery.start_soon(node.drain, 60.0)
        await trio.testing.wait_all_tasks_blocked()
        answer.set()
        refused = await peer.hear()
        assert isinstance(refused, Bye)
        assert refused.reason == Reason.SHUTTING_DOWN


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


async def test_a_remote_that_does_not_come_back(autojump_clock: trio.testing.MockClock) -> None:
    """The edge gives its tunnel up without a word, and lives on; so does the node give it up."""
    async with running() as (node, nursery):
        nursery.start_soon(node.watch_rights)
        told: list[Notice] = []
        node.notices.call(told.append)
        edge, remote = await edge_and_remote(node, nursery)
        nursery.start_soon(keep_up, edge)
        remote.transport.cut()
        await trio.sleep(120)
        assert len(node.routes) == 1
        await trio.sleep(200)
        assert (node.links, len(node.routes)) == (1, 0)
        assert told[-1].event == "tunnel_closed"
        assert told[-1]["reason"] == "its remote did not come back within 240 s"


async def test_a_link_that_is_gone_holds_no_memory(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Its tunnel waits for minutes; what had not been sent to it does not, and was not little."""
    before = _ports()
    async with running() as (node, nursery):
        edge, remote = await edge_and_remote(node, nursery)
        await edge.say(*[Probe(TUNNEL, 0, 1, nonce) for nonce in range(10_000)])
        remote.transport.cut()
        assert isinstance(await edge.hear(), Detached)
        await trio.sleep(1)
        assert (node.links, len(node.routes)) == (1, 1)
        assert [each.role for each in _ports() if each not in before] == ["edge"]


def _ports() -> list[Port]:
    gc.collect()
    return [each for each in gc.get_objects() if isinstance(each, Port)]


async def keep_up(peer: Peer) -> None:
    """Say something now and then, as a link that lives."""
    for nonce in range(1000):
        await peer.say(Ping(nonce))
        await trio.sleep(10)


async def test_a_remote_that_comes_back_late(autojump_clock: trio.testing.MockClock) -> None:
    """A tunnel that was given up here and not at its edge is attached as any other."""
    async with running() as (node, nursery):
        nursery.start_soon(node.watch_rights)
        edge, remote = await edge_and_remote(node, nursery)
        nursery.start_soon(keep_up, edge)
        for epoch, away in ((2, 200), (3, 200), (4, 400)):
            remote.transport.cut()
            await trio.sleep(away)
            remote = await join(node, nursery, "remote")
            await remote.say(attach(epoch, fresh=False))
            await edge.say(attached(epoch))
            assert await remote.hear() == attached(epoch)
        assert len(node.routes) == 1


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
