"""Many connections from one thread: the load generator where threads would measure each other."""

from __future__ import annotations

import select
import socket
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager

from benchmark.sockets import Figures, connect, happened, percentile, some, under_way

__all__ = ["connections", "crowd"]


def crowd(port: int, count: int, seconds: float) -> Figures:
    """Round trips of 64 bytes on `count` connections, each with one under way at a time."""
    with _talking(port, count) as talking, select.epoll() as ready:
        for number in talking:
            ready.register(number, select.EPOLLIN)
        under_way()
        times = _trips(talking, ready, seconds)
    medians = [statistics.median(each) for each in times.values() if each]
    if len(medians) < count:
        raise TimeoutError(f"{count - len(medians)} of {count} streams got no answer")
    together = [each for one in times.values() for each in one]
    return {
        "count": len(together),
        "p50": statistics.median(together),
        "p99": percentile(together, 99),
        "slowest": max(medians),
    }


@contextmanager
def _talking(port: int, count: int) -> Iterator[dict[int, socket.socket]]:
    made = [connect(port, b"e") for _ in range(count)]
    try:
        for each in made:  # opening is another measurement
            each.sendall(bytes(64))
            some(each.recv(64, socket.MSG_WAITALL))
        yield {each.fileno(): each for each in made}
    finally:
        for each in made:
            each.close()


def _trips(
    talking: dict[int, socket.socket], ready: select.epoll, seconds: float
) -> dict[int, list[float]]:
    message = bytes(64)
    times: dict[int, list[float]] = {number: [] for number in talking}
    end = time.monotonic() + seconds
    sent = {number: time.perf_counter() for number in talking}
    for each in talking.values():
        each.sendall(message)
    while time.monotonic() < end:
        for number, _ in happened(ready):
            some(talking[number].recv(64, socket.MSG_WAITALL))
            now = time.perf_counter()
            times[number].append(now - sent[number])
            sent[number] = now
            talking[number].sendall(message)
    return times


def connections(port: int, callers: int, seconds: float) -> Figures:
    """Connections that were opened, carried a byte each way, and were closed."""
    under_way()
    start = time.monotonic()
    end, done = start + seconds, 0
    calling: dict[int, socket.socket] = {}
    with select.epoll() as ready:
        for _ in range(callers):
            _call(port, calling, ready)
        while time.monotonic() < end:
            for number, event in happened(ready):
                if event & select.EPOLLOUT:
                    calling[number].send(b"c")
                    ready.modify(number, select.EPOLLIN)
                else:
                    with calling.pop(number) as finished:
                        some(finished.recv(1))
                    done += 1
                    _call(port, calling, ready)
    return {"connections": done, "seconds": time.monotonic() - start}


def _call(port: int, calling: dict[int, socket.socket], ready: select.epoll) -> None:
    connection = socket.socket()
    connection.setblocking(False)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.connect_ex(("127.0.0.1", port))
    calling[connection.fileno()] = connection
    ready.register(connection, select.EPOLLOUT)
