"""A tunnel's stream and a TCP socket, joined.

Both ways at once, each half on its own: an EOF goes over as an EOF and leaves the other way open.
What must never happen is that a cut looks like an end (DESIGN.md section 2, invariant 3). So the
socket is set to be reset whenever it is closed (SO_LINGER with 0 s) - by us on an error, and by the
kernel when this process is killed - and only when both halves have ended as they should is that
taken back, so that close() is a plain close.
"""

from __future__ import annotations

import math
import socket
import struct
from contextlib import suppress
from typing import Final

import trio

from edge_tunnel.link.batch import batch
from edge_tunnel.link.eager import EagerStream
from edge_tunnel.link.streams import TunnelStream
from edge_tunnel.protocol.pacing import FULL_FRAME
from edge_tunnel.reasons import Reason

__all__ = ["reset_socket", "splice"]

_IN_A_ROW: Final = 4
"""Full reads before the others have a turn: with one, bulk is a tenth slower (measured)."""

_BURST: Final = 256 * 1024
"""Bytes that a socket gets before the others have a turn."""

_RESET_ON_CLOSE = struct.pack("ii", 1, 0)
_PLAIN_CLOSE = struct.pack("ii", 0, 0)


async def splice(
    stream: TunnelStream,
    sock: trio.SocketStream,
    read_size: int,
    read_timeout: float | None = None,
) -> None:
    """Carry bytes both ways until both halves have ended or the connection is broken.

    `read_size`: bytes that one read takes from the socket; more than a frame carries are as many.
    `read_timeout`: seconds that the socket may be silent before the stream is reset; None: any
    time. Both ends are closed afterwards. Raises nothing that a peer can cause; the reason of a
    reset is in ``stream.core.reason``.
    """
    eager = EagerStream.fitted(sock)
    timeout = math.inf if read_timeout is None else read_timeout
    to_tunnel = _ToTunnel(stream, eager, read_size, timeout)
    clean = False
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
    try:
        async with trio.open_nursery() as nursery:
            to_socket = _ToSocket(stream, eager, nursery)
            try:
                to_socket.begin()
                await to_tunnel.run(nursery.cancel_scope)
                await to_socket.wait()
            finally:  # from here on the nursery may be closed to what a batch would begin
                stream.sink = None
        clean = not nursery.cancel_scope.cancel_called
        if clean:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _PLAIN_CLOSE)
    finally:
        sock.socket.close()
        if not clean:
            stream.abort(Reason.RESET, to_tunnel.problem)
        stream.close_now()


def reset_socket(sock: trio.SocketStream) -> None:
    """Close a socket so that its user sees a reset."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
    sock.socket.close()


class _ToTunnel:
    """From the socket to the tunnel, as far as there is room: what waits stays in the socket."""

    def __init__(self, stream: TunnelStream, sock: EagerStream, size: int, timeout: float) -> None:
        self._stream = stream
        self._sock = sock
        self._size = min(size, FULL_FRAME)
        self._timeout = timeout
        self._silence = trio.CancelScope()
        self._broken = False  # the socket
        self.problem = "the connection was reset"
        """Why it could not be read."""

    async def run(self, scope: trio.CancelScope) -> None:
        """Until the end of the socket."""
        self._stream.source = self._resume
        try:
            await self._read()
            self._stream.end_now()
        except trio.BrokenResourceError:
            if self._broken or self._stream.core.reason is not None:
                scope.cancel()
            # else the far end wants no more of this; the other way goes on
        finally:
            self._stream.source = None

    async def _read(self) -> None:
        if self._timeout == math.inf:
            await self._sock.call_while_readable(self._carry)
            return
        self._await_next()
        with self._silence:
            await self._sock.call_while_readable(self._carry)
        if self._silence.cancelled_caught:
            self._broken = True
            self.problem = f"the service was silent for {self._timeout:g} s (tunnel.read_timeout)"
            raise trio.BrokenResourceError(self.problem)

    def _carry(self) -> bool | None:
        """Read some, while there is room; see `Watch`."""
        for _ in range(_IN_A_ROW):
            most = min(self._size, self._stream.room())
            if not most:
                if self._timeout != math.inf:  # to set a deadline costs as much as a small message
                    self._silence.deadline = math.inf  # it may well speak
                return None
            data = self._read_now(most)
            if data is None:
                break
            if not data:
                return False
            self._stream.core.write(data)
            self._await_next()
            if len(data) < most:
                break
        return True

    def _read_now(self, most: int) -> bytes | None:
        try:
            return self._sock.read_now(most)
        except trio.BrokenResourceError:
            self._broken = True
            raise

    def _resume(self) -> None:
        if self._silence.deadline == math.inf:
            self._await_next()
        self._sock.resume()

    def _await_next(self) -> None:
        if self._timeout != math.inf:
            self._silence.deadline = trio.current_time() + self._timeout


class _ToSocket:
    """From the tunnel to the socket. What the socket takes at once it gets at the end of the batch
    that brought it, without a turn of the scheduler, and the end as well; for the rest there is a
    task as long as there is a rest."""

    def __init__(self, stream: TunnelStream, sock: EagerStream, nursery: trio.Nursery) -> None:
        self._stream = stream
        self._sock = sock
        self._nursery = nursery
        self._full = False  # the socket has to be flushed
        self._broken = False  # it takes no more
        self._flushing = False  # there is a task
        self._over = False
        self._wake = trio.lowlevel.ParkingLot()

    def begin(self) -> None:
        """Begin with what is here already."""
        self._stream.sink = self._carry
        with batch():
            self._carry()

    async def wait(self) -> None:
        """Until the end of the stream, or of the socket."""
        while not self._over:
            await self._wake.park()

    def _carry(self) -> None:
        """Give the socket what it takes, and see to what follows."""
        if self._stream.core.reason is not None:
            self._nursery.cancel_scope.cancel()
        elif not self._flushing and not self._over:
            self._pour()
            if self._full or (self._stream.core.incoming.waiting and not self._broken):
                self._flushing = True
                self._nursery.start_soon(self._flush)
            elif self._broken or self._stream.core.incoming.readable:
                self._end()

    async def _flush(self) -> None:
        try:
            while self._full:
                await self._sock.flush()
                self._full = False
                with batch():
                    self._pour()
        except trio.BrokenResourceError:
            self._broken = True
        await trio.lowlevel.checkpoint()  # there may be a burst behind this one
        self._flushing = False
        with batch():
            self._carry()

    def _pour(self) -> None:
        poured = 0
        try:
            while not self._full and not self._broken and poured < _BURST:
                data = self._stream.receive_now()
                if data is None:
                    break
                poured += len(data)
                self._full = not self._sock.send_now((data,))
        except trio.BrokenResourceError:
            self._broken = True

    def _end(self) -> None:
        """Of the bytes, or of the socket."""
        self._over = True
        self._wake.unpark_all()
        if self._broken:
            self._stream.stop_receiving()  # the socket takes no more; what it said is good
        else:
            with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
                self._stream.receive_end()
                self._sock.end_now()
