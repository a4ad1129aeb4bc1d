"""What one message costs the node when there are more links, tunnels or streams: ``--growth``.

A round trip is two messages at the node, one each way. Its processor time is read from the kernel's
scheduler; its system calls are counted by strace in a run of their own, because strace slows the
node down. Everything that is there beside the trips is idle.
"""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmark.processes import Failed, Process, python, started

__all__ = [
    "DIMENSIONS",
    "Point",
    "crowd_of_edges",
    "grow",
    "run_time",
    "share_of_processor",
    "small_crowd",
]

DIMENSIONS: Final = ("links", "tunnels", "streams")
_PER_CROWD: Final = 5000
"""Edges in one process."""

_PATIENCE: Final = 900.0
"""Seconds for a crowd to be there."""


@dataclass(frozen=True)
class Point:
    """One measurement."""

    dimension: str
    count: int
    cpu_us: float
    """Of the node's processor time, for one message: without what it uses when nothing passes."""

    idle_share: float
    """Of a processor, that the node uses when nothing passes."""

    calls: float | None
    """System calls of the node, for one message; None: there is no strace."""

    memory: float
    """Bytes of its own that the node holds."""


def grow(service: int, counts: Sequence[int], seconds: float) -> Iterator[Point]:
    """A point for each dimension and count, each with processes of its own."""
    for dimension in DIMENSIONS:
        for count in counts:
            print(f"{count} {dimension} ...", file=sys.stderr)
            point = _point(service, dimension, count, seconds)
            print(point, file=sys.stderr)
            yield point


def _point(service: int, dimension: str, count: int, seconds: float) -> Point:
    with ExitStack() as stack:
        node = stack.enter_context(started(python("node", "parts", "node", 0)))
        node_port = node.answer()["port"]
        edge = stack.enter_context(started(python("edge", "parts", "edge", node_port, service)))
        edge.answer()
        remote = stack.enter_context(started(python("remote", "parts", "remote", node_port, "", 0)))
        port = remote.answer()["port"]
        if dimension == "links":
            # beside the edge and the remote of the trips; they ping so seldom that they are silent
            stack.enter_context(crowd_of_edges(node_port, count - 1, ping=300.0))
        else:
            tunnels, streams = (count - 1, 0) if dimension == "tunnels" else (0, count - 1)
            stack.enter_context(small_crowd(node_port, tunnels, streams))
        time.sleep(1.0)
        idle = share_of_processor(node, seconds)
        cpu = _cpu_of_messages(node, port, seconds, idle)
        return Point(dimension, count, cpu, idle, _calls(node, port, seconds), node.memory())


@contextmanager
def small_crowd(node_port: int, tunnels: int, streams: int) -> Iterator[None]:
    """So many idle tunnels, and idle streams in tunnels of their own."""
    with started(python("crowd", "parts", "crowd", node_port, tunnels, streams)) as crowd:
        crowd.answer()
        crowd.tell()
        crowd.answer(_PATIENCE)
        yield


@contextmanager
def crowd_of_edges(node_port: int, count: int, ping: float) -> Iterator[None]:
    """So many idle edges, all bound; real ones, with a thin WebSocket."""
    with ExitStack() as stack:
        crowds = {
            stack.enter_context(started(_edges(node_port, first, count, ping))): 0
            for first in range(0, count, _PER_CROWD)
        }
        deadline = time.monotonic() + _PATIENCE
        while sum(crowds.values()) < count:
            if time.monotonic() > deadline:
                raise Failed(f"{sum(crowds.values())} of {count} edges were bound in time")
            for crowd in crowds:
                crowds[crowd] = crowd.event("crowd")["bound"]
        yield


def _edges(node_port: int, first: int, count: int, ping: float) -> Process:
    options = {
        "seed": 0,
        "first": first,
        "count": min(_PER_CROWD, count - first),
        "urls": [f"ws://127.0.0.1:{node_port}"],
        "key": "benchmark",
        "ping": ping,
        "within": count / 200,  # a core greets no more beside the pings of those that are there
    }
    command = (sys.executable, "-m", "stampede.edges", json.dumps(options))
    return Process(f"edges from {first}", *command)


def share_of_processor(process: Process, seconds: float) -> float:
    """What it uses of one, over a time."""
    start, before = time.monotonic(), run_time(process.pid)
    time.sleep(seconds)
    return (run_time(process.pid) - before) / 1e9 / (time.monotonic() - start)


def _cpu_of_messages(node: Process, port: int, seconds: float, idle: float) -> float:
    start, before = time.monotonic(), run_time(node.pid)
    done = _trips(port, seconds)
    took = time.monotonic() - start
    return ((run_time(node.pid) - before) / 1000 - idle * took * 1e6) / done


def _trips(port: int, seconds: float) -> float:
    """Messages of round trips within a time, those of its beginning included."""
    with started(python("trips", "load", "trips", port, 64, seconds)) as load:
        load.answer()
        return 2.0 * (float(load.answer(seconds + 60)["count"]) + 20.0)


def run_time(pid: int) -> int:
    """Nanoseconds on a processor, of all threads that live."""
    tasks = Path(f"/proc/{pid}/task").glob("*/schedstat")
    return sum(int(task.read_text().split()[0]) for task in tasks)


def _calls(node: Process, port: int, seconds: float) -> float | None:
    if shutil.which("strace") is None:
        return None
    command = ("strace", "-c", "-f", "-qq", "-p", str(node.pid))
    strace = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    time.sleep(0.5)  # until it has attached
    done = _trips(port, seconds)
    strace.send_signal(signal.SIGINT)
    said = strace.communicate(timeout=30)[1]
    for line in said.splitlines():
        if line.endswith("total"):
            return int(line.split()[3]) / done
    raise Failed(f"strace counted nothing: {said.strip()[:80]}")
