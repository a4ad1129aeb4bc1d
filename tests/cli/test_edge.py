"""``edge-tunnel edge`` as a process."""

from __future__ import annotations

import json
import os
import signal
from typing import TYPE_CHECKING

import trio

from edge_tunnel.cli.exits import Exit
from edge_tunnel.testing import open_relay
from edge_tunnel.testing.processes import our_command

if TYPE_CHECKING:
    from tests.cli.conftest import Bench


async def test_events_from_bind_to_signal(bench: Bench) -> None:
    """identity, connecting, bound, link_lost, bound again, a tunnel with a stream; exit code 0."""
    await bench.site.start_proxy()
    async with open_relay("127.0.0.1", bench.site.port) as relay:
        edge = await bench.site.start_edge(bench.services, relay.port)
        assert [each["event"] for each in edge.events[:2]] == ["identity", "connecting"]
        relay.cut()
        assert (await edge.event("link_lost"))["reason"]
        bound = await edge.event("bound", 2)
        assert bound["thing"] == "device-7" and f":{relay.port}" in bound["url"]
        await bench.run("connect", "device-7", "echo", "--stdio")
        await bench.run("connect", "device-7", "closed", "--stdio")
        for event in ("tunnel_opened", "stream_opened", "stream_refused", "tunnel_closed"):
            assert (await edge.event(event))["service"] in ("echo", "closed")
        edge.process.send_signal(signal.SIGINT)
        with trio.fail_after(3):
            assert await edge.process.wait() == Exit.DONE


async def test_it_ends_with_its_parent(bench: Bench) -> None:
    """The end of stdin is what a parent's death looks like; also without any link."""
    bench.site.port = 9  # nobody listens there
    config = bench.site.write_config(bench.services)
    edge = await bench.site.start("edge", "--config", str(config), "--json", "--exit-with-stdin")
    await edge.event("connect_failed")
    assert edge.process.stdin is not None
    await edge.process.stdin.aclose()
    with trio.fail_after(3):
        assert await edge.process.wait() == Exit.DONE


async def test_a_stdin_that_does_not_block(bench: Bench) -> None:
    """Some parents make it so; that nothing is there yet is not the end."""
    bench.site.port = 9  # nobody listens there
    config = bench.site.write_config(bench.services)
    words = our_command("edge", "--config", str(config), "--json", "--exit-with-stdin")
    stdin, ours = os.pipe()
    os.set_blocking(stdin, False)
    edge = await bench.site.start_program("edge", words, stdin=stdin)
    os.close(stdin)
    await edge.event("connect_failed", 3)
    os.close(ours)
    with trio.fail_after(3):
        assert await edge.process.wait() == Exit.DONE


async def test_a_wrong_key_is_said_once_and_tried_again(bench: Bench) -> None:
    """A device has no person at it: it goes on trying, and the log is not flooded."""
    await bench.site.start_proxy()
    config = bench.site.write_config(bench.services)
    text = json.loads(config.read_text())
    config.write_text(json.dumps({**text, "appKey": "planted-secret"}))
    edge = await bench.site.start("edge", "--config", str(config), "--json", "--exit-with-stdin")
    refused = await edge.event("link_refused", 3)
    assert "key" in refused["reason"]
    said = [line for line in edge.words if "refuses" in line]
    assert len(said) == 1
    assert "planted-secret" not in json.dumps(edge.events) + "".join(edge.words)


async def test_a_wrong_file_is_one_line_for_each_mistake(bench: Bench) -> None:
    """With its place, and without the key."""
    path = bench.site.write_config(bench.services)
    text = json.loads(path.read_text())
    text["ws_servers"][0]["port"] = "none"
    path.write_text(json.dumps(text, indent=1))
    ended = await bench.run("edge", "--config", str(path))
    assert ended.code == Exit.CONFIGURATION
    assert f"{path}:" in ended.err and "port" in ended.err and ended.err.count("\n") == 1
    assert bench.site.key not in ended.err
