"""The version rules of a node, as its users see them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from edge_tunnel import __version__
from edge_tunnel.cli.exits import Exit

if TYPE_CHECKING:
    from tests.cli.conftest import Bench


async def start_node(bench: Bench, **versions: str) -> None:
    """A node with this [versions] table."""
    rules = "".join(f'{key} = "{version}"\n' for key, version in versions.items())
    path = bench.site.folder / "proxy.toml"
    path.write_text(f'listen = "127.0.0.1:0"\n[versions]\n{rules}')
    node = await bench.site.start("proxy", "--config", str(path), "--json", "--exit-with-stdin")
    url = str((await node.event("listening"))["url"])
    bench.site.port = int(url.rpartition(":")[2])
    bench.site.environ["EDGE_TUNNEL_PROXY"] = url


@pytest.mark.slow
async def test_a_remote_that_is_too_old(bench: Bench) -> None:
    """One line with both versions and the way out, and an exit code; edges are not meant."""
    await start_node(bench, remote_minimum="98.0")
    await bench.site.start_edge(bench.services)
    for words in (("--stdio",), ()):
        ended = await bench.run("connect", "device-7", "echo", *words)
        assert ended.code == Exit.REFUSED_BY_DEVICE
        line = ended.err.splitlines()[-1]
        assert "needs edge_tunnel 98.0 or newer" in line
        assert f"this remote is edge_tunnel/{__version__}" in line
        assert line.endswith("update it with 'pip install --upgrade edge-tunnel'")


async def test_an_edge_that_is_too_old(bench: Bench) -> None:
    """It says so, as an event and on stderr, and asks again: one day it is updated, or the node."""
    await start_node(bench, edge_minimum="98.0")
    config = bench.site.write_config(bench.services)
    edge = await bench.site.start("edge", "--config", str(config), "--json", "--exit-with-stdin")
    refused = await edge.event("link_refused")
    assert f"this edge is edge_tunnel/{__version__}" in refused["reason"]
    assert "update it with" in await edge.line("needs edge_tunnel 98.0 or newer")
    await edge.event("connecting", 2)
    assert edge.process.returncode is None


@pytest.mark.slow
async def test_older_than_recommended(bench: Bench) -> None:
    """Everything works, and the user is told: on stderr, and as an event with --json."""
    await start_node(bench, edge_recommended="97.0", remote_recommended="98.0")
    edge = await bench.site.start_edge(bench.services)
    assert "edge_tunnel 97.0 or newer is recommended" in (await edge.event("notice"))["text"]
    await edge.line("edge_tunnel 97.0 or newer is recommended")
    ended = await bench.run("connect", "device-7", "echo", "--stdio", stdin=b"hello")
    assert (ended.code, ended.out) == (Exit.DONE, b"hello")
    [line] = ended.err.splitlines()
    assert "WARNING" in line and "edge_tunnel 98.0 or newer is recommended" in line
    remote = await bench.site.start("connect", "device-7", "echo", "--json", "--exit-with-stdin")
    assert "edge_tunnel 98.0" in (await remote.event("notice"))["text"]
    await remote.event("listening")


async def test_a_file_with_a_wrong_version(bench: Bench) -> None:
    """The node does not start, and the line says where."""
    path = bench.site.folder / "proxy.toml"
    path.write_text('listen = "127.0.0.1:0"\n[versions]\nnode_minimum = "newest"\n')
    ended = await bench.run("proxy", "--config", str(path))
    assert ended.code == Exit.CONFIGURATION
    assert f"{path}:3:" in ended.err and "versions.node_minimum" in ended.err
    assert "'newest' is not a version" in ended.err
