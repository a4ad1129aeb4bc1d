"""edge/edge.py with a node in our hands that says whatever a test wants."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio
import trio.testing

from edge_tunnel import (
    Edge,
    EdgeConfig,
    LinkLost,
    Reason,
    Secret,
    Server,
    Service,
    TunnelEnded,
    TunnelStream,
    open_edge,
)
from edge_tunnel.link.transport import Transport
from edge_tunnel.protocol.codec import decode, encode
from edge_tunnel.protocol.frames import Bind, Bound, Frame, Hello, Unbound, Welcome
from edge_tunnel.testing.transports import MemoryTransport, transport_pair
from tests.conftest import OpenBench, echo

CONFIG = EdgeConfig(
    servers=(Server(host="node", port=1),),
    app_key=Secret("key"),
    things=("device",),
)


class NodeEnd:
    """The node's end of the edge's link."""

    def __init__(self, transport: MemoryTransport) -> None:
        self._transport = transport

    async def say(self, frame: Frame) -> None:
        await self._transport.send(encode(frame))

    async def hear(self) -> Frame:
        with trio.fail_after(100):
            return decode(await self._transport.receive())


@asynccontextmanager
async def linked() -> AsyncIterator[tuple[Edge, NodeEnd]]:
    """An edge after its greeting."""
    give, links = trio.open_memory_channel[NodeEnd](10)

    @asynccontextmanager
    async def dial(_url: str) -> AsyncIterator[Transport]:
        near, far = transport_pair()
        give.send_nowait(NodeEnd(far))
        try:
            yield near
        finally:
            near.cut()

    with trio.fail_after(1000):
        async with open_edge(CONFIG, dial=dial) as edge:
            node = await links.receive()
            assert isinstance(await node.hear(), Hello)
            await node.say(Welcome(1, "node", "test/1", (), ""))
            yield edge, node


async def test_the_last_epoch_is_not_to_be_beaten(autojump_clock: trio.testing.MockClock) -> None:
    """Somebody bound our name with the highest number that there is: we say so, and go on."""
    async with linked() as (edge, node):
        assert isinstance(await node.hear(), Bind)
        with edge.notices.subscribe() as notices:
            await node.say(Unbound("device", 2**63 - 1, Reason.SUPERSEDED, "too late"))
            assert (await notices.receive()).event == "bind_refused"
        assert not isinstance(await node.hear(), Bind)  # but PING, after a while


async def test_a_node_cannot_name_our_things(autojump_clock: trio.testing.MockClock) -> None:
    """What is bound is what the configuration says."""
    async with linked() as (edge, node):
        bind = await node.hear()
        assert isinstance(bind, Bind)
        await node.say(Unbound("other", 7, Reason.SUPERSEDED, ""))
        await node.say(Bound("another", 7))
        await node.say(Bound("device", bind.epoch))
        await edge.wait_bound()
        assert edge.statistics().bound == ("device",)
        assert not isinstance(await node.hear(), Bind)


async def test_nobody_waits_for_an_edge_that_was_closed(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Before or after its end."""
    async with trio.open_nursery() as nursery:
        async with linked() as (edge, _):
            nursery.start_soon(_wait_in_vain, edge)
            await trio.testing.wait_all_tasks_blocked()
        with trio.fail_after(10):
            await _wait_in_vain(edge)


async def _wait_in_vain(edge: Edge) -> None:
    with pytest.raises(LinkLost):
        await edge.wait_bound()


async def test_a_long_list_of_services(
    open_bench: OpenBench, autojump_clock: trio.testing.MockClock
) -> None:
    """What the device offers may be longer than a text on the wire; the answer still is one."""

    async def nothing(stream: TunnelStream) -> None:
        pass

    services = {f"a service with a rather long name, number {i}": nothing for i in range(60)}
    with trio.fail_after(100):
        async with open_bench(services=services) as bench:
            with pytest.raises(TunnelEnded) as ended:
                await bench.remote.open_stream("device", "ssh")
            assert ended.value.reason is Reason.SERVICE_NOT_ALLOWED
            assert bench.edge.link is not None


async def test_a_bug_met_by_one_stream(
    open_bench: OpenBench, autojump_clock: trio.testing.MockClock
) -> None:
    """It ends that stream, with a reason, and nobody else."""
    broken = Service(name="broken", host=None, port=1)  # type: ignore[arg-type]  # ValueError
    with trio.fail_after(100):
        async with open_bench(services={"broken": broken, "echo": echo}) as bench:
            for _ in range(2):
                with pytest.raises(TunnelEnded) as ended:
                    await bench.remote.open_stream("device", "broken")
                assert ended.value.reason is Reason.INTERNAL_ERROR
            stream = await bench.remote.open_stream("device", "echo")
            await stream.send_all(b"x")
            assert await stream.receive_some() == b"x"
