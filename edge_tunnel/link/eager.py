"""A TCP stream that does at once what can be done at once.

trio's own streams pass through the scheduler after every read and write, also when the kernel took
or gave the bytes straight away. That is fair, and it is most of what a small message costs here: a
turn of the scheduler takes longer than the system call. Our loops have one point each where they
yield, so that their sockets need no second one.
"""

from __future__ import annotations

import errno
import os

import trio

from edge_tunnel.protocol.frames import MAX_DATA

__all__ = ["EagerStream"]


class EagerStream(trio.abc.HalfCloseableStream):
    """A connected socket. It yields only when it must wait: its user has to yield elsewhere."""

    def __init__(self, stream: trio.SocketStream, *, patient: bool = False) -> None:
        """`patient`: wait before each read, and so yield: for a reader that does not elsewhere."""
        self._stream = stream
        self._patient = patient
        self._socket = stream.socket
        self._reset: OSError | None = None  # what a write was told; the kernel tells it once

    @property
    def socket(self) -> trio.socket.SocketType:
        """What it reads and writes."""
        return self._socket

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        try:
            sent = os.write(self._socket.fileno(), data)
        except BlockingIOError:
            sent = 0
        except OSError as error:
            raise self._translated(error) from error
        if sent < len(data):
            with memoryview(data) as view, view[sent:] as rest:
                await self._send_rest(rest)

    async def _send_rest(self, rest: memoryview) -> None:
        try:
            await self._stream.send_all(rest)
        except trio.BrokenResourceError as error:
            if isinstance(error.__cause__, OSError):
                self._translated(error.__cause__)
            raise

    async def wait_send_all_might_not_block(self) -> None:
        await self._stream.wait_send_all_might_not_block()

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        if self._patient and self._socket.fileno() != -1:  # of a closed one, `_read` tells
            await trio.lowlevel.wait_readable(self._socket)
        while (data := self._read(max_bytes or MAX_DATA)) is None:
            await trio.lowlevel.wait_readable(self._socket)
        return data

    def _read(self, max_bytes: int) -> bytes | None:
        """What is there, or None if that is nothing yet."""
        try:
            data = os.read(self._socket.fileno(), max_bytes)
        except BlockingIOError:
            return None
        except OSError as error:
            raise self._translated(error) from error
        if not data and self._reset is not None:
            raise self._translated(self._reset)
        return data

    def _translated(self, error: OSError) -> trio.BrokenResourceError | trio.ClosedResourceError:
        """trio's error for the system's.

        The kernel tells of a reset once, to whoever asks first; the next reader gets an EOF. So
        what a writer is told is kept. But EPIPE is not told once, and what came before the far end
        closed (it resets, if we go on writing) is a whole stream with an end.
        """
        if error.errno == errno.EBADF:
            return trio.ClosedResourceError("this socket was closed")
        if error.errno != errno.EPIPE:
            self._reset = error
        return trio.BrokenResourceError(f"socket connection broken: {error}")

    async def send_eof(self) -> None:
        await self._stream.send_eof()

    async def aclose(self) -> None:
        await self._stream.aclose()
