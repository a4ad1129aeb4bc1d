"""A running edge takes another configuration: services at once, servers without losing a stream."""

from __future__ import annotations

import dataclasses

import pytest
import trio
import trio.testing

from edge_tunnel import EdgeConfig, Reason, Secret, Server, Service, TunnelEnded
from tests.conftest import Bench, OpenBench


def changed(bench: Bench, **fields: object) -> EdgeConfig:
    return dataclasses.replace(bench.edge.config, **fields)  # type: ignore[arg-type]


async def test_another_server(
    open_bench: OpenBench, autojump_clock: trio.testing.MockClock
) -> None:
    """The edge moves to another node in the middle of a stream, and the stream goes on there."""
    with trio.fail_after(200):
        async with open_bench("old", "new") as bench:
            stream = await bench.remote.open_stream("device", "echo")
            await stream.send_all(b"before")
            servers = (Server(host="new", port=0),)
            assert bench.edge.reconfigure(changed(bench, servers=servers)).needs_reconnect
            bench.remote.reconnect(
                dataclasses.replace(bench.remote.settings, urls=("mem://new",)), bench.remote._dial
            )
            await stream.send_all(b" and after")
            received = b""
            while len(received) < len(b"before and after"):
                received += await stream.receive_some()
            assert received == b"before and after"
            assert bench.edge.url == bench.remote.url == "mem://new"


async def test_a_wrong_key_keeps_trying(
    open_bench: OpenBench, autojump_clock: trio.testing.MockClock
) -> None:
    """A key that the node refuses does not end the edge; the right one brings the stream back."""
    with trio.fail_after(200):
        async with open_bench() as bench:
            stream = await bench.remote.open_stream("device", "echo")
            right = bench.edge.config.app_key
            bench.edge.reconfigure(changed(bench, app_key=Secret("wrong")))
            await trio.sleep(20)
            assert bench.edge.url is None
            bench.edge.reconfigure(changed(bench, app_key=right))
            await stream.send_all(b"x")
            assert await stream.receive_some() == b"x"


async def test_services_change_at_once(
    open_bench: OpenBench, autojump_clock: trio.testing.MockClock
) -> None:
    """A service that is taken off the list ends its tunnels; a new one can be used."""
    ssh, web = (Service(name=name, host="127.0.0.1", port=1) for name in ("ssh", "web"))
    with trio.fail_after(200):
        async with open_bench() as bench:
            bench.edge.reconfigure(changed(bench, services=(ssh,)))
            await bench.remote.open_tunnel("device", "ssh")
            bench.edge.reconfigure(changed(bench, services=(web,)))
            await trio.sleep(1)
            assert bench.remote.tunnels == {}
            with pytest.raises(TunnelEnded) as ended:
                await bench.remote.open_tunnel("device", "ssh")
            assert ended.value.reason is Reason.SERVICE_NOT_ALLOWED
            await bench.remote.open_tunnel("device", "web")
            await bench.remote.open_tunnel("device", "echo")  # the application's own stays


async def test_things_change(open_bench: OpenBench, autojump_clock: trio.testing.MockClock) -> None:
    """Another name is bound over the same link, and the old one is given up."""
    with trio.fail_after(200):
        async with open_bench() as bench:
            link = bench.edge.link
            bench.edge.reconfigure(changed(bench, things=("other",)))
            await bench.edge.wait_bound()
            assert bench.edge.link is link
            assert bench.edge.statistics().bound == ("other",)
            await bench.remote.open_tunnel("other", "echo")
            with pytest.raises(TunnelEnded):
                await bench.remote.open_tunnel("device", "echo")


async def test_idle_tunnel_is_closed(
    open_bench: OpenBench, autojump_clock: trio.testing.MockClock
) -> None:
    """A tunnel without a byte for idle_timeout ends with the reason; one that is used does not."""
    with trio.fail_after(2000):
        async with open_bench() as bench:
            settings = dataclasses.replace(bench.edge.config.tunnel, idle_timeout=100.0)
            bench.edge.reconfigure(changed(bench, tunnel=settings))
            stream = await bench.remote.open_stream("device", "echo")
            for _ in range(10):
                await trio.sleep(50)
                await stream.send_all(b"x")
                assert await stream.receive_some() == b"x"
            with pytest.raises(trio.BrokenResourceError) as caught:
                await stream.receive_some()
            cause = caught.value.__cause__
            assert isinstance(cause, TunnelEnded)
            assert cause.reason is Reason.IDLE


async def test_limit_of_tunnels(
    open_bench: OpenBench, autojump_clock: trio.testing.MockClock
) -> None:
    """tunnel.max_concurrent is honoured, which EMS never did; the line names the key."""
    with trio.fail_after(200):
        async with open_bench(max_concurrent=1) as bench:
            await bench.remote.open_tunnel("device", "echo")
            web = Service(name="web", host="127.0.0.1", port=1)
            bench.edge.reconfigure(changed(bench, services=(web,)))
            with pytest.raises(TunnelEnded, match=r"max_concurrent") as ended:
                await bench.remote.open_tunnel("device", "web")
            assert ended.value.reason is Reason.REFUSED_BY_DEVICE


async def test_a_shorter_resume_timeout_counts_at_once(
    open_bench: OpenBench, autojump_clock: trio.testing.MockClock
) -> None:
    """Also for a tunnel that is detached already: it ends when the new time is over."""
    with trio.fail_after(5000):
        async with open_bench(resume_timeout=3600) as bench:
            await bench.remote.open_tunnel("device", "echo")
            bench.cluster.kill()
            await trio.sleep(20)
            settings = dataclasses.replace(bench.edge.config.tunnel, resume_timeout=60)
            bench.edge.reconfigure(changed(bench, tunnel=settings))
            await trio.sleep(41)
            assert bench.edge.tunnels == {}
