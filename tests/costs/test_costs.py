"""What a message costs, counted: so that nothing gets slower and nobody notices.

Times depend on the machine and on who else uses it; numbers of system calls, of turns of the
scheduler and of copies do not. An edge, a node, a remote and a service in one process, over real
sockets. A bound is what was counted when it was written, and a little room for what is done once in
a while; who lowers the number lowers the bound.
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import tracemalloc
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio

import edge_tunnel
from edge_tunnel.link import eager
from edge_tunnel.link.streams import TunnelStream
from edge_tunnel.protocol import window
from edge_tunnel.protocol.pacing import FULL_FRAME
from edge_tunnel.proxy.port import Port
from edge_tunnel.proxy.traffic import Traffic

TRIPS = 200
CALLS = 60


class Counts(trio.abc.Instrument):
    """So many of each."""

    def __init__(self) -> None:
        self.of: Counter[str] = Counter()

    def before_task_step(self, task: trio.lowlevel.Task) -> None:  # noqa: ARG002
        self.of["turns"] += 1

    def before_io_wait(self, timeout: float) -> None:  # noqa: ARG002
        self.of["polls"] += 1

    def task_spawned(self, task: trio.lowlevel.Task) -> None:  # noqa: ARG002
        self.of["tasks"] += 1


class CountedOs:
    """The system calls of our sockets, counted."""

    def __init__(self, counts: Counts) -> None:
        self._counts = counts

    def __getattr__(self, name: str) -> Any:
        return getattr(os, name)

    def _counted(self, name: str, call: Callable[[], Any]) -> Any:
        self._counts.of[name] += 1
        return call()

    def writev(self, fd: int, parts: Sequence[bytes | memoryview]) -> Any:
        return self._counted("writes", lambda: os.writev(fd, parts))

    def readv(self, fd: int, buffers: Sequence[memoryview]) -> Any:
        return self._counted("reads", lambda: os.readv(fd, buffers))

    def read(self, fd: int, size: int) -> Any:
        return self._counted("reads", lambda: os.read(fd, size))


@asynccontextmanager
async def tunnel(*, encryption: bool) -> AsyncIterator[TunnelStream]:
    """A stream to a service that sends back what it gets."""

    async def echo(sock: trio.SocketStream) -> None:
        with contextlib.suppress(trio.BrokenResourceError):
            async for data in sock:
                await sock.send_all(data)

    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            service = await nursery.start(trio.serve_tcp, echo, 0)
            port = service[0].socket.getsockname()[1]
            async with opened(port, encryption=encryption) as remote:
                yield await remote.open_stream("thing", "echo")
            nursery.cancel_scope.cancel()


@asynccontextmanager
async def opened(service: int, *, encryption: bool) -> AsyncIterator[edge_tunnel.Remote]:
    """A remote, whose node has an edge with this service."""
    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            node = edge_tunnel.Node(
                edge_tunnel.NodeSettings(name="node"), edge_tunnel.DevelopmentKey("k")
            )
            listeners = await nursery.start(node.serve, "127.0.0.1", 0)
            port = listeners[0].socket.getsockname()[1]
            config = edge_tunnel.EdgeConfig(
                servers=(edge_tunnel.Server(host="127.0.0.1", port=port),),
                app_key=edge_tunnel.Secret("k"),
                things=("thing",),
                services=(edge_tunnel.Service(name="echo", host="127.0.0.1", port=service),),
                link=edge_tunnel.LinkSettings(encrypted=False),
            )
            url = f"ws://127.0.0.1:{port}"
            async with (
                edge_tunnel.open_edge(config) as edge,
                edge_tunnel.open_remote([url], "k", encryption=encryption) as remote,
            ):
                await edge.wait_bound()
                yield remote
            nursery.cancel_scope.cancel()


async def pass_through(stream: TunnelStream, data: bytes) -> None:
    """There and back."""
    await stream.send_all(data)
    left = len(data)
    while left:
        left -= len(await stream.receive_some(left))


@pytest.mark.parametrize("encryption", [False, True])
async def test_a_small_message(encryption: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """There and back: one write and one read at each place that passes it on.

    Five of each (remote, node, edge to the service; edge, node back), and no turn of the scheduler
    (link/reactor.py) but the 4 of the test and its service; a CREDIT now and then is the rest.
    """
    counts = Counts()
    monkeypatch.setattr(eager, "os", CountedOs(counts))
    async with tunnel(encryption=encryption) as stream:
        for _ in range(20):
            await pass_through(stream, bytes(64))
        trio.lowlevel.add_instrument(counts)
        counts.of.clear()
        for _ in range(TRIPS):
            await pass_through(stream, bytes(64))
        trio.lowlevel.remove_instrument(counts)
    each = {name: count / TRIPS for name, count in counts.of.items()}
    assert 5 <= each["writes"] < 5.3, each
    assert 5 <= each["reads"] < 5.3, each
    assert each["turns"] < 4.5, each
    assert each["polls"] < 4.5, each


@pytest.mark.parametrize("encryption", [False, True])
async def test_a_large_message(encryption: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whole frames there and back, one after another: counted are the calls for one of them.

    On loopback a read or a write of that size is sometimes a part: hence the room.
    """
    counts = Counts()
    monkeypatch.setattr(eager, "os", CountedOs(counts))
    async with tunnel(encryption=encryption) as stream:
        for _ in range(50):  # until frames have grown to their full size
            await pass_through(stream, bytes(FULL_FRAME))
        trio.lowlevel.add_instrument(counts)
        counts.of.clear()
        for _ in range(TRIPS):
            await pass_through(stream, bytes(FULL_FRAME))
        trio.lowlevel.remove_instrument(counts)
    each = {name: count / TRIPS for name, count in counts.of.items()}
    assert each["writes"] < 7, each
    assert each["reads"] < 8, each
    assert each["turns"] < 5, each


@pytest.mark.parametrize("encryption", [False, True])
async def test_the_memory_of_large_messages(
    encryption: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At most so many blocks exist at once, in an edge, a node and a remote together: what is kept
    for a resume (half a window each way, until CREDIT comes), and a few on their way: 11.4 to 12.6
    were counted, on a busy machine and a quiet one. The windows keep their first size: how far they
    grow depends on how fast the machine is."""
    monkeypatch.setattr(window, "MAX_WINDOW", window.INITIAL_WINDOW)
    async with tunnel(encryption=encryption) as stream:
        for _ in range(50):
            await pass_through(stream, bytes(FULL_FRAME))
        tracemalloc.start()
        before = tracemalloc.get_traced_memory()[0]
        for _ in range(100):
            await pass_through(stream, bytes(FULL_FRAME))
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert (peak - before) / FULL_FRAME < 14


def serve_one_byte(listener: socket.socket) -> None:
    """Each connection gets back its byte and its end; for a thread."""
    with contextlib.suppress(OSError):  # the listener is shut down
        while True:
            with listener.accept()[0] as connection:
                connection.sendall(connection.recv(1))


def call(address: tuple[str, int], count: int) -> None:
    """Connect, carry a byte each way and close, so many times; for a thread."""
    for _ in range(count):
        with socket.create_connection(address, timeout=30) as connection:
            connection.sendall(b"x")
            assert connection.recv(2, socket.MSG_WAITALL) == b"x"  # and the end


@pytest.mark.parametrize("encryption", [False, True])
async def test_a_connection(encryption: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """One after another through a local port; service and caller are threads, and not counted.

    Four frames each way: OPEN and ACCEPT, a byte, END, and the CREDIT that tells of the end. Each
    is written twice, at an endpoint and at the node, if none finds company; two writes more are
    those to the local sockets.
    """
    counts = Counts()
    monkeypatch.setattr(eager, "os", CountedOs(counts))
    passed = Traffic.on_message

    def count(self: Traffic, port: Port, message: bytes) -> None:
        counts.of["frames"] += 1
        passed(self, port, message)

    monkeypatch.setattr(Traffic, "on_message", count)
    with socket.create_server(("127.0.0.1", 0)) as service:
        thread = threading.Thread(target=serve_one_byte, args=(service,))
        thread.start()
        async with (
            opened(service.getsockname()[1], encryption=encryption) as remote,
            trio.open_nursery() as nursery,
        ):
            address = await nursery.start(remote.forward, "thing", "echo")
            await trio.to_thread.run_sync(call, address, 20)
            trio.lowlevel.add_instrument(counts)
            counts.of.clear()
            await trio.to_thread.run_sync(call, address, CALLS)
            trio.lowlevel.remove_instrument(counts)
            nursery.cancel_scope.cancel()
        service.shutdown(socket.SHUT_RDWR)
        thread.join()
    each = {name: count / CALLS for name, count in counts.of.items()}
    assert 8 <= each["frames"] < 8.5, each  # the rest measures the path
    assert each["tasks"] < 2.1, each  # one at each end
    assert each["turns"] < 17, each  # how the threads meet makes three of them
    assert each["writes"] < 18, each
    assert each["reads"] < 20, each
