"""Peers of another minor version: greetings as they were recorded, against the code of today.

While a cluster is upgraded, nodes, edges and remotes of two versions work together. The old side
is played from tests/vectors/greetings-*.json (tools/record_greetings.py made them): it greets
byte for byte as it did, and takes nothing that was not there in its time.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, cast

import msgpack
import pytest
import trio
import trio.testing

from edge_tunnel import (
    DevelopmentKey,
    EdgeConfig,
    Node,
    NodeSettings,
    Reason,
    Secret,
    Server,
    TunnelEnded,
    open_edge,
)
from edge_tunnel.errors import LinkLost
from edge_tunnel.link.transport import Transport
from edge_tunnel.protocol.codec import decode, encode
from edge_tunnel.protocol.frames import (
    FIRST_TUNNEL_KIND,
    Bind,
    Bound,
    Bye,
    Data,
    Drain,
    Frame,
    Hello,
    Join,
    Ping,
    Pong,
    Welcome,
)
from edge_tunnel.proxy.hop import HopSettings
from edge_tunnel.remote.remote import open_remote
from edge_tunnel.testing.cluster import KEY, open_cluster
from edge_tunnel.testing.registry import SharedRegistry
from edge_tunnel.testing.transports import MemoryTransport, transport_pair
from tests.conftest import echo
from tests.proxy.peers import TUNNEL, attach, attached

RECORDED = sorted((Path(__file__).parents[1] / "vectors").glob("greetings-*.json"))


class Old:
    """A peer of a minor version of long ago: its greetings, and what it understands."""

    def __init__(self, path: Path) -> None:
        self._said: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        self.features = set(self._said["features"])
        self.kinds = set(self._said["kinds"])

    def message(self, name: str) -> bytes:
        """What it said: ``edge``, ``welcome to edge``, ..."""
        return bytes.fromhex(self._said[name])

    def understands(self, message: bytes) -> bytes:
        """A message that today's code sent to it; no kind that is newer than it is."""
        assert message[1] in self.kinds, f"kind {message[1]} to a peer that does not know it"
        return message

    def reads_greeting(self, name: str, message: bytes) -> None:
        """The fields that it knows are where they were, with the types that they had."""
        ours, known = msgpack.unpackb(message), msgpack.unpackb(self.message(name))
        assert [type(each) for each in ours[: len(known)]] == [type(each) for each in known]
        assert ours[0] == known[0] and len(ours) <= 15
        assert ours[1] <= known[2] and ours[2] >= known[1], "no version that both speak"


@pytest.fixture(params=RECORDED, ids=lambda path: path.stem)
def old(request: pytest.FixtureRequest) -> Old:
    return Old(cast("Path", request.param))


class OldPeer:
    """An old peer on a transport."""

    def __init__(self, old: Old, transport: Transport) -> None:
        self._old = old
        self._transport = transport

    async def say(self, *frames: Frame) -> None:
        for frame in frames:
            await self._transport.send(encode(frame))

    async def hear(self) -> Frame:
        return decode(self._old.understands(await self._transport.receive()))

    async def greet(self, name: str) -> Welcome:
        """Its recorded greeting; the answer names no feature that it did not name."""
        await self._transport.send(self._old.message(name))
        welcome = await self.hear()
        assert isinstance(welcome, Welcome), welcome
        assert set(welcome.features) <= self._old.features
        return welcome


def test_there_are_recordings() -> None:
    """One for each minor version that was released, the one to come included."""
    assert [path.stem for path in RECORDED] == ["greetings-0.1"]


async def test_old_endpoints_at_a_node_of_today(
    old: Old, autojump_clock: trio.testing.MockClock
) -> None:
    """They are welcome, tunnel, and drain; and are told nothing that they do not know."""
    with trio.fail_after(100):
        async with open_cluster("a") as cluster, trio.open_nursery() as nursery:
            peers = []
            for role in ("edge", "remote"):
                near, far = transport_pair()
                nursery.start_soon(cluster.nodes["a"].talk, far)
                peers.append(OldPeer(old, near))
                assert (await peers[-1].greet(role)).version == 1
            edge, remote = peers
            await edge.say(Bind("t", 1))
            assert await edge.hear() == Bound("t", 1)
            await remote.say(attach(), Ping(1))
            assert await edge.hear() == attach()
            assert await remote.hear() == Pong(1)
            await edge.say(attached(), Data(TUNNEL, 1, 1, 0, b"xyz"))
            assert await remote.hear() == attached()
            assert await remote.hear() == Data(TUNNEL, 1, 1, 0, b"xyz")
            nursery.start_soon(cluster.nodes["a"].drain, 1.0)
            for peer in peers:
                assert "drain" not in old.features or isinstance(await peer.hear(), Drain)
                assert isinstance(await peer.hear(), Bye)


async def test_an_old_node_asks_one_of_today(
    old: Old, autojump_clock: trio.testing.MockClock
) -> None:
    """Its JOIN is taken, and its remote's ATTACH reaches the edge here."""
    with trio.fail_after(100):
        async with open_cluster("a") as cluster, trio.open_nursery() as nursery:
            near, far = transport_pair()
            nursery.start_soon(cluster.nodes["a"].talk, far)
            edge = OldPeer(old, near)
            await edge.greet("edge")
            await edge.say(Bind("t", 1))
            await edge.hear()
            near, far = transport_pair()
            hops = cluster.nodes["a"].hops
            assert hops is not None
            nursery.start_soon(hops.take, far, None)
            node = OldPeer(old, near)
            await node.greet("node")
            await node.say(attach(), Ping(7))
            assert await edge.hear() == attach()
            assert await node.hear() == Pong(7)
            await edge.say(attached())
            assert await node.hear() == attached()
            near.cut()


async def test_a_node_of_today_asks_an_old_one(
    old: Old, autojump_clock: trio.testing.MockClock
) -> None:
    """It can read our JOIN, its WELCOME is enough for us, and a tunnel opens over the hop."""
    there, ours = transport_pair()

    @asynccontextmanager
    async def dial(_node: str) -> AsyncIterator[Transport]:
        yield ours

    with trio.fail_after(100):
        async with trio.open_nursery() as nursery:
            views = SharedRegistry(nursery)
            views.join("a").hear("t", None, _bind_at("a"))
            settings = NodeSettings(name="b", hops=HopSettings(key=KEY))
            node = Node(settings, DevelopmentKey(KEY), views.join("b"), dial)
            assert node.hops is not None
            await nursery.start(node.hops.run)
            near, far = transport_pair()
            nursery.start_soon(node.talk, far)
            remote = OldPeer(old, near)
            await remote.greet("remote")
            await remote.say(attach())
            join = await there.receive()
            assert isinstance(decode(join), Join)
            old.reads_greeting("node", join)
            await there.send(old.message("welcome to node"))
            asked = OldPeer(old, there)
            assert await asked.hear() == attach()
            await asked.say(attached())
            assert await remote.hear() == attached()
            nursery.cancel_scope.cancel()


def _bind_at(node: str) -> Any:
    from edge_tunnel.testing.registry import _Bind

    return _Bind(1, node)


class OldNode:
    """Greets as it did, binds everything, and passes frames of tunnels from one to the other."""

    def __init__(self, old: Old, nursery: trio.Nursery) -> None:
        self._old = old
        self._nursery = nursery
        self._links: dict[str, MemoryTransport] = {}
        self.served: list[str] = []

    @asynccontextmanager
    async def dial(self, _url: str) -> AsyncIterator[Transport]:
        near, far = transport_pair()
        self._nursery.start_soon(self._serve, far)
        try:
            yield near
        finally:
            near.cut()

    async def _serve(self, transport: MemoryTransport) -> None:
        message = self._old.understands(await transport.receive())
        hello = decode(message)
        assert isinstance(hello, Hello)
        self._old.reads_greeting(hello.role, message)
        await transport.send(self._old.message(f"welcome to {hello.role}"))
        self._links[hello.role] = transport
        self.served.append(hello.role)
        far = {"edge": "remote", "remote": "edge"}[hello.role]
        try:
            while True:
                await self._pass_on(transport, await transport.receive(), far)
        except LinkLost:
            pass

    async def _pass_on(self, source: MemoryTransport, message: bytes, far: str) -> None:
        self._old.understands(message)
        if message[1] >= FIRST_TUNNEL_KIND:
            await self._links[far].send(message)
            return
        frame = decode(message)
        if isinstance(frame, Bind):
            await source.send(encode(Bound(*frame)))
        elif isinstance(frame, Ping):
            await source.send(encode(Pong(frame.nonce)))
        elif isinstance(frame, Bye):
            raise LinkLost("it left")


async def test_endpoints_of_today_at_an_old_node(
    old: Old, autojump_clock: trio.testing.MockClock
) -> None:
    """Its WELCOME is enough for an edge and a remote, and all that they send it knows."""
    with trio.fail_after(100):
        async with trio.open_nursery() as nursery:
            node = OldNode(old, nursery)
            config = EdgeConfig(
                servers=(Server(host="a", port=0),), app_key=Secret(KEY), things=("device",)
            )
            async with (
                open_edge(config, {"echo": echo}, dial=node.dial) as edge,
                open_remote(["ws://a"], KEY, dial=node.dial, encryption=False) as remote,
            ):
                await edge.wait_bound()
                stream = await remote.open_stream("device", "echo")
                data = bytes(range(256)) * 2000
                async with trio.open_nursery() as both:
                    both.start_soon(partial(stream.send_all, data))
                    received = b""
                    while len(received) < len(data):
                        received += await stream.receive_some()
                assert received == data
                await trio.sleep(60)  # pings
                await stream.aclose()
            assert sorted(node.served) == ["edge", "remote"]
            nursery.cancel_scope.cancel()


async def test_encryption_is_not_given_up_for_an_old_node(
    old: Old, autojump_clock: trio.testing.MockClock
) -> None:
    """A remote that wants it, and a node that does not know it: one line, and nothing is sent."""
    if "sealed" in old.features:
        pytest.skip("this one knows it")
    with trio.fail_after(100):
        async with trio.open_nursery() as nursery:
            node = OldNode(old, nursery)
            async with open_remote(["ws://a"], KEY, dial=node.dial) as remote:
                for linked in (False, True):
                    assert (remote.link is not None) is linked
                    with pytest.raises(TunnelEnded, match="too old for end-to-end") as ended:
                        await remote.open_tunnel("device", "echo")
                    assert ended.value.reason is Reason.ENCRYPTION
            nursery.cancel_scope.cancel()
