"""edge/edge.py with a node in our hands that says whatever a test wants."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import pytest
import trio
import trio.testing

from edge_tunnel import (
    Edge,
    EdgeConfig,
    LinkLost,
    LinkSettings,
    Reason,
    Secret,
    Server,
    Service,
    TunnelEnded,
    TunnelStream,
    open_edge,
)
from edge_tunnel.edge.services import ServiceTarget
from edge_tunnel.link.transport import Transport
from edge_tunnel.protocol.codec import decode, encode
from edge_tunnel.protocol.frames import (
    Bind,
    Bound,
    Bye,
    Drain,
    Frame,
    Hello,
    Ping,
    Pong,
    Unbound,
    Welcome,
)
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
    async with links_of_an_edge() as (edge, links):
        yield edge, await greeted(links)


async def greeted(links: trio.MemoryReceiveChannel[NodeEnd]) -> NodeEnd:
    """The node's end of the next link."""
    node = await links.receive()
    assert isinstance(await node.hear(), Hello)
    await node.say(Welcome(1, "node", "test/1", (), ""))
    return node


@asynccontextmanager
async def links_of_an_edge(
    *things: str,
    config: EdgeConfig = CONFIG,
    services: Mapping[str, ServiceTarget] | None = None,
) -> AsyncIterator[tuple[Edge, trio.MemoryReceiveChannel[NodeEnd]]]:
    """An edge, and the links that it dials."""
    config = dataclasses.replace(config, things=things or config.things)
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
        async with open_edge(config, services, dial=dial) as edge:
            yield edge, links


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


async def bound(node: NodeEnd) -> Bound:
    """Say yes to the next bind."""
    bind = await node.hear()
    assert isinstance(bind, Bind)
    holds = Bound(*bind)
    await node.say(holds)
    return holds


async def silent(node: NodeEnd, seconds: float) -> bool:
    """Whether the edge says nothing but PING."""
    with trio.move_on_after(seconds):
        while isinstance(ping := await node.hear(), Ping):
            await node.say(Pong(ping.nonce))
        return False
    return True


async def test_the_old_link_is_left_when_the_new_one_holds_the_things(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Make before break: neither the new link, nor a bind on its way, nor one of two is enough."""
    async with links_of_an_edge("device", "second") as (edge, links):
        old = await greeted(links)
        first = await bound(old)
        await bound(old)
        await edge.wait_bound()
        await old.say(Drain(30_000, "going"))
        new = await greeted(links)
        bind = await new.hear()
        assert isinstance(bind, Bind)
        assert bind.epoch > first.epoch
        await bound(new)
        assert await silent(old, 20)  # the new node takes too long: that link is over
        new = await greeted(links)
        bind = await new.hear()
        assert isinstance(bind, Bind)
        await bound(new)
        await new.say(Unbound("device", bind.epoch + 9, Reason.SUPERSEDED, "not high enough"))
        again = await new.hear()
        assert isinstance(again, Bind)
        assert await silent(old, 3)
        await new.say(Bound(*again))
        bye = await old.hear()
        assert isinstance(bye, Bye)
        assert bye.reason == Reason.DONE


async def test_what_the_old_link_says_of_binds_does_not_count(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """The old node sees our own newer bind and says UNBOUND: nothing is lost, nothing bound anew.

    Nor is its late BOUND taken for the new node's.
    """
    async with links_of_an_edge() as (edge, links):
        old = await greeted(links)
        first = await bound(old)
        await edge.wait_bound()
        await old.say(Drain(30_000, "going"))
        new = await greeted(links)
        bind = await new.hear()
        assert isinstance(bind, Bind)
        await old.say(first)
        assert await silent(old, 1)
        with edge.notices.subscribe() as notices:
            await new.say(Bound(*bind))
            assert (await notices.receive()).event == "bound"
            await old.say(Unbound("device", bind.epoch, Reason.SUPERSEDED, "a newer link"))
            assert await silent(new, 100)
            assert edge.statistics().bound == ("device",)


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


# -- who pings

CALM = Welcome(1, "node", "test/1", ("pings",), "")


@asynccontextmanager
async def kept_alive(
    welcome: Welcome,
    link: LinkSettings = LinkSettings(),  # noqa: B008 - frozen
) -> AsyncIterator[tuple[Edge, NodeEnd, Hello]]:
    """An edge that is bound, and what it asked for."""
    config = dataclasses.replace(CONFIG, link=link)
    async with links_of_an_edge(config=config) as (edge, links):
        node = await links.receive()
        hello = await node.hear()
        assert isinstance(hello, Hello)
        await node.say(welcome)
        assert isinstance(await node.hear(), Bind)
        yield edge, node, hello


@pytest.mark.parametrize(
    ("link", "asked"),
    [
        (LinkSettings(), (15_000, 5_000, 30_000)),
        (LinkSettings(idle_ping_interval=7), (15_000, 5_000, 7_000)),
        (LinkSettings(ping_interval=55), (65_000, 55_000, 55_000)),
        (LinkSettings(ping_interval=1, ping_timeout=2), (3_000, 1_000, 1_000)),
    ],
)
async def test_what_an_edge_asks_its_node_for(
    link: LinkSettings, asked: tuple[int, int, int], autojump_clock: trio.testing.MockClock
) -> None:
    """Seldom where no tunnel is, unless its user has said how often."""
    async with kept_alive(CALM, link) as (_, _, hello):
        assert "pings" in hello.features
        assert (hello.silence_ms, hello.ping_ms, hello.idle_ms) == asked


async def test_an_older_node_is_pinged(autojump_clock: trio.testing.MockClock) -> None:
    """Every 5 s, as it was told; and its silence is noticed."""
    async with kept_alive(Welcome(1, "node", "test/1", (), "")) as (edge, node, _):
        for number in range(1, 4):
            start = trio.current_time()
            assert await node.hear() == Ping(number)
            assert trio.current_time() - start == pytest.approx(5)
            await node.say(Pong(number))
        assert edge.link is not None
        await trio.sleep(14.9)
        assert edge.link is not None
        await trio.sleep(0.7)
        assert edge.link is None


class Times(trio.abc.Instrument):
    """When any task had a turn."""

    def __init__(self) -> None:
        self.seen: set[float] = set()

    def before_task_step(self, task: trio.lowlevel.Task) -> None:  # noqa: ARG002
        self.seen.add(trio.current_time())


async def test_an_edge_only_answers_where_its_node_pings(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """One wake-up for each keep-alive: no timer of its own runs out between two of them."""
    async with kept_alive(CALM) as (_, node, _):
        times = Times()
        start = trio.current_time()
        trio.lowlevel.add_instrument(times)
        for number in range(1, 21):
            await trio.sleep_until(start + 30 * number)
            await node.say(Ping(number))
            assert await node.hear() == Pong(number)
        trio.lowlevel.remove_instrument(times)
        assert times.seen - {start} == {start + 30 * number for number in range(1, 21)}


async def test_an_edge_asks_a_node_that_forgets_to_ping(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Late, but before the silence is over; and who answers has not died."""
    async with kept_alive(CALM) as (edge, node, _):
        for number in range(1, 4):
            start = trio.current_time()
            assert await node.hear() == Ping(number)
            assert trio.current_time() - start == pytest.approx(35)
            await node.say(Pong(number))
        assert edge.link is not None


async def test_a_node_that_dies_without_a_word(autojump_clock: trio.testing.MockClock) -> None:
    """After 40 s where no tunnel is."""
    async with kept_alive(CALM) as (edge, _, _):
        await trio.sleep(39.9)
        assert edge.link is not None
        await trio.sleep(1.5)
        assert edge.link is None
