"""link/splice.py over real sockets: ends stay ends, cuts stay cuts, in both directions."""

from __future__ import annotations

import contextlib
import random
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio
import trio.testing

from edge_tunnel import (
    EdgeConfig,
    LinkSettings,
    Remote,
    Secret,
    Server,
    Service,
    TunnelSettings,
    open_edge,
    open_remote,
)
from edge_tunnel.edge.edge import Edge
from edge_tunnel.protocol.sending import SendState
from edge_tunnel.testing.cluster import KEY, Cluster, open_cluster

RST = struct.pack("ii", 1, 0)
Handler = Callable[[trio.SocketStream], Awaitable[None]]


class Rig:
    """A TCP service, a tunnel to it, and a local port of the tunnel."""

    def __init__(self, port: int, cluster: Cluster, edge: Edge, remote: Remote) -> None:
        self.port = port
        self.cluster = cluster
        self.edge = edge
        self.remote = remote
        self.users: list[trio.SocketStream] = []

    async def connect(self) -> trio.SocketStream:
        user = await trio.open_tcp_stream("127.0.0.1", self.port)
        self.users.append(user)
        return user


class _Config(EdgeConfig):
    def urls(self) -> tuple[str, ...]:
        return ("mem://node",)


@asynccontextmanager
async def rig(
    service: Handler | None,
    resume_timeout: float = 120,
    read_timeout: float | None = None,
    *,
    websocket: bool = False,
) -> AsyncIterator[Rig]:
    """With `service` None: the target's port refuses connections."""
    with trio.fail_after(30):
        async with trio.open_nursery() as nursery, open_cluster(websocket=websocket) as cluster:
            closed = socket.socket()  # bound, so nobody else gets the port; but not listening
            closed.bind(("127.0.0.1", 0))
            port = closed.getsockname()[1]
            if service is not None:
                target = await nursery.start(trio.serve_tcp, service, 0)
                port = target[0].socket.getsockname()[1]
            config = _Config(
                servers=(Server(host="node", port=0),),
                app_key=Secret(KEY),
                things=("device",),
                services=(Service(name="tcp", host="127.0.0.1", port=port),),
                link=LinkSettings(),
                tunnel=TunnelSettings(read_timeout=read_timeout),
            )
            async with (
                open_edge(config, dial=cluster.dial_as("edge")) as edge,
                open_remote(
                    ["mem://node"], KEY, dial=cluster.dial_as("remote"),
                    resume_timeout=resume_timeout,
                ) as remote,
            ):  # fmt: skip
                await edge.wait_bound()
                _, local = await nursery.start(remote.forward, "device", "tcp")
                the = Rig(local, cluster, edge, remote)
                yield the
                for user in the.users:
                    user.socket.close()
            closed.close()
            nursery.cancel_scope.cancel()


async def read_all(sock: trio.SocketStream) -> bytes:
    return b"".join([bytes(part) async for part in sock])


async def test_half_close_by_the_user() -> None:
    """The user ends its side and then gets the answer, as with any request to the end of file."""

    async def count(sock: trio.SocketStream) -> None:
        await sock.send_all(str(len(await read_all(sock))).encode())

    async with rig(count) as the:
        user = await the.connect()
        await user.send_all(bytes(300_000))
        await user.send_eof()
        assert await read_all(user) == b"300000"


async def test_half_close_by_the_service() -> None:
    """The service ends first and then reads what the user still sends."""
    rest = trio.Event()
    got: list[bytes] = []

    async def greet(sock: trio.SocketStream) -> None:
        await sock.send_all(b"welcome")
        await sock.send_eof()
        got.append(await read_all(sock))
        rest.set()

    async with rig(greet) as the:
        user = await the.connect()
        assert await read_all(user) == b"welcome"
        await user.send_all(b"more")
        await user.send_eof()
        await rest.wait()
        assert got == [b"more"]


async def test_service_closes_first() -> None:
    """A service that writes and closes: the user gets every byte, then the end."""

    async def give(sock: trio.SocketStream) -> None:
        await sock.send_all(bytes(1_000_000))

    async with rig(give) as the:
        user = await the.connect()
        assert len(await read_all(user)) == 1_000_000


async def test_user_closes_first() -> None:
    """A user that sends and goes at once: the service gets every byte and the end."""
    done = trio.Event()
    got: list[int] = []

    async def take(sock: trio.SocketStream) -> None:
        got.append(len(await read_all(sock)))
        done.set()

    async with rig(take) as the:
        user = await the.connect()
        await user.send_all(bytes(1_000_000))
        await user.aclose()
        await done.wait()
        assert got == [1_000_000]


async def test_user_goes_while_the_service_writes() -> None:
    """The service's writer learns that nobody reads any more, and does not hang."""
    stopped = trio.Event()

    async def flood(sock: trio.SocketStream) -> None:
        try:
            while True:
                await sock.send_all(bytes(100_000))
        except trio.BrokenResourceError:
            stopped.set()

    async with rig(flood) as the:
        user = await the.connect()
        await user.receive_some(1000)
        await user.aclose()
        await stopped.wait()


@pytest.mark.parametrize("last_words", [b"unwanted", b""])
async def test_who_reads_no_more_still_sends(last_words: bytes) -> None:
    """The user stopped reading; long after that was settled the service says something, or ends."""
    said, got = trio.Event(), trio.Event()

    async def serve(sock: trio.SocketStream) -> None:
        assert await sock.receive_some(1) == b"!"
        await (sock.send_all(last_words) if last_words else sock.send_eof())
        said.set()
        assert await read_all(sock) == b" and the rest"
        got.set()

    async with rig(serve) as the:
        stream = await the.remote.open_stream("device", "tcp")
        stream.stop_receiving()
        (tunnel,) = the.edge.tunnels.values()
        while tunnel.streams[1].outgoing.state is not SendState.DONE:
            await trio.lowlevel.checkpoint()
        await stream.send_all(b"!")
        await said.wait()
        await trio.testing.wait_all_tasks_blocked(0.05)  # the edge has read it
        await stream.send_all(b" and the rest")
        await stream.send_eof()
        await got.wait()


@pytest.mark.parametrize("who", ["user", "service"])
async def test_reset_goes_over_as_a_reset(who: str) -> None:
    """An RST on one side is an RST on the other, never an end of file."""
    broken = trio.Event()
    started = trio.Event()

    async def serve(sock: trio.SocketStream) -> None:
        await sock.send_all(b"x")
        if who == "service":
            await started.wait()
            reset(sock)
            return
        with pytest.raises(trio.BrokenResourceError):
            await read_all(sock)
        broken.set()

    async with rig(serve) as the:
        user = await the.connect()
        assert await user.receive_some(1) == b"x"
        started.set()
        if who == "user":
            reset(user)
            await broken.wait()
        else:
            with pytest.raises(trio.BrokenResourceError):
                await read_all(user)


def reset(sock: trio.SocketStream) -> None:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RST)
    sock.socket.close()


async def test_service_refuses() -> None:
    """The user sees a reset, and both sides say why."""
    async with rig(None) as the:
        refused = the.remote.events()
        user = await the.connect()
        with pytest.raises(trio.BrokenResourceError):
            await read_all(user)
        async for notice in refused:
            if notice.event == "stream_refused":
                assert "refused the connection" in str(notice["reason"])
                return


@pytest.mark.parametrize("end", ["edge", "remote"])
async def test_cut_for_too_long_resets_both_sockets(end: str) -> None:
    """A resume that comes too late: user and service see RST, never a clean end."""
    broken = trio.Event()

    async def serve(sock: trio.SocketStream) -> None:
        await sock.send_all(b"half of ")
        try:
            await read_all(sock)
        except trio.BrokenResourceError:
            broken.set()

    async with rig(serve) as the:
        user = await the.connect()
        assert await user.receive_some(100) == b"half of "
        for endpoint in (the.edge, the.remote):
            for tunnel in endpoint.tunnels.values():
                tunnel.resume_timeout = 0.05
        the.cluster.kill()
        with pytest.raises(trio.BrokenResourceError):
            await read_all(user)
        await broken.wait()


async def test_leaving_resets() -> None:
    """A remote that ends in the middle resets its user's socket and the service's."""
    broken = trio.Event()

    async def serve(sock: trio.SocketStream) -> None:
        await sock.send_all(b"half of ")
        try:
            await read_all(sock)
        except trio.BrokenResourceError:
            broken.set()

    async with rig(serve) as the:
        user = await the.connect()
        assert await user.receive_some(100) == b"half of "
        the.remote.leave()
        with pytest.raises(trio.BrokenResourceError):
            await read_all(user)
        await broken.wait()


async def test_leaving_resets_what_was_ended_one_way() -> None:
    """The service has ended its half; its user, who says nothing, learns of the reset as well."""
    broken = trio.Event()

    async def serve(sock: trio.SocketStream) -> None:
        await sock.send_all(b"all of it")
        await sock.send_eof()
        try:
            await read_all(sock)
        except trio.BrokenResourceError:
            broken.set()

    async with rig(serve) as the:
        user = await the.connect()
        assert await read_all(user) == b"all of it"
        the.remote.leave()
        await broken.wait()
        while not user.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            await trio.lowlevel.checkpoint()


@pytest.mark.slow
async def test_bytes_over_cuts() -> None:
    """Both ways at once through real sockets, while links are cut again and again."""
    data = random.Random(3).randbytes(8_000_000)

    async def echo(sock: trio.SocketStream) -> None:
        async for part in sock:
            await sock.send_all(part)

    async with rig(echo) as the:
        user = await the.connect()
        received = bytearray()

        async def send() -> None:
            await user.send_all(data)
            await user.send_eof()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(send)
            async for part in user:
                before, received = len(received), received + part
                if before // 1_000_000 != len(received) // 1_000_000:
                    the.cluster.cut("edge" if len(received) % 2 else "remote")
        assert received == data


async def test_silent_service_is_reset_where_that_is_configured() -> None:
    """tunnel.read_timeout: a service that sends nothing for so long loses its stream."""

    async def silent(sock: trio.SocketStream) -> None:
        with contextlib.suppress(trio.BrokenResourceError):
            await read_all(sock)

    async with rig(silent, read_timeout=0.1) as the:
        user = await the.connect()
        with pytest.raises(trio.BrokenResourceError):
            await read_all(user)


@pytest.mark.slow
async def test_connections_leave_no_socket_behind() -> None:
    """After 200 connections in a row and 200 at once, no file descriptor and no task is left."""

    async def echo(sock: trio.SocketStream) -> None:
        with contextlib.suppress(trio.BrokenResourceError):
            async for part in sock:
                await sock.send_all(part)

    async def use(port: int) -> None:
        async with await trio.open_tcp_stream("127.0.0.1", port) as user:
            await user.send_all(b"hello")
            assert await user.receive_some() == b"hello"
            await user.send_eof()
            assert await user.receive_some() == b""

    async with rig(echo) as the:
        await use(the.port)
        await trio.testing.wait_all_tasks_blocked(0.05)
        before = open_files(), tasks()
        for _ in range(200):
            await use(the.port)
        async with trio.open_nursery() as nursery:
            for _ in range(200):
                nursery.start_soon(use, the.port)
        await trio.testing.wait_all_tasks_blocked(0.05)
        assert (open_files(), tasks()) == before


def tasks() -> int:
    return trio.lowlevel.current_statistics().tasks_living


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))
