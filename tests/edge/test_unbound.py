"""An edge whose link loses a thing: to whom, by which link, and what becomes of its tunnels."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio
import trio.testing

from edge_tunnel import Edge, Reason, TunnelEnded, TunnelStream, open_edge
from edge_tunnel.link.notices import Notice
from edge_tunnel.protocol.attach import RemoteTunnel
from edge_tunnel.protocol.codec import decode
from edge_tunnel.protocol.frames import Bind, Bound, Bye, Detached, Drain, Ping, Pong, Unbound
from edge_tunnel.protocol.outlet import Outlet
from edge_tunnel.protocol.tunnel import RESUME_TIMEOUT
from tests.conftest import OpenBench, echo, mem_config
from tests.edge.test_edge import NodeEnd, bound, greeted, links_of_an_edge, silent

TAKEN = "bound by another link with a higher epoch"
LATE = 10**15
"""An epoch that another edge might bind with."""


class Source:
    """A service that says what a test tells it to; and why it could not, in the end."""

    def __init__(self) -> None:
        self.say, self._given = trio.open_memory_channel[bytes](10)
        self.error: BaseException | None = None

    async def __call__(self, stream: TunnelStream) -> None:
        try:
            async for data in self._given:
                await stream.send_all(data)
        except trio.BrokenResourceError as error:
            self.error = error.__cause__
            raise

    async def why_not(self) -> Reason:
        """Why nothing can be said any more."""
        await self.say.send(b"too late")
        await trio.testing.wait_all_tasks_blocked()
        assert isinstance(self.error, TunnelEnded)
        return self.error.reason


class Technician:
    """A remote's tunnel to the source, by links of the edge whose far ends we play."""

    def __init__(self) -> None:
        self.core = RemoteTunnel("device", "source", now=trio.current_time())
        self.received = b""
        self._outlet = Outlet()

    async def attach(self, node: NodeEnd) -> None:
        """Ask, by this link, and read for a second."""
        self._outlet = Outlet()
        self.core.attach(self._outlet, trio.current_time())
        await self.read(node)

    async def open(self, node: NodeEnd) -> None:
        """A stream."""
        self.core.open_stream()
        await self.read(node)

    async def read(self, node: NodeEnd, seconds: float = 1.0) -> None:
        """Pass on what the tunnel says, and take what comes by the link meanwhile."""
        for message in iter(self._outlet.next_message, None):
            await node.say(decode(message))
        with trio.move_on_after(seconds):
            while True:
                frame = await node.hear()
                if isinstance(frame, Ping):
                    await node.say(Pong(frame.nonce))
                else:
                    self.core.receive(frame, trio.current_time())  # type: ignore[arg-type]
        for stream in self.core.streams.values():
            if stream.incoming.readable:
                self.received += stream.take(1_000_000, trio.current_time())


class Scene:
    """An edge that serves a device, with one stream of one technician on its first link."""

    def __init__(
        self, edge: Edge, links: trio.MemoryReceiveChannel[NodeEnd], node: NodeEnd, source: Source
    ) -> None:
        self.edge = edge
        self.links = links
        self.node = node
        self.source = source
        self.technician = Technician()
        self.notices: list[Notice] = []
        edge.notices.call(self.notices.append)

    def reasons(self, event: str) -> list[object]:
        return [each["reason"] for each in self.notices if each.event == event]

    async def drained(self) -> tuple[NodeEnd, Bind]:
        """The node asks the edge to go; its next link, and the bind that comes by it."""
        await self.node.say(Drain(30_000, "going"))
        new = await greeted(self.links)
        bind = await new.hear()
        assert isinstance(bind, Bind)
        return new, bind


async def told(node: NodeEnd, unbound: Unbound) -> None:
    """The edge has heard it, before anything else happens."""
    await node.say(unbound)
    await trio.testing.wait_all_tasks_blocked()


@asynccontextmanager
async def scene(*things: str) -> AsyncIterator[Scene]:
    source = Source()
    async with links_of_an_edge(*things, services={"source": source}) as (edge, links):
        node = await greeted(links)
        for _ in things or ("device",):
            await bound(node)
        await edge.wait_bound()
        here = Scene(edge, links, node, source)
        await here.technician.attach(node)
        await here.technician.open(node)
        await source.say.send(b"one ")
        await here.technician.read(node)
        assert here.technician.received == b"one "
        yield here


async def test_a_thing_that_is_lost_and_comes_back(autojump_clock: trio.testing.MockClock) -> None:
    """Nothing is sent meanwhile, and nothing is lost: the tunnel goes on by the next attach."""
    async with scene() as here:
        await told(here.node, Unbound("device", LATE, Reason.SUPERSEDED, TAKEN))
        await here.source.say.send(b"two ")
        assert await silent(here.node, 30)
        assert here.reasons("tunnel_detached") == [TAKEN]
        bind = await here.node.hear()
        while isinstance(bind, Ping):
            await here.node.say(Pong(bind.nonce))
            bind = await here.node.hear()
        assert isinstance(bind, Bind)
        assert bind.epoch > LATE
        await here.node.say(Bound(*bind))
        await here.technician.attach(here.node)
        await here.source.say.send(b"three")
        await here.technician.read(here.node)
        assert here.technician.received == b"one two three"


async def test_a_thing_that_does_not_come_back(autojump_clock: trio.testing.MockClock) -> None:
    """As whenever a tunnel is detached: its time is over, and the service sees a reset."""
    async with scene() as here:
        await told(here.node, Unbound("device", LATE, Reason.NOT_AUTHORISED, "not any more"))
        assert await silent(here.node, 30)
        with trio.move_on_after(RESUME_TIMEOUT):
            while True:  # its binds are not answered
                frame = await here.node.hear()
                if isinstance(frame, Ping):
                    await here.node.say(Pong(frame.nonce))
        assert here.edge.link is not None
        assert not here.edge.tunnels
        assert here.reasons("tunnel_detached") == ["not any more"]
        assert await here.source.why_not() is Reason.RESUME_TIMEOUT


async def test_another_thing_that_is_lost(autojump_clock: trio.testing.MockClock) -> None:
    """Its tunnels alone."""
    async with scene("device", "second") as here:
        await told(here.node, Unbound("second", LATE, Reason.SUPERSEDED, TAKEN))
        await here.source.say.send(b"two")
        await here.technician.read(here.node)
        assert here.technician.received == b"one two"
        assert here.reasons("unbound") == [TAKEN]
        assert here.reasons("tunnel_detached") == []


async def test_our_own_newer_bind(autojump_clock: trio.testing.MockClock) -> None:
    """Make before break: the old link loses the thing to the new one before the tunnel changed.

    What the edge would say by it now is dropped there. It says it by the new one, once asked to.
    """
    async with scene() as here:
        new, bind = await here.drained()
        await told(here.node, Unbound("device", bind.epoch, Reason.SUPERSEDED, TAKEN))
        await here.source.say.send(b"two ")
        assert await silent(here.node, 3)  # nor BYE: the new node has not answered yet
        assert here.reasons("tunnel_detached") == [TAKEN]
        await new.say(Bound(*bind))
        bye = await here.node.hear()
        assert isinstance(bye, Bye)
        assert bye.reason == Reason.DONE
        await here.technician.attach(new)
        await here.source.say.send(b"three")
        await here.technician.read(new)
        assert here.technician.received == b"one two three"
        assert here.reasons("unbound") == []


async def test_a_tunnel_that_has_changed_over_already(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """The old node is the last to hear of the newer bind; what it says of it concerns nobody."""
    async with scene() as here:
        new, bind = await here.drained()
        await here.technician.attach(new)
        await told(here.node, Unbound("device", bind.epoch, Reason.SUPERSEDED, TAKEN))
        await here.source.say.send(b"two")
        await here.technician.read(new)
        assert here.technician.received == b"one two"
        assert here.reasons("tunnel_detached") == []


@pytest.mark.parametrize("reason", [Reason.NOT_AUTHORISED, Reason.SUPERSEDED])
async def test_a_refused_bind(reason: Reason, autojump_clock: trio.testing.MockClock) -> None:
    """By the new link: tunnels stay with the old one as long as its node has the thing."""
    async with scene() as here:
        new, _ = await here.drained()
        await told(new, Unbound("device", LATE, reason, "no"))
        await here.source.say.send(b"two")
        await here.technician.read(here.node)
        assert here.technician.received == b"one two"
        assert here.reasons("tunnel_detached") == []


async def test_the_nodes_own_word_comes_too(autojump_clock: trio.testing.MockClock) -> None:
    """An attach that crossed with UNBOUND: DETACHED for what is detached changes nothing."""
    async with scene() as here:
        await told(here.node, Unbound("device", LATE, Reason.SUPERSEDED, TAKEN))
        core = here.technician.core
        await here.node.say(Detached(core.id, 0, core.epoch, Reason.PEER_LEFT, "again"))
        assert await silent(here.node, 10)
        assert here.reasons("tunnel_detached") == [TAKEN]


@pytest.mark.parametrize("where", ["one", "two"])
async def test_a_clone_takes_the_thing(
    where: str, open_bench: OpenBench, autojump_clock: trio.testing.MockClock
) -> None:
    """Another process of the device, by the same node or another: it does not know our tunnels.

    The remote is told so at once, our service when the tunnel's time is over. No node keeps it.
    """
    source = Source()
    with trio.fail_after(1000):
        async with open_bench("one", "two", services={"source": source}) as bench:
            stream = await bench.remote.open_stream("device", "source")
            await source.say.send(b"one")
            assert await stream.receive_some() == b"one"
            dial, us = bench.cluster.dial_as("clone"), bench.edge.identity
            config = mem_config(where)
            async with open_edge(config, {"source": echo}, identity=us, dial=dial) as clone:
                await clone.wait_bound()
                with pytest.raises(trio.BrokenResourceError) as broken:
                    await stream.receive_some()
                assert isinstance(broken.value.__cause__, TunnelEnded)
                assert broken.value.__cause__.reason is Reason.UNKNOWN_TUNNEL
                (tunnel,) = bench.edge.tunnels.values()
                assert not tunnel.attached
                assert [len(node.routes) for node in bench.cluster.nodes.values()] == [0, 0]
                again = await bench.remote.open_stream("device", "source")
                assert len(clone.tunnels) == 1
                again.abort()
                await trio.sleep(RESUME_TIMEOUT + 1)
                assert tunnel.id not in bench.edge.tunnels
                assert await source.why_not() is Reason.RESUME_TIMEOUT
