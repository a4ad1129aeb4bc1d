"""``edge-tunnel connect`` with a local port, as a process."""

from __future__ import annotations

import json
import os
import pty
import signal
import ssl
import subprocess
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import trio
import trustme

from edge_tunnel.cli.exits import Exit
from edge_tunnel.link.groups import open_plain_nursery
from edge_tunnel.testing import Child, open_relay
from edge_tunnel.testing.processes import our_command
from tests.cli.conftest import DEADLINE

if TYPE_CHECKING:
    from tests.cli.conftest import Bench


async def _echoes(where: dict[str, object], data: bytes = b"hello") -> bool:
    stream = await trio.open_tcp_stream(str(where["host"]), int(str(where["port"])))
    async with stream:
        await stream.send_all(data)
        await stream.send_eof()
        return b"".join([bytes(part) async for part in stream]) == data


async def _connect(bench: Bench, *words: str) -> tuple[Child, dict[str, object]]:
    remote = await bench.site.start("connect", *words, "--json", "--exit-with-stdin")
    return remote, await remote.event("listening")


async def test_exit_codes(running: Bench, tmp_path: Path) -> None:
    """Each way not to get there has its code, one line, and no key in it."""
    site = running.site
    key_file = tmp_path / "key"
    key_file.write_text("planted-secret\n")
    cases: list[tuple[list[str], Exit, str]] = [
        (["nobody", "echo"], Exit.NO_SUCH_THING, "nobody"),
        (["device-7", "vnc"], Exit.SERVICE_NOT_ALLOWED, "closed, echo, reset"),
        (["device-7", "closed", "--stdio"], Exit.REFUSED_BY_DEVICE, "refused the connection"),
        (["device-7", "echo", "--key-file", str(key_file)], Exit.NOT_AUTHORISED, site.url),
        (
            ["device-7", "echo", "--proxy", "ws://127.0.0.1:9", "--connect-timeout", "0.5"],
            Exit.COULD_NOT_CONNECT,
            "connection refused",
        ),
        (["device-7", "echo", "--local", str(site.port)], Exit.CONFIGURATION, "another program"),
    ]
    async with trio.open_nursery() as nursery:  # at once, to be quick
        for words, code, hint in cases:
            nursery.start_soon(_fails, running, words, code, hint)


@pytest.mark.parametrize("broken", ["certificate", "HTTP proxy"])
async def test_what_no_time_mends_ends_at_once(running: Bench, tmp_path: Path, broken: str) -> None:
    """Nobody waits out --connect-timeout for another try at what stays as it is."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("localhost").configure_cert(context)
    trusted = str(tmp_path / "ca.pem")
    trustme.CA().cert_pem.write_to_path(trusted)

    async def take(stream: trio.SocketStream) -> None:
        if broken == "certificate":
            with suppress(trio.BrokenResourceError):
                await trio.SSLStream(stream, context, server_side=True).do_handshake()
        else:
            await stream.receive_some()
            await stream.send_all(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")

    async with open_plain_nursery() as nursery:
        listeners = await nursery.start(partial(trio.serve_tcp, take, 0, host="127.0.0.1"))
        port = listeners[0].socket.getsockname()[1]
        words = ["device-7", "echo", "--connect-timeout", "3600"]
        if broken == "certificate":
            words += ["--proxy", f"wss://localhost:{port}", "--ca-file", trusted]
            hint = f"could not connect to wss://localhost:{port}: the certificate of localhost is"
        else:
            words += ["--proxy", "ws://node:9100", "--http-proxy", f"127.0.0.1:{port}"]
            hint = "does not allow connections to node:9100 (403 Forbidden)"
        await _fails(running, words, Exit.COULD_NOT_CONNECT, hint)
        nursery.cancel_scope.cancel()


async def _fails(bench: Bench, words: list[str], code: Exit, hint: str) -> None:
    ended = await bench.run("connect", *words, "--json")
    assert ended.code == code, (words, ended)
    line = ended.err.splitlines()[-1]
    assert line.startswith("edge-tunnel: ") and hint in line, ended
    shown = ended.err + ended.out.decode()
    for wrong in (bench.site.key, "planted-secret", "Traceback"):
        assert wrong not in shown
    if "--stdio" not in words:
        assert ended.err.count("\n") == 1, ended
        failed = json.loads(ended.out.splitlines()[-1])
        assert (failed["event"], failed["code"]) == ("failed", code)


@pytest.mark.slow
async def test_a_port_outlives_links_and_edges(bench: Bench) -> None:
    """A cut is a pause; the edge's end is an end, after which the next connection works again."""
    await bench.site.start_proxy()
    async with open_relay("127.0.0.1", bench.site.port) as relay:
        edge = await bench.site.start_edge(bench.services, relay.port)
        remote, where = await _connect(bench, "device-7", "echo", "--local", "0")
        assert await _echoes(where)
        relay.cut()
        assert (await remote.event("detached"))["reason"]
        assert (await remote.event("resumed"))["seconds"] < 10
        assert await _echoes(where)
        edge.process.terminate()
        assert (await remote.event("closed"))["reason"]
        await edge.process.wait()
        await bench.site.start_edge(bench.services, relay.port)
        assert await _echoes(where)
        await remote.event("attached", 2)
        remote.process.send_signal(signal.SIGTERM)
        assert await remote.process.wait() == Exit.DONE


async def test_the_node_is_killed_under_an_open_connection(bench: Bench) -> None:
    """The same connection goes on with the node's successor."""
    await bench.start()
    remote, where = await _connect(bench, "device-7", "echo")
    stream = await trio.open_tcp_stream(str(where["host"]), int(str(where["port"])))
    async with stream:
        await stream.send_all(b"before, ")
        assert await stream.receive_some() == b"before, "
        await bench.site.restart_proxy()
        await stream.send_all(b"after")
        assert await stream.receive_some() == b"after"
    assert (await remote.event("resumed"))["seconds"] > 0


@pytest.mark.slow
async def test_a_service_that_was_taken_off_the_list_ends_it(bench: Bench) -> None:
    """The port is given up when a new tunnel would be refused as the last one was."""
    await bench.site.start_proxy()
    edge = await bench.site.start_edge(bench.services)
    remote, where = await _connect(bench, "device-7", "echo")
    edge.process.terminate()
    await edge.process.wait()
    await remote.event("closed")
    await bench.site.start_edge({"other": 9})
    with pytest.raises((OSError, trio.BrokenResourceError)):  # reset, before or after we know of it
        async with await trio.open_tcp_stream(
            str(where["host"]), int(str(where["port"]))
        ) as stream:
            await stream.receive_some()
    assert await remote.process.wait() == Exit.SERVICE_NOT_ALLOWED
    assert "it offers other" in remote.words[-1]


@pytest.mark.slow
async def test_a_resume_that_takes_too_long(bench: Bench) -> None:
    """The connection is reset, and the reason is told."""
    proxy = await bench.site.start_proxy()
    await bench.site.start_edge(bench.services)
    remote, where = await _connect(bench, "device-7", "echo", "--resume-timeout", "0.5")
    stream = await trio.open_tcp_stream(str(where["host"]), int(str(where["port"])))
    async with stream:
        await stream.send_all(b"x")
        await stream.receive_some()
        await proxy.kill()
        assert "0.5 s" in (await remote.event("closed"))["reason"]
        with pytest.raises(trio.BrokenResourceError):
            await stream.receive_some()


async def _until(fd: int, text: str) -> str:
    """What a terminal shows, up to and with this text."""
    shown = ""
    while text not in shown:
        await trio.lowlevel.wait_readable(fd)
        shown += os.read(fd, 4096).decode()
    return shown


async def test_the_live_line_of_a_terminal(running: Bench) -> None:
    """State, rates and streams; events scroll away above it; Ctrl-C ends it."""
    ours, theirs = pty.openpty()
    process = await trio.lowlevel.open_process(
        our_command("connect", "device-7", "echo"),
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env=running.site.environ,
        start_new_session=True,
    )
    os.close(theirs)
    try:
        with trio.fail_after(DEADLINE):
            shown = await _until(ours, "0 streams")
            assert "\r\x1b[Kdevice-7 echo | attached | in 0 B/s out 0 B/s" in shown
            process.send_signal(signal.SIGINT)
            assert await process.wait() == Exit.DONE
    finally:
        process.kill()
        os.close(ours)


async def test_no_live_line_elsewhere(running: Bench) -> None:
    """Without a terminal: plain lines on stdout, nothing on stderr."""
    command = our_command("connect", "device-7", "echo")
    process = await trio.lowlevel.open_process(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=running.site.environ
    )
    assert process.stdout is not None and process.stderr is not None
    shown = b""
    with trio.fail_after(DEADLINE):
        while b"listening on 127.0.0.1:" not in shown:
            shown += await process.stdout.receive_some()
        process.terminate()
        assert await process.wait() == Exit.DONE
    assert b"\x1b" not in shown and await process.stderr.receive_some() == b""
