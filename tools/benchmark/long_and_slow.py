"""Long fat paths and slow ones: ours beside a plain TCP connection, through the same relay.

    tools/long-and-slow [--seconds 8]

The relay (edge_tunnel.testing) stands between the node and the remote, as a distant technician's
network does. *Long*: 100 ms of round trip; how much one download gets, compared with a plain TCP
connection to the same service through the same relay. *Slow*: 1 MB/s; how long 64 bytes and back
take beside a download in the same tunnel, and what the node holds meanwhile.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from typing import Any, Final

import trio

from benchmark.processes import Process, python, started
from edge_tunnel.testing.relay import Relay, open_relay

LONG: Final = 0.1
"""Seconds of round trip."""

RATES: Final = (math.inf, 40e6, 10e6)
"""Bytes a second of a long path."""

SLOW: Final = 1e6
QUEUE: Final = 32 * 1024
"""Bytes a second, and what waits in front of it at most, as in a modest modem."""

TRIPS: Final = (0.002, 0.03, 0.1)
"""Seconds of round trip of a slow path."""


async def load(kind: str, port: int, number: int, seconds: float) -> dict[str, Any]:
    """A load's figures."""
    command = [sys.executable, "-m", "benchmark.load", kind, str(port), str(number), str(seconds)]
    done = await trio.run_process(command, capture_stdout=True)
    figures: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return figures


@asynccontextmanager
async def through(
    relay_to: int, queue: int | None, delay: float, rate: float
) -> AsyncIterator[Relay]:
    """A relay as we want it."""
    async with open_relay("127.0.0.1", relay_to, queue) as relay:
        relay.delay, relay.rate = delay, rate
        yield relay


async def remote(stack: ExitStack, port: int) -> int:
    """A remote that dials this port; its forwarded port."""
    # started by this thread: it dies with the one that started it
    process = stack.enter_context(started(python("remote", "parts", "remote", port)))
    answer = await trio.to_thread.run_sync(process.answer)
    return int(answer["port"])


async def long_path(service: int, node: int, seconds: float) -> bool:
    """Whether ours gets 80 % of what plain TCP gets, at each rate."""
    good = True
    for rate in RATES:
        async with through(service, None, LONG / 2, rate) as relay:
            plain = await load("down", relay.port, 1, seconds)
        with ExitStack() as stack:
            async with through(node, None, LONG / 2, rate) as relay:
                port = await remote(stack, relay.port)
                await load("down", port, 1, seconds)  # the window grows, as TCP's did
                ours = await load("down", port, 1, seconds)
        speeds = [figures["bytes"] / figures["seconds"] / 1e6 for figures in (plain, ours)]
        ratio = speeds[1] / speeds[0]
        good = good and ratio >= 0.8
        limit = "no limit" if rate == math.inf else f"{rate / 1e6:g} MB/s"
        print(
            f"100 ms, {limit:9}  plain TCP {speeds[0]:6.1f} MB/s  ours {speeds[1]:6.1f} MB/s"
            f"  {ratio:.2f} (wanted: 0.80)",
            flush=True,
        )
    return good


async def slow_path(node: Process, node_port: int, seconds: float) -> bool:
    """Whether a round trip stays below three times the path's and 50 ms; what the node holds."""
    good = True
    for trip in TRIPS:
        with ExitStack() as stack:
            async with through(node_port, QUEUE, trip / 2, SLOW) as relay:
                port = await remote(stack, relay.port)
                await load("trips", port, 64, 0.5)
                before = node.memory()
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(load, "down", port, 1, seconds + 3)
                    await trio.sleep(2)
                    figures = await load("trips", port, 64, seconds)
                    held = node.memory() - before
        limit = 3 * trip + 0.05
        fits = figures["p50"] < limit and held < 1e6
        good = good and fits
        print(
            f"1 MB/s, {trip * 1e3:3.0f} ms  64 bytes and back beside a download:"
            f" p50 {figures['p50'] * 1e3:5.1f} ms, p99 {figures['p99'] * 1e3:5.1f} ms"
            f" (wanted: p50 below {limit * 1e3:.0f}); the node grew by {held / 1024:.0f} KiB"
            " (wanted: below 1,024)",
            flush=True,
        )
    return good


async def measure(seconds: float) -> bool:
    """All of it."""
    with ExitStack() as stack:
        service = stack.enter_context(started(python("service", "service"))).answer()["port"]
        node = stack.enter_context(started(python("node", "parts", "node", 0)))
        node_port = node.answer()["port"]
        edge = python("edge", "parts", "edge", node_port, service)
        stack.enter_context(started(edge)).answer()
        good = await long_path(service, node_port, seconds)
        return await slow_path(node, node_port, seconds) and good


def main() -> int:
    """Exit code 1: something is not as wanted."""
    parser = argparse.ArgumentParser(prog="tools/long-and-slow", description=__doc__)
    parser.add_argument("--seconds", type=float, default=8.0, help="of each measurement")
    return int(not trio.run(measure, parser.parse_args().seconds))


if __name__ == "__main__":
    sys.exit(main())
