"""One stream on stdin and stdout, for ssh's ProxyCommand and its like.

Reads and writes are made in threads, because stdin may be anything: a pipe, a socket, a terminal, a
file. A file cannot be waited for, and making a shared terminal non-blocking breaks the shell.
"""

from __future__ import annotations

import contextlib
import os

import trio

from edge_tunnel.link.streams import TunnelStream
from edge_tunnel.protocol.frames import MAX_DATA

__all__ = ["carry_stdio"]


async def carry_stdio(stream: TunnelStream, stdin: int = 0, stdout: int = 1) -> None:
    """Join a stream with two file descriptors until both ways have ended.

    Raises:
      trio.BrokenResourceError: the stream was reset (its cause says why).
    """
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_to_stdout, stream, stdout)
        nursery.start_soon(_from_stdin, stream, stdin)
    await stream.wait_delivered()


async def _from_stdin(stream: TunnelStream, fd: int) -> None:
    while True:
        data = await trio.to_thread.run_sync(os.read, fd, MAX_DATA, abandon_on_cancel=True)
        if not data:
            await stream.send_eof()
            return
        await stream.send_all(data)


async def _to_stdout(stream: TunnelStream, fd: int) -> None:
    async for data in stream:
        await trio.to_thread.run_sync(_write_all, fd, data)
    with contextlib.suppress(OSError):
        os.close(fd)  # the reader sees the end now, though our stdin may still be open


def _write_all(fd: int, data: bytes | bytearray) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]
