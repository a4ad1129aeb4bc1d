"""``edge-tunnel connect --stdio``: a pipe that can be trusted."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
from typing import TYPE_CHECKING

import trio

from edge_tunnel.cli.exits import Exit
from edge_tunnel.testing import open_relay
from edge_tunnel.testing.processes import our_command

if TYPE_CHECKING:
    from tests.cli.conftest import Bench

COMMAND = our_command("connect", "device-7", "echo", "--stdio")


async def _open(bench: Bench, *words: str) -> trio.Process:
    return await trio.lowlevel.open_process(
        [*COMMAND, *words],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=bench.site.environ,
    )


async def test_every_byte_and_nothing_else(running: Bench) -> None:
    """Half-close: the answer still comes after our end. Events of --json go to stderr."""
    data = os.urandom(3_000_000)
    ended = await running.run("connect", "device-7", "echo", "--stdio", "--json", stdin=data)
    assert ended.code == Exit.DONE
    assert hashlib.md5(ended.out).digest() == hashlib.md5(data).digest()
    events = [json.loads(line)["event"] for line in ended.err.splitlines()]
    events = [event for event in events if event != "remembered"]  # by whoever comes first
    assert events == ["connecting", "linked", "attached", "closed"]


async def test_descriptors_that_do_not_block(running: Bench) -> None:
    """Whoever shares them with us may have made them so."""
    (stdin, ours), (answers, stdout) = os.pipe(), os.pipe()
    os.set_blocking(stdin, False)
    os.set_blocking(stdout, False)
    data = os.urandom(1_000_000)
    with trio.fail_after(20):
        process = await trio.lowlevel.open_process(
            COMMAND, stdin=stdin, stdout=stdout, env=running.site.environ
        )
        os.close(stdin)
        os.close(stdout)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_send_all, trio.lowlevel.FdStream(ours), data)
            async with trio.lowlevel.FdStream(answers) as source:
                assert b"".join([bytes(part) async for part in source]) == data
        assert await process.wait() == Exit.DONE


async def _send_all(sink: trio.lowlevel.FdStream, data: bytes) -> None:
    async with sink:
        await sink.send_all(data)


async def test_a_cut_in_the_middle_is_not_seen(bench: Bench) -> None:
    """The link of the edge is cut while bytes are on their way, both ways."""
    await bench.site.start_proxy()
    async with open_relay("127.0.0.1", bench.site.port) as relay:
        await bench.site.start_edge(bench.services, relay.port)
        process = await _open(bench)
        assert process.stdin is not None and process.stdout is not None
        await process.stdin.send_all(b"one ")
        assert await process.stdout.receive_some() == b"one "
        relay.stall()
        await process.stdin.send_all(b"two ")
        assert relay.cut() == 1
        relay.go_on()
        assert await process.stdout.receive_some() == b"two "
        await process.stdin.aclose()
        assert await process.stdout.receive_some() == b""
        assert await process.wait() == Exit.DONE


async def test_a_reset_is_no_end(running: Bench) -> None:
    """The reader of a pipe cannot see a cut: the exit code and one line say it."""
    ended = await running.run("connect", "device-7", "reset", "--stdio", stdin=b"x")
    assert ended.code == Exit.REFUSED_BY_DEVICE
    assert "reset" in ended.err and ended.err.count("\n") == 1


async def test_a_signal_before_the_end(running: Bench) -> None:
    """No success: 128 + the signal."""
    with trio.fail_after(20):
        process = await _open(running)
        assert process.stdin is not None and process.stdout is not None
        await process.stdin.send_all(b"x")
        await process.stdout.receive_some()
        process.send_signal(signal.SIGTERM)
        with trio.fail_after(3):
            assert await process.wait() == 128 + signal.SIGTERM


async def test_a_reader_that_leaves(running: Bench) -> None:
    """Nobody reads stdout any more: what we send still gets there, then it is over."""
    with trio.fail_after(20):
        process = await _open(running)
        assert process.stdin is not None and process.stdout is not None
        assert process.stderr is not None
        await process.stdin.send_all(b"x")
        await process.stdout.receive_some()
        await process.stdout.aclose()
        await process.stdin.send_all(b"y" * 100_000)
        await process.stdin.aclose()
        # echo stops reading when it cannot write: then not everything was delivered
        assert await process.wait() in (Exit.DONE, Exit.REFUSED_BY_DEVICE)
        assert b"Traceback" not in await process.stderr.receive_some()


async def test_the_device_leaves(bench: Bench) -> None:
    """Not an end of the stream either."""
    await bench.site.start_proxy()
    edge = await bench.site.start_edge(bench.services)
    process = await _open(bench)
    assert process.stdin is not None and process.stdout is not None
    await process.stdin.send_all(b"x")
    await process.stdout.receive_some()
    edge.process.terminate()
    assert await process.wait() == Exit.COULD_NOT_CONNECT
