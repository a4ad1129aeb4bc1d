"""The load generator: one measurement, on one port, with plain blocking sockets.

Prints ``{}`` when it is under way and its figures, as one JSON object, when it is done. Run as
``python -m benchmark.load KIND PORT NUMBER SECONDS``. What it can do at most is what the path
`raw` shows.
"""

from __future__ import annotations

import json
import socket
import statistics
import sys
import threading
import time
from collections.abc import Callable
from typing import Final

from benchmark.crowd import connections, crowd
from benchmark.sockets import Figures, connect, percentile, some, under_way

BLOCK: Final = 64 * 1024
BUFFER: Final = 256 * 1024


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
        buffer, total = bytearray(BUFFER), 0
        with connect(port, b"d") as connection:
            while time.monotonic() < end:
                count = connection.recv_into(buffer)
                some(count)
                total += count
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
            connection.sendall(b"!")  # an EOF would be simpler, but half of the peers carry none
            answer = connection.recv(8, socket.MSG_WAITALL)
            some(answer)
            return int.from_bytes(answer, "big")

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
            some(connection.recv_into(buffer, size, socket.MSG_WAITALL))
        under_way()
        now = time.monotonic_ns()
        end = now + int(seconds * 1e9)
        while now < end:
            before = now
            connection.sendall(message)
            some(connection.recv_into(buffer, size, socket.MSG_WAITALL))
            now = time.monotonic_ns()
            times.append(now - before)
            longest = max(longest, (now - before, now))
    return {
        "count": len(times),
        "p50": statistics.median(times) / 1e9,
        "p99": percentile(times, 99) / 1e9,
        "pause": longest[0] / 1e9,
        "pause_ended": longest[1] / 1e9,
    }


def idle(port: int, count: int, _seconds: float) -> Figures:
    """Waits for a line on stdin, opens `count` connections, and keeps them until stdin ends."""
    under_way()
    sys.stdin.readline()
    kept = [connect(port, b"i") for _ in range(count)]
    for connection in kept:
        some(connection.recv(1))
    print(json.dumps({"open": len(kept)}), flush=True)
    sys.stdin.read()
    return {}


def main() -> None:
    """One measurement, as the command line says."""
    kinds = {each.__name__: each for each in (down, up, trips, crowd, connections, idle)}
    kind, port, number, seconds = sys.argv[1:]
    print(json.dumps(kinds[kind](int(port), int(number), float(seconds))), flush=True)


if __name__ == "__main__":
    main()
