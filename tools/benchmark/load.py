"""The load generator: one measurement, on one port, with plain blocking sockets.

Prints ``{}`` when it is under way and its figures, as one JSON object, when it is done. Run as
``python -m benchmark.load KIND PORT NUMBER SECONDS``.
"""

from __future__ import annotations

import json
import socket
import statistics
import sys
import threading
import time
from collections.abc import Callable
from typing import Final, TypeAlias

Figures: TypeAlias = dict[str, float]

BLOCK: Final = 256 * 1024
SILENCE: Final = 30.0
"""Seconds without a byte after which a measurement has failed."""


def connect(port: int, wish: bytes) -> socket.socket:
    """A connection to the service behind `port`, which is told what we want."""
    connection = socket.create_connection(("127.0.0.1", port), timeout=SILENCE)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.settimeout(None)  # a time-out would cost a poll for each call
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, _timeval(SILENCE))
    connection.sendall(wish)
    return connection


def _timeval(seconds: float) -> bytes:
    return int(seconds).to_bytes(8, sys.byteorder) + bytes(8)


def under_way() -> None:
    """Tell the bench that the load is on."""
    print("{}", flush=True)


def in_threads(count: int, work: Callable[[], float]) -> float:
    """The sum of what `count` threads return; the first error ends it all."""
    results: list[float] = []
    threads = [threading.Thread(target=lambda: results.append(work())) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if len(results) < count:
        sys.exit(f"{count - len(results)} of {count} connections failed")
    return sum(results)


def down(port: int, streams: int, seconds: float) -> Figures:
    """Bytes received within a time."""
    start = time.monotonic()
    end = start + seconds

    def receive() -> float:
        buffer, total = bytearray(4 * BLOCK), 0
        with connect(port, b"d") as connection:
            while time.monotonic() < end:
                total += _some(connection.recv_into(buffer))
        return total

    under_way()
    total = in_threads(streams, receive)
    return {"bytes": total, "seconds": time.monotonic() - start}


def up(port: int, streams: int, seconds: float) -> Figures:
    """Bytes that the service has counted, and the time until the last of it said so."""
    start = time.monotonic()
    end = start + seconds

    def send() -> float:
        block = bytes(BLOCK)
        with connect(port, b"u") as connection:
            while time.monotonic() < end:
                connection.sendall(block)
            connection.shutdown(socket.SHUT_WR)
            return int.from_bytes(connection.recv(8, socket.MSG_WAITALL), "big")

    under_way()
    total = in_threads(streams, send)
    return {"bytes": total, "seconds": time.monotonic() - start}


def trips(port: int, size: int, seconds: float) -> Figures:
    """Round trips, one after another; and the longest pause, which a resume makes."""
    message, buffer = bytes(size), bytearray(size)
    times: list[int] = []
    longest = (0, 0)
    with connect(port, b"e") as connection:
        for _ in range(20):  # opening, and the first allocations, are another measurement
            connection.sendall(message)
            _some(connection.recv_into(buffer, size, socket.MSG_WAITALL))
        under_way()
        now = time.monotonic_ns()
        end = now + int(seconds * 1e9)
        while now < end:
            before = now
            connection.sendall(message)
            _some(connection.recv_into(buffer, size, socket.MSG_WAITALL))
            now = time.monotonic_ns()
            times.append(now - before)
            longest = max(longest, (now - before, now))
    return {
        "count": len(times),
        "p50": statistics.median(times) / 1e9,
        "p99": sorted(times)[len(times) * 99 // 100] / 1e9,
        "pause": longest[0] / 1e9,
        "pause_ended": longest[1] / 1e9,
    }


def connections(port: int, callers: int, seconds: float) -> Figures:
    """Connections that were opened, carried a byte each way, and were closed."""
    start = time.monotonic()
    end = start + seconds

    def call() -> float:
        count = 0
        while time.monotonic() < end:
            with connect(port, b"c") as connection:
                _some(len(connection.recv(1)))
            count += 1
        return count

    under_way()
    total = in_threads(callers, call)
    return {"connections": total, "seconds": time.monotonic() - start}


def idle(port: int, count: int, _seconds: float) -> Figures:
    """Waits for a line on stdin, opens `count` connections, and keeps them until stdin ends."""
    under_way()
    sys.stdin.readline()
    kept = [connect(port, b"i") for _ in range(count)]
    for connection in kept:
        _some(len(connection.recv(1)))
    print(json.dumps({"open": len(kept)}), flush=True)
    sys.stdin.read()
    return {}


def _some(count: int) -> int:
    if not count:
        raise ConnectionError("the far end closed the connection")
    return count


def main() -> None:
    """One measurement, as the command line says."""
    kinds = {each.__name__: each for each in (down, up, trips, connections, idle)}
    kind, port, number, seconds = sys.argv[1:]
    print(json.dumps(kinds[kind](int(port), int(number), float(seconds))), flush=True)


if __name__ == "__main__":
    main()
