"""As many bytes as a path carries, on one connection or many, from one thread: with one for each,
16 of them wake and wait for each other, and that is a tenth of what is measured."""

from __future__ import annotations

import select
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from benchmark.sockets import Figures, connect, happened, some, under_way

__all__ = ["BLOCK", "BUFFER", "down", "up"]

BLOCK: Final = 64 * 1024
BUFFER: Final = 256 * 1024


def down(port: int, streams: int, seconds: float) -> Figures:
    """Bytes received within a time."""
    start = time.monotonic()
    end, total, buffer = start + seconds, 0, bytearray(BUFFER)
    under_way()
    with _connected(port, streams, b"d") as made, select.epoll() as ready:
        for each in made.values():
            ready.register(each, select.EPOLLIN)
        while time.monotonic() < end:
            for number, _ in happened(ready):
                count = made[number].recv_into(buffer)
                some(count)
                total += count
        took = time.monotonic() - start
    return {"bytes": total, "seconds": took}


def up(port: int, streams: int, seconds: float) -> Figures:
    """Bytes that the service has counted, and the time until the last of it said so."""
    start = time.monotonic()
    end, block = start + seconds, bytes(BLOCK)
    under_way()
    with _connected(port, streams, b"u") as made, select.epoll() as ready:
        for each in made.values():
            each.setblocking(False)
            ready.register(each, select.EPOLLOUT)
        while time.monotonic() < end:
            for number, _ in happened(ready):
                made[number].send(block)
        total = _counted(list(made.values()))
        took = time.monotonic() - start
    return {"bytes": total, "seconds": took}


def _counted(made: list[socket.socket]) -> int:
    """What the service has got."""
    for each in made:
        each.setblocking(True)
        each.sendall(b"!")  # an EOF would be simpler, but half of the peers carry none
    answers = [each.recv(8, socket.MSG_WAITALL) for each in made]
    for answer in answers:
        some(answer)
    return sum(int.from_bytes(each, "big") for each in answers)


@contextmanager
def _connected(port: int, count: int, wish: bytes) -> Iterator[dict[int, socket.socket]]:
    made = [connect(port, wish) for _ in range(count)]
    try:
        yield {each.fileno(): each for each in made}
    finally:
        for each in made:
            each.close()
