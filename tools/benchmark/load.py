"""The load generator: one measurement, on one port, from one thread.

Prints ``{}`` when it is under way and its figures, as one JSON object, when it is done. Run as
``python -m benchmark.load KIND PORT NUMBER SECONDS``. What it can do at most is what the path
`raw` shows.
"""

from __future__ import annotations

import json
import socket
import statistics
import sys
import time

from benchmark.bulk import down, up
from benchmark.crowd import connections, crowd
from benchmark.sockets import Figures, connect, percentile, some, under_way


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
