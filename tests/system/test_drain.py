"""A node drains: its endpoints go elsewhere before it ends, and no stream notices."""

from __future__ import annotations

import random

import pytest
import trio
import trio.testing

from tests.conftest import OpenBench
from tests.system.clusters import Site, exchange, open_site


async def keep_exchanging(site: Site, pauses: list[float], until: trio.Event) -> None:
    """All remotes, one exchange after another."""

    async def one(number: int) -> None:
        rng = random.Random(number)
        while not until.is_set():
            pauses.append(await exchange(site.remotes[number], 100_000, rng))

    async with trio.open_nursery() as nursery:
        for number in range(len(site.remotes)):
            nursery.start_soon(one, number)


async def drain(site: Site, name: str, timeout: float = 10.0) -> float:
    """Drain a node and end it; the seconds that it took."""
    start = trio.current_time()
    await site.cluster.nodes[name].drain(timeout)
    site.cluster.kill(name)
    return trio.current_time() - start


@pytest.mark.parametrize("remotes", ["a", "b", pytest.param("abc", marks=pytest.mark.slow)])
async def test_a_drained_node_is_left_before_it_ends(
    autojump_clock: trio.testing.MockClock, remotes: str
) -> None:
    """The device's node drains under load: all leave within a second, and nothing pauses."""
    with trio.fail_after(500):
        async with open_site("a", list(remotes)) as site:
            pauses: list[float] = []
            over = trio.Event()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(keep_exchanging, site, pauses, over)
                await trio.sleep(0.5)
                took = await drain(site, "a")
                await trio.sleep(0.5)
                over.set()
            assert took < 1
            assert max(pauses) < 0.2
            assert site.count("link_lost") == 0
            assert site.count("detached") <= len(remotes) * 2
            # nobody left a link that a tunnel needed
            waits = {each["reason"] for each in site.notices if "detached" in each.event}
            assert waits <= {
                "the device moved to another node",
                "the device has a newer link",
                "bound by another link with a higher epoch",  # the edge: its own newer one
            }
            assert site.edge.url == "mem://b"
            assert site.edge._leaving == set()


@pytest.mark.slow
async def test_rolling_restart(autojump_clock: trio.testing.MockClock) -> None:
    """Three nodes are drained and started again, one after another, under load."""
    with trio.fail_after(500):
        async with open_site("a", list("abc")) as site:
            pauses: list[float] = []
            over = trio.Event()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(keep_exchanging, site, pauses, over)
                for name in "abca":
                    await trio.sleep(0.3)
                    assert await drain(site, name) < 1
                    await trio.sleep(0.2)
                    site.cluster.start(name)
                over.set()
            assert max(pauses) < 0.2
            assert site.count("link_lost") == 0
            assert site.count("resumed") >= 3


async def test_nowhere_to_go(open_bench: OpenBench, autojump_clock: trio.testing.MockClock) -> None:
    """With one node only, its links work until the drain timeout; then BYE, and it ends."""
    with trio.fail_after(500):
        async with open_bench() as bench:
            stream = await bench.remote.open_stream("device", "echo")
            node = bench.cluster.nodes["node"]
            start = trio.current_time()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(node.drain, 7.0)
                await trio.sleep(5)
                await stream.send_all(b"still here")
                assert await stream.receive_some() == b"still here"
                assert node.links == 2
            assert trio.current_time() - start == pytest.approx(7, abs=0.1)
            assert node.links == 0
            bench.cluster.kill()
            bench.cluster.start()
            await stream.send_all(b"again")
            assert await stream.receive_some() == b"again"


async def test_a_draining_node_refuses_new_links(
    open_bench: OpenBench, autojump_clock: trio.testing.MockClock
) -> None:
    """Who comes while it drains goes to the next node; nobody takes it for a wrong key."""
    with trio.fail_after(500):
        async with open_bench("one", "two") as bench:
            bench.cluster.nodes["two"].draining = True
            refused: list[str] = []
            bench.edge.notices.call(lambda notice: refused.append(notice.event))
            await bench.cluster.nodes["one"].drain(3.0)
            assert "link_refused" not in refused
            assert "connect_failed" in refused
            bench.cluster.nodes["two"].draining = False
            stream = await bench.remote.open_stream("device", "echo")
            assert bench.edge.url == bench.remote.url == "mem://two"
            await stream.aclose()


async def test_an_old_endpoint_sees_bye(
    open_bench: OpenBench,
    autojump_clock: trio.testing.MockClock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An endpoint that does not know DRAIN is not sent it: it hears BYE when the time is over."""
    monkeypatch.setattr("edge_tunnel.link.endpoint.FEATURES", ("sealed",))
    with trio.fail_after(500):
        async with open_bench("one", "two") as bench:
            start = trio.current_time()
            await bench.cluster.nodes["one"].drain(4.0)
            assert trio.current_time() - start == pytest.approx(4, abs=0.1)
            await bench.remote.open_stream("device", "echo")
            assert bench.edge.url == "mem://two"


async def test_a_tunnel_by_the_link_that_is_being_left(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """The registry lags: an attach comes by the old link, and is answered by that one."""
    with trio.fail_after(500):
        async with open_site("a", ["c", "c"], lag=1.0) as site:
            rng = random.Random(1)
            await exchange(site.remotes[0], 1000, rng)  # its tunnel keeps the old link up
            async with trio.open_nursery() as nursery:
                nursery.start_soon(drain, site, "a")
                await trio.sleep(0.3)
                assert site.edge.url == "mem://b"
                assert len(site.edge._leaving) == 1
                start = trio.current_time()
                await exchange(site.remotes[1], 1000, rng)
                assert trio.current_time() - start < 0.5
