"""Our edge at our node, and between them nothing but AlwaysOn: real processes."""

from __future__ import annotations

import hashlib
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import pytest
import trio

from edge_tunnel import Reason, Remote, StreamRefused, TunnelEnded, open_remote
from edge_tunnel.link.groups import open_plain_nursery
from edge_tunnel.link.splice import reset_socket
from edge_tunnel.testing import Child, Site, open_site
from edge_tunnel.testing.processes import THING

SIZE = 2 * 1024 * 1024


async def download(sock: trio.SocketStream) -> None:
    """Says the hash of what it will send, sends it, and ends."""
    data = random.Random(1).randbytes(SIZE)
    await sock.send_all(hashlib.sha256(data).digest() + data)


async def upload(sock: trio.SocketStream) -> None:
    """Says the hash of what it got, after `SIZE` bytes, and ends."""
    digest, left = hashlib.sha256(), SIZE
    async for data in sock:
        digest.update(data)
        left -= len(data)
        if not left:
            break
    await sock.send_all(digest.digest())


async def reset(sock: trio.SocketStream) -> None:
    await sock.send_all(b"half of")
    await sock.receive_some()
    reset_socket(sock)


class Held:
    """Says a word, and remembers how its connection ended."""

    def __init__(self) -> None:
        self.how = ""
        self.ended = trio.Event()

    async def serve(self, sock: trio.SocketStream) -> None:
        try:
            await sock.send_all(b"word")
            async for _ in sock:
                pass
            self.how = "clean"
        except trio.BrokenResourceError:
            self.how = "reset"
        self.ended.set()


class Stage:
    """A node that takes ThingWorx devices, our edge that is one, and a remote."""

    def __init__(self, site: Site, edge: Child, remote: Remote, held: Held) -> None:
        self.site = site
        self.edge = edge
        self.remote = remote
        self.held = held


@asynccontextmanager
async def stage(folder: Path) -> AsyncIterator[Stage]:
    held = Held()
    ports: dict[str, int] = {}
    with trio.fail_after(60):
        async with open_plain_nursery() as nursery, open_site(folder) as site:
            for name, serve in (
                ("download", download),
                ("upload", upload),
                ("reset", reset),
                ("held", held.serve),
            ):
                start = partial(trio.serve_tcp, serve, 0, host="127.0.0.1")
                ports[name] = (await nursery.start(start))[0].socket.getsockname()[1]
            ports["closed"] = 1
            words = ["--listen", "127.0.0.1:0", "--json", "--exit-with-stdin", "--alwayson"]
            for name, port in {**ports, "unlisted": 2}.items():
                words += ["--alwayson-service", f"{name}=127.0.0.1:{port}"]
            node = await site.start("proxy", *words)
            url = (await node.event("listening"))["url"]
            site.port = int(url.rpartition(":")[2])
            config = str(site.write_config(ports))
            edge = await site.start(
                "edge", "--config", config, "--json", "--exit-with-stdin", "--protocol", "alwayson"
            )
            assert (await edge.event("linked"))["protocol"] == "alwayson"
            await edge.event("bound")
            async with open_remote([site.url], site.key) as remote:
                yield Stage(site, edge, remote, held)
            nursery.cancel_scope.cancel()


TIMERS = Path("/proc/net/tcp")


def kept_alive(port: int) -> tuple[int, int]:
    """How many ends of connections to this port there are, and at how many the kernel asks (while
    no other timer of the connection runs)."""
    rows = [line.split() for line in TIMERS.read_text().splitlines()[1:]]
    ends = [row for row in rows if f":{port:04X}" in row[1] + row[2] and row[3] == "01"]
    return len(ends), sum(row[5].startswith("02") for row in ends)


@pytest.mark.skipif(not TIMERS.exists(), reason="Linux alone shows timers")
async def test_nobody_waits_for_an_end_that_is_gone(tmp_path: Path) -> None:
    """A tunnel's socket has no pings: at both of its ends the kernel asks, and at no link."""
    async with (
        stage(tmp_path) as there,
        await there.remote.open_stream(THING, "held") as stream,
    ):
        assert await stream.receive_some() == b"word"
        links = 6  # both ends of a remote's, of the main socket, and of the tunnel's
        while kept_alive(there.site.port) != (links, 2):  # noqa: ASYNC110 - the kernel calls nobody
            await trio.sleep(0.02)


async def read_all(stream: trio.abc.ReceiveStream) -> bytes:
    data = bytearray()
    async for part in stream:
        data += part
    return bytes(data)


@pytest.mark.slow
async def test_bytes_and_ends(tmp_path: Path) -> None:
    """Every byte both ways; an end is an end, a reset a reset, and a refusal says why."""
    async with stage(tmp_path) as on:
        data = await read_all(await on.remote.open_stream(THING, "download"))
        assert hashlib.sha256(data[32:]).digest() == data[:32]
        assert len(data) == SIZE + 32

        stream = await on.remote.open_stream(THING, "upload")
        data = random.Random(2).randbytes(SIZE)
        await stream.send_all(data)
        assert await read_all(stream) == hashlib.sha256(data).digest()

        stream = await on.remote.open_stream(THING, "reset")
        await stream.send_all(b"x")
        with pytest.raises(trio.BrokenResourceError) as broken:
            await read_all(stream)
        assert isinstance(broken.value.__cause__, TunnelEnded)

        with pytest.raises(StreamRefused) as refused:
            await on.remote.open_stream(THING, "closed")
        assert "127.0.0.1:1 refused the connection" in str(refused.value)
        with pytest.raises(StreamRefused) as refused:
            await on.remote.open_stream(THING, "unlisted")
        assert "does not offer 127.0.0.1:2" in str(refused.value)
        assert refused.value.reason is not Reason.DONE


@pytest.mark.slow
async def test_the_users_reset(tmp_path: Path) -> None:
    """A remote that breaks off: the service sees a reset, not an end."""
    async with stage(tmp_path) as on:
        stream = await on.remote.open_stream(THING, "held")
        assert await stream.receive_some() == b"word"
        stream.abort()
        await on.held.ended.wait()
        assert on.held.how == "reset"


@pytest.mark.slow
async def test_a_killed_edge(tmp_path: Path) -> None:
    """SIGKILL: both ends see a reset, the user's when the tunnel's time to resume is over."""
    async with stage(tmp_path) as on:
        stream = await on.remote.open_stream(THING, "held")
        assert await stream.receive_some() == b"word"
        await on.edge.kill()
        await on.held.ended.wait()
        assert on.held.how == "reset"
        with pytest.raises(trio.BrokenResourceError):
            await read_all(stream)
