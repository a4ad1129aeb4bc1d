"""``edge-tunnel proxy`` as a process."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import pytest

from edge_tunnel.cli.exits import Exit

if TYPE_CHECKING:
    from tests.cli.conftest import Bench


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_ends_it_with_a_goodbye(bench: Bench, number: signal.Signals) -> None:
    """Endpoints are told at once; the exit code is 0."""
    proxy = await bench.site.start_proxy()
    edge = await bench.site.start_edge(bench.services)
    proxy.process.send_signal(number)
    assert await proxy.process.wait() == Exit.DONE
    lost = await edge.event("link_lost")
    assert "shutting down" in lost["reason"]
    assert proxy.words == []


async def test_an_address_that_is_taken(running: Bench) -> None:
    """One line that says so."""
    ended = await running.run("proxy", "--listen", f"localhost:{running.site.port}")
    assert ended.code == Exit.CONFIGURATION
    assert "another program does" in ended.err and ended.err.count("\n") == 1


async def test_all_of_it_from_a_file(bench: Bench) -> None:
    """The key comes from the variable; two addresses, two events."""
    path = bench.site.folder / "proxy.toml"
    path.write_text('listen = ["127.0.0.1:0", "[::1]:0"]\n')
    proxy = await bench.site.start("proxy", "--config", str(path), "--json", "--exit-with-stdin")
    first, second = await proxy.event("listening"), await proxy.event("listening", 2)
    assert first["url"].startswith("ws://127.0.0.1:") and not first["url"].endswith(":0")
    assert second["url"].startswith("ws://[::1]:")
    assert proxy.process.stdin is not None
    await proxy.process.stdin.aclose()
    assert await proxy.process.wait() == Exit.DONE


async def test_what_is_odd_in_a_file_is_told(bench: Bench) -> None:
    """A group that is misspelt does nothing; whoever wrote it hears of it."""
    path = bench.site.folder / "node.toml"
    path.write_text('listen = "127.0.0.1:0"\n[limit]\nmax_links = 2\n')
    proxy = await bench.site.start("proxy", "--config", str(path), "--json", "--exit-with-stdin")
    await proxy.event("listening")
    assert any("node.toml:2:1: limit: unknown key" in line for line in proxy.words)


async def test_events_of_a_tunnel(bench: Bench) -> None:
    """The contract: bound, opened, closed with bytes both ways, unbound."""
    proxy = await bench.site.start_proxy()
    edge = await bench.site.start_edge(bench.services)
    bound = await proxy.event("bound")
    assert (bound["thing"], list(bound)[:2]) == ("device-7", ["event", "time"])
    ended = await bench.run("connect", "device-7", "echo", "--stdio", stdin=b"hello")
    assert (ended.code, ended.out, ended.err) == (Exit.DONE, b"hello", "")
    await proxy.event("tunnel_opened")
    closed = await proxy.event("tunnel_closed")
    assert closed["from_edge"] > 0 and closed["from_remote"] > 0 and closed["reason"]
    edge.process.terminate()
    await proxy.event("unbound")
    assert await edge.process.wait() == Exit.DONE
