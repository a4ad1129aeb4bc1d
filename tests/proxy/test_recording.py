"""What a node tells its audit, and that one node of two tells of a tunnel."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio
import trio.testing

from edge_tunnel.access.rights import DevelopmentKey
from edge_tunnel.audit.chain import Chain, Seal
from edge_tunnel.audit.records import Audit, Event, Kind, fields_of
from edge_tunnel.protocol.frames import Attach, Bind, Bound, Bye, Close, Data, Ping, Pong, Unbind
from edge_tunnel.proxy.node import Node, NodeSettings
from edge_tunnel.reasons import Reason
from edge_tunnel.testing.transports import transport_pair
from tests.proxy.peers import TUNNEL, Peer, attach, attached, edge_and_remote, hello, join
from tests.system.clusters import exchange, open_site


class Kept(Audit):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.is_failing = False

    @property
    def refuses(self) -> bool:
        return self.is_failing

    def record(self, event: Event) -> None:
        Chain().add(fields_of(event, "a"), Seal())  # whatever it is, it can be written
        self.events.append(event)

    @property
    def kinds(self) -> list[str]:
        return [event.kind.value for event in self.events]

    def last(self, kind: Kind) -> Event:
        return next(event for event in reversed(self.events) if event.kind is kind)

    def tunnels(self) -> list[str]:
        return [kind for kind in self.kinds if kind.startswith("tunnel_")]


@asynccontextmanager
async def audited() -> AsyncIterator[tuple[Node, trio.Nursery, Kept]]:
    kept = Kept()
    with trio.fail_after(1000):
        async with trio.open_nursery() as nursery:
            yield Node(NodeSettings(), DevelopmentKey("k"), audit=kept), nursery, kept
            nursery.cancel_scope.cancel()


async def test_life_of_a_tunnel(autojump_clock: trio.testing.MockClock) -> None:
    """Links, the bind, the tunnel: opened, resumed, closed with its bytes; in this order."""
    async with audited() as (node, nursery, kept):
        edge, remote = await edge_and_remote(node, nursery)
        assert kept.kinds == ["link_opened", "link_opened", "bound", "tunnel_opened"]
        opened = kept.events[-1]
        assert (opened.thing, opened.service, opened.tunnel) == ("t", "ssh", TUNNEL.hex())
        assert (opened.role, opened.epoch) == ("remote", 1)
        assert opened.address
        await remote.say(Data(TUNNEL, 1, 1, 0, b"x" * 100))
        await edge.hear()
        remote.transport.cut()
        await edge.hear()
        assert kept.kinds[-2:] == ["tunnel_detached", "link_closed"]
        assert (kept.last(Kind.TUNNEL_DETACHED).from_remote or 0) > 100
        back = await join(node, nursery, "remote")
        await back.say(attach(2, fresh=False))
        await edge.hear()
        await edge.say(attached(2))
        await back.hear()
        await back.say(Close(TUNNEL, 0, 2, Reason.DONE, "enough"))
        await edge.hear()
        assert kept.kinds[-3:] == ["link_opened", "tunnel_resumed", "tunnel_closed"]
        closed = kept.events[-1]
        assert (closed.code, closed.reason) == (0, "enough")
        assert (closed.from_remote or 0) > 100 and closed.from_edge == 0
        assert closed.seconds is not None
        await edge.say(Unbind("t", 1), Ping(1))
        assert await edge.hear() == Pong(1)
        assert kept.last(Kind.UNBOUND).reason == "the edge unbound it"


async def test_end_that_nobody_hears(autojump_clock: trio.testing.MockClock) -> None:
    """Both ends are lost: the tunnel left this node, and that is told once."""
    async with audited() as (node, nursery, kept):
        edge, remote = await edge_and_remote(node, nursery)
        for peer in (edge, remote):
            peer.transport.cut()
            await trio.sleep(1)
        assert kept.tunnels() == [
            "tunnel_opened",
            "tunnel_detached",
            "tunnel_detached",
            "tunnel_left",
        ]
        assert kept.kinds.count("link_closed") == 2
        assert "unbound" in kept.kinds


@pytest.mark.parametrize(
    ("first", "reason"),
    [
        (hello("edge", key="a secret that is wrong"), Reason.NOT_AUTHORISED),
        (hello("king\n\x1b[2J"), Reason.PROTOCOL_ERROR),
        (hello("edge")._replace(oldest=7, newest=9), Reason.VERSION),
        (Bind("t", 1), Reason.PROTOCOL_ERROR),
        (b"\xc1", Reason.PROTOCOL_ERROR),
    ],
)
async def test_refused_links(
    first: bytes, reason: Reason, autojump_clock: trio.testing.MockClock
) -> None:
    """Each refusal with its reason; what was shown as a key is nowhere."""
    async with audited() as (node, nursery, kept):
        near, far = transport_pair()
        nursery.start_soon(node.talk, far)
        peer = Peer(near)
        await peer.say(first)
        assert isinstance(await peer.hear(), Bye)
        (event,) = kept.events
        assert (event.kind, event.code) == (Kind.LINK_REFUSED, reason)
        assert event.reason and event.address
        assert "secret" not in repr(event)


async def test_denied_tunnels(autojump_clock: trio.testing.MockClock) -> None:
    """No such thing; refused by the device, a resume with a stolen id as well."""
    async with audited() as (node, nursery, kept):
        remote = await join(node, nursery, "remote")
        await remote.say(attach(thing="nowhere"))
        await remote.hear()
        denied = kept.last(Kind.TUNNEL_DENIED)
        assert (denied.thing, denied.code) == ("nowhere", Reason.NO_SUCH_THING)
        edge, _ = await edge_and_remote(node, nursery)
        await remote.say(attach(7, fresh=False))
        await edge.hear()
        await edge.say(Close(TUNNEL, 0, 7, Reason.UNKNOWN_TUNNEL, ""))
        await remote.hear()
        denied = kept.last(Kind.TUNNEL_DENIED)
        assert (denied.code, denied.epoch) == (Reason.UNKNOWN_TUNNEL, 7)
        assert denied.reason == Reason.UNKNOWN_TUNNEL.text
        assert kept.tunnels() == ["tunnel_denied", "tunnel_opened", "tunnel_denied"]


async def test_waited_in_vain(autojump_clock: trio.testing.MockClock) -> None:
    """A tunnel that waited for a thing that did not come back is a denial, too."""
    async with audited() as (node, nursery, kept):
        edge = await join(node, nursery, "edge")
        await edge.say(Bind("t", 1))
        await edge.hear()
        edge.transport.cut()
        await trio.sleep(1)
        remote = await join(node, nursery, "remote")
        await remote.say(attach())
        await trio.sleep(15)
        await remote.say(Ping(1))
        assert await remote.hear() == Pong(1)
        assert isinstance(await remote.hear(), Close)
        assert kept.last(Kind.TUNNEL_DENIED).code == Reason.NO_SUCH_THING


async def test_binds_that_lose(autojump_clock: trio.testing.MockClock) -> None:
    """An older epoch is refused; a newer one takes the thing from its holder."""
    async with audited() as (node, nursery, kept):
        first, second = await join(node, nursery, "edge"), await join(node, nursery, "edge")
        await first.say(Bind("t", 5))
        await first.hear()
        await second.say(Bind("t", 4))
        await second.hear()
        assert kept.last(Kind.BIND_REFUSED).code == Reason.SUPERSEDED
        await second.say(Bind("t", 6))
        assert await second.hear() == Bound("t", 6)
        assert kept.kinds[-2:] == ["unbound", "bound"]


async def test_no_new_tunnels_without_an_audit(autojump_clock: trio.testing.MockClock) -> None:
    """While nothing can be recorded and the site wants it so: running ones go on and resume."""
    async with audited() as (node, nursery, kept):
        edge, remote = await edge_and_remote(node, nursery)
        kept.is_failing = True
        await remote.say(attach()._replace(tunnel=bytes(16)))
        refused = await remote.hear()
        assert isinstance(refused, Close) and refused.reason == Reason.TOO_MANY
        assert "audit log" in refused.text
        assert kept.last(Kind.TUNNEL_DENIED).tunnel == bytes(16).hex()
        await remote.say(attach(2, fresh=False))
        assert isinstance(await edge.hear(), Attach)
        kept.is_failing = False
        await remote.say(attach()._replace(tunnel=bytes(16)))
        assert isinstance(await edge.hear(), Attach)


async def test_one_node_records_a_tunnel(autojump_clock: trio.testing.MockClock) -> None:
    """Device on one node, remotes on that and another: each tunnel is told of by its remote's."""
    with trio.fail_after(500):
        async with open_site("a", ["a", "b"]) as site:
            kept = {name: Kept() for name in site.cluster.nodes}
            for name, node in site.cluster.nodes.items():
                node.traffic.recording.audit = kept[name]
            for remote in site.remotes:
                await exchange(remote, 100_000, random.Random(1))
    opened = {name: each.kinds.count("tunnel_opened") for name, each in kept.items()}
    assert opened == {"a": 1, "b": 1, "c": 0}
    ids = [kept[name].last(Kind.TUNNEL_OPENED).tunnel for name in "ab"]
    for name, mine, other in (("a", *ids), ("b", *reversed(ids))):
        tunnels = {event.tunnel for event in kept[name].events}
        assert mine in tunnels and other not in tunnels
    left = kept["b"].last(Kind.TUNNEL_LEFT)  # this double's links take no farewell with them
    assert (left.from_edge or 0) > 100_000 and (left.from_remote or 0) > 100_000
