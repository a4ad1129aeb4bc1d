"""Reading without a buffer for each connection.

What a read brings is taken apart at once, before anybody else reads; so one large buffer serves all
connections of a thread, and an idle link has none. A read is large because a turn of the scheduler
is what a read costs; and it needs no new memory, which the kernel would have to clear first.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Final, Protocol

from edge_tunnel.link.batch import batch
from edge_tunnel.link.eager import EagerStream
from edge_tunnel.link.secured import Secured
from edge_tunnel.protocol.frames import MAX_MESSAGE

__all__ = ["Divider", "feed"]

_READ: Final = 256 * 1024
"""Bytes of one read at most: four of the largest DATA frames. More is slower (caches)."""

_SIZE: Final = MAX_MESSAGE + 64 + _READ
"""Bytes: all but the last one of the largest message with its head, and a read behind them."""


class Divider(Protocol):
    """Takes arriving bytes apart."""

    rest: bytes
    """The beginning of a message that is not whole yet."""

    def split(self, data: memoryview) -> None:
        """Bytes arrived; the first of them are those of `rest`. None of `data` may be kept."""


class _Scratch(threading.local):
    def __init__(self) -> None:
        self.buffer = memoryview(bytearray(_SIZE))
        self.front = self.buffer[:_READ]


_scratch = _Scratch()


async def feed(divider: Divider, stream: EagerStream | Secured, take: Callable[[], bool]) -> bool:
    """Read, and have divided what comes, until `take` returns False.

    `take` is called after each read, in a batch, to see to what it brought; it must not wait.
    Returns False at the end of the stream.
    """
    count: int | None = None
    buffer, front = _scratch.buffer, _scratch.front

    def read() -> bool:
        # nothing awaits in here: the buffer is everybody's
        nonlocal count
        while True:
            start = len(divider.rest)
            if start:
                buffer[:start] = divider.rest
                count = stream.read_into(buffer[start : start + _READ])
            else:
                count = stream.read_into(front)
            if not count:
                return count is None
            divider.split(buffer[: start + count])
            if not take():
                return False
            if not stream.pending:
                return True

    with batch():
        more = not stream.pending or read()
    if more:
        await stream.call_while_readable(read)
    return bool(count)
