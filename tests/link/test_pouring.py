"""link/splice.py: what a batch brings goes to the socket at once, and in order; what the tunnel has
no room for stays in the socket."""

from __future__ import annotations

import contextlib
import os
import random
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio
import trio.testing

from edge_tunnel.link.batch import batch
from edge_tunnel.link.splice import reset_socket, splice
from edge_tunnel.link.streams import TunnelStream
from edge_tunnel.protocol.frames import MAX_DATA, Credit, Data, End, Frame, Stop
from edge_tunnel.protocol.pacing import FULL_FRAME, Pace
from edge_tunnel.protocol.stream import Stream
from edge_tunnel.protocol.window import MAX_WINDOW, Budget
from edge_tunnel.reasons import Reason

TUNNEL = bytes(16)


class Carrier:
    """A tunnel that only notes what its stream says."""

    id = TUNNEL
    epoch = 1
    trip = 0.0
    sent = 0
    attached = True

    def __init__(self) -> None:
        self.budget = Budget()
        self.pace = Pace()
        self.said: list[Frame] = []

    def push(self, frame: Frame) -> None:
        self.said.append(frame)

    def pack(self, frame: Frame) -> bytes:
        raise AssertionError(frame)

    def ready(self, stream: Stream) -> None:
        pass

    def delay_credit(self, stream: Stream, now: float) -> None:
        pass

    def forget(self, stream: Stream) -> None:
        pass


class Poured:
    """A stream that is joined to a socket, and the far end of that socket."""

    def __init__(self, far: trio.SocketStream) -> None:
        self.carrier = Carrier()
        self.core = Stream(self.carrier, 1, window=MAX_WINDOW, limit=0)
        self.stream = TunnelStream(self.core)
        self.far = far
        self.splice = trio.CancelScope()
        self.over = trio.Event()
        """The splice is."""
        self._offset = 0

    async def join(self, near: trio.SocketStream, read_timeout: float | None) -> None:
        with self.splice:
            await splice(self.stream, near, MAX_DATA, read_timeout)
        self.over.set()

    def say(self, data: bytes) -> None:
        """DATA arrives."""
        self.core.on_data(Data(TUNNEL, 1, 1, self._offset, data))
        self._offset += len(data)
        self.stream.readable()

    def end(self) -> None:
        """END arrives."""
        self.core.on_end(End(TUNNEL, 1, 1, self._offset))
        self.stream.readable()


@asynccontextmanager
async def poured(read_timeout: float | None = None) -> AsyncIterator[Poured]:
    with trio.fail_after(20 if read_timeout is None else 20 * read_timeout):
        async with (await trio.open_tcp_listeners(0, host="127.0.0.1"))[0] as listener:
            listener.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            near = await trio.open_tcp_stream(*listener.socket.getsockname())
            far = await listener.accept()
        near.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)  # less than one frame
        near.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 200_000)  # more than `WINDOW`
        async with far, trio.open_nursery() as nursery:
            it = Poured(far)
            nursery.start_soon(it.join, near, read_timeout)
            await trio.testing.wait_all_tasks_blocked()
            yield it
            nursery.cancel_scope.cancel()


async def test_at_once() -> None:
    """No task has a turn between the end of the batch and the bytes in the socket."""
    async with poured() as it:
        with batch():
            it.say(b"one ")
            it.say(b"two")
        assert os.read(it.far.socket.fileno(), 100) == b"one two"  # it does not block


async def test_an_end_waits_for_what_the_socket_did_not_take() -> None:
    """It came in the same batch as more than the socket takes."""
    data = random.Random(1).randbytes(MAX_DATA)
    async with poured() as it:
        with batch():
            it.say(data)
            it.end()
        assert b"".join([bytes(part) async for part in it.far]) == data


async def test_batches_while_the_socket_is_full() -> None:
    """Nothing overtakes what waits for the socket."""
    data = random.Random(2).randbytes(60 * MAX_DATA)
    async with poured() as it:
        for start in range(0, len(data), MAX_DATA):
            with batch():
                it.say(data[start : start + MAX_DATA])
            await trio.lowlevel.checkpoint()
        it.end()
        assert b"".join([bytes(part) async for part in it.far]) == data


async def test_a_socket_that_takes_no_more() -> None:
    """The far end of the tunnel is told to stop, or its user would write into nothing."""
    async with poured() as it:
        await it.far.aclose()
        while not any(isinstance(frame, Stop) for frame in it.carrier.said):
            with batch():
                it.say(b"anybody?")
            await trio.testing.wait_all_tasks_blocked(0.01)
        assert not any(isinstance(frame, Credit) for frame in it.carrier.said)


@pytest.mark.parametrize("turns", range(4))
async def test_bytes_for_a_splice_that_is_being_cancelled(turns: int) -> None:
    """They are nobody's; an error of it would be the error of the link that brought them."""
    async with poured() as it:
        it.splice.cancel()
        for _ in range(turns):
            await trio.lowlevel.checkpoint()
        with batch():
            it.say(bytes(MAX_DATA))


def taken(it: Poured) -> bytes:
    """What the tunnel sends now."""
    parts: list[bytes] = []
    while part := bytes(it.core.outgoing.take()[1]):
        parts.append(part)
    return b"".join(parts)


def credit(it: Poured, delivered: int, limit: int) -> None:
    """CREDIT arrives."""
    if it.core.on_credit(Credit(TUNNEL, 1, 1, delivered, limit), trio.current_time()):
        it.stream.writable()


@asynccontextmanager
async def waiting() -> AsyncIterator[Poured]:
    """There are more bytes in the socket than the far end takes at first."""
    async with poured() as it, trio.open_nursery() as nursery:
        nursery.start_soon(send, it.far, DATA)
        await trio.testing.wait_all_tasks_blocked(0.05)
        credit(it, 0, WINDOW)
        await trio.testing.wait_all_tasks_blocked(0.05)
        assert taken(it) == DATA[:WINDOW]
        yield it
        nursery.cancel_scope.cancel()


async def send(far: trio.SocketStream, data: bytes) -> None:
    with contextlib.suppress(trio.BrokenResourceError, trio.ClosedResourceError):
        await far.send_all(data)


WINDOW = 2 * FULL_FRAME
DATA = random.Random(3).randbytes(1_000_000)


async def test_what_there_is_no_room_for_waits_in_the_socket() -> None:
    """It is read as soon as a CREDIT is worth it, and not before."""
    async with waiting() as it:
        credit(it, WINDOW, WINDOW + 10_000)  # nothing is on its way: any room will do
        await trio.testing.wait_all_tasks_blocked(0.05)
        assert taken(it) == DATA[WINDOW : WINDOW + 10_000]
        credit(it, WINDOW + 1000, WINDOW + 20_000)  # too little, and more is to come
        await trio.testing.wait_all_tasks_blocked(0.05)
        assert taken(it) == b""
        credit(it, WINDOW + 5000, 2_000_000)
        await trio.testing.wait_all_tasks_blocked(0.05)
        assert taken(it) == DATA[WINDOW + 10_000 :]


async def test_a_stop_while_nothing_is_read() -> None:
    """The reader ends, and the other way goes on."""
    async with waiting() as it:
        assert it.core.on_stop()
        it.stream.writable()
        await trio.testing.wait_all_tasks_blocked(0.05)
        with batch():
            it.say(b"still there?")
            it.end()
        assert b"".join([bytes(part) async for part in it.far]) == b"still there?"


async def test_a_reset_while_nothing_is_read() -> None:
    """It is seen when reading goes on: what was read before is good, and no end is made of it."""
    async with waiting() as it:
        reset_socket(it.far)
        credit(it, WINDOW, 2_000_000)
        await trio.testing.wait_all_tasks_blocked(0.05)
        assert it.core.reason is Reason.RESET
        assert not it.core.outgoing.ended


async def test_a_service_is_not_silent_while_nobody_reads_it(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """`tunnel.read_timeout` is about the service."""
    async with poured(read_timeout=5) as it:
        await it.far.send_all(b"x" * 30_000)
        credit(it, 0, 20_000)
        await trio.sleep(1)
        assert len(taken(it)) == 20_000
        await trio.sleep(60)
        assert it.core.reason is None
        credit(it, 20_000, 40_000)
        await trio.sleep(1)
        assert len(taken(it)) == 10_000
        await trio.sleep(3)
        assert it.core.reason is None
        await trio.sleep(2)
        assert it.core.reason is Reason.RESET
