"""link/accepting.py: whoever waits is taken, at once, and none is lost when there is no room."""

from __future__ import annotations

import logging
import os
import resource
import socket

import pytest
import trio

from edge_tunnel.link import accepting
from edge_tunnel.link.accepting import serve

WAITING = 20


class Turns(trio.abc.Instrument):
    """Of the accepting task."""

    count = 0

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        self.count += "_serve_one" in task.name


async def _listener() -> trio.SocketListener:
    return (await trio.open_tcp_listeners(0, host="127.0.0.1", backlog=64))[0]


async def test_all_that_wait_are_taken_in_one_turn() -> None:
    """A turn of the scheduler for each would cost as much as the connection."""
    listener = await _listener()
    clients = [socket.create_connection(listener.socket.getsockname()) for _ in range(WAITING)]
    turns, taken = Turns(), 0
    all_taken = trio.Event()

    async def carry(sock: trio.SocketStream) -> None:
        nonlocal taken
        sock.socket.close()
        taken += 1
        if taken == WAITING:
            all_taken.set()

    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            trio.lowlevel.add_instrument(turns)
            nursery.start_soon(serve, carry, [listener])
            await all_taken.wait()
            trio.lowlevel.remove_instrument(turns)
            nursery.cancel_scope.cancel()
    assert turns.count <= 3  # it starts, it is called once, and perhaps once for nothing
    assert listener.socket.fileno() == -1
    for client in clients:
        client.close()


async def test_others_have_their_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also while more connections come than can be taken in a row."""
    monkeypatch.setattr(accepting, "_IN_A_ROW", 5)
    listener = await _listener()
    clients = [socket.create_connection(listener.socket.getsockname()) for _ in range(WAITING)]
    together: list[int] = []  # how many were started between two turns of the others
    started = 0

    async def carry(sock: trio.SocketStream) -> None:
        nonlocal started
        sock.socket.close()
        started += 1

    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(serve, carry, [listener])
            while sum(together) < WAITING:
                before = started
                await trio.lowlevel.checkpoint()
                together.append(started - before)
            nursery.cancel_scope.cancel()
    assert max(together) <= 2 * 5  # trio's order within a pass is random: two may follow each other
    for client in clients:
        client.close()


async def test_no_descriptor_is_left(caplog: pytest.LogCaptureFixture) -> None:
    """It is said, and the connection is taken when there is room again."""
    listener = await _listener()
    address = listener.socket.getsockname()
    carried = trio.Event()

    async def carry(sock: trio.SocketStream) -> None:
        sock.socket.close()
        carried.set()

    def on_error(_: logging.LogRecord) -> bool:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        return True

    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    log = logging.getLogger("edge_tunnel.link")
    with trio.fail_after(10), socket.socket() as client:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(serve, carry, [listener])
            await trio.testing.wait_all_tasks_blocked()
            log.addFilter(on_error)
            free = os.dup(client.fileno())
            os.close(free)
            try:
                resource.setrlimit(resource.RLIMIT_NOFILE, (free, limits[1]))
                client.connect(address)
                await carried.wait()
            finally:
                log.removeFilter(on_error)
                resource.setrlimit(resource.RLIMIT_NOFILE, limits)
            nursery.cancel_scope.cancel()
    assert "no more connections can be accepted: Too many open files" in caplog.text
