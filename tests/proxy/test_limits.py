"""What one peer can take of a node: places, keys, binds, attaches, memory. In virtual time."""

from __future__ import annotations

from contextlib import suppress
from functools import partial

import pytest
import trio
import trio.testing

from edge_tunnel import DevelopmentKey, Node, NodeSettings, Reason
from edge_tunnel.access.rights import Credentials, Denial, Principal
from edge_tunnel.protocol.codec import decode, encode
from edge_tunnel.protocol.frames import (
    MAX_DATA,
    Bind,
    Bound,
    Bye,
    Close,
    Data,
    Frame,
    Ping,
    Pong,
    Position,
    Unbind,
    Welcome,
)
from edge_tunnel.protocol.head import peek
from edge_tunnel.protocol.outlet import Outlet
from edge_tunnel.proxy import routes as tables
from edge_tunnel.proxy import traffic
from edge_tunnel.proxy.budget import OBJECT, Budget
from edge_tunnel.proxy.port import Port
from edge_tunnel.proxy.routes import Routes
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


def tunnel(number: int) -> bytes:
    return number.to_bytes(16, "big")


async def greet(node: Node, nursery: trio.Nursery, key: str, source: str) -> Frame:
    """What the node answers to this key from this address."""
    near, far = transport_pair(peers=(source, "node"))
    nursery.start_soon(node.talk, far)
    await near.send(encode(hello("remote", key=key)))
    return decode(await near.receive())


# -- strangers


async def test_one_source_does_not_take_all_places() -> None:
    """The third stranger of an address is closed at once; who greeted or left holds no place."""
    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            settings = NodeSettings(max_unauthenticated_per_source=2)
            node = Node(settings, DevelopmentKey("k"))
            listeners = await nursery.start(node.serve, "127.0.0.1", 0)
            port = listeners[0].socket.getsockname()[1]

            async def come(source: str) -> trio.SocketStream:
                return await trio.open_tcp_stream("127.0.0.1", port, local_address=source)

            async with await come("127.0.0.2"):
                async with await come("127.0.0.2"):
                    while node.strangers.count < 2:
                        await trio.lowlevel.checkpoint()
                    assert await _answer(await come("127.0.0.2")) == b""
                    assert await _answer(await come("127.0.0.3")) == b"HTTP/1.1 200 "
                while node.strangers.count > 1:
                    await trio.lowlevel.checkpoint()
                assert await _answer(await come("127.0.0.2")) == b"HTTP/1.1 200 "
            nursery.cancel_scope.cancel()


async def _answer(stream: trio.SocketStream) -> bytes:
    """The beginning of it; empty if the connection is closed without one."""
    async with stream:
        with suppress(trio.BrokenResourceError):
            await stream.send_all(b"GET /health HTTP/1.1\r\nHost: n\r\n\r\n")
            return bytes(await stream.receive_some())[:13]
    return b""


class Counting(DevelopmentKey):
    """Counts how often it was asked."""

    asked = 0

    async def admit(self, credentials: Credentials) -> Principal | Denial:
        self.asked += 1
        return await super().admit(credentials)


async def test_keys_that_are_tried(autojump_clock: trio.testing.MockClock) -> None:
    """After some refused keys an address is told to come later, the right key or not."""
    authority = Counting("k")
    async with running(authority, max_failures_per_source=3) as (node, nursery):
        for _ in range(3):
            answer = await greet(node, nursery, "wrong", "192.0.2.1:5")
            assert isinstance(answer, Bye) and answer.reason == Reason.NOT_AUTHORISED
        answer = await greet(node, nursery, "k", "192.0.2.1:6")
        assert isinstance(answer, Bye) and answer.reason == Reason.TOO_MANY
        assert 0 < answer.retry_after_ms <= 20_000
        assert authority.asked == 3, "the key was looked at"
        assert isinstance(await greet(node, nursery, "k", "192.0.2.2:6"), Welcome)
        await trio.sleep(answer.retry_after_ms / 1000)
        assert isinstance(await greet(node, nursery, "k", "192.0.2.1:7"), Welcome)


async def test_who_is_let_in_is_never_counted(autojump_clock: trio.testing.MockClock) -> None:
    """Good keys do not use up the attempts of their address."""
    async with running(max_failures_per_source=2) as (node, nursery):
        for _ in range(20):
            assert isinstance(await greet(node, nursery, "k", "192.0.2.1:5"), Welcome)


# -- churn


async def test_bind_flapping(autojump_clock: trio.testing.MockClock) -> None:
    """A thing that is bound again and again costs the registry some writes, and then its link."""
    async with running() as (node, nursery):
        written: list[str] = []
        node.notices.call(
            lambda notice: written.append(notice.event) if notice.event == "bound" else None
        )
        edge = await join(node, nursery, "edge")
        with pytest.raises(trio.BrokenResourceError):
            for epoch in range(1, 1000):
                await edge.say(Bind("t", epoch), Unbind("t", epoch))
                answer = await edge.hear()
                if isinstance(answer, Bye):
                    raise trio.BrokenResourceError
                assert answer == Bound("t", epoch)
        assert isinstance(answer, Bye)
        assert answer.reason == Reason.TOO_MANY
        assert "t is bound again and again" in answer.text
        assert answer.retry_after_ms > 0
        assert 20 <= len(written) <= 40
        other = await join(node, nursery, "edge")
        await other.say(Bind("other", 1))
        assert await other.hear() == Bound("other", 1)


@pytest.mark.slow
async def test_a_gateway_binds_all_it_has_twice_and_no_more(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """4,096 things at once are an honest gateway; tens of thousands are not."""
    async with running() as (node, nursery):
        edge = await join(node, nursery, "edge")
        for number in range(4096):
            await edge.say(Bind(f"t{number}", 1))
            assert isinstance(await edge.hear(), Bound)
        answers: list[Frame] = []
        for number in range(4096):
            await edge.say(Unbind(f"t{number}", 1), Bind(f"t{number}", 2))
            answers.append(await edge.hear())
            if isinstance(answers[-1], Bye):
                break
        assert isinstance(answers[-1], Bye)
        assert "too many binds" in answers[-1].text
        assert len(answers) > 1000


async def test_a_hundred_thousand_tunnel_ids(autojump_clock: trio.testing.MockClock) -> None:
    """Attaches of tunnels that nobody knows leave nothing behind, and are no flood elsewhere."""
    async with running() as (node, nursery):
        edge, remote = await edge_and_remote(node, nursery)
        passed = 0

        async def count() -> None:
            nonlocal passed
            while True:
                await edge.transport.receive()
                passed += 1

        nursery.start_soon(count)
        for number in range(1, 5000):
            frame = attach(fresh=False)._replace(tunnel=tunnel(number))
            await remote.transport.send(encode(frame))
        await trio.sleep(1)
        assert 900 < passed <= 1024
        assert len(node.routes) <= 1024
        await remote.say(Data(TUNNEL, 1, 1, 0, b"still"))  # its honest tunnel goes on
        before = passed
        await trio.sleep(1)
        assert passed == before + 1
        remote.transport.cut()
        await trio.sleep(1)
        assert len(node.routes) == 1  # the honest one, detached


async def test_epoch_0_leaves_nothing(autojump_clock: trio.testing.MockClock) -> None:
    """An ATTACH that can never stand makes no route: nothing would ever take it away."""
    async with running() as (node, nursery):
        edge, remote = await join(node, nursery, "edge"), await join(node, nursery, "remote")
        await edge.say(Bind("t", 1))
        await edge.hear()
        for number in range(1, 500):
            await remote.say(attach(epoch=0)._replace(tunnel=tunnel(number)))
        assert await edge.silent()
        assert len(node.routes) == 0


@pytest.mark.slow
async def test_new_tunnels_above_the_pace_are_refused(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Many large ATTACHes are many KiB kept: their sender is told, and others are not touched."""
    async with running() as (node, nursery):
        edge, remote = await join(node, nursery, "edge"), await join(node, nursery, "remote")
        await edge.say(Bind("t", 1))
        await edge.hear()
        positions = tuple(Position(n, 0, 0, 0, accepted=True) for n in range(1, 4097))
        big = attach()._replace(positions=positions)
        cost = 1 + len(encode(big)) // 1024
        nursery.start_soon(_read, edge)
        for number in range(1, 2048 // cost + 3):
            await remote.say(big._replace(tunnel=tunnel(number)))
        answer = await remote.hear()
        assert isinstance(answer, Close) and answer.reason == Reason.TOO_MANY
        other = await join(node, nursery, "remote")
        await other.say(attach())
        assert await other.silent()  # the edge has it


async def _read(peer: Peer) -> None:
    while True:
        await peer.hear()


# -- memory


def make_routes(limit: int) -> tuple[Routes, list[dict[str, object]]]:
    events: list[dict[str, object]] = []
    routes = Routes(
        lambda event, **data: events.append({"event": event, **data}), None, Budget(limit)
    )
    return routes, events


def make_tunnel(routes: Routes, number: int, edge: Port, remote: Port) -> bytes:
    frame = attach()._replace(tunnel=tunnel(number))
    routes.attach(frame, encode(frame), remote, edge)
    answer = attached()._replace(tunnel=tunnel(number))
    routes.attached(answer, encode(answer), edge)
    return tunnel(number)


def fill(routes: Routes, name: bytes, source: Port, size: int) -> None:
    for offset in range(0, size, MAX_DATA):
        message = encode(Data(name, 1, 1, offset, bytes(min(MAX_DATA, size - offset))))
        routes.forward(peek(message), message, source)


def test_the_biggest_offender_is_cut_first() -> None:
    """Who reads nothing loses tunnels, the biggest first; the others keep every byte."""
    routes, events = make_routes(8_000_000)
    edge = Port("edge", "edge", Outlet())
    slow, honest = Port("remote", "slow", Outlet()), Port("remote", "honest", Outlet())
    small = make_tunnel(routes, 1, edge, slow)
    big = make_tunnel(routes, 2, edge, slow)
    good = make_tunnel(routes, 3, edge, honest)
    fill(routes, good, edge, 3_000_000)
    fill(routes, small, edge, 1_900_000)
    fill(routes, big, edge, 3_000_000)
    assert len(routes) == 3
    fill(routes, big, edge, 500_000)
    assert routes.get(big) is None
    assert routes.get(small) is not None and routes.get(good) is not None
    closed = [each for each in events if each["event"] == "tunnel_closed"]
    assert len(closed) == 1
    assert "short of memory" in str(closed[0]["reason"])


def test_what_is_held_is_counted_exactly() -> None:
    """In, out, dropped with the tunnel, dropped with the link: nothing is left over."""
    routes, _ = make_routes(0)
    edge, remote = Port("edge", "e", Outlet()), Port("remote", "r", Outlet())
    names = [make_tunnel(routes, number, edge, remote) for number in range(1, 5)]
    for name in names:
        fill(routes, name, edge, 200_000)
        fill(routes, name, remote, 100_000)
    messages = 4 * (4 + 2)
    assert routes.budget.held > 1_200_000 + OBJECT * messages
    while remote.outlet.next_message() is not None:
        pass
    assert 400_000 < routes.budget.held < 410_000
    route = routes.get(names[0])
    assert route is not None
    routes.end(route, Reason.DONE, "")
    assert 300_000 < routes.budget.held < 310_000
    routes.lost(edge, "gone")
    assert routes.budget.held == 0


@pytest.mark.slow
async def test_a_peer_that_asks_and_does_not_read(
    autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its answers are bounded: the link is ended, and what it held is free."""
    monkeypatch.setattr(traffic, "MAX_URGENT", 10_000)
    async with running() as (node, nursery):
        nursery.start_soon(node.watch_rights)
        remote, patient = await join(node, nursery, "remote"), await join(node, nursery, "remote")
        # the transport holds 256 KiB: that stops the node's writer, and then the answers wait
        message = encode(Ping(2**60))
        for _ in range((256 * 1024 + 50_000) // len(message)):
            await remote.transport.send(message)
        await trio.sleep(5)
        assert node.links == 1
        await patient.say(Ping(1))
        assert await patient.hear() == Pong(1)


def test_control_frames_to_an_edge_that_does_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """ATTACHes are not put where nothing is taken away; they are asked again later."""
    monkeypatch.setattr(tables, "MAX_URGENT", 100_000)
    routes, _ = make_routes(0)
    edge, remote = Port("edge", "e", Outlet()), Port("remote", "r", Outlet())
    size = len(encode(attach()))
    for number in range(1, 2000):
        frame = attach()._replace(tunnel=tunnel(number))
        routes.attach(frame, encode(frame), remote, edge)
    assert 100_000 <= edge.outlet.urgent_size < 100_000 + size
    assert len(routes) == len(remote.routes) == len(edge.routes) == -(-100_000 // size)


async def test_memory_of_control_frames_is_in_the_budget(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Frames that wait for many links count as well: the biggest links go first."""
    with trio.fail_after(100):
        async with trio.open_nursery() as nursery:
            node = Node(NodeSettings(memory=1_000_000), DevelopmentKey("k"))
            nursery.start_soon(node.watch_rights)
            ended: list[str] = []
            ports = []
            for size in (700_000, 500_000, 100_000):
                port = Port("remote", str(size), Outlet())
                port.outlet.push(bytes(size))
                port.end = partial(_note, ended, port.peer)
                ports.append(port)
            node.traffic.relieve(ports)
            assert ended == ["700000"]
            nursery.cancel_scope.cancel()


def _note(ended: list[str], peer: str, reason: Reason, text: str, retry_after: float) -> None:
    assert reason is Reason.TOO_MANY
    ended.append(peer)
