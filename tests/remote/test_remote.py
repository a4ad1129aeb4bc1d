"""remote/remote.py: what becomes of a tunnel that is not there in time, and of a first link."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import pytest
import trio
import trio.testing

from edge_tunnel import LinkLost, TunnelEnded, open_remote
from edge_tunnel.errors import LinkHopeless
from edge_tunnel.link.transport import Transport
from tests.conftest import OpenBench


async def test_a_tunnel_that_nobody_waits_for_is_closed(
    open_bench: OpenBench, autojump_clock: trio.testing.MockClock
) -> None:
    """After a timeout or a cancellation nothing goes on attaching; a later call begins anew."""
    with trio.fail_after(1000):
        async with open_bench() as bench:
            node = bench.cluster.nodes["node"]
            node.draining = True  # the edge cannot come back
            bench.cluster.cut("edge")
            await trio.sleep(0.01)
            assert (node.links, len(node.registry)) == (1, 0)
            with pytest.raises(trio.TooSlowError):
                await bench.remote.open_tunnel("device", "echo", timeout=5)
            with trio.move_on_after(1):
                await bench.remote.open_tunnel("device", "echo")
            assert bench.remote.tunnels == {}
            await trio.sleep(0.01)
            assert (len(node.waiting), len(node.routes)) == (0, 0)
            node.draining = False
            await bench.edge.wait_bound()
            stream = await bench.remote.open_stream("device", "echo")
            await stream.send_all(b"x")
            assert await stream.receive_some() == b"x"
            assert len(bench.edge.tunnels) == 1


async def test_one_who_waits_longer_keeps_the_tunnel(
    open_bench: OpenBench, autojump_clock: trio.testing.MockClock
) -> None:
    """Two wait for one tunnel; the impatient one takes nothing from the other."""
    with trio.fail_after(1000):
        async with open_bench() as bench, trio.open_nursery() as nursery:
            bench.cluster.stall("remote")  # the answer comes by the next link
            nursery.start_soon(bench.remote.open_tunnel, "device", "echo")
            await trio.testing.wait_all_tasks_blocked()
            [asking] = bench.remote.tunnels.values()
            with pytest.raises(trio.TooSlowError):
                await bench.remote.open_tunnel("device", "echo", timeout=1)
            tunnel = await bench.remote.open_tunnel("device", "echo")
            assert tunnel is asking


async def test_a_refusal_is_still_told(
    open_bench: OpenBench, autojump_clock: trio.testing.MockClock
) -> None:
    """A tunnel that ended before its time was over raises its reason."""
    with trio.fail_after(1000):
        async with open_bench() as bench:
            with pytest.raises(TunnelEnded, match="no device is bound"):
                await bench.remote.open_tunnel("nobody", "echo", timeout=5)


class Broken:
    """What a remote dials: no node lets it in, and this is why, of each."""

    def __init__(self, **problems: LinkLost) -> None:
        self.problems = problems
        self.dialled: list[str] = []

    @asynccontextmanager
    async def dial(self, url: str) -> AsyncIterator[Transport]:
        self.dialled.append(url)
        await trio.sleep(0.1)
        raise self.problems[url]
        yield  # what makes it a generator


CERTIFICATE = LinkHopeless("another CA")
AWAY = LinkLost("connection refused")


async def test_where_no_node_gives_hope_a_person_is_told(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Once all were tried in vain, at once; the line says of each node why."""
    broken = Broken(one=CERTIFICATE, two=LinkHopeless("another name"))
    line = "could not connect to one: another CA; to two: another name"
    with trio.fail_after(1000), pytest.raises(LinkHopeless, match=line):
        async with open_remote(["one", "two"], "key", dial=broken.dial, patient=False):
            await trio.sleep_forever()
    assert broken.dialled == ["one", "two"]


async def test_one_node_that_may_come_back_is_hope(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """What counts is how each node answered last: one that is away may let us in later."""
    broken = Broken(one=CERTIFICATE, two=AWAY)
    with trio.fail_after(1000), pytest.raises(LinkHopeless):
        async with open_remote(["one", "two"], "key", dial=broken.dial, patient=False) as remote:
            with pytest.raises(trio.TooSlowError):
                await remote.open_tunnel("device", "echo", timeout=50)
            broken.problems = {"one": AWAY, "two": CERTIFICATE}
            with pytest.raises(trio.TooSlowError):
                await remote.open_tunnel("device", "echo", timeout=50)
            broken.problems["one"] = CERTIFICATE
            await trio.sleep_forever()


async def test_a_program_goes_on_without_hope(autojump_clock: trio.testing.MockClock) -> None:
    """Certificates are renewed, and nobody starts it again."""
    broken = Broken(one=CERTIFICATE)
    with trio.fail_after(10_000):
        async with open_remote(["one"], "key", dial=broken.dial):
            await trio.sleep(1000)
    assert len(broken.dialled) > 10


async def test_after_the_first_link_nothing_is_hopeless(
    open_bench: OpenBench, autojump_clock: trio.testing.MockClock
) -> None:
    """A port that worked stays, whatever its node shows later: somebody is at it."""
    with trio.fail_after(1000):
        async with open_bench() as bench:
            [url] = bench.remote.settings.urls
            broken, works = Broken(**{url: CERTIFICATE}), bench.cluster.dial_as("other")
            dials = [works, broken.dial, broken.dial, works]

            def dial(url: str) -> AbstractAsyncContextManager[Transport]:
                return dials.pop(0)(url)

            async with open_remote(
                [url], bench.remote.settings.key, dial=dial, patient=False
            ) as remote:
                await remote.open_tunnel("device", "echo")
                bench.cluster.cut("other")
                stream = await remote.open_stream("device", "echo")
                await stream.send_all(b"x")
                assert await stream.receive_some() == b"x"
                assert dials == []


async def test_a_remote_that_was_left_opens_nothing(
    open_bench: OpenBench, autojump_clock: trio.testing.MockClock
) -> None:
    """A task that still has it hears so at once, and does not wait for a link that never comes."""
    with trio.fail_after(1000):
        async with open_bench() as bench:
            remote = bench.remote
        with trio.fail_after(1), pytest.raises(TunnelEnded, match="remote was closed"):
            await remote.open_stream("device", "echo")
