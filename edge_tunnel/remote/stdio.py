"""One stream on stdin and stdout, for ssh's ProxyCommand and its like.

Reads and writes are made in threads, because stdin may be anything: a pipe, a socket, a terminal, a
file. A file cannot be waited for, and making a shared terminal non-blocking breaks the shell.

A pipe has no RST: whoever reads our stdout sees a plain end also when the stream was cut. So the
caller must turn the outcome into an exit code, and whoever reads must look at it.
"""

from __future__ import annotations

import os
import select

import trio

from edge_tunnel.errors import TunnelEnded
from edge_tunnel.link.groups import open_plain_nursery
from edge_tunnel.link.streams import TunnelStream
from edge_tunnel.protocol.pacing import FULL_FRAME

__all__ = ["carry_stdio", "read_some", "write_fully"]


async def carry_stdio(stream: TunnelStream, stdin: int = 0, stdout: int = 1) -> bool:
    """Join a stream with two file descriptors until both ways have ended.

    A terminal has no end of its own, so if stdin is one, the end of what is received ends both.

    Returns whether the far end took everything that stdin had.

    Raises:
      trio.BrokenResourceError: the stream was reset; the cause is a TunnelEnded with the reason.
      OSError: stdin cannot be read, or stdout cannot be written for another reason than that
        nobody reads it. The stream is reset.
    """
    try:
        async with open_plain_nursery() as nursery:
            reading = trio.CancelScope()
            nursery.start_soon(_from_stdin, stream, stdin, reading, nursery.cancel_scope)
            await _to_stdout(stream, stdout, nursery.cancel_scope)
            if os.isatty(stdin):
                reading.cancel()
        return await _outcome(stream)
    except BaseException:
        stream.abort()
        raise


async def _outcome(stream: TunnelStream) -> bool:
    delivered = True
    try:
        await stream.wait_delivered()
    except trio.BrokenResourceError:
        delivered = False
    if stream.core.reason is not None:
        cause = TunnelEnded(stream.core.reason, stream.core.text)
        raise trio.BrokenResourceError("the stream was reset") from cause
    return delivered


async def _from_stdin(
    stream: TunnelStream, fd: int, reading: trio.CancelScope, everything: trio.CancelScope
) -> None:
    try:
        with reading:
            while data := await trio.to_thread.run_sync(read_some, fd, abandon_on_cancel=True):
                await stream.send_all(data)
        await stream.send_eof()
    except trio.BrokenResourceError:
        if stream.core.reason is not None:
            everything.cancel()
        # else the service wants no more of this; the other way goes on


async def _to_stdout(stream: TunnelStream, fd: int, everything: trio.CancelScope) -> None:
    try:
        async for data in stream:
            await trio.to_thread.run_sync(write_fully, fd, data, abandon_on_cancel=True)
    except BrokenPipeError:
        stream.stop_receiving()  # nobody reads any more; what we send may still be wanted
    except trio.BrokenResourceError:
        everything.cancel()
    else:
        _show_end(fd)


def read_some(fd: int) -> bytes:
    """What comes next, b"" at the end. Blocks, also where others have made `fd` non-blocking."""
    while (data := _read(fd)) is None:
        select.select([fd], [], [])
    return data


def _read(fd: int) -> bytes | None:
    try:
        return os.read(fd, FULL_FRAME)
    except BlockingIOError:
        return None


def write_fully(fd: int, data: bytes | bytearray) -> None:
    """All of it, however little the descriptor takes at once. Blocks, as `read_some` does."""
    view = memoryview(data)
    while view:
        view = view[_write(fd, view) :]


def _write(fd: int, data: memoryview) -> int:
    try:
        return os.write(fd, data)
    except BlockingIOError:
        select.select([], [fd], [])
        return 0


def _show_end(fd: int) -> None:
    """The reader sees the end now, though our stdin may still be open. The number stays taken."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, fd)
    os.close(null)
