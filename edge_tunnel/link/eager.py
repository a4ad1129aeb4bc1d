"""A TCP stream that does at once what can be done at once.

trio's own streams pass through the scheduler after every read and write, also when the kernel took
or gave the bytes straight away. That is fair, and it is most of what a small message costs here: a
turn of the scheduler takes longer than the system call. Our loops have one point each where they
yield, so that their sockets need no second one.
"""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import trio

from edge_tunnel.link.reactor import Watch, closing
from edge_tunnel.link.short_path import fit_receive_buffer
from edge_tunnel.protocol.frames import MAX_DATA

__all__ = ["EagerStream"]

_MOST_PARTS: Final = 1024
"""Of one writev (Linux's UIO_MAXIOV, and macOS'); more are an error, which would end the link."""


class EagerStream(trio.abc.HalfCloseableStream):
    """A connected socket. A writer yields when it must wait, a reader before each read."""

    __slots__ = ("_reset", "_rest", "_socket", "_stream", "_watch")

    pending: Final = False
    """As of `Secured`: of all that is left to be read the network tells."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self._stream = stream
        self._socket = stream.socket
        self._watch: Watch | None = None
        self._rest: Sequence[bytes | memoryview] = ()  # of what was written now
        self._reset: OSError | None = None  # what a write was told; the kernel tells it once

    @property
    def socket(self) -> trio.socket.SocketType:
        """What it reads and writes."""
        return self._socket

    @classmethod
    def fitted(cls, stream: trio.SocketStream) -> EagerStream:
        """With a bounded receive buffer where the path is short (short_path.py)."""
        fit_receive_buffer(stream)
        return cls(stream)

    # -- writing

    def send_now(self, parts: Sequence[bytes | memoryview]) -> bool:
        """Write these parts. Returns whether the kernel took all; if not, `flush` writes the rest.

        Raises trio.BrokenResourceError or trio.ClosedResourceError.
        """
        if len(parts) > _MOST_PARTS:  # hundreds of small messages are waiting
            parts = (b"".join(parts),)
        try:
            sent = os.writev(self._socket.fileno(), parts)
        except BlockingIOError:
            sent = 0
        except OSError as error:
            raise self._translated(error) from error
        if sent == sum(map(len, parts)):
            return True
        self._rest = _behind(parts, sent)
        return False

    async def flush(self) -> None:
        """Write what `send_now` could not.

        Not by trio's `send_all`: that yields before it raises, and a reader that is called just
        then would not know of the reset that the kernel has told already.
        """
        while self._rest:
            await self._wait(trio.lowlevel.wait_writable)
            rest, self._rest = self._rest, ()
            self.send_now(rest)

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        with memoryview(data) as view:
            if not self.send_now((view,)):
                await self.flush()

    async def wait_send_all_might_not_block(self) -> None:
        await self._stream.wait_send_all_might_not_block()

    async def send_eof(self) -> None:
        await self._stream.send_eof()

    def end_now(self) -> None:
        """As `send_eof`, without a checkpoint; nothing may be being sent."""
        try:
            self._socket.shutdown(socket.SHUT_WR)
        except OSError as error:
            raise self._translated(error) from error

    # -- reading

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        while True:
            await self.wait_readable()
            data = self.read_now(max_bytes or MAX_DATA)
            if data is not None:
                return data

    async def call_while_readable(self, call: Callable[[], bool | None]) -> None:
        """Call `call` whenever a read has something to tell, until it returns False (reactor.py).

        None: not before `resume`. If we have closed the socket, it is called at once, and once.
        """
        fd = self._socket.fileno()
        if fd == -1:
            call()
        else:
            self._watch = Watch(fd, call)
            await self._watch.run()

    def resume(self) -> None:
        """Call again."""
        if self._watch is not None:
            self._watch.resume()

    async def wait_readable(self) -> None:
        """Wait until a read has something to tell; at once if we have closed the socket."""
        await self._wait(trio.lowlevel.wait_readable)

    async def _wait(self, until: Callable[[trio.socket.SocketType], Awaitable[None]]) -> None:
        if self._socket.fileno() != -1:
            await until(self._socket)

    def read_now(self, max_bytes: int) -> bytes | None:
        """What is there, or None if that is nothing yet; b"" at the end."""
        try:
            data = os.read(self._socket.fileno(), max_bytes)
        except BlockingIOError:
            return None
        except OSError as error:
            raise self._translated(error) from error
        if not data:
            self._check_end()
        return data

    def read_into(self, buffer: memoryview) -> int | None:
        """Read what is there, as far as `buffer` takes it: how many bytes; 0 at the end; None if
        nothing is there yet. Raises as `receive_some` does."""
        try:
            count = os.readv(self._socket.fileno(), (buffer,))
        except BlockingIOError:
            return None
        except OSError as error:
            raise self._translated(error) from error
        if not count:
            self._check_end()
        return count

    def _check_end(self) -> None:
        if self._reset is not None:
            raise self._translated(self._reset)

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

    async def aclose(self) -> None:
        closing(self._socket.fileno())
        await self._stream.aclose()


def _behind(parts: Sequence[bytes | memoryview], sent: int) -> list[bytes | memoryview]:
    """What follows the first `sent` bytes of the parts."""
    rest: list[bytes | memoryview] = []
    for part in parts:
        if sent < len(part):
            rest.append(memoryview(part)[sent:] if sent else part)
        sent = max(0, sent - len(part))
    return rest
